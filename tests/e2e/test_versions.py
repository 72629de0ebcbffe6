"""Clients of MQTT 3.1, 3.1.1 and 5 in one broker: a test for each row of docs/VERSIONS.md."""

import collections
import importlib
import itertools
import json
import os
import re
import types

import pytest

from harness import wire
from harness.broker import SOURCE_DIR, Broker, Settings
from harness.wire import Published, Socket, encode_property, packet

pytestmark = pytest.mark.ours_only("where MQTT leaves a choice, the table is mqttq-server's")

PAGE = SOURCE_DIR / "docs" / "VERSIONS.md"
ROWS: list[str] = []

OLD = pytest.mark.parametrize("old", [3, 4], ids=["v3_1", "v3_1_1"])
EVERY = pytest.mark.parametrize("version", [3, 4, 5], ids=["v3_1", "v3_1_1", "v5"])
NO_LOCAL, RETAIN_AS_PUBLISHED = 0x04, 0x08


def row(*ids: str):
    """The test of these rows of the page: one that has its name, or several of which its parameter `row` is one."""
    def mark(test):
        ROWS.extend(ids)
        if len(ids) > 1:
            return pytest.mark.parametrize("row", ids)(test)
        assert test.__name__ == f"test_{ids[0]}"
        return test

    return mark


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory):
    """One shard: what a client published is, once acknowledged, on its way to everybody before their next PINGRESP."""
    running = Broker(tmp_path_factory.mktemp("broker"), Settings(flags=("--shards", "1")))
    try:
        yield running
        running.stop()
    finally:
        running.child.kill()


@pytest.fixture
def limited(start_broker, tmp_path):
    """A function that starts a broker with limits, as the configuration file has them."""
    def start(**limits) -> Broker:
        file = tmp_path / "limits.json"
        file.write_text(json.dumps({"shards": 1, "limits": limits}))
        return start_broker(flags=("--config", str(file)))

    return start


class Client(Socket):
    """A client that behaves: it acknowledges what it gets."""

    def __init__(self, broker, version: int, client_id: str, **options):
        super().__init__(broker)
        self.version = version
        self._packet_id = 0
        self.connack = self.connect(client_id, version=version, **options)

    def next_id(self) -> int:
        self._packet_id += 1
        return self._packet_id

    def subscribe(self, topic_filter: str, options: int = 0, properties: bytes = b"") -> int:
        """Returns SUBACK's code."""
        self.send(wire.subscribe(self.next_id(), (topic_filter, options), version=self.version, properties=properties))
        return self.expect(wire.SUBACK).body[-1]

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, properties: bytes = b"") -> int:
        """Returns the reason code of the acknowledgement; 0 for QoS 0 and in MQTT 3, which have none."""
        packet_id = self.next_id() if qos else None
        self.send(wire.publish(topic, payload, qos, packet_id, self.version, int(retain), properties))
        if not qos:
            self.ping()
            return 0
        answer = self.expect(wire.PUBREC if qos == 2 else wire.PUBACK)
        assert answer.packet_id == packet_id
        reason_code = answer.body[2] if len(answer.body) > 2 else 0
        if qos == 2 and reason_code < 0x80:
            self.send(wire.acknowledge(wire.PUBREL, packet_id))
            self.expect_bytes(wire.acknowledge(wire.PUBCOMP, packet_id))
        return reason_code

    def take(self) -> Published:
        """The next message, acknowledged."""
        message = self.expect_publish(self.version)
        if message.qos == 1:
            self.send(wire.acknowledge(wire.PUBACK, message.packet_id))
        elif message.qos == 2:
            self.send(wire.acknowledge(wire.PUBREC, message.packet_id))
            self.expect_bytes(wire.acknowledge(wire.PUBREL, message.packet_id))
            self.send(wire.acknowledge(wire.PUBCOMP, message.packet_id))
        return message

    def disconnect(self, body: bytes = b"") -> None:
        self.send(packet(wire.DISCONNECT << 4, body))
        self.expect_closed()
        self.close()


