"""Clients that are odd but not out of the world, byte by byte; a well-behaved pair beside them is never disturbed."""

import itertools
import json

import pytest

from harness import wire
from harness.client import Subscription
from harness.wire import Socket, encode_property, packet

pytestmark = [
    pytest.mark.ours_only("where MQTT leaves a choice, the answers expected here are mqttq-server's"),
    pytest.mark.usefixtures("pair"),
]

EVERY_VERSION = pytest.mark.parametrize("version", [3, 4, 5], ids=["v3_1", "v3_1_1", "v5"])

# CONNACK of a server with default limits: Receive Maximum, Maximum Packet Size, Topic Alias Maximum.
ACCEPTED = {3: bytes.fromhex("20020000"), 4: bytes.fromhex("20020000"),
            5: bytes.fromhex("200e0000 0b 2103e8 2700100000 220040")}
PINGREQ, PINGRESP, DISCONNECT = packet(wire.PINGREQ << 4), packet(wire.PINGRESP << 4), packet(wire.DISCONNECT << 4)

_pair_numbers = itertools.count(1)


class Pair:
    """Two well-behaved clients, of 3.1.1 and of 5, on a broker that odd ones use too."""

    def __init__(self, broker):
        self._name = f"pair{next(_pair_numbers)}"
        self._clients = {version: Socket(broker) for version in (4, 5)}
        self._count = 0
        for version, client in self._clients.items():
            client.connect(f"{self._name}-{version}", version=version)
            client.send(wire.subscribe(1, (f"{self._name}/{version}", 1), version=version))
            client.expect(wire.SUBACK)

    def exchange(self) -> None:
        """Each sends the other a message, which arrives and is acknowledged on both sides; nothing else comes."""
        for sender, receiver in ((4, 5), (5, 4)):
            self._count += 1
            topic, payload = f"{self._name}/{receiver}", f"{self._count}".encode()
            self._clients[sender].send(wire.publish(topic, payload, 1, self._count, version=sender))
            message = self._clients[receiver].expect_publish(receiver)
            assert (message.topic, message.payload, message.qos) == (topic, payload, 1)
            self._clients[receiver].send(wire.acknowledge(wire.PUBACK, message.packet_id))
            self._clients[sender].expect_bytes(wire.acknowledge(wire.PUBACK, self._count))
        for client in self._clients.values():
            client.ping()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture
def pair(broker):
    """The pair exchanges messages before the test and after it, over the same connections."""
    pair = Pair(broker)
    try:
        pair.exchange()
        yield pair
        pair.exchange()
    finally:
        pair.close()


@pytest.fixture
def observe(connected):
    """A function that subscribes to a topic and returns one that asserts what came there since, and that it was all."""
    def begin(topic: str):
        observer = connected("paho")
        observer.subscribe(Subscription(topic, 2))

        def saw(*payloads: bytes) -> None:
            assert [message.payload for message in observer.take(len(payloads))] == list(payloads)
            observer.publish(topic, "end", 1)
            assert observer.take_until("end") == []

        return saw

    return begin


def puback(version: int, packet_id: int, heard: bool = True) -> bytes:
    """PUBACK as the broker sends it; MQTT 5 is told when nobody was subscribed."""
    if version == 5 and not heard:
        return packet(wire.PUBACK << 4, packet_id.to_bytes(2, "big") + b"\x10")
    return wire.acknowledge(wire.PUBACK, packet_id)


def name_of(topic: str) -> str:
    """A client id that no other test uses."""
    return topic.replace("/", "-")


# --- MQIsdp


