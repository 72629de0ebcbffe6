"""Streams as docs/STREAMS.md promises them to clients: what they keep, where a reader begins, what it is sent."""

import contextlib
import itertools
import json
import random
import struct
import time

import pytest

from harness import wire
from harness.queues import Peer, numbered, pass_time, payloads, quiet, user_values
from harness.streams import (BAD_FILTER, IMPLEMENTATION_SPECIFIC, NO_LOCAL, QUOTA, RETAIN_AS_PUBLISHED, ExactlyOnce,
                             Publishing, offset_of, position, positions, read, receive, skipped, stream, time_us)
from harness.wire import FULL, FULL_RECEIVED

pytestmark = pytest.mark.ours_only("streams are no matter of the specification")

EVERY_VERSION = pytest.mark.parametrize("version", [5, 4, 3], ids=["v5", "v3_1_1", "v3_1"])
BOTH_VERSIONS = pytest.mark.parametrize("version", [5, 4], ids=["v5", "v3_1_1"])
BOTH_PLACES = pytest.mark.parametrize("on_disk", [False, True], ids=["in_memory", "on_disk"])
EITHER_PLACE = pytest.mark.parametrize("shards, on_disk", [(3, False), (1, True)])  # where time has to pass
EVERY_QOS = pytest.mark.parametrize("qos", [0, 1, 2])


