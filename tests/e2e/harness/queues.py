"""What tests of message queues need: clients of which messages may come at any time, and what they say of a message."""

import collections
import itertools
import struct
import time
from collections.abc import Iterable

from harness import wire
from harness.client import TIMEOUT_S
from harness.wire import Packet, Published, Socket, encode_property

_numbers = itertools.count(1)

def queue(name: str, topic_filter: str, **options) -> dict:
    """An element of queues.declared."""
    return {"name": name, "topic_filter": topic_filter, **options}


def properties(**values) -> bytes:
    """Properties of a packet; those that may come several times as lists, None for none."""
    return b"".join(encode_property(name, one) for name, value in values.items() if value is not None
                    for one in (value if isinstance(value, list) else [value]))


def user_values(message: Published, name: str) -> list[str]:
    """The values of a message's user properties of this name."""
    return [value.decode() for key, value in message.properties.get("user_property", []) if key == name.encode()]


def deliveries(message: Published) -> int:
    """How often a message of a queue has been delivered, as it says itself; once if it says nothing."""
    found = user_values(message, "delivery-count")
    assert len(found) <= 1, message
    return int(found[0]) if found else 1


def payloads(messages: Iterable[Published]) -> list[bytes]:
    return [message.payload for message in messages]


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [f"{number}".encode() for number in range(first, first + count)]