def test_mqisdp(broker, topic):
    """A session of 3.1 with what only 3.1 allows: a long client id, and DUP in SUBSCRIBE, UNSUBSCRIBE and PUBREL."""
    with Socket(broker) as client:
        client.send(wire.connect(f"a client id of more than 23 characters, {topic}", version=3))
        client.expect_bytes(ACCEPTED[3])
        client.send(wire.subscribe(1, (topic, 2), version=3, flags=0x0A))
        client.expect_bytes(bytes.fromhex("9003 0001 02"))
        client.send(wire.publish(topic, b"x", 2, 2, version=3))
        answers = {client.read() for _ in range(2)}
        assert answers == {wire.Packet(wire.PUBREC, 0, b"\x00\x02"),
                           wire.Packet(wire.PUBLISH, 4, wire.string(topic) + b"\x00\x01x")}
        client.send(packet(wire.PUBREL << 4 | 0x0A, b"\x00\x02"))
        client.expect_bytes(wire.acknowledge(wire.PUBCOMP, 2))
        client.send(wire.acknowledge(wire.PUBREC, 1))
        client.expect_bytes(wire.acknowledge(wire.PUBREL, 1))
        client.send(wire.acknowledge(wire.PUBCOMP, 1))
        client.send(packet(wire.UNSUBSCRIBE << 4 | 0x0A, b"\x00\x03" + wire.string(topic)) + PINGREQ + DISCONNECT)
        client.expect_bytes(wire.acknowledge(wire.UNSUBACK, 3), PINGRESP)
        client.expect_closed()


@pytest.mark.parametrize("flags", [0x02 | 0x80, 0x02 | 0x80 | 0x40, 0x02 | 0x18, 0x02 | 0x20, 0x02 | 0x01], ids=[
    "user name that does not come", "user name and password that do not come", "will qos without will",
    "will retain without will", "reserved bit"])
def test_mqisdp_disregards_flags_without_meaning(broker, topic, flags):
    """3.1 lets Remaining Length overrule the flags, and gives no meaning to those of a will that is not there."""
    with Socket(broker) as client:
        client.send(wire.connect(name_of(topic), version=3, flags=flags) + PINGREQ)
        client.expect_bytes(ACCEPTED[3], PINGRESP)


@pytest.mark.parametrize("client_id_size", [1, 200], ids=["short", "long"])
@pytest.mark.parametrize("name, level", [
    ("MQIsdp", 2), ("MQIsdp", 4), ("MQIsdp", 5), ("MQIsdp", 0x83), ("MQTT", 3), ("MQTT", 0x84), ("MQTT", 6),
    ("MQTT", 0x7F)])
def test_a_refused_level_is_told_in_a_form_that_its_client_reads(broker, name, level, client_id_size):
    """Clients of 3.x get a CONNACK of 3.x, whatever the length of their CONNECT; later versions get that of 5.

    Levels with the highest bit set are those of Mosquitto's bridges, which come again without it at return code 1.
    [MQTT-3.1.2-2] [MQTT311-3.1.2-2]
    """
    later = name == "MQTT" and level in (6, 0x7F)
    with Socket(broker) as client:
        client.send(wire.connect("x" * client_id_size, version=level, name=name))
        client.expect_bytes(bytes.fromhex("20030084 00") if later else bytes.fromhex("20020001"))
        client.expect_closed()


# --- no clean session, and no client id


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
@EVERY_VERSION
def test_an_empty_client_id(broker, observe, topic, version, clean):
    """3.1 has none, 3.1.1 only for a clean session, 5 gives one; where it is refused, nothing behind it is served.

    [MQTT311-3.1.3-8] [MQTT-3.1.3-6]
    """
    saw = observe(topic)
    accepted = version == 5 or (version == 4 and clean)
    with Socket(broker) as client:
        client.send(wire.connect("", version=version, clean=clean)
                    + wire.publish(topic, b"behind", 1, 1, version=version))
        if version == 5:
            connack = client.expect(wire.CONNACK)
            assert (connack.reason_code, connack.session_present) == (0, False)
            assert len(connack.properties()["assigned_client_identifier"][0]) > 0
        else:
            client.expect_bytes(ACCEPTED[version] if accepted else bytes.fromhex("20020002"))
        if accepted:
            client.expect_bytes(wire.acknowledge(wire.PUBACK, 1))
        else:
            client.expect_closed()
    saw(*[b"behind"] if accepted else [])


# --- a hundred topics in one SUBSCRIBE


