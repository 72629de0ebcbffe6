"""The pages of the public objects: their programs compile as C99, run, and print what the page says, all of them.

A ```c block with a main() is a whole program. Where the next block is ```text, that is what it prints; otherwise it
prints nothing. Programs are run without input.
"""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
LIBRARY = pathlib.Path(os.environ["MQTTQ_LIBRARY"])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TIMEOUT_S = 30


def programs(page: pathlib.Path) -> list[tuple[str, str]]:
    """Each whole program of a page with what it prints."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8")) + [("", "")]
    return [(text, following if word == "text" else "")
            for (language, text), (word, following) in zip(blocks, blocks[1:])
            if language == "c" and "int main(" in text]


class Pages(unittest.TestCase):
    def test_every_program_compiles_and_prints_what_its_page_says(self):
        self.assertTrue(PAGES)
        for page in PAGES:
            with self.subTest(page=page.name), tempfile.TemporaryDirectory() as folder:
                self.assertTrue(programs(page), "a page has a program")
                for source, printed in programs(page):
                    program = pathlib.Path(folder, "program")
                    subprocess.run(["cc", "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-xc", "-",
                                    f"-I{ROOT / 'include'}", f"-L{LIBRARY.parent}", "-lmqttq",
                                    f"-Wl,-rpath,{LIBRARY.parent}", "-o", program],
                                   input=source, text=True, check=True, timeout=TIMEOUT_S)
                    ran = subprocess.run([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S)
                    self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, printed, ""))

    def test_every_header_has_a_page_and_every_function_and_limit_is_named(self):
        pages = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
        together = "\n".join(pages.values())
        for header in sorted((ROOT / "include" / "mqttq").glob("*.h")):
            if header.stem not in ("mqttq", "export"):
                self.assertIn(f"`mqttq/{header.name}`", together)
        # A family may be abbreviated to its last part: `_payload` beside `mqttq_message_topic`.
        families = {f"mqttq_message{part}" for part in re.findall(r"`(_\w+)`", pages["message"])}
        for name in (ROOT / "tests" / "abi" / "symbols.txt").read_text(encoding="utf-8").split():
            with self.subTest(function=name):
                self.assertTrue(re.search(rf"\b{name}\b", together) or name in families)


if __name__ == "__main__":
    unittest.main()
