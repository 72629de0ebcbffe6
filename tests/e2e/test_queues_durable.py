"""Queues with a data directory: what they are, hold and have given out outlives the broker, stopped or killed.

How far a broker has come is seen from outside by what it acknowledges: what is to be known after a crash happened
before a message was published that it acknowledged, and longer ago than the moment that docs/QUEUES.md allows it.
"""

import json
import random
import time

import pytest

from harness import wire
from harness.broker import Broker, Process, Settings, server_path
from harness.client import TIMEOUT_S
from harness.queues import (Peer, deliveries, numbered, pass_time, payloads, publish_until_taken, queue, quiet,
                            user_values)
from harness.wire import FULL, FULL_RECEIVED
from test_durable import DurableBroker, durable_broker

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

# Where time has to pass.
BOTH_ENDS = pytest.mark.parametrize("end, shards", [("stopped", 3), ("killed", 1)])

EVERY_END = pytest.mark.parametrize("end, shards", [("stopped", 1), ("killed", 1), ("killed", 3), ("stopped", 3)])

RETAIN_AS_PUBLISHED = 0x08
NEVER_S = 300  # longer than any test

BOTH_VERSIONS = pytest.mark.parametrize("version", [5, 4], ids=["v5", "v3_1_1"])


class QueueBroker:
    """A broker with a data directory and declared queues, which ends and starts again."""

    def __init__(self, durable: DurableBroker):
        self.durable = durable
        self.durable.flags = ("--config", str(durable.directory / "queues.json"))

    @property
    def running(self) -> Broker:
        return self.durable.running

    def configure(self, *declared: dict, sections: dict | None = None, **keys) -> None:
        """For the next start. keys: of `queues`. sections: others of the file."""
        content = {"queues": {"declared": declared, **keys}, "limits": {"log_segment_bytes": 1 << 20}}
        content.update(sections or {})
        (self.durable.directory / "queues.json").write_text(json.dumps(content, indent=1))

    def serve(self, *declared: dict, **keys) -> "QueueBroker":
        self.configure(*declared, **keys)
        self.durable.start()
        return self

    def restart(self, shards: int | None = None) -> None:
        """shards: another number than it had."""
        self.durable.restart(shards)

    def join(self, client_id: str | None = None, **options) -> Peer:
        """A client that is closed with the broker."""
        one = Joined(self.durable, client_id, **options)
        self.durable.sockets.append(one)
        return one

    def consumer(self, name: str = "q", **options) -> Peer:
        return self.join(**options).subscribe(f"$queue/{name}")

    def kept(self, client_id: str = "kept", **options) -> Peer:
        """A client with a kept session."""
        if options.get("version", 5) == 5:
            options["expiry_s"] = NEVER_S
        return self.join(client_id, clean=False, **options)

    def publish(self, topic: str, *contents: bytes, **options) -> None:
        one = self.join()
        one.publish(topic, *contents, **options)
        one.disconnect()

    def remember(self) -> None:
        """Until what has happened is surely known after a crash: for longer than it may be forgotten, and then until
        a message is acknowledged that is kept."""
        one = self.join()
        pass_time(time.monotonic() + 0.1, one)
        one.publish("kept", b"x", retain=True)
        one.disconnect()


class Joined(Peer):
    """A client that a broker which is stopped waits for."""

    def read_to_end(self) -> None:
        while self._socket.fileno() >= 0 and self.read_raw():
            pass
        self.close()


@pytest.fixture(params=["stopped", "killed"])
def end(request):
    return request.param


@pytest.fixture
def broker(directory, end, shards):
    """Who is killed loses nothing of its files either."""
    with durable_broker(directory, end, shards) as made:
        yield QueueBroker(made)


# --- what a queue is


