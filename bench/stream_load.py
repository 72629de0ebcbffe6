#!/usr/bin/env python3
"""Loads a stream of RabbitMQ or of NATS JetStream by the broker's own protocol, as bench_load's scenario `stream` loads
ours: fills it, then one reader reads all of it from its beginning.

    bench/stream_load.py --protocol rabbitmq|nats --port N --pid N,N [--messages N] [--payload BYTES] [--window N]

It speaks as little of the protocols as that takes, over one connection to 127.0.0.1. Only the broker's CPU time
counts, and a reader that is slower than the broker costs it none. Prints a line for each half, with the keys of
bench_load's (README.md); checks that every message comes once, in order and whole. Exit codes: 0 all came · 1 they did
not, and no line was printed for that half · 2 wrong arguments.
"""

import argparse
import json
import socket
import struct
import sys
import time

import machine

TIMEOUT_S = 60
RECEIVE_BYTES = 1 << 20
STREAM = "bench"
SEQUENCE = struct.Struct(">Q")  # each payload begins with its own, from 0


class Failure(Exception):
    pass


class Link:
    """A connection, and what came over it and is not read yet: buffer[at:]."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.at = 0

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise Failure("the broker closed the connection")
        self.buffer = self.buffer[self.at:] + data
        self.at = 0

    def take(self, size):
        while len(self.buffer) - self.at < size:
            self.receive()
        self.at += size
        return self.buffer[self.at - size:self.at]

    def take_line(self):
        """Without its CR LF."""
        while (end := self.buffer.find(b"\r\n", self.at)) < 0:
            self.receive()
        line = self.buffer[self.at:end]
        self.at = end + 2
        return line


class RabbitStream:
    """The stream protocol of RabbitMQ 3.9 and later, in its first version, which all later ones understand.

    A frame is its size (u32), key (u16), version (u16) and content. A request has a correlation id (u32) behind that;
    its response has the same, and a response code (u16). What a chunk on disk is, is said in osiris_log.erl.
    """

    DECLARE_PUBLISHER, PUBLISH, PUBLISH_CONFIRM, PUBLISH_ERROR, SUBSCRIBE, DELIVER, CREDIT = 1, 2, 3, 4, 7, 8, 9
    CREATE, PEER_PROPERTIES, SASL_HANDSHAKE, SASL_AUTHENTICATE, TUNE, OPEN, HEARTBEAT = 13, 17, 18, 19, 20, 21, 23
    RESPONSE = 0x8000
    OK = 1
    FROM_FIRST = 1
    # What its client for Java does unless told otherwise: messages to a frame, and how many may be unconfirmed.
    BATCH_COUNT = 100
    WINDOW = 10_000
    CHUNKS_AHEAD = 10  # that the broker may send before the reader says that it has read one
    # Magic and version, kind (0: messages), entries, records, timestamp, epoch, first offset, CRC, size of the entries,
    # size of what comes behind them on disk, and 4 bytes of later versions.
    CHUNK = struct.Struct(">BBHIqQQIII4x")
    CHUNK_MAGIC = 0x50

    def __init__(self, link):
        self.link = link
        self.chunk_count = 0
        self.request(self.PEER_PROPERTIES, struct.pack(">I", 0))
        self.request(self.SASL_HANDSHAKE, b"")
        login = b"\0guest\0guest"
        self.request(self.SASL_AUTHENTICATE, text("PLAIN") + struct.pack(">i", len(login)) + login)
        offered = self.frame(self.TUNE)
        self.command(self.TUNE, offered[:4] + struct.pack(">I", 0))  # its largest frame, and no heartbeat
        self.request(self.OPEN, text("/"))
        self.request(self.CREATE, text(STREAM) + struct.pack(">I", 0))

    def append(self, payloads, window):
        self.request(self.DECLARE_PUBLISHER, b"\0" + text("") + text(STREAM))
        sent = confirmed = 0
        while confirmed < len(payloads):
            while sent < len(payloads) and sent - confirmed <= window - self.BATCH_COUNT:
                batch = payloads[sent:sent + self.BATCH_COUNT]
                self.command(self.PUBLISH, struct.pack(">BI", 0, len(batch)) + b"".join(
                    struct.pack(">QI", number, len(payload)) + payload for number, payload in enumerate(batch, sent)))
                sent += len(batch)
            content = self.frame(self.PUBLISH_CONFIRM)
            confirmed += struct.unpack_from(">I", content, 1)[0]

    def replay(self, count, payload_size):
        """Yields lists of sequences."""
        entries = struct.Struct(f">IQ{payload_size - SEQUENCE.size}x")  # length, sequence, and the rest of the payload
        self.request(self.SUBSCRIBE, b"\0" + text(STREAM) + struct.pack(">HHI", self.FROM_FIRST, self.CHUNKS_AHEAD, 0))
        came = 0
        while came < count:
            content = self.frame(self.DELIVER)
            magic, kind, entry_count, record_count, *_rest, size, _trailer = self.CHUNK.unpack_from(content, 1)
            if magic != self.CHUNK_MAGIC:
                raise Failure(f"a chunk begins with {magic:#x}")
            data = content[1 + self.CHUNK.size:1 + self.CHUNK.size + size]
            if kind == 0:
                if entry_count != record_count or size != entry_count * entries.size:
                    raise Failure(f"a chunk has {record_count} messages in {entry_count} entries of {size} bytes")
                lengths, sequences = zip(*entries.iter_unpack(data))
                if lengths.count(payload_size) != entry_count:
                    raise Failure("a message of a stream is not as long as it was")
                came += entry_count
                self.chunk_count += 1
                yield sequences
            self.command(self.CREDIT, struct.pack(">BH", 0, 1))

    def command(self, key, content):
        self.link.send(struct.pack(">IHH", 4 + len(content), key, 1) + content)

    def request(self, key, content):
        self.command(key, struct.pack(">I", key) + content)  # one at a time: any correlation id does
        response = self.frame(self.RESPONSE | key)
        code = struct.unpack_from(">H", response, 4)[0]
        if code != self.OK:
            raise Failure(f"the broker answers request {key} with code {code}")

    def frame(self, wanted):
        """The content of the next frame, whose key is to be `wanted`."""
        while True:
            size = struct.unpack(">I", self.link.take(4))[0]
            frame = self.link.take(size)
            key = struct.unpack_from(">H", frame)[0]
            if key == wanted:
                return frame[4:]
            if key != self.HEARTBEAT:
                raise Failure(f"frame {key:#x} came where {wanted:#x} was due: {frame[4:200]}")

    def figures(self, count):
        return {"chunk_msgs": f"{count / self.chunk_count:.1f}"}


class NatsStream:
    """The protocol of NATS clients, and of JetStream what takes requests in JSON at subjects below $JS.API.

    It is read as by the ordered consumers of its clients: pushed, without acknowledgements, with flow control. Pulls of
    1000 or 20 000 messages cost the broker more, and without flow control it drops a reader that is slower than itself.
    """

    SUBJECT = "bench.stream"
    INBOX = "_INBOX.bench"
    # What its client for Go does unless told otherwise: messages that may be without an acknowledgement.
    WINDOW = 4000
    BATCH_COUNT = 100  # to one write
    HEARTBEAT_NS = 5_000_000_000
    CHECK_COUNT = 1000  # messages that are checked together

    def __init__(self, link):
        self.link = link
        self.line("INFO")
        self.link.send(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1,'
                       b'"lang":"python","version":"0"}\r\nPING\r\n')
        self.line("PONG")
        self.link.send(f"SUB {self.INBOX}.answer 1\r\nSUB {self.INBOX}.message 2\r\n".encode())
        self.request(f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": [self.SUBJECT], "storage": "file",
                                                 "retention": "limits", "num_replicas": 1})

    def append(self, payloads, window):
        sent = acknowledged = 0
        while acknowledged < len(payloads):
            while sent < len(payloads) and sent - acknowledged <= window - self.BATCH_COUNT:
                batch = payloads[sent:sent + self.BATCH_COUNT]
                head = f"PUB {self.SUBJECT} {self.INBOX}.answer {len(batch[0])}\r\n".encode()
                self.link.send(b"".join(head + payload + b"\r\n" for payload in batch))
                sent += len(batch)
            _reply, _headers, answer = self.message()
            if b'"seq"' not in answer or b'"error"' in answer:
                raise Failure(f"a message was answered with {answer.decode()}")
            acknowledged += 1

    def replay(self, count, payload_size):
        """Yields lists of sequences."""
        self.request(f"CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": {
            "deliver_subject": f"{self.INBOX}.message", "deliver_policy": "all", "ack_policy": "none", "max_deliver": 1,
            "flow_control": True, "idle_heartbeat": self.HEARTBEAT_NS, "mem_storage": True, "num_replicas": 1}})
        sequences = []
        for came in range(1, count + 1):
            payload = self.stored_message()
            if len(payload) != payload_size:
                raise Failure("a message of a stream is not as long as it was")
            sequences.append(SEQUENCE.unpack_from(payload)[0])
            if len(sequences) == self.CHECK_COUNT or came == count:
                yield sequences
                sequences = []

    def stored_message(self):
        """The payload of the next one; what else a consumer is sent, which has headers and no payload, is answered."""
        while True:
            reply, headers, payload = self.message()
            if not headers:
                return payload
            if reply:  # the broker asks how far the reader has come
                self.link.send(b"PUB " + reply + b" 0\r\n\r\n")
            elif b"Idle Heartbeat" not in headers:
                raise Failure(f"the broker says {headers.decode().strip()}")

    def request(self, name, content):
        body = json.dumps(content).encode()
        self.link.send(f"PUB $JS.API.{name} {self.INBOX}.answer {len(body)}\r\n".encode() + body + b"\r\n")
        _reply, _headers, payload = self.message()
        answer = json.loads(payload)
        if "error" in answer:
            raise Failure(f"the broker answers {name} with {answer['error']}")
        return answer

    def message(self):
        """(reply subject, headers, payload) of the next one; PINGs before it are answered."""
        while True:
            words = self.link.take_line().split()
            if words[0] == b"MSG":
                header_size, size = 0, int(words[-1])
            elif words[0] == b"HMSG":
                header_size, size = int(words[-2]), int(words[-1])
                del words[-2]
            elif words[0] == b"PING":
                self.link.send(b"PONG\r\n")
                continue
            else:
                raise Failure(f"the broker says {b' '.join(words).decode()}")
            content = self.link.take(size + 2)
            return words[3] if len(words) == 5 else b"", content[:header_size], content[header_size:size]

    def line(self, wanted):
        line = self.link.take_line().decode()
        if not line.startswith(wanted):
            raise Failure(f"the broker says {line} where {wanted} was due")

    def figures(self, _count):
        return {}


PROTOCOLS = {"rabbitmq": RabbitStream, "nats": NatsStream}


def text(content):
    return struct.pack(">h", len(content)) + content.encode()


class Clocks:
    """Now: wall time, the broker's CPU time and our own."""

    def __init__(self, pids):
        self.wall_s = time.monotonic()
        # What clock_getcpuclockid() gives on Linux: user and system time of all threads of a process.
        self.broker_s = sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)
        self.load_s = time.process_time()


