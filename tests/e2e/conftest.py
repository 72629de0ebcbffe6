"""Fixtures of the end-to-end tests, and the marker ours_only."""

import itertools
import os
import pathlib
import tempfile

import pytest

from harness import broker as broker_module
from harness.broker import Broker, Settings
from harness.client import Client, Version
from harness.mosquitto_client import MosquittoClient
from harness.mqttjs_client import Driver, MqttJsClient
from harness.paho_client import PahoClient
from harness.queues import Peer

_topic_numbers = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """With MQTTQ_JUNIT_DIR a report is left there, by the name of the test that CTest knows."""
    directory = os.environ.get("MQTTQ_JUNIT_DIR")
    if directory:
        config.option.xmlpath = str(pathlib.Path(directory) / f"{os.environ.get('MQTTQ_TEST_NAME', 'e2e')}.xml")


def pytest_collection_modifyitems(items):
    if broker_module.under_test() == "mqttq":
        return
    for item in items:
        marker = item.get_closest_marker("ours_only")
        if marker:
            item.add_marker(pytest.mark.skip(reason=f"Mosquitto: {marker.args[0]}"))


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory):
    """One broker with default settings for a whole file of tests."""
    running = Broker(tmp_path_factory.mktemp("broker"))
    try:
        yield running
        running.stop()
    finally:
        running.child.kill()


@pytest.fixture
def broker(shared_broker):
    shared_broker.check_alive()
    yield shared_broker
    shared_broker.check_alive()


@pytest.fixture
def start_broker(tmp_path_factory):
    """A function that starts a broker of the test's own; it is stopped and judged after the test."""
    running: list[Broker] = []

    def start(**settings) -> Broker:
        running.append(Broker(tmp_path_factory.mktemp("broker"), Settings(**settings)))
        return running[-1]

    yield start
    try:
        for one in running:
            if one.child.process.poll() is None:
                one.stop()
    finally:
        for one in running:
            one.child.kill()


@pytest.fixture
def join(start_broker):  # pylint: disable=unused-argument
    """A function that connects a client, which is closed before the broker is stopped: join(broker, version=4)."""
    made: list[Peer] = []

    def connect(broker, client_id: str | None = None, **options) -> Peer:
        made.append(Peer(broker, client_id, **options))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture(params=[1, 3], ids=["1_shard", "3_shards"])
def shards(request):
    return request.param


@pytest.fixture
def other_shards(shards):
    """The number after a restart."""
    return 4 - shards


@pytest.fixture
def directory():
    """In memory where there is a place for files."""
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield pathlib.Path(made)


@pytest.fixture(scope="session")
def mqttjs():
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture
def clients(request):
    """A function that makes a client, given its kind, and closes it after the test: clients("paho", broker)."""
    made: list[Client] = []

    def make(kind: str, broker, version: Version = Version.V5, client_id: str | None = None, **options) -> Client:
        if kind == "js":
            client = MqttJsClient(request.getfixturevalue("mqttjs"), broker, version, client_id)
        else:
            client = {"paho": PahoClient, "mosq": MosquittoClient}[kind](broker, version, client_id, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def connected(clients, broker):
    """A function that makes a client of the shared broker and connects it: connected("paho", clean_start=False)."""

    def make(kind: str = "paho", version: Version = Version.V5, client_id: str | None = None, manual_ack: bool = False,
             **options) -> Client:
        extra = {"manual_ack": True} if manual_ack else {}
        client = clients(kind, broker, version, client_id, **extra)
        connack = client.connect(**options)
        assert connack.reason_code == 0, f"refused with {connack.reason_code:#x}"
        return client

    return make


@pytest.fixture
def topic():
    """A topic that no other test uses."""
    return f"e2e/{next(_topic_numbers)}"
