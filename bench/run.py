#!/usr/bin/env python3
"""Measures brokers against each other in one run and prints medians, spreads and ratios. See README.md.

Exit codes: 0 all measured · 1 a broker or the load generator failed · 2 wrong arguments · 3 the machine was too busy
for at least one ratio.
"""

import argparse
import functools
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

import cases
import machine
from brokers import Broker, BrokerError

LOAD_TIMEOUT_S = 300
UNSUPPORTED_CODE = 4        # of bench_load: the broker refused what the scenario needs
SATURATED_SHARE = 0.90      # of a core: below it the wall figure is not what the broker can do
LOAD_BOUND_SHARE = 0.97     # of a core: above it the load generator may be what limits the wall figure


class Run:
    """One run of one case against one broker: the lines that came out, and whether the machine was quiet."""

    def __init__(self, case, broker, repeat):
        self.case, self.broker, self.repeat = case, broker, repeat
        self.lines = {}       # by the line's scenario
        self.error = None
        self.unsupported = False
        self.use = None
        self.quiet = False
        self.load_average = ""

    def as_json(self):
        return {"case": self.case.name, "broker": self.broker.name, "repeat": self.repeat, "lines": self.lines,
                "error": self.error, "unsupported": self.unsupported, "quiet": self.quiet,
                "other_share": round(self.use.other_share, 4), "steal_share": round(self.use.steal_share, 4),
                "load_average": self.load_average}


def parse_line(text):
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def run_once(options, case, broker, repeat, before_stop=None):
    """before_stop: is told the broker's folder while the broker still runs, when the load went well."""
    run = Run(case, broker, repeat)
    run.load_average = machine.load_average()
    before = machine.Sample()
    running = None
    program = case.program or options.load
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.scratch) as folder:
        try:
            running = broker.start(options.broker_cores, folder)
            command = [program, "--port", str(running.port), "--pid", ",".join(map(str, running.pids)),
                       "--broker", broker.name, "--build", broker.build,
                       "--store", "disk" if broker.keeps else "none", "--version", options.version,
                       "--seed", str(options.seed + repeat),
                       "--seconds", str(options.seconds), "--warmup", str(options.warmup)] + shlex.split(case.arguments)
            result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                                    timeout=LOAD_TIMEOUT_S,
                                    preexec_fn=lambda: os.sched_setaffinity(0, options.load_cores))
            run.unsupported = result.returncode == UNSUPPORTED_CODE
            if result.returncode == 0:
                for text in result.stdout.splitlines():
                    line = parse_line(text)
                    run.lines[line["scenario"]] = line
                if before_stop:
                    before_stop(folder)
            elif not run.unsupported:
                run.error = result.stderr.strip() or f"{os.path.basename(program)} ended with code {result.returncode}"
        except BrokerError as error:
            run.error = str(error)
        except subprocess.TimeoutExpired:
            run.error = f"{os.path.basename(program)} took more than {LOAD_TIMEOUT_S} s"
        finally:
            if running:
                running.stop()
    run.use = machine.Use(before, machine.Sample())
    run.quiet = run.use.quiet(options.busy_max)
    return run


def attempt(options, once):
    """once() until the machine was quiet, it failed, or there are no retries left; its Run is told."""
    for _attempt in range(1 + options.retries):
        run = once()
        if run.quiet or run.error or run.unsupported:
            break
    if options.lines:
        for line in run.lines.values():
            print(" ".join(f"{key}={value}" for key, value in line.items()), flush=True)
    if run.error:
        print(f"{run.case.name}: {run.broker.name}: {run.error}", file=sys.stderr, flush=True)
    return run


def run_case(options, case):
    """All repeats of one case, the brokers in turn, whoever began last time going last."""
    runs = []
    refused = set()
    for repeat in range(options.repeats):
        shift = repeat % len(options.brokers)
        for broker in options.brokers[shift:] + options.brokers[:shift]:
            if broker.name in refused or (broker.kind == "reference" and not case.reference):
                continue
            run = attempt(options, functools.partial(run_once, options, case, broker, repeat))
            runs.append(run)
            if run.error or run.unsupported:
                refused.add(broker.name)
    return runs


def values_of(runs, broker, scenario, key):
    """{repeat: (value, quiet)} of one broker's runs."""
    found = {}
    for run in runs:
        if run.broker.name == broker.name and key in run.lines.get(scenario, {}):
            found[run.repeat] = (float(run.lines[scenario][key]), run.quiet)
    return found


