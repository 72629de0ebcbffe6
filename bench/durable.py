#!/usr/bin/env python3
"""What durability costs: the broker on its disk beside itself in memory and the least that the disk asks for, its
acknowledgements beside commits of that least, a backlog's replay beside live delivery, other brokers' queues, and
streams beside all of that and beside those of other brokers.

    bench/durable.py [--folder DIR] [--repeats N] [--seconds S] [PART]...

Parts, all of them without any: throughput, latency, replay, others, of message queues queue, queue-others, queue-depth,
of streams stream, stream-others. See README.md.

Exit codes: 0 all measured · 1 a broker, the load generator or the floor failed · 2 wrong arguments · 3 the machine was
too busy for at least one figure that is judged. What is not met does not change them.
"""

import argparse
import functools
import itertools
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

import machine
from brokers import Broker, BrokerError, data_folder
from cases import Case
from run import (Run, add_run_options, attempt, check_run_options, find_program, parse_line, print_rows,
                 raise_file_limit, run_once, short, table_rows, write_json)

PARTS = ("throughput", "latency", "replay", "others", "queue", "queue-others", "queue-depth", "stream",
         "stream-others")
LOAD = "--qos 1 --durable --clients 200"
THROUGHPUT = Case("always", "200 pairs, window 32, QoS 1, 64 bytes, subscribers with kept sessions",
                  f"--scenario pairs {LOAD} --window 32")
LOAD_SHARE = 0.1            # of the throughput, for latency
BACKLOG = Case("replay", "1 million QoS 1 messages of 200 bytes for one absent client, then its return",
               "--scenario offline --qos 1 --messages 1000000 --payload 200 --window 1000", saturated=False)
LIVE = Case("live", "the same messages live to one client with a kept session, 10 publishers with a window of 640",
            "--scenario fanin --qos 1 --durable --clients 10 --payload 200 --window 640", saturated=False)
QUEUE = Case("queue", "one message queue, 10 publishers, 10 consumers, window 100, QoS 1, 64 bytes",
             "--scenario queue --qos 1 --clients 10 --window 100")
# What others have instead: a durable queue for each subscriber, as MQTT gives them no shared one.
QUEUES = Case("queues", "10 publishers, 10 subscribers with kept sessions, window 100, QoS 1, 64 bytes",
              "--scenario pairs --qos 1 --durable --clients 10 --window 100")
STREAM_MESSAGES = 1_000_000
PLAIN = Case("plain", "1 million QoS 1 messages of 200 bytes, window 1000, for one absent client with a kept session",
             f"--scenario offline --qos 1 --messages {STREAM_MESSAGES} --payload 200 --window 1000", saturated=False)
STREAM = Case("stream", "the same into a stream, and one reader at QoS 0 from its beginning",
              f"--scenario stream --messages {STREAM_MESSAGES} --payload 200", saturated=False)
STREAM_OF_10 = Case("stream-10", "the same with 10 readers at once",
                    f"--scenario stream --messages {STREAM_MESSAGES} --payload 200 --clients 10", saturated=False)
LIVE_0 = Case("live-0", "the same messages live at QoS 0, one publisher flat out and one subscriber",
              "--scenario pairs --qos 0 --payload 200 --clients 1")
STREAM_LOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stream_load.py")
OTHERS = (("mosquitto-memory", "mosquitto", {}),
          ("mosquitto-disk", "mosquitto", {"keeps": True}),
          ("rabbit-classic", "rabbitmq-server", {"queue_type": "classic"}),
          ("rabbit-quorum", "rabbitmq-server", {"queue_type": "quorum"}),
          ("nats", "nats-server", {}))
STREAM_OTHERS = (("rabbit-stream", "rabbitmq-server", {"queue_type": "stream"}),
                 ("nats-stream", "nats-server", {"speaks_mqtt": False}))
QUEUE_DEPTHS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SHAPE_SEGMENT_BYTES = 1 << 30  # a file of the log that a whole run fits into
FLOOR_TIMEOUT_S = 120

