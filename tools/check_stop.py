#!/usr/bin/env python3
"""A broker that stops leaves nothing behind: mqttq-server under valgrind's memcheck, with clients in every state.

    tools/check_stop.py [SERVER]      by default build/release/examples/mqttq-server/mqttq-server

Starts the server with two shards, gives it clients that are subscribed, retained and shared messages, a kept session
with messages waiting, a half packet and a client that does not read, and ends it by SIGTERM. Prints nothing and exits 0
when it ended with 0 and valgrind found neither an error nor a block lost.
"""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 60


def packet(first: int, body: bytes) -> bytes:
    """A packet of less than 16 384 bytes."""
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([size % 128 | 128, size // 128])
    return bytes([first]) + length + body


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def connect(client_id: str, expiry_s: int = 0) -> bytes:
    properties = b"\x11" + expiry_s.to_bytes(4, "big")
    return packet(0x10, text("MQTT") + b"\x05\x02\x00\x3c" + bytes([len(properties)]) + properties + text(client_id))


def subscribe(topic_filter: str, qos: int) -> bytes:
    return packet(0x82, b"\x00\x01\x00" + text(topic_filter) + bytes([qos]))


def publish(topic: str, payload: bytes, qos: int = 0, retain: int = 0) -> bytes:
    return packet(0x30 | qos << 1 | retain, text(topic) + (b"\x00\x07" if qos else b"") + b"\x00" + payload)


class Client:
    """A connection whose answers are read packet by packet."""

    def __init__(self, port: int, first: bytes):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.stream = self.socket.makefile("rb")
        self.say(first)

    def say(self, data: bytes, answer: int = 0xD0) -> "Client":
        """Sends `data` and a PINGREQ, and reads until a packet that begins with `answer`: by default the PINGRESP."""
        self.socket.sendall(data + b"\xc0\x00")
        while self.read() != answer:
            pass
        return self

    def read(self) -> int:
        """The first byte of the next packet, which is read over."""
        first = self.stream.read(1)
        size, shift = 0, 0
        while first:
            low = self.stream.read(1)[0]
            size |= (low & 127) << shift
            shift += 7
            if low < 128:
                self.stream.read(size)
                return first[0]
        raise ConnectionError("the server closed a connection")


def use(port: int) -> list:
    """Clients that are left as they are. Returns what keeps them open."""
    reader = Client(port, connect("reader") + subscribe("#", 2) + subscribe("$share/g/t/+", 1))
    kept = Client(port, connect("kept", 1000) + subscribe("t/#", 1))
    writer = Client(port, connect("writer"))
    kept.socket.close()
    for number in range(50):
        qos = number % 3
        writer.say(publish(f"t/{number}", b"x" * 300, qos, number % 2), (0xD0, 0x40, 0x50)[qos])
        if qos == 2:
            writer.say(packet(0x62, b"\x00\x07"), 0x70)
    half = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    half.sendall(connect("half")[:9])
    deaf = Client(port, connect("deaf") + subscribe("big", 0))
    for _ in range(40):
        writer.say(publish("big", b"y" * 16000))
    return [reader, writer, half, deaf]


def main() -> int:
    server = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build/release/examples/mqttq-server/mqttq-server")
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full",
             "--show-leak-kinds=definite,indirect,possible", "--errors-for-leak-kinds=definite,indirect,possible",
             server, "--listen", "tcp://127.0.0.1:0", "--shards", "2"], stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            ready = re.search(r":(\d+)$", process.stdout.readline().strip())
            clients = use(int(ready[1])) if ready else []
            process.send_signal(signal.SIGTERM)
            status = process.wait(TIMEOUT_S)
            del clients
        finally:
            process.kill()
        if status == 0 and ready:
            return 0
        said.seek(0)
        print(f"exit code {status}\n{said.read()}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