@EVERY_VERSION
def test_a_hundred_topics_in_one_subscribe(broker, topic, version):
    """Each filter has its code in its place, the bad ones among them too, and all the good ones work.

    [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.9.3-1] [MQTT311-3.8.4-4] [MQTT311-3.8.4-5] [MQTT311-3.9.3-1]
    """
    bad = set(range(7, 100, 10))
    filters = [(f"{topic}/#/{number}" if number in bad else f"{topic}/{number}", number % 3) for number in range(100)]
    refused = 0x8F if version == 5 else 0x80
    codes = bytes(refused if number in bad else number % 3 for number in range(100))
    no_properties = b"\x00" if version == 5 else b""
    with Socket(broker) as client, Socket(broker) as publisher:
        client.connect(name_of(topic), version=version, properties=wire.QUIET)
        client.send(wire.subscribe(258, *filters, version=version))
        client.expect_bytes(packet(wire.SUBACK << 4, b"\x01\x02" + no_properties + codes))
        publisher.connect(f"{name_of(topic)}-publisher", version=version)
        for number in range(100):
            publisher.send(wire.publish(f"{topic}/{number}", b"x", 1, number + 1, version=version))
        publisher.expect_bytes(*(puback(version, number + 1, number not in bad) for number in range(100)))
        received = [client.expect_publish(version) for _ in range(90)]
        assert {(message.topic, message.qos) for message in received} == {
            (f"{topic}/{number}", min(1, number % 3)) for number in range(100) if number not in bad}
        for message in received:
            if message.qos:
                client.send(wire.acknowledge(wire.PUBACK, message.packet_id))
        client.send(wire.unsubscribe(259, *(one for one, _ in filters), version=version))
        unsubscribed = bytes(0x11 if number in bad else 0 for number in range(100)) if version == 5 else b""
        client.expect_bytes(packet(wire.UNSUBACK << 4, b"\x01\x03" + no_properties + unsubscribed))


@EVERY_VERSION
def test_one_topic_a_hundred_times_in_one_subscribe(broker, topic, version):
    """It is answered a hundred times, and is one subscription, at the QoS it was asked for last. [MQTT-3.8.4-3]"""
    with Socket(broker) as client:
        client.connect(name_of(topic), version=version)
        client.send(wire.subscribe(1, *((topic, (number + 1) % 3) for number in range(100)), version=version))
        codes = bytes((number + 1) % 3 for number in range(100))
        client.expect_bytes(packet(wire.SUBACK << 4, b"\x00\x01" + (b"\x00" if version == 5 else b"") + codes))
        client.send(wire.publish(topic, b"x", 1, 1, version=version))
        answers = {client.read() for _ in range(2)}
        assert wire.Packet(wire.PUBACK, 0, b"\x00\x01") in answers
        message = next(wire.Published.of(one, version) for one in answers if one.type == wire.PUBLISH)
        assert (message.payload, message.qos) == (b"x", 1)
        client.ping()  # and there is no second copy


# --- keep alive


def test_keep_alive_0_and_65535(broker, topic):
    """Neither ends a connection that is silent while one of 1 s runs out, and neither is replaced."""
    with Socket(broker) as hurried:
        patient = {}
        for version, keep_alive_s in itertools.product((3, 4, 5), (0, 65535)):
            client = patient[version, keep_alive_s] = Socket(broker)
            client.send(wire.connect(f"{name_of(topic)}-{version}-{keep_alive_s}", version=version,
                                     keep_alive_s=keep_alive_s))
            client.expect_bytes(ACCEPTED[version])
        hurried.connect(f"{name_of(topic)}-1", keep_alive_s=1)
        hurried.expect_end(5, 0x8D)
        for client in patient.values():
            client.ping()
            client.close()


# --- packets in pieces, and many in one piece