def ratio_of(options, figure, ours, theirs):
    """The median of the ratios repeat by repeat, with its spread; "busy" when most repeats were disturbed."""
    pairs = [(ours[repeat], theirs[repeat]) for repeat in ours if repeat in theirs]
    if not pairs:
        return None
    usable = [(a, b) for (a, a_quiet), (b, b_quiet) in pairs if (a_quiet and b_quiet) or not figure.needs_quiet]
    if 2 * len(usable) <= options.repeats:
        return "busy"
    ratios = [(a / b if figure.more_is_better else b / a) for a, b in usable if a > 0 and b > 0]
    return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


def table_rows(options, case, runs):
    """One row for each figure and broker."""
    scenarios = []
    for run in runs:
        scenarios += [name for name in run.lines if name not in scenarios]
    rows = []
    for scenario in scenarios:
        keys = {key: value for run in runs for key, value in run.lines.get(scenario, {}).items()}
        for figure in cases.figures_of(keys):
            by_broker = {broker.name: values_of(runs, broker, scenario, figure.key) for broker in options.brokers}
            for broker in options.brokers:
                values = by_broker[broker.name]
                if not values:
                    continue
                undisturbed = [value for value, quiet in values.values() if quiet]
                mostly = figure.needs_quiet and 2 * len(undisturbed) > len(values)
                numbers = undisturbed if mostly else [value for value, _quiet in values.values()]
                row = {"case": case.name, "scenario": scenario, "figure": figure.key, "unit": figure.unit,
                       "broker": broker.name, "median": statistics.median(numbers), "min": min(numbers),
                       "max": max(numbers), "quiet": sum(quiet for _value, quiet in values.values()),
                       "repeats": len(values), "ratios": {}}
                for key in ("msgs_per_s", "broker_cpu_share", "load_cpu_share", "p50_us", "p99_us"):
                    others = [value for value, _quiet in values_of(runs, broker, scenario, key).values()]
                    row[key] = statistics.median(others) if others else None
                for base in options.brokers:
                    if base.kind != "mqttq" and base.name != broker.name:
                        ratio = ratio_of(options, figure, values, by_broker[base.name])
                        if ratio is not None:
                            row["ratios"][base.name] = ratio
                rows.append(row)
    return rows


def short(number):
    """12345678 as "12.3M": three digits are what a measurement here is worth."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            scaled = number / limit
            return f"{scaled:.{max(0, 2 - len(str(int(abs(scaled)))) + 1)}f}{unit}"
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"


def print_rows(case, rows):
    print(f"\n{case.name}: {case.help}"
          + (f"; wanted {case.wanted[0]} x mosquitto, at least {case.wanted[1]}" if case.wanted else ""))
    figure = None
    for row in rows:
        if (row["scenario"], row["figure"]) != figure:
            figure = (row["scenario"], row["figure"])
            print(f"  {row['scenario']}, {row['unit']}:")
        text = f"    {row['broker']:<12}{short(row['median']):>8} ({short(row['min'])}..{short(row['max'])})"
        text = f"{text:<44}quiet {row['quiet']}/{row['repeats']}"
        if row["figure"] in ("msgs_per_cpu_s", "p99_us"):
            text += (f"  wall {short(row['msgs_per_s'] or 0):>6}/s{capacity_note(case, row)}"
                     f"  broker {percent(row['broker_cpu_share'])} load {percent(row['load_cpu_share'])}")
            if row["p50_us"] is not None:
                text += f"  p50 {short(row['p50_us'])} us p99 {short(row['p99_us'])} us"
        for base, ratio in row["ratios"].items():
            text += f"  x {base} "
            text += ratio if ratio == "busy" else f"{short(ratio[0])} ({short(ratio[1])}..{short(ratio[2])})"
        print(text)
    sys.stdout.flush()


def capacity_note(case, row):
    """Marks a wall figure that says nothing about the broker's capacity."""
    if not case.saturated or (row["broker_cpu_share"] or 0) >= SATURATED_SHARE:
        return " "
    return "!" if (row["load_cpu_share"] or 0) >= LOAD_BOUND_SHARE else "~"


def percent(share):
    return "   -" if share is None else f"{100 * share:3.0f}%"


def find_program(folder, name):
    for path, _folders, files in os.walk(folder):
        candidate = os.path.join(path, name)
        if name in files and os.access(candidate, os.X_OK):
            return candidate
    return None


def brokers_of(texts, build, names):
    """Those of NAME=COMMAND, or without any the ones of `names` that are found."""
    commands = [text.partition("=")[::2] for text in texts]
    if not commands:
        programs = {"mqttq": lambda: find_program(build, "mqttq-server"),
                    "mosquitto": lambda: shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin"),
                    "reference": lambda: find_program(build, "bench_reference")}
        commands = [(name, programs[name]()) for name in names]
        for name, path in commands:
            if not path:
                print(f"{name} was not found and is left out", file=sys.stderr)
        commands = [(name, shlex.quote(path)) for name, path in commands if path]
    return [Broker(name, command) for name, command in commands]


