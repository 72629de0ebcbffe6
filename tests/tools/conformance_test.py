"""Tests of tools/conformance.py: the scanners on small texts, the page on a small tree, and the statements we ship.

Run: python3 tests/tools/conformance_test.py
"""

import contextlib
import importlib.util
import io
import sys
import tempfile
import textwrap
import unittest
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("conformance", ROOT / "tools" / "conformance.py")
ledger = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ledger)


def claims(scan, text):
    """What a scanner finds, as (test, identifiers, counted)."""
    return [(claim.test, claim.ids, claim.counted) for claim in scan(textwrap.dedent(text))]


class CppTest(unittest.TestCase):
    def test_a_test_case_claims_the_statements_among_its_tags(self):
        found = claims(ledger.scan_cpp, 'TEST_CASE("DUP at QoS 0", "[codec][MQTT-3.3.1-2][MQTT311-3.3.1-2]") {}')
        self.assertEqual(found, [("DUP at QoS 0", ["MQTT-3.3.1-2", "MQTT311-3.3.1-2"], True)])

    def test_the_line_is_the_macros(self):
        found = list(ledger.scan_cpp('\n// a comment\nTEST_CASE("a",\n  "[MQTT-3.3.1-2]") {}\n'))
        self.assertEqual([claim.line for claim in found], [3])

    def test_adjacent_literals_are_joined_and_escapes_resolved(self):
        found = claims(ledger.scan_cpp, r'''
            TEST_CASE("the topic \"a, (b\" "
                      "is kept", "[MQTT-3.3.1-2]"
                                 "[MQTT-3.3.1-4]") {}''')
        self.assertEqual(found, [('the topic "a, (b" is kept', ["MQTT-3.3.1-2", "MQTT-3.3.1-4"], True)])

    def test_raw_strings_are_read(self):
        found = claims(ledger.scan_cpp, 'TEST_CASE(R"x(say ")" loud)x", "[MQTT-3.3.1-2]") {}')
        self.assertEqual(found, [('say ")" loud', ["MQTT-3.3.1-2"], True)])

    def test_fixtures_scenarios_and_templates_are_test_cases(self):
        found = claims(ledger.scan_cpp, '''
            TEST_CASE_METHOD(Fixture, "with a fixture", "[MQTT-3.3.1-1]") {}
            SCENARIO("a scenario", "[MQTT-3.3.1-2]") {}
            TEMPLATE_TEST_CASE("a template", "[MQTT-3.3.1-3]", int, (std::pair<int, char>)) {}''')
        self.assertEqual([test for test, _, _ in found], ["with a fixture", "a scenario", "a template"])

    def test_tags_in_comments_names_and_other_calls_claim_nothing(self):
        found = claims(ledger.scan_cpp, '''
            // TEST_CASE("gone", "[MQTT-3.3.1-1]") {}
            /* TEST_CASE("gone too", "[MQTT-3.3.1-1]") {} */
            TEST_CASE("[MQTT-3.3.1-1] in the name", "[codec]") { log("x", "[MQTT-3.3.1-2]"); }
            TEST_CASE("no tags") { auto url = "http://[MQTT-3.3.1-2]"; }''')
        self.assertEqual(found, [])

    def test_quotes_in_characters_and_comment_marks_in_strings_do_not_mislead(self):
        found = claims(ledger.scan_cpp, r'''
            const char quote = '"'; const char* url = "//not a comment";
            const int thousand = 1'000; TEST_CASE("it's after them", "[MQTT-3.3.1-2]") {}''')
        self.assertEqual(found, [("it's after them", ["MQTT-3.3.1-2"], True)])

    def test_a_comment_may_stand_between_the_arguments(self):
        found = claims(ledger.scan_cpp, 'TEST_CASE("a",  // why (not\n  "[MQTT-3.3.1-2]" /* , */ ) {}')
        self.assertEqual(found, [("a", ["MQTT-3.3.1-2"], True)])

    def test_hidden_cases_and_those_that_may_fail_are_not_counted(self):
        for mark in ("[.]", "[.slow]", "[!mayfail]", "[!shouldfail]"):
            with self.subTest(mark):
                found = claims(ledger.scan_cpp, f'TEST_CASE("a", "{mark}[MQTT-3.3.1-2]") {{}}')
                self.assertEqual(found, [("a", ["MQTT-3.3.1-2"], False)])

    def test_a_fuzz_target_claims_what_its_opening_comment_names(self):
        found = claims(ledger.scan_fuzz_target, '''\
            // Fuzzes the reader of strings [MQTT-1.5.4-1],
            // and more [MQTT-1.5.4-2].
            #include <cstdint>
            // [MQTT-1.5.4-3] is only cited.''')
        self.assertEqual(found, [("fuzz target", ["MQTT-1.5.4-1", "MQTT-1.5.4-2"], True)])


