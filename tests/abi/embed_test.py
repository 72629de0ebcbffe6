"""examples/embed as a user meets it: foreign clients talk through both programs, and the README shows the short one."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(os.environ["MQTTQ_EXAMPLES"])
TIMEOUT_S = 20  # for whatever is to happen


class Embed(unittest.TestCase):
    def start(self, *command: str) -> tuple[subprocess.Popen, str]:
        """A program that has said where it listens, and that port; its output comes line by line though piped."""
        process = subprocess.Popen(["stdbuf", "-oL", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        self.assertTrue(match, "it did not say where it listens")
        return process, match.group(1)

    @staticmethod
    def end(process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.kill()
        process.communicate()

    def mosquitto(self, program: str, port: str, *arguments: str) -> str:
        self.assertTrue(shutil.which(program), f"{program} is missing; tools/setup installs it")
        ran = subprocess.run([program, "-h", "127.0.0.1", "-p", port, *arguments], timeout=TIMEOUT_S, text=True,
                             stdout=subprocess.PIPE, check=True)
        return ran.stdout

    def test_the_example_prints_what_clients_say_and_ends_at_a_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process, port = self.start(str(PROGRAMS / "mqttq-embed"), "127.0.0.1:0")
            # The greeting is retained, so that who comes later hears it too.
            self.assertEqual(self.mosquitto("mosquitto_sub", port, "-t", "greeting", "-C", "1"), "hello\n")
            self.mosquitto("mosquitto_pub", port, "-t", "room/1", "-m", "warm", "-q", "1")
            # Each topic keeps its order; between two topics there is none.
            lines = sorted(process.stdout.readline() for _ in range(2))
            self.assertEqual(lines, ["greeting hello\n", "room/1 warm\n"])
            process.send_signal(number)
            self.assertEqual(process.wait(TIMEOUT_S), 0)
            self.assertEqual(process.stderr.read(), "")

    def test_the_example_says_why_it_cannot_listen(self):
        _, port = self.start(str(PROGRAMS / "mqttq-embed"), "127.0.0.1:0")
        ran = subprocess.run([PROGRAMS / "mqttq-embed", f"127.0.0.1:{port}"], timeout=TIMEOUT_S, text=True,
                             stderr=subprocess.PIPE)
        self.assertEqual(ran.returncode, 1)
        self.assertIn(f"127.0.0.1:{port}", ran.stderr)

    def test_the_readmes_program_serves_clients_until_enter(self):
        process, port = self.start(str(PROGRAMS / "mqttq-readme"))
        self.mosquitto("mosquitto_pub", port, "-t", "greeting", "-m", "hello", "-r", "-q", "1")
        self.assertEqual(self.mosquitto("mosquitto_sub", port, "-t", "greeting", "-C", "1"), "hello\n")
        process.communicate("\n", timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 0)

    def test_the_readme_shows_exactly_that_program(self):
        program = (ROOT / "examples" / "embed" / "readme.c").read_text(encoding="utf-8")
        self.assertLessEqual(len(program.splitlines()), 25)
        readme = ROOT / "README.md"
        if not readme.exists():
            self.skipTest("there is no README.md yet")
        blocks = re.findall(r"^```c\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        self.assertIn(program, blocks)


if __name__ == "__main__":
    unittest.main()
