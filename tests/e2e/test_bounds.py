"""What a client sees at each bound of docs/LIMITS.md, in MQTT 5 and in MQTT 3.1.1."""

import json
import pathlib
import time

import pytest

from harness import wire
from harness.broker import HOST, Process, server_path
from harness.client import TIMEOUT_S
from harness.wire import Socket, encode_property, string

pytestmark = [
    pytest.mark.ours_only("the bounds are mqttq-server's"),
    pytest.mark.parametrize("version", [5, 4], ids=["v5", "v3_1_1"]),
]


class Server:
    """mqttq-server with one shard, so that bounds kept by each shard are those of the server."""

    host = HOST
    kind = "mqttq"

    def __init__(self, directory: pathlib.Path, limits: dict):
        file = directory / "bounds.json"
        file.write_text(json.dumps({"listeners": [{"url": f"tcp://{HOST}:0"}], "shards": 1, "limits": limits}))
        self.child = Process([server_path(), "--config", str(file)])
        self.port = int(self.child.wait_line(r"^mqttq-server ready tcp://127\.0\.0\.1:(\d+)$")[1])


@pytest.fixture
def serve(tmp_path):
    """A function that starts a server with limits, as the configuration file has them."""
    started = []

    def start(**limits) -> Server:
        started.append(Server(tmp_path, limits))
        return started[-1]

    yield start
    for server in started:
        server.child.process.terminate()
        try:
            assert server.child.wait_end() == 0, server.child.output()
        finally:
            server.child.kill()


def expect_refusal(client: Socket, version: int, reason_code: int, return_code: int) -> None:
    """CONNACK of MQTT 5 with the one, of 3.1.1 with the other, then the end."""
    assert client.expect(wire.CONNACK).reason_code == (reason_code if version == 5 else return_code)
    client.expect_closed()


def expect_end(client: Socket, version: int, reason_code: int) -> None:
    """DISCONNECT in MQTT 5, nothing in 3.1.1, then the end."""
    if version == 5:
        assert client.expect_disconnect() == reason_code
    else:
        client.expect_closed()


def suback(client: Socket, version: int, *filters: str, qos: int = 0) -> list[int]:
    client.send(wire.subscribe(1, *((one, qos) for one in filters), version=version))
    return list(client.expect(wire.SUBACK).reason_codes(version))


def puback_reason(client: Socket) -> int:
    """The reason code of the next packet, a PUBACK, which may leave out 0x00."""
    body = client.expect(wire.PUBACK).body
    return body[2] if len(body) > 2 else 0


def test_packet_size_max(serve, version):
    server = serve(packet_size_max=100)
    with Socket(server) as client:
        client.connect("x", version=version)
        client.send(wire.publish("a", b"x" * 100, version=version))
        expect_end(client, version, 0x95)
    with Socket(server) as client:  # before CONNACK there is no DISCONNECT
        client.send(wire.connect("x" * 100, version=version))
        client.expect_closed()


def test_topic_size_max(serve, version):
    server = serve(topic_size_max=10)
    with Socket(server) as client:
        client.connect("x", version=version)
        assert suback(client, version, "a" * 11, "a" * 10) == [0x8F if version == 5 else 0x80, 0]
        client.send(wire.publish("a" * 10, version=version))
        client.expect(wire.PUBLISH)
        client.send(wire.publish("a" * 11, version=version))
        expect_end(client, version, 0x90)


def test_topic_levels_max(serve, version):
    server = serve(topic_levels_max=3)
    with Socket(server) as client:
        client.connect("x", version=version)
        assert suback(client, version, "a/b/c/d", "a/b/c") == [0x8F if version == 5 else 0x80, 0]
        client.send(wire.publish("a/b/c", version=version))
        client.expect(wire.PUBLISH)
        client.send(wire.publish("a/b/c/d", version=version))
        expect_end(client, version, 0x90)