EXPECTED_MIN = 0.75         # of 1/(1/in-memory + 1/floor)
COMMITS_MAX = 2.5           # p99 acknowledge over the floor's median commit
REPLAY_MIN = 0.8            # of live
APPEND_MIN = 0.7            # of plain QoS 1 messages, to a stream
STREAM_REPLAY_MIN = 0.9     # of live QoS 0 messages
STREAM_OF_10_MAX = 1.1      # of the cost of one reader, for each message to one of 10


class Floor:
    """Takes the place of a broker in a list of runs."""

    name = "floor"

    def __init__(self, program):
        self.program = program


def run_floor(options, case, floor, repeat, shape):
    """As run_once(), with the batches of the log in the folder `shape`."""
    run = Run(case, floor, repeat)
    run.load_average = machine.load_average()
    before = machine.Sample()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.scratch) as folder:
        command = [floor.program, folder, "--like", shape, "--seconds", str(options.seconds), "--warmup",
                   str(options.warmup), "--room", options.room] + (["--no-sums"] if options.no_sums else [])
        try:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                                    timeout=FLOOR_TIMEOUT_S,
                                    preexec_fn=lambda: os.sched_setaffinity(0, options.broker_cores))
            if result.returncode == 0:
                run.lines["floor"] = parse_line(result.stdout)
            else:
                run.error = result.stderr.strip() or f"bench_store_floor ended with code {result.returncode}"
        except subprocess.TimeoutExpired:
            run.error = f"bench_store_floor took more than {FLOOR_TIMEOUT_S} s"
    run.use = machine.Use(before, machine.Sample())
    run.quiet = run.use.quiet(options.busy_max)
    return run


class Bench:
    """All runs so far, and what they are made with."""

    def __init__(self, options):
        self.options = options
        self.runs = []      # those that count
        self.rows = []
        self.failed = False
        self.busy = False

    def measure(self, function, *arguments):
        """function(options, *arguments), which is run_once or run_floor, once more when it was disturbed. None when it
        failed."""
        run = attempt(self.options, functools.partial(function, self.options, *arguments))
        self.runs.append(run)
        if run.unsupported:
            print(f"{run.case.name}: {run.broker.name}: a subscription was refused", file=sys.stderr, flush=True)
        self.failed = self.failed or bool(run.error) or run.unsupported
        return None if run.error or run.unsupported else run

    def figure(self, text, values):
        """Prints median and spread of {repeat: (value, quiet)}; the others are left out when most were quiet."""
        quiet = [value for value, is_quiet in values.values() if is_quiet]
        numbers = quiet if 2 * len(quiet) > len(values) else [value for value, _quiet in values.values()]
        if not numbers:
            print(f"  {text:<66} not measured")
            return
        print(f"  {text:<66}{short(statistics.median(numbers)):>8} ({short(min(numbers))}..{short(max(numbers))})"
              f"  quiet {len(quiet)}/{len(values)}", flush=True)
        self.rows.append({"what": text, "median": statistics.median(numbers), "min": min(numbers), "max": max(numbers),
                          "quiet": len(quiet), "repeats": len(values)})

    def judge(self, text, values, wanted, holds):
        """As figure(), and whether it is as wanted; "busy" where most repeats were disturbed."""
        self.figure(text, values)
        quiet = [value for value, is_quiet in values.values() if is_quiet]
        if 2 * len(quiet) <= self.options.repeats:
            verdict = "busy: not judged" if values else "not measured"
            self.busy = self.busy or bool(values)
        else:
            verdict = "met" if holds(statistics.median(quiet)) else "NOT MET"
        print(f"    wanted {wanted}: {verdict}", flush=True)
        if values:
            self.rows[-1].update(wanted=wanted, verdict=verdict)


def values_of(runs, scenario, key):
    return {run.repeat: (float(run.lines[scenario][key]), run.quiet) for run in runs}