def test_messages_come_back(broker, other_shards, end):
    """In order, once, with all they have, on another number of shards; at QoS 0 when the broker was stopped."""
    broker.serve(queue("q", "q/#"))
    sent = []
    for number, size in enumerate((0, 100, 20_000, 300_000, 1, 65_536)):
        qos = number % 3 if end == "stopped" else 1 + number % 2
        sent.append((f"q/{number % 2}", random.Random(number).randbytes(size), number % 2 == 1))
        broker.publish(*sent[-1][:2], qos=qos, retain=sent[-1][2], message_expiry_interval=1000, **FULL)
    for number in range(2):
        broker.restart(other_shards if number == 0 else None)
    one = broker.join().subscribe("$queue/q", 1 | RETAIN_AS_PUBLISHED, subscription_identifier=7)
    received = one.consume(len(sent))
    assert [(message.topic, message.payload, message.retain) for message in received] == sent
    for message in received:
        assert message.qos == 1 and 900 < message.properties.pop("message_expiry_interval")[0] <= 1000
        assert message.properties == {**FULL_RECEIVED, "subscription_identifier": [7]}
    quiet(one)


@BOTH_ENDS
def test_it_takes_messages_as_soon_as_it_is_there_again(broker):
    """Wills of those who were connected at the end, delayed messages, and what is published afterwards."""
    broker.serve(queue("q", "q/#"))
    broker.kept("testator", **wire.will("q/will", b"will", clean=False))
    broker.publish("$delayed/1/q/delayed", b"delayed")
    broker.restart()
    broker.publish("q/a", b"later")
    one = broker.consumer()
    assert sorted(payloads(one.consume(3))) == [b"delayed", b"later", b"will"]
    broker.remember()
    broker.restart()
    quiet(broker.consumer())


def test_a_queue_that_is_taken_out_of_the_configuration(broker, other_shards):
    """It stays, with its options, and takes what is published."""
    broker.serve(queue("q", "q/#", messages_max=3, overflow="reject", deliveries_max=2, dead_letter_topic="dead",
                       redelivery_delay_ms=1))
    broker.publish("q/a", b"0", b"1")
    broker.configure()
    for shards in (other_shards, None):
        broker.restart(shards)
    publisher = broker.join().subscribe("dead")
    assert publisher.publish("q/a", b"2", b"3") == [0, 0x97]
    one = broker.consumer()
    for count in (1, 2):
        received = one.take(3)
        assert payloads(received) == numbered(3) and {deliveries(message) for message in received} == {count}
        one.reject(*received)
    assert payloads(publisher.take(3)) == numbered(3)


def test_queues_that_clients_declared(broker, other_shards):
    """They are there without their clients and without leave to declare more; a filter stays as it is."""
    broker.serve(auto_create=True, auto={"messages_max": 3})
    client = broker.join()
    for number in range(20):
        client.subscribe(f"$queue/q{number}/q/{number}/#").subscribe(f"$q/+/{number}")
    client.disconnect()
    for number in range(20):
        broker.publish(f"q/{number}", *numbered(2 + number % 3))
    broker.configure()
    broker.restart(other_shards)
    one = broker.join()
    assert one.ask(("$queue/q0/q", 1), ("$queue/new/q", 1), ("$q/q", 1)) == [0x8F] * 3
    for number in range(20):
        for address in (f"$queue/q{number}", f"$q/+/{number}"):
            one.subscribe(address)
            count = 2 + number % 3
            assert payloads(one.consume(min(count, 3))) == numbered(count)[-3:]
    quiet(one)


def test_options_of_the_next_start(broker):
    """They take effect on what is there: what no longer fits is dropped, the oldest first."""
    broker.serve(queue("q", "q/#"))
    broker.publish("q/a", *numbered(10))
    broker.configure(queue("q", "q/#", messages_max=4, overflow="drop_oldest"))
    broker.restart()
    one = broker.consumer()
    assert payloads(one.consume(4)) == numbered(4, 6)
    quiet(one)


@BOTH_ENDS
def test_the_age_limit_of_the_next_start(broker):
    broker.serve(queue("q", "q/#"))
    broker.publish("q/a", b"old")
    broker.configure(queue("q", "q/#", age_max_s=1))
    broker.durable.restart_until(time.monotonic() + 1.1)
    broker.publish("q/a", b"young")
    assert payloads(broker.consumer().take(1)) == [b"young"]


