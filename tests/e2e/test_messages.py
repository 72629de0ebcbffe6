"""What a message carries: payloads of any kind and size, properties, expiry, topic aliases."""

import subprocess

import pytest

from harness import wire
from harness.client import TIMEOUT_S, Subscription, Version, Will
from harness.mosquitto_client import command
from harness.wire import Socket, encode_property

EVERY_KIND = ["mosq", "paho", "js"]
PROPERTIES = {
    "payload_format_indicator": 1,
    "content_type": "text/plain; charset=utf-8",
    "response_topic": "e2e/answers/ü",
    "correlation_data": b"\x00\x01\xfe\xff",
    "user_properties": [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("b", "1"), ("ü", "温度")],
}


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_pass_unaltered(connected, topic, qos):
    """All properties of a PUBLISH reach the subscriber as they were, user properties in order and with repeats.

    [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    """
    publisher, subscriber = connected("paho"), connected("paho")
    subscriber.subscribe(Subscription(topic, qos))
    publisher.publish(topic, "x", qos, properties=PROPERTIES)
    assert subscriber.take_one().properties == PROPERTIES


@pytest.mark.parametrize("publisher, subscriber", [("paho", "js"), ("js", "paho"), ("js", "js"), ("mosq", "paho")])
def test_properties_between_clients(connected, topic, publisher, subscriber):
    """Properties written by one library are read by another. [MQTT-3.3.2-17] [MQTT-3.3.2-20]"""
    properties = {**PROPERTIES, "user_properties": [("a", "1"), ("a", "2"), ("b", "3")],
                  "correlation_data": b"of text", "payload_format_indicator": 1}
    sender, receiver = connected(publisher), connected(subscriber)
    receiver.subscribe(Subscription(topic, 1))
    sender.publish(topic, "x", 1, properties=properties)
    assert receiver.take_one().properties == properties


def test_properties_of_a_retained_message(connected, topic):
    """A retained message keeps its properties. [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]"""
    publisher, newcomer = connected("paho"), connected("paho")
    publisher.publish(topic, "x", 1, retain=True, properties=PROPERTIES)
    newcomer.subscribe(Subscription(topic, 1))
    assert newcomer.take_one().properties == PROPERTIES


@pytest.mark.parametrize("version", [Version.V3_1, Version.V3_1_1], ids=["v3_1", "v3_1_1"])
def test_properties_do_not_hinder_older_clients(connected, topic, version):
    """A client of MQTT 3 gets the message without the properties it could not read."""
    publisher, subscriber = connected("paho"), connected("js", version)
    subscriber.subscribe(Subscription(topic, 1))
    publisher.publish(topic, "x", 1, properties=PROPERTIES)
    message = subscriber.take_one()
    assert (message.topic, message.payload, message.properties) == (topic, b"x", {})


@pytest.mark.parametrize("publisher", EVERY_KIND)
@pytest.mark.parametrize("subscriber", EVERY_KIND)
@pytest.mark.parametrize("qos", [0, 2])
def test_large_payloads(connected, topic, publisher, subscriber, qos):
    """A payload of nearly 1 MiB crosses whole, whoever sends and whoever receives."""
    payload = bytes(number * number % 251 for number in range(1_000_003))
    sender, receiver = connected(publisher), connected(subscriber)
    receiver.subscribe(Subscription(topic, qos))
    sender.publish(topic, payload, qos)
    message = receiver.take_one()
    assert len(message.payload) == len(payload)
    assert message.payload == payload


# Where the remaining length takes one more byte, and around what a broker may copy or keep apart.
SIZES = [0, 1, 100, 127, 128, 129, 255, 256, 257, 4095, 4096, 16383, 16384, 16385, 65535, 65536, 100_000]


