"""Limits that one side announces, and what happens at them."""

import pytest

from harness import wire
from harness.client import Subscription, Version
from harness.wire import Socket, encode_property


@pytest.mark.ours_only("2.0.11 sends more than it may")
@pytest.mark.parametrize("qos", [1, 2])
def test_the_receive_maximum_of_a_client(broker, connected, topic, qos):
    """No more messages are in flight than the client allows; other packets still pass.

    [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
    """
    publisher = connected("paho")
    with Socket(broker) as client:
        client.connect("window", properties=encode_property("receive_maximum", 2))
        client.send(wire.subscribe(1, (topic, qos)))
        client.expect(wire.SUBACK)
        for number in range(6):
            publisher.publish(topic, f"{number}", qos)
        in_flight = [client.expect_publish(), client.expect_publish()]
        client.ping()  # nothing else came in between
        received = [message.payload for message in in_flight]
        while in_flight:
            packet_id = in_flight.pop(0).packet_id
            if qos == 1:
                client.send(wire.acknowledge(wire.PUBACK, packet_id))
            else:
                client.send(wire.acknowledge(wire.PUBREC, packet_id))
                assert client.expect(wire.PUBREL).packet_id == packet_id
                client.ping()  # PUBREC alone makes no room
                client.send(wire.acknowledge(wire.PUBCOMP, packet_id))
            if len(received) < 6:
                in_flight.append(client.expect_publish())
                received.append(in_flight[-1].payload)
            client.ping()
        assert received == [f"{number}".encode() for number in range(6)]


def test_a_negative_acknowledgement_makes_room(broker, connected, topic):
    """PUBREC of 0x80 and above ends the delivery, and the next message comes. [MQTT-4.4.0-2] [MQTT-4.9.0-2]"""
    publisher = connected("paho")
    with Socket(broker) as client:
        client.connect("negative", properties=encode_property("receive_maximum", 1))
        client.send(wire.subscribe(1, (topic, 2)))
        client.expect(wire.SUBACK)
        publisher.publish(topic, "refused", 2)
        publisher.publish(topic, "next", 2)
        first = client.expect_publish()
        client.send(wire.packet(wire.PUBREC << 4, first.packet_id.to_bytes(2, "big") + b"\x97\x00"))
        assert client.expect_publish().payload == b"next"


@pytest.mark.parametrize("qos", [1, 2])
def test_the_receive_maximum_of_the_server(broker, topic, qos):
    """A client that exceeds the broker's Receive Maximum gets DISCONNECT 0x93. [MQTT-3.3.4-7]

    At QoS 1 each PUBLISH is answered at once, so that a broker sees no more than its maximum in flight.
    """
    with Socket(broker) as client:
        maximum = client.connect("flood").properties().get("receive_maximum", [65535])[0]
        if qos == 2 and maximum == 65535:
            pytest.skip("the broker's Receive Maximum is every packet identifier there is")
        count = maximum + 1 if qos == 2 else 200
        client.send(b"".join(wire.publish(topic, b"x", qos, packet_id) for packet_id in range(1, count + 1)))
        if qos == 1:
            assert [client.expect(wire.PUBACK).packet_id for _ in range(count)] == list(range(1, count + 1))
            return
        for packet_id in range(1, maximum + 1):
            answer = client.read()
            if answer is None or answer.type == wire.DISCONNECT:
                break
            assert (answer.type, answer.packet_id) == (wire.PUBREC, packet_id)
        else:
            answer = client.read()
        assert answer is not None and answer.type == wire.DISCONNECT
        assert answer.reason_code == 0x93
        client.expect_closed()


@pytest.mark.parametrize("kind", ["paho", "js"])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("receive_maximum", [
    1000, pytest.param(2, marks=pytest.mark.ours_only("2.0.11 counts what it left out as in flight"))])