def start_refused(broker) -> Process:
    """A server that does not start on a directory with the configuration that there is now."""
    process = Process([server_path(), "--allow-anonymous", "--listen", "tcp://127.0.0.1:0", "--data-dir",
                       str(broker.durable.data), "--config", str(broker.durable.directory / "queues.json")])
    try:
        assert process.wait_end() != 0 and process.stdout == []
    finally:
        process.kill()
    return process


def start_with_another_filter(broker) -> tuple[Process, str]:
    """A server with a configuration that has another filter of a queue than its directory; the place of that."""
    broker.serve(queue("first", "f"), queue("q", "q/#"))
    broker.publish("q/a", b"x")
    broker.configure(queue("first", "f"), queue("q", "q/+"))
    broker.durable.finish()
    process = start_refused(broker)
    file = broker.durable.directory / "queues.json"
    line = [number for number, text in enumerate(file.read_text().splitlines(), 1) if '"q/+"' in text][0]
    return process, f"{file}:{line}: queues.declared[1].topic_filter"


def test_a_filter_never_changes(broker):
    """A configuration that has another one is refused, and nothing is lost by it."""
    process, _ = start_with_another_filter(broker)
    assert any("topic_filter: the queue has another one" in line for line in process.stderr), process.output()
    broker.configure(queue("q", "q/#"))
    broker.durable.start()
    assert payloads(broker.consumer().take(1)) == [b"x"]


def test_where_a_filter_is_changed(broker):
    """File, line and key are told."""
    process, place = start_with_another_filter(broker)
    assert any(place in line for line in process.stderr), process.output()


# --- in flight and settled


@EVERY_END
def test_what_is_settled_stays_away(broker, other_shards):
    """And what is not comes again, in order, with its count; with what was never handed out behind."""
    broker.serve(queue("q", "q/#"))
    broker.publish("q/a", *numbered(60), qos=2)
    one = broker.consumer()
    held = one.take(60)
    broker.publish("q/a", *numbered(10, 60))
    held += one.take(10)
    one.settle(*held[:50:2])
    one.ping()
    broker.remember()
    broker.restart(other_shards)
    one = broker.consumer()
    received = one.consume(45)
    assert payloads(received) == [*(b"%d" % number for number in range(1, 50, 2)), *numbered(20, 50)]
    assert [deliveries(message) for message in received] == [2] * 45
    quiet(one)
    broker.remember()
    broker.restart()
    one = broker.consumer()
    quiet(one)
    broker.publish("q/a", b"end")
    assert payloads(one.take(1)) == [b"end"]


def test_fifty_in_flight(broker):
    """However soon after they were handed over the broker ends, none is lost, nor what waits."""
    broker.serve(queue("q", "q/#"))
    broker.publish("q/a", *numbered(60))
    one = broker.consumer(receive_maximum=50)
    assert payloads(one.take(50)) == numbered(50)
    broker.restart()
    one = broker.consumer()
    received = one.consume(60)
    assert payloads(received) == numbered(60)
    assert all(deliveries(message) == 1 for message in received[50:])
    quiet(one)


def test_acknowledgements_of_the_last_moment(broker, end):
    """What was settled just before a crash may come again, and nothing else is missing."""
    broker.serve(queue("q", "q/#"))
    broker.publish("q/a", *numbered(100))
    one = broker.consumer()
    held = one.take(100)
    one.settle(*held[:50])
    one.ping()
    broker.restart()
    one = broker.consumer()
    broker.publish("q/a", b"end")
    received = payloads(one.consume_until(b"end"))
    assert received[-50:] == numbered(50, 50) and len(set(received)) == len(received)
    assert set(received) <= set(numbered(100))
    if end == "stopped":
        assert len(received) == 50


