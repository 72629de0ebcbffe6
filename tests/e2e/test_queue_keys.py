"""Queues whose messages have keys, as docs/QUEUES.md promises them to clients: in the order of each key, last values,
and what becomes of messages without a key.
"""

import collections
import json
import random
import subprocess
import time

import pytest

from harness.broker import HOST, server_path
from harness.client import TIMEOUT_S
from harness.queues import Peer, deliveries, numbered, payloads, queue, quiet
from test_queues import serve  # noqa: F401  pylint: disable=unused-import

pytestmark = pytest.mark.ours_only("queues are no matter of the specification")

# pylint: disable=redefined-outer-name

# Each expression of a key, with how a message is published that has this key, or none: a topic, a payload, properties.
EXPRESSIONS = {
    "topic": lambda key: (f"q/{key}", "x", {}),
    "topic_level:2": lambda key: (f"q/{key}/more" if key else "q", "x", {}),
    "user_property:k": lambda key: ("q/a", "x", {"user_property": [("other", "0"), ("k", key), ("k", "z")]}
                                    if key else {}),
    "json:/a~1b/1": lambda key: ("q/a", json.dumps({"a/b": [0, key or None]}), {}),
}
KEYLESS = [expression for expression in EXPRESSIONS if expression != "topic"]


def ordered(**options) -> dict:
    return queue("q", "q/#", key="topic", dispatch="key_ordered", **options)


def last(key: str = "topic", **options) -> dict:
    return queue("q", "q/#", key=key, last_value=True, **options)


def consumers(join, broker, count: int, **options) -> list[Peer]:
    return [join(broker, **options).subscribe("$queue/q") for _ in range(count)]


def send(publisher: Peer, expression: str, key: str, mark: str, qos: int = 1) -> list[int]:
    """A message with this key, or without one; the mark is its content type. Returns the reason codes."""
    topic, payload, values = EXPRESSIONS[expression](key)
    return publisher.publish(topic, payload.encode(), qos=qos, content_type=mark, **values)


def marks(messages) -> list[str]:
    return [message.properties["content_type"][0].decode() for message in messages]


def wait_for(count: int, *peers: Peer) -> None:
    """Until so many messages have come to them together."""
    deadline = time.monotonic() + TIMEOUT_S
    while sum(len(one.inbox) for one in peers) < count:
        assert time.monotonic() < deadline, [payloads(one.inbox) for one in peers]
        for one in peers:
            one.ping()


# --- in the order of each key


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_who_has_a_key_gets_its_messages(serve, join, expression):
    """Whatever the key is, all of one key are one consumer's while he has any, and each key is somebody's."""
    broker = serve(queue("q", "q/#", key=expression, dispatch="key_ordered"))
    members = consumers(join, broker, 3)
    publisher = join(broker)
    for number in range(18):
        send(publisher, expression, "abc"[number % 3], f"{number}")
    wait_for(18, *members)
    assert sorted(marks(one.inbox)[0] for one in members) == ["0", "1", "2"]
    for one in members:
        received = marks(one.take(6))
        assert received == [f"{int(received[0]) + 3 * turn}" for turn in range(6)]


def test_keys_of_publishers(serve, join):
    """client_id: who has a message of a client gets his next ones."""
    broker = serve(queue("q", "q/#", key="client_id", dispatch="key_ordered"))
    members = consumers(join, broker, 2)
    publishers = [join(broker), join(broker)]
    for number in range(10):
        publishers[number % 2].publish("q/a", b"%d" % number)
    wait_for(10, *members)
    assert sorted(payloads(one.take(5)) for one in members) == [numbered(10)[::2], numbered(10)[1::2]]


def test_other_keys_pass(serve, join):
    """Of a key whose consumer has no room messages wait, though others have room, and do not hold others up."""
    broker = serve(ordered())
    one, = consumers(join, broker, 1, receive_maximum=1)
    publisher = join(broker)
    publisher.publish("q/a", *numbered(3))
    held = one.take(1)
    other, = consumers(join, broker, 1)
    publisher.publish("q/b", b"b")
    assert payloads(other.take(1)) == [b"b"]
    quiet(one, other)
    one.settle(*held)
    wait_for(1, one, other)
    assert payloads([*one.inbox, *other.inbox])[0] == b"1"


