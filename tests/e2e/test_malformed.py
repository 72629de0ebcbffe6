"""Bytes that no client should send, after a good CONNECT: MQTT 5 says why, then every version closes."""

import random

import pytest

from harness import wire
from harness.client import Subscription
from harness.wire import Socket, encode_property, packet, string, varint


def properties(*encoded: bytes) -> bytes:
    block = b"".join(encoded)
    return varint(len(block)) + block


EXPIRY = encode_property("message_expiry_interval", 60)
MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID, TOPIC_FILTER_INVALID = 0x81, 0x82, 0x90, 0x8F
# Where the standard does not say which of the two it is.
EITHER = (MALFORMED, PROTOCOL_ERROR)

# What is wrong; the bytes; the reason codes that fit. The statements behind them are named by the tests below.
MQTT_5 = [
    ("packet type 0", packet(0x00), EITHER),
    ("QoS 3", packet(0x36, string("a") + b"\x00\x01\x00x"), (MALFORMED,)),
    ("DUP at QoS 0", packet(0x38, string("a") + b"\x00x"), EITHER),
    ("packet id 0 in PUBLISH", wire.publish("a", b"x", 1, 0), EITHER),
    ("packet id 0 in SUBSCRIBE", wire.subscribe(0, ("a", 0)), EITHER),
    ("+ in a topic name", wire.publish("a/+", b"x"), (*EITHER, TOPIC_NAME_INVALID)),
    ("# in a topic name", wire.publish("a/#", b"x"), (*EITHER, TOPIC_NAME_INVALID)),
    ("an empty topic name without alias", wire.publish("", b"x"), (*EITHER, TOPIC_NAME_INVALID)),
    ("a topic name that is not UTF-8", wire.publish(b"a\xc3", b"x"), (MALFORMED, TOPIC_NAME_INVALID)),
    ("an overlong form in UTF-8", wire.publish(b"\xc0\xaf", b"x"), (MALFORMED, TOPIC_NAME_INVALID)),
    ("a surrogate in UTF-8", wire.publish(b"\xed\xa0\x80", b"x"), (MALFORMED, TOPIC_NAME_INVALID)),
    ("U+0000 in a topic name", wire.publish(b"a\x00b", b"x"), (MALFORMED, TOPIC_NAME_INVALID)),
    ("U+0000 in a filter", wire.subscribe(1, ("a\x00b", 0)), (*EITHER, TOPIC_FILTER_INVALID)),
    ("a topic name longer than the packet", packet(0x30, b"\x00\x09a\x00"), (MALFORMED,)),
    ("a property length longer than the packet", packet(0x30, string("a") + b"\x7f"), (MALFORMED,)),
    ("a remaining length of five bytes", b"\x30\xff\xff\xff\xff\x01", (MALFORMED,)),
    ("a property twice", packet(0x30, string("a") + properties(EXPIRY, EXPIRY) + b"x"), EITHER),
    ("an unknown property", packet(0x30, string("a") + b"\x02\x7e\x00x"), EITHER),
    ("a property of another packet", wire.publish("a", b"x", properties=encode_property("receive_maximum", 9)), EITHER),
    ("a property that stops short", packet(0x30, string("a") + b"\x03\x02\x00\x00"), (MALFORMED,)),
    ("a payload format indicator of 2", wire.publish("a", b"x", properties=b"\x01\x02"), EITHER),
    ("a wildcard in the response topic",
     wire.publish("a", b"x", properties=encode_property("response_topic", "b/#")), (*EITHER, TOPIC_NAME_INVALID)),
    ("a subscription identifier from a client",
     wire.publish("a", b"x", properties=encode_property("subscription_identifier", 1)), EITHER),
    ("a subscription identifier of 0",
     wire.subscribe(1, ("a", 0), properties=encode_property("subscription_identifier", 0)), EITHER),
    ("SUBSCRIBE with flags 0", wire.subscribe(1, ("a", 0), flags=0), (MALFORMED,)),
    ("SUBSCRIBE without a filter", wire.subscribe(1), EITHER),
    ("SUBSCRIBE for QoS 3", wire.subscribe(1, ("a", 3)), EITHER),
    ("SUBSCRIBE with Retain Handling 3", wire.subscribe(1, ("a", 0x30)), EITHER),
    ("SUBSCRIBE with reserved options", wire.subscribe(1, ("a", 0xC0)), (MALFORMED,)),
    ("UNSUBSCRIBE with flags 0", packet(0xA0, b"\x00\x01\x00" + string("a")), (MALFORMED,)),
    ("UNSUBSCRIBE without a filter", packet(0xA2, b"\x00\x01\x00"), EITHER),
    ("PUBREL with flags 0", packet(0x60, b"\x00\x01"), (MALFORMED,)),
    ("PUBACK with flags", packet(0x41, b"\x00\x01"), (MALFORMED,)),
    ("PUBACK of one byte", packet(0x40, b"\x00"), (MALFORMED,)),
    ("PINGREQ with flags", packet(0xC1), (MALFORMED,)),
    ("PINGREQ with a body", packet(0xC0, b"x"), EITHER),
    ("DISCONNECT with flags", packet(0xE1), (MALFORMED,)),
    ("CONNACK from a client", packet(0x20, b"\x00\x00\x00"), EITHER),
    ("SUBACK from a client", packet(0x90, b"\x00\x01\x00\x00"), EITHER),
    ("UNSUBACK from a client", packet(0xB0, b"\x00\x01\x00\x00"), EITHER),
    ("PINGRESP from a client", packet(0xD0), EITHER),
    ("AUTH without a method in CONNECT", packet(0xF0, b"\x18\x00"), EITHER),
    ("AUTH with flags", packet(0xF1, b"\x18\x00"), EITHER),
]

