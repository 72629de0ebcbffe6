"""What outlives the broker: with a data directory, an end by SIGTERM or by SIGKILL and a new start lose nothing.

Time that has to pass is filled with restarts: whatever a broker counts from its own start instead of from what
happened then never comes due.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import time

import pytest

from harness import wire
from harness.broker import HOST, Broker, Process, Settings, server_path
from harness.client import Subscription, Version, Will
from harness.wire import FULL, FULL_RECEIVED, Published, Socket, encode_property

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

ENDS = ["stopped", "killed"]
NO_LOCAL, RETAIN_AS_PUBLISHED, NOTHING_RETAINED = 0x04, 0x08, 0x20
DUP, RETAIN = 8, 1
NEVER = 0xFFFFFFFF

EVERY_SHARDS = pytest.mark.parametrize("shards", [1, 3], ids=["1_shard", "3_shards"])
BOTH_VERSIONS = pytest.mark.parametrize("version", [5, 4], ids=["v5", "v3_1_1"])


class Client(Socket):
    def read_to_end(self) -> None:
        """Takes what comes until the broker closes, and closes, for which a broker that is stopped waits a while."""
        while self._socket.fileno() >= 0 and self.read_raw():
            pass
        self.close()


class DurableBroker:
    """A broker with a data directory, which ends and starts again; clients connect to the one that there is now."""

    host = HOST
    kind = "mqttq"

    def __init__(self, directory, end: str, shards: int):
        """directory: an empty one. end: "stopped" or "killed". shards: of every start, unless told otherwise."""
        self.directory = directory
        self.data = directory / "data"
        self.end = end
        self.shards = shards
        self.flags: tuple[str, ...] = ()  # further ones
        self.sockets: list[Client] = []
        self.running: Broker | None = None
        self.started = 0.0  # by time.monotonic(), when the process that runs was about to be

    @property
    def port(self) -> int:
        return self.running.port

    def start(self, shards: int | None = None) -> None:
        self.started = time.monotonic()
        flags = ("--data-dir", str(self.data), "--shards", str(shards or self.shards), *self.flags)
        self.running = Broker(self.directory, Settings(flags=flags))

    def finish(self) -> None:
        """Ends the broker while its clients are connected, and then their connections."""
        if self.end == "killed":
            self.running.kill()
            for one in self.sockets:
                one.close()
            self.sockets.clear()
        else:
            self.stop()

    def stop(self) -> None:
        self.running.begin_stop()
        for one in self.sockets:
            one.read_to_end()
        self.sockets.clear()
        self.running.stop()

    def restart(self, shards: int | None = None) -> None:
        self.finish()
        self.start(shards)

    def restart_until(self, moment: float) -> None:
        """Restarts until a process was started after `moment` of time.monotonic()."""
        while self.started < moment:
            self.restart()

    def connect(self, client_id: str, present: bool | None = None, version: int = 5, clean: bool = False,
                expiry_s: int = 300, receive_maximum: int | None = None, **options) -> Client:
        """A connection that is closed with the broker. present: what CONNACK must say; None: anything."""
        client = Client(self)
        self.sockets.append(client)
        if version == 5:
            options["properties"] = encode_property("session_expiry_interval", expiry_s)
            if receive_maximum is not None:
                options["properties"] += encode_property("receive_maximum", receive_maximum)
        if "will" in options:
            will = options.pop("will")
            options.update(wire.will(will.topic, will.payload, version, will.qos, will.retain, clean,
                                     properties(**will.properties)))
        connack = client.connect(client_id, version=version, clean=clean, **options)
        if present is not None:
            assert connack.session_present == present
        return client

    def publish(self, topic: str, *payloads: bytes, qos: int = 1, retain: bool = False, **values) -> None:
        """Publishes from a connection of its own, until all is acknowledged. values: properties."""
        client = self.connect("", clean=True, expiry_s=0)
        publish(client, topic, *payloads, qos=qos, retain=retain, **values)
        client.close()

    def last(self, client: Socket, topic: str, version: int = 5) -> list[Published]:
        """What `client` is sent before a last message, which a subscription of its at QoS 1 or 2 must bring it."""
        self.publish(topic, b"the last")
        return receive_until(client, b"the last", version)

    def retained(self, topic_filter: str, count: int) -> list[Published]:
        """The retained messages of a filter, which must be so many."""
        client = self.connect("", clean=True, expiry_s=0)
        subscribe(client, (topic_filter, 2))
        received = receive(client, count)
        client.ping()
        client.close()
        return received


@contextlib.contextmanager
def durable_broker(directory, end: str, shards: int):
    """One to be started; it is stopped and judged at the end."""
    made = DurableBroker(directory, end, shards)
    try:
        yield made
        if made.running and made.running.child.process.poll() is None:
            made.stop()
    finally:
        if made.running:
            made.running.child.kill()
        for one in made.sockets:
            one.close()
        shutil.rmtree(made.data, ignore_errors=True)  # logs are large, and pytest keeps what is left


@pytest.fixture(params=ENDS)
def end(request):
    return request.param


@pytest.fixture
def shards():
    return 3


@pytest.fixture
def unstarted(tmp_path, end, shards):
    with durable_broker(tmp_path, end, shards) as made:
        yield made


@pytest.fixture
def broker(unstarted):
    unstarted.start()
    return unstarted


def properties(**values) -> bytes:
    """Properties of a packet; those that may come several times as lists."""
    return b"".join(encode_property(name, one) for name, value in values.items()
                    for one in (value if isinstance(value, list) else [value]))


def subscribe(client: Socket, *filters: tuple[str, int], version: int = 5, packet_id: int = 1000,
              granted: list[int] | None = None, **values) -> None:
    """Until SUBACK. filters: with their options. granted: the reason codes if they are not the QoS asked for."""
    client.send(wire.subscribe(packet_id, *filters, version=version, properties=properties(**values)))
    codes = list(client.expect(wire.SUBACK).reason_codes(version))
    assert codes == (granted or [options & 3 for _, options in filters])


def unsubscribe(client: Socket, *filters: str, version: int = 5) -> None:
    client.send(wire.unsubscribe(1001, *filters, version=version))
    client.expect(wire.UNSUBACK)


def exchange(client: Socket, done, version: int = 5) -> list[Published]:
    """Takes messages and acknowledges them, until done(messages) and none of them is open."""
    received: list[Published] = []
    unreleased: set[int] = set()
    while unreleased or not done(received):
        packet = client.read()
        assert packet is not None, f"the connection was closed behind {received}"
        if packet.type == wire.PUBREL:
            unreleased.discard(packet.packet_id)
            client.send(wire.acknowledge(wire.PUBCOMP, packet.packet_id))
            continue
        message = Published.of(packet, version)
        received.append(message)
        if message.qos == 1:
            client.send(wire.acknowledge(wire.PUBACK, message.packet_id))
        elif message.qos == 2:
            assert message.packet_id not in unreleased
            unreleased.add(message.packet_id)
            client.send(wire.acknowledge(wire.PUBREC, message.packet_id))
    return received


def receive(client: Socket, count: int, version: int = 5) -> list[Published]:
    """The next `count` messages, acknowledged to the end."""
    received = exchange(client, lambda messages: len(messages) >= count, version)
    assert len(received) == count
    return received


def receive_until(client: Socket, payload: bytes, version: int = 5) -> list[Published]:
    """All messages before one with this payload, which is the last; acknowledged to the end."""
    received = exchange(client, lambda messages: messages and messages[-1].payload == payload, version)
    assert received[-1].payload == payload
    return received[:-1]


def publish(client: Socket, topic: str, *payloads: bytes, qos: int = 1, retain: bool = False, **values) -> None:
    """Until all is acknowledged, or has been read. values: properties."""
    for packet_id, payload in enumerate(payloads, 1):
        client.send(wire.publish(topic, payload, qos, packet_id if qos else None, flags=retain * RETAIN,
                                 properties=properties(**values)))
    if qos == 1:
        for packet_id in range(1, len(payloads) + 1):
            assert client.expect(wire.PUBACK).packet_id == packet_id
    elif qos == 2:
        release(client, len(payloads))
    client.ping()


def release(client: Socket, count: int) -> None:
    """Sees `count` QoS 2 publishes of a client through to PUBCOMP."""
    for _ in range(2 * count):
        packet = client.read()
        if packet.type == wire.PUBREC:
            client.send(wire.acknowledge(wire.PUBREL, packet.packet_id))
        else:
            assert packet.type == wire.PUBCOMP, packet


def payloads(messages: list[Published]) -> list[bytes]:
    return [message.payload for message in messages]


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [f"{number}".encode() for number in range(first, first + count)]


# --- sessions and their subscriptions


@EVERY_SHARDS
def test_subscriptions_come_back(broker):
    """With every option, each message once, at the highest QoS, with all identifiers.

    [MQTT-4.1.0-1] [MQTT-3.3.4-1] [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5] [MQTT-3.8.3-3]
    """
    client = broker.connect("s", present=False)
    subscribe(client, ("qos/0", 0), ("qos/1", 2), ("qos/2", 2))
    subscribe(client, ("qos/1", 1), ("rap", 1 | RETAIN_AS_PUBLISHED), ("not/rap", 1), ("own", 1),
              ("not/own", 1 | NO_LOCAL), ("own/0", 0), ("not/own/0", NO_LOCAL))
    subscribe(client, ("over/#", 0), subscription_identifier=1)
    subscribe(client, ("over/+", 1), subscription_identifier=268_435_455)
    subscribe(client, ("over/lap", 2), subscription_identifier=1)
    subscribe(client, ("over/lap", 2), subscription_identifier=300)  # instead
    subscribe(client, ("+/lap", 1))
    subscribe(client, ("single", 1), subscription_identifier=7)
    broker.restart()

    client = broker.connect("s", present=True)
    for topic in ("qos/0", "qos/1", "qos/2", "over/lap", "over/other", "over/a/b", "single"):
        broker.publish(topic, b"x", qos=2)
    for topic in ("rap", "not/rap"):
        broker.publish(topic, b"x", retain=True)
    received = receive(client, 9)
    assert {(message.topic, message.qos, message.retain) for message in received} == {
        ("qos/0", 0, False), ("qos/1", 1, False), ("qos/2", 2, False), ("over/lap", 2, False), ("over/other", 1, False),
        ("over/a/b", 0, False), ("single", 1, False), ("rap", 1, True), ("not/rap", 1, False)}
    assert {message.topic: sorted(message.properties.get("subscription_identifier", [])) for message in received} == {
        "qos/0": [], "qos/1": [], "qos/2": [], "over/lap": [1, 300, 268_435_455], "over/other": [1, 268_435_455],
        "over/a/b": [1], "single": [7], "rap": [], "not/rap": []}

    for topic in ("not/own", "not/own/0", "own", "own/0"):
        client.send(wire.publish(topic, b"x"))
    received = [client.expect_publish() for _ in range(2)]
    assert [message.topic for message in received] == ["own", "own/0"]
    assert broker.last(client, "not/own") == []


def test_foreign_clients_resume(broker, clients):
    """What they did not see before the end comes afterwards. [MQTT-3.1.2-5] [MQTT311-3.1.2-4]"""
    subscribers = [clients(kind, broker, version) for kind in ("paho", "mosq") for version in Version]

    def kept(client):
        expiry = {"session_expiry_interval": 300} if client.version == Version.V5 else None
        return {"clean_start": False, "properties": expiry}

    for client in subscribers:
        client.connect(**kept(client))
        client.subscribe(Subscription("a/+", 2))
        client.drop()
    publisher = clients("paho", broker)
    publisher.connect()
    for number in range(20):
        publisher.publish(f"a/{number % 3}", f"{number}", 1 + number % 2)
    broker.restart()

    for client in subscribers:
        connack = client.connect(**kept(client))
        if client.kind == "mosq":
            client.subscribe(Subscription("a/+", 2))  # this is what connects it
        elif client.version != Version.V3_1:  # whose CONNACK does not say
            assert connack.session_present
        received = client.take(20)
        for qos in (1, 2):  # the clients hand out a message of QoS 2 only after its PUBREL
            assert [message.payload for message in received if message.qos == qos] == [
                f"{number}".encode() for number in range(qos - 1, 20, 2)]
    publisher.connect()
    publisher.publish("a/b", "end", 2)
    for client in subscribers:
        assert client.take_until("end") == []


def test_mqtt_3_sessions(broker):
    """Clean Session 0 outlives the broker, Clean Session 1 does not. [MQTT311-3.1.2-4] [MQTT311-3.1.2-6]"""
    for clean in (False, True):
        subscribe(broker.connect(f"{clean}", version=4, clean=clean), ("a", 0), ("b", 1), ("c", 2), version=4)
    broker.restart()
    kept = broker.connect("False", present=True, version=4)
    gone = broker.connect("True", present=False, version=4)
    for topic in "abc":
        broker.publish(topic, b"x", qos=2)
    received = receive(kept, 3, 4)
    assert sorted((message.topic, message.qos) for message in received) == [("a", 0), ("b", 1), ("c", 2)]
    gone.ping()


def test_an_exclusive_subscription(unstarted):
    """It keeps others out after the restart, until it is given up, and that outlives the broker too."""
    broker = unstarted
    config = broker.directory / "exclusive.json"
    config.write_text(json.dumps({"protocol": {"exclusive_subscriptions": True}}))
    broker.flags = ("--config", str(config))
    broker.start()
    subscribe(broker.connect("owner"), ("$exclusive/a", 1), ("$exclusive/b", 1), ("$exclusive/c", 1))
    broker.restart()

    other = broker.connect("other")
    subscribe(other, ("$exclusive/a", 1), ("$exclusive/b", 1), ("$exclusive/c", 1), granted=[0x97] * 3)
    owner = broker.connect("owner", present=True)
    subscribe(owner, ("$exclusive/a", 1))
    unsubscribe(owner, "$exclusive/b")
    subscribe(owner, ("c", 1))  # no longer exclusive
    broker.publish("a", b"x")
    assert [message.topic for message in receive(owner, 1)] == ["a"]
    broker.restart()

    other = broker.connect("other", present=True)
    subscribe(other, ("$exclusive/a", 1), ("$exclusive/b", 1), ("$exclusive/c", 1), granted=[0x97, 1, 1])
    broker.connect("owner", clean=True).close()
    broker.restart()
    subscribe(broker.connect("other", present=True), ("$exclusive/a", 1))


def test_an_unsubscribed_filter_stays_unsubscribed(broker):
    """[MQTT-3.10.4-2] [MQTT-3.10.4-3]"""
    client = broker.connect("s")
    subscribe(client, ("a", 1), ("b", 1), ("c/#", 2), ("c/+", 2), ("d", 0))
    unsubscribe(client, "a", "c/#", "d")
    broker.restart()
    client = broker.connect("s", present=True)
    for topic in ("a", "c/d/e", "d", "c/d", "b"):
        broker.publish(topic, b"x", qos=2)
    assert sorted(message.topic for message in receive(client, 2)) == ["b", "c/d"]
    subscribe(client, ("a", 1))  # it can be subscribed to anew: what was published before is not for it
    assert broker.last(client, "a") == []
    broker.restart()
    received = broker.last(broker.connect("s", present=True), "a")
    assert not any(message.topic == "a" and message.payload == b"x" for message in received)


def test_what_waits_for_a_filter_that_is_given_up_does_not_come(broker):
    """A new subscription begins behind what the old one left, after a restart as before. [MQTT-3.10.4-2]"""
    client = broker.connect("s", receive_maximum=1)
    subscribe(client, ("a", 1), ("b", 1))
    broker.publish("b", b"in flight")
    client.expect_publish()
    broker.publish("a", b"waits")
    unsubscribe(client, "a")
    subscribe(client, ("a", 1))
    broker.publish("a", b"later")
    broker.restart()
    assert payloads(broker.last(broker.connect("s", present=True), "a")) == [b"in flight", b"later"]


def test_a_clean_start_forgets_for_good(broker):
    """Subscriptions, waiting messages, what was in flight, receipts: none comes back. [MQTT-3.1.2-4]"""
    for expiry_s in (0, 300):
        client = broker.connect(f"{expiry_s}", will=Will("will", b"x", 1, properties={"will_delay_interval": 250}))
        subscribe(client, ("a/#", 2), ("b", 1))
        broker.publish("a/1", b"in flight", qos=2)
        broker.publish("b", b"in flight")
        client.send(wire.publish("c", b"x", 2, 5))
        for _ in range(3):
            assert client.read().type in (wire.PUBLISH, wire.PUBREC)
        client.close()
        broker.publish("a/1", b"missed")
        broker.connect(f"{expiry_s}", present=False, clean=True, expiry_s=expiry_s)
    broker.restart()

    taker = broker.connect("taker")
    subscribe(taker, ("c", 2))
    for expiry_s in (0, 300):
        client = broker.connect(f"{expiry_s}", present=expiry_s != 0)
        client.ping()
        broker.publish("a/1", b"not for it")
        client.send(wire.publish("c", b"new", 2, 5))  # the identifier is free
        release(client, 1)
        assert payloads(receive(taker, 1)) == [b"new"]
        subscribe(client, ("b", 1))
        assert broker.last(client, "b") == []


def test_sessions_that_end_with_their_connection_are_gone(broker):
    """Expiry 0 from the start, by DISCONNECT, or when it was resumed. [MQTT-3.1.2-23]"""
    subscribe(broker.connect("start", expiry_s=0), ("a", 1))
    by_disconnect = broker.connect("disconnect")
    subscribe(by_disconnect, ("a", 1))
    expiry = encode_property("session_expiry_interval", 0)
    by_disconnect.send(wire.packet(wire.DISCONNECT << 4, b"\x00" + wire.varint(len(expiry)) + expiry))
    by_disconnect.expect_closed()
    resumed = broker.connect("resumed")
    subscribe(resumed, ("a", 1))
    resumed.close()
    broker.publish("a", b"x")
    receive(broker.connect("resumed", present=True, expiry_s=0), 1)
    broker.restart()
    for client_id in ("start", "disconnect", "resumed"):
        client = broker.connect(client_id, present=False)
        client.ping()
    broker.publish("a", b"x")
    client.ping()


def test_other_shards(broker):
    """The number of shards may be another one at each start: everything has its new home."""
    for number in range(8):
        subscribe(broker.connect(f"s{number}"), ("a/#", 1 + number % 2), (f"own/{number}", 1))
    for number in range(8):
        broker.publish(f"retained/{number}", b"x", retain=True)
    broker.publish("$delayed/1/a/delayed", b"delayed")
    broker.publish("a/b", *numbered(5), qos=2)
    for shards in (2, 4, 1):
        broker.restart(shards)
    broker.retained("retained/#", 8)
    for number in range(8):
        client = broker.connect(f"s{number}", present=True)
        assert payloads(receive(client, 6)) == [*numbered(5), b"delayed"]
        assert broker.last(client, f"own/{number}") == []


def test_long_names(broker):
    """A client id, a topic and a filter of the greatest sizes."""
    client_id, topic = "i" * 65_535, "t" * 65_535
    subscribe(broker.connect(client_id), (topic, 1), (topic[:-1] + "u", 1))
    broker.publish(topic, b"x", retain=True)
    broker.restart()
    client = broker.connect(client_id, present=True)
    assert payloads(receive(client, 1)) == [b"x"]
    assert broker.last(client, topic[:-1] + "u") == []
    assert payloads(broker.retained(topic, 1)) == [b"x"]


# --- messages that wait


@EVERY_SHARDS
def test_messages_wait(broker):
    """In order, once, whole, with their properties. [MQTT-4.5.0-1] [MQTT-4.6.0-6] [MQTT-3.3.2-18]"""
    subscribe(broker.connect("s"), ("a/#", 2))
    broker.sockets[-1].close()
    sent = []
    for number, size in enumerate((0, 100, 20_000, 300_000, 16_384, 1, 0, 65_536)):
        payload = os.urandom(size)
        sent.append((f"a/{number % 2}", 1 + number % 2, payload))
        broker.publish(f"a/{number % 2}", payload, qos=1 + number % 2, **FULL)
    broker.restart()
    client = broker.connect("s", present=True)
    received = receive(client, len(sent))
    assert [(message.topic, message.qos, message.payload) for message in received] == sent
    assert all(message.properties == FULL_RECEIVED for message in received)
    assert not any(message.dup or message.retain for message in received)
    assert broker.last(client, "a/0") == []


def test_messages_wait_over_many_restarts(broker):
    """Some come before each of them; none is lost, and none comes twice."""
    for version in (4, 5):
        client = broker.connect(f"s{version}", version=version)
        subscribe(client, ("a/#", 2), ("+/b", 1), (f"v{version}", 1), version=version)
        client.close()
    for restart in range(3):
        broker.publish("a/b", *numbered(10, 20 * restart))
        broker.publish("a/b", *numbered(10, 20 * restart + 10), qos=2)
        broker.restart()
    for version in (4, 5):
        client = broker.connect(f"s{version}", present=True, version=version)
        assert payloads(receive(client, 60, version)) == numbered(60)
        assert broker.last(client, f"v{version}", version) == []


@EVERY_SHARDS
def test_one_message_for_many_sessions(broker):
    """Each has what all of its filters match, once, at its QoS, and goes on where it stopped.

    What was acknowledged may come again after a crash, as QoS 1 allows, but nothing may be missing.
    """
    count = 20
    for number in range(count):
        client = broker.connect(f"s{number}")
        subscribe(client, ("a/#", 1 + number % 2), (f"own/{number}", 1))
        if number % 3 == 0:
            subscribe(client, ("a/+", 1))
        client.close()
    broker.publish("a/b", *numbered(6), qos=2)
    broker.restart()
    for number in range(count):
        client = broker.connect(f"s{number}", present=True, receive_maximum=6)
        messages = [client.expect_publish() for _ in range(6)]
        assert payloads(messages) == numbered(6)
        for message in messages[:number % 7]:
            client.send(wire.acknowledge(wire.PUBREC if message.qos == 2 else wire.PUBACK, message.packet_id))
            if message.qos == 2:
                assert client.expect(wire.PUBREL).packet_id == message.packet_id
        client.ping()
        client.close()
    broker.restart()
    for number in range(count):
        client = broker.connect(f"s{number}", present=True)
        received = broker.last(client, f"own/{number}")
        left = 6 - number % 7
        assert payloads(received) == numbered(len(received), 6 - len(received))
        assert all(message.qos == 1 + number % 2 for message in received)
        assert len(received) == left or (broker.end == "killed" and number % 2 == 0 and len(received) > left)


# --- shared groups

SHARED = "$share/g/a/#"


@EVERY_SHARDS
def test_a_group_comes_back_with_what_waits_in_it(broker):
    """In order, once, whole, with what its members had asked for, and until its last member has gone."""
    for number in range(2):
        client = broker.connect(f"s{number}")
        subscribe(client, (SHARED, 2 | RETAIN_AS_PUBLISHED), (f"own/{number}", 1), subscription_identifier=7 + number)
        client.close()
    sent = numbered(20)
    broker.publish("a/b", *sent[:10], qos=2, **FULL)
    broker.restart()
    broker.publish("a/b", *sent[10:], qos=1, retain=True)
    broker.restart()
    client = broker.connect("s1", present=True)
    received = receive(client, 20)
    assert payloads(received) == sent
    assert [message.qos for message in received] == [2] * 10 + [1] * 10
    assert [message.retain for message in received] == [False] * 10 + [True] * 10
    assert received[0].properties == {**FULL_RECEIVED, "subscription_identifier": [8]}
    unsubscribe(client, SHARED)
    client.close()
    client = broker.connect("s0", present=True)
    broker.publish("a/b", b"for the other")
    assert payloads(receive(client, 1)) == [b"for the other"]
    unsubscribe(client, SHARED)
    broker.publish("a/b", b"for nobody")
    subscribe(client, (SHARED, 1))
    broker.restart()
    client = broker.connect("s0", present=True)
    assert broker.last(client, "own/0") == []
    assert broker.last(client, "a/b") == []


@EVERY_SHARDS
@pytest.mark.parametrize("qos", [1, 2])
def test_a_group_s_messages_in_flight(broker, qos):
    """What a member has stays with it; what it had finished does not come back; who is not kept gives all back."""
    kept = broker.connect("kept", receive_maximum=6)
    subscribe(kept, (SHARED, qos), ("own", 1))
    gone = broker.connect("gone", clean=True, expiry_s=0, receive_maximum=4)
    subscribe(gone, (SHARED, qos))
    broker.publish("a/b", *numbered(10), qos=qos)
    held = [kept.expect_publish() for _ in range(6)]
    lost = [gone.expect_publish() for _ in range(4)]
    assert sorted(payloads(held + lost)) == sorted(numbered(10))
    if qos == 2:  # it is not over before PUBCOMP, and is never begun again
        for message in held[:2]:
            kept.send(wire.acknowledge(wire.PUBREC, message.packet_id))
        for message in held[:2]:
            assert kept.expect(wire.PUBREL).packet_id == message.packet_id
            kept.send(wire.acknowledge(wire.PUBCOMP, message.packet_id))
        kept.ping()
    broker.restart()
    kept = broker.connect("kept", present=True)
    broker.publish("own", b"the last")  # between what comes through the group, in whatever order
    each_for_itself = qos == 2 and broker.end == "stopped"
    least = 10 if qos == 1 else 4 if each_for_itself else 8
    received = exchange(kept, lambda some: b"the last" in payloads(some) and len(some) > least)
    received = [one for one in received if one.payload != b"the last"]
    if qos == 1:  # what was with a member is given to who is there when he goes, and is not written at once
        assert sorted(payloads(received)) == sorted(numbered(10))
        return
    again = received[:4]
    assert payloads(again) == payloads(held)[-4:]
    others = sorted(payloads(received[len(again):]))
    # At QoS 2 what the other had begun ends with him [MQTT-4.8.2-5], unless the broker ends first.
    if each_for_itself:
        assert set(others) <= set(payloads(lost)) and len(others) == len(set(others))
    else:
        assert others == sorted(payloads(lost))


def test_who_leaves_a_group_keeps_what_it_has(broker):
    """[MQTT-3.10.4-3]"""
    one, two = broker.connect("one", receive_maximum=3), broker.connect("two", receive_maximum=1)
    subscribe(one, (SHARED, 1), ("own", 1))
    subscribe(two, (SHARED, 1))
    broker.publish("a/b", *numbered(6))
    held = [one.expect_publish() for _ in range(3)]
    first = two.expect_publish()
    unsubscribe(one, SHARED)
    broker.restart()
    one, two = broker.connect("one", present=True), broker.connect("two", present=True)
    assert payloads(broker.last(one, "own")) == payloads(held)
    rest = [payload for payload in numbered(6) if payload not in payloads(held)]
    received = payloads(receive(two, 3))
    assert sorted(received) == sorted(rest)
    assert received[0] == first.payload
    assert payloads(broker.last(two, "a/b")) == []


def test_a_group_that_is_longer_than_memory(broker):
    """Messages that are not in memory any more are read for the member that is there, and for the one after it."""
    config = broker.directory / "limits.json"
    config.write_text(json.dumps({"limits": {"store_memory_bytes": 4000, "log_segment_bytes": 1 << 20}}))
    broker.flags = ("--config", str(config))
    broker.restart()
    client = broker.connect("s")
    subscribe(client, (SHARED, 2), ("own", 1))
    client.close()
    sent = [f"{number}".encode().rjust(1000) for number in range(200)]
    broker.publish("a/b", *sent, qos=1)
    client = broker.connect("s", present=True, receive_maximum=50)
    held = [client.expect_publish() for _ in range(50)]
    assert payloads(held) == sent[:50]
    broker.restart()
    other = broker.connect("other", clean=True, expiry_s=0)
    other.send(wire.subscribe(1, (SHARED, 1), version=5))
    received = []
    while len(received) < 200:
        packet = other.read()
        if packet.type == wire.SUBACK:  # messages may come before it (MQTT5 3.8.4)
            continue
        message = Published.of(packet)
        received.append(message.payload)
        other.send(wire.acknowledge(wire.PUBACK, message.packet_id))
    assert sorted(received) == sorted(sent)  # with what the absent one had
    assert broker.last(broker.connect("s", present=True), "own") == []


# --- in flight towards the client


@BOTH_VERSIONS
def test_qos_1_in_flight(broker, version):
    """Unacknowledged messages come again: after a stop as what they were, with DUP, and after a crash surely.

    What was acknowledged does not come again after a stop.
    [MQTT-4.4.0-1] [MQTT-4.4.0-2] [MQTT-3.3.1-1] [MQTT-2.2.1-3]
    """
    client = broker.connect("s", version=version)
    options = {"subscription_identifier": 9} if version == 5 else {}
    # The lookup of what is retained may find the first of these, too: it is not asked for.
    flags = RETAIN_AS_PUBLISHED | NOTHING_RETAINED if version == 5 else 0
    subscribe(client, ("a/#", 1 | flags), version=version, **options)
    broker.publish("a/b", *numbered(5), retain=version == 5, user_property=[("k", "v")])
    first = [client.expect_publish(version) for _ in range(5)]
    for index in (0, 2):
        client.send(wire.acknowledge(wire.PUBACK, first[index].packet_id))
    subscribe(client, ("b", 1), version=version)
    broker.restart()

    client = broker.connect("s", present=True, version=version)
    again = broker.last(client, "b", version)
    if broker.end == "stopped":
        assert again == [dataclasses.replace(first[index], dup=True) for index in (1, 3, 4)]
        broker.restart()
        assert broker.last(broker.connect("s", present=True, version=version), "b", version) == []
    else:  # how far it had been written is not seen from outside
        assert payloads(again) in [[first[index].payload for index in kept] for kept in (
            (1, 3, 4), (0, 1, 3, 4), (1, 2, 3, 4), (0, 1, 2, 3, 4))]
        assert all(message.properties == first[0].properties and message.retain == first[0].retain
                   for message in again)


def test_a_smaller_window_after_the_restart(broker):
    """What was in flight is sent again within the Receive Maximum of the connection there is, the rest behind it.

    [MQTT-3.3.4-9] [MQTT-4.6.0-1]
    """
    client = broker.connect("s", receive_maximum=5)
    subscribe(client, ("a", 1))
    broker.publish("a", *numbered(12))
    first = [client.expect_publish() for _ in range(5)]
    client.ping()
    broker.restart()
    client = broker.connect("s", present=True, receive_maximum=2)
    received = [client.expect_publish() for _ in range(2)]
    client.ping()
    for index in range(12):
        client.send(wire.acknowledge(wire.PUBACK, received[index].packet_id))
        if len(received) < 12:
            received.append(client.expect_publish())
    assert payloads(received) == numbered(12)
    if broker.end == "stopped":
        assert [(one.packet_id, one.dup) for one in received[:5]] == [(one.packet_id, True) for one in first]
        assert not any(one.dup for one in received[5:])


@EVERY_SHARDS
def test_qos_2_in_flight(broker):
    """Exactly once, whatever packet was the last: the same identifier, and PUBREL after PUBREC.

    [MQTT-4.3.3-4] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT311-4.3.3-1]
    """
    cases = [(reached, version) for version in (5, 4) for reached in ("PUBLISH", "PUBREC", "PUBREL", "PUBCOMP")]
    sent = {}
    for reached, version in cases:
        topic = f"{reached}/{version}"
        client = broker.connect(topic, version=version)
        subscribe(client, (topic, 2), version=version)
        broker.publish(topic, b"before", b"one", b"behind", qos=2)
        sent[topic] = [client.expect_publish(version) for _ in range(3)]
        one = sent[topic][1]
        if reached != "PUBLISH":
            client.send(wire.acknowledge(wire.PUBREC, one.packet_id))
        if reached == "PUBREC":
            client.wait_read()
        if reached in ("PUBREL", "PUBCOMP"):
            assert client.expect(wire.PUBREL).packet_id == one.packet_id
        if reached == "PUBCOMP":
            client.send(wire.acknowledge(wire.PUBCOMP, one.packet_id))
            client.ping()
    broker.restart()

    for reached, version in cases:
        topic = f"{reached}/{version}"
        client = broker.connect(topic, present=True, version=version)
        published, released = read_all(client, version, 2 if reached == "PUBCOMP" else 3)
        before, one, behind = (dataclasses.replace(message, dup=True) for message in sent[topic])
        expected = {
            "PUBLISH": [([before, one, behind], [])],
            "PUBREC": [([before, behind], [one.packet_id])],
            "PUBREL": [([before, behind], [one.packet_id])],
            "PUBCOMP": [([before, behind], [])],
        }[reached]
        if broker.end == "killed" and reached == "PUBREC":  # it may not have been written: nobody was told
            expected.append(([before, one, behind], []))
        if broker.end == "killed" and reached == "PUBCOMP":
            expected.append(([before, behind], [one.packet_id]))
        assert (published, released) in expected, topic
        for message in published:
            client.send(wire.acknowledge(wire.PUBREC, message.packet_id))
            assert client.expect(wire.PUBREL).packet_id == message.packet_id
        for packet_id in [message.packet_id for message in published] + released:
            client.send(wire.acknowledge(wire.PUBCOMP, packet_id))
        assert broker.last(client, topic, version) == [], topic
    if broker.end == "stopped":
        broker.restart()
        for reached, version in cases:
            read = read_all(broker.connect(f"{reached}/{version}", present=True, version=version), version)
            assert read == ([], []), (reached, version)


def read_all(client: Socket, version: int = 5, least: int = 0) -> tuple[list[Published], list[int]]:
    """At least so many packets, and then what comes up to a PINGRESP: messages, and the identifiers of PUBRELs.

    Nothing is acknowledged. What has to be read from the disk may come behind a PINGRESP.
    """
    published, released = [], []
    pinged = False
    while True:
        if not pinged and len(published) + len(released) >= least:
            client.send(wire.packet(wire.PINGREQ << 4))
            pinged = True
        packet = client.read()
        if packet.type == wire.PINGRESP:
            break
        if packet.type == wire.PUBLISH:
            published.append(Published.of(packet, version))
        else:
            assert packet.type == wire.PUBREL, packet
            released.append(packet.packet_id)
    return published, released


@pytest.mark.parametrize("version", [5, 4], ids=["v5", "v3_1_1"])
def test_a_message_in_flight_that_is_damaged_keeps_its_identifier_until_it_is_released(broker, version):
    """It cannot be sent again, and the client that has it would take another one for a repeat."""
    client = broker.connect("s", version=version)
    subscribe(client, ("a", 2), version=version)
    broker.publish("a", b"to be damaged", b"sound", qos=2)
    damaged, sound = (client.expect_publish(version) for _ in range(2))
    broker.finish()
    for log in broker.data.glob("log-*"):
        log.write_bytes(log.read_bytes().replace(b"to be damaged", b"to be dam ged"))
    broker.start()
    client = broker.connect("s", present=True, version=version)
    published, released = read_all(client, version, 2)
    assert (payloads(published), released) == ([b"sound"], [damaged.packet_id])
    assert published[0].packet_id == sound.packet_id
    client.send(wire.acknowledge(wire.PUBCOMP, damaged.packet_id))
    broker.restart()
    client = broker.connect("s", present=True, version=version)
    assert broker.end == "killed" or read_all(client, version, 1)[1] == []


def test_a_new_message_takes_no_identifier_in_use(broker):
    """One that waits for PUBREL is still the client's old message: under its identifier nothing new is sent."""
    client = broker.connect("s")
    subscribe(client, ("a", 2))
    broker.publish("a", b"one", b"two", qos=2)
    one, two = (client.expect_publish() for _ in range(2))
    for message in (one, two):
        client.send(wire.acknowledge(wire.PUBREC, message.packet_id))
        assert client.expect(wire.PUBREL).packet_id == message.packet_id
    client.send(wire.acknowledge(wire.PUBCOMP, one.packet_id))
    client.ping()
    broker.restart()
    client = broker.connect("s", present=True)
    broker.publish("a", *numbered(5), qos=2)
    news, released = [], []
    while len(news) < 5:
        packet = client.read()
        if packet.type == wire.PUBREL:
            released.append(packet.packet_id)
        else:
            news.append(Published.of(packet))
    assert two.packet_id in released
    assert not set(released) & {message.packet_id for message in news}
    assert payloads(news) == numbered(5)