def test_the_maximum_packet_size_of_a_client(connected, topic, kind, qos, receive_maximum):
    """What is too large for a client is left out, and counts as delivered. [MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    publisher, anyone = connected("paho"), connected("js")
    client = connected(kind, properties={"maximum_packet_size": 200, "receive_maximum": receive_maximum})
    for subscriber in (anyone, client):
        subscriber.subscribe(Subscription(topic, qos))
    for _ in range(5):
        publisher.publish(topic, "x" * 300, qos)
    publisher.publish(topic, "small", qos)
    assert len(anyone.take_until("small")) == 5
    assert client.take_until("small") == []


@pytest.mark.ours_only("2.0.11 does not count the fixed header")
def test_a_packet_of_just_the_maximum_size(broker, connected, topic):
    """A PUBLISH of exactly the Maximum Packet Size is sent, one byte more is not. [MQTT-3.1.2-24]"""
    publisher = connected("paho")
    maximum = 300
    fits = b"x" * (maximum - len(wire.publish(topic, b"x" * 200)) + 200)
    assert len(wire.publish(topic, fits)) == maximum
    with Socket(broker) as client:
        client.connect("exact", properties=encode_property("maximum_packet_size", maximum))
        client.send(wire.subscribe(1, (topic, 0)))
        client.expect(wire.SUBACK)
        publisher.publish(topic, fits + b"x", 1)
        publisher.publish(topic, fits, 1)
        assert client.expect_publish().payload == fits


@pytest.mark.ours_only("2.0.11 does not count the fixed header")
def test_a_packet_too_large_for_the_server(start_broker, clients, topic):
    """The broker announces its maximum and answers a larger packet with DISCONNECT 0x95. [MQTT-3.2.2-15]"""
    broker = start_broker(packet_size_max=4096)
    for kind in ("paho", "js"):
        client = clients(kind, broker)
        assert client.connect().properties["maximum_packet_size"] == 4096
    with Socket(broker) as client:
        client.connect("fits")
        room = 4096 - len(wire.publish(topic, b"x" * 4000, 1, 1)) + 4000
        client.send(wire.publish(topic, b"x" * room, 1, 1))
        assert client.expect(wire.PUBACK).packet_id == 1
        client.send(wire.publish(topic, b"x" * (room + 1), 1, 2))
        assert client.expect_disconnect() == 0x95
    with Socket(broker) as client:  # the length alone is enough: the rest need not be sent
        client.connect("claims")
        client.send(b"\x30" + wire.varint(268_435_455) + b"\x00")
        assert client.expect_disconnect() == 0x95
    with Socket(broker) as client:
        client.connect("old", version=4)
        client.send(wire.publish(topic, b"x" * 4096, version=4))
        client.expect_closed()


def test_a_client_hears_why_it_was_cut_off(start_broker, clients, topic):
    """A library that ignores the announced maximum is told by DISCONNECT 0x95. [MQTT-4.13.1-1] [MQTT-3.14.2-1]"""
    client = clients("paho", start_broker(packet_size_max=2048))
    client.connect()
    client.begin_publish(topic, b"x" * 3000, 1)
    assert client.wait_closed() == 0x95


@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_a_stuck_subscriber_hurts_only_itself(broker, connected, topic, version):
    """While one subscriber reads nothing at all, another gets every message."""
    publisher, healthy = connected("js", version), connected("paho", version)
    healthy.subscribe(Subscription(topic, 1))
    with Socket(broker) as stuck:
        stuck.connect("stuck", version=version.value)
        stuck.send(wire.subscribe(1, (topic, 0), version=version.value))
        stuck.expect(wire.SUBACK)
        # Far more than the kernel holds for a reader that does not read.
        payloads = [bytes([number]) * 100_000 for number in range(200)]
        for at in range(0, len(payloads), 20):
            publisher.publish_many(topic, payloads[at:at + 20], 1)
            assert [message.payload for message in healthy.take(20)] == payloads[at:at + 20]