@EVERY_END
def test_deliveries_are_counted_over_restarts(broker, other_shards):
    """Up to the last one, of which the message dies: in whatever life of the broker that is."""
    broker.serve(queue("q", "q/#", deliveries_max=3, dead_letter_topic="dead/q", redelivery_delay_ms=1),
                 queue("dead", "dead/#"))
    broker.publish("q/a", b"x", **FULL)
    for count in (1, 2, 3):
        one = broker.consumer("dead").subscribe("$queue/q")
        message = one.take_one()
        assert (message.topic, deliveries(message)) == ("q/a", count)
        if count < 3:
            assert user_values(message, "b") == ["1", "3", "1"]
        broker.remember()
        broker.restart(other_shards if count == 2 else None)
    one = broker.consumer()
    one.subscribe("$queue/dead")
    letter = one.consume(1)[0]
    assert letter.topic == "dead/q" and letter.payload == b"x" and deliveries(letter) == 3
    assert user_values(letter, "dead-letter-reason") == ["consumer lost"]
    quiet(one)


@pytest.mark.parametrize("end, shards", [("stopped", 1), ("stopped", 3)])
def test_what_dies_at_the_end_is_one_letter(broker, other_shards):
    """Whether it dies just before the broker is stopped, or because it is: on the way then, or at the next start."""
    broker.serve(queue("q", "q/#", deliveries_max=1, dead_letter_topic="dead/q"), queue("dead", "dead/#"))
    for life, shards in enumerate((None, other_shards)):
        contents = numbered(1000, first=1000 * life)
        broker.publish("q/a", *contents)
        gone, there = (broker.consumer(receive_maximum=500) for _ in range(2))
        for one in (gone, there):
            one.take(500)
        gone.close()
        broker.restart(shards)
        one = broker.consumer("q").subscribe("$queue/dead")
        received = one.consume(1000)
        assert sorted(payloads(received), key=int) == contents
        quiet(one)
        one.disconnect()


def test_dead_letters_come_back(broker):
    """In the queue that took them, with what was added to them."""
    broker.serve(queue("q", "q/#", deliveries_max=1, dead_letter_topic="dead/q"), queue("dead", "dead/#"))
    broker.publish("q/a", *numbered(3))
    one = broker.consumer()
    one.reject(*one.take(3))
    observer = broker.consumer("dead")
    observer.take(3)
    observer.disconnect()
    broker.remember()
    broker.restart()
    one = broker.consumer()
    dead = broker.consumer("dead")
    received = dead.consume(3)
    assert payloads(received) == numbered(3)
    assert all(user_values(message, "dead-letter-topic") == ["q/a"] for message in received)
    quiet(one, dead)


def test_dead_letters_wait_for_a_store_that_is_full(broker):
    """And so do the messages that died: each is in one queue or the other, and nothing is lost."""
    limits = {"store_bytes": 4_000_000, "log_segment_bytes": 1 << 19}
    broker.serve(queue("q", "q/#", deliveries_max=1, dead_letter_topic="dead/q"), queue("dead", "dead/#"),
                 sections={"limits": limits})
    publisher = Peer(broker.running)
    taken = [index for index in range(400) if publisher.publish("q/a", b"%d " % index + b"x" * 20_000) == [0]]
    assert 50 < len(taken) < 400
    one, other, letters = (Peer(broker.running, receive_maximum=1000) for _ in range(3))
    letters.subscribe("$queue/dead")
    one.subscribe("$queue/q")
    first = one.take(len(taken))
    one.reject(*first[:10])
    one.ping()
    quiet(letters)
    one.settle(*first[10:])
    received = letters.consume(10)
    assert sorted(int(message.payload.split()[0]) for message in received) == taken[:10]
    quiet(letters, other.subscribe("$queue/q"))


# --- consumers


