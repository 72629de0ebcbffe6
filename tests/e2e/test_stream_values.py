"""Streams that keep of each key the last value alone, as docs/STREAMS.md promises them to their readers."""

import random
import time

import pytest
from test_durable import durable_broker
from test_queues_durable import start_refused
from test_streams_durable import LITTLE_MEMORY, StreamBroker

from harness.client import TIMEOUT_S
from harness.queues import payloads, quiet, user_values
from harness.streams import position, positions, read, skipped, stream

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

EVERY_END = pytest.mark.parametrize("end, shards", [("stopped", 3), ("killed", 1), ("killed", 3)])
STOPPED = pytest.mark.parametrize("end, shards", [("stopped", 1), ("stopped", 3)])


@pytest.fixture
def broker(directory, end, shards):
    with durable_broker(directory, end, shards) as made:
        yield StreamBroker(made)


def values(**options) -> dict:
    """Of a stream of last values by topic."""
    return stream("s", "s/#", key="topic", last_value=True, **options)


class Table:
    """What a stream of last values is to keep: by topic the payload, which is the position, too."""

    def __init__(self, broker: StreamBroker, seed: int):
        self.newest: dict[str, int] = {}
        self.count = 0
        self._broker, self._chance = broker, random.Random(seed)

    def update(self, count: int, keys: int) -> None:
        publisher = self._broker.join()
        for _ in range(count):
            topic = f"s/{self._chance.randrange(keys)}"
            publisher.publish(topic, b"%d" % self.count)
            self.newest[topic] = self.count
            self.count += 1
        publisher.disconnect()

    def check(self, reader) -> None:
        """The reader is sent all of it, and nothing else."""
        received = reader.consume(len(self.newest))
        quiet(reader)
        assert payloads(received) == [b"%d" % number for number in sorted(self.newest.values())]
        assert {message.topic: int(message.payload) for message in received} == self.newest
        assert positions(received) == sorted(self.newest.values())
        for message in received:
            assert skipped(message) == 0
            assert user_values(message, "stream-key") == [message.topic]


@STOPPED
def test_one_message_of_each_key(broker):
    """From the beginning; who keeps up has every update, and who stopped in between the newest of each."""
    broker.serve(values())
    live = broker.reader(qos=0)
    slow = read(broker.join(receive_maximum=5), "$stream/s", "earliest")
    table = Table(broker, 1)
    table.update(300, 20)
    assert payloads(live.take(300)) == [b"%d" % number for number in range(300)]
    table.check(broker.reader())
    had = slow.take(5)  # while the window was full it missed what was replaced
    assert payloads(had) == [b"%d" % number for number in range(5)]
    slow.settle(*had)
    rest = sorted(number for number in table.newest.values() if number >= 5)
    assert positions(slow.consume(len(rest))) == rest
    quiet(slow, live)
    reader = broker.reader(offset=f"@{rest[3]}")
    assert positions(reader.consume(len(rest) - 3)) == rest[3:]
    narrow = broker.reader("$stream/s/s/7")
    assert payloads(narrow.consume(1)) == [b"%d" % table.newest["s/7"]]


@EVERY_END
def test_they_come_back(broker, other_shards):
    """With the positions that they had, whoever replaced what was between them; and so go on."""
    broker.serve(values(), limits=LITTLE_MEMORY)
    table = Table(broker, 2)
    kept = broker.kept()
    read(kept, "$stream/s", "earliest")
    for keys in (30, 200, 10):
        table.update(400, keys)
        broker.remember()
        broker.restart(other_shards if keys == 200 else None)
        table.check(broker.reader())
    table.update(5, 1)
    live = broker.reader(offset="latest")
    table.update(5, 2)
    assert positions(live.consume(5)) == list(range(table.count - 5, table.count))


@STOPPED
def test_the_log_gives_their_room_back(broker, other_shards):
    """What was replaced leaves the disk, and no position moves."""
    broker.serve(values(), limits=LITTLE_MEMORY)
    publisher = broker.join()
    publisher.publish("s/old", b"kept from the beginning")
    size = 50_000
    for number in range(400):  # twenty megabytes; an empty store has five
        publisher.publish(f"s/{number % 3}", b"%d " % number + b"." * size)
    publisher.disconnect()
    deadline = time.monotonic() + TIMEOUT_S
    while broker.bytes_on_disk() > 8_000_000:
        assert time.monotonic() < deadline, f"{broker.bytes_on_disk()} bytes"
        broker.remember()
    broker.restart(other_shards)
    received = broker.reader().consume(4)
    assert positions(received) == [0, 398, 399, 400]
    assert received[0].payload == b"kept from the beginning"
    assert [int(message.payload.split()[0]) for message in received[1:]] == [397, 398, 399]


@STOPPED
def test_what_has_no_key(broker):
    """Is kept as in any stream."""
    broker.serve(stream("s", "s/#", key="user_property:k", last_value=True))
    one = broker.join()
    one.publish("s/a", b"0", b"1")
    one.publish("s/a", b"2", user_property=("k", "x"))
    one.publish("s/a", b"3")
    one.publish("s/a", b"4", user_property=("k", "x"))
    received = broker.reader().consume(4)
    assert payloads(received) == [b"0", b"1", b"3", b"4"]
    assert [user_values(message, "stream-key") for message in received] == [[], [], [], ["x"]]


@STOPPED
def test_limits_are_of_what_is_kept(broker):
    """The keys go that were updated longest ago."""
    broker.serve(values(messages_max=10))
    table = Table(broker, 3)
    table.update(500, 40)
    left = sorted(table.newest.values())[-10:]
    reader = broker.reader()
    assert positions(reader.consume(10)) == left
    quiet(reader)


@STOPPED
def test_a_cursor_goes_over_what_was_replaced(broker, other_shards):
    """Also over what was with it and came back: it is at the end then, and stays there."""
    broker.serve(values())
    terms = {"user_property": ("stream-cursor", "c")}
    publisher = broker.join()
    publisher.publish("s/0", b"first")
    one = broker.join(receive_maximum=2)
    assert one.ask(("$stream/s", 1), user_property=[("stream-offset", "earliest"), ("stream-cursor", "c")]) == [1]
    assert payloads(one.take(1)) == [b"first"]
    one.close()
    publisher.publish("s/0", b"second", b"third")
    other = broker.join()
    while other.ask(("$stream/s", 1), **terms) != [1]:  # until the home has heard that the first has gone
        pass
    received = other.consume(1)
    while received[-1].payload != b"third":  # the second, too, if it was fast
        received += other.consume(1)
    quiet(other)
    broker.remember()
    broker.restart(other_shards)
    other = broker.join()
    assert other.ask(("$stream/s", 1), **terms) == [1]
    quiet(other)
    broker.publish("s/1", b"fourth")
    last = other.consume(1)[0]
    assert last.payload == b"fourth" and position(last) == 3


@STOPPED
def test_it_needs_a_key(broker):
    """A stream that could not tell keys is refused, by its place in the file."""
    broker.configure(stream("s", "s/#", last_value=True))
    process = start_refused(broker)
    assert any("streams.declared[0]: key: last_value needs one" in line for line in process.stderr), process.output()