@pytest.fixture
def client(broker, topic):
    """A function that connects a client; its name is made unique, and the same one is the same in a test."""
    made: list[Client] = []

    def make(version: int, name: str, at: Broker = broker, **options) -> Client:
        made.append(Client(at, version, f"{topic.replace('/', '-')}-{name}", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def kept(version: int) -> dict:
    """CONNECT options of a session that outlives its connection."""
    return {"clean": False, "properties": encode_property("session_expiry_interval", 300) if version == 5 else b""}


# --- what a message carries

CARRIED = {
    "payload_format_indicator": 1,
    "content_type": b"text/plain",
    "response_topic": b"answers/here",
    "correlation_data": b"\x00\x01\xff",
    "user_property": (b"name", b"value"),
}


@row(*CARRIED)
@OLD
def test_property(client, topic, old, row):
    """Left out for 3.x, and nothing in its place; unaltered for 5."""
    older, newer, publisher = client(old, "older"), client(5, "newer"), client(5, "publisher")
    for subscriber in (older, newer):
        subscriber.subscribe(topic, 1)
    publisher.publish(topic, b"x", properties=encode_property(row, CARRIED[row]))
    older.expect_bytes(packet(0x32, wire.string(topic) + b"\x00\x01x"))
    assert newer.take().properties == {row: [CARRIED[row]]}


@row("message_of_3")
@OLD
def test_message_of_3(client, topic, old):
    """A message of 3.x has no properties, not even one of length 0 made up."""
    newer, publisher = client(5, "newer"), client(old, "publisher")
    newer.subscribe(topic, 1)
    publisher.publish(topic, b"x")
    newer.expect_bytes(packet(0x32, wire.string(topic) + b"\x00\x01\x00x"))


@row("message_expiry_interval")
def test_message_expiry_interval(client, topic):
    """3.x is not told, and gets no message that has expired: neither of those that waited, nor of the retained ones."""
    publisher, clock = client(5, "publisher"), client(5, "clock")
    clock.subscribe(f"{topic}/clock", 0)
    for old in (3, 4):
        away = client(old, f"away{old}", **kept(old))
        away.subscribe(topic, 1)
        away.disconnect()
    for name, expiry_s in (("short", 1), ("long", 1000)):
        expiry = encode_property("message_expiry_interval", expiry_s)
        publisher.publish(topic, name.encode(), properties=expiry)
        publisher.publish(f"{topic}/retained/{name}", name.encode(), retain=True, properties=expiry)
    # A will with a delay is the clock: when it comes, 2 s have passed for the broker.
    client(5, "dies", **wire.will(f"{topic}/clock", b"tick"), properties=encode_property("session_expiry_interval", 60))
    ticking = wire.will(f"{topic}/clock", b"tick", properties=encode_property("will_delay_interval", 2))
    client(5, "dies", properties=encode_property("session_expiry_interval", 60), **ticking).close()
    clock.take()  # the first will, at the take-over
    clock.take()
    for old in (3, 4):
        back = client(old, f"away{old}", **kept(old))
        back.expect_bytes(packet(0x32, wire.string(topic) + b"\x00\x01long"))
        back.ping()
        back.subscribe(f"{topic}/retained/#", 0)
        back.expect_bytes(packet(0x31, wire.string(f"{topic}/retained/long") + b"long"))
        back.ping()


@row("topic_alias")
@OLD
def test_topic_alias(client, topic, old):
    """The alias of a publisher of 5 is its own, other properties are not; who takes aliases gets the broker's."""
    older, newer, publisher = client(old, "older"), client(5, "newer"), client(5, "publisher")
    taker = client(5, "taker", properties=encode_property("topic_alias_maximum", 1))
    taker.subscribe(topic, 0)
    for subscriber in (older, newer):
        subscriber.subscribe(topic, 0)
    alias, content_type = encode_property("topic_alias", 3), encode_property("content_type", "text/plain")
    publisher.send(wire.publish(topic, b"1", properties=alias + content_type)
                   + wire.publish("", b"2", properties=content_type + alias))
    for subscriber in (older, newer):
        subscriber.expect_bytes(*(wire.publish(topic, payload, version=subscriber.version, properties=content_type)
                                  for payload in (b"1", b"2")))
    ours = encode_property("topic_alias", 1)
    publisher.publish(topic, b"3", 0)
    taker.expect_bytes(wire.publish(topic, b"1", properties=content_type),
                       wire.publish(topic, b"2", properties=content_type + ours),
                       wire.publish("", b"3", properties=ours))


@row("subscription_identifier")
@OLD
def test_subscription_identifier(client, topic, old):
    """That of a subscription of 5 comes with messages of 3.x too; a subscription of 3.x has none."""
    older, newer, publisher = client(old, "older"), client(5, "newer"), client(old, "publisher")
    older.subscribe(topic, 0)
    newer.subscribe(topic, 0, encode_property("subscription_identifier", 77))
    publisher.publish(topic, b"x", 0)
    older.expect_bytes(wire.publish(topic, b"x", version=old))
    newer.expect_bytes(wire.publish(topic, b"x", properties=encode_property("subscription_identifier", 77)))


@row("qos")
@pytest.mark.parametrize("sender, receiver", [(3, 5), (4, 5), (5, 3), (5, 4), (3, 4), (4, 3)])
def test_qos(client, topic, sender, receiver):
    """The lower of what was published and what was granted, in all versions; the flows of QoS 1 and 2 are the same."""
    subscriber, publisher = client(receiver, "subscriber"), client(sender, "publisher")
    for granted in (0, 1, 2):
        assert subscriber.subscribe(topic, granted) == granted
        for qos in (0, 1, 2):
            publisher.publish(topic, f"{granted}{qos}".encode(), qos)
            message = subscriber.take()
            assert (message.payload, message.qos) == (f"{granted}{qos}".encode(), min(granted, qos))


@row("retained_message")
@OLD
def test_retained_message(client, topic, old):
    """One store for all versions: what one kept, each meets in its own form, and any may replace or remove it."""
    older, newer = client(old, "older"), client(5, "newer")

    def met(version: int) -> list[Published]:
        newcomer = client(version, f"newcomer{version}")
        newcomer.subscribe(topic, 0)
        newcomer.send(packet(wire.PINGREQ << 4))
        found = []
        while (received := newcomer.read()).type == wire.PUBLISH:
            found.append(Published.of(received, version))
        newcomer.disconnect()
        return found

    newer.publish(topic, b"of 5", retain=True, properties=encode_property("content_type", "text/plain"))
    assert [(one.payload, one.retain, one.properties) for one in met(old)] == [(b"of 5", True, {})]
    assert [(one.payload, one.retain, one.properties) for one in met(5)] == [
        (b"of 5", True, {"content_type": [b"text/plain"]})]
    older.publish(topic, b"of 3", retain=True)
    assert [(one.payload, one.properties) for one in met(5)] == [(b"of 3", {})]
    older.publish(topic, b"", retain=True)
    assert met(5) == met(old) == []


# --- subscriptions


@row("no_local")
@EVERY
def test_no_local(client, topic, version):
    """A subscription of 3.x is one without No Local: a client hears itself."""
    one = client(version, "one")
    one.subscribe(topic, 0)
    one.send(wire.publish(topic, b"own", version=version))
    assert one.take().payload == b"own"
    if version == 5:
        one.subscribe(topic, NO_LOCAL)
        one.publish(topic, b"own", 0)


@row("retain_as_published")
@EVERY
def test_retain_as_published(client, topic, version):
    """A subscription of 3.x is one without Retain As Published: what comes live has no RETAIN."""
    subscriber, publisher = client(version, "subscriber"), client(5 if version != 5 else 4, "publisher")
    subscriber.subscribe(topic, 0)
    publisher.publish(topic, b"x", retain=True)
    assert not subscriber.take().retain
    if version == 5:
        subscriber.subscribe(topic, RETAIN_AS_PUBLISHED)
        assert subscriber.take().retain  # the retained message itself
        publisher.publish(topic, b"x", retain=True)
        assert subscriber.take().retain


@row("retain_handling")
@EVERY
def test_retain_handling(client, topic, version):
    """A subscription of 3.x has Retain Handling 0: each SUBSCRIBE brings the retained messages again."""
    subscriber, publisher = client(version, "subscriber"), client(5 if version != 5 else 4, "publisher")
    publisher.publish(topic, b"kept", retain=True)
    for _ in range(2):
        subscriber.subscribe(topic, 0)
        assert subscriber.take().payload == b"kept"
    if version == 5:
        for retain_handling in (1, 2):
            subscriber.subscribe(topic, retain_handling << 4)
            subscriber.ping()


@row("suback_code")
@EVERY
def test_suback_code(limited, client, topic, version):
    """Every refusal is 0x80 for 3.1.1, and for 3.1, which has no code for it; what is granted is the same."""
    one = client(version, "one", limited(subscriptions_max=1))
    one.send(wire.subscribe(1, ("a/#/b", 0), ("a", 1), ("b", 0), version=version))
    codes = b"\x8f\x01\x97" if version == 5 else b"\x80\x01\x80"
    assert one.expect(wire.SUBACK).reason_codes(version) == codes


@row("unsuback_code")
@EVERY
def test_unsuback_code(client, topic, version):
    """UNSUBACK of 3.x says nothing of the filters, of those that were not there neither."""
    one = client(version, "one")
    one.subscribe(topic, 0)
    one.send(wire.unsubscribe(2, topic, f"{topic}/none", version=version))
    one.expect_bytes(packet(wire.UNSUBACK << 4, b"\x00\x02" + (b"\x00\x00\x11" if version == 5 else b"")))


@row("overlapping_subscriptions")
@EVERY
def test_overlapping_subscriptions(client, topic, version):
    """One copy at the highest QoS, in every version; only 5 sees which subscriptions it is for."""
    subscriber, publisher = client(version, "subscriber"), client(4 if version == 5 else 5, "publisher")
    filters = [(topic, 0), (f"{topic}/#", 2), (f"{topic}/+", 2), (topic.replace("e2e/", "+/"), 1)]
    for number, (topic_filter, qos) in enumerate(filters, 1):
        identifier = encode_property("subscription_identifier", number) if version == 5 else b""
        subscriber.subscribe(topic_filter, qos, identifier)
    publisher.publish(topic, b"x", 2)
    message = subscriber.take()
    assert message.qos == 2
    assert sorted(message.properties.get("subscription_identifier", [])) == ([1, 2, 4] if version == 5 else [])
    subscriber.ping()


@row("shared_subscription")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_shared_subscription(client, topic, qos):
    """`$share/…` is a group in every version, with members of all of them; each gets its share in its own form."""
    members = [client(version, f"member{version}") for version in (3, 4, 5)]
    for member in members:
        assert member.subscribe(f"$share/group/{topic}", qos) == qos
    publisher = client(5, "publisher")
    for number in range(9):
        publisher.publish(topic, f"{number}".encode(), qos, properties=encode_property("content_type", "text/plain"))
    received = [[member.expect_publish(member.version) for _ in range(3)] for member in members]
    assert collections.Counter(message.payload for part in received for message in part) == collections.Counter(
        f"{number}".encode() for number in range(9))
    for member, part in zip(members, received):
        for message in part:
            assert message.qos == qos
            assert message.properties == ({"content_type": [b"text/plain"]} if member.version == 5 else {})
        member.ping()


# --- sessions


@row("clean_session")
@OLD
def test_clean_session(client, topic, old):
    """1 is Clean Start 1 and Session Expiry Interval 0; 0 is Clean Start 0 and a session that does not expire."""
    publisher = client(5, "publisher")

    def missed(version: int, **options) -> list[bytes]:
        """What a session that was begun with these options has kept of one message."""
        begun = client(version, "client", **options)
        begun.subscribe(topic, 1)
        begun.disconnect()
        publisher.publish(topic, b"missed")
        again = client(version, "client", **options)
        again.send(packet(wire.PINGREQ << 4))
        found = []
        while (received := again.read()).type == wire.PUBLISH:
            found.append(Published.of(received, version).payload)
        again.disconnect()
        client(5, "client").disconnect()
        return found

    assert missed(old, clean=True) == missed(5, clean=True) == []
    assert missed(old, clean=False) == missed(5, **kept(5)) == [b"missed"]
    assert missed(5, clean=False) == []  # 5 needs an expiry for that


@row("session_of_3_resumed_by_5")
@OLD
def test_session_of_3_resumed_by_5(client, topic, old):
    """It is the same session: subscriptions stay, and what waited comes with the properties that 3.x would not see.

    From then on it has the expiry of 5's CONNECT: without one, it ends with that connection.
    """
    publisher = client(5, "publisher")
    first = client(old, "client", **kept(old))
    first.subscribe(topic, 1)
    first.disconnect()
    publisher.publish(topic, b"waited", properties=encode_property("content_type", "text/plain"))
    newer = client(5, "client", **kept(5))
    assert newer.connack.session_present
    message = newer.take()
    assert (message.payload, message.properties) == (b"waited", {"content_type": [b"text/plain"]})
    newer.disconnect()
    last = client(5, "client", clean=False)
    assert last.connack.session_present
    for qos in (0, 1):
        publisher.publish(topic, b"live", qos)
        assert last.take().payload == b"live"
    last.disconnect()
    assert not client(4, "client", **kept(4)).connack.session_present


@row("session_of_5_resumed_by_3")
@OLD
def test_session_of_5_resumed_by_3(client, topic, old):
    """It is the same session: options of its subscriptions stay until 3.x subscribes again; identifiers are unseen."""
    publisher = client(5, "publisher")
    first = client(5, "client", **kept(5))
    first.subscribe(topic, 1 | NO_LOCAL | RETAIN_AS_PUBLISHED, encode_property("subscription_identifier", 7))
    first.disconnect()
    publisher.publish(topic, b"waited", retain=True, properties=encode_property("content_type", "text/plain"))
    older = client(old, "client", **kept(old))
    assert older.connack.session_present == (old == 4)  # CONNACK of 3.1 cannot say it
    older.expect_bytes(packet(0x33, wire.string(topic) + b"\x00\x01waited"))
    older.send(wire.acknowledge(wire.PUBACK, 1))
    older.publish(topic, b"own")
    older.ping()
    older.subscribe(topic, 1)
    assert older.take().payload == b"waited"  # retained
    older.send(wire.publish(topic, b"own", 0, version=old, flags=1))
    message = older.take()
    assert (message.payload, message.retain) == (b"own", False)


@row("session_present")
@OLD
def test_session_present(client, topic, old):
    """CONNACK of 3.1 has no place for it."""
    client(old, "client", **kept(old)).disconnect()
    assert client(old, "client", **kept(old)).connack.body == (b"\x01\x00" if old == 4 else b"\x00\x00")


@row("session_expiry_of_disconnect")
@EVERY
def test_session_expiry_of_disconnect(client, topic, version):
    """5 may change the expiry when it goes; DISCONNECT of 3.x says nothing, and the session stays what it was."""
    expiry = encode_property("session_expiry_interval", 0)
    client(version, "client", **kept(version)).disconnect(
        b"\x00" + bytes([len(expiry)]) + expiry if version == 5 else b"")
    assert client(4, "client", **kept(4)).connack.session_present == (version != 5)


@row("take_over")
@pytest.mark.parametrize("first, second", [(3, 5), (4, 5), (5, 3), (5, 4), (3, 4)])
def test_take_over(client, topic, first, second):
    """One client id is one client in all versions: 5 hears 0x8E, 3.x is closed; a kept session goes on."""
    older = client(first, "client", **kept(first))
    older.subscribe(topic, 1)
    newer = client(second, "client", **kept(second))
    older.expect_end(first, 0x8E)
    assert newer.connack.session_present == (second != 3)
    client(5, "publisher").publish(topic, b"x")
    assert newer.take().payload == b"x"


@row("assigned_client_identifier")
@EVERY
def test_assigned_client_identifier(broker, version):
    """5 is told the id that it was given, 3.1.1 is not and cannot come back, 3.1 must bring one."""
    with Socket(broker) as one:
        one.send(wire.connect("", version=version))
        connack = one.expect(wire.CONNACK)
        if version == 5:
            assert len(connack.properties()["assigned_client_identifier"][0]) > 0
        else:
            assert connack.body == (b"\x00\x00" if version == 4 else b"\x00\x02")


@row("client_id_size")
@EVERY
def test_client_id_size(client, topic, version):
    """The 23 characters of 3.1 are no bound: longer ids, of any characters, are distinct clients in every version."""
    names = ["x" * 24, "x" * 23 + "y", "é/+ #" + "x" * 1000]
    for one in [client(version, name) for name in names]:
        one.ping()  # nobody was taken over


# --- wills


@row("will_properties")
@OLD
def test_will_properties(client, topic, old):
    """A will of 5 has its properties for 5 and none for 3.x; a will of 3.x has none."""
    older, newer = client(old, "older"), client(5, "newer")
    for subscriber in (older, newer):
        subscriber.subscribe(topic, 1)
    content_type = encode_property("content_type", "text/plain")
    client(5, "dies", **wire.will(topic, b"of 5", 5, 1, properties=content_type)).close()
    older.expect_bytes(packet(0x32, wire.string(topic) + b"\x00\x01of 5"))
    older.send(wire.acknowledge(wire.PUBACK, 1))
    assert newer.take().properties == {"content_type": [b"text/plain"]}
    client(old, "dies", **wire.will(topic, b"of 3", old, 1)).close()
    assert older.take().payload == b"of 3"
    message = newer.take()
    assert (message.payload, message.properties) == (b"of 3", {})


@row("will_delay_interval")
def test_will_delay_interval(client, topic):
    """A will of 3.x has no delay, though its session is kept; that of 5 comes when its delay has passed, to 3.x too."""
    observers = [client(version, f"observer{version}") for version in (3, 4, 5)]
    for observer in observers:
        observer.subscribe(topic, 0)
    delayed = wire.will(topic, b"5", clean=False, properties=encode_property("will_delay_interval", 1))
    client(5, "dies5", properties=encode_property("session_expiry_interval", 60), **delayed).close()
    for old in (3, 4):
        client(old, f"dies{old}", **wire.will(topic, f"{old}".encode(), old, clean=False)).close()
    for observer in observers:
        assert sorted(observer.take().payload for _ in range(2)) == [b"3", b"4"]
        assert observer.take().payload == b"5"


@row("disconnect_with_will")
@EVERY
def test_disconnect_with_will(client, topic, version):
    """5 may ask for its will with DISCONNECT 0x04; that of 3.x always drops it."""
    observer = client(5, "observer")
    observer.subscribe(topic, 0)
    client(version, "client", **wire.will(topic, b"will", version)).disconnect(b"\x04" if version == 5 else b"")
    client(5, "client").disconnect()  # by its CONNACK the broker is done with the connection before
    if version == 5:
        assert observer.take().payload == b"will"
    observer.ping()


# --- refusals


def expect_refused(broker, connect: bytes, answer: str) -> None:
    with Socket(broker) as one:
        one.send(connect)
        one.expect_bytes(bytes.fromhex(answer))
        one.expect_closed()


@row("return_code_1")
def test_return_code_1(broker):
    """A level that is not known: above 5 it hears 0x84, below 3, or of a bridge of 3.x, return code 1."""
    for name, level, answer in [("MQTT", 6, "20030084 00"), ("MQTT", 2, "20020001"), ("MQIsdp", 4, "20020001"),
                                ("MQTT", 0x84, "20020001"), ("MQIsdp", 0x83, "20020001")]:
        expect_refused(broker, wire.connect("x", version=level, name=name), answer)


@row("return_code_2")
def test_return_code_2(broker):
    """No client id, where there has to be one; 5 gets one assigned instead."""
    expect_refused(broker, wire.connect("", version=3), "20020002")
    expect_refused(broker, wire.connect("", version=4, clean=False), "20020002")
    with Socket(broker) as one:
        one.connect("", clean=False)


@row("return_code_3")
def test_return_code_3(limited, client):
    """It is the broker that cannot, for now: here it has its sessions."""
    broker = limited(sessions_max=1)
    client(4, "one", broker)
    for version in (3, 4):
        expect_refused(broker, wire.connect("x", version=version), "20020003")
    expect_refused(broker, wire.connect("x", properties=wire.QUIET), "20030097 00")


# What a host may say of a client, as reason code of 5 and return code of 3.x.
HOST_REFUSALS = {
    **dict.fromkeys((0x80, 0x83, 0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F), 3),
    0x85: 2, 0x86: 4, 0x87: 5, 0x8A: 5,
}


@row("return_code_4")
@pytest.mark.skipif("MQTTQ_LIBRARY" not in os.environ, reason="MQTTQ_LIBRARY, where not sanitized, is the library")
def test_return_code_4(monkeypatch):
    """mqttq-server has no passwords that could be wrong: a host of the library says so, and what else it may say."""
    monkeypatch.syspath_prepend(SOURCE_DIR / "tests" / "abi")
    embedding = importlib.import_module("ctypes_test")
    host = embedding.Broker(shards=1)
    try:
        events = host.open_events()
        host.good(embedding.lib.mqttq_broker_set_access(host.handle, events, 1, 0, host.error))
        host.start()
        address, port = host.listen().rsplit(":", 1)
        broker = types.SimpleNamespace(host=address, port=int(port))
        for (reason_code, return_code), version in itertools.product(HOST_REFUSALS.items(), (3, 4, 5)):
            with Socket(broker) as one:
                one.send(wire.connect("x", version=version))
                event = embedding.take(events)
                embedding.lib.mqttq_reply_access(host.handle, event.reply, 0, reason_code)
                one.expect_bytes(bytes([0x20, 3, 0, reason_code, 0] if version == 5 else [0x20, 2, 0, return_code]))
                one.expect_closed()
    finally:
        host.end()


@row("return_code_5")
def test_return_code_5(broker):
    """It is the client that may not: here to have a will on a topic of the broker's."""
    for version in (3, 4):
        expect_refused(broker, wire.connect("x", version=version, **wire.will("$SYS/x", b"", version)), "20020005")
    expect_refused(broker, wire.connect("x", **wire.will("$SYS/x", b""), properties=wire.QUIET), "20030090 00")


@row("authentication_method")
@OLD
def test_authentication_method(broker, client, old):
    """5 may name a method, of which the broker has none; AUTH of 3.x is a packet that there is not."""
    method = encode_property("authentication_method", "m")
    expect_refused(broker, wire.connect("x", properties=method + wire.QUIET), "2003008c 00")
    for version, reason_code in ((old, 0), (5, 0x82)):
        one = client(version, f"auth{version}")
        one.send(packet(wire.AUTH << 4, b"\x18\x00" if version == 5 else b""))
        one.expect_end(version, reason_code)


@row("password_without_user_name")
@EVERY
def test_password_without_user_name(broker, version):
    """5 has allowed it; before, it is malformed, and a CONNECT that is gets no CONNACK."""
    with Socket(broker) as one:
        one.send(wire.connect("x", version=version, flags=0x42, tail=wire.string("secret")))
        if version == 5:
            assert one.expect(wire.CONNACK).reason_code == 0
        else:
            one.expect_closed()


@row("publish_not_authorized")
@EVERY
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_not_authorized(client, topic, version, qos):
    """5 hears 0x87 and goes on; 3.x is acknowledged, or it would come back for ever; nobody gets the message."""
    observer, publisher = client(5, "observer"), client(version, "publisher")
    observer.subscribe("$SYS/made/up", 0)
    assert publisher.publish("$SYS/made/up", b"x", qos) == (0x87 if version == 5 and qos else 0)
    publisher.ping()
    observer.ping()


@row("publish_not_taken")
@EVERY
@pytest.mark.parametrize("qos", [1, 2])
def test_publish_not_taken(limited, client, version, qos):
    """5 hears 0x97 and goes on; 3.x is closed without acknowledgement, so that it sends the message again later."""
    broker = limited(retained_messages_max=1)
    publisher = client(version, "publisher", broker)
    publisher.publish("a", b"x", retain=True)
    if version == 5:
        assert publisher.publish("b", b"x", qos, retain=True) == 0x97
        publisher.ping()
    else:
        publisher.send(wire.publish("b", b"x", qos, 2, version, 1))
        publisher.expect_closed()


@row("no_matching_subscribers")
@EVERY
def test_no_matching_subscribers(client, topic, version):
    """5 hears 0x10, 3.x a plain acknowledgement, whatever the version of those who did not subscribe."""
    one = client(version, "one")
    one.send(wire.publish(topic, b"", 1, 1, version) + wire.publish(topic, b"", 2, 2, version))
    if version == 5:
        one.expect_bytes(b"\x40\x03\x00\x01\x10", b"\x50\x03\x00\x02\x10")
    else:
        one.expect_bytes(b"\x40\x02\x00\x01", b"\x50\x02\x00\x02")


@row("packet_identifier_not_found")
@EVERY
def test_packet_identifier_not_found(client, version):
    """PUBREL and PUBREC for what is not there are answered all the same; 5 hears 0x92."""
    one = client(version, "one")
    one.send(wire.acknowledge(wire.PUBREL, 9) + wire.acknowledge(wire.PUBREC, 9))
    if version == 5:
        one.expect_bytes(b"\x70\x03\x00\x09\x92", b"\x62\x03\x00\x09\x92")
    else:
        one.expect_bytes(b"\x70\x02\x00\x09", b"\x62\x02\x00\x09")


@row("negative_acknowledgement")
@EVERY
def test_negative_acknowledgement(client, topic, version):
    """A subscriber of 5 may refuse a message; that ends it for this one alone, and its publisher is not told."""
    refusing, other, publisher = client(5, "refusing"), client(4, "other"), client(version, "publisher")
    for subscriber in (refusing, other):
        subscriber.subscribe(topic, 2)
    assert publisher.publish(topic, b"1", 1) == publisher.publish(topic, b"2", 2) == 0
    for packet_type in (wire.PUBACK, wire.PUBREC):
        packet_id = refusing.expect_publish().packet_id
        refusing.send(packet(packet_type << 4, packet_id.to_bytes(2, "big") + b"\x97"))
    refusing.ping()  # no PUBREL
    assert [other.take().payload for _ in range(2)] == [b"1", b"2"]
    publisher.ping()


@row("server_disconnect")
@EVERY
def test_server_disconnect(client, version):
    """5 hears why the broker ends its connection, and 3.x nothing."""
    one = client(version, "one")
    one.send(packet(0x36, wire.string("a") + b"\x00\x01x"))  # QoS 3
    one.expect_end(version, 0x81)


@row("reason_string")
@pytest.mark.parametrize("wanted", [0, 1])
def test_reason_string(client, topic, wanted):
    """Why something is refused is said in words to who wants to hear problems, and to nobody else."""
    one = client(5, "one", properties=encode_property("request_problem_information", wanted))
    one.send(wire.subscribe(1, ("a/#/b", 0)) + wire.publish("$SYS/x", b"", 1, 2) + wire.publish("+", b""))
    for kind in (wire.SUBACK, wire.PUBACK, wire.DISCONNECT):
        assert bool(one.expect(kind).properties().get("reason_string")) == bool(wanted)
    one.expect_closed()


@row("response_information")
def test_response_information(client):
    """5 may ask for it; this broker has none to give, and one that has is tested in test_server_topics.py."""
    one = client(5, "one", properties=encode_property("request_response_information", 1))
    assert "response_information" not in one.connack.properties()


@row("delayed_publish")
@EVERY
def test_delayed_publish(limited, client, topic, version):
    """It is answered at once, comes in its time, and over its bounds is refused as any message that is not taken."""
    broker = limited(delayed_messages_max=1)
    subscriber, publisher = client(5, "subscriber", broker), client(version, "publisher", broker)
    subscriber.subscribe(topic, 1)
    publisher.publish(f"$delayed/1/{topic}", b"x")
    publisher.send(wire.publish(f"$delayed/1/{topic}", b"y", 1, 100, version=version))
    if version == 5:
        assert publisher.expect(wire.PUBACK).body[2] == 0x97
    else:
        publisher.expect_closed()
    assert subscriber.take().payload == b"x"


@row("user_property_of_a_request")
def test_user_property_of_a_request(client, topic):
    """Those of CONNECT, SUBSCRIBE, UNSUBSCRIBE and DISCONNECT are read and go nowhere."""
    properties = encode_property("user_property", ("name", "value"))
    one = client(5, "one", properties=properties)
    assert "user_property" not in one.connack.properties()
    one.send(wire.subscribe(1, (topic, 0), properties=properties))
    one.expect_bytes(b"\x90\x04\x00\x01\x00\x00")
    client(4, "publisher").publish(topic, b"x")
    one.expect_bytes(wire.publish(topic, b"x"))
    one.send(wire.unsubscribe(2, topic, properties=properties))
    one.expect_bytes(b"\xb0\x04\x00\x02\x00\x00")
    one.disconnect(b"\x00" + bytes([len(properties)]) + properties)


# --- what is agreed at the beginning


@row("server_keep_alive")
def test_server_keep_alive(limited, client):
    """5 is told a shorter one and held to it; 3.x cannot be told, and keeps its own."""
    broker = limited(keep_alive_max_s=1)
    older = [client(old, f"older{old}", broker) for old in (3, 4)]
    newer = client(5, "newer", broker)
    assert newer.connack.properties()["server_keep_alive"] == [1]
    newer.expect_end(5, 0x8D)
    for one in older:
        one.ping()


@row("receive_maximum_of_a_client")
@OLD
def test_receive_maximum_of_a_client(client, topic, old):
    """5 may bound what is in flight to it; 3.x cannot, and has what `inflight_max` allows."""
    older, publisher = client(old, "older"), client(5, "publisher")
    newer = client(5, "newer", properties=encode_property("receive_maximum", 1))
    for subscriber in (older, newer):
        subscriber.subscribe(topic, 1)
    for number in range(20):
        publisher.publish(topic, f"{number}".encode())
    assert [older.expect_publish(old).payload for _ in range(20)] == [f"{number}".encode() for number in range(20)]
    assert newer.expect_publish().payload == b"0"
    newer.ping()


@row("receive_maximum_of_the_broker")
@EVERY
def test_receive_maximum_of_the_broker(limited, client, version):
    """5 is told, and hears 0x93 when it sends more; 3.x is closed."""
    one = client(version, "one", limited(receive_maximum=2))
    if version == 5:
        assert one.connack.properties()["receive_maximum"] == [2]
    one.send(b"".join(wire.publish("a", b"", 2, packet_id, version) for packet_id in (1, 2, 3)))
    assert [one.expect(wire.PUBREC).packet_id for _ in range(2)] == [1, 2]
    one.expect_end(version, 0x93)


@row("maximum_packet_size_of_a_client")
@OLD
def test_maximum_packet_size_of_a_client(client, topic, old):
    """5 may bound what is sent to it, and the rest is left out for it alone; 3.x cannot."""
    older, publisher = client(old, "older"), client(old, "publisher")
    newer = client(5, "newer", properties=encode_property("maximum_packet_size", 100))
    for subscriber in (older, newer):
        subscriber.subscribe(topic, 1)
    for payload in (b"x" * 100, b"small"):
        publisher.publish(topic, payload)
    assert [older.take().payload for _ in range(2)] == [b"x" * 100, b"small"]
    assert newer.take().payload == b"small"


@row("maximum_packet_size_of_the_broker")
@EVERY
def test_maximum_packet_size_of_the_broker(limited, client, version):
    """5 is told, and hears 0x95 when it sends more; 3.x is closed."""
    one = client(version, "one", limited(packet_size_max=100))
    if version == 5:
        assert one.connack.properties()["maximum_packet_size"] == [100]
    one.send(wire.publish("a", b"x" * 100, version=version))
    one.expect_end(version, 0x95)


# --- 3.1 beside 3.1.1


@row("request_flags")
@EVERY
def test_request_flags(client, topic, version):
    """3.1 lets SUBSCRIBE, UNSUBSCRIBE and PUBREL be repeated with DUP; later the flags are 0010 and no others."""
    for request in (wire.subscribe(1, (topic, 0), version=version), wire.unsubscribe(1, topic, version=version),
                    wire.acknowledge(wire.PUBREL, 1)):
        one = client(version, "one")
        one.send(bytes([request[0] | 0x08]) + request[1:])
        if version == 3:
            assert one.read().packet_id == 1
            one.disconnect()
        else:
            one.expect_end(version, 0x81)


@row("connect_flags")
@EVERY
def test_connect_flags(broker, version):
    """3.1 disregards flags of a will that is not there, and of a user name that does not come; later ones do not."""
    no_will = b"\x00" if version == 5 else b""
    for flags in (0x02 | 0x18, 0x02 | 0x20, 0x02 | 0x01, 0x02 | 0x80):
        with Socket(broker) as one:
            one.send(wire.connect("x", version=version, flags=flags, tail=no_will if flags & 0x80 else b""))
            if version == 3:
                assert one.expect(wire.CONNACK).reason_code == 0
            else:
                one.expect_closed()


# --- the page


def test_every_row_of_the_page_has_its_test():
    """And every test its row."""
    ids = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(ids) == sorted(ROWS)
    assert len(set(ids)) == len(ids)