def combine(function, *columns):
    """{repeat: (function of the columns' values, all quiet)} of the repeats that all have."""
    common = set(columns[0]).intersection(*columns[1:])
    return {repeat: (function(*(column[repeat][0] for column in columns)),
                     all(column[repeat][1] for column in columns)) for repeat in sorted(common)}


def keep_log(shape):
    """For run_once(): links the log's files into the folder `shape`, made anew, so that they outlive the broker."""
    def keep(folder):
        shutil.rmtree(shape, ignore_errors=True)
        os.mkdir(shape)
        data = data_folder(folder)
        for name in os.listdir(data):
            if name.startswith("log-"):
                os.link(os.path.join(data, name), os.path.join(shape, name))
    return keep


def throughput(bench, memory, disk, floor, case=THROUGHPUT, scenario="pairs", times=1):
    """In memory, on the floor, on the disk in turn. Returns the messages per second on the disk, None without.

    times: how often the floor and the memory are counted in what is expected.
    """
    options = bench.options
    print(f"\nthroughput: {case.help}", flush=True)
    shape = os.path.join(options.scratch, "shape")
    whole = Broker(disk.name, shlex.quote(options.server), keeps=True, queues=True,
                   limits={"log_segment_bytes": SHAPE_SEGMENT_BYTES})
    first = run_once(options, case, whole, 0, keep_log(shape))  # tells the batches and is not measured
    if first.error:
        print(f"throughput: {first.error}", file=sys.stderr)
        bench.failed = True
        return None
    runs = {broker.name: [] for broker in (memory, floor, disk)}
    for repeat in range(options.repeats):
        order = [memory, floor, disk]
        for broker in order[repeat % 3:] + order[:repeat % 3]:
            run = (bench.measure(run_floor, case, floor, repeat, shape) if broker is floor
                   else bench.measure(run_once, case, broker, repeat))
            if run:
                runs[broker.name].append(run)
    rates = {name: values_of(found, "floor" if name == floor.name else scenario, "msgs_per_cpu_s")
             for name, found in runs.items()}
    bench.figure("in memory, msg per broker CPU-second", rates[memory.name])
    bench.figure("floor, msg per CPU-second", rates[floor.name])
    bench.figure("  its messages to a batch", values_of(runs[floor.name], "floor", "batch_msgs"))
    bench.figure("  its bytes to a message", values_of(runs[floor.name], "floor", "bytes_per_msg"))
    bench.figure("  its median commit, us", values_of(runs[floor.name], "floor", "commit_us_p50"))
    expected = combine(lambda one, other: 1 / (times / one + times / other), rates[memory.name], rates[floor.name])
    bench.figure(f"expected, 1/({times}/in memory + {times}/floor)", expected)
    bench.figure("on disk, msg per broker CPU-second", rates[disk.name])
    bench.judge("on disk / expected", combine(lambda one, other: one / other, rates[disk.name], expected),
                f"{EXPECTED_MIN} or more", lambda ratio: ratio >= EXPECTED_MIN)
    wall = values_of(runs[disk.name], scenario, "msgs_per_s")
    bench.figure("on disk, msg per second of wall time", wall)
    bench.figure("  share of its core", values_of(runs[disk.name], scenario, "broker_cpu_share"))
    return statistics.median(value for value, _quiet in wall.values()) if wall else None


def at_rate(rate):
    return Case("latency", f"{rate} messages a second over 200 pairs, open loop, QoS 1, subscribers with kept sessions",
                f"--scenario latency {LOAD} --rate {rate}", saturated=False)


