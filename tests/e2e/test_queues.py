"""Message queues as docs/QUEUES.md promises them to clients: what they take, who gets it, how it is settled, limits.

Whether a message is gone is asked of a queue of few messages that rejects what it has no room for, or of a message
that comes behind it. Where nothing is to come, other packets are exchanged for a while.
"""

import collections
import functools
import json
import random
import subprocess
import time

import pytest

from harness import wire
from harness.broker import HOST, server_path
from harness.client import TIMEOUT_S
from harness.queues import (Peer, deliveries, numbered, pass_time, payloads, publish_until_taken, queue, quiet,
                            user_values)
from harness.wire import FULL, FULL_RECEIVED

pytestmark = pytest.mark.ours_only("queues are no matter of the specification")

NO_LOCAL, RETAIN_AS_PUBLISHED = 0x04, 0x08
NEVER_MS = 60_000  # longer than any test

BOTH_VERSIONS = pytest.mark.parametrize("version, shards", [(5, 1), (5, 3), (4, 3)])
EVERY_VERSION = pytest.mark.parametrize("version", [5, 4, 3], ids=["v5", "v3_1_1", "v3_1"])


def repeated(test):
    """Runs a test several times where it depends on who is on which shard, and on which of two mails is faster."""

    @functools.wraps(test)
    def wrapper(*arguments, shards, **more):
        for _ in range(1 if shards == 1 else 5):
            test(*arguments, shards=shards, **more)

    return wrapper


