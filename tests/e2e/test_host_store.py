"""A broker on a store of its host's own, by the example over SQLite: what it acknowledged is there after a kill."""

import os
import pathlib

import pytest
from harness import wire
from harness.broker import HOST, SOURCE_DIR, Process
from harness.wire import encode_property

PATH = pathlib.Path(os.environ.get("MQTTQ_SQLITE_BROKER")
                    or SOURCE_DIR / "build" / "dev" / "examples" / "sqlite-store" / "mqttq-sqlite-broker")
EXPIRY = encode_property("session_expiry_interval", 3600)

pytestmark = [pytest.mark.ours_only("it is our example"),
              pytest.mark.skipif(not PATH.is_file(), reason="the example is not part of this build")]


class SqliteBroker:
    """One that listens on a free port; a context that kills it."""

    def __init__(self, file: pathlib.Path):
        self.host = HOST
        self.child = Process([str(PATH), str(file), f"{HOST}:0"])
        self.port = int(self.child.wait_line(r"^listening on \S+:(\d+)")[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()

    def connect(self, client_id: str, session_present: bool) -> wire.Socket:
        client = wire.Socket(self)
        client.send(wire.connect(client_id, clean=False, properties=EXPIRY + wire.QUIET))
        assert client.expect(wire.CONNACK).session_present == session_present
        return client


def test_a_kill_loses_nothing(tmp_path):
    file = tmp_path / "store.db"
    with SqliteBroker(file) as broker:
        with broker.connect("reader", False) as reader:
            reader.send(wire.subscribe(1, ("a/#", 2)))
            reader.expect(wire.SUBACK)
        with broker.connect("writer", False) as writer:
            for packet_id in range(1, 21):
                writer.send(wire.publish("a/b", b"%d" % packet_id + b"x" * 5000 * (packet_id % 5), 2, packet_id))
                writer.expect(wire.PUBREC)
            writer.send(wire.publish("a/r", b"retained", 1, 30, flags=1))
            writer.expect(wire.PUBACK)
    with SqliteBroker(file) as broker:
        with broker.connect("writer", True) as writer:  # all of them are known: none is delivered again
            for packet_id in range(1, 21):
                writer.send(wire.publish("a/b", b"again", 2, packet_id, flags=8))
                writer.expect(wire.PUBREC)
        with broker.connect("reader", True) as reader:
            came = [reader.expect_publish() for _ in range(21)]
            assert [one.payload for one in came[:20]] == [b"%d" % i + b"x" * 5000 * (i % 5) for i in range(1, 21)]
            assert came[20].topic == "a/r"
        with broker.connect("late", False) as late:
            late.send(wire.subscribe(1, ("a/r", 0)))
            late.expect(wire.SUBACK)
            assert late.expect_publish().payload == b"retained"


def test_another_broker_is_refused(tmp_path):
    file = tmp_path / "store.db"
    with SqliteBroker(file):
        second = Process([str(PATH), str(file), f"{HOST}:0"])
        assert second.wait_end() == 1
        assert any("store.db" in line for line in second.stderr), second.output()