@pytest.fixture
def stopping():
    """Closed before brokers are stopped."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(start_broker, tmp_path, directory, shards):
    """A function that starts a broker with streams: serve(stream("name", "filter"), auto_create=True).

    Further keys of `streams` by their name; other sections of the file as `sections`, flags as `flags`. on_disk: with
    a data directory, and so little memory that all but the newest messages have to be read from it.
    """

    def start(*declared: dict, sections: dict | None = None, flags: tuple = (), on_disk: bool = False, **keys):
        file = tmp_path / "streams.json"
        content = {"streams": {"declared": declared, **keys}, **(sections or {})}
        if on_disk:
            flags = (*flags, "--data-dir", str(directory / "data"))
            content.setdefault("limits", {}).update(store_memory_bytes=4000, log_segment_bytes=1 << 20)
        file.write_text(json.dumps(content))
        return start_broker(flags=("--shards", f"{shards}", "--config", str(file), *flags))

    return start


def fill(join, broker, count: int, topic: str = "s/a", name: str = "s") -> None:
    """Publishes numbers, until the stream has taken them."""
    one = read(join(broker), f"$stream/{name}", "earliest")
    one.publish(topic, *numbered(count))
    one.consume(count)
    one.disconnect()


# --- what is kept, and where a reader begins


@EVERY_VERSION
def test_everything_that_matches_is_kept_in_order(serve, join, version):
    broker = serve(stream("s", "s/#"))
    publisher = join(broker, version=version)
    for qos in (0, 1, 2):
        publisher.publish(f"s/{qos}", *numbered(3, 3 * qos), qos=qos)
    publisher.publish("other", b"x")
    reader = read(join(broker, version=version), "$s/earliest/$stream/s", qos=2)
    received = reader.take(9)
    assert payloads(received) == numbered(9)
    assert [message.qos for message in received] == [0] * 3 + [1] * 3 + [2] * 3
    assert [message.topic for message in received[::3]] == ["s/0", "s/1", "s/2"]
    publisher.publish("s/live", b"live")
    assert reader.take_one().topic == "s/live"
    quiet(reader)


def test_where_a_reader_begins(serve, join):
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s", *numbered(5))
    all_of_it = read(join(broker), "$stream/s", "earliest").consume(5)
    assert [position(message) for message in all_of_it] == list(range(5))
    times = [time_us(message) for message in all_of_it]
    assert times == sorted(times)
    publisher.publish("s", *numbered(5, 5))
    late = [time_us(message) for message in read(join(broker), "$stream/s", "@5").consume(5)]
    assert payloads(read(join(broker), "$stream/s", "@3").consume(7)) == numbered(7, 3)
    assert payloads(read(join(broker), "$stream/s/s/#", f"{late[0]}").consume(5))[0] in numbered(5, 1)
    assert payloads(read(join(broker), f"$s/{times[0] - 1}/$stream/s").consume(10)) == numbered(10)
    latest, future = read(join(broker), "$stream/s"), read(join(broker), "$s/@12/$stream/s")
    never = read(join(broker), "$stream/s", f"{late[-1] + 3_600_000_000}")
    publisher.publish("s", *numbered(5, 10))
    assert payloads(latest.consume(5)) == numbered(5, 10)
    assert payloads(future.consume(3)) == numbered(3, 12)
    quiet(latest, future, never)


def test_what_is_no_offset(serve, join):
    broker = serve(stream("s", "s/#"))
    peer = join(broker)
    for offset in ("-1", "abc", "9223372036854775808", "@9223372036854775808", "@-1", "@", "", "1.5", " 1", "1 ", "+1"):
        assert peer.ask(("$stream/s", 0), **offset_of(offset)) == [IMPLEMENTATION_SPECIFIC]
        assert peer.ask((f"$s/{offset}/$stream/s", 0)) == [BAD_FILTER]
    join(broker).publish("s/a", b"x")
    quiet(peer)


def test_seek_by_subscribing_again(serve, join):
    broker = serve(stream("s", "s/#"))
    publisher, reader = join(broker), join(broker)
    publisher.publish("s", *numbered(10))
    read(reader, "$stream/s", "earliest")
    assert payloads(reader.consume(10)) == numbered(10)
    read(reader, "$stream/s", "@7")
    assert payloads(reader.consume(3)) == numbered(3, 7)
    read(reader, "$stream/s", "@7")  # as before: it goes on
    read(reader, "$stream/s")
    publisher.publish("s", b"new")
    assert payloads(reader.consume(1)) == [b"new"]
    quiet(reader)


def test_each_reader_has_all_at_its_own_pace(serve, join):
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    slow = read(join(broker, receive_maximum=3), "$stream/s", "earliest")
    fast = read(join(broker), "$stream/s", "earliest")
    publisher.publish("s", *numbered(2000))
    assert payloads(fast.consume(2000)) == numbered(2000)
    held = slow.take(3)
    quiet(slow)
    slow.settle(*held)
    assert payloads(held + slow.consume(1997)) == numbered(2000)


def test_what_is_delivered(serve, join):
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s/a", b"x", qos=1, content_type="t", response_topic="r",
                      user_property=[("a", "1"), ("a", "2"), ("b", "3")])
    reader = join(broker)
    assert reader.ask(("$stream/s", 1), subscription_identifier=7, user_property=("stream-offset", "earliest")) == [1]
    message = reader.consume(1)[0]
    assert (message.topic, message.payload) == ("s/a", b"x")
    assert user_values(message, "a") == ["1", "2"] and user_values(message, "b") == ["3"]
    assert message.properties["content_type"] == [b"t"] and message.properties["subscription_identifier"] == [7]
    assert position(message) == 0 and time_us(message) > 1_600_000_000_000_000


def test_a_narrower_filter(serve, join):
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    for number in range(300):
        publisher.publish(f"s/{number % 3}/x", b"%d" % number)
    reader = read(join(broker), "$stream/s/s/1/+", "earliest")
    assert payloads(reader.consume(100)) == [b"%d" % number for number in range(1, 300, 3)]
    publisher.publish("s/0/x", b"no")
    publisher.publish("s/1/x", b"yes")
    assert payloads(reader.consume(1)) == [b"yes"]
    assert reader.ask(("$stream/s/other/#", 0), ("$stream/s/#", 0), ("$stream/none", 0)) == [BAD_FILTER] * 3


def test_declared_by_clients(serve, join):
    broker = serve(auto_create=True, auto={"messages_max": 5})
    first = read(join(broker, version=4), "$s/latest/plant/#")
    named = read(join(broker), "$stream/made/plant/#", "earliest")
    join(broker).publish("plant/a", *numbered(9))
    for reader in (first, named):
        assert payloads(reader.consume(9)) == numbered(9)
    for address in ("$s/earliest/plant/#", "$s/earliest/$stream/made"):
        assert payloads(read(join(broker, version=4), address).consume(5)) == numbered(5, 4)


def test_a_kept_session_goes_on_where_it_was(serve, join):
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s", *numbered(10))
    reader = read(join(broker, "kept", expiry_s=60), "$stream/s", "earliest")
    reader.settle(*reader.take(10)[:6])
    reader.ping()
    reader.close()
    publisher.publish("s", *numbered(5, 10))
    again = join(broker, "kept", clean=False, expiry_s=60)
    received = again.take(9)
    assert payloads(received) == numbered(9, 6)
    assert [message.dup for message in received] == [True] * 4 + [False] * 5
    assert [position(message) for message in received] == list(range(6, 15))


def test_retention_and_who_is_too_slow(serve, join):
    broker = serve(stream("s", "s/#", messages_max=10))
    publisher = join(broker)
    reader = read(join(broker, receive_maximum=2), "$stream/s", "earliest")
    publisher.publish("s", *numbered(100))
    received = reader.consume(12)
    assert payloads(received) == numbered(2) + numbered(10, 90)
    assert [user_values(message, "stream-skipped") for message in received] == [[], [], ["88"]] + [[]] * 9
    assert payloads(read(join(broker), "$stream/s", "@5").consume(10)) == numbered(10, 90)


# --- restarts


def test_restart(serve, join, directory):
    flags = ("--data-dir", str(directory / "data"))
    broker = serve(stream("s", "s/#", messages_max=50), flags=flags)
    publisher = join(broker)
    reader = read(join(broker, "kept", expiry_s=600), "$stream/s", "@20", qos=1)
    publisher.publish("s", *numbered(60))
    assert payloads(reader.consume(20)) == numbered(20, 20)
    reader.ping()
    broker.stop()
    broker = serve(stream("s", "s/#", messages_max=50), flags=flags)
    again = join(broker, "kept", clean=False, expiry_s=600)
    received = again.consume(20)
    assert payloads(received) == numbered(20, 40)
    assert [position(message) for message in received] == list(range(40, 60))
    all_of_it = read(join(broker), "$stream/s", "earliest").consume(50)
    assert [position(message) for message in all_of_it] == list(range(10, 60))
    join(broker).publish("s", b"next")
    assert position(again.consume(1)[0]) == 60


# --- what a stream takes


@BOTH_VERSIONS
def test_what_a_stream_takes(serve, join, version):
    """Each QoS, empty payloads, retained messages, wills and delayed ones; beside who subscribes, and as it would come
    to him: without RETAIN."""
    broker = serve(stream("s", "s/#"))
    publisher, subscriber = join(broker, version=version), join(broker).subscribe("s/#", 2)
    began = time.monotonic()
    publisher.publish("$delayed/1/s/delayed", b"x")
    for qos in (0, 1, 2):
        publisher.publish(f"s/{qos}", b"", qos=qos)
    publisher.publish("s/retained", b"x", retain=True)
    publisher.publish("other", b"x")
    join(broker, version=version, **wire.will("s/will", b"x", version, qos=2)).close()
    assert {message.topic for message in subscriber.take(5)} == {"s/0", "s/1", "s/2", "s/retained", "s/will"}
    assert subscriber.take_one().topic == "s/delayed" and time.monotonic() - began > 0.98
    reader = read(join(broker, version=version), "$s/earliest/$stream/s", qos=2)
    received = reader.take(6)
    assert [(message.topic, message.qos, message.payload) for message in received] == [
        ("s/0", 0, b""), ("s/1", 1, b""), ("s/2", 2, b""), ("s/retained", 1, b"x"), ("s/will", 2, b"x"),
        ("s/delayed", 1, b"x")]
    assert not any(message.retain or message.dup for message in received)
    if version == 5:
        assert positions(received) == list(range(6))
    quiet(reader)


def test_nothing_below_sys(serve, join):
    """Whatever its filter; what a stream takes has a topic that does not begin with $."""
    broker = serve(stream("all", "#"), stream("like", "+/broker/#"), sections={"sys": {"client_events": True}})
    observer = join(broker).subscribe("$SYS/broker/clients/#")
    join(broker, "comes").disconnect()
    while "comes/disconnected" not in observer.take_one().topic:
        pass
    observer.publish("own/broker/end", b"end")
    for name in ("all", "like"):
        message = read(join(broker), f"$stream/{name}", "earliest").take_one()
        assert (message.topic, position(message)) == ("own/broker/end", 0)


def test_what_a_publisher_is_told(serve, join):
    """0x00 where a stream took it, though nobody reads it; 0x10 where nobody did."""
    publisher = join(serve(stream("s", "s/#")))
    for qos in (1, 2):
        assert publisher.publish("s/a", b"x", b"y", qos=qos) == [0, 0]
        assert publisher.publish("other", b"x", qos=qos) == [0x10]


def test_a_message_that_is_published_twice(serve, join):
    """Because its publisher did not hear that it had come: at QoS 2 the stream has it once."""
    broker = serve(stream("s", "s/#"), on_disk=True)
    publisher = join(broker, "publisher", expiry_s=60)
    for flags in (0, 8, 8):
        publisher.send(wire.publish("s/a", b"0", 2, 1, flags=flags))
        assert publisher.answer(wire.PUBREC).packet_id == 1
    publisher.close()
    publisher = join(broker, "publisher", clean=False, expiry_s=60)
    publisher.send(wire.publish("s/a", b"0", 2, 1, flags=8))
    publisher.answer(wire.PUBREC)
    publisher.send(wire.acknowledge(wire.PUBREL, 1))
    publisher.answer(wire.PUBCOMP)
    publisher.publish("s/a", b"1", qos=2)
    received = read(join(broker), "$stream/s", "earliest").consume(2)
    assert payloads(received) == numbered(2) and positions(received) == [0, 1]


def test_several_streams_of_one_message(serve, join):
    """Each counts by itself."""
    broker = serve(stream("a", "s/#"), stream("b", "s/+"), stream("c", "+/1"), auto_create=True)
    publisher = read(join(broker), "$s/latest/#")
    for number in range(6):
        publisher.publish(f"s/{number % 2}", b"%d" % number)
    for address, expected in (("$stream/a", range(6)), ("$stream/b", range(6)), ("$stream/c", (1, 3, 5))):
        received = read(join(broker), address, "earliest").consume(len(expected))
        assert payloads(received) == [b"%d" % number for number in expected]
        assert positions(received) == list(range(len(expected)))
    assert positions(read(join(broker), "$s/@4/#").consume(2)) == [4, 5]


def test_after_rewriting(serve, join):
    """A filter behind a name is rewritten as any other, and what is kept has its new topic."""
    broker = serve(stream("s", "new/#"), sections={"rewrites": [{"from": "old/#", "to": "new/$1"}]})
    reader = join(broker)
    reader.publish("old/a", b"x")
    assert read(reader, "$stream/s/old/+", "earliest").take_one().topic == "new/a"


def test_a_topic_alias(serve, join):
    """What is kept has its whole topic."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    alias = wire.encode_property("topic_alias", 3)
    publisher.send(wire.publish("s/aliased", b"0", properties=alias) + wire.publish("", b"1", properties=alias))
    publisher.ping()
    received = read(join(broker), "$stream/s", "earliest").take(2)
    assert [(message.topic, message.payload) for message in received] == [("s/aliased", b"0"), ("s/aliased", b"1")]


def test_what_was_retained_before_is_not_taken(serve, join):
    """And nothing that is retained comes with a subscription to a stream, whatever it asks for."""
    broker = serve(auto_create=True)
    publisher = join(broker)
    publisher.publish("s/before", b"x", retain=True)
    readers = [read(join(broker), address, "earliest", options=handling << 4)
               for handling in (0, 1, 2) for address in ("$stream/s/s/#", "$s/earliest/s/#", "$stream/s")]
    publisher.publish("s/after", b"x", retain=True)
    for reader in readers:
        message = reader.take_one()
        assert (message.topic, message.retain, position(message)) == ("s/after", False, 0)
    quiet(*readers)