def whoever_is_sent(*peers: Peer) -> Peer:
    """The first of them that has a message."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for peer in peers:
            peer.ping()
            if peer.inbox:
                return peer
    raise AssertionError("nobody was sent a message")


@pytest.fixture
def serve(start_broker, tmp_path, shards):
    """A function that starts a broker with queues: serve(queue("name", "filter"), auto_create=True).

    Further keys of `queues` by their name; other sections of the file as `sections`.
    """

    def start(*declared: dict, sections: dict | None = None, **keys):
        file = tmp_path / "queues.json"
        file.write_text(json.dumps({"queues": {"declared": declared, **keys}, **(sections or {})}))
        return start_broker(flags=("--shards", f"{shards}", "--config", str(file)))

    return start


# --- what a queue takes


@BOTH_VERSIONS
def test_what_a_queue_takes(serve, join, version):
    """Each QoS, retained ones, wills; before anybody consumes it, and beside who subscribes."""
    broker = serve(queue("q", "q/#"))
    publisher, subscriber = join(broker, version=version), join(broker).subscribe("q/#", 2)
    for qos in (0, 1, 2):
        publisher.publish(f"q/{qos}", b"x", qos=qos)
    publisher.publish("q/retained", b"x", retain=True)
    publisher.publish("other", b"x")
    join(broker, version=version, **wire.will("q/will", b"x", version)).close()
    assert {message.topic for message in subscriber.take(5)} == {"q/0", "q/1", "q/2", "q/retained", "q/will"}
    consumer = join(broker, version=version).subscribe("$queue/q")
    received = consumer.consume(5)
    assert [message.topic for message in received] == ["q/0", "q/1", "q/2", "q/retained", "q/will"]
    assert all((message.qos, message.retain, message.dup) == (1, False, False) for message in received)
    quiet(consumer)


def test_delayed_messages(serve, join):
    """They are taken when their time has come, each by the queue of the topic it then has."""
    broker = serve(queue("q", "q/#"), queue("all", "+/+/+/+"))
    consumer, everything = join(broker).subscribe("$queue/q"), join(broker).subscribe("$queue/all")
    began = time.monotonic()
    consumer.publish("$delayed/1/q/delayed", b"x")
    consumer.publish("q/a", b"x")
    assert [message.topic for message in consumer.take(2)] == ["q/a", "q/delayed"]
    assert time.monotonic() - began > 0.98
    quiet(consumer, everything)


def test_nothing_below_sys(serve, join):
    """Whatever its filter; what a queue takes has a topic that does not begin with $."""
    broker = serve(queue("all", "#"), queue("like", "+/broker/#"), sections={"sys": {"client_events": True}})
    observer = join(broker).subscribe("$SYS/broker/clients/#")
    consumers = [join(broker).subscribe(f"$queue/{name}") for name in ("all", "like")]
    join(broker, "comes").disconnect()
    while "comes/disconnected" not in observer.take_one().topic:
        pass
    observer.publish("own/broker/end", b"end")
    assert [consumer.take_one().topic for consumer in consumers] == ["own/broker/end"] * 2


def test_what_was_retained_before_is_not_taken(serve, join):
    broker = serve(auto_create=True)
    consumer = join(broker)
    consumer.publish("q/before", b"x", retain=True)
    consumer.subscribe("$queue/q/q/#")
    consumer.publish("q/after", b"x")
    assert consumer.take_one().topic == "q/after"
    quiet(consumer)


def test_several_queues(serve, join):
    """A message is in each that matches it, and settled in each for itself."""
    broker = serve(queue("a", "x/#"), queue("b", "+/y"), queue("c", "x/y"), queue("d", "x/z"))
    publisher = join(broker)
    publisher.publish("x/y", b"1")
    join(broker).subscribe("$queue/a").consume(1)
    consumers = [join(broker).subscribe(f"$queue/{name}") for name in "bcd"]
    assert [payloads(one.take()) for one in consumers[:2]] == [[b"1"]] * 2
    publisher.publish("x/z", b"2")
    assert payloads(consumers[2].take()) == [b"2"]


@pytest.mark.parametrize("qos", [1, 2])
def test_what_a_publisher_is_told(serve, join, qos):
    """PUBACK and PUBREC say 0x00 when a queue took it, and 0x10 when nobody did."""
    publisher = join(serve(queue("q", "q/#")))
    assert publisher.publish("q/a", b"x", qos=qos) == [0]
    assert publisher.publish("other", b"x", qos=qos) == [0x10]


def test_after_rewriting(serve, join):
    """Topics are taken as they are rewritten, and filters of addresses are rewritten too."""
    broker = serve(queue("q", "new/#"), sections={"rewrites": [{"from": "old/#", "to": "new/$1"}]})
    consumer = join(broker).subscribe("$queue/q/old/#")
    consumer.publish("old/a", b"x")
    assert consumer.take_one().topic == "new/a"


# --- subscribing


@EVERY_VERSION
@pytest.mark.parametrize("address", ["$queue/q", "$queue/q/q/#", "$q/q/#"])
def test_addresses(serve, join, version, address):
    """All three forms, for each QoS that is asked for: QoS 2 is granted as 1."""
    broker = serve(queue("q", "q/#"), queue("$q/q/#", "q/#"))
    for asked in (2, 1, 0):
        consumer = join(broker, version=version)
        assert consumer.ask((address, asked)) == [min(asked, 1)]
        for qos in (0, 1, 2):
            consumer.publish("q/a", f"{asked}{qos}".encode(), qos=qos)
            message = consumer.consume(1)[0]
            assert (message.topic, message.payload) == ("q/a", f"{asked}{qos}".encode())
            assert message.qos == min(asked, 1)
        consumer.disconnect()


def test_names(serve, join):
    """Of letters, digits, `.`, `_` and `-`, up to 255 of them, where a filter is needed behind."""
    client = join(serve(auto_create=True))
    for name in ("0", "Z9", "a.b_c-d", "q" * 255, "a--", "SYS"):
        assert client.ask((f"$queue/{name}/{name}/+", 1)) == [1]
        client.publish(f"{name}/x", name.encode())
        assert client.consume(1)[0].payload == name.encode()


PREFIXES = ("$SYS", "$share", "$queue", "$q", "$stream", "$s", "$exclusive", "$delayed")
REFUSED = [
    "$queue/none", "$queue/q/o", "$queue/q/q/+", "$queue/q/q/#/#", "$queue/Q",  # no such queue, or another filter
    "$queue/", "$queue//q/#", "$queue/-q/a", "$queue/.q/a", "$queue/_q/a", "$queue/q q/a", "$queue/q$/a",
    "$queue/ä/a", "$queue/q+/a", "$queue/+", "$queue/#", "$queue/+/q/#", f"$queue/{'q' * 256}/a",  # not a name
    "$queue/q/", "$q/", "$queue/new/a#", "$queue/new/#/a", "$queue/new/a+", "$q/a#", "$q/#/a", "$q/+a",  # not a filter
    *(f"$queue/new/{prefix}/a" for prefix in PREFIXES), *(f"$q/{prefix}/a" for prefix in PREFIXES),
    *(f"$queue/new/{prefix}" for prefix in PREFIXES),
]


@EVERY_VERSION
def test_refused_addresses(serve, join, version):
    """Where a client may declare queues: 0x8F, and 0x80 of MQTT 3. No queue comes of it."""
    client = join(serve(queue("q", "q/#"), auto_create=True), version=version)
    code = 0x8F if version == 5 else 0x80
    assert {address: client.ask((address, 1)) for address in REFUSED} == {address: [code] for address in REFUSED}
    assert client.ask(("$queue/new", 1), ("$queue/q", 1), ("$queue/new/$/a", 1)) == [code, 1, 1]


def test_no_local_is_refused(serve, join):
    client = join(serve(queue("q", "q/#")))
    assert client.ask(("$queue/q", 1 | NO_LOCAL), ("plain", 1 | NO_LOCAL)) == [0x83, 1]
    client.publish("q/a", b"x")
    quiet(client)


def test_a_consumer_s_priority_is_a_number(serve, join):
    """Of -128 to 127. Who does not consume a queue may write there what he wants."""
    broker = serve(queue("q", "q/#"))
    understood = ("-128", "0", "-0", "127")
    refused = ("128", "-129", "1.5", "x", "", " 1", "1 ", "0x1", "1000000000000000000000")
    for priority in (*understood, *refused):
        client = join(broker)
        codes = client.ask(("$queue/q", 1), ("plain", 1), user_property=("consumer-priority", priority))
        assert (priority, codes) == (priority, [1 if priority in understood else 0x83, 1])
        if priority in understood:
            client.publish("q/a", b"x")
            client.consume(1)
            client.disconnect()
    client.publish("q/a", b"x")
    quiet(client)  # nor do those that were refused consume


@BOTH_VERSIONS
def test_several_filters_in_one_packet(serve, join, version):
    """Each has its answer, and those that are granted work."""
    client = join(serve(queue("a", "a"), queue("b", "b")), version=version)
    code = 0x8F if version == 5 else 0x80
    assert client.ask(("$queue/a", 2), ("$queue/no", 1), ("c", 2), ("$queue/b/b", 0)) == [1, code, 2, 0]
    for topic in "abc":
        client.publish(topic, b"x", qos=1)
    assert sorted((message.topic, message.qos) for message in client.take(3)) == [("a", 1), ("b", 0), ("c", 1)]


@BOTH_VERSIONS
def test_subscriptions_max(serve, join, version):
    """Consumers count; one that is there may be changed, and a place that is given up is free."""
    broker = serve(queue("a", "a"), queue("b", "b"), sections={"limits": {"subscriptions_max": 2}})
    client = join(broker, version=version)
    code = 0x97 if version == 5 else 0x80
    assert client.ask(("plain", 1)) == [1]
    assert client.ask(("$queue/a", 1), ("$queue/b", 1)) == [1, code]
    assert client.ask(("$queue/a", 0)) == [0]
    client.unsubscribe("plain")
    assert client.ask(("$queue/b", 1)) == [1]
    client.publish("b", b"x")
    assert client.take_one().topic == "b"


@BOTH_VERSIONS
def test_count_max(serve, join, version):
    """As many queues as there may be: those can be consumed, and no other is declared."""
    client = join(serve(queue("a", "a"), auto_create=True, count_max=2), version=version)
    code = 0x97 if version == 5 else 0x80
    assert client.ask(("$queue/b/b", 1)) == [1]
    assert client.ask(("$queue/c/c", 1), ("$q/c", 1)) == [code, code]
    assert client.ask(("$queue/a", 1), ("$queue/a/a", 1), ("$queue/b", 1)) == [1, 1, 1]


@BOTH_VERSIONS
def test_auto_create_off(serve, join, version):
    """It is the default. Nothing is declared, and what is there may be named with its filter."""
    client = join(serve(queue("q", "q/#")), version=version)
    code = 0x8F if version == 5 else 0x80
    assert client.ask(("$queue/new/a", 1), ("$q/a", 1), ("$q/q/#", 1), ("$queue/q/q/#", 1)) == [code, code, code, 1]


@BOTH_VERSIONS
def test_a_queue_that_a_client_declares(serve, join, version):
    """It is there until it is deleted, for everybody, with its filter, and takes messages while nobody consumes it."""
    broker = serve(auto_create=True)
    publisher, first, second = (join(broker, version=version) for _ in range(3))
    code = 0x8F if version == 5 else 0x80
    assert second.ask(("$queue/q", 1)) == [code]
    first.subscribe("$queue/q/q/+")
    assert second.ask(("$queue/q/q/#", 1)) == [code]
    publisher.publish("q/a", b"1")
    assert first.consume(1)[0].payload == b"1"
    first.disconnect()
    publisher.publish("q/a", b"2")
    second.subscribe("$queue/q")
    assert second.consume(1)[0].payload == b"2"


def test_the_queue_without_a_name(serve, join):
    """There is one of each filter, which is none of those that have a name."""
    broker = serve(auto_create=True)
    publisher = join(broker)
    named, one, other, wider = (join(broker).subscribe(address) for address in (
        "$queue/n/q/+", "$q/q/+", "$q/q/+", "$q/q/#"))
    publisher.publish("q/a", *numbered(4))
    assert payloads(named.take(4)) == payloads(wider.take(4)) == numbered(4)
    assert sorted(payloads(one.take(2) + other.take(2))) == numbered(4)
    quiet(named, one, other, wider)


def test_the_options_of_queues_that_clients_declare(serve, join):
    """Those of queues.auto, and not those of others."""
    broker = serve(queue("declared", "q/#"), auto_create=True, auto={"messages_max": 2, "deliveries_max": 1})
    client = join(broker).subscribe("$q/q/#").subscribe("$queue/named/q/#")
    client.disconnect()
    publisher = join(broker)
    publisher.publish("q/a", *numbered(4))
    for address, expected in (("$q/q/#", [b"2", b"3"]), ("$queue/named", [b"2", b"3"]),
                              ("$queue/declared", numbered(4))):
        consumer = join(broker).subscribe(address)
        assert payloads(consumer.take(len(expected))) == expected
        quiet(consumer)
        consumer.disconnect()
    again = join(broker).subscribe("$q/q/#").subscribe("$queue/named").subscribe("$queue/declared")
    assert payloads(again.take(4)) == numbered(4)  # of those that may be delivered more than once
    quiet(again)


# --- consuming


def test_a_message_comes_as_it_was_published(serve, join):
    """Topic, properties, what is left of its time; with the subscription's identifier; RETAIN only if asked for."""
    broker = serve(queue("q", "q/#"), queue("r", "q/#"))
    plain = join(broker).subscribe("$queue/q", 1, subscription_identifier=9)
    published = join(broker).subscribe("$queue/r", 1 | RETAIN_AS_PUBLISHED)
    join(broker).publish("q/a", b"x", retain=True, message_expiry_interval=100, **FULL)
    message = plain.take_one()
    assert message.properties.pop("message_expiry_interval")[0] in (99, 100)
    assert (message.topic, message.retain) == ("q/a", False)
    assert message.properties == {**FULL_RECEIVED, "subscription_identifier": [9]}
    message = published.take_one()
    assert message.properties.pop("message_expiry_interval")[0] in (99, 100)
    assert (message.retain, message.properties) == (True, FULL_RECEIVED)
    join(broker).publish("q/a", b"x")
    assert not published.take_one().retain


def test_to_subscribe_again(serve, join):
    """Changes the subscription, and makes no second consumer of it."""
    broker = serve(queue("q", "q/#"))
    one = join(broker).subscribe("$queue/q", 0, subscription_identifier=1)
    other = join(broker).subscribe("$queue/q")
    one.subscribe("$queue/q", 2, subscription_identifier=300)
    other.publish("q/a", *numbered(6))
    received = one.take(3)
    assert all((message.qos, message.properties["subscription_identifier"]) == (1, [300]) for message in received)
    assert sorted(payloads(received + other.take(3))) == numbered(6)
    quiet(one, other)


