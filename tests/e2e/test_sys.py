"""What the broker says of itself below $SYS/broker, by Mosquitto's names, and which clients come and go."""

import json
import urllib.parse

import pytest

from harness.client import Subscription, Version

# What Mosquitto 2.0.11 publishes, but for the size of its heap.
NAMES = {
    "version", "uptime", "clients/total", "clients/connected", "clients/active", "clients/disconnected",
    "clients/inactive", "clients/maximum", "clients/expired", "messages/received", "messages/sent", "messages/stored",
    "store/messages/count", "store/messages/bytes", "retained messages/count", "subscriptions/count",
    "shared_subscriptions/count", "publish/messages/received", "publish/messages/sent", "publish/messages/dropped",
    "publish/bytes/received", "publish/bytes/sent", "bytes/received", "bytes/sent",
    *(f"load/{what}/{window}" for what in (
        "messages/received", "messages/sent", "publish/received", "publish/sent", "publish/dropped", "bytes/received",
        "bytes/sent", "sockets", "connections") for window in ("1min", "5min", "15min")),
}
MOSQUITTOS_OWN = {"heap/current", "heap/maximum"}
OURS_BESIDES = {"messages/inflight"}  # which Mosquitto's manual names and its 2.0 has no longer
PREFIX = "$SYS/broker/"


def name_of(message) -> str:
    assert message.topic.startswith(PREFIX), message
    return message.topic.removeprefix(PREFIX)


class Watch:
    """The last value of each topic below $SYS/broker, as one subscriber hears it."""

    def __init__(self, client):
        self.client = client
        self.values: dict[str, str] = {}
        client.subscribe(Subscription("$SYS/#"))

    def take(self):
        message = self.client.take_one()
        self.values[name_of(message)] = message.payload.decode()
        return message

    def until(self, wanted: dict[str, str]) -> None:
        """Waits until all of these values have been said; fails with what was said last."""
        try:
            while any(self.values.get(name) != value for name, value in wanted.items()):
                self.take()
        except AssertionError:
            assert {name: self.values.get(name) for name in wanted} == wanted
            raise


@pytest.mark.parametrize("kind", ["mosq", "paho"])
def test_the_names_are_mosquittos(start_broker, clients, kind):
    """Every topic that Mosquitto 2.0 has is there, and none that it has not but for those that are listed."""
    broker = start_broker(sys_interval_s=1)
    others = clients("paho", broker)
    others.connect()
    others.publish("kept", "1", qos=1, retain=True)  # what is 0 from the start Mosquitto may leave out
    client = clients(kind, broker)
    client.connect()
    watch = Watch(client)
    while not NAMES <= watch.values.keys():
        watch.take()
    more = OURS_BESIDES if broker.kind == "mqttq" else MOSQUITTOS_OWN
    assert watch.values.keys() - NAMES <= more
    if broker.kind == "mqttq":
        assert watch.values["version"].startswith("libmqttq version ")
        assert watch.values.keys() - NAMES == more
    assert watch.values["uptime"].endswith(" seconds")
    for name, value in watch.values.items():
        if name not in ("version", "uptime"):
            float(value)
            assert ("." in value) == name.startswith("load/"), (name, value)


@pytest.mark.ours_only("its first values come with its first interval")
def test_a_new_subscriber_gets_what_was_said_before(start_broker, clients):
    """As retained messages at once; what changes later comes live, and nothing twice."""
    broker = start_broker(sys_interval_s=3600)
    client = clients("paho", broker)
    client.connect()
    watch = Watch(client)
    while len(watch.values) < len(NAMES | OURS_BESIDES):
        watch.take()  # live, if it was there before the first look
    later = clients("paho", broker, Version.V3_1_1)
    later.connect()
    later.subscribe(Subscription("$SYS/broker/#"))
    messages = later.take(len(NAMES | OURS_BESIDES))
    assert {name_of(message) for message in messages} == NAMES | OURS_BESIDES
    assert all(message.retain and message.qos == 0 for message in messages)
    assert {name_of(message): message.payload.decode() for message in messages} == watch.values