def test_a_will_beyond_a_bound(serve, version):
    server = serve(topic_levels_max=3)
    will = (b"\x00" if version == 5 else b"") + string("a/b/c/d") + string("gone")
    with Socket(server) as client:
        client.send(wire.connect("x", version=version, flags=0x06, tail=will))
        expect_refusal(client, version, 0x90, 5)


def test_connect_timeout_ms(serve, version):
    """Nothing is said: there is nobody yet to say it to."""
    server = serve(connect_timeout_ms=50)
    with Socket(server) as client:
        client.send(wire.connect("x", version=version)[:-1])
        client.expect_closed()


def test_connections_max(serve, version):
    """One too many is closed at accept, before it says which version it speaks."""
    server = serve(connections_max=1)
    with Socket(server) as one:
        one.connect("one", version=version)
        with Socket(server) as other:
            other.send(wire.connect("other", version=version))
            other.expect_closed()
        one.ping()


def test_sessions_max(serve, version):
    server = serve(sessions_max=1)
    with Socket(server) as one:
        one.connect("one", version=version)
        with Socket(server) as other:
            other.send(wire.connect("other", version=version))
            expect_refusal(other, version, 0x97, 3)
        one.ping()


def test_connect_rate(serve, version):
    server = serve(connect_rate=1)
    answers = []
    for _ in range(5):  # more than two in the time that these take would be too many
        with Socket(server) as client:
            client.send(wire.connect("", version=version))
            answers.append(client.expect(wire.CONNACK).reason_code)
            if answers[-1]:
                client.expect_closed()
    assert set(answers) <= {0, 0x9F if version == 5 else 3}
    assert answers.count(0) <= 2


def test_receive_maximum(serve, version):
    server = serve(receive_maximum=2)
    with Socket(server) as client:
        connack = client.connect("x", version=version)
        assert version != 5 or connack.properties()["receive_maximum"] == [2]
        for packet_id in (1, 2, 3):
            client.send(wire.publish("a", b"x", 2, packet_id, version=version))
        assert [client.expect(wire.PUBREC).packet_id for _ in range(2)] == [1, 2]
        expect_end(client, version, 0x93)


def test_inflight_max(serve, version):
    """What is over it waits until the client acknowledges."""
    server = serve(inflight_max=1)
    with Socket(server) as client:
        client.connect("x", version=version)
        suback(client, version, "a", qos=1)
        for payload in (b"1", b"2"):
            client.send(wire.publish("a", payload, version=version, qos=1, packet_id=payload[0]))
        first = None
        acknowledged = 0
        while first is None or acknowledged < 2:
            received = client.read()
            if received.type == wire.PUBACK:
                acknowledged += 1
            else:
                first = wire.Published.of(received, version)
        assert first.payload == b"1"
        client.ping()
        client.send(wire.acknowledge(wire.PUBACK, first.packet_id))
        assert client.expect_publish(version).payload == b"2"


def subscriber_and_messages(server: Server, version: int, expiry_s: int) -> list[bytes]:
    """Publishes ten messages of 100 bytes to a subscriber whose window is 1, and returns what it gets."""
    properties = encode_property("session_expiry_interval", expiry_s) if version == 5 and expiry_s else b""
    payloads = [bytes([number]) * 100 for number in range(10)]
    with Socket(server) as client, Socket(server) as publisher:
        client.connect("x", version=version, clean=not expiry_s, properties=properties)
        suback(client, version, "a", qos=1)
        publisher.connect("publisher", version=version)
        for number, payload in enumerate(payloads):
            publisher.send(wire.publish("a", payload, 1, number + 1, version=version))
            publisher.expect(wire.PUBACK)
        publisher.send(wire.publish("a", b"last", 1, 100, version=version))
        publisher.expect(wire.PUBACK)
        received = []
        while b"last" not in received:
            message = client.expect_publish(version)
            received.append(message.payload)
            client.send(wire.acknowledge(wire.PUBACK, message.packet_id))
    assert set(received) <= {*payloads, b"last"}
    return [payload for payload in received if payload != b"last"]