@BOTH_VERSIONS
def test_kept_consumers(broker, other_shards, version):
    """They consume again without SUBSCRIBE, with what they asked for; while they are away others have the queue."""
    broker.serve(queue("q", "q/#"))
    options = {"subscription_identifier": 9} if version == 5 else {}
    rap = RETAIN_AS_PUBLISHED if version == 5 else 0
    one = broker.kept(version=version).subscribe("$queue/q", 2 | rap, **options)
    one.subscribe("plain", 1)
    broker.publish("q/a", b"0")
    assert one.take_one().payload == b"0"
    broker.remember()
    broker.restart(other_shards)
    broker.publish("q/a", b"1", retain=True)
    other = broker.consumer()
    assert payloads(other.consume(2)) == numbered(2)
    other.disconnect()
    broker.publish("q/a", b"2", retain=True)
    broker.publish("plain", b"3")
    one = broker.kept(version=version)
    assert one.session_present
    received = sorted(one.consume(2), key=lambda message: message.payload)
    assert payloads(received) == numbered(2, 2)
    assert (received[0].qos, received[0].retain) == (1, version == 5)
    assert received[0].properties.get("subscription_identifier") == ([9] if version == 5 else None)
    quiet(one)


def test_kept_consumers_at_qos_0(broker):
    broker.serve(queue("q", "q/#"))
    broker.kept().subscribe("$queue/q", 0)
    broker.remember()
    broker.restart()
    one = broker.kept()
    broker.publish("q/a", b"x")
    message = one.take_one()
    assert (message.payload, message.qos) == (b"x", 0)


def keep_consumers(broker, *priorities: int | None, shards: int) -> list[Peer]:
    """Of a queue, as they are after a restart."""
    for number, priority in enumerate(priorities):
        broker.kept(f"c{number}").subscribe("$queue/q", priority=priority)
    broker.remember()
    broker.restart(shards)
    members = [broker.kept(f"c{number}") for number, _ in enumerate(priorities)]
    for one in members:
        one.ping()
    return members


def test_kept_priorities(broker, other_shards):
    broker.serve(queue("q", "q/#"))
    low, high, middle = keep_consumers(broker, -5, 100, 5, shards=other_shards)
    broker.publish("q/a", *numbered(6))
    deadline = time.monotonic() + TIMEOUT_S
    while sum(len(one.inbox) for one in (low, middle, high)) < 6:
        assert time.monotonic() < deadline
        pass_time(0, low, middle, high)
    assert payloads(high.inbox) == numbered(6)
    quiet(low, middle)


def test_an_exclusive_queue(broker, other_shards):
    """It is that of one of its kept consumers, then of another, and of nobody while they are away."""
    broker.serve(queue("q", "q/#", exclusive=True))
    members = keep_consumers(broker, 0, 1, 2, shards=other_shards)
    for payload in numbered(3):
        broker.publish("q/a", payload)
        deadline = time.monotonic() + TIMEOUT_S
        while not any(one.inbox for one in members):
            assert time.monotonic() < deadline
            pass_time(0, *members)
        owner, = (one for one in members if one.inbox)
        assert payloads(owner.consume(1)) == [payload]
        quiet(*members)
        broker.publish("q/a", payload)
        assert payloads(owner.consume(1)) == [payload]
        owner.disconnect()
        members.remove(owner)


def test_who_has_unsubscribed_consumes_nothing(broker):
    broker.serve(queue("q", "q/#"))
    one = broker.kept().subscribe("$queue/q").subscribe("plain")
    one.unsubscribe("$queue/q")
    broker.remember()
    broker.restart()
    one = broker.kept()
    assert one.session_present
    broker.publish("q/a", b"x")
    quiet(one)


def test_many_kept_consumers(broker, other_shards):
    """Each has its turn again, wherever it is."""
    broker.serve(queue("q", "q/#"))
    members = keep_consumers(broker, *[None] * 12, shards=other_shards)
    broker.publish("q/a", *numbered(36))
    received = [message for one in members for message in one.consume(3)]
    assert sorted(payloads(received), key=int) == numbered(36)
    quiet(*members)


# --- limits