def latency(bench, memory, disk, floor, rate):
    options = bench.options
    case = at_rate(rate)
    print(f"\nlatency: {case.help}", flush=True)
    loaded, floors, unkept = [], [], []
    for repeat in range(options.repeats):
        shape = os.path.join(options.scratch, "shape-latency")
        in_memory = bench.measure(run_once, case, memory, repeat)
        if in_memory:
            unkept.append(in_memory)
        run = bench.measure(run_once, case, disk, repeat, keep_log(shape))
        floored = run and bench.measure(run_floor, case, floor, repeat, shape)
        if floored:
            loaded.append(run)
            floors.append(floored)
    acknowledge = values_of(loaded, "latency", "ack_p99_us")
    commit = values_of(floors, "floor", "commit_us_p50")
    for key, text in (("ack_p50_us", "p50 from due to PUBACK, us"), ("ack_p99_us", "p99"),
                      ("broker_cpu_share", "share of its core")):
        bench.figure(f"in memory: {text}", values_of(unkept, "latency", key))
    bench.figure("share of its core", values_of(loaded, "latency", "broker_cpu_share"))
    bench.figure("p50 from due to PUBACK, us", values_of(loaded, "latency", "ack_p50_us"))
    bench.figure("p99 from due to PUBACK, us", acknowledge)
    bench.figure("floor: messages to a batch", values_of(floors, "floor", "batch_msgs"))
    bench.figure("floor: median commit of such batches, us", commit)
    bench.figure("floor: p99 commit, us", values_of(floors, "floor", "commit_us_p99"))
    bench.judge("p99 acknowledge / median commit", combine(lambda one, other: one / other, acknowledge, commit),
                f"{COMMITS_MAX} or less", lambda ratio: ratio <= COMMITS_MAX)


def replay(bench, disk):
    options = bench.options
    print(f"\nreplay: {BACKLOG.help}; live: {LIVE.help}; the client's Receive Maximum is 65535, and so is what the "
          "broker keeps in flight", flush=True)
    runs = {BACKLOG.name: [], LIVE.name: []}
    for repeat in range(options.repeats):
        order = [BACKLOG, LIVE]
        for case in order[repeat % 2:] + order[:repeat % 2]:
            run = bench.measure(run_once, case, disk, repeat)
            if run:
                runs[case.name].append(run)
    for key, text, judged in (("msgs_per_cpu_s", "msg per broker CPU-second", True),
                              ("msgs_per_s", "msg per second of wall time", False)):
        drained = values_of(runs[BACKLOG.name], "offline-drain", key)
        live = values_of(runs[LIVE.name], "fanin", key)
        ratio = combine(lambda one, other: one / other, drained, live)
        bench.figure(f"replay, {text}", drained)
        bench.figure(f"live, {text}", live)
        if judged:
            bench.judge("replay / live", ratio, f"{REPLAY_MIN} or more", lambda value: value >= REPLAY_MIN)
        else:
            bench.figure("replay / live", ratio)


def others(bench, brokers):
    """The load of `throughput` on every broker, then each at a tenth of what it did."""
    options = bench.options
    options.brokers = brokers
    runs, refused = [], set()
    for repeat in range(options.repeats):
        shift = repeat % len(brokers)
        for broker in brokers[shift:] + brokers[:shift]:
            if broker.name in refused:
                continue
            run = bench.measure(run_once, THROUGHPUT, broker, repeat)
            if run:
                runs.append(run)
            else:
                refused.add(broker.name)
    rows = table_rows(options, THROUGHPUT, runs)
    print_rows(THROUGHPUT, rows)
    bench.rows += rows
    bench.busy = bench.busy or any(ratio == "busy" for row in rows for ratio in row["ratios"].values())
    print("\nfrom due to PUBACK at a tenth of that, each broker of its own")
    for broker in brokers:
        rates = [float(run.lines["pairs"]["msgs_per_s"]) for run in runs if run.broker is broker]
        if not rates or broker.name in refused:
            continue
        case = at_rate(max(1, round(LOAD_SHARE * statistics.median(rates))))
        loaded = [run for run in (bench.measure(run_once, case, broker, repeat) for repeat in range(options.repeats))
                  if run]
        rate = case.arguments.rpartition(" ")[2]
        for key, text in (("ack_p50_us", "p50"), ("ack_p99_us", "p99")):
            bench.figure(f"{broker.name} at {rate} msg/s, {text}, us", values_of(loaded, "latency", key))


