"""tools/count_results.py on reports like those of CTest, Catch2, pytest and tools/check."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import count_results  # noqa: E402


def ctest(*cases: str) -> str:
    return f"<testsuite>{''.join(cases)}</testsuite>"


def case(name: str, status: str, inside: str = "") -> str:
    return f'<testcase name="{name}" status="{status}">{inside}</testcase>'


def catch2(successes: int, failures: int, skips: int = 0) -> str:
    return (f'<Catch2TestRun><OverallResultsCases successes="{successes}" failures="{failures}" '
            f'expectedFailures="0" skips="{skips}"/></Catch2TestRun>')


class Counting(unittest.TestCase):
    def count(self, files: dict[str, str], failed: tuple[str, ...] = ()) -> tuple[str, int]:
        """The last line and the exit code for a stage `unit` that left these reports."""
        with tempfile.TemporaryDirectory() as above:
            folder = pathlib.Path(above, "unit")
            folder.mkdir()
            for name, text in files.items():
                (folder / name).write_text(text)
            words = ["count_results.py", *(f"--failed={stage}" for stage in failed), str(folder)]
            said = io.StringIO()
            with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(said):
                code = count_results.main()
            return said.getvalue().splitlines()[-1], code

    def test_a_suite_counts_as_its_cases(self):
        self.assertEqual(self.count({"ctest.xml": ctest(case("unit", "run")), "unit.xml": catch2(41, 0, 1)}),
                         ("41 passed, 0 failed, 1 skipped", 0))

    def test_a_program_without_a_report_counts_as_one(self):
        self.assertEqual(self.count({"ctest.xml": ctest(case("a_replay", "run"), case("b_replay", "fail"))}),
                         ("1 passed, 1 failed", 1))

    def test_a_suite_that_failed_behind_its_last_case_is_one_failure_more(self):
        self.assertEqual(self.count({"ctest.xml": ctest(case("unit", "fail")), "unit.xml": catch2(7, 0)}),
                         ("7 passed, 1 failed", 1))

    def test_a_report_that_a_crash_cut_off_is_a_failure(self):
        self.assertEqual(self.count({"ctest.xml": ctest(case("unit", "fail")), "unit.xml": "<Catch2TestRun><TestCase"}),
                         ("0 passed, 1 failed", 1))

    def test_a_program_that_is_missing_is_a_failure(self):
        missing = case("unit", "notrun", '<skipped message="Unable to find executable"/>')
        self.assertEqual(self.count({"ctest.xml": ctest(missing)}), ("0 passed, 1 failed", 1))

    def test_pytest_stands_for_the_end_to_end_test(self):
        pytest = '<testsuites><testsuite tests="10" failures="1" errors="1" skipped="2"/></testsuites>'
        self.assertEqual(self.count({"ctest.xml": ctest(case("e2e", "fail")), "e2e.xml": pytest}),
                         ("6 passed, 2 failed, 2 skipped", 1))

    def test_unittest_counts_as_what_it_ran(self):
        said = "<system-out>....\n-----\nRan 23 tests in 0.5s\n\nOK</system-out>"
        self.assertEqual(self.count({"ctest.xml": ctest(case("tools", "run", said))}), ("23 passed, 0 failed", 0))

    def test_checks_count_one_each(self):
        self.assertEqual(self.count({"checks.txt": "passed format\nfailed includes\n"}), ("1 passed, 1 failed", 1))

    def test_a_stage_that_failed_before_any_test_is_a_failure(self):
        self.assertEqual(self.count({}, failed=("unit",)), ("0 passed, 1 failed", 1))

    def test_a_failed_stage_with_failed_tests_counts_these_only(self):
        self.assertEqual(self.count({"ctest.xml": ctest(case("a", "fail"), case("b", "fail"))}, failed=("unit",)),
                         ("0 passed, 2 failed", 1))


if __name__ == "__main__":
    unittest.main()