@BOTH_VERSIONS
def test_a_consumer_at_qos_0(serve, join, version):
    """No window holds it back, and what is written is settled."""
    broker = serve(queue("q", "q/#"), sections={"limits": {"inflight_max": 1}})
    consumer = join(broker, version=version).subscribe("$queue/q", 0)
    consumer.publish("q/a", *numbered(50), qos=1)
    received = consumer.take(50)
    assert payloads(received) == numbered(50) and not any(message.qos for message in received)
    consumer.disconnect()
    other = join(broker, version=version).subscribe("$queue/q")
    other.publish("q/a", b"end")
    assert other.take_one().payload == b"end"
    quiet(other)


@repeated
def test_each_subscription_is_a_consumer(serve, join, shards):  # pylint: disable=unused-argument
    """Of one client too: by turns. What one of them had is the other's when it ends."""
    client = join(serve(queue("o", "o/#")))
    client.subscribe("$queue/o", subscription_identifier=1).subscribe("$queue/o/o/#", subscription_identifier=2)
    client.publish("o/a", *numbered(6))
    received = client.take(6)
    assert payloads(received) == numbered(6)
    identifiers = [message.properties["subscription_identifier"] for message in received]
    assert identifiers in ([[1], [2]] * 3, [[2], [1]] * 3)
    client.unsubscribe("$queue/o")
    again = client.take(3)
    assert payloads(again) == [message.payload for message in received
                               if message.properties["subscription_identifier"] == [1]]
    assert all(message.properties["subscription_identifier"] == [2] for message in again)


def test_a_subscriber_that_consumes_too(serve, join):
    """It has a message as any subscriber, and the queue's besides."""
    client = join(serve(queue("o", "o/#")))
    client.subscribe("o/#", 2, subscription_identifier=1).subscribe("$queue/o", subscription_identifier=2)
    client.publish("o/a", b"x", qos=1)
    assert sorted(message.properties["subscription_identifier"] for message in client.take(2)) == [[1], [2]]
    quiet(client)


@BOTH_VERSIONS
def test_a_kept_session(serve, join, version):
    """While its client is away it has no message, and what it had is another's; then it consumes as before."""
    broker = serve(queue("q", "q/#"))
    publisher = join(broker)
    kept = join(broker, "kept", version=version, clean=False, expiry_s=300).subscribe("$queue/q")
    other = join(broker, version=version).subscribe("$queue/q")
    publisher.publish("q/a", b"0", b"1")
    held = kept.take_one()
    other.consume(1)
    kept.close()
    assert other.consume(1)[0].payload == held.payload
    publisher.publish("q/a", *numbered(5))
    assert payloads(other.consume(5)) == numbered(5)
    other.disconnect()
    publisher.publish("q/a", *numbered(2, 5))
    kept = join(broker, "kept", version=version, clean=False, expiry_s=300)
    assert kept.session_present
    received = kept.take(2)
    assert payloads(received) == numbered(2, 5) and not any(message.dup for message in received)
    quiet(kept)


@BOTH_VERSIONS
def test_a_session_that_ends_consumes_nothing(serve, join, version):
    broker = serve(queue("q", "q/#"))
    join(broker, "s", version=version).subscribe("$queue/q").disconnect()
    client = join(broker, "s", version=version, clean=False)
    client.publish("q/a", b"x")
    quiet(client)


@BOTH_VERSIONS
def test_to_unsubscribe(serve, join, version):
    """By the address that was subscribed to, and by no other of the same queue."""
    client = join(serve(queue("q", "q/#")), version=version).subscribe("$queue/q")
    client.unsubscribe("$queue/q/q/#")
    client.publish("q/a", b"1")
    assert client.consume(1)[0].payload == b"1"
    client.unsubscribe("$queue/q")
    client.publish("q/a", b"2")
    quiet(client)


def test_priorities(serve, join):
    """A lower one has messages only while no higher one has room. Who says nothing, as of MQTT 3, has 0."""
    broker = serve(queue("q", "q/#"), sections={"limits": {"inflight_max": 3}})
    low = join(broker).subscribe("$queue/q", priority=-128)
    middle = join(broker, version=4).subscribe("$queue/q")
    high = join(broker, receive_maximum=2).subscribe("$queue/q", priority=127)
    publisher = join(broker)
    publisher.publish("q/a", *numbered(7))
    held = high.take(2)
    assert payloads(held) == numbered(2)
    assert payloads(middle.take(3)) == numbered(3, 2)
    assert payloads(low.take(2)) == numbered(2, 5)
    high.settle(*held)
    high.ping()
    publisher.publish("q/a", *numbered(3, 7))
    assert payloads(high.take(2)) == numbered(2, 7)
    assert payloads(low.take(1)) == [b"9"]
    quiet(low, middle, high)


# --- who gets a message


def consumers(join, broker, count: int, **options) -> list[Peer]:
    """Consumers of `q`, each of them known before the next is."""
    made = []
    for _ in range(count):
        made.append(join(broker, **options).subscribe("$queue/q"))
    return made


@BOTH_VERSIONS
def test_round_robin(serve, join, version):
    """Each in turn, in what order ever."""
    broker = serve(queue("q", "q/#", dispatch="round_robin"))
    three = consumers(join, broker, 3, version=version)
    join(broker).publish("q/a", *numbered(9))
    shares = [payloads(one.take(3)) for one in three]
    assert sorted(shares) == [[b"0", b"3", b"6"], [b"1", b"4", b"7"], [b"2", b"5", b"8"]]
    quiet(*three)


def test_round_robin_passes_over_who_has_no_room(serve, join):
    broker = serve(queue("q", "q/#"))
    full, one, other = join(broker, receive_maximum=1).subscribe("$queue/q"), *consumers(join, broker, 2)
    join(broker).publish("q/a", *numbered(9))
    assert len({message.payload for message in full.take(1) + one.take(4) + other.take(4)}) == 9
    quiet(full, one, other)


def test_random(serve, join):
    """Each has some, and not by turns. By chance this fails once in 2^60."""
    broker = serve(queue("q", "q/#", dispatch="random"))
    one, other = consumers(join, broker, 2)
    join(broker).publish("q/a", *numbered(64))
    shares = [[], []]
    deadline = time.monotonic() + TIMEOUT_S
    while sum(map(len, shares)) < 64:
        assert time.monotonic() < deadline
        for share, consumer in zip(shares, (one, other)):
            share += [int(message.payload) for message in consumer.take_what_came()]
    assert all(shares) and sorted(shares[0] + shares[1]) == list(range(64))
    turns = [list(range(0, 64, 2)), list(range(1, 64, 2))]
    assert sorted(shares) != turns


def test_least_inflight(serve, join):
    """Who has the fewest unacknowledged ones gets the next, until all have as many."""
    broker = serve(queue("q", "q/#", dispatch="least_inflight"))
    publisher = join(broker)
    busy, = consumers(join, broker, 1)
    publisher.publish("q/a", *numbered(3))
    held = busy.take(3)
    idle, = consumers(join, broker, 1)
    publisher.publish("q/a", *numbered(3, 3))
    assert payloads(idle.take(3)) == numbered(3, 3)
    busy.settle(*held)
    busy.ping()
    publisher.publish("q/a", *numbered(3, 6))
    assert payloads(busy.take(3)) == numbered(3, 6)
    publisher.publish("q/a", *numbered(4, 9))
    assert sorted(payloads(busy.take(2) + idle.take(2)), key=int) == numbered(4, 9)
    quiet(busy, idle)


@BOTH_VERSIONS
def test_an_exclusive_queue(serve, join, version):
    """One has it, even without room for more, until it is gone; then the other, with what came back first."""
    broker = serve(queue("q", "q/#", exclusive=True), sections={"limits": {"inflight_max": 3}})
    publisher = join(broker)
    one, other = consumers(join, broker, 2, version=version)
    publisher.publish("q/a", *numbered(5))
    assert payloads(one.take(3)) == numbered(3)
    quiet(one, other)
    one.close()
    assert payloads(other.consume(5)) == numbered(5)
    quiet(other)


