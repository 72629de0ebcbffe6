"""Sessions: resumed, taken over, ended by time or by wish, and what they hold meanwhile."""

import pytest

from harness import wire
from harness.client import Subscription, Version, Will
from harness.wire import Socket, encode_property

EVERY_CLIENT = [(kind, version) for kind in ("mosq", "paho", "js") for version in Version]


def kept(version):
    """CONNECT options of a session that outlives its connection."""
    return {"clean_start": False,
            "properties": {"session_expiry_interval": 300} if version == Version.V5 else None}


@pytest.mark.parametrize("kind, version", EVERY_CLIENT, ids=[f"{k}-{v.name.lower()}" for k, v in EVERY_CLIENT])
@pytest.mark.parametrize("end", ["disconnect", "drop"])
def test_a_resumed_session_gets_what_it_missed(connected, topic, kind, version, end):
    """Messages of QoS 1 and 2 wait for an absent session and come once, those of each QoS in order.

    The clients hand out a message of QoS 2 only after its PUBREL, so what they show says nothing of both QoS together.

    [MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-4.5.0-1] [MQTT-4.6.0-6] [MQTT311-3.1.2-4] [MQTT311-3.1.2-5]
    [MQTT311-3.2.2-2]
    """
    publisher = connected("paho")
    client = connected(kind, version, **kept(version))
    client.subscribe(Subscription(topic, 2))
    getattr(client, end)()

    for number in range(30):
        publisher.publish(topic, f"{number}", 1 + number % 2)

    connack = client.connect(**kept(version))
    if kind == "mosq":
        client.subscribe(Subscription(topic, 2))  # this is what connects it
    else:
        assert connack.session_present == (version != Version.V3_1)  # whose CONNACK has no such flag
    received = client.take(30)
    for qos in (1, 2):
        assert [message.payload for message in received if message.qos == qos] == [
            f"{number}".encode() for number in range(qos - 1, 30, 2)]
    # The subscription itself lives on too.
    publisher.publish(topic, "end", 1)
    assert client.take_until("end") == []
    client.disconnect()


@pytest.mark.parametrize("kind", ["paho", "js"])
@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_a_clean_start_drops_the_old_session(connected, topic, kind, version):
    """Clean Start 1 begins anew: no subscription, no message of before.

    [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2] [MQTT311-3.1.2-6] [MQTT311-3.2.2-1]
    """
    publisher = connected("paho")
    client = connected(kind, version, **kept(version))
    client.subscribe(Subscription(topic, 1))
    client.disconnect()
    publisher.publish(topic, "missed", 1)

    connack = client.connect(**{**kept(version), "clean_start": True})
    assert not connack.session_present
    publisher.publish(topic, "passing", 1)
    client.subscribe(Subscription(topic, 1))
    publisher.publish(topic, "end", 1)
    assert client.take_until("end") == []


@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_no_session_no_session_present(connected, clients, broker, version):
    """Clean Start 0 without a stored session makes a new one. [MQTT-3.1.2-6] [MQTT-3.2.2-3] [MQTT311-3.2.2-3]"""
    client = clients("js", broker, version)
    assert not client.connect(**kept(version)).session_present


def test_a_session_without_expiry_ends_with_its_connection(connected, topic):
    """In MQTT 5 a session is kept only for its Session Expiry Interval, which is 0 if absent. [MQTT-3.1.2-23]"""
    client = connected("paho", clean_start=False)
    client.subscribe(Subscription(topic, 1))
    client.disconnect()
    assert not client.connect(clean_start=False).session_present


def test_a_session_expires(connected, topic):
    """When the Session Expiry Interval has passed, the session is gone. [MQTT-4.1.0-2]

    The will with its far longer delay is published at the session's end, and so tells of it.
    """
    observer = connected("paho")
    observer.subscribe(Subscription(f"{topic}/will", 1))
    client = connected("js", will=Will(f"{topic}/will", b"ended", 1, properties={"will_delay_interval": 3600}),
                       properties={"session_expiry_interval": 1})
    client.subscribe(Subscription(topic, 1))
    client.drop()
    assert observer.take_one().payload == b"ended"
    assert not client.connect(clean_start=False).session_present


