"""Streams as docs/STREAMS.md promises them to clients: what they keep, where a reader begins, what it is sent."""

import json

import pytest

from harness.queues import Peer, numbered, payloads, queue, quiet, user_values
from harness.wire import Published

pytestmark = pytest.mark.ours_only("streams are no matter of the specification")

EVERY_VERSION = pytest.mark.parametrize("version", [5, 4, 3], ids=["v5", "v3_1_1", "v3_1"])
BAD_FILTER, IMPLEMENTATION_SPECIFIC, NOT_AUTHORIZED, QUOTA = 0x8F, 0x83, 0x87, 0x97

stream = queue  # an element of streams.declared


@pytest.fixture(params=[1, 3], ids=["1_shard", "3_shards"])
def shards(request):
    return request.param


@pytest.fixture
def serve(start_broker, tmp_path, shards):
    """A function that starts a broker with streams: serve(stream("name", "filter"), auto_create=True).

    Further keys of `streams` by their name; other sections of the file as `sections`, flags as `flags`.
    """

    def start(*declared: dict, sections: dict | None = None, flags: tuple = (), **keys):
        file = tmp_path / "streams.json"
        file.write_text(json.dumps({"streams": {"declared": declared, **keys}, **(sections or {})}))
        return start_broker(flags=("--shards", f"{shards}", "--config", str(file), *flags))

    return start


@pytest.fixture
def join(start_broker):  # pylint: disable=unused-argument
    """A function that connects a client, which is closed before the broker is stopped: join(broker, version=4)."""
    made: list[Peer] = []

    def connect(broker, client_id: str | None = None, **options) -> Peer:
        made.append(Peer(broker, client_id, **options))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def read(peer: Peer, topic_filter: str, offset: str | None = None, qos: int = 1) -> Peer:
    """Subscribes, and is granted this QoS."""
    values = {} if offset is None else {"user_property": ("stream-offset", offset)}
    assert peer.ask((topic_filter, qos), **values) == [qos]
    return peer


def position(message: Published) -> int:
    found = user_values(message, "stream-offset")
    assert len(found) == 1, message
    return int(found[0])


def time_us(message: Published) -> int:
    found = user_values(message, "stream-ts")
    assert len(found) == 1, message
    return int(found[0])


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


@pytest.mark.parametrize("offset", ["-1", "abc", "9223372036854775808", "@-1", "@", "", "1.5", " 1"])
def test_what_is_no_offset(serve, join, offset):
    broker = serve(stream("s", "s/#"))
    peer = join(broker)
    assert peer.ask(("$stream/s", 0), user_property=("stream-offset", offset)) == [IMPLEMENTATION_SPECIFIC]
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


def test_restart(serve, join, tmp_path, shards):
    flags = ("--data-dir", str(tmp_path / "data"))
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