@pytest.mark.parametrize("qos", [1, 2])
def test_a_retained_message_in_flight(broker, qos):
    """One that was sent for a new subscription, and was not acknowledged, is part of the session too. [MQTT-4.4.0-1]"""
    broker.publish("a", b"retained", qos=qos, retain=True)
    client = broker.connect("s")
    subscribe(client, ("a", qos))
    first = client.expect_publish()
    assert (first.payload, first.qos, first.retain) == (b"retained", qos, True)
    subscribe(client, ("b", 1))
    broker.restart()
    published, released = read_all(broker.connect("s", present=True))
    if qos == 2 or broker.end == "stopped":
        assert published == [dataclasses.replace(first, dup=True)]
    else:
        assert payloads(published) == [b"retained"]
    assert released == []


def test_a_retained_message_whose_pubrel_is_due(broker):
    """PUBREL comes, and its identifier names no other message: the client would take it for this one and drop it.

    [MQTT-4.3.3-4] [MQTT-4.3.3-6] [MQTT-2.2.1-4]
    """
    broker.publish("a", b"retained", qos=2, retain=True)
    client = broker.connect("s")
    subscribe(client, ("a", 2))
    first = client.expect_publish()
    client.send(wire.acknowledge(wire.PUBREC, first.packet_id))
    assert client.expect(wire.PUBREL).packet_id == first.packet_id
    broker.restart()
    client = broker.connect("s", present=True)
    assert read_all(client) == ([], [first.packet_id])
    broker.publish("a", b"new", qos=2)
    assert client.expect_publish().packet_id != first.packet_id