# --- subscribing


PREFIXES = ("$SYS", "$share", "$queue", "$q", "$stream", "$s", "$exclusive", "$delayed")
NAMES = ["", "-s", ".s", "_s", "s s", "s$", "ä", "s+", "+", "#", "s" * 256]
REFUSED = [
    "$stream/none", "$stream/S", "$stream/s/o", "$stream/s/#", "$stream/s/+/a", "$stream/s/+/#",  # not covered
    "$s/latest/$stream/none", "$s/latest/$stream/s/o", "$s/latest/$stream/s/+",
    "$stream/s/", "$s/latest/$stream/s/", "$stream/", "$s/", "$s/latest", "$s/latest/", "$s//a", "$s/now/a", "$s/@/a",
    "$s/latest/$stream", "$s/latest/$stream/", "$s/LATEST/a", "$s/+/a", "$s/#",
    "$stream/new/a#", "$stream/new/#/a", "$stream/new/a+", "$s/latest/a#", "$s/latest/#/a", "$s/latest/+a",
    *(f"$stream/{name}/a" for name in NAMES), *(f"$s/latest/$stream/{name}/a" for name in NAMES),
    *(f"$stream/new/{prefix}/a" for prefix in PREFIXES), *(f"$stream/new/{prefix}" for prefix in PREFIXES),
    *(f"$s/latest/{prefix}/a" for prefix in PREFIXES if prefix != "$stream"),
    "$exclusive/$stream/s",
]


@EVERY_VERSION
def test_refused_addresses(serve, join, version):
    """Where a client may declare streams: 0x8F, and 0x80 of MQTT 3. No stream comes of it."""
    broker = serve(stream("s", "s/#"), auto_create=True, sections={"protocol": {"exclusive_subscriptions": True}})
    client = join(broker, version=version)
    code = BAD_FILTER if version == 5 else 0x80
    assert {address: client.ask((address, 1)) for address in REFUSED} == {address: [code] for address in REFUSED}
    assert client.ask(("$stream/new", 1), ("$stream/s", 1), ("$s/latest/$/a", 1)) == [code, 1, 1]


@BOTH_VERSIONS
def test_what_is_no_address(serve, join, version):
    """Is an ordinary filter: of a shared group, or of a level that is none of a stream's."""
    broker = serve(stream("s", "s/#"), auto_create=True)
    client = join(broker, version=version)
    client.publish("s/a", b"kept")
    for filters in (("$share/g/$stream/s", "$stream/s"), ("$share/g/$s/earliest/s/#", "$s/earliest/s/a"),
                    ("$stream", "$stream"), ("$s", "$s"), ("$streams/s", "$streams/s"), ("$S/a", "$S/a")):
        assert client.ask((filters[0], 1)) == [1]
        quiet(client)
        client.publish(filters[1], b"x")
        assert client.consume(1)[0].topic == filters[1]


def test_no_local_is_refused(serve, join):
    client = join(serve(stream("s", "s/#"), auto_create=True))
    addresses = ("$stream/s", "$s/earliest/$stream/s", "$s/latest/new/#")
    asked = [(address, 1 | NO_LOCAL) for address in (*addresses, "plain")]
    assert client.ask(*asked) == [IMPLEMENTATION_SPECIFIC] * 3 + [1]
    client.publish("s/a", b"x")
    quiet(client)


@EVERY_VERSION
def test_addresses(serve, join, version):
    """Each form at each QoS."""
    broker = serve(stream("s", "s/#"), stream("$s/s/#", "s/#"))
    addresses = ("$stream/s", "$stream/s/s/#", "$s/latest/$stream/s", "$s/latest/$stream/s/s/#", "$s/latest/s/#",
                 "$stream/s/s/+", "$s/latest/$stream/s/s/a")
    for address, asked in itertools.product(addresses, (2, 1, 0)):
        reader = read(join(broker, version=version), address, qos=asked)
        for qos in (0, 1, 2):
            payload = f"{address} {asked} {qos}".encode()
            reader.publish("s/a", payload, qos=qos)
            message = reader.take_one()
            while qos == 0 and message.payload != payload:  # of before, of a stream on another shard
                message = reader.take_one()
            assert (message.topic, message.payload, message.qos) == ("s/a", payload, min(asked, qos))
        reader.disconnect()


@BOTH_VERSIONS
def test_count_max(serve, join, version):
    """As many streams as there may be: those can be read, and no other is declared."""
    client = join(serve(stream("a", "a"), auto_create=True, count_max=2), version=version)
    code = QUOTA if version == 5 else 0x80
    assert client.ask(("$stream/b/b", 1)) == [1]
    assert client.ask(("$stream/c/c", 1), ("$s/latest/c", 1), ("$s/latest/$stream/c/c", 1)) == [code] * 3
    assert client.ask(("$stream/a", 1), ("$s/latest/$stream/a/a", 1), ("$stream/b", 1)) == [1, 1, 1]


@BOTH_VERSIONS
def test_subscriptions_max(serve, join, version):
    """Readers count; one that is there may be changed, and a place that is given up is free."""
    broker = serve(stream("a", "a"), stream("b", "b"), sections={"limits": {"subscriptions_max": 2}})
    client = join(broker, version=version)
    code = QUOTA if version == 5 else 0x80
    assert client.ask(("plain", 1)) == [1]
    assert client.ask(("$stream/a", 1), ("$stream/b", 1)) == [1, code]
    assert client.ask(("$stream/a", 0)) == [0]
    client.unsubscribe("plain")
    assert client.ask(("$stream/b", 1)) == [1]
    client.publish("b", b"x")
    assert client.take_one().topic == "b"


@BOTH_VERSIONS
def test_auto_create_off(serve, join, version):
    """It is the default. Nothing is declared, and what is there may be named with its filter."""
    client = join(serve(stream("s", "s/#")), version=version)
    code = BAD_FILTER if version == 5 else 0x80
    asked = ("$stream/new/a", "$s/latest/a", "$s/latest/s/#", "$s/latest/$stream/new/a", "$stream/s/s/#")
    assert client.ask(*((address, 1) for address in asked)) == [code] * 4 + [1]


def test_several_filters_share_one_offset(serve, join):
    """But for those that say one themselves, and those that are of no stream."""
    broker = serve(*(stream(name, f"{name}/#") for name in "abc"))
    publisher, reader = join(broker), join(broker)
    for name in "abc":
        publisher.publish(f"{name}/x", *numbered(8))
    assert reader.ask(("$stream/a", 1), ("$s/@7/$stream/b", 0), ("$s/latest/$stream/c", 2), ("$stream/none", 1),
                      ("plain", 1), **offset_of("@5")) == [1, 0, 2, BAD_FILTER, 1]
    received = sorted((message.topic, position(message)) for message in reader.consume(4))
    assert received == [("a/x", 5), ("a/x", 6), ("a/x", 7), ("b/x", 7)]
    for topic in ("a/x", "b/x", "c/x", "plain"):
        publisher.publish(topic, b"live")
    assert sorted(message.topic for message in reader.consume(4)) == ["a/x", "b/x", "c/x", "plain"]
    quiet(reader)


def test_an_offset_that_is_not_understood(serve, join):
    """Is a matter of those alone that it is for."""
    broker = serve(stream("s", "s/#"))
    reader = join(broker)
    reader.publish("s/a", *numbered(3))
    assert reader.ask(("$stream/s", 1), ("plain", 1), ("$s/@2/$stream/s", 1), **offset_of("now")) == [
        IMPLEMENTATION_SPECIFIC, 1, 1]
    assert payloads(reader.consume(1)) == [b"2"]
    quiet(reader)


def test_the_last_offset_counts(serve, join):
    broker = serve(stream("s", "s/#"))
    fill(join, broker, 5)
    reader = join(broker)
    offsets = [("stream-offset", offset) for offset in ("now", "earliest", "@3")]
    assert reader.ask(("$stream/s", 1), user_property=offsets) == [1]
    assert payloads(reader.consume(2)) == numbered(2, 3)


