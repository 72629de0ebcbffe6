"""Streams with a data directory: messages, their positions and times, and the places of readers outlive the broker.

It is stopped or killed, at rest and in the middle of everything, and starts again with another number of shards. As in
test_queues_durable.py, what is to be known after a crash happened before a message was published that is acknowledged.
"""

import contextlib
import itertools
import json
import os
import random
import time

import pytest
from test_durable import durable_broker
from test_inspect import inspect, lines
from test_queues_durable import QueueBroker, start_refused

from harness import wire
from harness.client import TIMEOUT_S
from harness.queues import Peer, numbered, pass_time, payloads, publish_until_taken, quiet
from harness.streams import (BAD_FILTER, RETAIN_AS_PUBLISHED, ExactlyOnce, position, positions, read, receive, skipped,
                             stream, time_us)
from harness.wire import FULL, FULL_RECEIVED, Published

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

EVERY_END = pytest.mark.parametrize("end, shards", [("stopped", 3), ("killed", 1), ("killed", 3)])
BOTH_ENDS = pytest.mark.parametrize("end, shards", [("stopped", 1), ("killed", 3)])
KILLED = pytest.mark.parametrize("end, shards", [("killed", 1), ("killed", 3)])
EVERY_QOS = pytest.mark.parametrize("qos", [0, 1, 2])

LITTLE_MEMORY = {"store_memory_bytes": 4000, "log_segment_bytes": 1 << 20}
LARGE = bool(os.environ.get("MQTTQ_E2E_LARGE"))  # also what writes hundreds of megabytes


class StreamBroker(QueueBroker):
    """A broker with a data directory and declared streams, which ends and starts again."""

    def __init__(self, durable):
        super().__init__(durable)
        self._ends = itertools.count()

    def configure(self, *declared: dict, sections: dict | None = None, limits: dict | None = None, **keys) -> None:
        """keys: of `streams`."""
        content = {"streams": {"declared": declared, **keys}, "limits": {"log_segment_bytes": 1 << 20}}
        content["limits"].update(limits or {})
        content.update(sections or {})
        (self.durable.directory / "queues.json").write_text(json.dumps(content, indent=1))

    def reader(self, address: str = "$stream/s", offset: str | None = "earliest", qos: int = 1, **options) -> Peer:
        return read(self.join(**options), address, offset, qos)

    def all_of_it(self, address: str = "$stream/s", topic: str = "s/a", **options) -> list[Published]:
        """What a stream keeps, and one more that is published."""
        reader = self.reader(address, **options)
        end = b"end %d" % next(self._ends)
        self.publish(topic, end)
        received = reader.consume(1)
        while received[-1].payload != end:
            received += reader.consume(1)
        reader.disconnect()
        return received

    def flood(self, first: int, count: int, acknowledged: int) -> None:
        """Publishes numbers from `first` on, until some are acknowledged; the others are on their way."""
        publisher = self.join()
        publisher.send(b"".join(wire.publish("s/a", b"%d" % (first + number), 1, number + 1)
                                for number in range(count)))
        for _ in range(acknowledged):
            publisher.answer(wire.PUBACK)

    def bytes_on_disk(self) -> int:
        total = 0
        for file in self.durable.data.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # the broker gives files back meanwhile
                total += file.stat().st_blocks * 512 if file.is_file() else 0
        return total


@pytest.fixture
def broker(directory, end, shards):
    """Who is killed loses nothing of its files either."""
    with durable_broker(directory, end, shards) as made:
        yield StreamBroker(made)


def check_numbers(received: list[Published]) -> None:
    """Positions without a gap that is not told of; each number is at the position that it is the number of."""
    for before, message in itertools.pairwise(received):
        assert position(message) == position(before) + 1 + skipped(message)
    for message in received:
        assert message.payload.startswith(b"end") or int(message.payload) == position(message)
    times = list(map(time_us, received))
    assert times == sorted(times)


# --- what a stream keeps


