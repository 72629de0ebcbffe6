"""What the configuration makes of topics: rewrites, automatic subscriptions, groups, and where responses should go."""

import json

import pytest

from harness import wire
from harness.client import Subscription, Version, Will
from harness.wire import Socket, encode_property

pytestmark = pytest.mark.ours_only("these are mqttq-server's own keys")

EVERY_VERSION = pytest.mark.parametrize("version", list(Version), ids=["v3_1", "v3_1_1", "v5"])


@pytest.fixture
def serve(start_broker, tmp_path):
    """A function that starts a broker, of one shard, with what the configuration file has: serve(rewrites=[...])."""

    def start(**content):
        file = tmp_path / "topics.json"
        file.write_text(json.dumps(content))
        return start_broker(flags=("--shards", "1", "--config", str(file)))

    return start


@pytest.fixture
def join(clients):
    """A function that makes a client of a broker and connects it: join(broker, Version.V5, client_id="x")."""

    def make(broker, version: Version = Version.V5, client_id: str | None = None, **options):
        client = clients("paho", broker, version, client_id)
        assert client.connect(**options).reason_code == 0
        return client

    return make


# --- rewrites

OLD = {"from": "old/+/state/#", "to": "new/$1/$2"}


@EVERY_VERSION
def test_a_rewritten_publish(serve, join, version):
    """The message is routed and retained by the topic that comes of it."""
    broker = serve(rewrites=[OLD])
    publisher, subscriber = join(broker, version), join(broker, version)
    subscriber.subscribe(Subscription("new/#", 1))
    publisher.publish("old/7/state/door/open", "x", 1, retain=True)
    publisher.publish("old/7/state", "y", 1)
    assert [(one.topic, one.payload) for one in subscriber.take(2)] == [("new/7/door/open", b"x"), ("new/7", b"y")]
    late = join(broker, version)
    late.subscribe(Subscription("new/7/door/open", 1))
    assert late.take_one().payload == b"x"


@EVERY_VERSION
def test_a_rewritten_subscription(serve, join, version):
    """`+` and `#` of the filter are caught as the levels they stand for, and UNSUBSCRIBE finds the same filter."""
    broker = serve(rewrites=[OLD])
    publisher, subscriber = join(broker, version), join(broker, version)
    subscriber.subscribe(Subscription("old/+/state/#", 1))
    for topic in ("new/1/a", "new/2/b/c"):
        publisher.publish(topic, topic, 1)
    assert [one.topic for one in subscriber.take(2)] == ["new/1/a", "new/2/b/c"]
    subscriber.subscribe(Subscription("end", 1))
    subscriber.unsubscribe("old/+/state/#")
    publisher.publish("new/3/d", "left out", 1)
    publisher.publish("end", "end", 1)
    assert subscriber.take_until("end") == []


def test_a_rewritten_will(serve, join):
    broker = serve(rewrites=[OLD])
    subscriber = join(broker)
    subscriber.subscribe(Subscription("new/#", 1))
    join(broker, will=Will("old/8/state/gone", b"x", 1)).drop()
    assert subscriber.take_one().topic == "new/8/gone"


@pytest.mark.parametrize("actions, published, subscribed", [
    ("all", "new/a", "new/a"), ("publish", "new/a", "old/a"), ("subscribe", "old/a", "new/a")])
def test_the_actions_of_a_rewrite(serve, join, actions, published, subscribed):
    """What is published to old/a goes to `published`; who subscribes to old/a gets what is routed to `subscribed`."""
    broker = serve(rewrites=[{"from": "old/+", "to": "new/$1", "actions": actions}])
    publisher, everything, subscriber = join(broker), join(broker), join(broker)
    everything.subscribe(Subscription("#", 1))
    publisher.publish("old/a", "first", 1)
    assert everything.take_one().topic == published
    subscriber.subscribe(Subscription("old/a", 1), Subscription("end", 1))
    publisher.publish("old/a", "second", 1)
    publisher.publish("new/a", "third", 1)
    publisher.publish("end", "end", 1)
    expected = [topic for topic in (published, "new/a") if topic == subscribed]
    assert [one.topic for one in subscriber.take_until("end")] == expected


