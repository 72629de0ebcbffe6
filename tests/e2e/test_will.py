"""Wills: published when a connection breaks, kept back when it ends well, and delayed."""

import time

import pytest

from harness.client import Subscription, Version, Will
from harness.wire import Socket, encode_property, packet

EVERY_CLIENT = [(kind, version) for kind in ("mosq", "paho", "js") for version in Version]


def lose(client, topic):
    """Breaks the connection of a client. mosquitto_sub connects only in order to subscribe, so all do."""
    client.subscribe(Subscription(f"{topic}/unused", 0))
    client.drop()


@pytest.mark.parametrize("kind, version", EVERY_CLIENT, ids=[f"{k}-{v.name.lower()}" for k, v in EVERY_CLIENT])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_broken_connection_publishes_the_will(connected, topic, kind, version, qos):
    """Without DISCONNECT the will goes out, at its QoS. [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT311-3.1.2-8]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 2))
    lose(connected(kind, version, will=Will(topic, b"gone", qos)), topic)
    message = observer.take_one()
    assert (message.payload, message.qos, message.retain) == (b"gone", qos, False)


@pytest.mark.parametrize("kind", ["paho", "js"])
@pytest.mark.parametrize("version", Version, ids=lambda version: version.name.lower())
def test_disconnect_keeps_the_will_back(connected, topic, kind, version):
    """DISCONNECT deletes the will. [MQTT-3.1.2-10] [MQTT-3.14.4-3] [MQTT311-3.1.2-10] [MQTT311-3.14.4-3]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    client = connected(kind, version, will=Will(topic, b"gone", 1))
    client.disconnect()
    # The same client id again: whatever its first connection had to leave behind, it has left by CONNACK.
    connected(kind, version, client_id=client.client_id).publish(topic, "end", 1)
    assert observer.take_until("end") == []


def test_disconnect_with_will_message(connected, topic):
    """DISCONNECT with reason code 0x04 publishes the will. [MQTT-3.1.2-8]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    connected("paho", will=Will(topic, b"gone", 1)).disconnect(reason_code=0x04)
    assert observer.take_one().payload == b"gone"


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_will_retain(connected, topic, version, retain):
    """Will Retain says whether the will is retained. [MQTT-3.1.2-14] [MQTT-3.1.2-15] [MQTT311-3.1.2-16]
    [MQTT311-3.1.2-17]"""
    observer, newcomer = connected("paho"), connected("paho")
    observer.subscribe(Subscription(topic, 1))
    lose(connected("js", version, will=Will(topic, b"gone", 1, retain)), topic)
    observer.take_one()
    newcomer.subscribe(Subscription(topic, 1))
    if retain:
        message = newcomer.take_one()
        assert (message.payload, message.retain) == (b"gone", True)
    observer.publish(topic, "end", 1)
    assert newcomer.take_until("end") == []


def test_will_properties(connected, topic):
    """The will is published with its properties, user properties in order. [MQTT-3.1.3-10] [MQTT-3.3.2-18]"""
    properties = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": f"{topic}/answers",
        "correlation_data": b"\x00\x01\xff",
        "user_properties": [("b", "1"), ("a", "2"), ("b", "3"), ("b", "1")],
    }
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    lose(connected("paho", will=Will(topic, b"gone", 1, properties=properties)), topic)
    assert observer.take_one().properties == properties


def test_the_will_delay(connected, topic):
    """A will with a delay goes out when the delay has passed, not before. [MQTT-3.1.2-8]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    client = connected("js", will=Will(topic, b"gone", 1, properties={"will_delay_interval": 2}),
                       properties={"session_expiry_interval": 60})
    began = time.monotonic()
    client.drop()
    assert observer.take_one().payload == b"gone"
    # The broker may count from a whole second, so one of the two is what it cannot undercut.
    assert time.monotonic() - began >= 1.0


def test_a_return_within_the_delay_keeps_the_will_back(connected, topic):
    """A client that resumes its session before the will delay has passed left no will. [MQTT-3.1.3-9]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    options = {"properties": {"session_expiry_interval": 60}}
    client = connected("paho", will=Will(topic, b"gone", 1, properties={"will_delay_interval": 1}), **options)
    client.drop()
    connected("paho", client_id=client.client_id, clean_start=False, **options)
    # A later will with a longer delay tells when the first would have been due.
    connected("paho", will=Will(topic, b"due", 1, properties={"will_delay_interval": 3}), **options).drop()
    assert observer.take_until("due") == []


def test_the_end_of_the_session_ends_the_delay(connected, topic):
    """The will goes out when the session ends, even if its delay has not passed. [MQTT-3.1.2-8]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    connected("paho", will=Will(topic, b"gone", 1, properties={"will_delay_interval": 3600}),
              properties={"session_expiry_interval": 1}).drop()
    assert observer.take_one().payload == b"gone"


@pytest.mark.ours_only("2.0.11 lets the delay run on, or drops the will")
def test_a_clean_start_ends_the_delay(connected, topic):
    """A new session in place of the old one ends the old, and with it the delay of its will. [MQTT-3.1.2-8]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    client = connected("paho", will=Will(topic, b"gone", 1, properties={"will_delay_interval": 3600}),
                       properties={"session_expiry_interval": 3600})
    client.drop()
    connected("paho", client_id=client.client_id, clean_start=True)
    assert observer.take_one().payload == b"gone"


@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_a_take_over_publishes_the_will(connected, topic, version):
    """The connection that is taken over did not end by DISCONNECT of the client. [MQTT-3.1.2-8] [MQTT311-3.1.2-8]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    client = connected("js", version, will=Will(topic, b"gone", 1))
    connected("js", version, client_id=client.client_id)
    assert observer.take_one().payload == b"gone"


def test_a_protocol_error_publishes_the_will(broker, connected, topic):
    """A connection that the broker closes for an error leaves its will. [MQTT-3.1.2-8]"""
    observer = connected("paho")
    observer.subscribe(Subscription(topic, 1))
    will = b"\x00" + len(topic).to_bytes(2, "big") + topic.encode() + b"\x00\x04gone"
    with Socket(broker) as client:
        client.connect(f"err-{topic.replace('/', '-')}", flags=0x02 | 0x04 | 0x08, tail=will,
                       properties=encode_property("session_expiry_interval", 0))
        client.send(packet(0x00))  # packet type 0 is reserved
        assert observer.take_one().payload == b"gone"