def core_set(text):
    cores = {int(word) for word in text.split(",")}
    if not cores <= os.sched_getaffinity(0):
        raise ValueError(text)
    return cores


def add_run_options(parser):
    """How often, how long and where a run is made."""
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--retries", type=int, default=1,
                        help="more attempts at a run that was disturbed (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="measured, of each run (%(default)s)")
    parser.add_argument("--warmup", type=float, default=0.5, help="before that (%(default)s)")
    parser.add_argument("--version", choices=("3.1.1", "5"), default="3.1.1", help="of MQTT (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first repeat; each next one adds 1")
    parser.add_argument("--broker-cores", type=core_set, default={0}, metavar="N,N", help="(0)")
    parser.add_argument("--load-cores", type=core_set, default={1}, metavar="N,N", help="(1)")
    parser.add_argument("--busy-max", type=float, default=0.05,
                        help="share of a core that other programs may use before a run counts as busy (%(default)s)")
    parser.add_argument("--lines", action="store_true", help="also print the load generator's lines")
    parser.add_argument("--json", metavar="FILE", help="also write every run and row to FILE")


def check_run_options(parser, options):
    if options.repeats < 1 or options.retries < 0 or options.seconds <= 0 or options.warmup < 0:
        parser.error("--repeats is 1 or more, --retries 0 or more, --seconds more than 0, --warmup 0 or more")


def raise_file_limit():
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def write_json(options, brokers, runs, rows):
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump({"machine": machine.description(), "version": options.version, "seconds": options.seconds,
                   "brokers": {broker.name: broker.build for broker in brokers},
                   "runs": [run.as_json() for run in runs], "rows": rows}, file, indent=1)
        file.write("\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measures MQTT brokers against each other.",
                                     epilog="cases: " + ", ".join(case.name for case in cases.CASES))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("cases", nargs="*", help="names of cases; \"all\"; without any, a quick choice of them")
    parser.add_argument("--build", default=os.path.join(root, "build", "release"),
                        help="where bench_load, bench_reference and mqttq-server are looked for (%(default)s)")
    parser.add_argument("--broker", action="append", metavar="NAME=COMMAND", default=[],
                        help="a broker to measure, its kind told by the program's name; replaces the default three; "
                             "may be repeated, also for two builds or two settings of one broker")
    add_run_options(parser)
    options = parser.parse_args()
    check_run_options(parser, options)
    wanted = options.cases or cases.QUICK
    known = {case.name: case for case in cases.CASES}
    unknown = [name for name in wanted if name not in known and name != "all"]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}")
    options.scratch = None  # where temporary files are anyway
    options.chosen = cases.CASES if "all" in wanted else [known[name] for name in wanted]
    options.load = find_program(options.build, "bench_load")
    if not options.load:
        parser.error(f"no bench_load in {options.build}; build the preset \"release\" or give --build")

    try:
        options.brokers = brokers_of(options.broker, options.build, ("mqttq", "mosquitto", "reference"))
    except (BrokerError, IndexError) as error:
        parser.error(f"--broker: {error}")
    if not options.brokers or len({broker.name for broker in options.brokers}) != len(options.brokers):
        parser.error("brokers need names of their own, and there must be one at least")
    return options


def main():
    options = parse_arguments()
    raise_file_limit()
    print(f"machine: {machine.description()}; load average at start: {machine.load_average()}")
    for broker in options.brokers:
        print(f"{broker.name}: {broker.build}")
    print(f"median (min..max) of {options.repeats} alternating repeats of {options.seconds:g} s; "
          f"MQTT {options.version}; wall figures marked ~ (broker not saturated) or ! (load generator saturated) "
          f"are not the broker's capacity")
    all_runs, all_rows = [], []
    for case in options.chosen:
        runs = run_case(options, case)
        rows = table_rows(options, case, runs)
        print_rows(case, rows)
        all_runs += runs
        all_rows += rows

    busy = any(ratio == "busy" for row in all_rows for ratio in row["ratios"].values())
    if busy:
        worst = max(all_runs, key=lambda run: run.use.other_share + run.use.steal_share)
        print(f"\nthe machine was busy: up to {100 * worst.use.other_share:.0f}% of a core went to other programs and "
              f"{100 * worst.use.steal_share:.0f}% to the hypervisor, where {100 * options.busy_max:.0f}% is allowed")
    if options.json:
        write_json(options, options.brokers, all_runs, all_rows)
    if any(run.error for run in all_runs):
        return 1
    return 3 if busy else 0


if __name__ == "__main__":
    sys.exit(main())
