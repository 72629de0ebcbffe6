#!/usr/bin/env python3
"""Proves how durable.py judges, with figures made up, and that what it prints of a short run fits together.

usage: check_durable.py BUILD_FOLDER, which has bench_load, bench_store_floor and mqttq-server. Exits 0 when all is
well.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import durable
from checks import run_checks


def judged(values, wanted=2, repeats=3):
    """(verdict, whether it was too busy) of `wanted` or more."""
    bench = durable.Bench(SimpleNamespace(repeats=repeats))
    with contextlib.redirect_stdout(io.StringIO()) as output:
        bench.judge("figure", values, f"{wanted} or more", lambda value: value >= wanted)
    return output.getvalue().splitlines()[-1].rpartition(": ")[2], bench.busy


def verdicts(_build):
    assert judged({0: (1, True), 1: (2, True), 2: (9, True)}) == ("met", False)
    assert judged({0: (1, True), 1: (1.9, True), 2: (9, True)}) == ("NOT MET", False)
    # A disturbed repeat is left out while most are quiet; else nothing is judged.
    assert judged({0: (1, True), 1: (1, True), 2: (9, False)}) == ("NOT MET", False)
    assert judged({0: (9, True), 1: (1, False), 2: (1, False)})[1]
    assert judged({}) == ("not measured", False)


def combined(_build):
    one, other = {0: (8, True), 1: (9, True), 2: (6, False)}, {0: (2, True), 2: (3, True), 3: (1, True)}
    assert durable.combine(lambda a, b: a / b, one, other) == {0: (4, True), 2: (2, False)}


def short_run(build):
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = os.path.join(folder, "figures.json")
        result = subprocess.run(
            [sys.executable, durable.__file__, "throughput", "latency", "--build", build, "--folder", folder,
             "--repeats", "1", "--retries", "0", "--seconds", "0.3", "--warmup", "0.1", "--busy-max", "100",
             "--json", path],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        assert os.listdir(folder) == ["figures.json"], os.listdir(folder)
    median = {row["what"]: row["median"] for row in found["rows"]}
    lines = {(run["case"], run["broker"]): run["lines"] for run in found["runs"]}
    memory, floor = (float(lines["always", name][scenario]["msgs_per_cpu_s"])
                     for name, scenario in (("mqttq-memory", "pairs"), ("floor", "floor")))
    disk = lines["always", "mqttq-disk"]["pairs"]
    expected = 1 / (1 / memory + 1 / floor)
    assert abs(median["on disk / expected"] * expected / float(disk["msgs_per_cpu_s"]) - 1) < 1e-6, median
    assert disk["store"] == "disk" and lines["always", "mqttq-memory"]["pairs"]["store"] == "none", disk
    # The floor had the batches of the broker: messages of this case, many to a batch under load and fewer at a tenth.
    body = 4 + 8 + 33 + len("bench/pair/0") + 64
    bytes_per_message = float(lines["always", "floor"]["floor"]["bytes_per_msg"])
    assert 48 + body <= bytes_per_message < 2 * (48 + body), bytes_per_message
    batches = [float(lines[case, "floor"]["floor"]["batch_msgs"]) for case in ("always", "latency")]
    assert batches[0] > batches[1] >= 0.5, batches
    rate = int(lines["latency", "mqttq-disk"]["latency"]["rate"])
    assert rate == round(0.1 * float(disk["msgs_per_s"])), rate
    ratio = (float(lines["latency", "mqttq-disk"]["latency"]["ack_p99_us"])
             / float(lines["latency", "floor"]["floor"]["commit_us_p50"]))
    assert abs(median["p99 acknowledge / median commit"] / ratio - 1) < 1e-6, median


def refused(build):
    for arguments, text in ((["latency"], "needs --rate"), (["speed"], "no part speed"),
                            (["replay", "--build", "/nowhere"], "is not in /nowhere"),
                            (["replay", "--repeats", "0"], "--repeats is 1 or more"),
                            (["stream-others", "--messages", "0"], "--messages is 1 or more")):
        result = subprocess.run([sys.executable, durable.__file__, "--build", build, *arguments], capture_output=True,
                                stdin=subprocess.DEVNULL, text=True, check=False, timeout=60)
        assert result.returncode == 2 and text in result.stderr, (arguments, result)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(run_checks((verdicts, combined, refused, short_run), *sys.argv[1:]))