@pytest.mark.ours_only("it says its values again when they are what they were, and counts them among messages")
def test_only_what_changed_is_said_again(start_broker, clients):
    broker = start_broker(sys_interval_s=1)
    client = clients("paho", broker)
    client.connect()
    client.subscribe(Subscription("$SYS/broker/uptime"), Subscription("$SYS/broker/clients/+"),
                     Subscription("$SYS/broker/version"), Subscription("$SYS/broker/publish/#"))
    last: dict[str, str] = {}
    uptimes = 0
    while uptimes < 4:
        message = client.take_one()
        assert last.get(message.topic) != message.payload, message
        last[message.topic] = message.payload
        uptimes += message.topic == "$SYS/broker/uptime"
    assert last["$SYS/broker/clients/connected"] == b"1"


def test_wildcards_at_the_front_leave_it_out(start_broker, clients):
    """[MQTT-4.7.2-1]"""
    broker = start_broker(sys_interval_s=1)
    everything, watch = clients("paho", broker), clients("paho", broker)
    everything.connect()
    everything.subscribe(Subscription("#"), Subscription("+/broker/#"), Subscription("+/+/uptime"))
    watch.connect()
    watch.subscribe(Subscription("$SYS/broker/uptime"))
    watch.take(3)
    everything.publish("a", "last", qos=1)
    assert everything.take_until("last") == []


@pytest.mark.ours_only("it lets clients publish there")
def test_a_client_cannot_publish_there(start_broker, clients):
    broker = start_broker(sys_interval_s=3600)
    watch, client = clients("paho", broker), clients("paho", broker)
    watch.connect()
    watch.subscribe(Subscription("$SYS/broker/version"), Subscription("a"))
    client.connect()
    assert client.publish("$SYS/broker/version", "mine", qos=1, retain=True) == 0x87
    client.publish("a", "last", qos=1)
    assert [message.payload for message in watch.take_until("last")] != [b"mine"]


@pytest.mark.ours_only("what it says itself is among its figures of messages")
def test_the_figures_are_those_of_the_traffic(start_broker, clients):
    broker = start_broker(sys_interval_s=1)
    client = clients("paho", broker, client_id="watch")
    client.connect()
    watch = Watch(client)
    writer, reader, group = (clients("paho", broker, client_id=name) for name in ("writer", "reader", "group"))
    for one in (writer, group):
        one.connect()
    reader.connect(clean_start=False, properties={"session_expiry_interval": 100})
    reader.subscribe(Subscription("t/#", qos=1))
    group.subscribe(Subscription("$share/g/s", qos=0))
    watch.until({"clients/connected": "4", "clients/active": "4", "clients/total": "4", "clients/disconnected": "0",
                 "clients/maximum": "4", "subscriptions/count": "2", "shared_subscriptions/count": "1"})
    for number in range(10):
        writer.publish(f"t/{number % 2}", "12345", qos=number % 3)
    writer.publish("nobody", "x" * 100, qos=1)
    writer.publish("kept", "abc", qos=1, retain=True)
    reader.take(10)
    watch.until({"publish/messages/received": "12", "publish/bytes/received": "153", "publish/messages/sent": "10",
                 "publish/bytes/sent": "50", "publish/messages/dropped": "0", "retained messages/count": "1",
                 "store/messages/count": "1", "messages/stored": "1", "store/messages/bytes": "7",
                 "messages/inflight": "0"})
    assert int(watch.values["bytes/received"]) > 153
    assert int(watch.values["messages/received"]) > 12
    loads = ("load/publish/received/1min", "load/publish/sent/1min", "load/bytes/received/15min", "load/sockets/5min",
             "load/connections/5min")
    while not all(float(watch.values[name]) > 0 for name in loads):
        watch.take()
    assert float(watch.values["load/publish/dropped/1min"]) == 0
    reader.disconnect()
    for _ in range(3):
        writer.publish("t/1", "12345", qos=1)
    watch.until({"clients/disconnected": "1", "clients/inactive": "1", "clients/connected": "3", "clients/total": "4",
                 "clients/maximum": "4", "store/messages/count": "4", "store/messages/bytes": str(7 + 3 * 8),
                 "publish/messages/received": "15", "publish/messages/sent": "10"})
    reader.connect(clean_start=False, properties={"session_expiry_interval": 0})
    reader.take(3)
    reader.disconnect()
    watch.until({"clients/total": "3", "store/messages/count": "1", "subscriptions/count": "1",
                 "publish/messages/sent": "13"})