def test_retained_messages_that_wait(broker):
    """A new subscription gets its retained messages, also those that found no room in the client's window before.

    [MQTT-3.3.1-9] [MQTT-3.1.2-5]
    """
    for topic in ("a/1", "a/2", "a/3"):
        broker.publish(topic, topic.encode(), retain=True)
    client = broker.connect("s", receive_maximum=1)
    subscribe(client, ("a/#", 1))
    client.expect_publish()
    subscribe(client, ("b", 1))
    broker.restart()
    client = broker.connect("s", present=True)
    received = broker.last(client, "b")
    assert sorted(payloads(received)) == [b"a/1", b"a/2", b"a/3"]
    assert broker.last(client, "b") == []
    broker.restart()
    assert broker.last(broker.connect("s", present=True), "b") == []


class ExactlyOnceReader:
    """A client that keeps what MQTT asks of a receiver at QoS 2, over connections and broken ones."""

    def __init__(self):
        self.taken: list[bytes] = []
        self.unreleased: set[int] = set()

    def read(self, client: Socket, packets: int, until: int) -> None:
        """Answers up to so many packets, or until so many messages were taken and released."""
        for _ in range(packets):
            if len(self.taken) >= until and not self.unreleased:
                return
            packet = client.read()
            if packet.type == wire.PUBLISH:
                message = Published.of(packet)
                if message.packet_id not in self.unreleased:
                    assert not message.dup or message.payload not in self.taken
                    self.unreleased.add(message.packet_id)
                    self.taken.append(message.payload)
                client.send(wire.acknowledge(wire.PUBREC, message.packet_id))
            else:
                assert packet.type == wire.PUBREL, packet
                self.unreleased.discard(packet.packet_id)
                client.send(wire.acknowledge(wire.PUBCOMP, packet.packet_id))