@EVERY_END
def test_messages_come_back(broker, other_shards, end):
    """At their positions, with their times and all that they have; at QoS 0 when the broker was stopped."""
    broker.serve(stream("s", "s/#"), stream("other", "s/1"))
    sent = []
    for number, size in enumerate((0, 100, 20_000, 300_000, 1, 65_536, 0)):
        qos = number % 3 if end == "stopped" else 1 + number % 2
        sent.append((f"s/{number % 2}", random.Random(number).randbytes(size), number % 2 == 1))
        broker.publish(*sent[-1][:2], qos=qos, retain=sent[-1][2], message_expiry_interval=1000, **FULL)
    times = list(map(time_us, broker.reader(qos=0).take(len(sent))))
    for shards in (other_shards, None):
        broker.restart(shards)
        reader = read(broker.join(), "$stream/s", "earliest", 1, RETAIN_AS_PUBLISHED, subscription_identifier=7)
        received = reader.consume(len(sent))
        assert [(message.topic, message.payload, message.retain) for message in received] == sent
        assert positions(received) == list(range(len(sent))) and list(map(time_us, received)) == times
        for message in received:
            assert 900 < message.properties.pop("message_expiry_interval")[0] <= 1000
            pairs = message.properties.pop("user_property")
            assert pairs[:-2] == FULL_RECEIVED["user_property"]
            assert {**message.properties, "user_property": pairs[:-2]} == {
                **FULL_RECEIVED, "subscription_identifier": [7]}
        other = broker.reader("$stream/other")
        assert positions(other.consume(3)) == [0, 1, 2]
        quiet(other)


@EVERY_END
def test_what_is_acknowledged_is_in_the_stream(broker, other_shards):
    """Whenever the broker ends while a publisher goes on, again and again."""
    broker.serve(stream("s", "s/#"), limits=LITTLE_MEMORY)
    count = 0
    for life, acknowledged in enumerate((100, 1, 300, 700)):
        broker.flood(count, 900, acknowledged)
        broker.restart(other_shards if life % 2 else None)
        received = broker.all_of_it()
        check_numbers(received)
        assert position(received[0]) == 0 and count + acknowledged < len(received) <= count + 901
        count = len(received)


@KILLED
@pytest.mark.parametrize("limits", [{"messages_max": 50}, {"bytes_max": 300}, {"age_max_s": 1}],
                         ids=["messages", "bytes", "age"])
def test_positions_never_shift(broker, other_shards, limits):
    """However often the broker is killed while messages come and are dropped; and what the limits leave is there."""
    broker.serve(stream("s", "s/#", **limits), limits=LITTLE_MEMORY)
    first = 0
    for life in range(6):
        live = broker.reader(offset="latest", qos=0)
        broker.flood(first, 900, 100 * life + 1)
        received = live.take(50)
        check_numbers(received)
        assert position(received[0]) >= first
        broker.restart(other_shards if life % 2 else None)
        received = broker.all_of_it()
        check_numbers(received)
        end = position(received[-1])
        assert first + 100 * life < end <= first + 900
        if "messages_max" in limits:
            assert len(received) >= 50
        first = end + 1


@EVERY_END
def test_a_stream_that_has_become_empty(broker, other_shards):
    """Counts on."""
    broker.serve(stream("s", "s/#", age_max_s=1))
    broker.publish("s/a", *numbered(5))
    last_us = time_us(broker.all_of_it()[-1])
    pass_time(time.monotonic() + 1.3, broker.join())
    broker.remember()
    for life in range(3):
        broker.restart(other_shards if life % 2 else None)
    received = broker.all_of_it()
    assert positions(received) == [6] and time_us(received[0]) > last_us and not skipped(received[0])


@BOTH_ENDS
def test_what_gets_old_or_expires_meanwhile(broker):
    """Counts from when it came, over all restarts."""
    broker.serve(stream("old", "s/#", age_max_s=2), stream("s", "s/#"))
    broker.publish("s/a", b"expires", message_expiry_interval=1)
    broker.publish("s/a", b"stays", message_expiry_interval=100)
    broker.restart()
    broker.durable.restart_until(time.monotonic() + 2.2)
    young, = broker.all_of_it("$stream/old")
    assert (position(young), skipped(young)) == (2, 0)
    stays, before, end = broker.all_of_it()
    assert (stays.payload, positions([stays, before, end])) == (b"stays", [1, 2, 3])
    assert 90 < stays.properties["message_expiry_interval"][0] < 100