@pytest.mark.parametrize("how", ["closes", "disconnects", "unsubscribes"])
def test_keys_of_a_consumer_that_goes(serve, join, how):
    """They are another's, with all that waits for them: in order, and what he had one by one."""
    broker = serve(ordered())
    one, = consumers(join, broker, 1, receive_maximum=3)
    publisher = join(broker)
    publisher.publish("q/a", *numbered(5))
    one.take(3)
    other, = consumers(join, broker, 1)
    quiet(one, other)
    {"closes": one.close, "disconnects": one.disconnect, "unsubscribes": lambda: one.unsubscribe("$queue/q")}[how]()
    held = other.take(1)
    quiet(other)
    other.settle(*held)
    received = held + other.consume(4)
    assert payloads(received) == numbered(5)
    assert [deliveries(message) for message in received] == [2, 2, 2, 1, 1]


def test_a_rejected_message_goes_first(serve, join):
    """When its key is free: not while somebody has others of it, and before those behind it."""
    broker = serve(ordered(redelivery_delay_ms=1))
    one, = consumers(join, broker, 1, receive_maximum=3)
    publisher = join(broker)
    publisher.publish("q/a", *numbered(5))
    held = one.take(3)
    other, = consumers(join, broker, 1)
    one.reject(held[0])
    one.settle(held[1])
    quiet(one, other)
    one.disconnect()
    received = other.consume(4)
    assert payloads(received) == [b"0", b"2", b"3", b"4"]
    assert [deliveries(message) for message in received] == [2, 2, 1, 1]


def test_order_among_consumers_that_reject_and_vanish(serve, join, shards):
    """Whatever they do, none has a message of a key while one before it is neither settled nor his."""
    broker = serve(ordered(redelivery_delay_ms=1))
    chance = random.Random(shards)
    publisher = join(broker)
    sent = collections.Counter()
    for _ in range(150):
        key = chance.choice("abcd")
        publisher.publish(f"q/{key}", b"%d" % sent[key])
        sent[key] += 1
    settled: set[bytes] = set()
    holders: dict[str, dict[int, Peer]] = collections.defaultdict(dict)  # of what is not settled: who had it last
    members: list[Peer] = []
    while len(settled) < 150:
        while len(members) < 3:
            members += consumers(join, broker, 1, receive_maximum=chance.randint(1, 5))
        one = chance.choice(members)
        for message in one.take_what_came():
            mine, number = holders[message.topic], int(message.payload)
            mine[number] = one
            name = message.topic.encode() + message.payload
            assert name not in settled
            for before in range(number):
                assert mine.get(before) is one or b"%s%d" % (message.topic.encode(), before) in settled, message
            if chance.random() < 0.2:
                one.reject(message)
            else:
                one.settle(message)
                settled.add(name)
        if chance.random() < 0.05:
            members.remove(one)
            one.disconnect()
    quiet(*members)


# --- last values


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_only_the_newest_waits(serve, join, expression):
    """Of each key, at the place where it came."""
    broker = serve(last(expression))
    publisher = join(broker)
    for number, key in enumerate("abcacd"):
        assert send(publisher, expression, key, f"{number}", qos=1 + number % 2) == [0]
    one, = consumers(join, broker, 1)
    assert marks(one.consume(4)) == ["1", "3", "4", "5"]
    quiet(one)
    send(publisher, expression, "a", "6")
    assert marks(one.consume(1)) == ["6"]


def test_a_newer_value_waits_for_the_one_in_flight(serve, join):
    """Also where others have room, and only the newest does."""
    broker = serve(last())
    members = consumers(join, broker, 2)
    publisher = join(broker)
    publisher.publish("q/a", b"0")
    wait_for(1, *members)
    owner, other = sorted(members, key=lambda one: not one.inbox)
    held = owner.take(1)
    publisher.publish("q/a", b"1", b"2")
    publisher.publish("q/b", b"b")
    wait_for(1, *members)
    assert payloads([*owner.inbox, *other.inbox]) == [b"b"]
    for one in members:
        one.inbox.clear()
    quiet(*members)
    owner.settle(*held)
    wait_for(1, *members)
    message, = [*owner.inbox, *other.inbox]
    assert (message.payload, deliveries(message)) == (b"2", 1)