class PythonTest(unittest.TestCase):
    def test_docstring_comment_and_decorator_each_make_a_claim(self):
        found = claims(ledger.scan_python, '''
            """Not of one test: [MQTT-3.1.0-1]."""
            @statements("MQTT-3.1.2-24", "[MQTT311-3.1.2-24]")
            def test_decorated(server):
                pass

            def test_documented():
                """The will is sent [MQTT-3.1.2-8]."""

            def test_commented():
                connect()  # the second one [MQTT-3.1.0-2]

            # [MQTT-3.1.4-4] stands outside.
            def helper():
                """[MQTT-3.1.4-5]"""
            ''')
        self.assertEqual(found, [
            ("test_decorated", ["MQTT-3.1.2-24", "MQTT311-3.1.2-24"], True),
            ("test_documented", ["MQTT-3.1.2-8"], True),
            ("test_commented", ["MQTT-3.1.0-2"], True),
        ])

    def test_a_class_speaks_for_all_its_tests(self):
        found = claims(ledger.scan_python, '''
            class TestWill:
                """Wills [MQTT-3.1.2-8]."""
                def test_a(self): pass
                async def test_b(self):
                    """[MQTT-3.1.2-7]"""
            ''')
        self.assertEqual(found, [
            ("TestWill.test_a", ["MQTT-3.1.2-8"], True),
            ("TestWill.test_b", ["MQTT-3.1.2-7", "MQTT-3.1.2-8"], True),
        ])

    def test_strings_that_are_not_the_docstring_claim_nothing(self):
        self.assertEqual(claims(ledger.scan_python, 'def test_a():\n    print("[MQTT-3.1.2-8]")\n'), [])

    def test_skipped_and_forgiven_tests_are_not_counted(self):
        for mark in ("pytest.mark.skip(reason='x')", "pytest.mark.xfail", "unittest.expectedFailure"):
            with self.subTest(mark):
                found = claims(ledger.scan_python, f"@{mark}\ndef test_a():\n    '''[MQTT-3.1.2-8]'''\n")
                self.assertEqual(found, [("test_a", ["MQTT-3.1.2-8"], False)])


class DataTest(unittest.TestCase):
    def test_a_block_claims_its_tags_under_its_title(self):
        found = claims(ledger.scan_data, """\
            # PUBLISH packets. A comment claims nothing [MQTT-3.3.1-1].

            title:    DUP at QoS 0: malformed
            version:  3.1.1 5
            # [MQTT-3.3.1-3]
            proves:   [MQTT-3.3.1-2]
              [MQTT311-3.3.1-2]
            bytes:    38 05

            title:    proves nothing
            bytes:    30 03

            QoS 3 [MQTT-3.3.1-4]
            bytes:    36 05
            """)
        self.assertEqual(found, [
            ("DUP at QoS 0: malformed", ["MQTT-3.3.1-2", "MQTT311-3.3.1-2"], True),
            ("QoS 3", ["MQTT-3.3.1-4"], True),
        ])

    def test_the_line_is_the_blocks_first(self):
        found = ledger.scan_data("# a file\n\n# a block\ntitle: a\nproves: [MQTT-3.3.1-4]\n")
        self.assertEqual([claim.line for claim in found], [4])


