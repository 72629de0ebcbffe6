"""A data directory of format 1, as the first version that had one left it: later ones read it, or refuse it by name.

data/format-1 was made by make_directory() below, and is never made anew: a broker was killed on it.
"""

import pathlib
import shutil

import pytest
from harness import wire
from harness.broker import Broker, Settings
from harness.wire import encode_property

DIRECTORY = pathlib.Path(__file__).parent / "data" / "format-1"
NEVER = encode_property("session_expiry_interval", 0xFFFFFFFF)

pytestmark = pytest.mark.ours_only("it keeps what it has in a format of its own")


def connect(broker, client_id: str, session_present: bool) -> wire.Socket:
    client = wire.Socket(broker)
    client.send(wire.connect(client_id, clean=False, properties=NEVER + wire.QUIET))
    connack = client.expect(wire.CONNACK)
    assert connack.reason_code == 0 and connack.session_present == session_present
    return client


def start(directory: pathlib.Path, data: pathlib.Path) -> Broker:
    config = directory / "limits.json"
    config.write_text('{"limits": {"log_segment_bytes": 4096}}')
    return Broker(directory, Settings(flags=("--config", str(config), "--data-dir", str(data), "--shards", "1")))


def make_directory(directory: pathlib.Path, data: pathlib.Path) -> None:
    """What data/format-1 is made of: a session with all it can have, messages for it, and retained ones."""
    broker = start(directory, data)
    reader = connect(broker, "reader", False)
    reader.send(wire.subscribe(1, ("a/#", 2 | 8), ("b", 1 | 4), ("c", 0),
                               properties=encode_property("subscription_identifier", 7)))
    reader.expect(wire.SUBACK)
    writer = connect(broker, "writer", False)
    for packet_id, payload in enumerate((b"sent", b"released"), 1):
        writer.send(wire.publish("a/b", payload, 2, packet_id, properties=encode_property("user_property", ("k", "v"))))
        writer.expect(wire.PUBREC)
    writer.send(wire.acknowledge(wire.PUBREL, 2))
    writer.expect(wire.PUBCOMP)
    for _ in range(2):
        reader.expect(wire.PUBLISH)
    reader.send(wire.acknowledge(wire.PUBREC, 2))
    reader.expect(wire.PUBREL)
    reader.close()
    writer.send(wire.publish("a/r", b"retained " * 3000, 1, 3, flags=1))  # in two pieces
    writer.expect(wire.PUBACK)
    for number in range(5):
        writer.send(wire.publish("b", f"waits {number}".encode(), 1, 10 + number))
        writer.expect(wire.PUBACK)
    broker.child.kill()
    writer.close()


def test_a_directory_of_format_1_is_read(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(DIRECTORY, data)
    broker = start(tmp_path, data)
    try:
        writer = connect(broker, "writer", True)
        writer.send(wire.publish("a/b", b"sent", 2, 1, flags=8))  # its receipt is there: not delivered again
        writer.expect(wire.PUBREC)
        reader = connect(broker, "reader", True)
        came = [reader.read() for _ in range(8)]
        messages = [wire.Published.of(one) for one in came if one.type == wire.PUBLISH]
        assert [one.packet_id for one in came if one.type == wire.PUBREL] == [2]
        assert [(one.topic, one.qos) for one in messages] == [("a/b", 2), ("a/r", 1)] + [("b", 1)] * 5
        assert [one.payload for one in messages[2:]] == [f"waits {number}".encode() for number in range(5)]
        assert messages[0].dup and messages[0].packet_id == 1 and messages[0].payload == b"sent"
        assert messages[0].properties == {"user_property": [(b"k", b"v")], "subscription_identifier": [7]}
        assert messages[1].payload == b"retained " * 3000 and messages[1].retain
        late = connect(broker, "late", False)
        late.send(wire.subscribe(1, ("a/r", 0)))
        late.expect(wire.SUBACK)
        assert wire.Published.of(late.expect(wire.PUBLISH)).payload == b"retained " * 3000
        for one in (writer, reader, late):
            one.close()
        broker.stop()
    finally:
        broker.child.kill()
