#!/usr/bin/env python3
"""Adds up what the test programs reported about themselves, for tools/test.

    count_results.py [--failed STAGE]... FOLDER...

A folder holds what one stage left, and has its name. Below it are
  ctest.xml   CTest's JUnit file; a test that left a report of its own counts as the cases in it, any other as one
  <test>.xml  the Catch2 XML report, or pytest's JUnit file, of the CTest test of that name
  checks.txt  lines "passed NAME" and "failed NAME" of tools/check
A test program that failed without a failed case of its own (it crashed, or leaked) counts as one more failure, and so
does a stage given as --failed without a failed test of its own (it did not build). The last line is the sum:
`N passed, N failed`, with `, N skipped` if any were.
"""

import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: "Count") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed"
        return f"{text}, {self.skipped} skipped" if self.skipped else text


def parsed(path: pathlib.Path):
    """The root element, or None where the file is absent or was cut off by a crash."""
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None


def catch2_count(path: pathlib.Path) -> Count | None:
    root = parsed(path)
    cases = root.find("OverallResultsCases") if root is not None else None
    if cases is None:
        return None
    return Count(passed=int(cases.get("successes", 0)) + int(cases.get("expectedFailures", 0)),
                 failed=int(cases.get("failures", 0)), skipped=int(cases.get("skips", 0)))


def pytest_count(path: pathlib.Path) -> Count | None:
    root = parsed(path)
    suites = list(root.iter("testsuite")) if root is not None else []
    if not suites:
        return None
    total = Count()
    for suite in suites:
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        total.add(Count(int(suite.get("tests", 0)) - failed - skipped, failed, skipped))
    return total


def ctest_counts(path: pathlib.Path):
    """Yields (test name, Count) for each test that CTest ran."""
    root = parsed(path)
    if root is None:
        return
    for case in root.iter("testcase"):
        name = case.get("name", "")
        status = case.get("status", "")
        report = path.parent / f"{name}.xml"
        count = catch2_count(report) or pytest_count(report)
        if count is None:
            ran = UNITTEST_RAN.search(case.findtext("system-out") or "")
            if status == "run":
                count = Count(passed=int(ran.group(1)) if ran else 1)
            elif status == "fail":
                count = Count(failed=1)
            else:  # disabled or notrun: a program that is missing is a failure, one that said "skip" is not
                skipped = case.find("skipped")
                reason = skipped.get("message", "") if skipped is not None else ""
                count = Count(skipped=1) if "SKIP" in reason or status == "disabled" else Count(failed=1)
        elif status != "run" and not count.failed:
            count.failed += 1
        yield name, count


def checks_count(path: pathlib.Path) -> Count:
    words = [line.split(maxsplit=1)[0] for line in path.read_text().splitlines() if line.strip()]
    return Count(words.count("passed"), words.count("failed"), words.count("skipped"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--failed", action="append", default=[], metavar="STAGE")
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()

    total = Count()
    for folder in arguments.folders:
        stage = Count()
        for path in sorted(folder.rglob("ctest.xml")):
            for name, count in ctest_counts(path):
                print(f"{folder.name + ' ' + path.parent.name + ' ' + name:48} {count}")
                stage.add(count)
        for path in sorted(folder.rglob("checks.txt")):
            count = checks_count(path)
            print(f"{folder.name + ' checks':48} {count}")
            stage.add(count)
        if folder.name in arguments.failed and not stage.failed:
            stage.failed = 1
            print(f"{folder.name + ' itself':48} {Count(failed=1)}")
        total.add(stage)
    print()
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