def test_an_exclusive_queue_is_not_taken_away(serve, join):
    """By a higher priority neither; that is asked when it is free: by unsubscribing, or by an absence."""
    broker = serve(queue("q", "q/#", exclusive=True))
    publisher = join(broker)
    first = join(broker).subscribe("$queue/q", priority=-1)
    low = join(broker, "low", clean=False, expiry_s=300).subscribe("$queue/q", priority=1)
    high = join(broker, "high", clean=False, expiry_s=300).subscribe("$queue/q", priority=2)
    high.ping()
    publisher.publish("q/a", b"first")
    assert payloads(first.consume(1)) == [b"first"]
    first.unsubscribe("$queue/q")
    publisher.publish("q/a", b"high")
    assert payloads(high.take(1)) == [b"high"]
    high.close()
    assert payloads(low.consume(1)) == [b"high"]
    high = join(broker, "high", clean=False, expiry_s=300)
    high.ping()
    publisher.publish("q/a", b"low")
    assert payloads(low.consume(1)) == [b"low"]
    quiet(first, low, high)


def test_who_has_an_exclusive_queue_next(serve, join):
    """Of the same priority the one that has been there for longest."""
    broker = serve(queue("q", "q/#", exclusive=True))
    publisher = join(broker)
    line = consumers(join, broker, 5)
    for number, one in enumerate(line):
        publisher.publish("q/a", f"{number}".encode())
        assert whoever_is_sent(*line[number:]) is one
        one.consume(1)
        one.disconnect()


def test_windows_of_one(serve, join):
    """Receive Maximum 1: each has one message, and the next when that is settled. [MQTT-3.3.4-9]"""
    broker = serve(queue("q", "q/#"))
    three = consumers(join, broker, 3, receive_maximum=1)
    join(broker).publish("q/a", *numbered(30))
    received = []
    for _ in range(10):
        for one in three:
            received += one.take()
        quiet(*three, for_s=0.01)
        for one, message in zip(three, received[-3:]):
            one.settle(message)
    assert sorted(payloads(received), key=int) == numbered(30)
    quiet(*three)


@pytest.mark.parametrize("shards", [1])
@pytest.mark.parametrize("receive_maximum", [1, 5])
def test_two_queues_share_a_window(serve, join, receive_maximum):
    """Neither waits until the other has nothing more."""
    broker = serve(queue("a", "a"), queue("b", "b"))
    publisher, consumer = join(broker), join(broker, receive_maximum=receive_maximum)
    for topic in "ab":
        publisher.publish(topic, *numbered(1000))
    consumer.subscribe("$queue/a")
    consumer.subscribe("$queue/b")
    assert {message.topic for message in consumer.consume(800)} == {"a", "b"}


def test_inflight_max(serve, join):
    """The broker's own bound, below what the consumer takes."""
    broker = serve(queue("q", "q/#"), sections={"limits": {"inflight_max": 4}})
    one = join(broker, receive_maximum=100).subscribe("$queue/q")
    one.publish("q/a", *numbered(6))
    assert payloads(one.take(4)) == numbered(4)
    quiet(one)
    other = join(broker, receive_maximum=100).subscribe("$queue/q")
    assert payloads(other.take(2)) == numbered(2, 4)


@BOTH_VERSIONS
def test_nobody_hoards(serve, join, version):
    """No message waits for a consumer with a full window while another has room."""
    broker = serve(queue("q", "q/#"), sections={"limits": {"inflight_max": 20}})
    full = join(broker, receive_maximum=2).subscribe("$queue/q")
    free, = consumers(join, broker, 1, version=version)
    publisher = join(broker)
    publisher.publish("q/a", *numbered(22))
    held, free_has = full.take(2), free.take(20)
    assert sorted(payloads(held + free_has), key=int) == numbered(22)
    publisher.publish("q/a", b"waits", b"waits too")  # nobody has room: it is for whoever has some first
    quiet(full, free)
    free.settle(*free_has[:2])
    assert payloads(free.take(2)) == [b"waits", b"waits too"]
    quiet(full, free)


def test_other_messages_fill_the_window_too(serve, join):
    """What a consumer is sent as a subscriber; when that is settled it has its turn again."""
    broker = serve(queue("q", "q/#"))
    busy = join(broker, receive_maximum=2).subscribe("plain", 1).subscribe("$queue/q")
    free, = consumers(join, broker, 1)
    publisher = join(broker)
    publisher.publish("plain", b"x", b"y")
    held = busy.take(2)
    publisher.publish("q/a", *numbered(5))
    assert sorted(payloads(free.consume(5))) == numbered(5)
    busy.settle(*held)
    busy.ping()
    publisher.publish("q/a", *numbered(2))
    assert sorted(payloads(busy.take(1) + free.take(1))) == numbered(2)


@BOTH_VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order(serve, join, version, qos):
    """As the broker took them, through a small window, for who is there and for who comes later."""
    broker = serve(queue("q", "q/#"), sections={"limits": {"inflight_max": 7}})
    publisher = join(broker, version=version)
    publisher.publish("q/a", *numbered(50), qos=qos)
    consumer = join(broker, version=version).subscribe("$queue/q")
    publisher.publish("q/b", *numbered(50, 50), qos=qos)
    assert payloads(consumer.consume(100)) == numbered(100)
    quiet(consumer)


@BOTH_VERSIONS
@repeated
def test_what_comes_back_goes_first(serve, join, version, shards):
    """In its own order, before what was never handed out; from another shard it may come back a moment later."""
    broker = serve(queue("q", "q/#"), sections={"limits": {"inflight_max": 3}})
    one, = consumers(join, broker, 1, version=version)
    one.publish("q/a", *numbered(8))
    held = one.take(3)
    one.settle(held[1])
    assert payloads(one.take(1)) == [b"3"]
    one.disconnect()
    other = join(broker).subscribe("$queue/q")
    received = other.consume(7)
    returned, new = [b"0", b"2", b"3"], numbered(4, 4)
    if shards == 1:
        assert payloads(received) == [*returned, *new]
    assert payloads(message for message in received if deliveries(message) == 2) == returned
    assert payloads(message for message in received if deliveries(message) == 1) == new


# --- settling


@pytest.mark.parametrize("version, code", [(5, 0x00), (5, 0x10), (4, None), (3, None)])
def test_what_settles(serve, join, version, code):
    """PUBACK below 0x80: nobody gets it any more."""
    broker = serve(queue("q", "q/#"))
    one, = consumers(join, broker, 1, version=version)
    one.publish("q/a", *numbered(3))
    held = one.take(3)
    if code is None:
        one.settle(*held)
    else:
        one.reject(*held, reason_code=code)
    one.disconnect()
    other = join(broker).subscribe("$queue/q")
    other.publish("q/a", b"end")
    assert payloads(other.take(1)) == [b"end"]
    quiet(other)


def test_what_rejects(serve, join):
    """PUBACK from 0x80 on: whoever rejected it has it again after the delay, with all that it had."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=1))
    one, other = consumers(join, broker, 2)
    one.publish("q/a", b"x", qos=2, **FULL)
    for count, code in enumerate((0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99), 1):
        giver = whoever_is_sent(one, other)
        message = giver.take_one()
        assert message.topic == "q/a" and message.payload == b"x"
        assert count == 1 or deliveries(message) == count
        assert message.properties["user_property"][:5] == FULL_RECEIVED["user_property"]
        giver.reject(message, reason_code=code)
    last = whoever_is_sent(one, other)
    last.settle(last.take_one())
    quiet(one, other)


def test_who_gets_what_is_rejected(serve, join):
    """Another, at once; and nobody who rejected it of late."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=NEVER_MS))
    one, other = consumers(join, broker, 2)
    one.publish("q/a", b"x")
    giver = whoever_is_sent(one, other)
    taker = other if giver is one else one
    giver.reject(giver.take_one())
    taker.reject(taker.take_one())
    quiet(one, other, for_s=0.05)
    third, = consumers(join, broker, 1)
    third.settle(third.take_one())
    quiet(one, other, third)