@pytest.mark.parametrize("version", [Version.V3_1_1, Version.V5], ids=["v3_1_1", "v5"])
def test_payloads_of_any_size_and_byte(connected, topic, version):
    """Payloads are bytes, none at all included, and arrive as they were. [MQTT-4.5.0-1] [MQTT311-4.5.0-1]"""
    payloads = [bytes((number + size) % 256 for number in range(size)) for size in SIZES]
    publisher, subscriber = connected("js", version), connected("paho", version)
    subscriber.subscribe(Subscription(topic, 1))
    publisher.publish_many(topic, payloads, 1)
    assert [message.payload for message in subscriber.take(len(payloads))] == payloads


def test_an_expired_message_is_not_delivered(connected, topic):
    """What waited longer than its Message Expiry Interval is gone; what waits still says how much is left.

    [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    """
    publisher, observer = connected("paho"), connected("paho")
    observer.subscribe(Subscription(f"{topic}/clock", 1))
    kept = {"clean_start": False, "properties": {"session_expiry_interval": 300}}
    client = connected("js", will=Will(f"{topic}/clock", b"gone", 1), **kept)
    client.subscribe(Subscription(topic, 1))
    client.drop()
    observer.take_one()  # the broker knows: what comes now waits
    publisher.publish(topic, "short", 1, properties={"message_expiry_interval": 1})
    publisher.publish(topic, "long", 1, properties={"message_expiry_interval": 1000})
    publisher.publish(f"{topic}/r", "short", 1, retain=True, properties={"message_expiry_interval": 1})
    publisher.publish(f"{topic}/r2", "long", 1, retain=True, properties={"message_expiry_interval": 1000})
    # A will with a delay is the clock: when it comes, 3 s have passed for the broker.
    connected("paho", will=Will(f"{topic}/clock", b"tick", 1, properties={"will_delay_interval": 3}),
              properties={"session_expiry_interval": 60}).drop()
    observer.take_one()

    client.connect(**kept)
    publisher.publish(topic, "end", 1)
    left = client.take_until("end")
    assert [message.payload for message in left] == [b"long"]
    assert 900 <= left[0].properties["message_expiry_interval"] <= 998
    observer.subscribe(Subscription(f"{topic}/+", 1))
    retained = observer.take_one()
    assert retained.payload == b"long"
    assert 900 <= retained.properties["message_expiry_interval"] <= 998
    observer.publish(f"{topic}/end", "end", 1)
    assert observer.take_until("end") == []


def test_the_expiry_of_a_live_message(connected, topic):
    """A message that did not wait says the expiry it was given, give or take a second. [MQTT-3.3.2-6]"""
    publisher, subscriber = connected("js"), connected("paho")
    subscriber.subscribe(Subscription(topic, 1))
    publisher.publish(topic, "x", 1, properties={"message_expiry_interval": 4_000_000_000})
    assert subscriber.take_one().properties["message_expiry_interval"] in (4_000_000_000, 3_999_999_999)


def test_topic_aliases_from_a_client(broker, connected, topic):
    """An alias stands for the topic it was last given, on its connection only. [MQTT-3.3.2-7] [MQTT-3.3.2-12]"""
    subscriber = connected("paho")
    subscriber.subscribe(Subscription(f"{topic}/#", 1))

    def alias(number):
        return encode_property("topic_alias", number)

    with Socket(broker) as client:
        maximum = client.connect("alias").properties().get("topic_alias_maximum", [0])[0]
        assert maximum >= 2, "this test wants a broker that takes topic aliases"
        client.send(wire.publish(f"{topic}/a", b"1", properties=alias(1))
                    + wire.publish("", b"2", properties=alias(1))
                    + wire.publish(f"{topic}/b", b"3", properties=alias(maximum))
                    + wire.publish("", b"4", qos=1, packet_id=1, properties=alias(1))
                    + wire.publish("", b"5", properties=alias(maximum))
                    + wire.publish(f"{topic}/c", b"6", properties=alias(1))
                    + wire.publish("", b"7", properties=alias(1)))
        received = subscriber.take(7)
        assert [(message.topic, message.payload) for message in received] == [
            (f"{topic}/{name}", f"{number}".encode()) for number, name in enumerate("aabab" "cc", 1)]
        assert not any("topic_alias" in message.properties for message in received)  # ours goes no further
    with Socket(broker) as client:
        client.connect("alias")
        client.send(wire.publish("", b"8", properties=alias(1)))
        assert client.expect_disconnect() in (0x82, 0x94)