def test_the_first_rewrite_that_matches(serve, join):
    """In the order of the file, and one only; ${client_id} is filled in."""
    broker = serve(rewrites=[{"from": "a/b", "to": "c/${client_id}"}, {"from": "a/+", "to": "d/$1"},
                             {"from": "c/#", "to": "e"}])
    client = join(broker, client_id="me")
    client.subscribe(Subscription("+/me", 1), Subscription("d/+", 1), Subscription("e", 1))
    for topic in ("a/b", "a/x", "c"):
        client.publish(topic, "x", 1)
    assert [one.topic for one in client.take(3)] == ["c/me", "d/x", "e"]


# --- automatic subscriptions

@EVERY_VERSION
def test_an_automatic_subscription(serve, join, version):
    """Received without SUBSCRIBE, each client its own."""
    broker = serve(auto_subscriptions=[{"topic_filter": "clients/${client_id}/in", "qos": 1}])
    one, other = join(broker, version, "one"), join(broker, version, "other")
    for name in ("one", "other"):
        other.publish(f"clients/{name}/in", f"for {name}", 2)
    for client in (one, other):
        message = client.take_one()
        assert (message.payload, message.qos) == (f"for {client.client_id}".encode(), 1)
    other.publish("clients/one/in", "end", 1)
    assert one.take_until("end") == []


def test_the_options_of_an_automatic_subscription(serve, join):
    """Those of the file, and the defaults beside them."""
    broker = serve(auto_subscriptions=[
        {"topic_filter": "plain", "qos": 2},
        {"topic_filter": "bare", "qos": 2, "no_local": True, "retain_as_published": True, "retained": False},
        {"topic_filter": "end", "qos": 0}])
    one = join(broker)
    for topic in ("plain", "bare", "end"):
        one.publish(topic, "kept", 2, retain=True)
    assert [(message.topic, message.qos, message.retain) for message in one.take(2)] == [
        ("plain", 2, False), ("end", 0, False)]  # not its own to `bare`
    other = join(broker)
    kept = other.take(2)
    assert {(message.topic, message.retain) for message in kept} == {("plain", True), ("end", True)}
    one.publish("bare", "new", 2, retain=True)
    message = other.take_one()
    assert (message.topic, message.payload, message.qos, message.retain) == ("bare", b"new", 2, True)


def test_an_automatic_membership(serve, join):
    """Of a group that all clients share."""
    broker = serve(auto_subscriptions=[{"topic_filter": "$share/all/jobs", "qos": 1}])
    members = [join(broker), join(broker)]
    members[0].publish_many("jobs", [b"1", b"2", b"3", b"4"], 1)
    assert sorted(message.payload for member in members for message in member.take(2)) == [b"1", b"2", b"3", b"4"]


# --- groups

@pytest.mark.parametrize("shared_subscriptions", [
    {"groups": [{"name": "one", "strategy": "sticky"}]},
    {"strategy": "sticky", "groups": [{"name": "turns", "strategy": "round_robin"}]},
], ids=["default round_robin", "default sticky"])
def test_a_strategy_of_a_group(serve, join, shared_subscriptions):
    """One group has its own, the other the default: the sticky one gives one of two members everything."""
    broker = serve(shared_subscriptions=shared_subscriptions)
    publisher, members = join(broker), [join(broker), join(broker)]
    for member in members:
        member.subscribe(Subscription("$share/one/one", 1), Subscription("$share/turns/turns", 1),
                         Subscription("end", 1))
    counts = {}
    for topic in ("one", "turns"):
        publisher.publish_many(topic, [b"x"] * 10, 1)
        publisher.publish("end", "end", 1)
        counts[topic] = sorted(len(member.take_until("end")) for member in members)
    assert counts == {"one": [0, 10], "turns": [5, 5]}


# --- response information

@pytest.mark.parametrize("asked, told", [(1, [b"responses/me"]), (0, None), (None, None)])
def test_response_information(serve, asked, told):
    """In CONNACK for those who ask for it, and only for them. [MQTT-3.1.2-28]"""
    broker = serve(protocol={"response_information": "responses/${client_id}"})
    with Socket(broker) as client:
        wanted = b"" if asked is None else encode_property("request_response_information", asked)
        assert client.connect("me", properties=wanted).properties().get("response_information") == told


@pytest.mark.parametrize("content", [{}, {"protocol": {"response_information": ""}}], ids=["left out", "empty"])
def test_no_response_information(serve, content):
    with Socket(serve(**content)) as client:
        wanted = encode_property("request_response_information", 1)
        assert "response_information" not in client.connect("me", properties=wanted).properties()
