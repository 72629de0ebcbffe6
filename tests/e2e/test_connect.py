"""How connections begin: client ids, protocol versions, keep alive, and what is refused."""

import time

import pytest

from harness import wire
from harness.client import Subscription, Version
from harness.wire import Socket, encode_property


@pytest.mark.parametrize("kind", ["paho", "js"])
def test_an_empty_client_id_is_replaced(clients, broker, kind):
    """The broker makes up a unique id and says it. [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] [MQTT-3.1.4-5]"""
    connacks = [clients(kind, broker, client_id="").connect() for _ in range(3)]
    assert [connack.reason_code for connack in connacks] == [0, 0, 0]
    assigned = [connack.properties["assigned_client_identifier"] for connack in connacks]
    assert all(assigned) and len(set(assigned)) == 3


def test_an_assigned_client_id_names_the_session(broker):
    """The id that CONNACK assigned resumes the session it was made for. [MQTT-3.1.3-2] [MQTT-3.1.3-7]"""
    options = {"clean": False, "properties": encode_property("session_expiry_interval", 300)}
    with Socket(broker) as client:
        assigned = client.connect("", **options).properties()["assigned_client_identifier"][0].decode()
    with Socket(broker) as client:
        assert client.connect(assigned, **options).session_present


def test_a_given_client_id_is_not_assigned(broker):
    """CONNACK names a client id only if the client did not (MQTT5 3.2.2.3.7)."""
    with Socket(broker) as client:
        assert "assigned_client_identifier" not in client.connect("mine").properties()


def test_an_empty_client_id_in_mqtt_3_1_1(clients, broker, topic):
    """With Clean Session 1 it is accepted, as often as one likes. [MQTT311-3.1.3-6]"""
    one, two = (clients("js", broker, Version.V3_1_1, client_id="") for _ in range(2))
    assert one.connect().reason_code == 0
    one.subscribe(Subscription(topic, 1))
    assert two.connect().reason_code == 0
    two.publish(topic, "x", 1)
    assert one.take_one().payload == b"x"


def test_an_empty_client_id_cannot_name_a_session_in_mqtt_3_1_1(broker):
    """With Clean Session 0 it is refused with 0x02. [MQTT311-3.1.3-8] [MQTT311-3.2.2-4] [MQTT311-3.2.2-5]"""
    with Socket(broker) as client:
        client.send(wire.connect("", version=4, clean=False))
        connack = client.expect(wire.CONNACK)
        assert (connack.reason_code, connack.session_present) == (0x02, False)
        client.expect_closed()


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("client_id", ["a", "0123456789abcdefghijklm", "NOPQRSTUVWXYZ"])
def test_plain_client_ids_are_accepted(broker, version, client_id):
    """1 to 23 letters and digits do in every version. [MQTT-3.1.3-5] [MQTT311-3.1.3-5] [MQTT311-3.1.4-4]"""
    with Socket(broker) as client:
        assert client.connect(client_id, version=version).reason_code == 0


def test_client_ids_differ_by_every_byte(connected, topic):
    """Client ids that look alike are different clients. [MQTT-3.1.3-2]"""
    ids = ["é", "e\u0301", "É", "é "]
    subscribers = [connected("paho", client_id=client_id) for client_id in ids]
    for subscriber in subscribers:
        subscriber.subscribe(Subscription(topic, 1))
    connected("js").publish(topic, "x", 1)
    assert [subscriber.take_one().payload for subscriber in subscribers] == [b"x"] * len(ids)


@pytest.mark.parametrize("level", [0, 1, 6, 0x7F, 0xFF])
def test_an_unknown_protocol_version_is_refused(broker, level):
    """The refusal may be said, as 5.0's 0x84 or 3.1.1's 0x01; then the connection ends. [MQTT-3.1.2-2]
    [MQTT311-3.1.2-2]"""
    with Socket(broker) as client:
        client.send(wire.connect("x", version=level, properties=b""))
        answer = client.read()
        if answer is not None:
            assert answer.type == wire.CONNACK
            assert answer.reason_code in (0x84, 0x01)
            client.expect_closed()


@pytest.mark.parametrize("name, version", [
    ("MQTT", 3), ("MQIsdp", 4), ("MQIsdp", 5), ("mqtt", 5), ("", 4), ("MQTTT", 5)])
def test_a_wrong_protocol_name_is_refused(broker, name, version):
    """A protocol name that is not its version's is never accepted. [MQTT-3.1.2-1] [MQTT311-3.1.2-1]"""
    with Socket(broker) as client:
        client.send(wire.connect("x", version=version, name=name))
        answer = client.read()
        if answer is not None:
            assert answer.type == wire.CONNACK
            assert answer.reason_code != 0
            client.expect_closed()


@pytest.mark.parametrize("first", [
    wire.packet(wire.PINGREQ << 4),
    wire.publish("a", b"x"),
    wire.subscribe(1, ("a", 0)),
    wire.packet(wire.DISCONNECT << 4),
    b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
], ids=["pingreq", "publish", "subscribe", "disconnect", "http"])
def test_connect_comes_first(broker, first):
    """Whatever comes before CONNECT ends the connection, without an answer. [MQTT-3.1.0-1] [MQTT-3.14.0-1]
    [MQTT311-3.1.0-1]"""
    with Socket(broker) as client:
        client.send(first)
        client.expect_closed()