@pytest.mark.parametrize("expiry_s", [0, 3600], ids=["clean", "durable"])
@pytest.mark.parametrize("limits", [{"outbox_messages_max": 4}, {"outbox_bytes_max": 450}], ids=["messages", "bytes"])
def test_the_outbox_of_a_slow_window(serve, version, expiry_s, limits):
    """The oldest that wait make way: the first is in flight, the newest arrive, those between do not."""
    received = [payload[0] for payload in subscriber_and_messages(serve(inflight_max=1, **limits), version, expiry_s)]
    assert received[0] == 0
    assert received[1:] == list(range(10 - len(received[1:]), 10))
    assert 2 <= len(received[1:]) <= 4


def test_outbox_bytes_max_of_a_stuck_socket(serve, version):
    """QoS 0 messages that do not fit are dropped, and the subscriber goes on with those that did."""
    server = serve(outbox_bytes_max=100_000)
    with Socket(server) as stuck, Socket(server) as publisher:
        stuck.connect("stuck", version=version)
        suback(stuck, version, "a")
        publisher.connect("publisher", version=version)
        payloads = [number.to_bytes(2, "big") * 25_000 for number in range(400)]
        for payload in payloads:
            publisher.send(wire.publish("a", payload, version=version))
        publisher.ping()
        received = []
        stuck.send(wire.packet(wire.PINGREQ << 4))
        while (packet := stuck.read()).type == wire.PUBLISH:
            received.append(wire.Published.of(packet, version).payload)
        assert packet.type == wire.PINGRESP
        assert 0 < len(received) < len(payloads)
        assert received == sorted(received)


def test_subscriptions_max(serve, version):
    server = serve(subscriptions_max=2)
    with Socket(server) as client:
        client.connect("x", version=version)
        refused = 0x97 if version == 5 else 0x80
        assert suback(client, version, "$share/group/a", "b", "c") == [0, 0, refused]
        assert suback(client, version, "$share/group/d") == [refused]
        assert suback(client, version, "b", "$share/group/a") == [0, 0]  # those that are there already


def test_session_expiry_max_s(serve, version):
    """MQTT 5 is told; either way the session ends with the bound."""
    server = serve(session_expiry_max_s=1)
    with Socket(server) as client:
        properties = encode_property("session_expiry_interval", 100) if version == 5 else b""
        connack = client.connect("x", version=version, clean=False, properties=properties)
        assert version != 5 or connack.properties()["session_expiry_interval"] == [1]
        suback(client, version, "a", qos=1)
    with Socket(server) as publisher:
        publisher.connect("publisher")
        deadline = time.monotonic() + TIMEOUT_S
        reason_code = 0
        while reason_code != 0x10:  # No matching subscribers: the session and its subscription have ended
            assert time.monotonic() < deadline
            publisher.send(wire.publish("a", b"x", 1, 1))
            reason_code = puback_reason(publisher)
    with Socket(server) as client:
        assert not client.connect("x", version=version, clean=False, properties=properties).session_present


def test_keep_alive_max_s(serve, version):
    """One second and a half without a packet, and the connection ends."""
    if version != 5:
        pytest.skip("3.1.1 cannot be told, and keeps its own")
    server = serve(keep_alive_max_s=1)
    with Socket(server) as client:
        connack = client.connect("x", version=version, keep_alive_s=0)
        assert connack.properties()["server_keep_alive"] == [1]
        expect_end(client, version, 0x8D)


def test_topic_alias_maximum(serve, version):
    if version != 5:
        pytest.skip("3.1.1 has no topic aliases")
    server = serve(topic_alias_maximum=2)
    with Socket(server) as client:
        client.connect("x")
        client.send(wire.publish("a", qos=1, packet_id=1, properties=encode_property("topic_alias", 2)))
        client.expect(wire.PUBACK)
        client.send(wire.publish("a", properties=encode_property("topic_alias", 3)))
        assert client.expect_disconnect() == 0x94