def test_messages_max_is_exact(broker, other_shards):
    """What waits and what was in flight counts after a restart, what was settled does not."""
    broker.serve(queue("q", "q/#", messages_max=10, overflow="reject"))
    broker.publish("q/a", *numbered(10))
    one = broker.consumer(receive_maximum=6)
    held = one.take(6)
    one.settle(*held[:2], held[4])
    one.ping()
    broker.remember()
    broker.restart(other_shards)
    publisher = broker.join()
    assert publisher.publish("q/a", *numbered(6, 10)) == [0, 0, 0, 0x97, 0x97, 0x97]
    one = broker.consumer(receive_maximum=4)
    held = one.take(4)
    assert payloads(held) == [b"2", b"3", b"5", b"6"]
    assert publisher.publish("q/a", b"no") == [0x97]
    one.settle(*held)
    publish_until_taken(publisher, "q/a", b"13")
    assert payloads(one.consume(7)) == numbered(7, 7)


@pytest.mark.parametrize("overflow", ["reject", "drop_oldest"])
def test_bytes_max_is_exact(broker, overflow):
    """With what was in flight."""
    broker.serve(queue("q", "b/#", bytes_max=300, overflow=overflow))
    sent = [b"%d" % index + b"." * 96 for index in range(5)]  # 100 with the topic
    broker.publish("b/x", *sent[:3])
    one = broker.consumer()
    held = one.take(3)
    one.settle(held[1])
    one.ping()
    broker.remember()
    broker.restart()
    publisher = broker.join()
    codes = publisher.publish("b/x", sent[3], sent[4])
    assert codes == ([0, 0x97] if overflow == "reject" else [0, 0])
    one = broker.consumer()
    left = [sent[0], sent[2], sent[3]] if overflow == "reject" else sent[2:]
    assert payloads(one.consume(3)) == left
    quiet(one)


@BOTH_ENDS
def test_what_expires_meanwhile(broker):
    """Expiries count from when a message came, over all restarts."""
    broker.serve(queue("q", "q/#"))
    broker.publish("q/a", b"expires", message_expiry_interval=1)
    broker.publish("q/a", b"old", message_expiry_interval=100)
    broker.restart()
    broker.durable.restart_until(time.monotonic() + 1.2)
    one = broker.consumer()
    message = one.take_one()
    assert message.payload == b"old" and 90 < message.properties["message_expiry_interval"][0] < 100
    quiet(one)


@BOTH_ENDS
def test_what_gets_old_meanwhile(broker):
    """So does the age of those that waited, and that of those that somebody had."""
    broker.serve(queue("waits", "q/#", age_max_s=1), queue("held", "q/#", age_max_s=1))
    broker.publish("q/a", b"old")
    broker.consumer("held").take(1)
    broker.remember()
    broker.durable.restart_until(time.monotonic() + 1.2)
    broker.publish("q/a", b"young")
    for name in ("waits", "held"):
        one = broker.consumer(name)
        assert payloads(one.take(1)) == [b"young"]
        quiet(one)


# --- more


def test_what_is_acknowledged_is_in_the_queue(broker):
    """Whenever the broker ends, while messages come and go: in order, none missing, none twice."""
    broker.serve(queue("q", "q/#"))
    publisher = broker.join()
    publisher.send(b"".join(wire.publish("q/a", b"%d" % number, 1, number + 1) for number in range(800)))
    acknowledged = 0
    while acknowledged < 300:
        publisher.answer(wire.PUBACK)
        acknowledged += 1
    broker.restart()
    one = broker.consumer()
    broker.publish("q/a", b"end")
    received = payloads(one.consume_until(b"end"))
    assert 300 <= len(received) <= 800
    assert received == numbered(len(received))


@EVERY_END
def test_a_queue_that_is_longer_than_memory(broker):
    """Messages that are not in memory any more come in order too, and again when a consumer is lost."""
    broker.serve(queue("q", "q/#"), sections={"limits": {"store_memory_bytes": 4000, "log_segment_bytes": 1 << 20}})
    sent = [f"{number}".encode().rjust(1000) for number in range(300)]
    broker.publish("q/a", *sent[:150])
    broker.restart()
    broker.publish("q/a", *sent[150:])
    one = broker.consumer(receive_maximum=100)
    assert payloads(one.take(100)) == sent[:100]
    broker.remember()
    broker.restart()
    one = broker.consumer(receive_maximum=10)
    received = one.consume(300)
    assert payloads(received) == sent
    assert [deliveries(message) for message in received] == [2] * 100 + [1] * 200
    quiet(one)


