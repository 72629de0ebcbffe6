"""Named cursors and groups of streams, as docs/STREAMS.md promises them to clients."""

import collections
import time

import pytest

from harness.client import TIMEOUT_S
from harness.queues import Peer, numbered, payloads, quiet, user_values
from harness.streams import BAD_FILTER, IMPLEMENTATION_SPECIFIC, QUOTA, stream
from test_streams import serve  # noqa: F401  pylint: disable=unused-import

pytestmark = pytest.mark.ours_only("streams are no matter of the specification")

# pylint: disable=redefined-outer-name


def ask(peer: Peer, topic_filter: str = "$stream/s", qos: int = 1, **values: str) -> list[int]:
    """SUBACK's codes. values: user properties, "_" for "-"."""
    return peer.ask((topic_filter, qos), user_property=[(name.replace("_", "-"), value)
                                                       for name, value in values.items()])


def read(peer: Peer, **values: str) -> Peer:
    """Is granted, as soon as the cursor's home has heard that who had it is gone."""
    deadline = time.monotonic() + TIMEOUT_S
    while (codes := ask(peer, **values)) == [QUOTA]:
        assert time.monotonic() < deadline
    assert codes == [1]
    peer.ping()
    return peer


def test_a_cursor_keeps_its_place(serve, join):
    broker = serve(stream("s", "s/#"))
    join(broker).publish("s", *numbered(10))
    first = read(join(broker), stream_cursor="c", stream_offset="earliest")
    first.settle(*first.take(10)[:4])
    first.ping()
    first.close()
    second = read(join(broker), stream_cursor="c", stream_offset="earliest")  # where it is, not where it would begin
    received = second.consume(6)
    assert payloads(received) == numbered(6, 4)
    assert [user_values(message, "stream-offset") for message in received] == [[f"{one}"] for one in range(4, 10)]
    join(broker).publish("s", b"next")
    assert payloads(second.consume(1)) == [b"next"]
    other = read(join(broker), stream_cursor="d", stream_offset="@8")
    assert payloads(other.consume(3)) == [b"8", b"9", b"next"]


def test_a_cursor_is_one_reader_s(serve, join):
    broker = serve(stream("s", "s/#"))
    holder = read(join(broker, "holder"), stream_cursor="c")
    assert ask(join(broker), stream_cursor="c") == [QUOTA]
    assert ask(join(broker), stream_group="c") == [QUOTA]
    holder.unsubscribe("$stream/s")
    read(join(broker), stream_cursor="c")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "x" * 256])
def test_what_is_no_cursor_s_name(serve, join, name):
    broker = serve(stream("s", "s/#"))
    peer = join(broker)
    assert ask(peer, stream_cursor=name) == [IMPLEMENTATION_SPECIFIC]
    assert ask(peer, stream_group=name) == [IMPLEMENTATION_SPECIFIC]
    assert ask(peer, "$stream/s/s/a", stream_cursor="c") == [BAD_FILTER]


def test_a_cursor_seeks_when_its_reader_subscribes_again(serve, join):
    broker = serve(stream("s", "s/#"))
    join(broker).publish("s", *numbered(5))
    reader = read(join(broker), stream_cursor="c", stream_offset="earliest")
    assert payloads(reader.consume(5)) == numbered(5)
    read(reader, stream_cursor="c", stream_offset="@2")
    assert payloads(reader.consume(3)) == numbered(3, 2)
    quiet(reader)


def test_a_cursor_over_restarts(serve, join):
    broker = serve(stream("s", "s/#"), on_disk=True)
    join(broker).publish("s", *numbered(10))
    reader = read(join(broker), stream_cursor="c", stream_offset="earliest")
    assert payloads(reader.consume(7)) == numbered(7)
    kept = read(join(broker, "kept", expiry_s=600), stream_cursor="k", stream_offset="earliest")
    assert payloads(kept.consume(3)) == numbered(3)
    for peer in (reader, kept):
        peer.ping()
    broker.stop()
    broker = serve(stream("s", "s/#"), on_disk=True)
    assert payloads(read(join(broker), stream_cursor="c", stream_offset="earliest").consume(3)) == numbered(3, 7)
    assert payloads(join(broker, "kept", clean=False, expiry_s=600).consume(7)) == numbered(7, 3)