@pytest.mark.parametrize("limits", [{"retained_messages_max": 1}, {"retained_bytes_max": 300}], ids=["count", "bytes"])
def test_retained(serve, version, limits):
    """The message that does not fit is delivered, and not kept: MQTT 5 is told in PUBACK, 3.1.1 by the end."""
    server = serve(**limits)
    with Socket(server) as subscriber, Socket(server) as client:
        subscriber.connect("subscriber", version=version)
        suback(subscriber, version, "#")
        client.connect("x", version=version)
        client.send(wire.publish("a", b"x" * 200, 1, 1, version=version, flags=1))
        client.expect(wire.PUBACK)
        client.send(wire.publish("b", b"x" * 200, 1, 2, version=version, flags=1))
        if version == 5:
            assert puback_reason(client) == 0x97
        else:
            client.expect_closed()
        assert [subscriber.expect_publish(version).topic for _ in range(2)] == ["a", "b"]
    with Socket(server) as late:
        late.connect("late", version=version)
        assert suback(late, version, "#") == [0]
        assert late.expect_publish(version).topic == "a"
        late.ping()


@pytest.mark.parametrize("limits, taken", [
    ({"delayed_messages_max": 0}, 0), ({"delayed_messages_max": 2}, 2), ({"delayed_bytes_max": 8}, 2)],
    ids=["none", "messages", "bytes"])
def test_delayed_messages(serve, version, limits, taken):
    """One more than may wait is refused; at QoS 0 nothing is said. Each is 3 bytes: topic, payload, client id."""
    server = serve(**limits)
    with Socket(server) as client:
        client.connect("x", version=version)
        for number in range(taken):
            client.send(wire.publish("$delayed/1000/a", b"x", 1, number + 1, version=version))
            assert puback_reason(client) == 0
        client.send(wire.publish("$delayed/1000/a", b"x", version=version))
        client.ping()
        client.send(wire.publish("$delayed/1000/a", b"x", 1, taken + 1, version=version))
        if version == 5:
            assert puback_reason(client) == 0x97
            client.ping()
        else:
            client.expect_closed()


def test_delay_max_s(serve, version):
    server = serve(delay_max_s=1)
    with Socket(server) as client:
        client.connect("x", version=version)
        suback(client, version, "a")
        client.send(wire.publish("$delayed/1/a", b"x", 1, 1, version=version))
        assert puback_reason(client) == 0
        assert client.expect_publish(version).topic == "a"
        client.send(wire.publish("$delayed/2/a", b"x", 1, 2, version=version))
        expect_end(client, version, 0x90)


@pytest.mark.parametrize("limits", [{"message_rate": 20}, {"byte_rate": 2000}], ids=["messages", "bytes"])
def test_rates(serve, version, limits):
    """Nothing is said or lost; reading pauses, so that three seconds' worth takes about two after the first."""
    server = serve(**limits)
    with Socket(server) as client:
        client.connect("x", version=version)
        began = time.monotonic()
        for number in range(60):
            client.send(wire.publish("a", b"x" * (93 if version == 5 else 94), 1, number + 1, version=version))
        assert [client.expect(wire.PUBACK).packet_id for _ in range(60)] == list(range(1, 61))
        assert time.monotonic() - began > 1.5


def test_many_filters_hold_up_nobody(serve, version):
    """One SUBSCRIBE of 20 000 filters, and one UNSUBSCRIBE, cost as much as they have filters: others go on meanwhile.

    When each filter was looked for among all others, they had to wait for seconds.
    """
    count = 20_000
    server = serve()
    with Socket(server) as client, Socket(server) as other:
        client.connect("many", version=version)
        other.connect("other", version=version)
        names = [str(number) for number in range(count)]
        client.send(wire.subscribe(1, *((name, 0) for name in names), version=version))
        client.send(wire.unsubscribe(2, *names, version=version))
        began = time.monotonic()
        other.ping()
        waited = time.monotonic() - began
        assert client.expect(wire.SUBACK).body.endswith(bytes(count))
        client.expect(wire.UNSUBACK)
        # Under sanitizers and on a busy machine too.
        assert waited < 3, f"another client waited {waited:.1f} s for its PINGRESP"
