"""MQTT packets byte by byte, for what no well-behaved client would send. Knows just enough of the wire for that."""

import dataclasses
import os
import socket
import struct
import time
from typing import Any

from harness.client import TIMEOUT_S, remaining

# Packet types, the high half of the first byte.
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15

# What a message may have, and how it is received.
FULL = {
    "payload_format_indicator": 1,
    "content_type": "text/plain",
    "response_topic": "answers",
    "correlation_data": b"\x00\x01\xff",
    "user_property": [("b", "1"), ("a", "2"), ("b", "3"), ("b", "1"), ("", "")],
}
FULL_RECEIVED = {
    "payload_format_indicator": [1],
    "content_type": [b"text/plain"],
    "response_topic": [b"answers"],
    "correlation_data": [b"\x00\x01\xff"],
    "user_property": [(b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"b", b"1"), (b"", b"")],
}


def varint(value: int) -> bytes:
    """A Variable Byte Integer (MQTT5 1.5.5)."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def string(text: str | bytes) -> bytes:
    """A UTF-8 Encoded String, or any bytes in place of one."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(data)) + data


# Properties (MQTT5 2.2.2.2): the byte that names each, and how its value is written.
_PROPERTIES = {
    "payload_format_indicator": (0x01, "u8"),
    "message_expiry_interval": (0x02, "u32"),
    "content_type": (0x03, "string"),
    "response_topic": (0x08, "string"),
    "correlation_data": (0x09, "string"),
    "subscription_identifier": (0x0B, "varint"),
    "session_expiry_interval": (0x11, "u32"),
    "assigned_client_identifier": (0x12, "string"),
    "server_keep_alive": (0x13, "u16"),
    "authentication_method": (0x15, "string"),
    "authentication_data": (0x16, "string"),
    "request_problem_information": (0x17, "u8"),
    "will_delay_interval": (0x18, "u32"),
    "request_response_information": (0x19, "u8"),
    "response_information": (0x1A, "string"),
    "server_reference": (0x1C, "string"),
    "reason_string": (0x1F, "string"),
    "receive_maximum": (0x21, "u16"),
    "topic_alias_maximum": (0x22, "u16"),
    "topic_alias": (0x23, "u16"),
    "maximum_qos": (0x24, "u8"),
    "retain_available": (0x25, "u8"),
    "user_property": (0x26, "pair"),
    "maximum_packet_size": (0x27, "u32"),
    "wildcard_subscription_available": (0x28, "u8"),
    "subscription_identifiers_available": (0x29, "u8"),
    "shared_subscription_available": (0x2A, "u8"),
}
_NUMBERS = {"u8": ">B", "u16": ">H", "u32": ">I"}


def encode_property(name: str, value) -> bytes:
    """One property. value: a number, text or bytes, or a pair of texts, as the property wants it."""
    identifier, form = _PROPERTIES[name]
    if form in _NUMBERS:
        encoded = struct.pack(_NUMBERS[form], value)
    elif form == "varint":
        encoded = varint(value)
    elif form == "pair":
        encoded = string(value[0]) + string(value[1])
    else:
        encoded = string(value)
    return bytes([identifier]) + encoded


def decode_properties(data: bytes) -> dict[str, list]:
    """The properties of a packet, without their length: name -> its values, in order; text as bytes."""
    found: dict[str, list] = {}
    at = 0

    def text():
        nonlocal at
        size = struct.unpack_from(">H", data, at)[0]
        at += 2 + size
        return data[at - size:at]

    names = {identifier: (name, form) for name, (identifier, form) in _PROPERTIES.items()}
    while at < len(data):
        name, form = names[data[at]]
        at += 1
        if form in _NUMBERS:
            value = struct.unpack_from(_NUMBERS[form], data, at)[0]
            at += struct.calcsize(_NUMBERS[form])
        elif form == "varint":
            value, at = _read_varint(data, at)
        elif form == "pair":
            value = text(), text()
        else:
            value = text()
        found.setdefault(name, []).append(value)
    return found


def packet(first_byte: int, body: bytes = b"") -> bytes:
    return bytes([first_byte]) + varint(len(body)) + body


# Of a CONNECT of MQTT 5: reason codes without words, so that answers are known byte by byte.
QUIET = encode_property("request_problem_information", 0)


def connect(client_id: str, version: int = 5, name: str | None = None, clean: bool = True, flags: int | None = None,
            keep_alive_s: int = 60, properties: bytes = b"", tail: bytes = b"") -> bytes:
    """CONNECT. name and flags override what follows from the rest; tail: payload behind the client id."""
    name = ("MQIsdp" if version == 3 else "MQTT") if name is None else name
    flags = (0x02 if clean else 0) if flags is None else flags
    body = string(name) + bytes([version, flags]) + struct.pack(">H", keep_alive_s)
    if version >= 5:
        body += varint(len(properties)) + properties
    return packet(CONNECT << 4, body + string(client_id) + tail)


