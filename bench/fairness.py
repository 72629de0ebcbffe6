#!/usr/bin/env python3
"""How a quiet pair fares beside one publisher that floods, and beside a subscriber that reads slowly.

    bench/fairness.py [--broker NAME=COMMAND]... [--seconds S] [--repeats N]

A pair exchanges 100 messages a second at QoS 0, each timed from send to receive: alone, beside a flood (bench_load with
one pair, flat out), and beside a flood to a subscriber that takes 100 KiB a second. Broker on core 0; the pair and the
flood share core 1, where the pair runs before everything else (SCHED_FIFO, which wants root). Prints medians over the
repeats of each repeat's p50 and p99 in microseconds, and the p99's ratio to that of the pair alone.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from run import brokers_of, find_program

RATE = 100          # messages a second
PAYLOAD = b"." * 64
SLOW_CHUNK = 10 * 1024  # bytes, ten times a second


def connect(port, client_id):
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = client_id.encode()
    link.sendall(bytes([0x10, 12 + len(name)]) + b"\0\4MQTT\4\2\0\0" + len(name).to_bytes(2, "big") + name)
    if read(link, 4) != b"\x20\2\0\0":
        sys.exit("a client is refused")
    return link


def read(link, size):
    taken = b""
    while len(taken) < size:
        more = link.recv(size - len(taken))
        if not more:
            sys.exit("a connection ended")
        taken += more
    return taken


def subscribe(link, topic_filter):
    text = topic_filter.encode()
    link.sendall(bytes([0x82, 5 + len(text), 0, 1, 0, len(text)]) + text + b"\0")
    read(link, 5)


def pair_latencies(port, seconds):
    """Microseconds from send to receive, one by one."""
    os.sched_setaffinity(0, {1})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    taker, giver = connect(port, "quiet-taker"), connect(port, "quiet-giver")
    subscribe(taker, "quiet")
    packet = bytes([0x30, 7 + len(PAYLOAD)]) + b"\0\5quiet" + PAYLOAD
    found = []
    due = time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(0, due - time.monotonic()))  # until it is due
        begin = time.perf_counter_ns()
        giver.sendall(packet)
        read(taker, len(packet))
        found.append((time.perf_counter_ns() - begin) / 1000)
        due += 1 / RATE
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return sorted(found)


def read_slowly(port, topic_filter, stop):
    link = connect(port, "slow-taker")
    subscribe(link, topic_filter)
    while not stop.wait(0.1):
        link.recv(SLOW_CHUNK)
    link.close()


def wait_until_busy(pid):
    """Until the broker has worked for half a second: the flood is on."""
    def worked():
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return sum(int(word) for word in file.read().rpartition(")")[2].split()[11:13]) / os.sysconf("SC_CLK_TCK")
    before, deadline = worked(), time.monotonic() + 20
    while worked() - before < 0.5:
        if time.monotonic() > deadline:
            sys.exit("the flood does not begin")
        time.sleep(0.01)


def measure(options, broker, beside):
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        running = broker.start({0}, folder)
        flood, slow, stop = None, None, threading.Event()
        try:
            if beside != "alone":
                command = [options.load, "--port", str(running.port), "--scenario", "pairs", "--clients", "1",
                           "--warmup", "0.1", "--seconds", str(options.seconds + 3)]
                flood = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                         preexec_fn=lambda: os.sched_setaffinity(0, {1}))
                if beside == "slow subscriber":
                    slow = threading.Thread(target=read_slowly, args=(running.port, "#", stop))
                    slow.start()
                wait_until_busy(running.pid)
            return pair_latencies(running.port, options.seconds)
        finally:
            stop.set()
            if slow:
                slow.join()
            if flood:
                flood.kill()
                flood.wait()
            running.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    build = os.path.join(root, "build", "release")
    parser.add_argument("--broker", action="append", metavar="NAME=COMMAND", default=[])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    options.load = find_program(build, "bench_load")
    os.sched_setaffinity(0, {1})
    for broker in brokers_of(options.broker, build, ("mqttq", "mosquitto")):
        alone = None
        for beside in ("alone", "flood", "slow subscriber"):
            runs = [measure(options, broker, beside) for _ in range(options.repeats)]
            p50 = statistics.median(run[len(run) // 2] for run in runs)
            p99s = [run[len(run) * 99 // 100] for run in runs]
            p99 = statistics.median(p99s)
            alone = alone or p99
            print(f"{broker.name:<12}{beside:<16} p50 {p50:7.0f} us  p99 {p99:7.0f} us "
                  f"({min(p99s):.0f}..{max(p99s):.0f})  x alone {p99 / alone:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
