"""Starts the broker under test, and judges how it ends.

MQTTQ_E2E_BROKER chooses: `mqttq` (the default) is mqttq-server, at MQTTQ_SERVER or in the build tree; `mosquitto`
is Mosquitto's broker from the PATH, against which the tests themselves are checked.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

from harness.client import TIMEOUT_S

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[3]
HOST = "127.0.0.1"

# What AddressSanitizer, LeakSanitizer, ThreadSanitizer, UBSan and MQTTQ_ASSERT leave on stderr.
SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|MQTTQ_ASSERT")


def under_test() -> str:
    """The broker that this run tests: "mqttq" or "mosquitto"."""
    name = os.environ.get("MQTTQ_E2E_BROKER", "mqttq")
    if name not in ("mqttq", "mosquitto"):
        raise ValueError(f"MQTTQ_E2E_BROKER is {name!r}; mqttq or mosquitto was expected")
    return name


def server_path() -> str:
    """The mqttq-server to test. A missing one is an error: a suite that skipped everything would look green."""
    given = os.environ.get("MQTTQ_SERVER")
    candidates = [pathlib.Path(given)] if given else [
        SOURCE_DIR / "build" / preset / "examples" / "mqttq-server" / "mqttq-server"
        for preset in ("dev", "asan", "release")
    ]
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    raise FileNotFoundError(f"no mqttq-server; looked for {', '.join(map(str, candidates))}")


@dataclasses.dataclass
class Settings:
    """What a test wants of its broker beyond the defaults; None leaves the default."""

    connect_timeout_ms: int | None = None  # from accept to a whole CONNECT
    packet_size_max: int | None = None  # bytes
    sys_interval_s: int | None = None  # between two looks at the figures below $SYS
    client_events: bool = False  # a message below $SYS for each client that comes or goes
    flags: tuple[str, ...] = ()  # further flags of mqttq-server


class Process:
    """A child process whose stdout and stderr are collected line by line, so that tests can wait for a line."""

    def __init__(self, arguments: list[str], env: dict[str, str] | None = None):
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=env)
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe, lines: list[str]) -> None:
        for line in pipe:
            with self._changed:
                lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_line(self, pattern: str, timeout_s: float = TIMEOUT_S) -> re.Match:
        """Waits until a line of either output matches `pattern`."""

        def find():
            return next((m for line in self.stdout + self.stderr if (m := re.search(pattern, line))), None)

        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (match := find()) is None:
                ended = not any(reader.is_alive() for reader in self._readers)
                if ended or not self._changed.wait(min(1.0, max(0.0, deadline - time.monotonic()))):
                    if ended or time.monotonic() >= deadline:
                        raise AssertionError(f"no line matched {pattern!r}\n{self.output()}")
            return match

    def output(self) -> str:
        return "\n".join(["--- stdout", *self.stdout, "--- stderr", *self.stderr])

    def wait_end(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit code. A process that does not end in time is killed, and the test fails."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the process did not end within {timeout_s} s\n{self.output()}") from None
        for reader in self._readers:
            reader.join(timeout_s)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Broker:
    """One running broker, listening on 127.0.0.1. Ended by `stop`, which checks how it went."""

    def __init__(self, directory: pathlib.Path, settings: Settings = Settings()):
        """directory: an empty one for the configuration file; the caller's."""
        self.host = HOST
        self.kind = under_test()
        if self.kind == "mqttq":
            self._start_mqttq(directory, settings)
        else:
            self._start_mosquitto(directory, settings)

    def _start_mqttq(self, directory: pathlib.Path, settings: Settings) -> None:
        listener = {"url": f"tcp://{HOST}:0"}
        for key in ("connect_timeout_ms", "packet_size_max"):
            if getattr(settings, key) is not None:
                listener[key] = getattr(settings, key)
        command = [server_path(), "--allow-anonymous"]
        sys = {} if settings.sys_interval_s is None else {"interval_s": settings.sys_interval_s}
        if settings.client_events:
            sys["client_events"] = True
        if len(listener) == 1 and not sys:
            command += ["--listen", listener["url"]]
        else:
            config = directory / "mqttq.json"
            config.write_text(json.dumps({"listeners": [listener], "sys": sys}, indent=2))
            command += ["--config", str(config)]
        self.child = Process(command + list(settings.flags))
        try:
            ready = self.child.wait_line(r"^mqttq-server ready\b.*?\btcp://127\.0\.0\.1:(\d+)")
        except AssertionError:
            self.child.kill()
            raise
        self.port = int(ready[1])

    def _start_mosquitto(self, directory: pathlib.Path, settings: Settings) -> None:
        if settings.connect_timeout_ms is not None:
            raise ValueError("Mosquitto has no connect time-out to set; mark the test ours_only")
        # Mosquitto does not say which port 0 became, so a free one is chosen here, a moment earlier.
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        lines = [f"listener {self.port} {HOST}", "allow_anonymous true", "max_inflight_messages 0",
                 "log_dest stderr"]
        if settings.packet_size_max is not None:
            lines.append(f"max_packet_size {settings.packet_size_max}")
        if settings.sys_interval_s is not None:
            lines.append(f"sys_interval {settings.sys_interval_s}")
        config = directory / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if path is None:
            raise FileNotFoundError("no mosquitto in the PATH")
        self.child = Process([path, "-c", str(config)])
        self.child.wait_line(r"mosquitto version \S+ running")

    def check_alive(self) -> None:
        code = self.child.process.poll()
        assert code is None, f"the broker ended with {code}\n{self.child.output()}"

    def memory_bytes(self) -> int | None:
        """What the broker has in memory. None under a sanitizer, which keeps what is freed."""
        status = pathlib.Path(f"/proc/{self.child.process.pid}/status").read_text(encoding="ascii")
        address_space, resident = (int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024
                                   for name in ("VmSize", "VmRSS"))
        return resident if address_space < 1 << 40 else None  # the shadow of a sanitizer is larger

    def begin_stop(self) -> None:
        """Asks the broker to drain, and returns at once."""
        self.child.process.terminate()

    def stop(self) -> None:
        """Ends the broker; fails the test unless it drained, exited with 0 and reported nothing."""
        self.begin_stop()
        code = self.child.wait_end()
        assert code == 0, f"the broker exited with {code}\n{self.child.output()}"
        self._check_report()

    def kill(self) -> None:
        """Ends the broker as a crash would, by SIGKILL; fails the test if it ended or reported something before."""
        self.check_alive()
        self.child.process.kill()
        self.child.wait_end()
        self._check_report()

    def _check_report(self) -> None:
        report = SANITIZER_REPORT.search("\n".join(self.child.stderr))
        assert report is None, f"the broker reported {report[0]!r}\n{self.child.output()}"