def test_without_an_interval_nothing_is_said(start_broker, clients):
    broker = start_broker(sys_interval_s=0)
    client = clients("paho", broker)
    client.connect()
    client.subscribe(Subscription("$SYS/#"), Subscription("a"))
    client.publish("a", "last", qos=1)
    assert client.take_until("last") == []


# --- clients that come and go

@pytest.fixture
def told(start_broker, clients):
    """A broker that tells of its clients, one client that hears it, and a function that takes the next event."""
    broker = start_broker(sys_interval_s=0, client_events=True, flags=("--shards", "3"))
    watch = clients("paho", broker, client_id="watch")
    watch.connect()
    watch.subscribe(Subscription("$SYS/broker/clients/+/+"))

    def take() -> tuple[str, str, dict]:
        message = watch.take_one()
        assert (message.qos, message.retain) == (0, False)
        assert message.properties.get("content_type") == "application/json"
        *_, level, what = message.topic.split("/")
        content = json.loads(message.payload)
        assert urllib.parse.unquote(level, errors="strict") == content["client_id"]
        return content["client_id"], what, content

    return broker, take


ours_only = pytest.mark.ours_only("Mosquitto tells of no clients")


@ours_only
@pytest.mark.parametrize("version", Version)
def test_a_client_comes_and_goes(told, clients, version):
    broker, take = told
    client = clients("paho", broker, version, client_id="comes")
    client.connect(keep_alive_s=47)
    who, what, came = take()
    assert (who, what) == ("comes", "connected")
    assert came["protocol_version"] == version.value and came["keep_alive_s"] == 47
    assert (came["clean_start"], came["session_expiry_s"], came["session_present"]) == (True, 0, False)
    assert came["username"] is None and came["address"].startswith("127.0.0.1:")
    client.disconnect()
    who, what, went = take()
    assert (who, what) == ("comes", "disconnected")
    assert (went["reason"], went["reason_code"]) == ("normal disconnection", 0)
    assert went["duration_ms"] >= 0 and went["connected_at_ms"] == came["connected_at_ms"]


@ours_only
def test_a_lost_connection_and_a_session_that_is_kept(told, clients):
    broker, take = told
    client = clients("paho", broker, client_id="kept")
    client.connect(clean_start=False, properties={"session_expiry_interval": 100})
    client.drop()
    assert take()[:2] == ("kept", "connected")
    who, what, went = take()
    assert (who, what, went["reason"], went["reason_code"]) == ("kept", "disconnected", "connection lost", 128)
    again = clients("paho", broker, client_id="kept")
    again.connect(clean_start=False, properties={"session_expiry_interval": 100})
    who, what, came = take()
    assert (what, came["session_present"], came["session_expiry_s"]) == ("connected", True, 100)


@ours_only
def test_take_overs_are_told_in_order(told, clients):
    """Whatever shard each connection came in by."""
    broker, take = told
    held = [clients("paho", broker, client_id="one") for _ in range(8)]
    for client in held:
        client.connect()
    expected = ["connected", *["disconnected", "connected"] * 7]
    events = [take() for _ in expected]
    assert [what for _, what, _ in events] == expected
    assert {content.get("reason") for _, what, content in events if what == "disconnected"} == {"session taken over"}


@ours_only
@pytest.mark.parametrize("client_id", ["a/b", "+", "#", "100%", 'say "\\"', "é€", "tab\there"], ids=repr)
def test_any_client_id_is_one_level(told, clients, client_id):
    broker, take = told
    client = clients("paho", broker, client_id=client_id)
    client.connect()
    client.disconnect()
    assert [take()[:2] for _ in range(2)] == [(client_id, "connected"), (client_id, "disconnected")]


@ours_only
def test_without_the_key_clients_are_not_told_of(start_broker, clients):
    broker = start_broker(sys_interval_s=0)
    watch = clients("paho", broker)
    watch.connect()
    watch.subscribe(Subscription("$SYS/broker/clients/+/+"), Subscription("a"))
    other = clients("paho", broker)
    other.connect()
    other.publish("a", "last", qos=1)
    assert watch.take_until("last") == []