def test_disconnect_may_change_the_expiry(connected, topic):
    """The Session Expiry Interval of DISCONNECT replaces CONNECT's (MQTT5 3.14.2.2.2). [MQTT-3.1.2-23]"""
    client = connected("paho", properties={"session_expiry_interval": 300})
    client.disconnect(properties={"session_expiry_interval": 0})
    assert not client.connect(clean_start=False, properties={"session_expiry_interval": 1}).session_present
    client.disconnect(properties={"session_expiry_interval": 300})
    assert client.connect(clean_start=False).session_present


def test_disconnect_may_not_ask_for_an_expiry_that_was_zero(broker, topic):
    """A session that ends with its connection cannot be prolonged by DISCONNECT (MQTT5 3.14.2.2.2). [MQTT-4.13.1-1]"""
    with Socket(broker) as client:
        client.connect(f"zero-{topic.replace('/', '-')}")
        expiry = encode_property("session_expiry_interval", 300)
        client.send(wire.packet(wire.DISCONNECT << 4, b"\x00" + wire.varint(len(expiry)) + expiry))
        assert client.expect_disconnect() == 0x82


@pytest.mark.ours_only("2.0.11 closes the older connection without DISCONNECT")
@pytest.mark.parametrize("kind", ["paho", "js"])
def test_take_over(connected, topic, kind):
    """The older connection of a client id gets DISCONNECT 0x8E; the session goes on in the newer. [MQTT-3.1.4-3]"""
    old = connected(kind, **kept(Version.V5))
    old.subscribe(Subscription(topic, 1))
    new = connected("js" if kind == "paho" else "paho", client_id=old.client_id, **kept(Version.V5))
    assert old.wait_closed() == 0x8E
    new.publish(topic, "x", 1)
    assert new.take_one().payload == b"x"


@pytest.mark.parametrize("kind", ["paho", "js"])
@pytest.mark.parametrize("version", [Version.V3_1, Version.V3_1_1], ids=["v3_1", "v3_1_1"])
def test_take_over_in_mqtt_3(connected, topic, kind, version):
    """The older connection is closed, without a word. [MQTT311-3.1.4-2]"""
    old = connected(kind, version, **kept(version))
    old.subscribe(Subscription(topic, 1))
    new = connected(kind, version, client_id=old.client_id, **kept(version))
    assert old.wait_closed() is None
    new.publish(topic, "x", 1)
    assert new.take_one().payload == b"x"