def test_the_same_consumer_again(serve, join):
    """Not before the delay, in which others pass; that counts each time."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=200))
    one, = consumers(join, broker, 1)
    one.publish("q/a", b"x")
    for count in (2, 3):
        rejected = one.take_one()
        began = time.monotonic()
        one.reject(rejected)
        one.publish("q/a", b"passes")
        assert payloads(one.consume(1)) == [b"passes"]
        while not one.inbox:
            one.ping()
        assert time.monotonic() - began > 0.19  # the broker looks at the clock once in a turn
        assert one.inbox[0].payload == b"x" and deliveries(one.inbox[0]) == count


def give_up(join, broker, one: Peer, how: str) -> None:
    """Lets a consumer with the client id "one" and a kept session lose its messages."""
    options = {"version": one.version, "expiry_s": 300}
    if how == "breaks":
        one.close()
    elif how == "disconnects":
        one.disconnect()
    elif how == "unsubscribes":
        one.unsubscribe("$queue/q")
    else:
        join(broker, "one", clean=how == "is forgotten", **options)


@BOTH_VERSIONS
@pytest.mark.parametrize("how", ["breaks", "disconnects", "unsubscribes", "is forgotten"])
@repeated
def test_a_consumer_that_goes(serve, join, version, how, shards):  # pylint: disable=unused-argument
    """Another gets at once what it had."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=NEVER_MS))
    one = join(broker, "one", version=version, clean=False, expiry_s=300).subscribe("$queue/q")
    one.publish("q/a", *numbered(3))
    one.take(3)
    other = join(broker).subscribe("$queue/q")
    other.ping()
    give_up(join, broker, one, how)
    received = other.take(3)
    assert payloads(received) == numbered(3)
    assert [deliveries(message) for message in received] == [2] * 3
    quiet(other)


@BOTH_VERSIONS
@pytest.mark.parametrize("how", ["breaks", "disconnects", "is taken over"])
def test_a_consumer_that_comes_back_at_once(serve, join, version, how):
    """It is another, to the queue, with its next connection."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=NEVER_MS), queue("other", "q/#"))
    one = join(broker, "one", version=version, clean=False, expiry_s=300).subscribe("$queue/q")
    one.publish("q/a", *numbered(3))
    one.take(3)
    if how != "is taken over":
        give_up(join, broker, one, how)
    again = join(broker, "one", version=version, clean=False, expiry_s=300)
    assert again.session_present
    received = again.consume(3)
    assert payloads(received) == numbered(3)
    if version == 5:
        assert [deliveries(message) for message in received] == [2] * 3
    quiet(again)


@BOTH_VERSIONS
@repeated
def test_to_acknowledge_what_was_given_up(serve, join, version, shards):  # pylint: disable=unused-argument
    """A PUBACK for a message of a subscription that has ended is no error, and settles nothing."""
    broker = serve(queue("q", "q/#"))
    one, = consumers(join, broker, 1, version=version)
    one.publish("q/a", *numbered(2))
    held = one.take(2)
    one.unsubscribe("$queue/q")
    other, = consumers(join, broker, 1)
    assert payloads(other.take(2)) == numbered(2)
    one.settle(*held)
    one.ping()
    other.disconnect()
    third, = consumers(join, broker, 1)
    received = third.take(2)
    assert payloads(received) == numbered(2)
    assert [deliveries(message) for message in received] == [3, 3]


@BOTH_VERSIONS
def test_packet_identifiers_of_what_was_given_up(serve, join, version):
    """They are not used again on the connection before their PUBACK, and fill the window until then.

    [MQTT-2.2.1-3] [MQTT-3.3.4-9]
    """
    broker = serve(queue("q", "q/#"), sections={"limits": {"inflight_max": 5}})
    one, = consumers(join, broker, 1, version=version)
    one.publish("q/a", *numbered(4))
    held = one.take(4)
    one.unsubscribe("$queue/q")
    one.subscribe("$queue/q")
    again = one.take(1)
    quiet(one)
    one.settle(*held)
    again += one.take(3)
    quiet(one)
    assert payloads(again) == numbered(4)
    assert again[0].packet_id not in [message.packet_id for message in held]
    one.settle(*again)
    one.disconnect()
    other, = consumers(join, broker, 1)
    other.publish("q/a", b"end")
    assert payloads(other.take(1)) == [b"end"]


TIMING_OUT = {"ack_timeout_ms": 200, "redelivery_delay_ms": 50}


@BOTH_VERSIONS
def test_an_acknowledgement_that_does_not_come(serve, join, version):
    """After the time-out another gets it, and not before."""
    broker = serve(queue("q", "q/#", ack_timeout_ms=200, redelivery_delay_ms=NEVER_MS))
    one, = consumers(join, broker, 1, version=version)
    began = time.monotonic()
    one.publish("q/a", b"x")
    one.take_one()
    other, = consumers(join, broker, 1)
    message = other.take_one()
    assert 0.19 < time.monotonic() - began < 5
    assert message.payload == b"x" and deliveries(message) == 2
    other.settle(message)
    quiet(one, other, for_s=0.3)


def test_the_same_consumer_after_a_time_out(serve, join):
    """With another packet identifier, since the first is not acknowledged. [MQTT-2.2.1-3]"""
    broker = serve(queue("q", "q/#", messages_max=1, overflow="reject", **TIMING_OUT))
    one, = consumers(join, broker, 1)
    began = time.monotonic()
    one.publish("q/a", b"x")
    first, second = one.take(2)
    assert time.monotonic() - began > 0.24
    assert (first.payload, second.payload, deliveries(second)) == (b"x", b"x", 2)
    assert first.packet_id != second.packet_id
    one.settle(second, first)
    publish_until_taken(one, "q/a", b"next")
    assert payloads(one.consume(1)) == [b"next"]
    quiet(one, for_s=0.3)


def test_a_late_acknowledgement(serve, join):
    """It settles what nobody has since."""
    broker = serve(queue("q", "q/#", ack_timeout_ms=100, redelivery_delay_ms=600, messages_max=1, overflow="reject"))
    one, = consumers(join, broker, 1)
    one.publish("q/a", b"x")
    held = one.take_one()
    pass_time(time.monotonic() + 0.25, one)
    assert not one.inbox
    one.settle(held)
    publish_until_taken(one, "q/a", b"next")
    assert payloads(one.consume(1)) == [b"next"]
    quiet(one, for_s=0.6)


def test_an_acknowledgement_that_is_too_late(serve, join):
    """It has no effect on what another has by now."""
    broker = serve(queue("q", "q/#", messages_max=1, overflow="reject", **TIMING_OUT))
    one, = consumers(join, broker, 1)
    one.publish("q/a", b"x")
    held = one.take_one()
    other, = consumers(join, broker, 1)
    assert deliveries(other.take_one()) == 2
    one.settle(held)
    one.ping()
    other.close()
    again = one.take_one()
    assert again.payload == b"x" and deliveries(again) >= 3
    one.settle(again)
    publish_until_taken(one, "q/a", b"next")
    assert payloads(one.take(1)) == [b"next"]


def test_a_window_that_is_full_of_what_timed_out(serve, join):
    """The client has not acknowledged it: it is sent nothing more, and a PUBACK makes room. [MQTT-3.3.4-9]"""
    broker = serve(queue("q", "q/#", ack_timeout_ms=50, redelivery_delay_ms=1))
    one = join(broker, receive_maximum=1).subscribe("$queue/q")
    one.publish("q/a", *numbered(3))
    held = one.take_one()
    quiet(one, for_s=0.3)
    one.settle(held)
    assert payloads(one.consume(2)) == numbered(2, 1)
    quiet(one, for_s=0.1)


def test_a_message_that_is_too_large_for_a_consumer(serve, join):
    """As if he had rejected it: another gets it at once, and he goes on."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=NEVER_MS))
    small = join(broker, maximum_packet_size=100).subscribe("$queue/q")
    large, = consumers(join, broker, 1)
    publisher = join(broker)
    publisher.publish("q/a", *(b"%d" % number + b"x" * 200 for number in range(6)))
    received = large.consume(6)
    assert len({message.payload for message in received}) == 6
    assert {deliveries(message) for message in received} <= {1, 2}
    publisher.publish("q/a", b"a", b"b")
    assert sorted(payloads(large.take(1) + small.take(1))) == [b"a", b"b"]
    quiet(small, large)