@pytest.mark.parametrize("how", ["rejects", "closes", "disconnects", "unsubscribes", "says nothing"])
def test_a_value_that_is_not_the_last_stays_away(serve, join, how):
    """However it comes back; the last one is delivered, once."""
    broker = serve(last(redelivery_delay_ms=1, ack_timeout_ms=100 if how == "says nothing" else 0))
    one, = consumers(join, broker, 1)
    publisher = join(broker)
    publisher.publish("q/a", b"0")
    held = one.take(1)
    publisher.publish("q/a", b"1")
    {"rejects": lambda: one.reject(*held), "closes": one.close, "disconnects": one.disconnect,
     "unsubscribes": lambda: one.unsubscribe("$queue/q"), "says nothing": one.ping}[how]()
    if how not in ("rejects", "says nothing"):
        one, = consumers(join, broker, 1)
    message = one.take_one()
    assert (message.payload, deliveries(message)) == (b"1", 1)
    one.settle(message)
    quiet(one)


def test_a_value_that_is_the_last_comes_again(serve, join):
    broker = serve(last(redelivery_delay_ms=1))
    one, = consumers(join, broker, 1)
    publisher = join(broker)
    publisher.publish("q/a", b"0")
    one.reject(*one.take(1))
    message = one.take_one()
    assert (message.payload, deliveries(message)) == (b"0", 2)
    one.settle(message)
    quiet(one)


def test_newer_values_take_no_room(serve, join):
    """What drops the oldest does so for keys only that it does not have."""
    broker = serve(last(messages_max=2))
    publisher = join(broker)
    for topic, payload in (("q/a", b"0"), ("q/b", b"1"), ("q/a", b"2"), ("q/b", b"3"), ("q/c", b"4")):
        assert publisher.publish(topic, payload) == [0]
    one, = consumers(join, broker, 1)
    assert payloads(one.consume(2)) == [b"3", b"4"]
    quiet(one)


@pytest.mark.parametrize("overflow, code", [("reject", 0x97), ("drop_newest", 0)])
def test_a_full_queue_refuses_newer_values_too(serve, join, overflow, code):
    broker = serve(last(messages_max=2, overflow=overflow))
    publisher = join(broker)
    codes = [publisher.publish(topic, b"x")[0] for topic in ("q/a", "q/b", "q/a", "q/c")]
    assert codes == [0, 0, code, code]
    one, = consumers(join, broker, 1)
    assert [message.topic for message in one.consume(2)] == ["q/a", "q/b"]
    quiet(one)


def test_many_values(serve, join):
    """Each key has its newest, in the order of these."""
    broker = serve(last())
    chance = random.Random(1)
    publisher = join(broker)
    newest: dict[str, bytes] = {}
    for payload in numbered(400):
        topic = f"q/{chance.randrange(100)}"
        newest.pop(topic, None)
        newest[topic] = payload
        publisher.publish(topic, payload)
    one, = consumers(join, broker, 1, receive_maximum=7)
    assert [(message.topic, message.payload) for message in one.consume(len(newest))] == list(newest.items())
    quiet(one)


# --- without a key

BOTH_KINDS = pytest.mark.parametrize("kind", [{"dispatch": "key_ordered"}, {"last_value": True}],
                                     ids=["key_ordered", "last_value"])


@pytest.mark.parametrize("expression", KEYLESS)
@BOTH_KINDS
def test_messages_without_a_key_are_taken(serve, join, expression, kind):
    """It is the default. They belong to no other: each of them is kept, and anybody's."""
    broker = serve(queue("q", "q/#", key=expression, **kind))
    publisher = join(broker)
    assert [send(publisher, expression, "", f"{number}")[0] for number in range(4)] == [0] * 4
    members = consumers(join, broker, 4, receive_maximum=1)
    assert sorted(mark for one in members for mark in marks(one.take(1))) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("keyless, code", [("drop", 0), ("reject", 0x83)])