def test_an_offset_of_mqtt_3(serve, join):
    """Stands in the topic alone; without one it is the end."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    fill(join, broker, 5)
    latest, third = (join(broker, version=version) for version in (3, 4))
    read(latest, "$stream/s")
    read(third, "$s/@3/$stream/s/s/a")
    publisher.publish("s/a", b"5")
    assert payloads(third.consume(3)) == numbered(3, 3)
    assert payloads(latest.consume(1)) == [b"5"]
    quiet(latest, third)


def test_automatic_subscriptions(serve, join):
    """May be of a stream, and be unsubscribed from."""
    automatic = {"topic_filter": "$s/earliest/$stream/s", "qos": 1}
    broker = serve(stream("s", "s/#"), sections={"auto_subscriptions": [automatic]})
    publisher = join(broker)
    publisher.publish("s/a", *numbered(5))
    assert payloads(publisher.consume(5)) == numbered(5)
    for version in (3, 4, 5):
        reader = join(broker, version=version)
        assert payloads(reader.consume(5)) == numbered(5)
        reader.unsubscribe("$s/earliest/$stream/s")
        publisher.publish("other", b"x")
        quiet(reader)


def test_two_subscriptions_to_one_stream(serve, join):
    """Are two readers: each has all of it from its own place on, and says so; with those that are of no stream."""
    broker = serve(stream("s", "s/#"))
    publisher, reader = join(broker), join(broker)
    publisher.publish("s/a", *numbered(300))
    for identifier, address in enumerate(("$stream/s", "$s/earliest/$stream/s", "$stream/s/s/#", "$s/@290/$stream/s",
                                          "s/#"), 1):
        read(reader, address, "earliest", subscription_identifier=identifier)
    received = reader.consume(910)
    publisher.publish("s/a", b"live")
    received += reader.consume(5)
    quiet(reader)
    for identifier, first in ((1, 0), (2, 0), (3, 0), (4, 290)):
        of_it = [message for message in received if message.properties["subscription_identifier"] == [identifier]]
        assert payloads(of_it) == numbered(300 - first, first) + [b"live"]
        assert positions(of_it) == list(range(first, 301))
    plain = [message for message in received if message.properties["subscription_identifier"] == [5]]
    assert payloads(plain) == [b"live"] and not user_values(plain[0], "stream-offset")
    reader.unsubscribe("$stream/s")
    reader.unsubscribe("$stream/s/s/#")
    publisher.publish("s/a", b"again")
    assert len(reader.consume(3)) == 3
    quiet(reader)


@EVERY_QOS
def test_to_unsubscribe(serve, join, qos):
    """Nothing comes behind UNSUBACK, in the middle of a backlog too; what was sent before may be acknowledged."""
    broker = serve(stream("s", "s/#"))
    publisher, reader = join(broker), join(broker, receive_maximum=10)
    publisher.publish("s/a", *numbered(3000), qos=2)
    read(reader, "$stream/s", "earliest", qos=qos)
    reader.take(10)

    def unsubscribe(*filters: str) -> list[int]:
        reader.send(wire.unsubscribe(9, *filters))
        return list(reader.answer(wire.UNSUBACK).body[3:])

    assert unsubscribe("$s/earliest/$stream/s", "$stream/s/s/#", "$stream/s") == [0x11, 0x11, 0]
    reader.inbox.clear()
    publisher.publish("s/a", b"no")
    if qos == 1:
        for packet_id in range(1, 11):
            reader.send(wire.acknowledge(wire.PUBACK, packet_id))
    quiet(reader)
    assert unsubscribe("$stream/s") == [0x11]
    if qos < 2:
        read(reader, "$stream/s", "@2999", qos=qos)
        assert payloads(reader.consume(2)) == [b"2999", b"no"]
        quiet(reader)


# --- what readers are sent


@BOTH_PLACES
def test_a_message_comes_as_it_was_published(serve, join, on_disk):
    """Topic, properties, what is left of its time; RETAIN only if asked for."""
    broker = serve(stream("s", "s/#"), on_disk=on_disk)
    publisher = join(broker)
    publisher.publish("s/a", b"x", retain=True, message_expiry_interval=100, **FULL)
    publisher.publish("s/b", b"y", qos=2)
    publisher.publish("s/large", b"z" * 10_000)
    plain = read(join(broker), "$stream/s", "earliest", qos=2, subscription_identifier=9)
    published = read(join(broker), "$stream/s", "earliest", options=RETAIN_AS_PUBLISHED)
    for reader, retain, identifier in ((plain, False, {"subscription_identifier": [9]}), (published, True, {})):
        message, other, large = reader.take(3)
        assert message.properties.pop("message_expiry_interval")[0] in (99, 100)
        assert (message.topic, message.payload, message.qos, message.retain) == ("s/a", b"x", 1, retain)
        added = [(b"stream-offset", b"0"), (b"stream-ts", b"%d" % time_us(message))]
        pairs = message.properties.pop("user_property")
        assert sorted(pairs) == sorted(FULL_RECEIVED["user_property"] + added)
        assert [pair for pair in pairs if pair not in added] == FULL_RECEIVED["user_property"]
        assert message.properties == {**{name: value for name, value in FULL_RECEIVED.items()
                                         if name != "user_property"}, **identifier}
        assert (other.topic, other.payload, other.retain) == ("s/b", b"y", False)
        assert (large.topic, large.payload) == ("s/large", b"z" * 10_000)


@EITHER_PLACE
def test_what_has_expired(serve, join, on_disk):
    """Is passed over, and is nothing that was skipped; the others come with what is left of their time."""
    broker = serve(stream("s", "s/#"), on_disk=on_disk)
    publisher, live = join(broker), read(join(broker), "$stream/s")
    publisher.publish("s/a", b"gone", message_expiry_interval=1)
    publisher.publish("s/a", b"old", message_expiry_interval=50)
    publisher.publish("s/a", b"also gone", message_expiry_interval=1)
    publisher.publish("s/a", b"stays")
    assert [message.properties.get("message_expiry_interval") for message in live.consume(4)] in (
        [[1], [50], [1], None], [[1], [49], [1], None])
    pass_time(time.monotonic() + 1.1, publisher)
    for qos in (0, 1):
        old, stays = read(join(broker), "$stream/s", "earliest", qos=qos).consume(2)
        assert (old.payload, position(old), skipped(old)) == (b"old", 1, 0)
        assert 40 < old.properties["message_expiry_interval"][0] < 50
        assert (stays.payload, position(stays), skipped(stays)) == (b"stays", 3, 0)


def test_what_expires_in_flight(serve, join):
    """Of a kept session: what it was sent comes again, what waited does not."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    reader = read(join(broker, "kept", expiry_s=60, receive_maximum=1), "$stream/s", "earliest")
    publisher.publish("s/a", b"0")
    publisher.publish("s/a", b"1", message_expiry_interval=1)
    publisher.publish("s/a", b"2")
    assert payloads(reader.take(1)) == [b"0"]
    reader.close()
    pass_time(time.monotonic() + 1.1, publisher)
    assert payloads(join(broker, "kept", clean=False, expiry_s=60).consume(2)) == [b"0", b"2"]


@BOTH_PLACES
@pytest.mark.parametrize("qos", [0, 1])
def test_large_and_empty_messages(serve, join, on_disk, qos):
    """Larger than what is read from the log together, and many of both in any order."""
    broker = serve(stream("s", "s/#"), on_disk=on_disk)
    sizes = [0, 0, 300_000, 1, 262_144, 0, 1_000_000, 5, 262_143, 262_145, 0, 900_000, 0, *range(140), 500_000, 0]
    sent = [random.Random(size).randbytes(size) for size in sizes]
    publisher = join(broker)
    for payload in sent:
        publisher.publish("s/a", payload)
    for receive_maximum in (2, 1000):
        reader = read(join(broker, receive_maximum=receive_maximum), "$stream/s", "earliest", qos=qos)
        received = reader.consume(len(sent))
        assert payloads(received) == sent and positions(received) == list(range(len(sent)))
        reader.disconnect()