def test_a_message_that_is_too_large_for_all_consumers(serve, join):
    """Each attempt counts, so that it is a dead letter in the end."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=1, deliveries_max=3, dead_letter_topic="dead"))
    observer = join(broker).subscribe("dead")
    small = join(broker, maximum_packet_size=100).subscribe("$queue/q")
    small.publish("q/a", b"x" * 200, b"small")
    assert payloads(small.consume(1)) == [b"small"]
    letter = observer.take_one()
    assert letter.payload == b"x" * 200
    assert user_values(letter, "dead-letter-reason") == ["rejected"] and deliveries(letter) == 3
    quiet(small, observer)


@repeated
def test_delivery_count(serve, join, shards):  # pylint: disable=unused-argument
    """From the second delivery on, in whatever way it came back; MQTT 3 has no place for it."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=1))
    one, = consumers(join, broker, 1)
    one.publish("q/a", b"x")
    message = one.take_one()
    assert "user_property" not in message.properties
    for count in (2, 3):
        one.reject(message)
        message = one.take_one()
        assert message.properties["user_property"] == [(b"delivery-count", b"%d" % count)]
    one.disconnect()
    old, = consumers(join, broker, 1, version=4)
    assert old.take_one().payload == b"x"
    old.close()
    other, = consumers(join, broker, 1)
    assert deliveries(other.take_one()) == 5


# --- dead letters


def make_dead_letter(serve, join, version: int, reason: str) -> None:
    """Of a queue, by two deliveries that are returned for a reason; and what its subscriber sees."""
    options = {"ack_timeout_ms": 50} if reason == "timed out" else {}
    broker = serve(queue("q", "q/#", deliveries_max=2, redelivery_delay_ms=1, dead_letter_topic="dead/q", **options))
    observer = join(broker).subscribe("dead/#", 2 | RETAIN_AS_PUBLISHED)
    join(broker).publish("q/a", b"x", qos=2, retain=True, message_expiry_interval=100, **FULL)
    one, = consumers(join, broker, 1, version=version)
    for _ in range(2):
        assert whoever_is_sent(observer, one) is one
        message = one.take_one()
        if reason == "rejected":
            one.reject(message)
        elif reason == "consumer lost":
            one.close()
            one, = consumers(join, broker, 1, version=version)
    letter = observer.take_one()
    assert (letter.topic, letter.payload, letter.qos, letter.retain) == ("dead/q", b"x", 1, False)
    own, added = letter.properties["user_property"][:5], letter.properties["user_property"][5:]
    assert {**letter.properties, "user_property": own} == FULL_RECEIVED
    assert sorted(added) == [(b"dead-letter-hops", b"1"), (b"dead-letter-queue", b"q"),
                             (b"dead-letter-reason", reason.encode()), (b"dead-letter-topic", b"q/a"),
                             (b"delivery-count", b"2")]
    join(broker).publish("q/a", b"end")
    assert one.take_one().payload == b"end"
    if reason != "timed out":
        quiet(one, observer)


@pytest.mark.parametrize("version, reason", [(5, "rejected"), (5, "timed out"), (4, "timed out")])
def test_a_dead_letter(serve, join, version, reason):
    """With its properties and those that say what became of it, at QoS 1, without expiry, not retained; once."""
    make_dead_letter(serve, join, version, reason)


@BOTH_VERSIONS
@repeated
def test_a_dead_letter_of_lost_consumers(serve, join, version, shards):  # pylint: disable=unused-argument
    """The same, of those who went with it."""
    make_dead_letter(serve, join, version, "consumer lost")


@repeated
def test_the_last_reason_is_told(serve, join, shards):  # pylint: disable=unused-argument
    """And the publisher's QoS 0 is none of the letter's."""
    broker = serve(queue("q", "q/#", deliveries_max=2, dead_letter_topic="dead"))
    observer = join(broker).subscribe("dead", 2)
    observer.publish("q/a", b"x", qos=0)
    one, = consumers(join, broker, 1)
    one.take_one()
    one.disconnect()
    other, = consumers(join, broker, 1)
    assert whoever_is_sent(observer, other) is other
    other.reject(other.take_one())
    letter = observer.take_one()
    assert user_values(letter, "dead-letter-reason") == ["rejected"] and letter.qos == 1


def test_dead_letters_are_taken_by_queues(serve, join):
    """As any message: and they may die there again."""
    broker = serve(queue("q", "q/#", deliveries_max=1, dead_letter_topic="dead/1"),
                   queue("dead", "dead/1", deliveries_max=1, dead_letter_topic="dead/2"), queue("end", "dead/2"))
    one, = consumers(join, broker, 1)
    one.publish("q/a", *numbered(3))
    one.reject(*one.take(3))
    one.subscribe("$queue/dead")
    one.reject(*one.take(3))
    one.subscribe("$queue/end")
    received = one.consume(3)
    assert payloads(received) == numbered(3)
    assert all(user_values(message, "dead-letter-topic") == ["dead/1"] for message in received)
    assert all(user_values(message, "dead-letter-queue") == ["dead"] for message in received)
    assert all(user_values(message, "dead-letter-hops") == ["2"] for message in received)
    quiet(one)


def test_what_is_settled_at_last_is_no_dead_letter(serve, join):
    broker = serve(queue("q", "q/#", deliveries_max=2, redelivery_delay_ms=1, dead_letter_topic="dead"))
    observer = join(broker).subscribe("dead")
    one, = consumers(join, broker, 1)
    one.publish("q/a", b"x")
    one.reject(one.take_one())
    one.settle(one.take_one())
    quiet(one, observer)
    one.disconnect()
    quiet(observer)


@pytest.mark.parametrize("how", ["rejects", "breaks"])
def test_dead_letters_without_a_topic(serve, join, how):
    """They are dropped, and make room."""
    broker = serve(queue("q", "q/#", deliveries_max=1, messages_max=1, overflow="reject", redelivery_delay_ms=1))
    publisher = join(broker)
    one, = consumers(join, broker, 1)
    publisher.publish("q/a", b"x")
    if how == "rejects":
        one.reject(one.take_one())
    else:
        one.take_one()
        one.close()
    other, = consumers(join, broker, 1)
    publish_until_taken(publisher, "q/a", b"next")
    holder = one if how == "rejects" else other
    deadline = time.monotonic() + TIMEOUT_S
    while not (holder.inbox or other.inbox):
        assert time.monotonic() < deadline
        holder.ping()
        other.ping()
    assert payloads([*other.inbox, *(holder.inbox if holder is not other else [])]) == [b"next"]


# --- limits


@BOTH_VERSIONS
@pytest.mark.parametrize("overflow, left", [("drop_oldest", numbered(3, 3)), ("drop_newest", numbered(3))])
def test_messages_max(serve, join, version, overflow, left):
    """Exactly as many, and the publisher is told nothing."""
    broker = serve(queue("q", "q/#", messages_max=3, overflow=overflow))
    publisher = join(broker, version=version)
    assert all(code < 0x80 for code in publisher.publish("q/a", *numbered(6)))
    one, = consumers(join, broker, 1, version=version)
    assert payloads(one.consume(3)) == left
    deadline = time.monotonic() + TIMEOUT_S
    while not one.inbox:  # there is room soon
        assert time.monotonic() < deadline
        publisher.publish("q/a", b"end")
        one.ping()
    assert set(payloads(one.inbox)) == {b"end"}


@pytest.mark.parametrize("qos", [1, 2])
def test_reject(serve, join, qos):
    """Its publisher is told 0x97; whoever else takes it has it: subscribers, other queues, the retained one."""
    broker = serve(queue("q", "q/#", messages_max=3, overflow="reject"), queue("other", "q/#"))
    publisher, subscriber = join(broker), join(broker).subscribe("q/#", 2)
    assert publisher.publish("q/a", *numbered(5), qos=qos) == [0, 0, 0, 0x97, 0x97]
    assert publisher.publish("q/a", b"kept", qos=qos, retain=True) == [0x97]
    publisher.publish("q/a", b"untold", qos=0)
    assert payloads(subscriber.take(7)) == [*numbered(5), b"kept", b"untold"]
    assert payloads(join(broker).subscribe("q/a", 1).take(1)) == [b"kept"]
    assert payloads(join(broker).subscribe("$queue/other").take(7)) == [*numbered(5), b"kept", b"untold"]
    one, = consumers(join, broker, 1)
    held = one.take(3)
    assert payloads(held) == numbered(3)
    assert publisher.publish("q/a", b"no", qos=qos) == [0x97]  # what consumers have counts
    one.settle(*held[:2])
    publish_until_taken(publisher, "q/a", b"yes")
    assert payloads(one.take(1)) == [b"yes"]
    publish_until_taken(publisher, "q/a", b"yes")
    assert publisher.publish("q/a", b"no", qos=qos) == [0x97]
    assert payloads(one.take(1)) == [b"yes"]
    quiet(one)


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [4, 3], ids=["v3_1_1", "v3_1"])
def test_reject_of_mqtt_3(serve, join, version, qos):
    """It is closed without an acknowledgement."""
    broker = serve(queue("q", "q/#", messages_max=1, overflow="reject"))
    subscriber = join(broker).subscribe("q/#", 1)
    publisher = join(broker, version=version)
    publisher.publish("q/a", b"first", qos=qos)
    publisher.send(wire.publish("q/a", b"second", qos, 7, version))
    publisher.expect_closed()
    publisher = join(broker, version=version)
    publisher.publish("q/a", b"third", qos=0)
    assert sorted(payloads(subscriber.take(3))) == [b"first", b"second", b"third"]  # of different publishers
    one, = consumers(join, broker, 1)
    assert payloads(one.take(1)) == [b"first"]
    quiet(one)


