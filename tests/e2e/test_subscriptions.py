"""Subscriptions: filters, identifiers, options, and shared groups."""

import collections

import pytest

from harness import wire
from harness.client import Subscription, Version
from harness.wire import Socket

# A filter, topics it matches, and topics it does not. Each topic is put behind the test's own prefix.
FILTERS = [
    ("a/b", ["a/b"], ["a/b/", "/a/b", "A/b", "a/c", "a", "a/b/c"]),
    ("a/+", ["a/b", "a/"], ["a", "a/b/c", "a/b/"]),
    ("+", ["a", "é"], ["a/b", "/a", "a/"]),
    ("+/+", ["a/b", "/b", "a/", "/"], ["a", "a/b/c"]),
    ("/+", ["/a", "/"], ["a", "a/b"]),
    ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/c/d", "a/b/b/c"]),
    ("a/#", ["a", "a/", "a/b", "a/b/c"], ["b", "ab", "/a"]),
    ("#", ["a", "/", "a/b/c", " "], []),
    ("+/b/#", ["a/b", "a/b/c", "/b", "/b/c/d"], ["b", "a/c", "a/a/b"]),
    ("a b/ü", ["a b/ü"], ["a b/u\u0308", "ab/ü", "a b/Ü"]),
]


@pytest.mark.parametrize("topic_filter, matching, other", FILTERS, ids=[row[0] for row in FILTERS])
@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_what_a_filter_matches(connected, topic, version, topic_filter, matching, other):
    """A filter matches level by level, character by character.

    [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-4] [MQTT-3.3.2-3] [MQTT311-4.7.1-2] [MQTT311-4.7.1-3] [MQTT311-4.7.3-4]
    """
    publisher, subscriber = connected("paho", version), connected("js", version)
    subscriber.subscribe(Subscription(f"{topic}/{topic_filter}", 1))
    for name in [*other, *matching]:
        publisher.publish(f"{topic}/{name}", name, 1)
    # A second subscription lets the end through; it matches none of the above.
    subscriber.subscribe(Subscription(f"{topic}-end", 1))
    publisher.publish(f"{topic}-end", "end", 1)
    assert [message.topic for message in subscriber.take_until("end")] == [f"{topic}/{name}" for name in matching]


@pytest.mark.parametrize("topic_filter", ["a#", "a/#/b", "a+", "a/b+/c", "+a", "##", "#/", ""])
@pytest.mark.parametrize("version", [4, 5])
def test_malformed_filters(broker, version, topic_filter):
    """A filter with a wildcard out of place is never granted: the answer is a failure, or the connection's end.

    [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT311-4.7.1-2] [MQTT311-4.7.1-3] [MQTT311-4.7.3-1]
    """
    with Socket(broker) as client:
        client.connect("filters", version=version)
        client.send(wire.subscribe(1, (topic_filter, 0), version=version))
        answer = client.read()
        if answer is not None and answer.type == wire.SUBACK:
            assert answer.body[-1] == (0x8F if version == 5 else 0x80)
        elif answer is not None:
            assert version == 5 and answer.type == wire.DISCONNECT
            assert answer.reason_code in (0x81, 0x82, 0x8F)
            client.expect_closed()


@pytest.mark.parametrize("topic_filter", ["#", "+/#", "+/broker/version", "/#"])
def test_wildcards_do_not_reach_system_topics(connected, topic, topic_filter):
    """A filter that begins with a wildcard matches no topic that begins with $. [MQTT-4.7.2-1] [MQTT311-4.7.2-1]"""
    subscriber = connected("paho")
    subscriber.subscribe(Subscription(topic_filter, 0), Subscription(topic, 0))
    subscriber.publish(topic, "end")
    seen = [message.topic for message in subscriber.take_until("end")]
    assert not any(name.startswith("$") for name in seen)


@pytest.mark.parametrize("kind", ["paho", "js"])
@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_a_hundred_filters_in_one_subscribe(connected, topic, kind, version):
    """SUBACK answers every filter in its place, and each of them works.

    [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.9.3-1] [MQTT311-3.8.4-4] [MQTT311-3.8.4-5] [MQTT311-3.9.3-1]
    """
    publisher, subscriber = connected("paho"), connected(kind, version)
    wanted = [Subscription(f"{topic}/{number}", number % 3) for number in range(100)]
    assert subscriber.subscribe(*wanted) == [one.qos for one in wanted]
    for number in range(100):
        publisher.publish(f"{topic}/{number}", f"{number}", 2)
    received = subscriber.take(100)
    assert {(message.topic, message.payload, message.qos) for message in received} == {
        (f"{topic}/{number}", f"{number}".encode(), number % 3) for number in range(100)}
    subscriber.unsubscribe(*(one.topic_filter for one in wanted))
    publisher.publish(f"{topic}/7", "late", 1)
    subscriber.subscribe(Subscription(topic, 1))
    publisher.publish(topic, "end", 1)
    assert subscriber.take_until("end") == []


