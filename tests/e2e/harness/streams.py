"""What tests of streams need: to subscribe from an offset, and what a message says of its place."""

import functools
import threading

from harness import wire
from harness.client import TIMEOUT_S
from harness.queues import Peer, queue, user_values
from harness.wire import Published

BAD_FILTER, IMPLEMENTATION_SPECIFIC, QUOTA = 0x8F, 0x83, 0x97
NO_LOCAL, RETAIN_AS_PUBLISHED = 0x04, 0x08

stream = queue  # an element of streams.declared


def offset_of(offset: str | None) -> dict:
    """The property of SUBSCRIBE that says where to begin; None: it does not say."""
    return {} if offset is None else {"user_property": ("stream-offset", offset)}


def read(peer: Peer, topic_filter: str, offset: str | None = None, qos: int = 1, options: int = 0, **values) -> Peer:
    """Subscribes, and is granted this QoS."""
    assert peer.ask((topic_filter, qos | options), **offset_of(offset), **values) == [qos]
    return peer


def position(message: Published) -> int:
    found = user_values(message, "stream-offset")
    assert len(found) == 1, message
    return int(found[0])


def positions(messages: list[Published]) -> list[int]:
    return [position(message) for message in messages]


def time_us(message: Published) -> int:
    found = user_values(message, "stream-ts")
    assert len(found) == 1, message
    return int(found[0])


def skipped(message: Published) -> int:
    """How many messages in front of it the reader has missed, as the message says."""
    found = user_values(message, "stream-skipped")
    assert len(found) <= 1 and found != ["0"], message
    return int(found[0]) if found else 0


def receive(reader: Peer, qos: int, count: int) -> list[Published]:
    """The next messages, each of them acknowledged as its QoS wants it."""
    return reader.consume(count) if qos < 2 else ExactlyOnce().run(reader, count)


class ExactlyOnce:
    """The receiver's side of QoS 2, which outlives its connections (MQTT5 4.3.3)."""

    def __init__(self):
        self.received: list[Published] = []
        self._open: set[int] = set()  # packet identifiers that are not released yet

    def step(self, peer: Peer, answer: bool = True) -> None:
        """Takes the next packet. answer: else the acknowledgement is lost."""
        packet = peer.read()
        assert packet is not None and packet.type in (wire.PUBLISH, wire.PUBREL), packet
        if packet.type == wire.PUBREL:
            self._open.discard(packet.packet_id)
            answers = wire.PUBCOMP, packet.packet_id
        else:
            message = Published.of(packet, peer.version)
            assert message.qos == 2
            if message.packet_id not in self._open:
                self._open.add(message.packet_id)
                self.received.append(message)
            answers = wire.PUBREC, message.packet_id
        if answer:
            peer.send(wire.acknowledge(*answers))

    def take_from(self, peer: Peer) -> None:
        """What came while it waited for another answer."""
        while peer.inbox:
            message = peer.inbox.popleft()
            self._open.add(message.packet_id)
            self.received.append(message)
            peer.send(wire.acknowledge(wire.PUBREC, message.packet_id))

    def run(self, peer: Peer, count: int) -> list[Published]:
        """Until so many have come in all, and are released."""
        while len(self.received) < count or self._open:
            self.step(peer)
        return self.received


class Publishing:
    """A client that publishes numbers from 0 on in a thread of its own, until it is told to stop."""

    BATCH = 50  # that are sent together, and waited for

    def __init__(self, broker, topic: str = "s", qos: int = 1, count_max: int = 100_000):
        """count_max: after so many it stops by itself."""
        self._peer = Peer(broker)
        self._count_max = count_max
        self._publish = functools.partial(self._peer.publish, topic, qos=qos)
        self._changed = threading.Condition()
        self._stop = False
        self._count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop and self._count < self._count_max:
            contents = [b"%d" % number for number in range(self._count, self._count + self.BATCH)]
            self._publish(*contents)
            with self._changed:
                self._count += self.BATCH
                self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Until so many are acknowledged."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, TIMEOUT_S), f"{self._count} of {count}"

    def stop(self) -> int:
        """How many there are."""
        self._stop = True
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive(), "it waits for an answer"
        self._peer.close()
        return self._count