@pytest.mark.parametrize("version", [4, 5], ids=["v3_1_1", "v5"])
def test_unacknowledged_messages_are_sent_again(broker, connected, topic, version):
    """A resumed session is sent what it did not acknowledge: same identifier, same order, DUP, and PUBREL after PUBREC.

    [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.3.3-4] [MQTT-4.3.3-6] [MQTT311-4.4.0-1] [MQTT311-3.3.1-1]
    """
    publisher = connected("paho")
    client_id = f"again-{topic.replace('/', '-')}"
    options = {"version": version, "clean": False}
    if version == 5:
        options["properties"] = encode_property("session_expiry_interval", 300)
    with Socket(broker) as client:
        assert not client.connect(client_id, **options).session_present
        client.send(wire.subscribe(1, (topic, 2), version=version))
        client.expect(wire.SUBACK)
        for payload, qos in (("one", 1), ("two", 2), ("three", 1), ("four", 2)):
            publisher.publish(topic, payload, qos)
        first = [client.expect_publish(version) for _ in range(4)]
        assert [message.payload for message in first] == [b"one", b"two", b"three", b"four"]
        assert not any(message.dup for message in first)
        assert len({message.packet_id for message in first}) == 4
        client.send(wire.acknowledge(wire.PUBREC, first[1].packet_id))
        assert client.expect(wire.PUBREL).packet_id == first[1].packet_id
    with Socket(broker) as client:
        assert client.connect(client_id, **options).session_present
        again = [client.read() for _ in range(4)]
        messages = [wire.Published.of(one, version) for one in again if one.type == wire.PUBLISH]
        assert [(message.payload, message.packet_id, message.dup) for message in messages] == [
            (message.payload, message.packet_id, True) for message in (first[0], first[2], first[3])]
        assert [one.packet_id for one in again if one.type == wire.PUBREL] == [first[1].packet_id]
        client.send(wire.acknowledge(wire.PUBCOMP, first[1].packet_id))
        client.send(wire.acknowledge(wire.PUBACK, first[0].packet_id))
        client.send(wire.acknowledge(wire.PUBACK, first[2].packet_id))
        client.send(wire.acknowledge(wire.PUBREC, first[3].packet_id))
        assert client.expect(wire.PUBREL).packet_id == first[3].packet_id
        client.send(wire.acknowledge(wire.PUBCOMP, first[3].packet_id))
        client.ping()
    with Socket(broker) as client:  # all is acknowledged: nothing comes between CONNACK and PINGRESP
        assert client.connect(client_id, **options).session_present
        client.ping()


@pytest.mark.parametrize("version", [4, 5], ids=["v3_1_1", "v5"])
def test_a_repeated_qos_2_message_is_delivered_once(broker, connected, topic, version):
    """A PUBLISH sent again before its PUBREL is the same message, also on the session's next connection.

    [MQTT-4.3.3-10] [MQTT-4.3.3-12] [MQTT311-4.3.3-2]
    """
    subscriber = connected("js")
    subscriber.subscribe(Subscription(topic, 2))
    client_id = f"once-{topic.replace('/', '-')}"
    options = {"version": version, "clean": False}
    if version == 5:
        options["properties"] = encode_property("session_expiry_interval", 300)
    message = {"qos": 2, "packet_id": 7, "version": version}
    with Socket(broker) as client:
        client.connect(client_id, **options)
        client.send(wire.publish(topic, b"one", **message))
        assert client.expect(wire.PUBREC).packet_id == 7
        client.send(wire.publish(topic, b"one", flags=8, **message))
        assert client.expect(wire.PUBREC).packet_id == 7
    with Socket(broker) as client:
        assert client.connect(client_id, **options).session_present
        client.send(wire.publish(topic, b"one", flags=8, **message))
        assert client.expect(wire.PUBREC).packet_id == 7
        client.send(wire.acknowledge(wire.PUBREL, 7))
        assert client.expect(wire.PUBCOMP).packet_id == 7
        client.send(wire.publish(topic, b"two", **message))  # the identifier is free again
        assert client.expect(wire.PUBREC).packet_id == 7
        client.send(wire.acknowledge(wire.PUBREL, 7))
        assert client.expect(wire.PUBCOMP).packet_id == 7
    assert [one.payload for one in subscriber.take(2)] == [b"one", b"two"]
    subscriber.publish(topic, "end", 2)
    assert subscriber.take_until("end") == []


def test_an_unsubscribed_filter_stays_unsubscribed(connected, topic):
    """The resumed session has the subscriptions it had at the end. [MQTT-3.10.4-2] [MQTT-3.1.2-5]"""
    publisher = connected("paho")
    client = connected("js", **kept(Version.V5))
    client.subscribe(Subscription(f"{topic}/a", 1), Subscription(f"{topic}/b", 1))
    client.unsubscribe(f"{topic}/a")
    client.disconnect()
    publisher.publish(f"{topic}/a", "a", 1)
    publisher.publish(f"{topic}/b", "b", 1)
    assert client.connect(**kept(Version.V5)).session_present
    publisher.publish(f"{topic}/b", "end", 1)
    assert [message.payload for message in client.take_until("end")] == [b"b"]