# --- groups


def in_order(received: list) -> bool:
    """Messages are "<key> <count>", and counts of a key grow from 0 by one."""
    counts = collections.Counter()
    for message in received:
        key, count = message.payload.split()
        if int(count) != counts[key]:
            return False
        counts[key] += 1
    return True


def keyed(count: int, keys: int) -> list[bytes]:
    return [f"k{number % keys} {number // keys}".encode() for number in range(count)]


def publish_keyed(publisher: Peer, messages: list[bytes]) -> None:
    for key in sorted({message.split()[0] for message in messages}):
        publisher.publish(f"s/{key.decode()}", *[one for one in messages if one.split()[0] == key])


def test_a_group_divides_the_stream_by_key(serve, join):
    broker = serve(stream("s", "s/#", key="topic"))
    members = [read(join(broker), stream_group="g", stream_offset="earliest") for _ in range(3)]
    publish_keyed(join(broker), keyed(600, 20))
    received = [[] for _ in members]
    while sum(len(one) for one in received) < 600:
        for peer, taken in zip(members, received):
            peer.ping()
            some = peer.take(len(peer.inbox))
            peer.settle(*some)
            taken += some
    for peer in members:
        quiet(peer)
    assert all(received)
    assert sorted(message.payload for one in received for message in one) == sorted(keyed(600, 20))
    assert all(user_values(message, "stream-key") == [message.topic] for one in received for message in one)


def test_members_come_and_go_without_loss_and_in_order(serve, join):
    broker = serve(stream("s", "s/#", key="topic"))
    publisher = join(broker)
    done: list = []  # what was acknowledged, in that order
    first = read(join(broker, receive_maximum=20), stream_group="g", stream_offset="earliest")
    second = read(join(broker, receive_maximum=20), stream_group="g")
    publish_keyed(publisher, keyed(400, 10))
    for peer in (first, second):
        peer.ping()
    for peer in (first, second):  # each acknowledges some, and one dies with the rest
        some = peer.take(5)
        peer.settle(*some)
        done += some
    for peer in (first, second):
        peer.ping()
    second.close()
    third = read(join(broker, receive_maximum=20), stream_group="g")
    for _ in range(10_000):
        for peer in (first, third):
            peer.ping()
            some = peer.take(len(peer.inbox))
            peer.settle(*some)
            done += some
        if len({message.payload for message in done}) == 400:
            break
    assert sorted({message.payload for message in done}) == sorted(keyed(400, 10))
    last: dict = {}
    for message in done:  # what comes again comes in order too
        key, count = message.payload.split()
        assert int(count) <= last.get(key, -1) + 1, (message, last)
        last[key] = int(count)
    quiet(first, third)


def test_a_group_goes_on_with_other_keys_while_one_waits(serve, join):
    broker = serve(stream("s", "s/#", key="topic"))
    first = read(join(broker, receive_maximum=1), stream_group="g", stream_offset="earliest")
    second = read(join(broker, receive_maximum=1), stream_group="g")
    publisher = join(broker)
    publisher.publish("s/a", b"a 0", b"a 1", b"a 2")
    publisher.publish("s/b", b"b 0")
    taken = {peer: peer.take_one() for peer in (first, second)}
    assert {message.payload for message in taken.values()} == {b"a 0", b"b 0"}
    quiet(first, second)
    holder = next(peer for peer, message in taken.items() if message.payload == b"a 0")
    holder.settle(taken[holder])
    assert payloads(holder.consume(2)) == [b"a 1", b"a 2"]