def test_unsuback_answers_every_filter(broker, topic):
    """UNSUBACK says of each filter, in its place, whether there was one.

    [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
    """
    with Socket(broker) as client:
        client.connect("unsub")
        client.send(wire.subscribe(1, (f"{topic}/a", 0), (f"{topic}/b", 1)))
        assert client.expect(wire.SUBACK).body[-2:] == bytes([0, 1])
        filters = b"".join(wire.string(f"{topic}/{name}") for name in ("b", "c", "a", "a/#"))
        client.send(wire.packet(wire.UNSUBSCRIBE << 4 | 2, b"\x00\x02\x00" + filters))
        unsuback = client.expect(wire.UNSUBACK)
        assert unsuback.packet_id == 2
        assert unsuback.body[-4:] == bytes([0x00, 0x11, 0x00, 0x11])


@pytest.mark.ours_only("2.0.11 names only the first of several identifiers")
@pytest.mark.parametrize("kind", ["paho", "js"])
def test_overlapping_filters_give_one_copy_with_all_identifiers(connected, topic, kind):
    """A message that matches several filters comes once, at the highest QoS, with every identifier.

    [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    """
    publisher, subscriber = connected("paho"), connected(kind)
    subscriber.subscribe(Subscription(f"{topic}/#", 0), identifier=1)
    subscriber.subscribe(Subscription(f"{topic}/+", 2), identifier=268435455)
    subscriber.subscribe(Subscription(f"{topic}/a", 1), identifier=130)
    subscriber.subscribe(Subscription(f"{topic}/a/#", 1))  # has none, and takes none away
    publisher.publish(f"{topic}/a", "all", 2)
    publisher.publish(f"{topic}/b/c", "one", 2)
    publisher.publish(f"{topic}/a", "end", 2)
    received = {message.payload: message for message in subscriber.take(3)}
    assert sorted(received[b"all"].properties["subscription_identifier"]) == [1, 130, 268435455]
    assert received[b"all"].qos == 2
    assert received[b"one"].properties["subscription_identifier"] == [1]
    assert received[b"one"].qos == 0
    assert b"end" in received


@pytest.mark.ours_only("2.0.11 gives the QoS of one of the filters")
@pytest.mark.parametrize("version", [Version.V3_1, Version.V3_1_1], ids=["v3_1", "v3_1_1"])
def test_overlapping_filters_give_the_highest_qos(connected, topic, version):
    """A copy at the highest QoS of all matching filters is among what comes. [MQTT311-3.3.5-1]"""
    publisher, subscriber = connected("paho", version), connected("js", version)
    subscriber.subscribe(Subscription(f"{topic}/#", 0), Subscription(f"{topic}/+", 2), Subscription(f"{topic}/a", 1))
    publisher.publish(f"{topic}/a", "x", 2)
    assert 2 in [message.qos for message in subscriber.messages.take_until(lambda message: message.qos == 2)]


@pytest.mark.ours_only("2.0.11 keeps the options of the first SUBSCRIBE")
def test_subscribing_again_replaces_the_subscription(connected, topic):
    """QoS, options and identifier are those of the last SUBSCRIBE; there is still one subscription. [MQTT-3.8.4-3]"""
    publisher, subscriber = connected("js"), connected("paho")
    subscriber.subscribe(Subscription(topic, 2), identifier=1)
    subscriber.subscribe(Subscription(topic, 0, retain_as_published=True), identifier=2)
    publisher.publish(topic, "x", 2, retain=True)
    publisher.publish(topic, "y", 2)
    first, second = subscriber.take(2)
    assert (first.payload, first.qos, first.retain) == (b"x", 0, True)
    assert first.properties == {"subscription_identifier": [2]}
    assert second.payload == b"y"


@pytest.mark.parametrize("kind", ["paho", "js"])
def test_no_local(connected, topic, kind):
    """With No Local a client's own messages do not come back, those of others do. [MQTT-3.8.3-3]"""
    one, other = connected(kind), connected("js")
    one.subscribe(Subscription(topic, 1, no_local=True))
    one.publish(topic, "own", 1)
    other.publish(topic, "end", 1)
    assert one.take_until("end") == []