def test_consumers_that_come_and_vanish_over_restarts(broker, other_shards):
    """No message is lost, and what is known to be settled does not come again."""
    broker.serve(queue("q", "q/#"))
    chance = random.Random(other_shards)
    sent: list[bytes] = []
    settled: set[bytes] = set()  # surely
    maybe: set[bytes] = set()
    for life in range(4):
        publisher = broker.join()
        mine: set[bytes] = set()
        for _ in range(8):
            sent += numbered(10, len(sent))
            publisher.publish("q/a", *sent[-10:], qos=chance.choice((1, 2)))
            one = broker.consumer(version=chance.choice((4, 5)))
            held = one.take_what_came()
            assert not settled & set(payloads(held))
            chosen = chance.sample(held, chance.randint(0, len(held)))
            one.settle(*chosen)
            maybe |= set(payloads(chosen))
            if chance.random() < 0.3:
                one.close()
            else:
                one.ping()
                mine |= set(payloads(chosen))
                chance.choice((one.ping, one.disconnect))()
        if life % 2:
            broker.remember()
        if life % 2 or broker.durable.end == "stopped":
            settled |= mine
        broker.restart(other_shards if life == 1 else None)
    last = broker.consumer()
    left: list[bytes] = []
    missing = set(sent) - maybe
    while not missing <= set(left):
        left += payloads(last.consume(1))
    broker.publish("q/a", b"end")
    left += payloads(last.consume_until(b"end"))
    assert len(left) == len(set(left)) and set(left) <= set(sent) - settled
    quiet(last)


# --- keys


def last_values(**options) -> dict:
    return queue("q", "q/#", key="topic", last_value=True, **options)


@EVERY_END
def test_last_values_come_back(broker, other_shards):
    """The newest of each key and no other, in their order, and what comes takes their places."""
    broker.serve(last_values(), queue("by", "q/#", key="json:/k", last_value=True))
    publisher = broker.join()
    for number, key in enumerate("abcdabda"):
        publisher.publish(f"q/{key}", json.dumps({"k": key, "n": number}).encode())
    for shards in (other_shards, None):
        broker.restart(shards)
    broker.publish("q/b", json.dumps({"k": "b", "n": 8}).encode())
    for name in ("q", "by"):
        one = broker.consumer(name)
        assert [json.loads(payload)["n"] for payload in payloads(one.consume(4))] == [2, 6, 7, 8]
        quiet(one)


def test_values_that_are_settled_stay_away(broker, other_shards):
    """And those that they had replaced, and those that replaced them do not."""
    broker.serve(last_values())
    broker.publish("q/a", b"0", b"1")
    broker.publish("q/b", b"2", b"3")
    one = broker.consumer()
    one.settle(*one.take(2))
    one.disconnect()
    broker.publish("q/b", b"4")
    broker.remember()
    broker.restart(other_shards)
    one = broker.consumer()
    assert payloads(one.consume(1)) == [b"4"]
    broker.remember()
    broker.restart()
    one = broker.consumer()
    quiet(one)
    broker.publish("q/a", b"5")
    assert payloads(one.consume(1)) == [b"5"]


@EVERY_END
def test_values_in_flight(broker, other_shards):
    """What was with a consumer comes again where it is the last one; where it is not the last one comes alone."""
    broker.serve(last_values())
    broker.publish("q/stale", b"0")
    broker.publish("q/last", b"1")
    assert payloads(broker.consumer().take(2)) == numbered(2)
    broker.publish("q/stale", b"2", b"3")
    broker.remember()
    broker.restart(other_shards)
    one = broker.consumer()
    assert [(message.payload, deliveries(message)) for message in one.consume(2)] == [(b"1", 2), (b"3", 1)]
    quiet(one)