@pytest.mark.parametrize("expression", KEYLESS)
def test_messages_without_a_key_are_not_taken(serve, join, expression, keyless, code):
    """Where a queue does without them; publishers are told where it is to reject them."""
    broker = serve(queue("q", "q/#", key=expression, keyless=keyless))
    one, = consumers(join, broker, 1)
    publisher = join(broker)
    assert send(publisher, expression, "", "no", 0) == []
    for qos in (1, 2):
        assert send(publisher, expression, "", "no", qos) == [code]
        assert send(publisher, expression, "a", "yes", qos) == [0]
    assert marks(one.consume(2)) == ["yes", "yes"]
    quiet(one)


def test_others_have_what_a_queue_rejects(serve, join):
    """Another queue and a subscriber have it all the same, though its publisher is told."""
    broker = serve(queue("q", "q/#", key="user_property:k", keyless="reject"), queue("other", "q/#"))
    publisher, subscriber = join(broker), join(broker).subscribe("q/#")
    assert publisher.publish("q/a", b"x") == [0x83]
    assert payloads(subscriber.consume(1)) == [b"x"]
    assert payloads(join(broker).subscribe("$queue/other").consume(1)) == [b"x"]
    one, = consumers(join, broker, 1)
    quiet(one, subscriber)


def test_broken_json(serve, join):
    """No payload does harm, whatever it is."""
    broker = serve(queue("q", "q/#", key="json:/a", keyless="reject"))
    publisher = join(broker)
    wrong = [b"", b"{", b'{"a"', b'{"a":', b'{"a":"', b"\xff", b"\x00", b"null", b'{"a":null}', b'{"a":{}}',
             b"[" * 5000, b'{"b":1}', b'{"a":"\xff"}', b'{"a":"\\ud800"}']
    assert publisher.publish("q/a", *wrong) == [0x83] * len(wrong)
    right = [b'{"a":1}', b'{"a":"1"}', b'{"a":true}', b' { "a" : "" } ', b'{"a":"\\u0000"}']
    assert publisher.publish("q/a", *right) == [0] * len(right)
    assert payloads(consumers(join, broker, 1)[0].consume(len(right))) == right


# --- what the configuration is told

WRONG = {
    **{f"the key {key}": (queue("a", "q", key=key), "key")
       for key in ("client", "topic:1", "topic_level", "topic_level:0", "topic_level:x", "user_property:", "json:a",
                   "json:/~2", "json", ":")},
    "last values without a key": (queue("a", "q", last_value=True), "key"),
    "messages without a key that is none": (queue("a", "q", keyless="drop"), "key"),
    "the order of no key": (queue("a", "q", dispatch="key_ordered"), "dispatch"),
    "what becomes of them": (queue("a", "q", key="topic", keyless="refuse"), "keyless"),
    "no truth": (queue("a", "q", key="topic", last_value=1), "last_value"),
    "no text": (queue("a", "q", key=1), "key"),
}


def run(file) -> subprocess.CompletedProcess:
    return subprocess.run([server_path(), "--allow-anonymous", "--listen", f"tcp://{HOST}:0", "--config", str(file)],
                          capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize("declared, key", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_key(tmp_path, declared, key):
    """It is refused with the file, the line of the key, or of the queue where there is none, and the key."""
    file = tmp_path / "queues.json"
    text = json.dumps({"queues": {"declared": [queue("first", "f"), declared]}}, indent=1)
    file.write_text(text)
    ended = run(file)
    assert ended.returncode == 2 and ended.stdout == ""
    lines = text.splitlines()
    places = [number for number, line in enumerate(lines, 1) if line.strip().startswith(f'"{key}"')]
    places = places or [number for number, line in enumerate(lines, 1) if line == "   {"][1:]
    assert ended.stderr.startswith(f"{file}:{places[-1]}: queues.declared[1]"), ended.stderr
    assert key in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_queues_of_clients_have_no_key(tmp_path):
    """What they are declared with is said in `auto`, which has no keys, and so no order of these."""
    file = tmp_path / "queues.json"
    file.write_text(json.dumps({"queues": {"auto_create": True, "auto": {"dispatch": "key_ordered"}}}, indent=1))
    ended = run(file)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith(f"{file}:") and "auto" in ended.stderr, ended.stderr