def whole_session(client: Socket, version: int, topic: str, cuts) -> int:
    """A session from CONNECT to DISCONNECT with a message at QoS 2 to itself; returns how many bytes it sent.

    cuts: offsets in what the client sends, counted over the whole session, at which a segment ends. The next one is
    sent when the broker has read the one before.
    """
    sent = 0

    def send(data: bytes) -> None:
        nonlocal sent
        ends = [cut - sent for cut in cuts if sent < cut < sent + len(data)]
        for begin, end in itertools.pairwise([0, *ends, len(data)]):
            client.send(data[begin:end])
            if end < len(data):
                client.wait_read()
        sent += len(data)

    no_properties = b"\x00" if version == 5 else b""
    send(wire.connect(f"{name_of(topic)}-pieces", version=version, **wire.will(topic, b"will", version)))
    client.expect_bytes(ACCEPTED[version])
    send(wire.subscribe(1, (topic, 2), version=version))
    client.expect_bytes(packet(wire.SUBACK << 4, b"\x00\x01" + no_properties + b"\x02"))
    send(wire.publish(topic, b"x", 2, 2, version=version))
    answers = {client.read() for _ in range(2)}
    message = wire.Packet(wire.PUBLISH, 4, wire.string(topic) + b"\x00\x01" + no_properties + b"x")
    assert answers == {wire.Packet(wire.PUBREC, 0, b"\x00\x02"), message}
    send(wire.acknowledge(wire.PUBREL, 2))
    client.expect_bytes(wire.acknowledge(wire.PUBCOMP, 2))
    send(wire.acknowledge(wire.PUBREC, 1))
    client.expect_bytes(wire.acknowledge(wire.PUBREL, 1))
    send(wire.acknowledge(wire.PUBCOMP, 1))
    send(PINGREQ)
    client.expect_bytes(PINGRESP)
    send(DISCONNECT)
    client.expect_closed()
    return sent


@EVERY_VERSION
def test_one_byte_in_each_segment(broker, observe, topic, version):
    """A whole session that comes byte by byte is the same session. [MQTT-4.2.0-1] [MQTT311-7.1.1-1]"""
    saw = observe(topic)
    with Socket(broker) as client:
        whole_session(client, version, topic, range(1, 1000))
    saw(b"x")


@EVERY_VERSION
def test_packets_split_at_every_byte(broker, observe, topic, version):
    """A whole session cut in two, at each offset in turn. [MQTT-4.2.0-1] [MQTT311-7.1.1-1]"""
    saw = observe(topic)
    with Socket(broker) as client:
        size = whole_session(client, version, topic, ())
    for cut in range(1, size):
        with Socket(broker) as client:
            whole_session(client, version, topic, (cut,))
    saw(*[b"x"] * size)


MANY = 10_000


@EVERY_VERSION
def test_ten_thousand_packets_in_one_segment(broker, topic, version):
    """Each is answered, in order: PINGREQs, and PUBLISHes at QoS 1."""
    with Socket(broker) as client:
        client.connect(name_of(topic), version=version)
        client.send(PINGREQ * MANY)
        client.expect_bytes(PINGRESP * MANY)
        client.send(b"".join(wire.publish("z", b"", 1, number, version=version) for number in range(1, MANY + 1)))
        client.expect_bytes(*(puback(version, number, heard=False) for number in range(1, MANY + 1)))


@EVERY_VERSION
def test_ten_thousand_messages_in_one_segment(broker, pair, topic, version):
    """All of them arrive, at a subscriber of another version too, and the pair talks while they are on their way."""
    with Socket(broker) as client, Socket(broker) as other, Socket(broker) as same:
        other_version = 4 if version == 5 else 5
        for subscriber, its_version in ((other, other_version), (same, version)):
            subscriber.connect(f"{name_of(topic)}-{its_version}", version=its_version)
            subscriber.send(wire.subscribe(1, ("z", 0), version=its_version))
            subscriber.expect(wire.SUBACK)
        client.connect(name_of(topic), version=version)
        # What comes while retained messages are looked for waits, within a bound: the first message ends that.
        client.send(wire.publish("z", b"first", version=version))
        for subscriber, its_version in ((other, other_version), (same, version)):
            assert subscriber.expect_publish(its_version).payload == b"first"
        client.send(wire.publish("z", version=version) * MANY)  # 50 or 60 thousand bytes
        pair.exchange()
        for subscriber, its_version in ((other, other_version), (same, version)):
            subscriber.expect_bytes(wire.publish("z", version=its_version) * MANY)
            subscriber.ping()