def print_line(options, scenario, before, after, further):
    wall_s, broker_s = after.wall_s - before.wall_s, after.broker_s - before.broker_s
    load_s = after.load_s - before.load_s
    if broker_s <= 0:
        raise Failure("process --pid used no CPU time: it is not the broker")
    values = {"scenario": scenario, "broker": options.broker, "msgs": options.messages, "seconds": f"{wall_s:.3f}",
              "msgs_per_s": f"{options.messages / wall_s:.0f}", "msgs_per_cpu_s": f"{options.messages / broker_s:.0f}",
              "cpu_ns_per_msg": f"{broker_s * 1e9 / options.messages:.1f}",
              "broker_cpu_share": f"{broker_s / wall_s:.3f}", "load_cpu_share": f"{load_s / wall_s:.3f}", **further,
              "payload_size": options.payload, "clients": 1, "store": options.store, "build": options.build,
              "machine": machine.description()}
    print(" ".join(f"{key}={'_'.join(str(value).split()) or '-'}" for key, value in values.items()), flush=True)


def run(options):
    client = PROTOCOLS[options.protocol](Link(options.port))
    window = options.window or client.WINDOW
    filler = b"." * (options.payload - SEQUENCE.size)
    payloads = [SEQUENCE.pack(number) + filler for number in range(options.messages)]
    before = Clocks(options.pid)
    client.append(payloads, window)
    print_line(options, "stream-append", before, Clocks(options.pid), {"window": window})
    del payloads
    due = 0
    before = Clocks(options.pid)
    for sequences in client.replay(options.messages, options.payload):
        if tuple(sequences) != tuple(range(due, due + len(sequences))):
            raise Failure(f"messages {sequences[0]} to {sequences[-1]} came where {due} and the next were due")
        due += len(sequences)
    after = Clocks(options.pid)
    print_line(options, "stream-replay", before, after, {"window": window, **client.figures(options.messages)})


def main():
    parser = argparse.ArgumentParser(description="Loads a stream of another broker by that broker's own protocol.")
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=lambda value: [int(word) for word in value.split(",")], required=True,
                        help="the broker's processes")
    parser.add_argument("--messages", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--payload", type=int, default=200, help="bytes, 8 or more (%(default)s)")
    parser.add_argument("--window", type=int, default=0,
                        help="messages that may be unacknowledged; 0 = as the broker's own client has it")
    for name in ("--broker", "--build", "--store"):
        parser.add_argument(name, default="-", help="printed")
    for name in ("--version", "--seed", "--seconds", "--warmup"):
        parser.add_argument(name, help="of bench_load; without a meaning here")
    options = parser.parse_args()
    least = PROTOCOLS[options.protocol].BATCH_COUNT
    if options.messages < 1 or options.payload < SEQUENCE.size or 0 < options.window < least or options.window < 0:
        parser.error(f"--messages is 1 or more, --payload 8 or more, --window 0 or {least} or more")
    try:
        run(options)
    except (Failure, OSError) as error:
        print(f"stream_load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
