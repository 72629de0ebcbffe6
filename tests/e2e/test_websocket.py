"""MQTT over WebSocket: foreign clients through ws:// listeners of mqttq-server."""

import json
import re
import socket

import pytest

from harness.broker import HOST, Broker, Settings
from harness.client import TIMEOUT_S, Subscription, Version, Will

pytestmark = pytest.mark.ours_only("its listener for WebSockets is set up in another way")

KINDS = ["paho", "js"]
VERSIONS = pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
PACKET_SIZE_MAX = 2 * 1024 * 1024
PATH = "/a/b"


class At:
    """One ws:// listener of a running broker, as clients see a broker."""

    host = HOST
    kind = "mqttq"

    def __init__(self, port: str, path: str):
        self.port, self.websocket_path = int(port), path


@pytest.fixture(scope="module")
def listeners(tmp_path_factory):
    """The listeners of one broker with three shards: at the default path, at another, and the one for TCP."""
    directory = tmp_path_factory.mktemp("websocket")
    config = directory / "limits.json"
    config.write_text(json.dumps({"limits": {"packet_size_max": PACKET_SIZE_MAX}}))
    running = Broker(directory, Settings(flags=("--config", str(config), "--shards", "3", "--listen", f"ws://{HOST}:0",
                                                "--listen", f"ws://{HOST}:0{PATH}")))
    try:
        ready = running.child.wait_line(rf" ws://{re.escape(HOST)}:(\d+)/mqtt ws://{re.escape(HOST)}:(\d+){PATH}$")
        yield At(ready[1], "/mqtt"), At(ready[2], PATH), running
        running.stop()
    finally:
        running.child.kill()


@pytest.fixture
def through(listeners, clients):
    """A function that makes a client at the default path and connects it."""

    def make(kind: str, version: Version = Version.V5, at=None, **options):
        client = clients(kind, at or listeners[0], version)
        assert client.connect(**options).reason_code == 0
        return client

    yield make
    listeners[2].check_alive()


@VERSIONS
@pytest.mark.parametrize("publisher", KINDS)
@pytest.mark.parametrize("subscriber", KINDS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_cross(through, topic, version, publisher, subscriber, qos):
    """Small messages in order, and one of 1 MiB, which is many reads and writes.

    [MQTT-6.0.0-1] [MQTT-6.0.0-2] [MQTT-6.0.0-4] [MQTT311-6.0.0-1] [MQTT311-6.0.0-2] [MQTT311-6.0.0-4]
    """
    payloads = [f"{number} grüße".encode() for number in range(50)]
    large = bytes(number * number % 251 for number in range(1024 * 1024))
    sender, receiver = through(publisher, version), through(subscriber, version)
    receiver.subscribe(Subscription(topic, qos))
    sender.publish_many(topic, payloads, qos)
    sender.publish(topic, large, qos)
    received = receiver.take(len(payloads) + 1)
    assert [message.payload for message in received[:-1]] == payloads
    assert {message.qos for message in received} == {qos}
    assert len(received[-1].payload) == len(large)
    assert received[-1].payload == large
    sender.disconnect()
    receiver.disconnect()


@VERSIONS
@pytest.mark.parametrize("kind", KINDS)
def test_the_will_of_a_client_that_is_gone(through, topic, version, kind):
    """A socket that ends without DISCONNECT leaves a will; one that ends with it leaves none.

    [MQTT-3.1.2-8] [MQTT311-3.1.2-8]
    """
    observer = through("js", version)
    observer.subscribe(Subscription(topic, 1))
    through(kind, version, will=Will(topic, b"none", 1)).disconnect()
    through(kind, version, will=Will(topic, b"gone", 1)).drop()
    assert observer.take_one().payload == b"gone"


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_goes_on_through_another_transport(listeners, through, topic, kind):
    """What a client missed it gets wherever it comes back: its session is not its connection's."""
    kept = {"clean_start": False, "properties": {"session_expiry_interval": 300}}
    client = through(kind, **kept)
    client.subscribe(Subscription(topic, 1))
    client.drop()
    through("paho", at=listeners[2]).publish(topic, "missed", 1)
    client.broker = listeners[1]
    assert client.connect(**kept).session_present
    assert client.take_one().payload == b"missed"


@pytest.mark.parametrize("kind", KINDS)
def test_another_path(listeners, clients, kind):
    """A listener is at its own path alone."""
    assert clients(kind, listeners[1]).connect().reason_code == 0
    with pytest.raises((AssertionError, OSError)):
        clients(kind, At(listeners[1].port, "/mqtt")).connect()


def test_a_browser_at_the_wrong_door(listeners):
    """A plain GET gets a text for people, and the connection ends."""
    for path, status in (("/", 404), ("/mqtt", 400)):
        with socket.create_connection((HOST, listeners[0].port), TIMEOUT_S) as browser:
            browser.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b"".join(iter(lambda: browser.recv(4096), b"")).decode()
        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert answer.endswith("\n") and len(answer.partition("\r\n\r\n")[2]) > 10