def queue_others(bench, disk, brokers):
    """One queue of ours against as many durable queues of others as they need for the same load."""
    options = bench.options
    wanted = {"rabbit-classic": 20, "rabbit-quorum": 20, "nats": 5}
    rivals = [broker for broker in brokers if broker.name in wanted]
    print(f"\nours: {QUEUE.help}; theirs: {QUEUES.help}", flush=True)
    rates = {broker.name: {} for broker in [disk, *rivals]}
    for repeat in range(options.repeats):
        order = [disk, *rivals]
        shift = repeat % len(order)
        for broker in order[shift:] + order[:shift]:
            case, scenario = (QUEUE, "queue") if broker is disk else (QUEUES, "pairs")
            run = bench.measure(run_once, case, broker, repeat)
            if run:
                rates[broker.name].update(values_of([run], scenario, "msgs_per_cpu_s"))
    for name, values in rates.items():
        bench.figure(f"{name}, msg per broker CPU-second", values)
    for broker in rivals:
        bench.judge(f"ours / {broker.name}", combine(lambda one, other: one / other, rates[disk.name],
                                                     rates[broker.name]),
                    f"{wanted[broker.name]} or more", lambda ratio, least=wanted[broker.name]: ratio >= least)


def stream(bench, disk):
    """A stream is filled and read; beside it plain messages on the same disk, and live ones."""
    runs = {case.name: [] for case in (PLAIN, STREAM, LIVE_0, STREAM_OF_10)}
    for case in (PLAIN, STREAM, LIVE_0, STREAM_OF_10):
        print(f"{case.name}: {case.help}", flush=True)
    for repeat in range(bench.options.repeats):
        for case in (PLAIN, STREAM, LIVE_0, STREAM_OF_10):
            run = bench.measure(run_once, case, disk, repeat)
            if run:
                runs[case.name].append(run)
    plain = values_of(runs["plain"], "offline-fill", "msgs_per_s")
    append = values_of(runs["stream"], "stream-append", "msgs_per_s")
    live = values_of(runs["live-0"], "pairs", "msgs_per_s")
    replay_rate = values_of(runs["stream"], "stream-replay", "msgs_per_s")
    one = values_of(runs["stream"], "stream-replay", "cpu_ns_per_msg")
    ten = values_of(runs["stream-10"], "stream-replay", "cpu_ns_per_msg")
    for name, values in (("plain QoS 1, msg/s", plain), ("append to a stream, msg/s", append),
                         ("live QoS 0, msg/s", live), ("replay to one reader, msg/s", replay_rate),
                         ("one reader, ns of broker CPU for each message", one), ("10 readers, the same", ten)):
        bench.figure(name, values)
    ratio = functools.partial(combine, lambda first, second: first / second)
    bench.judge("append / plain", ratio(append, plain), f"{APPEND_MIN} or more", lambda found: found >= APPEND_MIN)
    bench.judge("replay / live", ratio(replay_rate, live), f"{STREAM_REPLAY_MIN} or more",
                lambda found: found >= STREAM_REPLAY_MIN)
    bench.judge("10 readers / one", ratio(ten, one), f"{STREAM_OF_10_MAX} or less",
                lambda found: found <= STREAM_OF_10_MAX)