class ScannerChoiceTest(unittest.TestCase):
    def test_each_place_has_its_scanner(self):
        for path, scanner in (
            ("tests/unit/codec/publish_test.cc", ledger.scan_cpp),
            ("tests/e2e/test_will.py", ledger.scan_python),
            ("tests/conformance/publish.txt", ledger.scan_data),
            ("tests/conformance/CMakeLists.txt", None),
            ("tests/tools/conformance_test.py", None),
            ("fuzz/decode_connect_fuzz.cc", ledger.scan_fuzz_target),
            ("lib/codec/publish.cc", None),
        ):
            with self.subTest(path):
                self.assertIs(ledger.scanner_of(path), scanner)


class TreeTest(unittest.TestCase):
    """The whole tool on a tree of a few files."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write("docs/conformance/mqtt5.tsv", """\
            # a comment
            id\tbinds\tsummary
            MQTT-3.3.1-2\tboth\tNo DUP | at QoS 0.
            MQTT-3.3.1-4\tserver\tNo QoS 3.
            MQTT-4.5.0-2\tclient\tA client acknowledges.
            """)
        self.write("docs/conformance/mqtt311.tsv", "id\tbinds\tsummary\nMQTT311-3.3.1-2\tboth\tNo DUP at QoS 0.\n")

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(textwrap.dedent(text), encoding="utf-8")

    def run_tool(self, *arguments):
        """The exit code and what was said on standard error."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = ledger.main(["--root", str(self.root), *arguments])
        return code, said.getvalue()

    def page(self):
        return (self.root / ledger.PAGE).read_text(encoding="utf-8")

    def test_the_page_counts_what_is_proved_and_what_is_owed(self):
        self.write("tests/unit/a_test.cc", 'TEST_CASE("b|c", "[MQTT-3.3.1-2][MQTT-4.5.0-2]") {}')
        self.assertEqual(self.run_tool(), (0, ""))
        self.assertIn("| MQTT 5.0 | 3 | 2 | 1 | 0 | 1 | 1 |\n", self.page())
        self.assertIn("| MQTT 3.1.1 | 1 | 1 | 0 | 0 | 1 | 0 |\n", self.page())
        self.assertIn("| MQTT-3.3.1-2 | No DUP \\| at QoS 0. | broker | `tests/unit/a_test.cc`: b\\|c |\n", self.page())
        self.assertIn("| MQTT-3.3.1-4 | server | No QoS 3. |\n", self.page())
        self.assertIn("- MQTT-4.5.0-2: A client acknowledges. (`tests/unit/a_test.cc`: b\\|c)\n", self.page())

    def test_what_only_the_codec_shows_is_told_apart(self):
        self.write("tests/conformance/publish.txt", "title: seen\nproves: [MQTT-3.3.1-2] [MQTT-3.3.1-4]\n")
        self.write("tests/sim/a_test.cc", 'TEST_CASE("closed", "[MQTT-3.3.1-4]") {}')
        self.assertEqual(self.run_tool(), (0, ""))
        self.assertIn("| MQTT 5.0 | 3 | 2 | 2 | 1 | 0 | 1 |\n", self.page())
        self.assertIn("| codec | `tests/conformance/publish.txt`: seen |\n", self.page())
        both = "`tests/conformance/publish.txt`: seen<br>`tests/sim/a_test.cc`: closed"
        self.assertIn(f"| broker | {both} |\n", self.page())

    def test_a_hidden_test_is_named_but_proves_nothing(self):
        self.write("tests/unit/a_test.cc", 'TEST_CASE("later", "[.][MQTT-3.3.1-2]") {}')
        self.assertEqual(self.run_tool(), (0, ""))
        self.assertIn("| MQTT 5.0 | 3 | 2 | 0 | 0 | 2 | 1 |\n", self.page())
        self.assertIn("- `tests/unit/a_test.cc`: later\n", self.page())

    def test_check_wants_the_page_current_and_writes_nothing(self):
        code, said = self.run_tool("--check")
        self.assertEqual(code, 1)
        self.assertIn("stale", said)
        self.assertFalse((self.root / ledger.PAGE).exists())
        self.assertEqual(self.run_tool(), (0, ""))
        self.assertEqual(self.run_tool("--check"), (0, ""))
        self.write("tests/unit/a_test.cc", 'TEST_CASE("new", "[MQTT-3.3.1-2]") {}')
        self.assertEqual(self.run_tool("--check")[0], 1)
        self.assertNotIn("new", self.page())

    def test_a_tag_that_names_no_statement_is_an_error_wherever_it_stands(self):
        for path, text, told in (
            ("tests/unit/a_test.cc", '\nTEST_CASE("a", "[MQTT-3.3.1-99]") {}', "a_test.cc:2: [MQTT-3.3.1-99] names no"),
            ("lib/codec/publish.cc", "// [MQTT311-3.3.1-4] is of 5.0", "publish.cc:1: [MQTT311-3.3.1-4] names no"),
            ("tests/conformance/publish.txt", "title\n[MQTT-3.3.1.2]\n", "publish.txt:2: [MQTT-3.3.1.2] is not"),
            ("tests/unit/b_test.cc", 'TEST_CASE("b", "[mqtt-3.3.1-2]") {}', "[mqtt-3.3.1-2] is not written"),
            ("tests/e2e/test_a.py", "@statements('MQTT-3.3.1-3')\ndef test_a(): pass\n", "[MQTT-3.3.1-3] names no"),
        ):
            with self.subTest(path):
                self.write(path, text)
                self.run_tool()
                code, said = self.run_tool("--check")
                (self.root / path).unlink()
                self.assertEqual(code, 1)
                self.assertIn(told, said)

    def test_others_files_are_left_alone(self):
        self.write("tests/e2e/node_modules/x/test_x.py", "# [MQTT-9.9.9-9]")
        self.write("tests/tools/x_test.py", "# [MQTT-9.9.9-9]")
        self.assertEqual(self.run_tool(), (0, ""))

    def test_a_python_test_that_does_not_parse_is_an_error(self):
        self.write("tests/e2e/test_a.py", "def test_a(:\n")
        code, said = self.run_tool()
        self.assertEqual(code, 1)
        self.assertIn("tests/e2e/test_a.py: not understood", said)

    def test_a_statement_file_with_a_slip_is_refused(self):
        for line, told in (
            ("MQTT-3.3.1-2\tboth", "three columns"),
            ("MQTT-3.3.1-2\teverybody\tx", "binds"),
            ("MQTT311-3.3.1-2\tboth\tx", "not an identifier of this version"),
            ("MQTT-3.3.1-2\tboth\tx\nMQTT-3.3.1-2\tboth\tx", "twice or out of order"),
            ("MQTT-3.10.1-1\tboth\tx\nMQTT-3.9.2-1\tboth\tx", "twice or out of order"),
        ):
            with self.subTest(told):
                self.write("docs/conformance/mqtt5.tsv", line + "\n")
                code, said = self.run_tool()
                self.assertEqual(code, 1)
                self.assertIn(told, said)


