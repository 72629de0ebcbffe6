#!/usr/bin/env python3
"""What the keys of the store cost: memory, room on the disk and bytes written, with one key changed at a time.

    bench/store_keys.py [--server FILE] [--folder DIR] [--messages N] [--payload BYTES]

One client is away, and N messages at QoS 1 wait for it; then figures are taken of the process and its data directory.
Prints one line for each setting: how many were taken, resident MB, MB of the directory on the disk, bytes handed to the
system for each message that was taken (its acknowledgement among them), and how long a publisher with a window of 500
took, which is this script's own speed more than the broker's.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from harness import wire  # noqa: E402  pylint: disable=wrong-import-position
from harness.broker import HOST, Process  # noqa: E402  pylint: disable=wrong-import-position
from harness.wire import Socket, encode_property  # noqa: E402  pylint: disable=wrong-import-position

WINDOW = 500
MB = 1_000_000
SETTINGS = [
    {},
    {"store_memory_bytes": 1 << 20},
    {"store_memory_bytes": 256 << 20},
    {"log_segment_bytes": 1 << 20},
    {"log_segment_bytes": 1 << 28},
    {"store_bytes": 16 << 20},
    {"journal_messages": 10_000},
    {"journal_bytes": 4 << 20},
]


class Server:
    host = HOST
    kind = "mqttq"

    def __init__(self, server: str, folder: pathlib.Path, limits: dict):
        config = folder / "keys.json"
        # What one client is owed is not to be dropped before a key of the store says so.
        limits = {"outbox_messages_max": 10_000_000, "outbox_bytes_max": 4_000_000_000, **limits}
        config.write_text(json.dumps({"shards": 1, "limits": limits}), encoding="utf-8")
        self.data = folder / "data"
        self.child = Process([server, "--listen", f"tcp://{HOST}:0", "--config", str(config), "--data-dir",
                              str(self.data)])
        self.port = int(self.child.wait_line(r"^mqttq-server ready tcp://127\.0\.0\.1:(\d+)")[1])

    def proc(self, file: str, name: str) -> int:
        text = pathlib.Path(f"/proc/{self.child.process.pid}/{file}").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name)))


def publish(server: Server, count: int, payload: bytes) -> tuple[int, float]:
    """How many were taken, and the seconds."""
    taken = answered = 0
    with Socket(server) as client:
        client.connect("", version=5)
        begin = time.monotonic()
        for number in range(count):
            client.send(wire.publish("a/b", payload, 1, number % 60_000 + 1))
            while number + 1 - answered >= WINDOW or (number + 1 == count and answered < count):
                packet = client.expect(wire.PUBACK)
                answered += 1
                taken += len(packet.body) < 3 or packet.body[2] < 0x80
        return taken, time.monotonic() - begin


def measure(options, limits: dict) -> str:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        server = Server(options.server, pathlib.Path(folder), limits)
        try:
            with Socket(server) as away:
                away.connect("away", version=5, properties=encode_property("session_expiry_interval", 3600))
                away.send(wire.subscribe(1, ("a/#", 1)))
                away.expect(wire.SUBACK)
            before = server.proc("io", "wchar:")
            taken, seconds = publish(server, options.messages, b"x" * options.payload)
            written = server.proc("io", "wchar:") - before
            resident = server.proc("status", "VmRSS:") * 1024
            on_disk = sum(file.stat().st_blocks * 512 for file in server.data.iterdir())
        finally:
            server.child.process.terminate()
            server.child.wait_end()
    keys = " ".join(f"{key}={value}" for key, value in limits.items()) or "defaults"
    return (f"store_keys {keys.replace(' ', ',')} messages={options.messages} payload={options.payload} taken={taken} "
            f"resident_mb={resident / MB:.1f} disk_mb={on_disk / MB:.1f} "
            f"written_per_message={written / max(taken, 1):.0f} seconds={seconds:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=str(ROOT / "build/release/examples/mqttq-server/mqttq-server"))
    parser.add_argument("--folder", help="on the disk that is meant; default: the system's temporary one")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--payload", type=int, default=500)
    options = parser.parse_args()
    for limits in SETTINGS:
        print(measure(options, limits), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