@pytest.mark.parametrize("version", [4, pytest.param(5, marks=pytest.mark.ours_only("2.0.11 says no DISCONNECT"))])
def test_connect_comes_once(broker, version):
    """A second CONNECT ends the connection. [MQTT-3.1.0-2] [MQTT311-3.1.0-2]"""
    with Socket(broker) as client:
        client.connect("twice", version=version)
        client.send(wire.connect("twice", version=version))
        if version == 5:
            assert client.expect_disconnect() == 0x82
        else:
            client.expect_closed()


@pytest.mark.parametrize("flags", [0x03, 0x02 | 0x08, 0x02 | 0x20, 0x02 | 0x04 | 0x18], ids=[
    "reserved bit", "will qos without will", "will retain without will", "will qos 3"])
@pytest.mark.parametrize("version", [4, 5])
def test_wrong_connect_flags(broker, version, flags):
    """Connect flags that contradict each other end the connection.

    [MQTT-3.1.2-3] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.4-1] [MQTT311-3.1.2-3] [MQTT311-3.1.2-13]
    [MQTT311-3.1.2-14] [MQTT311-3.1.2-15]
    """
    will = ((b"\x00" if version == 5 else b"") + wire.string("w") + wire.string("x")) if flags & 0x04 else b""
    with Socket(broker) as client:
        client.send(wire.connect("flags", version=version, flags=flags, tail=will))
        answer = client.read()
        if answer is not None:
            assert version == 5 and answer.type == wire.CONNACK
            assert answer.reason_code in (0x81, 0x82)
            client.expect_closed()


def test_an_unknown_authentication_method_is_refused(broker):
    """A method that the broker does not know gets 0x8C. [MQTT-4.12.0-1] [MQTT-3.2.2-7]"""
    with Socket(broker) as client:
        client.send(wire.connect("auth", properties=encode_property("authentication_method", "no such method")))
        assert client.expect(wire.CONNACK).reason_code == 0x8C
        client.expect_closed()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_connect_may_come_byte_by_byte(broker, version):
    """Packets need not arrive in one piece. [MQTT-4.2.0-1] [MQTT311-7.1.1-1]"""
    with Socket(broker) as client:
        for byte in wire.connect("slowly", version=version) + wire.packet(wire.PINGREQ << 4):
            client.send(bytes([byte]))
        assert client.expect(wire.CONNACK).reason_code == 0
        client.expect(wire.PINGRESP)


@pytest.mark.parametrize("version", [4, 5])
def test_a_client_need_not_wait_for_connack(broker, topic, version):
    """What follows CONNECT in the same segment is served after it, in order. [MQTT-3.2.0-1] [MQTT311-3.2.0-1]"""
    with Socket(broker) as client:
        client.send(wire.connect("hasty", version=version) + wire.subscribe(1, (topic, 1), version=version)
                    + wire.publish(topic, b"x", qos=1, packet_id=2, version=version) + wire.packet(wire.PINGREQ << 4))
        client.expect(wire.CONNACK)
        client.expect(wire.SUBACK)
        rest = [client.read() for _ in range(3)]
        assert sorted(packet.type for packet in rest) == [wire.PUBLISH, wire.PUBACK, wire.PINGRESP]


@pytest.mark.parametrize("version", [4, 5])
def test_silence_ends_a_connection(broker, connected, version):
    """After one and a half keep alives of silence the broker closes; a client that pings stays.

    [MQTT-3.1.2-22] [MQTT-3.12.4-1] [MQTT311-3.1.2-24] [MQTT311-3.12.4-1]
    """
    pinging = connected("paho", Version(version), keep_alive_s=1)
    with Socket(broker) as silent:
        began = time.monotonic()
        silent.connect("silent", version=version, keep_alive_s=2)
        answer = silent.read()
        assert time.monotonic() - began >= 2.0  # 3 s by the rule; never before the keep alive itself
        if answer is not None:
            assert version == 5 and answer.type == wire.DISCONNECT
            assert answer.reason_code == 0x8D
            silent.expect_closed()
    pinging.subscribe(Subscription("e2e/pinging", 0))  # fails if its connection has ended


@pytest.mark.ours_only("it has no time-out to set for CONNECT")
@pytest.mark.parametrize("sent", [b"", wire.connect("half")[:-3], b"\x10", b"\x10\xff\xff"],
                         ids=["nothing", "half", "one byte", "half a length"])
def test_a_connect_that_never_ends(start_broker, clients, sent):
    """A connection whose CONNECT is not whole after the connect time-out is closed; others are not touched."""
    broker = start_broker(connect_timeout_ms=500)
    patient = clients("paho", broker)
    assert patient.connect().reason_code == 0
    with Socket(broker) as client:
        began = time.monotonic()
        client.send(sent)
        client.expect_closed()
        assert time.monotonic() - began >= 0.4
    patient.subscribe(Subscription("e2e/patient", 0))