def test_qos_2_is_read_exactly_once_over_restarts(broker):
    """A reader that is interrupted after any packet has each message once, in order. [MQTT-4.3.3-10]"""
    count = 120
    subscribe(broker.connect("s"), ("a", 2))
    broker.publish("a", *numbered(count), qos=2)
    reader = ExactlyOnceReader()
    for packets in itertools.chain((1, 8, 100), itertools.repeat(1000)):
        broker.restart()
        reader.read(broker.connect("s", present=True, receive_maximum=10), packets, count)
        if len(reader.taken) >= count and not reader.unreleased:
            break
    assert reader.taken == numbered(count)
    broker.restart()
    client = broker.connect("s", present=True)
    broker.publish("a", b"end", qos=2)
    while b"end" not in reader.taken:
        reader.read(client, 1, count + 1)
    assert reader.taken == [*numbered(count), b"end"]


# --- QoS 2 from the client


@EVERY_SHARDS
def test_qos_2_from_the_client(broker):
    """A publish that is repeated is answered and not delivered again; its identifier can then be used again.

    [MQTT-4.3.3-10] [MQTT-4.3.3-12] [MQTT-4.3.3-2] [MQTT311-4.3.3-2]
    """
    cases = [(taker, reached) for taker in ("session", "mqtt_3", "nobody", "retained", "delayed")
             for reached in ("PUBCOMP", "PUBREC", "PUBREL", "PUBLISH")]
    taker_session = broker.connect("taker")
    subscribe(taker_session, *((f"{taker}/#", 2 | RETAIN_AS_PUBLISHED)
                               for taker in ("session", "mqtt_3", "retained", "delayed")))
    taker_session.close()

    def connect(case, present: bool) -> Client:
        return broker.connect("/".join(case), present=present, version=version_of(case))

    def version_of(case) -> int:
        return 4 if case[0] == "mqtt_3" else 5

    def message(case, payload: bytes, flags: int = 0) -> bytes:
        topic = "/".join(case)
        return wire.publish(f"$delayed/1/{topic}" if case[0] == "delayed" else topic, payload, 2, 7, version_of(case),
                            flags | (RETAIN if case[0] == "retained" else 0))

    def expect(client: Socket, packet_type: int) -> None:
        assert client.expect(packet_type).packet_id == 7

    clients = {case: connect(case, False) for case in cases}
    for case, client in clients.items():
        if case[1] != "PUBLISH":
            client.send(message(case, b"one"))
            expect(client, wire.PUBREC)
        if case[1] == "PUBCOMP":
            client.send(wire.acknowledge(wire.PUBREL, 7))
            expect(client, wire.PUBCOMP)
    for case, client in clients.items():  # what is not answered comes right before the end
        if case[1] == "PUBLISH":
            client.send(message(case, b"one"))
        if case[1] == "PUBREL":
            client.send(wire.acknowledge(wire.PUBREL, 7))
    broker.restart()

    late = broker.connect("late")
    subscribe(late, ("nobody/#", 2))  # too late for the first of each
    late.close()
    for case in cases:
        if case[1] in ("PUBLISH", "PUBREC"):
            client = connect(case, True)
            client.send(message(case, b"one", DUP))
            expect(client, wire.PUBREC)
    broker.restart()

    clients = {case: connect(case, True) for case in cases}
    for case, client in clients.items():
        if case[1] != "PUBCOMP":
            client.send(wire.acknowledge(wire.PUBREL, 7))
            expect(client, wire.PUBCOMP)
        client.send(message(case, b"two"))
        release(client, 1)
    broker.restart()

    taker_session = broker.connect("taker", present=True)
    received = exchange(taker_session, lambda messages: sum(one.topic[0] == "d" for one in messages) >= 8)
    received += broker.last(taker_session, "session/last")
    received += broker.last(broker.connect("late", present=True), "nobody/last")
    for case in cases:
        found = [one for one in received if one.topic == "/".join(case)]
        expected = [b"two"] if case[0] == "nobody" else [b"one", b"two"]
        if case == ("nobody", "PUBLISH") and len(found) == 2:  # the first may not have been read at all before
            expected = [b"one", b"two"]
        assert sorted(payloads(found)) == expected, case
        if case[0] != "delayed":  # which has no order
            assert payloads(found) == expected, case
        assert all(one.retain == (case[0] == "retained") for one in found)
    assert payloads(broker.retained("#", 4)) == [b"two"] * 4