@EVERY_QOS
def test_what_is_too_large_for_a_client(serve, join, qos):
    """Is passed over: it takes no place in his window, and he goes on."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    expected = []
    for number in range(300):
        payload = b"%d" % number + b"." * (300 if number % 3 else 0)
        publisher.publish("s/a", payload, qos=qos)
        expected += [] if number % 3 else [payload]
    reader = read(join(broker, maximum_packet_size=200, receive_maximum=1), "$stream/s", "earliest", qos=qos)
    received = receive(reader, qos, 100)
    assert payloads(received) == expected and positions(received) == list(range(0, 300, 3))
    assert not any(map(skipped, received))
    publisher.publish("s/a", b"." * 300, b"live", qos=qos)
    assert payloads([reader.take_one()]) == [b"live"]


def test_what_says_that_it_is_of_a_stream(serve, join):
    """A publisher may write what he likes: the broker's word is there too, and is the last."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    forged = [("stream-offset", "7"), ("stream-ts", "8"), ("stream-skipped", "9")]
    publisher.publish("s/a", b"x", user_property=forged)
    message = read(join(broker), "$stream/s", "earliest").take_one()
    assert user_values(message, "stream-offset")[-1] == "0" and user_values(message, "stream-ts")[-1] != "8"


# --- places


@pytest.mark.parametrize("shards", [1])
def test_readers_begin_at_once(serve, join):
    """Not when something else happens: what is there comes without delay, and what is asked for behind it."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s/a", *numbered(2000))
    took = []
    for _ in range(5):
        began = time.monotonic()
        reader = read(join(broker), "$stream/s", "earliest", qos=0)
        assert payloads(reader.take(2000)) == numbered(2000)
        took.append(time.monotonic() - began)
        reader.disconnect()
    assert sorted(took)[2] < 0.25


@pytest.mark.parametrize("shards", [1])
def test_readers_of_the_log_go_on_at_once(serve, join):
    """Without delay from page to page too."""
    broker = serve(stream("s", "s/#"), on_disk=True)
    publisher = join(broker)
    publisher.publish("s/a", *numbered(2000))
    took = []
    for number in range(5):
        began = time.monotonic()
        reader = read(join(broker), "$stream/s", f"@{10 * number}", qos=0)
        assert payloads(reader.take(2000 - 10 * number)) == numbered(2000 - 10 * number, 10 * number)
        took.append(time.monotonic() - began)
        reader.disconnect()
    assert sorted(took)[2] < 0.25


@BOTH_PLACES
def test_a_thousand_readers_at_a_thousand_offsets(serve, join, on_disk):
    """Each has all that its filter matches, from its own place on, in order."""
    broker = serve(stream("s", "s/+"), on_disk=on_disk)
    publisher = join(broker)
    for first in range(0, 5000, 500):
        publisher.send(b"".join(wire.publish(f"s/{number % 100}", b"%d" % number, 1, number % 500 + 1)
                                for number in range(first, first + 500)))
        for _ in range(500):
            publisher.answer(wire.PUBACK)
    clients = [join(broker) for _ in range(20)]
    for number, client in zip(range(1000), itertools.cycle(clients)):
        assert client.ask((f"$s/@{5 * number}/$stream/s/s/{number % 100}", number % 2),
                          subscription_identifier=number + 1) == [number % 2]
    expected = [[at for at in range(5 * number, 5000) if at % 100 == number % 100] for number in range(1000)]
    for index, client in enumerate(clients):
        received: dict[int, list] = {number: [] for number in range(index, 1000, 20)}
        for message in client.consume(sum(len(expected[number]) for number in received)):
            received[message.properties["subscription_identifier"][0] - 1].append(message)
        for number, messages in received.items():
            assert positions(messages) == expected[number]
            assert payloads(messages) == [b"%d" % at for at in expected[number]]
    quiet(*clients)


def test_many_readers_of_all(serve, join):
    """Each from its own place on; some of those are still to come."""
    broker = serve(stream("s", "s"))
    publisher = join(broker)
    publisher.publish("s", *numbered(250))
    clients = [join(broker) for _ in range(10)]
    for number, client in zip(range(300), itertools.cycle(clients)):
        assert client.ask((f"$s/@{number}/$stream/s", 0), subscription_identifier=number + 1) == [0]
    publisher.publish("s", *numbered(51, 250))
    for index, client in enumerate(clients):
        last = dict.fromkeys(range(index, 300, 10))
        for message in client.take(sum(301 - number for number in last)):
            number = message.properties["subscription_identifier"][0] - 1
            assert position(message) == (number if last[number] is None else last[number] + 1)
            last[number] = position(message)
        assert set(last.values()) == {300}
    quiet(*clients)


NARROWER = {
    "s/1/#": lambda number, _: number == 1, "s/+/7": lambda _, other: other == 7, "s/1/7": lambda *both: both == (1, 7),
    "s/none/+": lambda *_: False, "s/+/+": lambda *_: True, "s/+/12/#": lambda _, other: other == 12,
}


@BOTH_PLACES
@pytest.mark.parametrize("topics", [20, 40_000], ids=["few_topics", "many_topics"])
def test_narrower_filters(serve, join, on_disk, topics):
    """Of readers that are there from the beginning, while topics come and go, and of those that begin anywhere."""
    broker = serve(stream("s", "s/#", messages_max=5000), on_disk=on_disk)
    publisher = join(broker)
    live = {(topic_filter, qos): read(join(broker), f"$stream/s/{topic_filter}", qos=qos)
            for topic_filter in NARROWER for qos in (0, 1)}
    chance = random.Random(topics)
    sent: list[tuple[int, int]] = []
    for first in range(0, 6000, 500):
        # First among few topics, then among others, of which some are there again.
        sent += [(chance.randrange(4), (0 if first < 3000 else 6) + chance.randrange(topics // 4)) for _ in range(500)]
        names = [f"s/{one}/{other}" for one, other in sent]
        publisher.send(b"".join(wire.publish(names[at], b"%d" % at, 1, at - first + 1)
                                for at in range(first, first + 500)))
        for _ in range(500):
            publisher.answer(wire.PUBACK)
        for (topic_filter, _), reader in live.items():
            expected = [at for at in range(first, first + 500) if NARROWER[topic_filter](*sent[at])]
            received = reader.consume(len(expected))
            assert positions(received) == expected and payloads(received) == [b"%d" % at for at in expected]
            assert [message.topic for message in received] == [names[at] for at in expected]
    quiet(*live.values())
    late = []
    for topic_filter, wanted in NARROWER.items():
        for offset in (0, 1000, 2999, chance.randrange(1000, 6000)):
            late.append(read(join(broker), f"$s/@{offset}/$stream/s/{topic_filter}", qos=offset % 2))
            expected = [at for at in range(max(offset, 1000), 6000) if wanted(*sent[at])]
            assert positions(late[-1].consume(len(expected))) == expected
    quiet(*late)


@pytest.mark.parametrize("kept", [False, True], ids=["connected", "away"])
def test_a_position_in_the_future(serve, join, kept):
    """Nothing before it comes, whoever was away meanwhile."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s/a", *numbered(5))
    reader = read(join(broker, "kept", expiry_s=60), "$stream/s", "@12")
    if kept:
        reader.disconnect()
    publisher.publish("s/a", *numbered(10, 5))
    if kept:
        reader = join(broker, "kept", clean=False, expiry_s=60)
    received = reader.consume(3)
    assert payloads(received) == numbered(3, 12) and not any(map(skipped, received))
    quiet(reader)