def publish(topic: str | bytes, payload: bytes = b"", qos: int = 0, packet_id: int | None = None, version: int = 5,
            flags: int = 0, properties: bytes = b"") -> bytes:
    """PUBLISH. flags: DUP (8) and RETAIN (1), or anything else to be set in the first byte."""
    body = string(topic)
    if packet_id is not None:
        body += struct.pack(">H", packet_id)
    if version >= 5:
        body += varint(len(properties)) + properties
    return packet(PUBLISH << 4 | qos << 1 | flags, body + payload)


def acknowledge(packet_type: int, packet_id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP of reason code 0, in the form all versions share."""
    return packet(packet_type << 4 | (2 if packet_type == PUBREL else 0), struct.pack(">H", packet_id))


def subscribe(packet_id: int, *filters: tuple[str, int], version: int = 5, properties: bytes = b"",
              flags: int = 2) -> bytes:
    """SUBSCRIBE. filters: each with its options byte."""
    body = struct.pack(">H", packet_id)
    if version >= 5:
        body += varint(len(properties)) + properties
    for topic_filter, options in filters:
        body += string(topic_filter) + bytes([options])
    return packet(SUBSCRIBE << 4 | flags, body)


def unsubscribe(packet_id: int, *filters: str, version: int = 5, properties: bytes = b"") -> bytes:
    body = struct.pack(">H", packet_id)
    if version >= 5:
        body += varint(len(properties)) + properties
    return packet(UNSUBSCRIBE << 4 | 2, body + b"".join(map(string, filters)))


def will(topic: str, payload: bytes, version: int = 5, qos: int = 0, retain: bool = False, clean: bool = True,
         properties: bytes = b"") -> dict[str, Any]:
    """What connect() needs for a will: its flags and its tail."""
    tail = varint(len(properties)) + properties if version >= 5 else b""
    return {"flags": clean << 1 | 4 | qos << 3 | retain << 5, "tail": tail + string(topic) + string(payload)}


@dataclasses.dataclass(frozen=True)
class Packet:
    type: int
    flags: int
    body: bytes

    @property
    def packet_id(self) -> int:
        """Of an acknowledgement or a SUBACK."""
        return struct.unpack_from(">H", self.body)[0]

    @property
    def reason_code(self) -> int:
        """Of a CONNACK, or of a DISCONNECT, where none stands for 0."""
        if self.type == CONNACK:
            return self.body[1]
        assert self.type == DISCONNECT
        return self.body[0] if self.body else 0

    @property
    def session_present(self) -> bool:
        """Of a CONNACK."""
        assert self.type == CONNACK
        return self.body[0] == 1

    def properties(self) -> dict[str, list]:
        """Of a CONNACK, PUBACK, PUBREC, SUBACK or DISCONNECT of MQTT 5; a body that ends before them has none."""
        start = {CONNACK: 2, PUBACK: 3, PUBREC: 3, SUBACK: 2, DISCONNECT: 1}[self.type]
        if len(self.body) <= start:
            return {}
        length, at = _read_varint(self.body, start)
        return decode_properties(self.body[at:at + length])

    def reason_codes(self, version: int) -> bytes:
        """Of a SUBACK."""
        assert self.type == SUBACK
        length, at = _read_varint(self.body, 2) if version == 5 else (0, 2)
        return self.body[at + length:]


@dataclasses.dataclass(frozen=True)
class Published:
    """A received PUBLISH, taken apart."""

    topic: str
    qos: int
    packet_id: int | None
    properties: dict[str, list]
    payload: bytes
    dup: bool
    retain: bool

    @staticmethod
    def of(received: Packet, version: int = 5) -> "Published":
        assert received.type == PUBLISH
        size = struct.unpack_from(">H", received.body)[0]
        at = 2 + size
        topic = received.body[2:at].decode()
        qos = received.flags >> 1 & 3
        packet_id = None
        if qos:
            packet_id = struct.unpack_from(">H", received.body, at)[0]
            at += 2
        properties: dict[str, list] = {}
        if version >= 5:
            length, at = _read_varint(received.body, at)
            properties, at = decode_properties(received.body[at:at + length]), at + length
        return Published(topic, qos, packet_id, properties, received.body[at:], bool(received.flags & 8),
                         bool(received.flags & 1))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = 0
    for shift in range(0, 28, 7):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise AssertionError("the broker sent a length of more than four bytes")


def split_packet(buffer: bytes) -> tuple[Packet | None, bytes]:
    """The first packet, if it is there as a whole, and what is behind it."""
    length = 0
    for index, byte in enumerate(buffer[1:5]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            end = 2 + index + length
            if len(buffer) < end:
                break
            return Packet(buffer[0] >> 4, buffer[0] & 15, buffer[2 + index:end]), buffer[end:]
    return None, buffer


class Socket:
    """A TCP connection to the broker. Closed by `close`, or at the end of a with block."""

    def __init__(self, broker):
        self._socket = socket.create_connection((broker.host, broker.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Sends all of it. A broker that closes meanwhile is no error here: `read` will tell."""
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send_until_full(self, data: bytes, size_max: int) -> int:
        """Sends `data` again and again, until for a while nobody takes any; returns how many bytes that were.

        size_max: bytes, of which not all may be taken.
        """
        sent = 0
        self._socket.settimeout(0.3)  # seconds; when it is too short, the broker was asked to bear less
        try:
            while sent < size_max:
                sent += self._socket.send(data[sent % len(data):])
        except TimeoutError:
            return sent
        raise AssertionError(f"the broker took {sent} bytes, and no answer was read")

    def finish(self) -> None:
        """Says that nothing more will be sent; the broker's answers can still be read."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the broker was faster and has closed already

    def read_raw(self, timeout_s: float = TIMEOUT_S) -> bytes:
        """Some bytes, whatever they mean; none when the broker has closed."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(65536)
        except ConnectionResetError:
            return b""

    def read(self, timeout_s: float = TIMEOUT_S) -> Packet | None:
        """The next packet; None when the broker closed the connection, in order or by a reset."""
        deadline = time.monotonic() + timeout_s
        while (found := self._split()) is None:
            self._socket.settimeout(max(0.001, remaining(deadline)))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise AssertionError(f"nothing came in {timeout_s} s, and the connection is still open") from None
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self._buffer, f"the broker closed in the middle of a packet: {self._buffer.hex(' ')}"
                return None
            self._buffer += data
        return found

    def _split(self) -> Packet | None:
        """Takes one whole packet from the buffer, if there is one."""
        found, self._buffer = split_packet(self._buffer)
        return found

    def expect(self, packet_type: int, timeout_s: float = TIMEOUT_S) -> Packet:
        """The next packet, which must be of this type."""
        received = self.read(timeout_s)
        assert received is not None, f"the connection was closed where a packet of type {packet_type} was expected"
        assert received.type == packet_type, f"{received} came where a packet of type {packet_type} was expected"
        return received

    def expect_publish(self, version: int = 5, timeout_s: float = TIMEOUT_S) -> Published:
        return Published.of(self.expect(PUBLISH, timeout_s), version)

    def expect_disconnect(self, timeout_s: float = TIMEOUT_S) -> int:
        """The reason code of the broker's DISCONNECT, behind which it must close."""
        reason_code = self.expect(DISCONNECT, timeout_s).reason_code
        self.expect_closed(timeout_s)
        return reason_code

    def expect_closed(self, timeout_s: float = TIMEOUT_S) -> None:
        """The broker closes the connection and sends nothing before."""
        received = self.read(timeout_s)
        assert received is None, f"{received} came where the connection's end was expected"

    def expect_end(self, version: int, reason_code: int) -> None:
        """The broker ends the connection: after DISCONNECT in MQTT 5, without a word in MQTT 3."""
        if version == 5:
            self.expect_bytes(packet(DISCONNECT << 4, bytes([reason_code])))
        self.expect_closed()

    def expect_bytes(self, *expected: bytes) -> None:
        """The next bytes are these; what comes behind them stays in the buffer."""
        wanted = b"".join(expected)
        deadline = time.monotonic() + TIMEOUT_S
        while len(self._buffer) < len(wanted) and wanted.startswith(self._buffer):
            data = self.read_raw(max(0.001, remaining(deadline)))
            if not data:
                break
            self._buffer += data
        found, self._buffer = self._buffer[:len(wanted)], self._buffer[len(wanted):]
        assert found == wanted, f"{found.hex(' '):.1000} came where {wanted.hex(' '):.1000} was expected"

    def wait_read(self) -> None:
        """Waits until the broker has taken all that was sent out of its socket.

        Linux says so in /proc/net/tcp: of the broker's end of this connection, how much is there and not read yet.
        """
        def address(name):
            host, port = name
            return f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}"

        line = f" {address(self._socket.getpeername())} {address(self._socket.getsockname())} "
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            with open("/proc/net/tcp", encoding="ascii") as table:
                found = next((row for row in table if line in row), None)
            if found is None or found.split()[4].endswith(":00000000"):  # gone, or nothing unread
                return
            os.sched_yield()
        raise AssertionError(f"the broker read nothing in {TIMEOUT_S} s")

    def connect(self, client_id: str, **options) -> Packet:
        """Connects and returns CONNACK, which must accept."""
        self.send(connect(client_id, **options))
        connack = self.expect(CONNACK)
        assert connack.reason_code == 0, f"refused with {connack.reason_code:#x}"
        return connack

    def ping(self) -> None:
        """A round trip: whatever the broker had sent before is read by now, or was left in the buffer."""
        self.send(packet(PINGREQ << 4))
        self.expect(PINGRESP)