def test_a_value_that_replaces_one_that_came_back(broker):
    """What was in flight is replaced after the restart, though it had been handed out before."""
    broker.serve(last_values())
    broker.publish("q/a", b"0")
    broker.publish("q/b", b"1")
    broker.consumer().take(2)
    broker.remember()
    broker.restart()
    broker.publish("q/a", b"2")
    broker.restart()
    one = broker.consumer()
    assert payloads(one.consume(2)) == numbered(2, 1)
    quiet(one)


def test_values_and_messages_without_a_key(broker):
    """Each of those is kept; a queue that rejects them still does."""
    broker.serve(queue("q", "q/#", key="user_property:k", last_value=True),
                 queue("r", "r/#", key="user_property:k", keyless="reject"))
    broker.publish("q/a", *numbered(3))
    broker.publish("q/a", *numbered(2, 3), user_property=("k", "1"))
    broker.restart()
    publisher = broker.join()
    publisher.publish("q/a", b"5")
    publisher.publish("q/a", b"6", user_property=("k", "1"))
    assert publisher.publish("r/a", b"x") == [0x83]
    assert publisher.publish("r/a", b"x", user_property=("k", "1")) == [0]
    one = broker.consumer()
    assert sorted(payloads(one.consume(5))) == [b"0", b"1", b"2", b"5", b"6"]
    quiet(one)


def test_last_values_and_limits(broker):
    """What was replaced takes no room after a restart either."""
    broker.serve(last_values(messages_max=2, overflow="drop_oldest"))
    broker.publish("q/a", *numbered(5))
    broker.publish("q/b", b"5")
    broker.restart()
    broker.publish("q/a", b"6")
    one = broker.consumer()
    assert payloads(one.consume(2)) == [b"5", b"6"]
    quiet(one)


def test_last_values_that_are_not_in_memory(broker):
    """They are read when they are handed out."""
    broker.serve(last_values(), sections={"limits": {"store_memory_bytes": 4000, "log_segment_bytes": 1 << 20}})
    newest = {}
    publisher = broker.join()
    for number in range(120):
        newest[f"q/{number % 40}"] = b"%d" % number + b"." * 1000
        publisher.publish(f"q/{number % 40}", newest[f"q/{number % 40}"])
    broker.restart()
    one = broker.consumer(receive_maximum=7)
    assert [(message.topic, message.payload) for message in one.consume(40)] == list(newest.items())
    quiet(one)


@EVERY_END
def test_the_order_of_keys_after_a_restart(broker, other_shards):
    """What was in flight comes one by one, before those behind it; other keys pass."""
    broker.serve(queue("q", "q/#", key="topic", dispatch="key_ordered"))
    broker.publish("q/a", *numbered(4))
    one = broker.consumer(receive_maximum=2)
    one.settle(*one.take(1))
    one.take(2)
    broker.publish("q/b", b"b")
    broker.remember()
    broker.restart(other_shards)
    first = broker.consumer(receive_maximum=1)
    message = first.take_one()
    assert (message.payload, deliveries(message)) == (b"1", 2)
    second = broker.consumer(receive_maximum=1)
    assert payloads(second.take(1)) == [b"b"]
    quiet(first, second)
    first.settle(message)
    received = first.consume(2)
    assert [(message.payload, deliveries(message)) for message in received] == [(b"2", 2), (b"3", 1)]
    quiet(first, second)


def test_a_key_never_changes(broker):
    """A configuration that has another one, or another use of it, is refused, and nothing is lost by it."""
    broker.serve(last_values())
    broker.publish("q/a", b"0", b"1")
    broker.durable.finish()
    for key, other in (("key", "client_id"), ("last_value", False), ("keyless", "drop")):
        broker.configure({**last_values(), key: other})
        process = start_refused(broker)
        assert any(f"{key}: the queue has another" in line for line in process.stderr), process.output()
    broker.configure(last_values())
    broker.durable.start()
    one = broker.consumer()
    assert payloads(one.consume(1)) == [b"1"]
    quiet(one)