@pytest.mark.ours_only("2.0.11 keeps the options of the first SUBSCRIBE")
def test_no_local_ends_with_its_subscription(connected, topic):
    """Subscribing again without No Local lets a client hear itself. [MQTT-3.8.4-3] [MQTT-3.8.3-3]"""
    client = connected("js")
    client.subscribe(Subscription(topic, 1, no_local=True))
    client.subscribe(Subscription(topic, 1))
    client.publish(topic, "own", 1)
    assert client.take_one().payload == b"own"


@pytest.mark.ours_only("2.0.11 grants it")
def test_no_local_on_a_shared_subscription(broker, topic):
    """No Local makes no sense in a group, and is a protocol error. [MQTT-3.8.3-4] [MQTT-4.13.1-1]"""
    with Socket(broker) as client:
        client.connect("nolocal")
        client.send(wire.subscribe(1, (f"$share/group/{topic}", 0x04 | 1)))
        assert client.expect_disconnect() == 0x82


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_group_takes_turns(connected, topic, qos):
    """Three members of a group share the messages evenly: each message goes to one of them (MQTT5 4.8.2)."""
    publisher = connected("paho")
    members = [connected("paho"), connected("js"), connected("js")]
    for member in members:
        assert member.subscribe(Subscription(f"$share/turns/{topic}/#", qos)) == [qos]
    publisher.publish_many(f"{topic}/a", [f"{number}".encode() for number in range(30)], qos)
    received = [member.take(10) for member in members]
    assert sorted(int(message.payload) for part in received for message in part) == list(range(30))
    assert {message.qos for part in received for message in part} == {qos}
    # What one member gets is in order, as with any subscription.
    for part in received:
        numbers = [int(message.payload) for message in part]
        assert numbers == sorted(numbers)


def test_groups_and_plain_subscriptions_are_apart(connected, topic):
    """Each group gets its copy, and so does a subscription of one's own, also of a member. (MQTT5 4.8.2)"""
    publisher = connected("js")
    both, red, blue = connected("paho"), connected("paho"), connected("js")
    both.subscribe(Subscription(topic, 1))
    both.subscribe(Subscription(f"$share/red/{topic}", 1))
    red.subscribe(Subscription(f"$share/red/{topic}", 1))
    blue.subscribe(Subscription(f"$share/blue/{topic}", 1))
    for number in range(10):
        publisher.publish(topic, f"{number}", 1)
    everything = [f"{number}".encode() for number in range(10)]
    assert [message.payload for message in blue.take(10)] == everything
    reds = collections.Counter(message.payload for message in red.take(5))
    boths = collections.Counter(message.payload for message in both.take(15))
    assert reds + boths == collections.Counter(everything * 2)


@pytest.mark.parametrize("leave", ["unsubscribe", "disconnect", "drop"])
def test_a_member_that_leaves_gets_nothing_more(connected, topic, leave):
    """What follows goes to those who stay, behind what the broken connection had not acknowledged."""
    publisher, stays, leaves = connected("paho"), connected("js"), connected("paho")
    for member in (stays, leaves):
        member.subscribe(Subscription(f"$share/group/{topic}", 1))
    publisher.publish_many(topic, [b"0", b"1"], 1)
    stays.take(1), leaves.take(1)
    if leave == "unsubscribe":
        leaves.unsubscribe(f"$share/group/{topic}")
    else:
        getattr(leaves, leave)()
        # Its client id again: by CONNACK the broker has seen the end of the connection before.
        leaves.connect()
    publisher.publish_many(topic, [f"{number}".encode() for number in range(2, 12)], 1)
    numbers = [int(message.payload) for message in stays.take(10)]
    if leave == "drop" and numbers[0] < 2:  # its PUBACK was lost with the connection
        numbers = numbers[1:] + [int(message.payload) for message in stays.take(1)]
    assert numbers == list(range(2, 12))


@pytest.mark.ours_only("2.0.11 grants most of them")
@pytest.mark.parametrize("topic_filter", [
    "$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/#/a", "$share/+/a"])
def test_malformed_shared_filters(broker, topic_filter):
    """A shared filter needs a name without wildcards, and a filter. [MQTT-4.8.2-1] [MQTT-4.8.2-2]"""
    with Socket(broker) as client:
        client.connect("shared")
        client.send(wire.subscribe(1, (topic_filter, 0)))
        answer = client.read()
        if answer is not None and answer.type == wire.SUBACK:
            assert answer.body[-1] == 0x8F
        elif answer is not None:
            assert answer.type == wire.DISCONNECT
            assert answer.reason_code in (0x81, 0x82, 0x8F)
            client.expect_closed()