MQTT_3_1_1 = [
    ("packet type 0", packet(0x00)),
    ("packet type 15", packet(0xF0)),
    ("QoS 3", packet(0x36, string("a") + b"\x00\x01x")),
    ("packet id 0", wire.publish("a", b"x", 1, 0, version=4)),
    ("a wildcard in a topic name", wire.publish("a/#", b"x", version=4)),
    ("an empty topic name", wire.publish("", b"x", version=4)),
    ("a topic name that is not UTF-8", wire.publish(b"a\xff", b"x", version=4)),
    ("U+0000 in a topic name", wire.publish(b"a\x00b", b"x", version=4)),
    ("a topic name longer than the packet", packet(0x30, b"\x00\x09a")),
    ("a remaining length of five bytes", b"\x30\xff\xff\xff\xff\x01"),
    ("SUBSCRIBE with flags 0", wire.subscribe(1, ("a", 0), version=4, flags=0)),
    ("SUBSCRIBE without a filter", wire.subscribe(1, version=4)),
    ("SUBSCRIBE for QoS 3", wire.subscribe(1, ("a", 3), version=4)),
    ("SUBSCRIBE with reserved bits", wire.subscribe(1, ("a", 4), version=4)),
    ("UNSUBSCRIBE with flags 0", packet(0xA0, b"\x00\x01" + string("a"))),
    ("UNSUBSCRIBE without a filter", packet(0xA2, b"\x00\x01")),
    ("PUBREL with flags 0", packet(0x60, b"\x00\x01")),
    ("CONNACK from a client", packet(0x20, b"\x00\x00")),
    ("SUBACK from a client", packet(0x90, b"\x00\x01\x00")),
    ("PINGRESP from a client", packet(0xD0)),
]

# What Mosquitto 2.0.11 takes, or closes without DISCONNECT.
UNSAID_BY_MOSQUITTO = (
    "DUP at QoS 0", "a remaining length of", "a property twice", "a payload format", "a wildcard in the response",
    "a subscription identifier from", "PUBREL with", "PUBACK", "PINGREQ", "DISCONNECT", "CONNACK", "SUBACK", "UNSUBACK",
    "PINGRESP", "AUTH",
)


def cases(rows, taken_by_mosquitto):
    """The rows as parameters of a test, named by their first column."""
    ours_only = [pytest.mark.ours_only("2.0.11 is less strict")]
    return [pytest.param(*row, id=name, marks=ours_only if name.startswith(taken_by_mosquitto) else [])
            for name, *row in rows]