class ShippedStatementsTest(unittest.TestCase):
    """The statements against what is known of both appendices: their counts, and numbering without holes."""

    def load(self, version):
        title, prefix, file = ledger.VERSIONS[version]
        return ledger.load_statements(ROOT / file, prefix)

    def test_every_statement_of_both_standards_is_there(self):
        for version, chapters in ((0, {1: 5, 2: 7, 3: 175, 4: 60, 6: 4}), (1, {1: 3, 2: 9, 3: 95, 4: 26, 6: 4, 7: 4})):
            with self.subTest(ledger.VERSIONS[version][0]):
                found = Counter(ledger.order(statement.id)[0] for statement in self.load(version))
                self.assertEqual(dict(found), chapters)

    def test_each_sections_numbers_have_no_hole(self):
        begins_at = {"MQTT-2.2.1": 2}  # 5.0 has no MQTT-2.2.1-1
        for version in (0, 1):
            sections = {}
            for statement in self.load(version):
                section, number = statement.id.rsplit("-", 1)
                sections.setdefault(section, []).append(int(number))
            for section, numbers in sections.items():
                first = begins_at.get(section, 1)
                self.assertEqual(numbers, list(range(first, first + len(numbers))), section)

    def test_summaries_are_short(self):
        for version in (0, 1):
            for statement in self.load(version):
                self.assertLessEqual(len(statement.summary.split()), 15, statement.id)


if __name__ == "__main__":
    unittest.main()