def test_a_first_sending_is_no_repeat_of_an_earlier_life(broker):
    """Without DUP it is another message, whatever an earlier broker had of that identifier; with DUP it is the same.

    [MQTT-3.3.1-1] [MQTT-4.3.3-10]
    """
    taker = broker.connect("taker")
    subscribe(taker, ("twice/#", 2))
    taker.close()
    clients = {flags: broker.connect(f"c{flags}") for flags in (0, DUP)}
    for flags, client in clients.items():
        client.send(wire.publish(f"twice/{flags}", b"one", 2, 7))
        client.expect(wire.PUBREC)
    broker.restart()
    for flags in clients:
        client = broker.connect(f"c{flags}", present=True)
        for again in (flags, DUP):  # on this connection it is known
            client.send(wire.publish(f"twice/{flags}", b"two", 2, 7, 5, again))
            client.expect(wire.PUBREC)
    broker.restart()  # and it is what the next one knows
    for flags in clients:
        client = broker.connect(f"c{flags}", present=True)
        client.send(wire.publish(f"twice/{flags}", b"two", 2, 7, 5, DUP))
        client.expect(wire.PUBREC)
        client.send(wire.acknowledge(wire.PUBREL, 7))
        client.expect(wire.PUBCOMP)
    received = broker.last(broker.connect("taker", present=True), "twice/last")
    assert payloads([one for one in received if one.topic == "twice/0"]) == [b"one", b"two"]
    assert payloads([one for one in received if one.topic == f"twice/{DUP}"]) == [b"one"]