@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest"])
def test_messages_max_and_many_publishers(serve, join, overflow):
    """It is exact however many come at once; what is left of each publisher is its first or last ones, in order."""
    broker = serve(queue("q", "q/#", messages_max=50, overflow=overflow))
    publishers = [join(broker) for _ in range(4)]
    for number, one in enumerate(publishers):
        one.send(b"".join(wire.publish("q/a", b"%d %d" % (number, index), 1, index + 1) for index in range(100)))
    acknowledged = [one.answer(wire.PUBACK) for one in publishers for _ in range(100)]
    if overflow == "reject":
        assert sum(len(one.body) < 3 or one.body[2] == 0 for one in acknowledged) == 50
    consumer, = consumers(join, broker, 1)
    shares = collections.defaultdict(list)
    for message in consumer.take(50):
        number, index = message.payload.split()
        shares[number].append(int(index))
    for share in shares.values():
        first = 100 - len(share) if overflow == "drop_oldest" else 0
        assert share == list(range(first, first + len(share)))
    quiet(consumer)


@BOTH_VERSIONS
def test_drop_oldest_of_what_waits(serve, join, version):
    """What consumers have counts, and stays theirs while something else can make way."""
    broker = serve(queue("q", "q/#", messages_max=4), sections={"limits": {"inflight_max": 2}})
    publisher = join(broker, version=version)
    one, = consumers(join, broker, 1, version=version)
    publisher.publish("q/a", *numbered(2))
    assert payloads(one.take(2)) == numbered(2)
    publisher.publish("q/a", *numbered(5, 2))
    pass_time(time.monotonic() + 0.1, one)  # until the queue has seen all, which is acknowledged before
    one.disconnect()
    other, = consumers(join, broker, 1, version=version)
    assert sorted(payloads(other.consume(4))) == [b"0", b"1", b"5", b"6"]
    quiet(other)


def test_drop_oldest_of_what_consumers_have(serve, join):
    """If nothing waits. He may settle it to no effect, or lose it: it does not come back."""
    broker = serve(queue("q", "q/#", messages_max=3))
    publisher = join(broker)
    one, = consumers(join, broker, 1)
    held = []
    for payload in numbered(5):
        publisher.publish("q/a", payload)
        pass_time(time.monotonic() + 0.1, one)
        assert payloads(one.inbox) == [payload]
        held += one.take()
    assert payloads(held) == numbered(5)
    one.settle(held[0])
    one.ping()
    publisher.publish("q/a", b"5")
    one.take(1)
    one.disconnect()
    other, = consumers(join, broker, 1)
    received = other.consume(3)
    assert payloads(received) == numbered(3, 3)
    assert [deliveries(message) for message in received] == [2, 2, 2]
    quiet(other)


def contents(*sizes: int) -> list[bytes]:
    """Payloads of messages to b/x that take so many bytes with their topic."""
    return [b"%d" % index + b"." * (size - 4) for index, size in enumerate(sizes)]


@pytest.mark.parametrize("overflow, sizes, left", [
    ("drop_oldest", [100, 100, 100], [0, 1, 2]),
    ("drop_oldest", [100, 100, 100, 4], [1, 2, 3]),
    ("drop_oldest", [100, 100, 101], [1, 2]),
    ("drop_oldest", [100, 100, 100, 101], [2, 3]),
    ("drop_oldest", [100, 100, 100, 300], [3]),
    ("drop_newest", [100, 100, 101, 100, 4], [0, 1, 3]),
    ("reject", [100, 100, 101, 100, 4], [0, 1, 3]),
    ("reject", [300, 4], [0]),
    ("drop_newest", [301, 300], [1]),
    ("drop_oldest", [301, 300], [1]),
])
def test_bytes_max(serve, join, overflow, sizes, left):
    """Of topics and payloads, to the byte."""
    broker = serve(queue("q", "b/#", bytes_max=300, overflow=overflow))
    publisher, sent = join(broker), contents(*sizes)
    codes = publisher.publish("b/x", *sent)
    told = [0x97 if overflow == "reject" and index not in left else 0 for index in range(len(sent))]
    assert [code & 0x80 and code for code in codes] == told
    one, = consumers(join, broker, 1)
    assert payloads(one.consume(len(left))) == [sent[index] for index in left]
    quiet(one)


def test_properties_count(serve, join):
    """A message that fits exactly does not fit with a property besides."""
    broker = serve(queue("q", "b/#", bytes_max=100, overflow="reject"))
    publisher = join(broker)
    assert publisher.publish("b/x", *contents(100), content_type="t") == [0x97]
    assert publisher.publish("b/x", *contents(100)) == [0]


def test_bytes_of_what_consumers_have(serve, join):
    """They count, until they are settled."""
    broker = serve(queue("q", "b/#", bytes_max=300, overflow="reject"))
    publisher, sent = join(broker), contents(100, 100, 100, 100)
    publisher.publish("b/x", *sent[:3])
    one, = consumers(join, broker, 1)
    held = one.take(3)
    assert publisher.publish("b/x", b".") == [0x97]
    one.settle(held[0])
    publish_until_taken(publisher, "b/x", sent[3])
    assert publisher.publish("b/x", b".") == [0x97]
    assert payloads(one.take(1)) == sent[3:]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "reject"])
def test_a_message_that_never_fits(serve, join, overflow):
    """It is not in the queue, whatever that does with others; and a consumer that waits for it has none."""
    broker = serve(queue("q", "b/#", bytes_max=300, overflow=overflow))
    one, = consumers(join, broker, 1)
    assert one.publish("b/x", *contents(301)) == [0x97] if overflow == "reject" else True
    one.publish("b/x", *contents(400), qos=0)
    one.publish("b/x", b"end")
    assert payloads(one.take(1)) == [b"end"]
    quiet(one)


def test_a_message_that_never_fits_takes_no_room(serve, join):
    """Nothing makes way for what is not taken."""
    broker = serve(queue("q", "b/#", bytes_max=300, overflow="drop_oldest"))
    publisher, sent = join(broker), contents(100, 301, 100)
    publisher.publish("b/x", *sent)
    one, = consumers(join, broker, 1)
    assert payloads(one.take(1)) == sent[:1]
    assert payloads(one.take(1)) == sent[2:]


# --- time


def test_what_gets_old(serve, join):
    """By the queue's age limit, or by its own expiry: not handed out, be it that it waited or that somebody had it."""
    broker = serve(queue("aging", "q/#", age_max_s=1), queue("q", "q/#"), queue("held", "q/#", age_max_s=1))
    publisher = join(broker)
    holders = [join(broker).subscribe(address) for address in ("$queue/held", "$queue/q")]
    session = join(broker, "expires", clean=False, expiry_s=1).subscribe("$queue/q")
    session.disconnect()
    began = time.monotonic()
    publisher.publish("q/a", b"expires", message_expiry_interval=1)
    publisher.publish("q/a", b"old", message_expiry_interval=100)
    assert payloads(holders[0].take(2)) == payloads(holders[1].take(2)) == [b"expires", b"old"]
    pass_time(began + 1.2, publisher)
    publisher.publish("q/a", b"young", message_expiry_interval=100)
    for one in holders:
        assert payloads(one.take(1)) == [b"young"]
        one.disconnect()
    for name, expected in (("aging", [b"young"]), ("held", [b"young"]), ("q", [b"old", b"young"])):
        one = join(broker).subscribe(f"$queue/{name}")
        received = one.consume(len(expected))
        assert payloads(received) == expected
        quiet(one)
        for message in received:
            left_s = message.properties["message_expiry_interval"][0]
            assert 95 < left_s <= (99 if message.payload == b"old" else 100)
        one.disconnect()
    session = join(broker, "expires", clean=False, expiry_s=1)
    assert not session.session_present
    publisher.publish("q/a", b"not for it")
    quiet(session)