def stream_others(bench, disk, rivals):
    """Replay of a stream of ours against the streams of others, each by its own protocol."""
    options = bench.options
    load = f"--messages {options.messages} --payload 200"
    ours = Case("stream-ours", f"{options.messages} messages of 200 bytes into a stream, window 1000, and one reader "
                "at QoS 0 from its beginning", f"--scenario stream {load}", saturated=False)
    theirs = [Case(name, text, f"--protocol {protocol} {load} {further}", saturated=False, program=STREAM_LOAD)
              for name, text, protocol, further in (
                  ("rabbit-stream", "the same messages, window 10 000, as its own client has it", "rabbitmq", ""),
                  ("rabbit-stream-1000", "the same with a window of 1000, as ours", "rabbitmq", "--window 1000"),
                  ("nats-stream", "the same messages, and an ordered consumer, which acknowledges none", "nats", ""))]
    found = [(ours, disk)] + [(case, broker) for case in theirs for broker in rivals
                              if case.name.startswith(broker.name)]
    print("\nstream-others", flush=True)
    for case, _broker in found:
        print(f"{case.name}: {case.help}", flush=True)
    runs = {case.name: [] for case, _broker in found}
    for repeat in range(options.repeats):
        shift = repeat % len(found)
        for case, broker in found[shift:] + found[:shift]:
            run = bench.measure(run_once, case, broker, repeat)
            if run:
                runs[case.name].append(run)
    rates = {name: values_of(made, "stream-replay", "msgs_per_cpu_s") for name, made in runs.items()}
    for name, made in runs.items():
        bench.figure(f"{name}, msg per broker CPU-second", rates[name])
        bench.figure("  share of its core", values_of(made, "stream-replay", "broker_cpu_share"))
        if name.startswith("rabbit"):
            bench.figure("  messages to a chunk", values_of(made, "stream-replay", "chunk_msgs"))
    for case, _broker in found[1:]:
        bench.judge(f"ours / {case.name}", combine(lambda one, other: one / other, rates[ours.name], rates[case.name]),
                    "more than 1", lambda ratio: ratio > 1)


def queue_depth(bench, disk, brokers):
    """A queue that is filled to some depth and drained; beside it mosquitto's kept session in memory, at a million."""
    options = bench.options
    print("\na queue is filled without a consumer, then drained by one: ns of broker CPU for each message", flush=True)
    costs = {}
    mosquitto = [broker for broker in brokers if broker.name == "mosquitto-memory"]
    for depth in QUEUE_DEPTHS:
        for broker in [disk, *(mosquitto if depth == 1_000_000 else [])]:
            case = Case("depth", f"{depth} messages", f"--scenario offline --qos 1 --messages {depth} --window 1000"
                        + (" --queue" if broker is disk else ""), saturated=False)
            repeats = range(1 if depth > 1_000_000 else options.repeats)
            runs = [run for run in (bench.measure(run_once, case, broker, repeat) for repeat in repeats) if run]
            cost = combine(lambda fill, drain: fill + drain, values_of(runs, "offline-fill", "cpu_ns_per_msg"),
                           values_of(runs, "offline-drain", "cpu_ns_per_msg"))
            bench.figure(f"{broker.name}, {depth} messages, filled and drained", cost)
            bench.figure("  bytes of memory for one that waits", values_of(runs, "offline-fill", "bytes_per_queued"))
            if broker is disk and cost:
                costs[depth] = statistics.median(value for value, _quiet in cost.values())
    for depth in QUEUE_DEPTHS[3:]:
        if depth in costs and 100_000 in costs:
            bench.figure(f"{depth} messages / 100 000", {0: (costs[depth] / costs[100_000], True)})
    further = []  # without what is spent once, which a thousand messages have to share
    for less, more in itertools.pairwise(sorted(costs)):
        further.append((costs[more] * more - costs[less] * less) / (more - less))
        bench.figure(f"each message between {less} and {more}", {0: (further[-1], True)})
    if further:
        bench.figure("the most of these / the least; wanted 1.3 or less", {0: (max(further) / min(further), True)})


def brokers_of(options):
    """Ours in memory and on disk, and those others that are installed."""
    server = shlex.quote(options.server)
    found = [Broker("mqttq-memory", server, queues=True), Broker("mqttq-disk", server, keeps=True, queues=True)]
    return found + installed(OTHERS, {"others", "queue-others"}.intersection(options.parts))