@BOTH_ENDS
def test_times_never_decrease(broker, other_shards):
    """From life to life, and each message keeps its own; whatever a time finds before a restart it finds behind it."""
    broker.serve(stream("s", "s/#"))
    known: list[tuple[int, int]] = []
    for life in range(6):
        broker.publish("s/a", *numbered(20, len(known)))
        received = broker.all_of_it()
        found = [(position(message), time_us(message)) for message in received]
        assert found[:len(known)] == known and [at for _, at in found] == sorted(at for _, at in found)
        known = found
        middle = known[len(known) // 2][1]
        first = next(number for number, at in known if at >= middle)
        assert position(broker.reader(offset=f"{middle}").take_one()) == first
        broker.restart(other_shards if life % 2 else None)


@BOTH_ENDS
def test_it_takes_messages_as_soon_as_it_is_there_again(broker):
    """Wills of those who were connected at the end, delayed messages, and what is published afterwards."""
    broker.serve(stream("s", "s/#"))
    broker.kept("testator", **wire.will("s/will", b"will", clean=False))
    broker.publish("$delayed/1/s/delayed", b"delayed")
    broker.restart()
    broker.publish("s/a", b"later")
    received = broker.reader().consume(3)
    assert sorted(payloads(received)) == [b"delayed", b"later", b"will"] and positions(received) == [0, 1, 2]


@EVERY_END
def test_many_streams(broker, other_shards):
    """On all shards, declared and not, each with its own; and a session that reads all of them."""
    declared = [stream(f"s{number}", f"s/{number}") for number in range(80)]
    broker.serve(*declared, auto_create=True)
    names = [f"$stream/s{number}" for number in range(100)]
    kept = broker.kept()
    for number, name in enumerate(names):
        read(kept, name if number < 80 else f"{name}/s/{number}", "earliest")
    publisher = broker.join()
    counts = [1 + number % 7 for number in range(100)]
    for number, count in enumerate(counts):
        publisher.publish(f"s/{number}", *numbered(count))
    assert len(kept.consume(sum(counts))) == sum(counts)
    kept.ping()
    broker.remember()
    broker.configure(*declared)
    for shards in (other_shards, None):
        broker.restart(shards)
        one = broker.join()
        for name, count in zip(names, counts):
            read(one, name, "earliest")
            received = one.consume(count)
            assert payloads(received) == numbered(count) and positions(received) == list(range(count))
        quiet(one)
    publisher = broker.join()
    for number in range(100):
        publisher.publish(f"s/{number}", b"new")
    kept = broker.kept()
    received = kept.consume(100)
    assert sorted((message.topic, position(message)) for message in received) == sorted(
        (f"s/{number}", counts[number]) for number in range(100))
    quiet(kept)


@KILLED
def test_a_stream_that_a_client_declared(broker, other_shards):
    """Is there as soon as he is told so, with its limits, without leave to declare more; it stays what it is."""
    broker.serve(auto_create=True, auto={"messages_max": 3})
    assert broker.join().ask(("$stream/s/s/#", 1), ("$s/latest/t/#", 1)) == [1, 1]
    broker.configure()
    broker.restart(other_shards)
    for topic in ("s/a", "t/a"):
        broker.publish(topic, *numbered(9))
    one = broker.join()
    assert one.ask(("$stream/s/t/#", 1), ("$stream/new/q", 1), ("$s/latest/u", 1)) == [BAD_FILTER] * 3
    for address in ("$stream/s/s/#", "$s/earliest/t/#", "$stream/s"):
        assert payloads(broker.reader(address).consume(3)) == numbered(3, 6)


@EVERY_END
def test_options_of_the_next_start(broker, other_shards):
    """They take effect on what is there; a stream that is taken out of the configuration stays as it is."""
    broker.serve(stream("s", "s/#"), stream("t", "s/#", messages_max=7))
    broker.publish("s/a", *numbered(30))
    broker.configure(stream("s", "s/#", messages_max=10))
    broker.restart(other_shards)
    assert positions(broker.reader().consume(10)) == list(range(20, 30))
    assert positions(broker.reader("$stream/t").consume(7)) == list(range(23, 30))
    broker.configure(stream("s", "s/#"))
    broker.restart()
    broker.publish("s/a", *numbered(20, 30))
    assert positions(broker.reader().consume(30)) == list(range(20, 50))
    assert positions(broker.reader("$stream/t").consume(7)) == list(range(43, 50))


@pytest.mark.parametrize("end, shards", [("stopped", 1)])
@pytest.mark.parametrize("changed, said", [({"topic_filter": "s/+"}, "topic_filter: the stream has another one"),
                                           ({"key": "topic"}, "key: the stream has another"),
                                           ({"last_value": True}, "last_value: the stream has another")])
def test_what_a_stream_is_never_changes(broker, changed, said):
    """A configuration that has another filter, key or kind is refused, and nothing is lost by it."""
    key = {"key": "topic_level:1"} if "key" not in changed else {}
    broker.serve(stream("first", "f"), stream("s", "s/#", **key))
    broker.publish("s/a", b"0")
    broker.configure(stream("first", "f"), {**stream("s", "s/#", **key), **changed})
    broker.durable.finish()
    process = start_refused(broker)
    assert any("streams.declared[1]." + said in line for line in process.stderr), process.output()
    broker.configure(stream("s", "s/#", **key))
    broker.durable.start()
    assert payloads(broker.all_of_it())[0] == b"0"


# --- readers


@EVERY_END
@EVERY_QOS
def test_a_kept_session_resumes(broker, other_shards, qos):
    """Behind what it has read, though it had said earliest, and says so again."""
    broker.serve(stream("s", "s/#"))
    broker.publish("s/a", *numbered(30), qos=2)
    reader = read(broker.kept(), "$stream/s", "earliest", qos=qos)
    assert payloads(receive(reader, qos, 30)) == numbered(30)
    reader.ping()
    for first, shards in ((30, other_shards), (40, None)):
        broker.remember()
        broker.restart(shards)
        broker.publish("s/a", *numbered(10, first), qos=2)
        reader = broker.kept()
        assert reader.session_present
        received = receive(reader, qos, 10)
        assert payloads(received) == numbered(10, first) and positions(received) == list(range(first, first + 10))
        assert reader.ask(("$stream/s", qos), user_property=("stream-offset", "earliest")) == [qos]
        quiet(reader)


@EVERY_END
@pytest.mark.parametrize("version", [5, 4], ids=["v5", "v3_1_1"])
def test_a_session_in_the_middle_of_its_backlog(broker, other_shards, version):
    """What it has not acknowledged comes first, with DUP, then what follows; far behind what is in memory."""
    broker.serve(stream("s", "s/#"), limits=LITTLE_MEMORY)
    broker.publish("s/a", *numbered(1000))
    window = 20 if version == 5 else 1000
    reader = read(broker.kept(version=version, **({"receive_maximum": 20} if version == 5 else {})),
                  "$s/earliest/$stream/s/s/+")
    held = reader.take(20)
    reader.settle(*held[:14:2])
    reader.ping()
    broker.remember()
    broker.restart(other_shards)
    broker.publish("s/a", b"1000")
    reader = broker.kept(version=version)
    received = reader.consume(994)
    assert payloads(received) == [b"%d" % number for number in (*range(1, 14, 2), *range(14, 1001))]
    # What was on its way is marked: at most a window behind what was acknowledged.
    assert all(message.dup for message in received[:13])
    assert not any(message.dup for message in received[window:])
    quiet(reader)


@EVERY_END
def test_narrower_filters(broker, other_shards):
    """Each kept reader goes on with what it wants, and new ones find it, though topics have gone meanwhile."""
    broker.serve(stream("s", "s/#", messages_max=600), limits=LITTLE_MEMORY)
    filters = {"s/+/1": lambda at: at % 7 == 1, "s/3/#": lambda at: at % 5 == 3, "s/3/1": lambda at: at % 35 == 8}
    for name in filters:
        read(broker.kept(name), f"$stream/s/{name}", "earliest")
    count = 0
    for life in range(3):
        publisher = broker.join()
        publisher.send(b"".join(wire.publish(f"s/{at % 5}/{at % 7}", b"%d" % at, 1, at - count + 1)
                                for at in range(count, count + 500)))
        for _ in range(500):
            publisher.answer(wire.PUBACK)
        publisher.publish("s/4/6", b"%d" % (count + 500))
        for name, wanted in filters.items():
            reader = broker.kept(name)
            expected = [at for at in range(count, count + 501) if wanted(at) and at != count + 500]
            assert positions(reader.consume(len(expected))) == expected
            quiet(reader)
            first = max(0, count + 501 - 600)
            expected = [at for at in range(first, count + 500) if wanted(at) and at % 501 != 500]
            reader = broker.reader(f"$stream/s/{name}")
            assert positions(reader.consume(len(expected))) == expected
        count += 501
        broker.remember()
        broker.restart(other_shards if life % 2 else None)


@EVERY_END
def test_exactly_once(broker, other_shards):
    """Wherever in the exchange of QoS 2 the broker ends."""
    broker.serve(stream("s", "s/#"), limits=LITTLE_MEMORY)
    broker.publish("s/a", *numbered(300), qos=2)
    chance = random.Random(other_shards)
    reader = broker.kept(receive_maximum=8)
    assert reader.ask(("$stream/s", 2), user_property=("stream-offset", "earliest")) == [2]
    once = ExactlyOnce()
    once.take_from(reader)
    for life in range(6):
        lost = 0
        for _ in range(chance.randrange(1, 80)):
            answers = lost == 7 or chance.random() < 0.9
            once.step(reader, answers)
            lost += not answers
        broker.restart(other_shards if life % 2 else None)
        reader = broker.kept(receive_maximum=8)
    once.run(reader, 300)
    assert payloads(once.received) == numbered(300) and positions(once.received) == list(range(300))
    broker.publish("s/a", b"end", qos=2)
    assert once.run(reader, 301)[-1].payload == b"end"


@EVERY_END
def test_at_least_once(broker, other_shards, end):
    """In order, nothing missing; what was acknowledged and is surely known comes no more."""
    broker.serve(stream("s", "s/#"), limits=LITTLE_MEMORY)
    broker.publish("s/a", *numbered(400))
    chance = random.Random(other_shards)
    reader = read(broker.kept(receive_maximum=20), "$stream/s", "earliest")
    settled: set[int] = set()
    sure: set[int] = set()
    seen = -1
    for life in range(6):
        received = reader.take(chance.randrange(5, 20))
        reader.ping()
        received += reader.take(len(reader.inbox))
        for before, message in zip([-1, *positions(received)], received):
            at = position(message)
            assert at not in sure and before < at and (message.dup or at <= seen + 1)
            seen = max(at, seen)
            settled.discard(at)
            if chance.random() < 0.7:
                reader.settle(message)
                settled.add(at)
        reader.ping()
        if life % 2:
            broker.remember()
        if life % 2 or end == "stopped":
            sure |= settled
        seen = max([seen, *positions(list(reader.inbox))])
        broker.restart(other_shards if life % 3 == 1 else None)
        reader = broker.kept(receive_maximum=20)
    left: list[int] = []
    while not left or left[-1] < 399:
        left += positions(reader.consume(1))
    assert left == sorted(set(left)) and not sure & set(left) and settled | set(left) == set(range(400))
    quiet(reader)


@EVERY_END
def test_at_most_what_was_on_its_way(broker, other_shards, end):
    """At QoS 0: of a broker that was stopped nothing comes twice, and only what it had sent is missing; of one that
    was killed nothing is missing that was not sent."""
    broker.serve(stream("s", "s/#"), limits=LITTLE_MEMORY)
    broker.publish("s/a", *numbered(3000))
    reader = read(broker.kept(), "$stream/s", "earliest", qos=0)
    seen = -1
    for life in range(4):
        for message in reader.take(200):
            assert end == "killed" or position(message) > seen
            seen = max(seen, position(message))
        broker.restart(other_shards if life % 2 else None)
        reader = broker.kept()
        broker.publish("s/a", *numbered(200, 3000 + 200 * life))
    received = reader.take(1)
    while position(received[-1]) < 3799:
        received += reader.take(1)
    assert positions(received) == list(range(position(received[0]), 3800))
    quiet(reader)


@EVERY_END
def test_seeks_survive(broker, other_shards):
    """One behind which it has read, one behind which it has not, and one to the end."""
    broker.serve(stream("s", "s/#"))
    broker.publish("s/a", *numbered(10))
    readers = {}
    for name in ("read", "fresh", "end"):
        readers[name] = read(broker.kept(name), "$stream/s", "earliest")
        assert payloads(readers[name].consume(10)) == numbered(10)
    for name, offset in (("read", "@3"), ("fresh", "@7"), ("end", "latest")):
        read(readers[name], "$stream/s", offset)
    reader = readers["read"]
    held = reader.take(7)
    reader.settle(*held[:2])
    reader.ping()
    broker.remember()
    for shards in (other_shards, None):
        broker.restart(shards)
    broker.publish("s/a", b"10")
    for name, offset, first in (("read", "@3", 5), ("fresh", "@7", 7), ("end", "latest", 10)):
        reader = read(broker.kept(name), "$stream/s", offset)  # which is no seek
        received = reader.consume(11 - first)
        assert positions(received) == list(range(first, 11)) and not any(map(skipped, received))
        quiet(reader)


@KILLED
def test_a_seek_is_known_when_it_is_answered(broker, other_shards):
    broker.serve(stream("s", "s/#"))
    broker.publish("s/a", *numbered(10))
    reader = read(broker.kept(), "$stream/s", "earliest")
    assert payloads(reader.consume(10)) == numbered(10)
    for offset, shards in ((4, other_shards), (8, None), (2, None)):
        read(reader, "$stream/s", f"@{offset}")
        broker.restart(shards)
        reader = broker.kept()
        assert positions(reader.consume(10 - offset)) == list(range(offset, 10))
        quiet(reader)


@EVERY_END
def test_who_waits_for_what_is_to_come(broker, other_shards):
    """A position, a time, and the end, over restarts; nothing comes that they do not want, and all that they do."""
    broker.serve(stream("s", "s/#"))
    broker.publish("s/a", *numbered(5))
    begins = time.monotonic()
    at = time_us(broker.reader(offset="@4").take_one()) + 1_500_000
    for name, offset in (("position", "@12"), ("time", f"{at}"), ("end", "latest"), ("never", f"@{2 ** 63 - 1}")):
        read(broker.kept(name), "$stream/s", offset)
    broker.remember()
    life = itertools.count()
    count = 5
    while count < 20 or time.monotonic() < begins + 1.6:
        broker.restart(other_shards if next(life) % 2 == 0 else None)
        broker.kept("time").ping()
        broker.publish("s/a", *numbered(2, count))
        count += 2
    broker.publish("s/a", *numbered(2, count))
    received = broker.reader().consume(count + 2)
    assert payloads(received) == numbered(count + 2)
    for name, wanted in (("position", received[12:]), ("end", received[5:]), ("never", []),
                         ("time", [message for message in received if time_us(message) >= at])):
        reader = broker.kept(name)
        found = reader.consume(len(wanted))
        assert positions(found) == positions(wanted) and not any(map(skipped, found))
        quiet(reader)


@EVERY_END
def test_what_is_dropped_while_a_reader_is_away(broker, other_shards):
    """What it was sent comes all the same, then what is left, which says how many are missing."""
    broker.serve(stream("s", "s/#", messages_max=5), limits=LITTLE_MEMORY)
    reader = read(broker.kept(receive_maximum=3), "$stream/s", "earliest")
    broker.publish("s/a", *numbered(3))
    assert payloads(reader.take(3)) == numbered(3)
    reader.ping()
    broker.remember()
    for life in range(2):
        broker.restart(other_shards if life else None)
        broker.publish("s/large", *([b"." * 100_000] * 40))
    broker.publish("s/a", *numbered(5, 83))
    reader = broker.kept()
    received = reader.consume(8)
    assert positions(received) == [0, 1, 2, 83, 84, 85, 86, 87]
    assert payloads(received) == numbered(3) + numbered(5, 83)
    assert [message.dup for message in received] == [True] * 3 + [False] * 5
    assert list(map(skipped, received)) == [0, 0, 0, 80, 0, 0, 0, 0]
    quiet(reader)


@BOTH_ENDS
def test_who_has_unsubscribed_reads_nothing(broker, other_shards):
    """Nor who began with a clean start."""
    broker.serve(stream("s", "s/#"))
    broker.publish("s/a", *numbered(3))
    gone = read(broker.kept("gone"), "$stream/s", "earliest")
    gone.consume(2)
    gone.unsubscribe("$stream/s")
    forgets = read(broker.kept("forgets"), "$stream/s", "earliest")
    forgets.disconnect()
    broker.join("forgets", expiry_s=300).ping()
    broker.remember()
    broker.restart(other_shards)
    readers = [broker.kept("gone"), broker.kept("forgets")]
    assert all(reader.session_present for reader in readers)
    broker.publish("s/a", b"x")
    pass_time(time.monotonic() + 0.02, *readers)
    assert set(positions(readers[0].take_what_came())) <= {2}  # had been sent before, and was not acknowledged
    quiet(readers[1])


# --- the store


def grow(broker, megabytes: int, size: int, bytes_max: int) -> int:
    """Publishes so much, and returns how many messages that were when what is on disk is less again."""
    publisher = broker.join()
    contents = [b"." * size] * ((1 << 20) // size)
    for _ in range(megabytes):
        publisher.publish("s/a", *contents)
    count = megabytes * len(contents)
    deadline = time.monotonic() + TIMEOUT_S
    while broker.bytes_on_disk() > bytes_max:
        assert time.monotonic() < deadline, broker.bytes_on_disk()
        publisher.publish("s/a", b".")
        count += 1
    publisher.disconnect()
    return count


@BOTH_ENDS
def test_the_log_does_not_grow(broker, other_shards):
    """Behind a stream that keeps little, though another one keeps its first messages."""
    broker.serve(stream("s", "s/#", messages_max=100), stream("rare", "rare"), limits=LITTLE_MEMORY)
    broker.publish("rare", *numbered(5))
    count = 0
    for life, shards in enumerate((other_shards, None)):
        count += grow(broker, 20, 10_000, 10 << 20)
        broker.restart(shards)
        received = broker.all_of_it("$stream/rare", "rare")
        assert payloads(received)[:5] == numbered(5) and positions(received) == list(range(6 + life))
        received = broker.all_of_it()
        count += 1
        assert positions(received) == list(range(count - len(received), count)) and len(received) >= 100


@pytest.mark.skipif(not LARGE, reason="MQTTQ_E2E_LARGE=1 runs it: it writes half a gigabyte")
@BOTH_ENDS
def test_the_log_does_not_grow_with_segments_of_the_usual_size(broker, other_shards):
    broker.serve(stream("s", "s/#", bytes_max=1 << 20), stream("rare", "rare"), sections={"limits": {}})
    broker.publish("rare", *numbered(5))
    count = grow(broker, 640, 100_000, 350 << 20)  # five files at most, four of them to be used again
    broker.restart(other_shards)
    received = broker.all_of_it()
    assert position(received[-1]) == count and len(received) > 1
    assert positions(broker.all_of_it("$stream/rare", "rare")) == list(range(6))


@BOTH_ENDS
def test_a_store_that_is_full(broker, other_shards):
    """Refuses, and what it had taken is all that there is, without a gap; when there is room it goes on behind."""
    quota = {"store_bytes": 4 << 20, "log_segment_bytes": 1 << 19}
    broker.serve(stream("s", "s/#"), limits=quota)
    publisher = broker.join()
    codes = publisher.publish("s/a", *([b"." * 10_000] * 600))
    taken = codes.index(0x97)
    assert taken > 100 and set(codes[:taken]) == {0}
    count = codes.count(0)
    assert positions(broker.reader().consume(count)) == list(range(count))
    broker.configure(stream("s", "s/#", messages_max=20), limits=quota)
    broker.restart(other_shards)
    publisher = broker.join()
    for _ in range(500):  # what is dropped makes room, some time later
        publish_until_taken(publisher, "s/a", b"." * 10_000)
    assert positions(broker.reader().consume(20)) == list(range(count + 480, count + 500))


@pytest.mark.parametrize("end, shards", [("killed", 1), ("killed", 3)])
@pytest.mark.parametrize("durability", ["interval", "none"])
def test_what_is_not_written_at_once(broker, other_shards, durability):
    """What a crash takes are the last messages; what comes then is for all who read, those too who had read more."""
    broker.serve(stream("s", "s/#"), sections={"durability": durability, "durability_interval_ms": 300})
    broker.publish("s/a", *numbered(100))
    readers = ["kept", "other"]
    for name in readers:
        reader = read(broker.kept(name), "$stream/s", "earliest")
        assert payloads(reader.consume(100)) == numbered(100)
        reader.ping()
    pass_time(time.monotonic() + 0.7, reader)
    broker.publish("s/a", *numbered(100, 100))
    assert payloads(reader.consume(100)) == numbered(100, 100)
    reader.ping()
    broker.restart(other_shards)
    received = broker.all_of_it()
    check_numbers(received)
    assert position(received[0]) == 0 and (len(received) > 100 or durability == "none")
    new = [b"new %d" % number for number in range(150)]
    broker.publish("s/a", *new)
    for name in readers:
        reader = broker.kept(name)
        if not reader.session_present:
            assert durability == "none"
            continue
        found = reader.consume(1)
        while found[-1].payload != new[-1]:
            found += reader.consume(1)
        assert payloads(found)[-151:] == [received[-1].payload, *new]
        assert positions(found)[-150:] == list(range(len(received), len(received) + 150))


@pytest.mark.parametrize("end, shards", [("stopped", 3)])
@pytest.mark.parametrize("durability", ["interval", "none"])
def test_an_orderly_end_writes_all(broker, other_shards, durability):
    broker.serve(stream("s", "s/#", messages_max=150), sections={"durability": durability})
    broker.publish("s/a", *numbered(200))
    reader = read(broker.kept(), "$stream/s", "earliest")
    reader.settle(*reader.take(150)[:50])
    reader.ping()
    broker.restart(other_shards)
    assert positions(broker.reader().consume(150)) == list(range(50, 200))
    assert positions(broker.kept().consume(100)) == list(range(100, 200))


@pytest.mark.parametrize("end, shards", [("killed", 1), ("killed", 3)])
def test_a_damaged_message(broker, other_shards):
    """Is left out at its position; none behind it has another, and no reader misses what comes then."""
    broker.serve(stream("s", "s/#"))
    broker.publish("s/a", *(b"%d " % number + b"." * 50 for number in range(20)))
    reader = read(broker.kept(), "$stream/s", "earliest")
    assert positions(reader.consume(20)) == list(range(20))
    reader.ping()
    broker.remember()
    broker.durable.finish()
    damaged = 0
    for log in broker.durable.data.glob("log-*"):
        data = bytearray(log.read_bytes())
        if (at := data.find(b"7 .....")) >= 0:
            data[at + 10] ^= 0xFF
            damaged += 1
        log.write_bytes(data)
    assert damaged == 1
    broker.durable.start(other_shards)
    broker.publish("s/a", b"20 ")
    received = broker.reader().consume(20)
    assert positions(received) == [*range(7), *range(8, 21)]
    assert all(int(message.payload.split()[0]) == position(message) for message in received)
    assert payloads(broker.kept().consume(1)) == [b"20 "]


@KILLED
def test_a_kept_session_of_mixed_qos(broker, other_shards):
    """At QoS 2 the place is written at once: what was sent at QoS 1 in front of it is not forgotten for that."""
    broker.serve(stream("s", "s/#"))
    for attempt in range(5):
        name = f"kept{attempt}"
        reader = read(broker.kept(name), "$stream/s", "latest", qos=2)
        publisher = broker.join()
        for number in range(60):
            publisher.publish("s/a", b"%d" % number, qos=1 + number % 2)
        reader.take(20)
        broker.restart(other_shards if attempt % 2 else None)
        reader = broker.kept(name)
        broker.publish("s/a", b"end")
        found = set()
        while b"end" not in found:
            packet = reader.read()
            if packet.type == wire.PUBREL:
                reader.send(wire.acknowledge(wire.PUBCOMP, packet.packet_id))
                continue
            message = Published.of(packet, reader.version)
            found.add(message.payload)
            reader.send(wire.acknowledge(wire.PUBREC if message.qos == 2 else wire.PUBACK, message.packet_id))
        assert set(numbered(60)) <= found, sorted(set(numbered(60)) - found, key=int)


@KILLED
def test_to_subscribe_again_before_what_came_is_acknowledged(broker, other_shards):
    """It comes again after a crash, though the place behind it was written with the subscription."""
    broker.serve(stream("s", "s/#"))
    reader = read(broker.kept(), "$stream/s", "earliest")
    broker.remember()
    broker.publish("s/a", *numbered(20))
    assert payloads(reader.take(20)) == numbered(20)
    read(reader, "$stream/s", "earliest", options=RETAIN_AS_PUBLISHED)
    broker.restart(other_shards)
    assert payloads(broker.kept().consume(20)) == numbered(20)


@EVERY_END
def test_times_stay_when_something_was_dropped(broker, other_shards):
    """Each message has the time that it had, whatever the newest one has."""
    broker.serve(stream("s", "s/#", messages_max=5), stream("v", "s/#", key="topic", last_value=True))
    publisher = broker.join()
    for number in range(12):
        publisher.publish(f"s/{number % 4}", b"%d" % number)
        pass_time(time.monotonic() + 0.01, publisher)
    def times() -> list[list[int]]:
        kept = {"s": 5, "v": 4}
        return [list(map(time_us, broker.reader(f"$stream/{name}").consume(kept[name]))) for name in kept]

    before = times()
    assert all(len(set(one)) == len(one) for one in before)
    broker.remember()
    broker.restart(other_shards)
    assert times() == before


@KILLED
def test_what_is_salvaged(broker, other_shards):
    """Is the stream with its positions, and its readers with their places."""
    broker.serve(stream("s", "s/#", messages_max=30), limits=LITTLE_MEMORY)
    reader = read(broker.kept(), "$stream/s", "earliest")
    broker.publish("s/a", *numbered(50))
    broker.remember()
    assert positions(reader.consume(40)) == list(range(40))
    reader.ping()
    broker.remember()
    broker.durable.finish()
    new = broker.durable.directory / "new"
    result = inspect("--salvage", new, broker.durable.data)
    assert result.returncode == 0, result
    broker.durable.data = new
    broker.durable.start(other_shards)
    received = broker.all_of_it()
    check_numbers(received)
    assert position(received[-1]) == 50 and len(received) >= 30
    assert positions(broker.kept().consume(11)) == list(range(40, 51))


@EVERY_END
def test_mqttq_inspect(broker):
    """What it says of streams."""
    broker.serve(stream("s", "s/#", messages_max=5), stream("t", "t/+", key="topic"), stream("$s/u", "u"))
    read(broker.kept(), "$stream/s", "earliest").consume(0)
    broker.publish("s/a", *numbered(8))
    broker.publish("t/a", *numbered(3))
    broker.remember()
    broker.durable.finish()
    unnamed, kept, other = sorted(lines("--streams", broker.durable.data), key=lambda one: one["name"])
    assert (kept["name"], kept["topic_filter"]) == ("s", "s/#")
    assert (kept["messages"], kept["first_position"], kept["readers"]) == (5, 3, 1)
    assert (other["name"], other["messages"], other["first_position"], other["readers"]) == ("t", 3, 0, 0)
    assert (unnamed["name"], unnamed["topic_filter"], unnamed["messages"]) == ("$s/u", "u", 0)
    assert lines(broker.durable.data)[0]["streams"] == 3
    text = inspect("--streams", broker.durable.data).stdout.decode()
    assert '"s/#"' in text and "5 messages" in text