class Peer(Socket):
    """A connected client. Messages that come while it waits for an answer are in its inbox."""

    def __init__(self, broker, client_id: str | None = None, version: int = 5, clean: bool = True,
                 receive_maximum: int | None = None, expiry_s: int | None = None,
                 maximum_packet_size: int | None = None, **options):
        """client_id: None makes one up. The sizes and the expiry are of MQTT 5 only."""
        super().__init__(broker)
        self.version = version
        self.client_id = f"peer-{next(_numbers)}" if client_id is None else client_id
        self.inbox: collections.deque[Published] = collections.deque()
        self._packet_ids = itertools.cycle(range(1, 65_536))
        if version == 5:
            options["properties"] = properties(receive_maximum=receive_maximum, session_expiry_interval=expiry_s,
                                               maximum_packet_size=maximum_packet_size)
        connack = self.connect(self.client_id, version=version, clean=clean, **options)
        self.session_present = version > 3 and connack.session_present

    def answer(self, packet_type: int | None) -> Packet:
        """The next packet that is no PUBLISH, which must be of this type. None: of any."""
        while True:
            packet = self.read()
            assert packet is not None, f"closed where a packet of type {packet_type} was expected"
            if packet.type != wire.PUBLISH:
                assert packet_type in (None, packet.type), f"{packet} came, and type {packet_type} was expected"
                return packet
            self.inbox.append(Published.of(packet, self.version))

    def ping(self) -> None:
        self.send(wire.packet(wire.PINGREQ << 4))
        self.answer(wire.PINGRESP)

    # --- subscriptions

    def ask(self, *filters: tuple[str, int], **values) -> list[int]:
        """SUBACK's reason codes. filters: with their options. values: properties."""
        encoded = properties(**values)
        self.send(wire.subscribe(next(self._packet_ids), *filters, version=self.version, properties=encoded))
        return list(self.answer(wire.SUBACK).reason_codes(self.version))

    def subscribe(self, topic_filter: str, options: int = 1, priority: int | None = None, **values) -> "Peer":
        """Which must be granted. priority: of a queue's consumer, who is known to the queue when this returns."""
        if priority is not None:
            values["user_property"] = ("consumer-priority", f"{priority}")
        assert self.ask((topic_filter, options), **values) == [min(options & 3, 1 if topic_filter[0] == "$" else 2)]
        self.ping()
        return self

    def unsubscribe(self, topic_filter: str) -> None:
        self.send(wire.unsubscribe(next(self._packet_ids), topic_filter, version=self.version))
        self.answer(wire.UNSUBACK)

    # --- messages to it

    def take(self, count: int = 1) -> list[Published]:
        """The next messages, of which none is acknowledged."""
        while len(self.inbox) < count:
            self.inbox.append(self.expect_publish(self.version))
        return [self.inbox.popleft() for _ in range(count)]

    def take_what_came(self) -> list[Published]:
        """All that the broker has sent before it answers."""
        self.ping()
        return self.take(len(self.inbox))

    def take_one(self) -> Published:
        return self.take()[0]

    def settle(self, *messages: Published) -> None:
        for message in messages:
            self.send(wire.acknowledge(wire.PUBACK, message.packet_id))

    def reject(self, *messages: Published, reason_code: int = 0x80) -> None:
        for message in messages:
            self.send(wire.packet(wire.PUBACK << 4, struct.pack(">HB", message.packet_id, reason_code)))

    def consume(self, count: int) -> list[Published]:
        """The next messages, each of them settled when it is there."""
        taken = []
        for _ in range(count):
            taken += self.take()
            if taken[-1].qos:
                self.settle(taken[-1])
        return taken

    def consume_until(self, payload: bytes) -> list[Published]:
        """All before one with this payload; each settled."""
        taken = self.consume(1)
        while taken[-1].payload != payload:
            taken += self.consume(1)
        return taken[:-1]

    # --- messages of it

    def publish(self, topic: str, *contents: bytes, qos: int = 1, retain: bool = False, **values) -> list[int]:
        """Until each is acknowledged to its end, or read at QoS 0. Returns the reason codes; of MQTT 3 zeros."""
        codes: list[int] = []
        for first in range(0, len(contents), 500):  # the broker's Receive Maximum is 1000
            batch = contents[first:first + 500]
            self.send(b"".join(
                wire.publish(topic, content, qos, packet_id if qos else None, self.version, int(retain),
                             properties(**values)) for packet_id, content in enumerate(batch, 1)))
            codes += self._acknowledged(len(batch), qos) if qos else []
        self.ping()
        return codes

    def _acknowledged(self, count: int, qos: int) -> list[int]:
        """The reason codes of so many PUBACKs or PUBRECs, of identifiers from 1 on; QoS 2 is seen through."""
        codes: list[int] = []
        completed: list[int] = []
        while len(codes) < count or len(completed) < (0 if qos == 1 else sum(code < 0x80 for code in codes)):
            received = self.answer(None)
            if qos == 2 and received.type == wire.PUBCOMP:
                completed.append(received.packet_id)
                continue
            assert received.type == (wire.PUBACK if qos == 1 else wire.PUBREC), received
            assert received.packet_id == len(codes) + 1
            codes.append(received.body[2] if len(received.body) > 2 else 0)
            if qos == 2 and codes[-1] < 0x80:
                self.send(wire.acknowledge(wire.PUBREL, received.packet_id))
        assert completed == [number for number, code in enumerate(codes, 1) if qos == 2 and code < 0x80]
        return codes

    # --- its end

    def disconnect(self) -> None:
        """In order, and known to the broker when this returns."""
        self.send(wire.packet(wire.DISCONNECT << 4))
        while self.read() is not None:
            pass
        self.close()


def pass_time(until: float, *peers: Peer) -> None:
    """Round trips of all peers until a moment of time.monotonic()."""
    while True:
        for peer in peers:
            peer.ping()
        if time.monotonic() >= until:
            return


def quiet(*peers: Peer, for_s: float = 0.02) -> None:
    """Nothing comes to any of them while they and the broker exchange other packets for a while."""
    pass_time(time.monotonic() + for_s, *peers)
    for peer in peers:
        assert not peer.inbox, f"{peer.client_id} was sent {payloads(list(peer.inbox))}"


def publish_until_taken(publisher: Peer, topic: str, payload: bytes) -> None:
    """To a queue that rejects what it has no room for, and will have room soon."""
    deadline = time.monotonic() + TIMEOUT_S
    while publisher.publish(topic, payload) != [0]:
        assert time.monotonic() < deadline, "the queue has no room"