def test_a_time_in_the_future(serve, join):
    """Nothing before it comes, and what comes from then on does; to who was away meanwhile too."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s/a", *numbered(5))
    last = time_us(read(join(broker), "$stream/s", "@4").take_one())
    begins = time.monotonic() + 0.5
    at = last + 500_000
    there = read(join(broker), "$stream/s", f"{at}")
    away = read(join(broker, "kept", expiry_s=60), f"$s/{at}/$stream/s")
    away.disconnect()
    publisher.publish("s/a", *numbered(5, 5))
    quiet(there)
    pass_time(begins + 0.1, publisher)
    publisher.publish("s/a", *numbered(5, 10))
    away = join(broker, "kept", clean=False, expiry_s=60)
    for reader in (there, away):
        received = reader.consume(5)
        assert payloads(received) == numbered(5, 10) and min(map(time_us, received)) >= at
    quiet(there, away)


@BOTH_PLACES
def test_every_time_finds_its_message(serve, join, on_disk):
    """The first message that is not older; times never decrease."""
    broker = serve(stream("s", "s/#"), on_disk=on_disk)
    publisher = join(broker)
    for first in range(0, 400, 20):
        publisher.publish("s/a", *numbered(20, first))
    times = [time_us(message) for message in read(join(broker), "$stream/s", "earliest", qos=0).take(400)]
    assert times == sorted(times) and len(set(times)) > 10
    reader = join(broker)
    for at in [moment + more for moment in times[::17] for more in (-1, 0, 1)]:
        first = next((number for number, moment in enumerate(times) if moment >= at), 400)
        read(reader, f"$s/{at}/$stream/s", qos=0)
        assert positions(reader.take(400 - first)) == list(range(first, 400))
        reader.unsubscribe(f"$s/{at}/$stream/s")


def test_the_end_is_behind_what_is_acknowledged(serve, join):
    """Whoever begins at the end when a publisher has been answered does not get what he had published."""
    broker = serve(stream("s", "s/#"))
    for number in range(60):
        publisher, reader = join(broker), join(broker)
        publisher.publish("s/a", b"before", qos=1 + number % 2)
        read(reader, "$stream/s", "latest")
        publisher.publish("s/a", b"behind")
        assert reader.take_one().payload == b"behind"
        publisher.disconnect()
        reader.disconnect()


def test_offsets_at_their_limits(serve, join):
    """Of 63 bits; leading zeros are zeros."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s/a", *numbered(3))
    for offset in ("0", "@0", "@00", "1"):
        assert payloads(read(join(broker), "$stream/s", offset).consume(3)) == numbered(3)
    never = [read(join(broker), "$stream/s", offset) for offset in ("9223372036854775807", "@9223372036854775807")]
    publisher.publish("s/a", b"x")
    quiet(*never)


@BOTH_PLACES
@pytest.mark.parametrize("qos", [0, 1])
def test_seeks_of_every_kind(serve, join, on_disk, qos):
    """Wherever a reader is, the next message is the one that it asked for; nothing of before comes behind SUBACK."""
    broker = serve(stream("s", "s/#"), on_disk=on_disk)
    publisher = join(broker)
    publisher.publish("s/a", *numbered(1000))
    reader = join(broker, receive_maximum=20)
    chance = random.Random(7)
    before = None
    for _ in range(60):
        at = chance.randrange(1000)
        if at == before:
            continue
        before = at
        reader.inbox.clear()
        assert reader.ask(("$stream/s", qos), **offset_of(f"@{at}")) == [qos]
        for message in reader.inbox:  # in front of SUBACK
            if qos:
                reader.settle(message)
        reader.inbox.clear()
        count = min(chance.randrange(1, 100), 1000 - at)
        assert positions(reader.consume(count)) == list(range(at, at + count))


