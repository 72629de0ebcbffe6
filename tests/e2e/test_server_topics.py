"""What the configuration makes of topics: where responses should go."""

import json

import pytest

from harness.wire import Socket, encode_property

pytestmark = pytest.mark.ours_only("these are mqttq-server's own keys")


@pytest.fixture
def serve(start_broker, tmp_path):
    """A function that starts a broker, of one shard, with what the configuration file has: serve(protocol={...})."""

    def start(**content):
        file = tmp_path / "topics.json"
        file.write_text(json.dumps(content))
        return start_broker(flags=("--shards", "1", "--config", str(file)))

    return start


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
