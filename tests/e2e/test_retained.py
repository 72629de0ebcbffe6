"""Retained messages: set, replaced, cleared; who gets them, and when."""

import pytest

from harness import wire
from harness.client import Subscription, Version
from harness.wire import Socket

V3_AND_V5 = pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])


@pytest.mark.parametrize("kind", ["mosq", "paho", "js"])
@pytest.mark.parametrize("version", Version, ids=lambda version: version.name.lower())
def test_set_replace_and_clear(connected, topic, kind, version):
    """The last retained message of a topic meets each new subscriber, until an empty one removes it.

    [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-9] [MQTT-3.3.1-12] [MQTT311-3.3.1-6] [MQTT311-3.3.1-8]
    [MQTT311-3.3.1-9] [MQTT311-3.3.1-10] [MQTT311-3.3.1-11] [MQTT311-3.1.2-7]
    """
    publisher = connected(kind, version)

    def meets_newcomer():
        newcomer = connected(kind, version)
        newcomer.subscribe(Subscription(topic, 1))
        publisher.publish(topic, "end", 1)
        return [(message.payload, message.retain) for message in newcomer.take_until("end")]

    publisher.publish(topic, "one", 1, retain=True)
    assert meets_newcomer() == [(b"one", True)]

    established = connected(kind, version)
    established.subscribe(Subscription(topic, 1))
    assert established.take_one().retain
    publisher.publish(topic, "two", 1, retain=True)
    live = established.take_one()
    assert (live.payload, live.retain) == (b"two", False)
    assert meets_newcomer() == [(b"two", True)]
    established.take_until("end")

    publisher.publish(topic, "", 1, retain=True)
    live = established.take_one()
    assert (live.payload, live.retain) == (b"", False)
    assert meets_newcomer() == []


@V3_AND_V5
def test_a_plain_message_leaves_the_retained_one_alone(connected, topic, version):
    """RETAIN 0 neither stores, replaces nor removes. [MQTT-3.3.1-8] [MQTT311-3.3.1-12]"""
    publisher, newcomer = connected("js", version), connected("paho", version)
    publisher.publish(topic, "kept", 1, retain=True)
    publisher.publish(topic, "passing", 1)
    publisher.publish(topic, "", 1)
    newcomer.subscribe(Subscription(topic, 1))
    publisher.publish(topic, "end", 1)
    assert [message.payload for message in newcomer.take_until("end")] == [b"kept"]


@V3_AND_V5
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_retained_message_keeps_its_qos(connected, topic, version, qos):
    """A newcomer gets the retained message at the QoS it was published with. [MQTT311-3.3.1-5] [MQTT-3.8.4-8]"""
    publisher, newcomer = connected("paho", version), connected("js", version)
    publisher.publish(topic, "x", qos, retain=True)
    # At QoS 0 nothing says that the message has arrived, except that the same connection's next one has.
    publisher.publish(topic, "y", 1)
    newcomer.subscribe(Subscription(topic, 2))
    message = newcomer.take_one()
    assert (message.payload, message.qos, message.retain) == (b"x", qos, True)


def test_retain_handling(connected, topic):
    """0 always sends retained messages, 1 only for a new subscription, 2 never.

    [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]
    """
    publisher, subscriber = connected("paho"), connected("paho")
    publisher.publish(topic, "kept", 1, retain=True)

    def met_by_subscribing(retain_handling):
        subscriber.subscribe(Subscription(topic, 1, retain_handling=retain_handling))
        publisher.publish(topic, "end", 1)
        return [message.payload for message in subscriber.take_until("end")]

    assert met_by_subscribing(2) == []
    assert met_by_subscribing(1) == []  # not new any more
    assert met_by_subscribing(0) == [b"kept"]
    assert met_by_subscribing(0) == [b"kept"]
    subscriber.unsubscribe(topic)
    assert met_by_subscribing(1) == [b"kept"]
    assert met_by_subscribing(1) == []


@pytest.mark.parametrize("kind", ["paho", "js"])
def test_retain_as_published(connected, topic, kind):
    """With Retain As Published a live message keeps its RETAIN flag; without, it loses it.

    [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    """
    publisher, plain, faithful = connected("paho"), connected(kind), connected(kind)
    plain.subscribe(Subscription(topic, 1))
    faithful.subscribe(Subscription(topic, 1, retain_as_published=True))
    publisher.publish(topic, "a", 1, retain=True)
    publisher.publish(topic, "b", 1)
    assert [message.retain for message in plain.take(2)] == [False, False]
    assert [message.retain for message in faithful.take(2)] == [True, False]


@V3_AND_V5
def test_a_wildcard_meets_every_retained_topic(connected, topic, version):
    """A wildcard subscription gets the retained message of each topic it matches, and of no other.

    [MQTT311-3.3.1-6] [MQTT-3.3.1-9]
    """
    publisher, newcomer = connected("js", version), connected("paho", version)
    matching = {f"{topic}/{number}/t": f"{number}".encode() for number in range(50)}
    for name, payload in matching.items():
        publisher.publish(name, payload, 1, retain=True)
    publisher.publish(f"{topic}/1/other", "no", 1, retain=True)
    newcomer.subscribe(Subscription(f"{topic}/+/t", 1))
    received = newcomer.take(len(matching))
    assert {message.topic: message.payload for message in received} == matching
    assert all(message.retain for message in received)
    publisher.publish(f"{topic}/1/t", "end", 1)
    assert newcomer.take_until("end") == []


@pytest.mark.ours_only("2.0.11 sends it")
def test_a_shared_subscription_meets_no_retained_message(connected, topic):
    """Retained messages are not sent when a shared subscription is made (MQTT5 3.3.1.3)."""
    publisher, member = connected("paho"), connected("paho")
    publisher.publish(topic, "kept", 1, retain=True)
    member.subscribe(Subscription(f"$share/group/{topic}", 1))
    publisher.publish(topic, "end", 1)
    assert member.take_until("end") == []


@pytest.mark.parametrize("version", [4, 5], ids=["v3_1_1", "v5"])
def test_a_retained_message_comes_before_later_ones(start_broker, clients, topic, version):
    """What a publisher sends to a topic after its retained message does not overtake it on the way to a newcomer.

    [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT311-4.6.0-6]

    Publisher and newcomers meet on different shards in about every second round, and only there is a race to lose.
    """
    broker = start_broker(flags=("--shards", "2"))
    publisher = clients("paho", broker, Version(version))
    publisher.connect()
    for number in range(60):
        name = f"{topic}/{number}"
        publisher.publish(name, "kept", 1, retain=True)
        with Socket(broker) as newcomer:
            newcomer.connect(f"newcomer{number}", version=version)
            newcomer.send(wire.subscribe(1, (name, 1), version=version))
            newcomer.expect(wire.SUBACK)
            publisher.publish(name, "end", 1)
            assert [newcomer.expect_publish(version).payload for _ in range(2)] == [b"kept", b"end"]