def installed(others, is_asked_for):
    """Those of (name, program, settings of the Broker) whose program is there; what is missing is told if asked for."""
    found = []
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/lib/rabbitmq/bin"
    for name, program, settings in others:
        # Debian's rabbitmq-server in PATH is a wrapper that becomes another user; the script is what it calls.
        where = "/usr/lib/rabbitmq/bin" if program == "rabbitmq-server" else path
        command = shutil.which(program, path=where)
        if command:
            found.append(Broker(name, shlex.quote(command), **settings))
        elif is_asked_for:
            print(f"{name} is left out: no {program} was found", file=sys.stderr)
    return found


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measures what durability costs.")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    build = os.path.join(root, "build", "release")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--build", default=build, help="where the programs are looked for (%(default)s)")
    parser.add_argument("--folder", default=os.path.join(root, "build", "durable"),
                        help="on the disk that is meant; all data is below it, and is removed (%(default)s)")
    parser.add_argument("--room", choices=("reserved", "written"), default="written",
                        help="of the floor's file: zeros beforehand, like the room that the broker uses again, or "
                        "reserved like that of its first files (%(default)s)")
    parser.add_argument("--no-sums", action="store_true", help="a floor that computes no CRC-32C")
    parser.add_argument("--messages", type=int, default=STREAM_MESSAGES,
                        help="in a stream, of stream-others only (%(default)s)")
    parser.add_argument("--rate", type=int, help="for latency, instead of a tenth of the throughput")
    add_run_options(parser)
    options = parser.parse_args()
    check_run_options(parser, options)
    if options.messages < 1:
        parser.error("--messages is 1 or more")
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options.parts = options.parts or list(PARTS)
    if "latency" in options.parts and "throughput" not in options.parts and not options.rate:
        parser.error("latency without throughput needs --rate")
    programs = [find_program(options.build, name) for name in ("bench_load", "bench_store_floor", "mqttq-server")]
    if not all(programs):
        parser.error(f"bench_load, bench_store_floor or mqttq-server is not in {options.build}; build the preset "
                     "\"release\" or give --build")
    options.load, options.floor, options.server = programs
    return options


def measure(options):
    bench = Bench(options)
    brokers = brokers_of(options)
    memory, disk = brokers[:2]
    rivals = installed(STREAM_OTHERS, True) if "stream-others" in options.parts else []
    floor = Floor(options.floor)
    print(f"machine: {machine.description()}; load average at start: {machine.load_average()}")
    for broker in brokers + rivals:
        print(f"{broker.name}: {broker.build}")
    print(f"median (min..max) of {options.repeats} repeats of {options.seconds:g} s; MQTT {options.version}; data in "
          f"{options.folder}; the floor's room is {options.room}, {'without' if options.no_sums else 'with'} sums")
    rate = options.rate
    if "throughput" in options.parts:
        wall = throughput(bench, memory, disk, floor)
        rate = rate or (wall and max(1, round(LOAD_SHARE * wall)))
    if "latency" in options.parts and rate:
        latency(bench, memory, disk, floor, rate)
    if "replay" in options.parts:
        replay(bench, disk)
    if "others" in options.parts:
        others(bench, brokers)
    if "queue" in options.parts:
        throughput(bench, memory, disk, floor, QUEUE, "queue", 2)
    if "queue-others" in options.parts:
        queue_others(bench, disk, brokers)
    if "queue-depth" in options.parts:
        queue_depth(bench, disk, brokers)
    if "stream" in options.parts:
        stream(bench, disk)
    if "stream-others" in options.parts:
        stream_others(bench, disk, rivals)
    return bench, brokers + rivals


def main():
    options = parse_arguments()
    raise_file_limit()
    os.makedirs(options.folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as options.scratch:
        try:
            bench, brokers = measure(options)
        except BrokerError as error:
            print(error, file=sys.stderr)
            return 1
    if options.json:
        write_json(options, brokers, bench.runs, bench.rows)
    if bench.failed:
        return 1
    return 3 if bench.busy else 0


if __name__ == "__main__":
    sys.exit(main())