@pytest.mark.parametrize("alias", ["0", "maximum + 1", "65535"])
def test_topic_aliases_out_of_range(broker, topic, alias):
    """Alias 0, or above the maximum of CONNACK, ends the connection. [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17]"""
    with Socket(broker) as client:
        maximum = client.connect("alias").properties().get("topic_alias_maximum", [0])[0]
        number = {"0": 0, "maximum + 1": maximum + 1, "65535": 65535}[alias]
        if not 0 < number <= maximum and number <= 65535:
            client.send(wire.publish(topic, b"x", properties=encode_property("topic_alias", number)))
            # 0x94 speaks of an alias above the maximum; for 0 the general codes are as good.
            assert client.expect_disconnect() in ((0x94,) if number else (0x94, 0x82, 0x81))
        else:
            pytest.skip("the broker takes every alias")


def test_topic_aliases_to_a_client(connected, topic):
    """A client that allows three aliases reads every topic right, though there are more topics than aliases.

    [MQTT-3.1.2-26] [MQTT-3.3.2-11]
    """
    publisher = connected("paho")
    subscriber = connected("js", properties={"topic_alias_maximum": 3})
    subscriber.subscribe(Subscription(f"{topic}/#", 1))
    sent = [(f"{topic}/{number * number % 7}", f"{number}".encode()) for number in range(60)]
    for name, payload in sent:
        publisher.publish(name, payload, 1)
    assert [(message.topic, message.payload) for message in subscriber.take(len(sent))] == sent


def test_no_topic_alias_to_a_client_that_allows_none(broker, connected, topic):
    """Without Topic Alias Maximum, every PUBLISH names its topic. [MQTT-3.1.2-27]"""
    publisher = connected("paho")
    with Socket(broker) as client:
        client.connect("noalias")
        client.send(wire.subscribe(1, (topic, 0)))
        client.expect(wire.SUBACK)
        for number in range(10):
            publisher.publish(topic, f"{number}", 1)
        received = [client.expect_publish() for _ in range(10)]
        assert {message.topic for message in received} == {topic}
        assert not any("topic_alias" in message.properties for message in received)


def test_request_and_response(broker, connected, topic):
    """mosquitto_rr asks by Response Topic and Correlation Data and gets its answer. [MQTT-3.3.2-15] [MQTT-3.3.2-16]"""
    service = connected("paho")
    service.subscribe(Subscription(f"{topic}/ask", 1))
    asking = subprocess.Popen(
        [command("mosquitto_rr"), "-h", broker.host, "-p", str(broker.port), "-V", "mqttv5", "-q", "1", "-m", "7",
         "-t", f"{topic}/ask", "-e", f"{topic}/answer", "-D", "publish", "correlation-data", "of 7"],
        stdout=subprocess.PIPE)
    try:
        request = service.take_one()
        assert request.properties["correlation_data"] == b"of 7"
        service.publish(request.properties["response_topic"], str(int(request.payload) ** 2), 1,
                        properties={"correlation_data": request.properties["correlation_data"]})
        output, _ = asking.communicate(timeout=TIMEOUT_S)
        assert output.strip() == b"49"
        assert asking.returncode == 0
    finally:
        if asking.poll() is None:
            asking.kill()
        asking.wait()


def test_publishing_to_nobody(connected, topic):
    """The acknowledgement may say that nobody was subscribed, and is no failure. [MQTT-3.4.2-1] [MQTT-3.5.2-1]"""
    publisher = connected("paho")
    assert publisher.publish(topic, "x", 1) in (0x00, 0x10)
    assert publisher.publish(topic, "x", 2) in (0x00, 0x10)