def test_to_seek_with_a_full_window(serve, join):
    """What was sent before is acknowledged before there is room for more."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s/a", *numbered(20))
    reader = read(join(broker, receive_maximum=5), "$stream/s", "earliest")
    held = reader.take(5)
    read(reader, "$stream/s", "@12")
    quiet(reader)
    reader.settle(held[0])
    assert positions(held[1:] + reader.take(1)) == [1, 2, 3, 4, 12]
    quiet(reader)
    reader.settle(*held[1:])
    assert positions(reader.take(4)) == [13, 14, 15, 16]


@pytest.mark.parametrize("address", ["$stream/s", "$s/earliest/$stream/s"])
def test_the_same_subscribe_again(serve, join, address):
    """Moves no reader: neither one that is connected, nor one of a kept session that subscribes whenever it comes."""
    broker = serve(stream("s", "s/#"))
    publisher = join(broker)
    publisher.publish("s/a", *numbered(10))
    reader = read(join(broker, "kept", expiry_s=60), address, "earliest")
    assert payloads(reader.consume(10)) == numbered(10)
    read(reader, address, "earliest")
    read(reader, address)
    for first in (10, 20):
        reader.disconnect()
        publisher.publish("s/a", *numbered(10, first))
        reader = read(join(broker, "kept", clean=False, expiry_s=60), address, "earliest")
        assert payloads(reader.consume(10)) == numbered(10, first)
    quiet(reader)


def test_to_subscribe_again_at_another_qos(serve, join):
    """Changes the subscription, and not its place."""
    broker = serve(stream("s", "s/#"))
    publisher, reader = join(broker), join(broker)
    publisher.publish("s/a", *numbered(10))
    read(reader, "$stream/s", "earliest", qos=0)
    assert {message.qos for message in reader.consume(10)} == {0}
    read(reader, "$stream/s", "earliest", subscription_identifier=5)
    publisher.publish("s/a", *numbered(10, 10))
    received = reader.consume(10)
    assert payloads(received) == numbered(10, 10)
    assert all((message.qos, message.properties["subscription_identifier"]) == (1, [5]) for message in received)
    read(reader, "$stream/s", "earliest", qos=0)
    publisher.publish("s/a", *numbered(10, 20))
    assert {(message.qos, message.properties.get("subscription_identifier")) for message in reader.consume(10)} == {
        (0, None)}
    quiet(reader)


# --- who is slow, and who is fast


@BOTH_PLACES
@pytest.mark.parametrize("qos, receive_maximum", [(0, None), (1, 1), (1, 1000), (2, 10)])
def test_from_the_backlog_to_what_comes(serve, join, stopping, on_disk, qos, receive_maximum):
    """Without a gap or a repetition, while a publisher goes on."""
    broker = serve(stream("s", "s"), on_disk=on_disk)
    publishing = Publishing(broker, qos=2, count_max=3000)
    stopping.callback(publishing.stop)
    publishing.wait_for(300)
    readers = [read(join(broker, receive_maximum=receive_maximum), "$stream/s", "earliest", qos=qos) for _ in range(3)]
    received = [receive(reader, qos, 600) for reader in readers]
    count = publishing.stop()
    publisher = join(broker)
    publisher.publish("s", b"%d" % count, qos=2)
    for reader, messages in zip(readers, received):
        messages += receive(reader, qos, count + 1 - len(messages))
        assert positions(messages) == list(range(count + 1)) and payloads(messages) == numbered(count + 1)
        if qos < 2:
            quiet(reader)


@pytest.mark.parametrize("shards", [1])
@pytest.mark.parametrize("receive_maximum", [1, 5])
def test_two_streams_share_a_window(serve, join, receive_maximum):
    """Neither waits until the other has nothing more."""
    broker = serve(stream("a", "a"), stream("b", "b"))
    publisher, reader = join(broker), join(broker, receive_maximum=receive_maximum)
    for topic in "ab":
        publisher.publish(topic, *numbered(1000))
    assert reader.ask(("$stream/a", 1), ("$stream/b", 1), **offset_of("earliest")) == [1, 1]
    assert {message.topic for message in reader.consume(800)} == {"a", "b"}


@BOTH_PLACES
def test_a_reader_that_does_not_read_its_socket(serve, join, on_disk):
    """At QoS 0: it is waited for, as long as it likes; it gets all, in order, and others do not wait for it."""
    broker = serve(stream("s", "s"), on_disk=on_disk)
    publisher = join(broker)
    sent = [b"%d" % number + b"." * 1000 for number in range(20_000)]
    publisher.publish("s", *sent[:18_000])
    slow = read(join(broker), "$stream/s", "earliest", qos=0)
    received = []
    for first in (18_000, 19_000):
        publisher.publish("s", *sent[first:first + 1000])
        assert payloads(read(join(broker), "$stream/s", "@15000", qos=0).take(first - 14_000)) == sent[
            15_000:first + 1000]
        received += slow.take(4000)
    received += slow.take(12_000)
    assert payloads(received) == sent and positions(received) == list(range(20_000))
    publisher.publish("s", b"end")
    assert slow.take_one().payload == b"end"


def test_the_bounds_of_an_outbox_do_not_hold(serve, join):
    """Nor do they drop anything of who is slow."""
    limits = {"outbox_messages_max": 5, "outbox_bytes_max": 2000, "inflight_max": 3}
    broker = serve(stream("s", "s"), sections={"limits": limits})
    publisher = join(broker)
    live = [read(join(broker), "$stream/s", qos=qos) for qos in (0, 1)]
    sent = [b"%d" % number + b"." * 500 for number in range(3000)]
    publisher.publish("s", *sent)
    for reader in (*live, *(read(join(broker), "$stream/s", "earliest", qos=qos) for qos in (0, 1))):
        assert payloads(reader.consume(3000)) == sent


@pytest.mark.parametrize("qos", [1, 2])
def test_a_negative_acknowledgement(serve, join, qos):
    """Ends a message for its reader, as any other does."""
    broker = serve(stream("s", "s"))
    reader = read(join(broker, "kept", receive_maximum=2, expiry_s=60), "$stream/s", "earliest", qos=qos)
    reader.publish("s", *numbered(50), qos=qos)
    for number in range(50):
        message = reader.take_one()
        assert (message.payload, message.qos, message.dup) == (b"%d" % number, qos, False)
        answer = wire.PUBACK if qos == 1 else wire.PUBREC
        reader.send(wire.packet(answer << 4, struct.pack(">HB", message.packet_id, 0x80)))
    quiet(reader)
    reader.close()
    quiet(join(broker, "kept", clean=False, expiry_s=60))


def test_a_live_reader_gets_a_burst_whole(serve, join):
    """Though the stream keeps less of it: who has room for a message gets it before it is gone."""
    broker = serve(stream("s", "s", messages_max=5))
    publisher = join(broker)
    readers = [read(join(broker, version=version), "$stream/s", qos=qos)
               for qos in (0, 1, 1) for version in (4, 5)]
    for first in range(0, 2500, 500):
        publisher.publish("s", *numbered(500, first))
        for reader in readers:
            assert payloads(reader.consume(500)) == numbered(500, first)
    assert payloads(read(join(broker), "$stream/s", "earliest").consume(5)) == numbered(5, 2495)
    quiet(*readers)


class Wanderer:
    """A client that begins anew in one stream again and again, and looks at each message that it is sent."""

    def __init__(self, connect, chance: random.Random, kept: bool):
        self._connect, self._chance, self._kept = connect, chance, kept
        self._identifiers = itertools.count(1)
        self._last: dict[int, tuple[int, int]] = {}  # position and QoS, by the identifier of the SUBSCRIBE
        self.looked_at = 0
        self.peer = connect(clean=True)

    def step(self, count: int) -> None:
        """count: messages of the stream, about."""
        self._chance.choice([self._subscribe, self._subscribe, self._unsubscribe, self._reconnect, self._look,
                             self._look, self._look, self._look])(count)

    def _subscribe(self, count: int) -> None:
        offset = self._chance.choice(["earliest", "latest", "0", f"@{self._chance.randrange(count + 10)}"])
        address = self._chance.choice(["$stream/s", "$stream/s/s/+", f"$s/{offset}/$stream/s"])
        read(self.peer, address, offset, self._chance.randrange(2), subscription_identifier=next(self._identifiers))

    def _unsubscribe(self, _: int) -> None:
        self.peer.unsubscribe(self._chance.choice(["$stream/s", "$stream/s/s/+", "$s/earliest/$stream/s"]))

    def _reconnect(self, _: int) -> None:
        self.peer.close()
        self.peer = self._connect(clean=not self._kept)
        # What was on its way at QoS 0 is lost.
        self._last = {identifier: (at, qos) for identifier, (at, qos) in self._last.items() if qos and self._kept}

    def _look(self, _: int) -> None:
        received = self.peer.take_what_came()
        self.looked_at += len(received)
        for message in received:
            at, (identifier,) = position(message), message.properties["subscription_identifier"]
            assert int(message.payload) == at
            last = self._last.get(identifier, (at - 1 - skipped(message), 0))[0]
            assert message.dup or at == last + 1 + skipped(message)
            self._last[identifier] = max(at, last), message.qos
            if message.qos and self._chance.random() < 0.95:
                self.peer.settle(message)


@BOTH_PLACES
def test_readers_in_disorder(serve, join, on_disk):
    """They seek, leave and are cut off while messages come and are dropped: what each is sent follows what it was sent
    before, or is told to be behind what is missing."""
    broker = serve(stream("s", "s/#", messages_max=300), on_disk=on_disk)
    publisher, count = join(broker), 0
    chance = random.Random(11)

    def connect(number: int):
        options = {"expiry_s": 60, "receive_maximum": 3} if number == 0 else {"expiry_s": 60 * (number % 2)}
        return lambda clean: join(broker, f"wanderer {number}", clean=clean, **options)

    wanderers = [Wanderer(connect(number), chance, number % 2 == 0) for number in range(5)]
    for _ in range(250):
        publisher.send(b"".join(wire.publish("s/a", b"%d" % (count + number), 1, number + 1) for number in range(20)))
        chance.choice(wanderers).step(count)
        for _ in range(20):
            publisher.answer(wire.PUBACK)
        count += 20
    received = read(join(broker), "$stream/s", "earliest").consume(300)
    assert positions(received) == list(range(count - 300, count))
    assert sum(one.looked_at for one in wanderers) > 1000


# --- retention


def test_bytes_max(serve, join):
    """Of topics, properties and payloads; positions go on."""
    broker = serve(stream("s", "b/#", bytes_max=1000))
    publisher = read(join(broker), "$stream/s")
    sent = [b"%02d" % number + b"." * 95 for number in range(30)]  # 100 with the topic
    publisher.publish("b/x", *sent)
    publisher.consume(30)
    received = read(join(broker), "$stream/s", "earliest").consume(10)
    assert payloads(received) == sent[20:] and positions(received) == list(range(20, 30))
    publisher.publish("b/x", b"." * 398)  # 401
    publisher.consume(1)
    received = read(join(broker), "$stream/s", "earliest").consume(6)
    assert positions(received) == list(range(25, 31))
    assert not any(map(skipped, received))


def test_a_message_that_never_fits(serve, join):
    """Is left out: it takes no position, and no other's place."""
    broker = serve(stream("s", "b/#", bytes_max=1000))
    publisher = read(join(broker), "$stream/s")
    publisher.publish("b/x", b"small", b"." * 998, b"." * 996)  # 1001 and 999 with the topic
    publisher.publish("b/x", b"end")
    received = publisher.consume(3)
    assert [len(message.payload) for message in received] == [5, 996, 3] and positions(received) == [0, 1, 2]
    received = read(join(broker), "$stream/s", "earliest").consume(1)
    assert (payloads(received), positions(received)) == ([b"end"], [2])


@EITHER_PLACE
def test_age_max(serve, join, on_disk):
    """Though nothing is published, and nobody reads; positions go on."""
    broker = serve(stream("s", "s/#", age_max_s=1), on_disk=on_disk)
    publisher, live = join(broker), read(join(broker), "$stream/s")
    slow = read(join(broker, receive_maximum=1), "$stream/s")
    publisher.publish("s/a", *numbered(4))
    assert positions(live.consume(4)) == list(range(4))
    assert positions(slow.take(1)) == [0]
    assert payloads(read(join(broker), "$stream/s", "earliest").consume(4)) == numbered(4)
    pass_time(time.monotonic() + 1.3, publisher)
    late = [read(join(broker), "$stream/s", offset) for offset in ("earliest", "@4", "0")]
    quiet(*late)
    publisher.publish("s/a", b"young")
    for reader in late:
        message = reader.take_one()
        assert (message.payload, position(message)) == (b"young", 4)
    slow.settle(wire.Published("", 1, 1, {}, b"", False, False))
    message = slow.take_one()
    assert (message.payload, position(message), skipped(message)) == (b"young", 4, 3)


