#!/usr/bin/env python3
"""Proves that bench_load notices what it claims to verify: it is run against a small broker that does one thing wrong.

usage: check_load.py PATH_OF_BENCH_LOAD. Exits 0 when every fault was answered as the table says.
"""

import asyncio
import logging
import re
import subprocess
import sys

FAULT_AT = 200  # the fault strikes at this message, well after the start

LATE_S = 0.005
# fault, QoS, MQTT version, exit code, pattern that must be found in the output
EXPECTED = [
    ("none", 0, "3.1.1", 0, "lost=0"),
    ("none", 1, "5", 0, "lost=0"),
    ("drop", 0, "3.1.1", 0, "lost=1 "),
    ("drop", 1, "3.1.1", 1, "missing before a later one"),
    ("stall", 1, "5", 1, "neither arrived nor were acknowledged"),
    ("swap", 0, "3.1.1", 1, "after message"),
    ("swap", 1, "5", 1, "missing before a later one"),
    ("repeat", 0, "5", 1, "after message"),
    ("repeat", 1, "3.1.1", 1, "after message"),
    ("cut", 0, "3.1.1", 1, "not one that was sent"),
    ("downgrade", 1, "3.1.1", 1, "another QoS"),
    ("acknowledge-late", 1, "3.1.1", 0, r" ack_p50_us=([5-9]\d{3}|\d{5,})\."),
    ("acknowledge-twice", 1, "3.1.1", 1, "which is not in flight"),
    ("refuse", 1, "5", 1, "refused a message"),
    ("close", 0, "3.1.1", 1, "closed the connection"),
    ("garbage", 0, "5", 1, "packet of type"),
    ("broadcast", 0, "5", 1, "did not ask for"),
    ("no-subscription", 0, "3.1.1", 4, "refused a subscription"),
]


def packet(first_byte, body):
    size, length = len(body), bytearray()
    while True:
        length.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
        if size == 0:
            return bytes([first_byte]) + bytes(length) + body


class FaultyBroker:
    """Forwards each publisher's messages to its subscriber, except for the one fault. Serves one run of bench_load."""

    def __init__(self, fault):
        self.fault = fault
        self.subscribers = {}  # filter: writer
        self.message_count = 0
        self.held = None       # a packet that waits to be overtaken

    async def serve(self, reader, writer):
        version = 4
        try:
            while True:
                first_byte = (await reader.readexactly(1))[0]
                size = shift = 0
                while True:
                    digit = (await reader.readexactly(1))[0]
                    size |= (digit & 0x7F) << shift
                    shift += 7
                    if digit < 0x80:
                        break
                body = await reader.readexactly(size)
                if first_byte >> 4 == 1:
                    version = body[6]
                    writer.write(packet(0x20, b"\0\0" + (b"\0" if version == 5 else b"")))
                elif first_byte >> 4 == 8:
                    self.subscribe(writer, version, body)
                elif first_byte >> 4 == 3:
                    self.publish(writer, first_byte, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def subscribe(self, writer, version, body):
        code = 0x80 if self.fault == "no-subscription" else body[-1]
        writer.write(packet(0x90, body[:2] + (b"\0" if version == 5 else b"") + bytes([code])))
        self.subscribers[body[2 + (version == 5):-1]] = writer  # the filter with its length, as a PUBLISH begins

    def publish(self, publisher, first_byte, body):
        self.message_count += 1
        strikes = self.message_count == FAULT_AT
        qos = first_byte >> 1 & 3
        id_at = 2 + int.from_bytes(body[:2], "big")
        if qos == 1:
            acknowledgement = packet(0x40, body[id_at:id_at + 2])
            if strikes and self.fault == "refuse":
                acknowledgement = packet(0x40, body[id_at:id_at + 2] + b"\x97\0")
            if self.fault == "acknowledge-late":
                asyncio.get_running_loop().call_later(LATE_S, publisher.write, acknowledgement)
            else:
                publisher.write(acknowledgement * (2 if strikes and self.fault == "acknowledge-twice" else 1))
        message = packet(first_byte, body)
        if self.fault == "stall" and self.message_count >= FAULT_AT:
            message = b""
        if strikes:
            if self.fault == "drop":
                message = b""
            elif self.fault == "swap":
                self.held, message = message, b""
            elif self.fault == "repeat":
                message *= 2
            elif self.fault == "cut":
                message = packet(first_byte, body[:-1])
            elif self.fault == "downgrade":
                message = packet(0x30, body[:id_at] + body[id_at + 2:])
            elif self.fault == "garbage":
                message = b"\xf0\0"
        elif self.held:
            message, self.held = message + self.held, None
        everybody = self.fault == "broadcast" and self.message_count >= FAULT_AT
        for topic, subscriber in self.subscribers.items():
            if (topic == body[:id_at] or everybody) and not subscriber.is_closing():
                subscriber.write(message)
            if strikes and self.fault == "close":
                subscriber.close()


async def run_against(load, fault, qos, version):
    """Returns (exit code, output) of bench_load against a broker with `fault`."""
    broker = FaultyBroker(fault)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        load, "--scenario", "pairs", "--clients", "2" if fault == "broadcast" else "1", "--window", "10",
        "--port", str(port), "--qos", str(qos), "--version", version, "--warmup", "0", "--seconds", "0.5",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        output = b"it did not end"
    server.close()
    if fault != "no-subscription" and broker.message_count < FAULT_AT:
        return -1, f"only {broker.message_count} messages were sent, so the fault never struck"
    return process.returncode, output.decode()


async def main():
    failed_count = 0
    for fault, qos, version, wanted_code, wanted_text in EXPECTED:
        code, output = await run_against(sys.argv[1], fault, qos, version)
        good = code == wanted_code and re.search(wanted_text, output) is not None
        failed_count += not good
        print(f"{'ok    ' if good else 'FAILED'} {fault} at QoS {qos}, MQTT {version}"
              + ("" if good else f": wanted code {wanted_code} and \"{wanted_text}\", got {code}: {output.strip()}"))
    return 1 if failed_count else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # bench_load hangs up in the middle of things, as it should
    sys.exit(asyncio.run(main()))
