"""Mosquitto's command line clients behind the suite's interface.

A mosquitto_sub subscribes once, when it starts, so `subscribe` is what starts it; `connect` only keeps the options.
Each publish is one mosquitto_pub.
"""

import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable
from typing import Any

from harness.client import TIMEOUT_S, Client, Connack, Message, Subscription, Version, Will

_VERSIONS = {Version.V3_1: "mqttv31", Version.V3_1_1: "mqttv311", Version.V5: "mqttv5"}


def command(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"no {name} in the PATH; tools/setup installs it")
    return path


def _property_flags(packet: str, properties: dict[str, Any] | None) -> list[str]:
    flags: list[str] = []
    for name, value in (properties or {}).items():
        if name == "user_properties":
            for key, text in value:
                flags += ["-D", packet, "user-property", key, text]
        else:
            text = value.decode() if isinstance(value, bytes) else str(value)
            flags += ["-D", packet, name.replace("_", "-"), text]
    return flags


class MosquittoClient(Client):
    kind = "mosq"

    def __init__(self, broker, version: Version, client_id: str | None = None):
        super().__init__(broker, version, client_id)
        self._process: subprocess.Popen | None = None
        self._reader: threading.Thread | None = None
        self._connect_flags: list[str] = []
        self._lines: list[str] = []  # what mosquitto_sub says about itself
        self._ending = False
        self._ended = False
        self._changed = threading.Condition()

    def connect(self, clean_start: bool = True, keep_alive_s: int = 60, will: Will | None = None,
                properties: dict[str, Any] | None = None) -> Connack:
        """Only remembers the options: the connection is made by `subscribe`, and its Connack is not known."""
        flags = ["-k", str(keep_alive_s)]
        if not clean_start:
            flags.append("-c")
        properties = dict(properties or {})
        if "session_expiry_interval" in properties:
            flags += ["-x", str(properties.pop("session_expiry_interval"))]
        flags += _property_flags("connect", properties)
        if will:
            flags += ["--will-topic", will.topic, "--will-payload", will.payload.decode(), "--will-qos", str(will.qos)]
            flags += ["--will-retain"] if will.retain else []
            flags += _property_flags("will", will.properties)
        self._connect_flags = flags
        return Connack(0, False)

    def _common(self) -> list[str]:
        return ["-h", self.broker.host, "-p", str(self.broker.port), "-V", _VERSIONS[self.version]]

    def subscribe(self, *subscriptions: Subscription, identifier: int | None = None) -> list[int]:
        qos = {s.qos for s in subscriptions}
        assert len(qos) == 1, "mosquitto_sub asks for one QoS for all its filters"
        self.close()
        flags = ["-q", str(qos.pop())]
        for subscription in subscriptions:
            flags += ["-t", subscription.topic_filter]
        assert not any(s.no_local or s.retain_handling for s in subscriptions), "mosquitto_sub has no flag for it"
        if any(s.retain_as_published for s in subscriptions):
            flags.append("--retain-as-published")
        if identifier is not None:
            flags += ["-D", "subscribe", "subscription-identifier", str(identifier)]
        # -d tells when it is subscribed; the topic stands last, for it may hold blanks.
        self._start(["-i", self.client_id, *self._connect_flags, *flags])
        codes = self._wait_line(r"^Subscribed \(mid: \d+\): ([\d, ]+)$")[1]
        return [int(code) for code in codes.split(",")]

    def _start(self, flags: list[str]) -> None:
        """mosquitto_sub holds what it prints into a pipe until 4 KiB are full, so stdbuf starts it."""
        self._lines, self._ending, self._ended = [], False, False
        self._process = subprocess.Popen(
            [command("stdbuf"), "-oL", command("mosquitto_sub"), *self._common(), "-d", "-F", "M %q %r %x %t", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen) -> None:
        for raw in process.stdout:
            line = raw.decode().rstrip("\n")
            if line.startswith("M "):
                if self._ending:
                    continue
                _, qos, retain, payload, topic = line.split(" ", 4)
                self.messages.put(Message(topic, bytes.fromhex(payload), int(qos), retain == "1"))
                continue
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait_line(self, pattern: str) -> re.Match:
        def find():
            return next((match for line in self._lines if (match := re.search(pattern, line))), None)

        with self._changed:
            self._changed.wait_for(lambda: find() or self._ended, TIMEOUT_S)
            match = find()
            assert match, f"{self.client_id}: mosquitto_sub did not say {pattern!r}, but {self._lines}"
            return match

    def unsubscribe(self, *topic_filters: str) -> None:
        """The process is its subscriptions, so it ends."""
        self.disconnect()

    def publish_many(self, topic: str, payloads: Iterable[bytes], qos: int = 0, retain: bool = False,
                     properties: dict[str, Any] | None = None) -> list[int]:
        """Several payloads go as lines of stdin and can hold no line feed."""
        payloads = list(payloads)
        flags = ["-i", f"{self.client_id}p", "-t", topic, "-q", str(qos), *(["-r"] if retain else []),
                 *_property_flags("publish", properties)]
        if len(payloads) == 1:
            flags += ["-s"] if payloads[0] else ["-n"]
            text = payloads[0]
        else:
            assert not any(b"\n" in payload or not payload for payload in payloads)
            flags += ["-l"]
            text = b"".join(payload + b"\n" for payload in payloads)
        done = subprocess.run([command("mosquitto_pub"), *self._common(), *flags], input=text, capture_output=True,
                              timeout=TIMEOUT_S)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, f"mosquitto_pub ended with {done.returncode}: {said}"
        assert "Warning" not in said, f"mosquitto_pub: {said}"
        return [0] * len(payloads)

    def disconnect(self) -> None:
        self._end(signal.SIGTERM)

    def drop(self) -> None:
        self._end(signal.SIGKILL)

    def wait_closed(self, timeout_s: float = TIMEOUT_S) -> int | None:
        """mosquitto_sub reports no reason code that can be read back."""
        self._process.wait(timeout_s)
        return None

    def close(self) -> None:
        if self._process is not None:
            self._end(signal.SIGKILL)
            self._process = None

    def _end(self, how: signal.Signals) -> None:
        # mosquitto_sub's signal handler prints, and now and then prints its last message once more.
        self._ending = True
        if self._process.poll() is None:
            self._process.send_signal(how)
        self._process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