# --- CONNECT twice


@pytest.mark.parametrize("again", ["same", "other id", "other version"])
@EVERY_VERSION
def test_connect_twice(broker, observe, topic, version, again):
    """The second ends the connection as a failure: its will is published, and the second makes no session.

    [MQTT-3.1.0-2] [MQTT311-3.1.0-2] [MQTT-3.1.2-8] [MQTT311-3.1.2-8]
    """
    saw = observe(topic)
    name = name_of(topic)
    second = {"same": wire.connect(name, version=version),
              "other id": wire.connect(f"{name}-2", version=version, clean=False, properties=encode_property(
                  "session_expiry_interval", 60)),
              "other version": wire.connect(name, version=4 if version == 5 else 5)}[again]
    with Socket(broker) as client:
        client.send(wire.connect(name, version=version, **wire.will(topic, b"will", version, qos=1)))
        client.expect_bytes(ACCEPTED[version])
        client.send(second + wire.publish(topic, b"behind", version=version))
        client.expect_end(version, 0x82)
    saw(b"will")
    with Socket(broker) as client:
        assert not client.connect(f"{name}-2", version=4, clean=False).session_present


# --- data before CONNACK


@EVERY_VERSION
def test_data_before_connack(start_broker, version):
    """It is served after CONNACK, all of it in order, also where the connection moves to another shard meanwhile.

    [MQTT-3.2.0-1] [MQTT311-3.2.0-1]
    """
    broker = start_broker(flags=("--shards", "4"))
    count = 100
    with Socket(broker) as subscriber:
        subscriber.connect("subscriber", version=version)
        subscriber.send(wire.subscribe(1, ("a/+", 0), version=version))
        subscriber.expect(wire.SUBACK)
        for number in range(20):
            topic = f"a/{number}"
            messages = [wire.publish(topic, f"{one}".encode(), 1, one, version=version) for one in range(1, count + 1)]
            with Socket(broker) as client:
                client.send(wire.connect(f"hasty{number}", version=version) + b"".join(messages) + PINGREQ)
                client.expect_bytes(ACCEPTED[version],
                                    *(wire.acknowledge(wire.PUBACK, one) for one in range(1, count + 1)), PINGRESP)
            subscriber.expect_bytes(*(wire.publish(topic, f"{one}".encode(), version=version)
                                      for one in range(1, count + 1)))


@EVERY_VERSION
def test_data_behind_a_refused_connect(broker, observe, topic, version):
    """None of it is served, and nothing but CONNACK is said. [MQTT-3.1.4-6] [MQTT311-3.1.4-5]"""
    saw = observe(topic)
    method = encode_property("authentication_method", "none")
    refused, answer = (
        (wire.connect("x", properties=method + wire.QUIET), bytes.fromhex("2003008c 00"))
        if version == 5 else (wire.connect("", version=version, clean=False), bytes.fromhex("20020002")))
    with Socket(broker) as client:
        client.send(refused + wire.publish(topic, b"behind", 1, 1, version=version) + PINGREQ)
        client.expect_bytes(answer)
        client.expect_closed()
    saw()


# --- half-closed sockets