@BOTH_PLACES
@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_skipped_is_counted(serve, join, stopping, on_disk, qos):
    """However slow a reader is while the stream is trimmed: between two messages are as many as the second says."""
    broker = serve(stream("s", "s", messages_max=200), on_disk=on_disk)
    readers = [read(join(broker, receive_maximum=maximum), "$stream/s", "earliest", qos=qos) for maximum in (1, 7)]
    publishing = Publishing(broker)
    stopping.callback(publishing.stop)
    lists: list[list] = [[], []]
    for goal in range(500, 4001, 500):
        publishing.wait_for(goal)
        for reader, messages in zip(readers, lists):
            messages += reader.consume(100)
    count = publishing.stop()
    join(broker).publish("s", b"%d" % count)
    for reader, messages in zip(readers, lists):
        while position(messages[-1]) < count:
            messages += reader.consume(1)
        before = -1
        for message in messages:
            assert position(message) == before + 1 + skipped(message)
            assert int(message.payload) == position(message)
            before = position(message)
        quiet(reader)
        assert qos == 0 or len(messages) < count  # else nothing was proved


def test_a_stream_that_is_empty_again(serve, join):
    """Is read from its end on, wherever in what is gone one begins."""
    broker = serve(stream("s", "s/#", age_max_s=1))
    publisher = join(broker)
    fill(join, broker, 3)
    pass_time(time.monotonic() + 1.3, publisher)
    readers = [read(join(broker), "$stream/s", offset) for offset in ("earliest", "latest", "0", "@3", "@0", "@2")]
    readers.append(read(join(broker, version=4), "$s/@1/$stream/s/s/+"))
    quiet(*readers)
    publisher.publish("s/a", b"3")
    assert [positions(reader.consume(1)) for reader in readers[:-1]] == [[3]] * 6
    assert payloads(readers[-1].consume(1)) == [b"3"]


# --- kept sessions


@EVERY_QOS
def test_a_kept_session_at_every_qos(serve, join, qos):
    """It goes on behind what it has taken, and nothing is told twice: offset and all."""
    broker = serve(stream("s", "s"))
    publisher = join(broker)
    publisher.publish("s", *numbered(30), qos=2)
    reader = read(join(broker, "kept", expiry_s=60), "$stream/s", "earliest", qos=qos)
    assert payloads(receive(reader, qos, 30)) == numbered(30)
    for first in (30, 40, 50):
        reader.ping()
        reader.close()
        publisher.publish("s", *numbered(10, first), qos=2)
        reader = join(broker, "kept", clean=False, expiry_s=60)
        assert reader.session_present
        assert payloads(receive(reader, qos, 10)) == numbered(10, first)
    if qos < 2:
        quiet(reader)


@BOTH_PLACES
def test_exactly_once_over_many_connections(serve, join, on_disk):
    """However often the connection is lost, and whichever acknowledgement with it."""
    broker = serve(stream("s", "s"), on_disk=on_disk)
    publisher = join(broker)
    publisher.publish("s", *numbered(500), qos=2)
    chance = random.Random(3)
    reader = join(broker, "kept", expiry_s=60, receive_maximum=8)
    assert reader.ask(("$stream/s", 2), **offset_of("earliest")) == [2]
    once = ExactlyOnce()
    while len(once.received) < 450:
        for message in reader.inbox:  # in front of SUBACK
            reader.send(wire.acknowledge(wire.PUBREC, message.packet_id))
            once.received.append(message)
        reader.inbox.clear()
        lost = 0  # answers; while those are fewer than the window more comes
        for _ in range(chance.randrange(1, 60)):
            answers = lost == 7 or chance.random() < 0.9
            once.step(reader, answers)
            lost += not answers
        reader.close()
        reader = join(broker, "kept", clean=False, expiry_s=60, receive_maximum=8)
    once.run(reader, 500)
    assert payloads(once.received) == numbered(500) and positions(once.received) == list(range(500))
    publisher.publish("s", b"end", qos=2)
    assert payloads(once.run(reader, 501)) == numbered(500) + [b"end"]


@BOTH_PLACES
def test_at_least_once_over_many_connections(serve, join, on_disk):
    """What is not acknowledged comes again, marked as such, and first; nothing else does, and nothing is missing."""
    broker = serve(stream("s", "s"), on_disk=on_disk)
    publisher = join(broker)
    publisher.publish("s", *numbered(1000))
    chance = random.Random(4)
    reader = read(join(broker, "kept", expiry_s=60, receive_maximum=20), "$stream/s", "earliest")
    settled, seen = set(), -1
    while seen < 950:
        open_ones = []
        for message in reader.take(chance.randrange(1, 20)):
            at = position(message)
            assert at not in settled and at <= seen + 1
            assert message.dup or at > seen  # what was sent, but not read, is marked as well
            seen = max(at, seen)
            open_ones.append(message)
            if chance.random() < 0.8:
                reader.settle(message)
                settled.add(at)
        reader.ping()
        reader.close()
        seen = max([seen, *positions(list(reader.inbox))])
        reader = join(broker, "kept", clean=False, expiry_s=60, receive_maximum=20)
    left = [at for at in range(1000) if at not in settled]
    assert positions(reader.consume(len(left))) == left
    quiet(reader)


@EVERY_QOS
def test_a_session_that_is_taken_over(serve, join, qos):
    """In the middle of its backlog: the second connection goes on, with what the first had not acknowledged first."""
    broker = serve(stream("s", "s"))
    publisher = join(broker)
    publisher.publish("s", *numbered(100), qos=2)
    first = read(join(broker, "kept", expiry_s=60, receive_maximum=20), "$stream/s", "earliest", qos=qos)
    held = first.take(20)
    assert payloads(held) == numbered(20)
    if qos == 1:
        first.settle(*held[:5])
    first.ping()
    held += first.take(len(first.inbox))  # at QoS 0 it may be all of it
    second = join(broker, "kept", clean=False, expiry_s=60, receive_maximum=20)
    assert second.session_present
    first.send(wire.acknowledge(wire.PUBACK, held[-1].packet_id or 1))  # too late
    packets = []
    while (packet := first.read()) is not None:
        packets.append(packet)
    assert packets[-1].type == wire.DISCONNECT and packets[-1].reason_code == 0x8E
    held += [wire.Published.of(packet) for packet in packets[:-1]]
    if qos == 0:
        received = second.take(100 - len(held))
        assert positions(held + received) == list(range(100))
    else:
        begins = 5 if qos == 1 else 0
        received = receive(second, qos, 100 - begins)
        assert positions(received) == list(range(begins, 100))
        assert [message.dup for message in received] == [at < len(held) for at in range(begins, 100)]
    if qos < 2:
        quiet(second)


def test_a_clean_start_forgets(serve, join):
    """Where the session was, and that it read at all."""
    broker = serve(stream("s", "s"))
    publisher = join(broker)
    publisher.publish("s", *numbered(10))
    reader = read(join(broker, "kept", expiry_s=60), "$stream/s", "earliest")
    assert payloads(reader.consume(5)) == numbered(5)
    reader.disconnect()
    reader = join(broker, "kept", expiry_s=60)
    publisher.publish("s", b"10")
    quiet(reader)
    read(reader, "$stream/s", "earliest")
    assert payloads(reader.consume(11)) == numbered(11)
    reader.close()  # and with a clean start in the place of a connection
    reader = join(broker, "kept", clean=False, expiry_s=60)
    join(broker, "kept", expiry_s=0).disconnect()
    reader = join(broker, "kept", clean=False, expiry_s=60)
    assert not reader.session_present
    quiet(reader)


def test_a_session_that_is_over(serve, join):
    """Reads no more, and begins anew when it comes again."""
    broker = serve(stream("s", "s"))
    publisher = join(broker)
    publisher.publish("s", *numbered(10))
    for _ in range(3):
        reader = read(join(broker, "again"), "$stream/s", "earliest")
        assert payloads(reader.consume(10)) == numbered(10)
        reader.disconnect()