def test_what_is_too_old_makes_room(serve, join):
    """By itself, without any consumer; at most a thirty-second too early."""
    broker = serve(queue("q", "q/#", age_max_s=1, messages_max=1, overflow="reject"))
    publisher = join(broker)
    began = time.monotonic()
    assert publisher.publish("q/a", b"x") == [0]
    publish_until_taken(publisher, "q/a", b"y")
    assert 1 - 1 / 32 - 0.02 < time.monotonic() - began < 5
    one, = consumers(join, broker, 1)
    assert payloads(one.take(1)) == [b"y"]


# --- faults


@BOTH_VERSIONS
@repeated
def test_a_consumer_dies_with_a_thousand_messages(serve, join, version, shards):
    """Another has them all, in order, before those that were never handed out, if he comes when they are back."""
    broker = serve(queue("q", "q/#"))
    publisher = join(broker)
    one, = consumers(join, broker, 1, version=version)
    publisher.publish("q/a", *numbered(1500))
    assert payloads(one.take(1000)) == numbered(1000)
    quiet(one)
    one.close()
    other, = consumers(join, broker, 1)
    received = other.consume(1500)
    if shards == 1:
        assert payloads(received) == numbered(1500)
    assert payloads(message for message in received if deliveries(message) == 2) == numbered(1000)
    assert payloads(message for message in received if deliveries(message) == 1) == numbered(500, 1000)
    quiet(other)


class Crowd:
    """Consumers of a queue that come, take, settle, reject and vanish as chance has it, and what is known of each
    message: that it was settled (the broker has answered something later on that connection), or that it may be."""

    def __init__(self, connect, seed: int):
        """connect: makes a client of given options."""
        self.chance = random.Random(seed)
        self.connect = connect
        self.members: list[Peer] = []
        self.held: dict[Peer, list] = {}
        self.settled: set[bytes] = set()
        self.unsure: set[bytes] = set()

    def step(self) -> None:
        if len(self.members) < 5:
            version = self.chance.choice((4, 5))
            one = self.connect(version=version, receive_maximum=self.chance.randint(1, 20))
            self.members.append(one.subscribe("$queue/q", self.chance.choice((1, 2))))
            self.held[one] = []
        one = self.chance.choice(self.members)
        one.ping()
        self.take_inbox(one)
        held = self.held[one]
        self.chance.shuffle(held)
        count = self.chance.randint(0, len(held))
        acknowledged, self.held[one] = held[:count], held[count:]
        rejected = [message for message in acknowledged if one.version == 5 and self.chance.random() < 0.2]
        settled = [message for message in acknowledged if message not in rejected]
        one.settle(*settled)
        one.reject(*rejected)
        self.unsure |= set(payloads(settled))
        self.end(one, settled)

    def take_inbox(self, one: Peer) -> None:
        for message in one.take(len(one.inbox)):
            assert message.payload not in self.settled, f"{message} was settled before"
            self.held[one].append(message)

    def end(self, one: Peer, settled: list) -> None:
        """One goes, in some way or other, or stays."""
        how = self.chance.random()
        if how < 0.1:
            one.close()
        elif how < 0.15:
            self.sure(settled, one.disconnect)
        elif how < 0.2:
            self.sure(settled, lambda: one.unsubscribe("$queue/q"))
            one.close()
        else:
            self.sure(settled, one.ping)
            return
        self.members.remove(one)
        del self.held[one]

    def sure(self, settled: list, exchange) -> None:
        exchange()
        self.settled |= set(payloads(settled))
        self.unsure -= self.settled


def test_consumers_that_come_and_vanish(serve, join, shards):
    """For some seconds: no message is lost, none gets stuck, none is handed out after it was settled."""
    broker = serve(queue("q", "q/#", redelivery_delay_ms=1))
    publisher = join(broker)
    crowd = Crowd(lambda **options: join(broker, **options), shards)
    sent: list[bytes] = []
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        if len(sent) < 3000:
            sent += numbered(8, len(sent))
            publisher.publish("q/a", *sent[-8:], qos=crowd.chance.choice((0, 1, 2)))
        crowd.step()
    assert len(crowd.settled) > 100  # there was something to see
    for one in crowd.members:
        one.disconnect()
    last, = consumers(join, broker, 1)
    left: list[bytes] = []
    missing = set(sent) - crowd.settled - crowd.unsure
    while not missing <= set(left):
        left += payloads(last.consume(1))
    last.publish("q/a", b"end")
    left += payloads(last.consume_until(b"end"))
    quiet(last)
    assert len(left) == len(set(left))
    assert missing <= set(left) <= missing | crowd.unsure


# --- what the configuration is told

WRONG = {
    "a name with a space": ([queue("a b", "q")], "name"),
    "a name that begins with a point": ([queue(".a", "q")], "name"),
    "a name that is too long": ([queue("a" * 256, "q")], "name"),
    "an empty name": ([queue("", "q")], "name"),
    "no name": ([{"topic_filter": "q"}], "name"),
    "a name that is there": ([queue("a", "q"), queue("b", "q"), queue("a", "r")], "name"),
    "another filter than in the name": ([queue("$q/a", "b")], "topic_filter"),
    "no filter": ([{"name": "a"}], "topic_filter"),
    "not a filter": ([queue("a", "q/#/a")], "topic_filter"),
    **{f"a filter with {prefix}": ([queue("a", f"{prefix}/#")], "topic_filter") for prefix in PREFIXES},
    "a dead letter topic of its own": ([queue("a", "q/#", dead_letter_topic="q/dead")], "dead_letter_topic"),
    "a dead letter filter": ([queue("a", "q", dead_letter_topic="dead/#")], "dead_letter_topic"),
    "a dead letter topic of the server": ([queue("a", "q", dead_letter_topic="$SYS/a")], "dead_letter_topic"),
    "an unknown policy": ([queue("a", "q", overflow="drop")], "overflow"),
    "an unknown strategy": ([queue("a", "q", dispatch="sticky")], "dispatch"),
    "a negative limit": ([queue("a", "q", messages_max=-1)], "messages_max"),
    "a text for a limit": ([queue("a", "q", bytes_max="1")], "bytes_max"),
    "too many deliveries": ([queue("a", "q", deliveries_max=65_536)], "deliveries_max"),
    "a delay of 0": ([queue("a", "q", redelivery_delay_ms=0)], "redelivery_delay_ms"),
    "an age that is too great": ([queue("a", "q", age_max_s=1 << 32)], "age_max_s"),
    "an unknown key": ([queue("a", "q", mesages_max=1)], "mesages_max"),
    "no truth": ([queue("a", "q", exclusive=1)], "exclusive"),
}


@pytest.mark.parametrize("declared, key", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration(tmp_path, declared, key):
    """It is refused with the file, the line of the key, or of the queue where there is none, and the key."""
    file = tmp_path / "queues.json"
    text = json.dumps({"queues": {"declared": declared}}, indent=1)
    file.write_text(text)
    ended = subprocess.run([server_path(), "--allow-anonymous", "--listen", f"tcp://{HOST}:0", "--config", str(file)],
                           capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 2 and ended.stdout == ""
    index = len(declared) - 1
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith(f'"{key}"')]
    braces = [number for number, line in enumerate(text.splitlines(), 1) if line == "   {"]
    line = lines[-1] if lines else braces[index]
    assert ended.stderr.startswith(f"{file}:{line}: queues.declared[{index}]"), ended.stderr
    assert key in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_more_queues_than_there_may_be(tmp_path):
    file = tmp_path / "queues.json"
    declared = [queue(name, "q") for name in "abc"]
    file.write_text(json.dumps({"queues": {"count_max": 2, "declared": declared}}, indent=1))
    ended = subprocess.run([server_path(), "--allow-anonymous", "--listen", f"tcp://{HOST}:0", "--config", str(file)],
                           capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode != 0 and ended.stdout == ""
    assert f"{file}:" in ended.stderr, ended.stderr
    assert "queues.declared: 3 queues, which are more than queues.count_max" in ended.stderr, ended.stderr