@pytest.mark.parametrize("data, reason_codes", cases(MQTT_5, UNSAID_BY_MOSQUITTO))
def test_mqtt_5_says_why(broker, data, reason_codes):
    """DISCONNECT with a fitting reason code, then the end.

    [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-2.1.3-1] [MQTT-2.2.1-3] [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.3.2-2]
    [MQTT-3.3.2-14] [MQTT-3.3.4-6] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.8.3-2] [MQTT-3.8.3-5] [MQTT-3.10.1-1]
    [MQTT-3.10.3-2] [MQTT-3.14.1-1] [MQTT-3.14.4-2] [MQTT-3.15.1-1] [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2]
    [MQTT-4.12.0-7] [MQTT-4.13.1-1] [MQTT-4.13.2-1]
    """
    with Socket(broker) as client:
        client.connect("malformed")
        client.send(data)
        assert client.expect_disconnect() in reason_codes


@pytest.mark.parametrize("data", cases(MQTT_3_1_1, ("SUBACK", "PINGRESP")))
def test_mqtt_3_1_1_closes(broker, data):
    """The connection ends, without a word.

    [MQTT311-1.5.3-1] [MQTT311-1.5.3-2] [MQTT311-2.2.2-2] [MQTT311-2.3.1-1] [MQTT311-3.3.1-4] [MQTT311-3.3.2-2]
    [MQTT311-3.6.1-1] [MQTT311-3.8.1-1] [MQTT311-3.8.3-3] [MQTT311-3.8.3-4] [MQTT311-3.10.1-1] [MQTT311-3.10.3-2]
    [MQTT311-4.7.1-1] [MQTT311-4.7.3-1] [MQTT311-4.7.3-2] [MQTT311-4.8.0-1]
    """
    with Socket(broker) as client:
        client.connect("malformed", version=4)
        client.send(data)
        client.expect_closed()


@pytest.mark.parametrize("version", [4, 5])
def test_nothing_behind_the_error_is_served(broker, connected, topic, version):
    """What stands before a malformed packet is served, what stands behind is not. [MQTT-4.13.1-1]"""
    subscriber = connected("paho")
    subscriber.subscribe(Subscription(topic, 1))
    with Socket(broker) as client:
        client.connect("behind", version=version)
        client.send(wire.publish(topic, b"before", version=version) + packet(0x00)
                    + wire.publish(topic, b"behind", version=version))
        if version == 5:
            client.expect_disconnect()
        else:
            client.expect_closed()
    # The same client once more, for what one client sends stays in order.
    with Socket(broker) as client:
        client.connect("behind", version=version)
        client.send(wire.publish(topic, b"end", version=version))
        assert [message.payload for message in subscriber.take_until("end")] == [b"before"]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_connection_that_breaks_within_a_packet(broker, connected, topic, cut):
    """Half a PUBLISH is none, wherever the connection broke."""
    whole = wire.publish(topic, b"0123456789", 1, 1)
    subscriber = connected("js")
    subscriber.subscribe(Subscription(topic, 1))
    with Socket(broker) as client:
        client.connect("cut")
        client.send(whole[:-cut])
    with Socket(broker) as client:  # the same id again: by CONNACK the broker is done with the connection before
        client.connect("cut")
    subscriber.publish(topic, "end", 1)
    assert subscriber.take_until("end") == []


@pytest.mark.parametrize("greeting", [b"", wire.connect("noise", version=4), wire.connect("noise", version=5)],
                         ids=["at once", "after CONNECT of 3.1.1", "after CONNECT of 5"])
def test_noise(broker, connected, topic, greeting):
    """Pseudo-random bytes, always the same ones, end their connection at most; the broker serves on."""
    noise = random.Random(1883)
    for _ in range(60):
        with Socket(broker) as client:
            client.send(greeting + noise.randbytes(noise.randrange(1, 300)))
            client.finish()
            while client.read_raw():
                pass
    subscriber = connected("paho")
    subscriber.subscribe(Subscription(topic, 1))
    subscriber.publish(topic, "x", 1)
    assert subscriber.take_one().payload == b"x"
