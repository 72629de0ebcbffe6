#!/usr/bin/env python3
"""Instructions per message on the walk of a PUBLISH, against what they were.

    tools/check_instructions.py [--program FILE] [--update]

Runs each case of `bench_core walk` under valgrind's callgrind twice, with few and with more messages: the difference is
what a message costs, without the set-up. The figures do not depend on the machine's mood, but on the compiler; so
bench/core/instructions.txt keeps them by compiler, and another one is printed and not judged. Exit code 1 when a case
costs over 3 % more than it did: --update then writes what is true now, and the commit says why.
"""

import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "bench" / "core" / "instructions.txt"
CASES = ["decode", "qos0", "qos1", "qos2", "fanout", "fanout-qos1", "shared", "route", "qos0-of-two",
         "qos1-of-two"]
FEW, MORE = 1_000, 4_000  # messages
TOLERANCE = 1.03
HEAD = "# Instructions per message: compiler, case of bench_core, count. Written by tools/check_instructions.py.\n"


def count(program: pathlib.Path, case: str, messages: int) -> int:
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "walk", case,
                           str(messages)], capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"instructions: {case}: {done.stderr.strip().splitlines()[-1]}")
    return int(found[1])


def load() -> dict[tuple[str, str], int]:
    if not FILE.exists():
        return {}
    lines = [line.split() for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {(compiler, case): int(figure) for compiler, case, figure in lines}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build" / "release" / "bench" / "bench_core")
    parser.add_argument("--update", action="store_true", help="write the figures of this compiler anew")
    options = parser.parse_args()
    compiler = subprocess.run([options.program, "compiler"], capture_output=True, text=True, check=True).stdout.strip()
    known, now, worse = load(), {}, []
    for case in CASES:
        spent = count(options.program, case, MORE) - count(options.program, case, FEW)
        now[compiler, case] = round(spent / (MORE - FEW))
        before = known.get((compiler, case))
        print(f"{case:12} {now[compiler, case]:7} instructions a message" + (f", was {before}" if before else ""))
        if before and now[compiler, case] > before * TOLERANCE:
            worse.append(case)
    if options.update:
        known.update(now)
        FILE.write_text(HEAD + "".join(f"{key[0]} {key[1]} {known[key]}\n" for key in sorted(known)), encoding="utf-8")
        return 0
    if not any(key in known for key in now):
        print(f"instructions: no figures are kept for {compiler}")
    if worse:
        print(f"instructions: over {TOLERANCE - 1:.0%} more than before: {', '.join(worse)}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