@pytest.mark.parametrize("kept", [False, True], ids=["live", "kept"])
@EVERY_VERSION
def test_a_half_closed_socket(start_broker, version, kept):
    """What was sent before is published and acknowledged; then the connection ends as a failure, with its will.

    Subscribers whose session is kept are asked before the acknowledgement, on other shards too. [MQTT-3.1.2-8]
    [MQTT311-3.1.2-8] [MQTT-4.3.2-4] [MQTT-4.3.3-8]
    """
    broker = start_broker(flags=("--shards", "2"))
    expiry = encode_property("session_expiry_interval", 60 if kept else 0)
    with Socket(broker) as subscriber:
        subscriber.connect("subscriber", clean=False, properties=expiry)
        subscriber.send(wire.subscribe(1, ("a", 2)))
        subscriber.expect(wire.SUBACK)
        for number in range(30):
            with Socket(broker) as client:
                client.send(wire.connect(f"half{number}", version=version, **wire.will("a", b"will", version, qos=1))
                            + wire.publish("a", b"0", 0, version=version)
                            + wire.publish("a", b"1", 1, 1, version=version)
                            + wire.publish("a", b"2", 2, 2, version=version))
                client.finish()
                client.expect_bytes(ACCEPTED[version], wire.acknowledge(wire.PUBACK, 1),
                                    wire.acknowledge(wire.PUBREC, 2))
                client.expect_closed()
            received = [subscriber.expect_publish() for _ in range(4)]
            assert {(message.payload, message.qos) for message in received} == {
                (b"0", 0), (b"1", 1), (b"2", 2), (b"will", 1)}
            for message in received:
                if message.qos == 1:
                    subscriber.send(wire.acknowledge(wire.PUBACK, message.packet_id))
                elif message.qos == 2:
                    subscriber.send(wire.acknowledge(wire.PUBREC, message.packet_id))
                    subscriber.expect_bytes(wire.acknowledge(wire.PUBREL, message.packet_id))
                    subscriber.send(wire.acknowledge(wire.PUBCOMP, message.packet_id))
        subscriber.ping()


@EVERY_VERSION
def test_a_half_closed_socket_after_disconnect(broker, observe, topic, version):
    """DISCONNECT before the end is what counts: no will. [MQTT-3.14.4-3] [MQTT311-3.14.4-3]"""
    saw = observe(topic)
    with Socket(broker) as client:
        client.send(wire.connect(name_of(topic), version=version, **wire.will(topic, b"will", version))
                    + wire.publish(topic, b"x", version=version) + DISCONNECT)
        client.finish()
        client.expect_bytes(ACCEPTED[version])
        client.expect_closed()
    saw(b"x")


# --- DISCONNECT with a will


@EVERY_VERSION
def test_disconnect_with_a_will(broker, observe, topic, version):
    """The will is dropped, the broker closes, and what stands behind DISCONNECT is not looked at.

    [MQTT-3.14.4-3] [MQTT311-3.14.4-2] [MQTT311-3.14.4-3] [MQTT-3.14.4-1]
    """
    saw = observe(topic)
    with Socket(broker) as client:
        client.send(wire.connect(name_of(topic), version=version, **wire.will(topic, b"will", version)))
        client.expect_bytes(ACCEPTED[version])
        client.send(wire.publish(topic, b"before", version=version) + DISCONNECT
                    + wire.publish(topic, b"behind", version=version) + wire.connect("behind", version=version)
                    + packet(0))
        client.expect_closed()
    with Socket(broker) as client:  # by CONNACK the broker is done with the connection before
        client.connect(name_of(topic), version=version)
    saw(b"before")


CLIENT_REASONS = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]


@pytest.mark.parametrize("reason_code", CLIENT_REASONS, ids=hex)
def test_only_disconnect_0_drops_the_will(broker, observe, topic, reason_code):
    """Every other reason a client may give publishes it, and none is answered. [MQTT-3.14.4-3] [MQTT-3.1.2-8]"""
    saw = observe(topic)
    with Socket(broker) as client:
        client.connect(name_of(topic), **wire.will(topic, b"will"))
        client.send(packet(wire.DISCONNECT << 4, bytes([reason_code])))
        client.expect_closed()
    with Socket(broker) as client:  # by CONNACK the broker is done with the connection before
        client.connect(name_of(topic))
    saw(*[b"will"] if reason_code else [])


@pytest.mark.parametrize("reason_code", [0x01, 0x87, 0x8B, 0x8E, 0xFF], ids=hex)
def test_a_disconnect_that_is_not_a_clients(broker, observe, topic, reason_code):
    """A reason that is a server's or nobody's is a protocol error, and so leaves the will. [MQTT-3.14.2-1]"""
    saw = observe(topic)
    with Socket(broker) as client:
        client.connect(name_of(topic), **wire.will(topic, b"will"))
        client.send(packet(wire.DISCONNECT << 4, bytes([reason_code])))
        client.expect_end(5, 0x82)
    saw(b"will")