@EVERY_SHARDS
def test_qos_2_is_published_exactly_once_over_restarts(broker):
    """A publisher that is interrupted in the middle, and repeats what it must, is heard once, in its order.

    Every second message is retained besides, on a topic of its own: all who take a message have it when PUBREC comes.
    [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.3.3-5] [MQTT-4.6.0-1] [MQTT-4.6.0-3]
    """
    count = 1000
    # What is retained would be owed to it still where the broker ends before it was looked for on all shards.
    subscribe(broker.connect("taker"), ("a/#", 2 | NOTHING_RETAINED))
    broker.sockets[-1].close()
    unsent = list(range(1, count + 1))
    published: list[int] = []  # what was sent and waits for PUBREC, and
    released: list[int] = []  # for PUBCOMP

    def message(number: int, flags: int = 0) -> bytes:
        topic, retain = (f"a/{number}", RETAIN) if number % 2 else ("a/0", 0)
        return wire.publish(topic, f"{number - 1}".encode(), 2, number, flags=flags | retain)

    def publish(client: Socket, most: int) -> None:
        for _ in range(min(most, len(unsent))):
            published.append(unsent.pop(0))
            client.send(message(published[-1]))

    def answer(client: Socket) -> None:
        packet = client.read()
        if packet.type == wire.PUBREC:
            assert packet.body[2:3] < b"\x80", f"{packet} refuses"
            published.remove(packet.packet_id)
            released.append(packet.packet_id)
            client.send(wire.acknowledge(wire.PUBREL, packet.packet_id))
        else:
            assert packet.type == wire.PUBCOMP, packet
            released.remove(packet.packet_id)

    for answers in (0, 100, 500, None):
        client = broker.connect("s")
        # Over a restart the client goes on as it must [MQTT-4.4.0-1].
        client.send(b"".join(message(number, DUP) for number in published))
        client.send(b"".join(wire.acknowledge(wire.PUBREL, number) for number in released))
        publish(client, 300)
        while published or released if answers is None else answers:
            answer(client)
            answers = answers and answers - 1
        publish(client, 300)  # one by one, so that the broker ends in the middle of it
        broker.restart()
    assert not unsent
    received = payloads(broker.last(broker.connect("taker", present=True), "a/0"))
    assert sorted(received, key=int) == numbered(count)
    ordered = [one for one in received if int(one) % 2]
    assert ordered == sorted(ordered, key=int)
    assert sorted(payloads(broker.retained("a/+", count // 2)), key=int) == numbered(count)[::2]


@EVERY_SHARDS
def test_acknowledged_is_kept(broker):
    """Of streams of publishes, all that were acknowledged when the broker ended are there, in order, once."""
    count, reads = 300, (200, 50, 1)
    for read in reads:
        subscribe(broker.connect(f"taker/{read}"), (f"a/{read}", 1))
        broker.sockets[-1].close()
    for read in reads:
        client = broker.connect(f"publisher/{read}")
        client.send(b"".join(wire.publish(f"a/{read}", payload, 1, number)
                             for number, payload in enumerate(numbered(count), 1)))
        for number in range(1, read + 1):
            assert client.expect(wire.PUBACK).packet_id == number
    broker.restart()
    for read in reads:
        received = payloads(broker.last(broker.connect(f"taker/{read}", present=True), f"a/{read}"))
        assert received == numbered(len(received))
        assert len(received) >= read


# --- retained messages


@EVERY_SHARDS
def test_retained_messages(broker):
    """Set, replaced by a larger and a smaller one, and cleared. [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]"""
    large, small = os.urandom(300_000), b"s"
    every_qos = (0, 1, 2) if broker.end == "stopped" else (1, 2)  # of QoS 0 nobody is told that it is durable
    expected = {}
    for qos in every_qos:
        publisher = broker.connect("publisher", clean=True)  # one for all: at QoS 0 nothing else has an order

        def put(name: str, payload: bytes, retain: bool = True, **values) -> None:
            publish(publisher, f"{qos}/{name}", payload, qos=qos, retain=retain, **values)

        for name in ("cleared", "set", "replaced", "larger", "smaller", "cleared/and/set"):
            put(name, large if name == "smaller" else small, **FULL)
        put("replaced", b"new")
        put("larger", large)
        put("smaller", small)
        put("cleared", b"")
        put("cleared/and/set", b"")
        put("cleared/and/set", b"again")
        put("set", b"passing", retain=False)
        expected.update({f"{qos}/set": small, f"{qos}/replaced": b"new", f"{qos}/larger": large,
                         f"{qos}/smaller": small, f"{qos}/cleared/and/set": b"again"})
    for _ in range(2):
        broker.restart()
        received = broker.retained("#", len(expected))
        assert {message.topic: message.payload for message in received} == expected
        assert all(message.retain and message.qos == int(message.topic[0]) for message in received)
        assert {message.topic: message.properties for message in received}["1/set"] == FULL_RECEIVED

    for topic in expected:  # they can be cleared in a later life too
        broker.publish(topic, b"", qos=1, retain=True)
    broker.restart()
    broker.retained("#", 0)


def test_many_retained_messages(broker):
    """200 of them, and some of them large, published without a pause."""
    client = broker.connect("", clean=True, expiry_s=0)
    sizes = {f"a/{number}/b": 100_000 if number % 20 == 0 else number for number in range(1, 201)}
    for packet_id, (topic, size) in enumerate(sizes.items(), 1):
        client.send(wire.publish(topic, b"x" * size, 1, packet_id, flags=RETAIN))
    for _ in sizes:
        client.expect(wire.PUBACK)
    broker.restart()
    assert {message.topic: len(message.payload) for message in broker.retained("a/+/b", 200)} == sizes


# --- wills


@EVERY_SHARDS
def test_the_will_of_a_client_that_is_there_at_the_end(broker):
    """Its connection breaks: the will is published, once, with its properties, retained if it says so.

    [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-15]
    """
    subscribe(broker.connect("observer"), ("will/#", 2 | RETAIN_AS_PUBLISHED))
    broker.connect("one", will=Will("will/one", b"1" * 65_535, 2))
    broker.connect("two", expiry_s=NEVER, will=Will("will/two", b"2", 2, True, FULL))
    broker.connect("three", will=Will("will/three", b"3" * 30_000, 2, properties={"will_delay_interval": 250})).close()
    broker.connect("three", will=Will("will/three", b"3", 2))  # another one instead
    many = {f"will/many/{number}" for number in range(100)}  # no end is so quick that it leaves out the last of them
    for topic in many:
        broker.connect(topic, will=Will(topic, b"x", 2))
    broker.restart()
    observer = broker.connect("observer", present=True)
    received = {message.topic: message for message in receive(observer, 3 + len(many))}
    assert received.keys() >= many
    assert {topic: (message.payload, message.qos, message.retain) for topic, message in received.items()
            if topic not in many} == {
        "will/one": (b"1" * 65_535, 2, False), "will/two": (b"2", 2, True), "will/three": (b"3", 2, False)}
    assert received["will/two"].properties == FULL_RECEIVED
    broker.restart()
    assert broker.last(broker.connect("observer", present=True), "will/x") == []
    assert payloads(broker.retained("will/#", 1)) == [b"2"]


# --- what takes its time


class Timeline:
    """Everything that has to do with time, in a few seconds that are filled with restarts. Time is time.monotonic()."""

    DELAY = 3  # seconds, of wills and delayed messages

    def __init__(self, broker: DurableBroker):
        self.broker = broker
        subscribe(broker.connect("observer"), ("will/#", 2), ("delayed/#", 2 | RETAIN_AS_PUBLISHED))
        subscribe(broker.connect("reader"), ("a", 2))
        broker.sockets[-1].close()

        for client_id in ("prolonged", "long", "short", "connected"):
            broker.connect(client_id, expiry_s=1)
        broker.connect("never", expiry_s=NEVER)
        prolonged, long, short, _, never = broker.sockets[-5:]
        expiry = encode_property("session_expiry_interval", 300)
        prolonged.send(wire.packet(wire.DISCONNECT << 4, b"\x00" + wire.varint(len(expiry)) + expiry))
        prolonged.expect_closed()
        long.close()
        broker.connect("long", present=True).close()
        never.close()

        for client_id, delay_s in (("well", 0), ("better", 2)):
            client = broker.connect(client_id, will=self.will("never", delay_s))
            client.send(wire.packet(wire.DISCONNECT << 4))
            client.expect_closed()
        broker.connect("back", will=self.will("never", 2)).close()
        broker.connect("back", present=True)
        there = []
        for name, expiry_s in (("expiry", 300), ("no_expiry", NEVER)):
            there.append(broker.connect(f"gone/{name}", expiry_s=expiry_s, will=self.will(f"gone/{name}")))
            broker.connect(f"connected/{name}", expiry_s=expiry_s, will=self.will(f"connected/{name}"))
        there.append(broker.connect("ends", expiry_s=self.DELAY, will=self.will("ends", 3600)))

        self.began = time.monotonic()
        for client in (short, *there):
            client.close()
        for topic, values in (("a", {}), ("retained", {"retain": True})):
            for expiry_s in (1, 100):
                broker.publish(topic if topic == "a" else f"{topic}/{expiry_s}", f"{expiry_s}".encode(), qos=2,
                               message_expiry_interval=expiry_s, **values)
        broker.publish("$delayed/3600/delayed/late", b"late", qos=2)
        broker.publish(f"$delayed/{self.DELAY}/delayed/full", b"x" * 100_000, qos=2, **FULL)
        broker.publish(f"$delayed/{self.DELAY}/delayed/retained", b"x", qos=2, retain=True, message_expiry_interval=100)
        broker.publish("$delayed/0/delayed/at_once", b"x", qos=2)

        broker.restart()
        broker.restart_until(time.monotonic() + 1.3)
        self.last_started = broker.started
        self.present = {}
        for client_id in ("short", "connected", "prolonged", "long", "never"):
            client = Client(broker)
            self.present[client_id] = client.connect(client_id, clean=False).session_present
            client.close()
        self.read = broker.last(broker.connect("reader", present=True), "a")
        self.kept = broker.retained("retained/#", 1)
        self.expiry_passed_s = (self.last_started - self.began, time.monotonic() - self.began)

        self.arrived: dict[str, float] = {}  # when, by topics
        observer = broker.connect("observer", present=True)
        self.observed = exchange(observer, self.all_are_there)
        broker.restart()
        self.observed += broker.last(broker.connect("observer", present=True), "will/x")
        self.late_retained = broker.retained("#", 2)

    EXPECTED = {"will/gone/expiry", "will/gone/no_expiry", "will/connected/expiry", "will/connected/no_expiry",
                "will/ends", "delayed/full", "delayed/retained", "delayed/at_once"}

    def all_are_there(self, messages: list[Published]) -> bool:
        for message in messages[len(self.arrived):]:
            self.arrived[message.topic] = time.monotonic()
        return self.arrived.keys() >= self.EXPECTED

    def will(self, name: str, delay_s: int = DELAY) -> Will:
        return Will(f"will/{name}", name.encode(), 2, properties={"will_delay_interval": delay_s})

    def expect_on_time(self, topic: str) -> None:
        """Not before its time. What was counted from the last start could not have come before `last_started` + DELAY,
        and what is counted right comes more than a second earlier."""
        assert self.began + self.DELAY - 1 <= self.arrived[topic] < self.last_started + self.DELAY

    def one(self, topic: str) -> Published:
        """The only message with this topic."""
        found = [message for message in self.observed if message.topic == topic]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture(scope="module", params=ENDS)
def timeline(request, tmp_path_factory):
    with durable_broker(tmp_path_factory.mktemp("timeline"), request.param, 3) as broker:
        broker.start()
        made = Timeline(broker)
        broker.finish()
        yield made


@pytest.mark.parametrize("client_id, present", [
    ("short", False), ("connected", False), ("prolonged", True), ("long", True), ("never", True)])
def test_session_expiry_goes_on(timeline, client_id, present):
    """It counts from the connection's end, whatever the broker does meanwhile.

    Who was connected at the broker's end has lost its connection at the latest when it starts again, and then once.
    [MQTT-3.1.2-23] [MQTT-4.1.0-2]
    """
    assert timeline.present[client_id] == present


def test_message_expiry_goes_on(timeline):
    """A message that waited is sent with what is left of its time, or not at all. [MQTT-3.3.2-5] [MQTT-3.3.2-6]"""
    for messages in (timeline.read, timeline.kept):
        assert payloads(messages) == [b"100"]
        least, most = timeline.expiry_passed_s
        # In whole seconds, rounded either way; more than one has passed.
        assert 100 - most - 1 < messages[0].properties["message_expiry_interval"][0] < 100 - least + 1


@pytest.mark.parametrize("name", ["gone/expiry", "gone/no_expiry", "connected/expiry", "connected/no_expiry", "ends"])
def test_the_will_delay_goes_on(timeline, name):
    """It counts from the connection's end, over all restarts, and ends with the session.

    [MQTT-3.1.3-9] [MQTT-3.1.2-8]
    """
    timeline.expect_on_time(f"will/{name}")
    assert timeline.one(f"will/{name}").payload == name.encode()


def test_wills_that_never_come(timeline):
    """After a clean DISCONNECT, and after a return within the delay. [MQTT-3.1.2-10] [MQTT-3.14.4-3] [MQTT-3.1.3-9]"""
    assert not any(message.topic == "will/never" for message in timeline.observed)


def test_delayed_messages(timeline):
    """They come at their time, once, with all they have, and are retained from then on."""
    for topic in ("delayed/full", "delayed/retained"):
        timeline.expect_on_time(topic)
    assert timeline.one("delayed/at_once").payload == b"x"
    full, retained = timeline.one("delayed/full"), timeline.one("delayed/retained")
    assert full.payload == b"x" * 100_000 and full.properties == FULL_RECEIVED
    assert retained.retain and retained.properties["message_expiry_interval"][0] in (98, 99, 100)
    assert {message.topic for message in timeline.late_retained} == {"delayed/retained", "retained/100"}
    assert not any(message.topic == "delayed/late" for message in timeline.observed)


def test_what_has_expired_leaves_the_directory(timeline):
    """An expired retained message is not read back at every start for ever."""
    assert timeline.broker.running.child.wait_line(r"restored .*\b(\d+) retained")[1] == "2"


# --- no local


@EVERY_SHARDS
def test_no_local_holds(broker):
    """Also for a message that the session published before the restart and has not read past. [MQTT-3.8.3-3]"""
    client = broker.connect("s", receive_maximum=1)
    subscribe(client, ("a", 1 | NO_LOCAL), ("b", 1))
    broker.publish("a", b"in flight")
    client.expect_publish()
    for topic, payload in (("a", b"own"), ("b", b"heard")):
        client.send(wire.publish(topic, payload, 1, 1))
        assert client.expect(wire.PUBACK).packet_id == 1
    broker.publish("a", b"another's")
    subscribe(broker.connect("other"), ("a", 1))
    client.send(wire.publish("a", b"own again", 1, 1))
    client.expect(wire.PUBACK)
    broker.restart()
    client = broker.connect("s", present=True)
    assert payloads(receive(client, 3)) == [b"in flight", b"heard", b"another's"]
    client.send(wire.publish("a", b"own once more", 1, 1))
    client.expect(wire.PUBACK)
    assert broker.last(client, "a") == []
    assert payloads(broker.last(broker.connect("other", present=True), "a"))[0] == b"own again"


# --- the directory


@pytest.fixture
def run():
    """A function that starts mqttq-server with flags, behind other arguments; it is killed after the test."""
    started = []

    def start(data: str, *before: str) -> Process:
        started.append(Process([*before, server_path(), "--allow-anonymous", "--listen", f"tcp://{HOST}:0",
                                "--data-dir", data]))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def expect_refusal(server: Process, *named: str) -> None:
    """Exit code 1, one line that names all that, and nothing on stdout."""
    assert server.wait_end() == 1, server.output()
    assert server.stdout == []
    assert any(all(name in line for name in named) for line in server.stderr), server.output()


@pytest.mark.parametrize("end", ["stopped"])
def test_a_directory_has_one_broker(broker, run):
    """Another one is refused by name, and the first goes on; when it has ended its directory is free."""
    subscribe(broker.connect("s"), ("a", 1))
    expect_refusal(run(str(broker.data)), str(broker.data), f"{broker.running.child.process.pid}", "in use")
    broker.publish("a", b"x")
    broker.restart()
    assert payloads(broker.last(broker.connect("s", present=True), "a")) == [b"x"]


def test_a_read_only_directory(run, tmp_path):
    """It is refused by name. Root may write anywhere, so that right is taken from it."""
    directory = tmp_path / "read only"
    directory.mkdir()
    directory.chmod(0o500)
    expect_refusal(run(str(directory), "setpriv", "--bounding-set", "-dac_override", "--"), str(directory),
                   "Permission denied")


def test_a_file_in_place_of_the_directory(run, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    expect_refusal(run(str(file)), str(file), "Not a directory")
    assert file.read_text() == "mine"


def test_a_directory_without_a_parent(run, tmp_path):
    directory = tmp_path / "no" / "such"
    expect_refusal(run(str(directory)), str(directory), "No such file or directory")
    assert not directory.parent.exists()


def test_a_directory_is_made(run, tmp_path):
    """If its parent is there; for its owner alone."""
    directory = tmp_path / "made"
    server = run(str(directory))
    server.wait_line(r"^mqttq-server ready\b")
    assert directory.stat().st_mode & 0o777 == 0o700
    server.process.terminate()
    assert server.wait_end() == 0