# --- a client that never reads

MIB = 1 << 20
OUTBOX_BYTES_MAX = MIB
# How much more than before the broker may take: outboxes, sockets that are full, and what its allocator keeps.
GROWTH_MAX = 24 * MIB


@pytest.fixture
def small_outbox(start_broker, tmp_path):
    """A broker with an outbox of 1 MiB for each client."""
    file = tmp_path / "outbox.json"
    file.write_text(json.dumps({"limits": {"outbox_bytes_max": OUTBOX_BYTES_MAX}}))
    return start_broker(flags=("--config", str(file)))


@pytest.mark.parametrize("qos", [0, 1])
@EVERY_VERSION
def test_a_subscriber_that_never_reads(small_outbox, version, qos):
    """64 MiB are published to it while others talk; the broker keeps what its outbox may hold, and the rest is dropped.

    When it reads after all, it gets whole packets, in order, and is served on.
    """
    broker = small_outbox
    beside = Pair(broker)
    with Socket(broker) as stuck, Socket(broker) as publisher:
        stuck.connect("stuck", version=version)
        stuck.send(wire.subscribe(1, ("a", qos), version=version))
        stuck.expect(wire.SUBACK)
        publisher.connect("publisher", version=version)
        beside.exchange()
        before = broker.memory_bytes()
        for number in range(1024):
            publisher.send(wire.publish("a", number.to_bytes(2, "big") * 32768, 1, number + 1, version=version))
            publisher.expect_bytes(wire.acknowledge(wire.PUBACK, number + 1))
            if number % 64 == 0:
                beside.exchange()
                after = broker.memory_bytes()
                assert after is None or after - before < GROWTH_MAX
        stuck.send(PINGREQ)
        numbers = []
        while (received := stuck.read()).type != wire.PINGRESP:
            message = wire.Published.of(received, version)
            numbers.append(int.from_bytes(message.payload[:2], "big"))
            assert message.payload == message.payload[:2] * 32768
            if qos:
                stuck.send(wire.acknowledge(wire.PUBACK, message.packet_id))
        assert 0 < len(numbers) < 1024
        assert numbers == sorted(numbers)
        beside.exchange()
    beside.close()


@EVERY_VERSION
def test_a_client_that_never_reads_its_answers(small_outbox, version):
    """It is not read either, so that its own sending stops, and the memory of the broker does not grow with it."""
    broker = small_outbox
    beside = Pair(broker)
    with Socket(broker) as stuck:
        stuck.connect("stuck", version=version)
        stuck.send(wire.subscribe(1, ("a", 0), version=version))
        stuck.expect(wire.SUBACK)
        beside.exchange()
        before = broker.memory_bytes()
        segment = (wire.publish("a", b"x" * 1000, 1, 1, version=version) + PINGREQ) * 64
        sent = stuck.send_until_full(segment, 64 * MIB)
        beside.exchange()
        after = broker.memory_bytes()
        assert after is None or after - before < GROWTH_MAX
        # It reads after all: every request that it sent is answered, the last of them too.
        pings = 0
        while pings < sent // len(segment) * 64:
            pings += stuck.read().type == wire.PINGRESP
        beside.exchange()
    beside.close()


@EVERY_VERSION
def test_a_client_that_never_reads_and_goes(small_outbox, version):
    """What it left unread is given back, a hundred times over."""
    broker = small_outbox
    beside = Pair(broker)
    beside.exchange()
    before = None
    for number in range(100):
        with Socket(broker) as stuck:
            stuck.connect("stuck", version=version)
            stuck.send(wire.subscribe(1, ("a", 0), version=version))
            for _ in range(4):
                stuck.send(wire.publish("a", b"x" * 500_000, version=version))
            stuck.wait_read()
        if number == 10:
            before = broker.memory_bytes()
    beside.exchange()
    after = broker.memory_bytes()
    assert after is None or after - before < GROWTH_MAX
    beside.close()
