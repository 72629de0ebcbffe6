"""Room of the log is used again: what is not needed is given back, whoever else still waits for what is old."""

import json
import os
import time

import pytest

from harness import wire
from test_durable import DurableBroker, durable_broker, numbered, payloads, publish, receive, subscribe
from test_inspect import lines

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

SEGMENT = 1 << 20


@pytest.fixture(params=["stopped", "killed"])
def broker(request, tmp_path):
    with durable_broker(tmp_path, request.param, 2) as made:
        config = tmp_path / "limits.json"
        config.write_text(json.dumps({"limits": {"log_segment_bytes": SEGMENT, "store_memory_bytes": 1 << 20}}))
        made.flags = ("--config", str(config))
        made.start()
        yield made


def log_bytes(broker: DurableBroker) -> int:
    return sum(one.stat().st_size for one in broker.data.glob("log-*") if one.exists())


def wait_until(done, what: str, timeout_s: float = 60) -> None:
    """Polls, since a broker says nothing of its files."""
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def load(broker: DurableBroker, reader, writer, megabytes: int) -> None:
    """So much passes through one reader, who settles it at once."""
    payload = os.urandom(32 * 1024)
    for _ in range(megabytes):
        publish(writer, "fast/1", *[payload] * 32)
        receive(reader, 32)


def test_a_backlog_that_stays_does_not_hold_up_the_log(broker):
    """Each of some sessions waits for a message from time to time, and never comes; others go on in between.

    Twenty files of the log would hold what passes; four stay, and what the sleepers need, wherever it is.
    """
    for number in range(4):
        client = broker.connect(f"sleeper{number}")
        subscribe(client, ("slow/#", 1), (f"$share/g{number}/slow/#", 2))
        client.close()
    reader, writer = broker.connect("reader"), broker.connect("writer")
    subscribe(reader, ("fast/#", 1))
    sent = numbered(20)
    for payload in sent:
        publish(writer, "slow/1", payload)
        load(broker, reader, writer, 1)
    wait_until(lambda: log_bytes(broker) <= 6 * SEGMENT, "the log is not made shorter")
    for _ in range(2):
        broker.restart()
        assert log_bytes(broker) <= 7 * SEGMENT
        waiting = {one["topic_filter"]: one["waiting"] for one in lines("--journals", broker.data)}
        assert waiting["slow/#"] == 20
    for number in range(4):
        client = broker.connect(f"sleeper{number}", present=True)
        assert sorted(payloads(receive(client, 40))) == sorted(sent * 2)
        client.send(b"\xe0\x00")
    wait_until(lambda: not any(one["waiting"] for one in lines("--journals", broker.data)), "it is not written down")
    broker.restart()
    for number in range(4):
        client = broker.connect(f"sleeper{number}", present=True)
        broker.publish("slow/1", b"new")
        assert payloads(receive(client, 2)) == [b"new"] * 2


def test_a_backlog_that_moves_on_keeps_the_log_short(broker):
    """As many messages wait at any time, and each of them for a while: a day's load in small."""
    reader = broker.connect("reader", receive_maximum=1)
    subscribe(reader, ("a", 1))
    writer = broker.connect("writer")
    payload = os.urandom(16 * 1024)
    most = 0
    publish(writer, "a", *[payload] * 64)
    for _ in range(40):
        publish(writer, "a", *[payload] * 32)
        receive(reader, 32)
        most = max(most, log_bytes(broker))
    wait_until(lambda: log_bytes(broker) <= 7 * SEGMENT, "the log is not made shorter")
    broker.restart()
    assert log_bytes(broker) <= 8 * SEGMENT


# --- age

AGE_S = 6


def test_what_has_waited_for_too_long_is_dropped(broker):
    """For a session and for a group of such, before it comes back; it was a restart ago, and what is newer stays."""
    limits = {"outbox_age_max_s": AGE_S, "log_segment_bytes": SEGMENT, "store_memory_bytes": 2000}
    (broker.directory / "limits.json").write_text(json.dumps({"limits": limits}))
    broker.restart()
    subscribe(broker.connect("s"), ("a/#", 1), ("$share/g/a/#", 2))
    broker.sockets[-1].close()
    broker.publish("a/1", *numbered(20))
    published = time.monotonic()
    broker.restart()

    def waiting() -> int:
        return sum(one["waiting"] for one in lines("--journals", broker.data))

    assert waiting() == 20
    wait_until(lambda: waiting() == 0, "what is old is not dropped")
    broker.running.child.wait_line("messages for kept sessions or groups are dropped: ")
    assert time.monotonic() - published >= AGE_S
    broker.publish("a/1", b"new")
    broker.restart()
    client = broker.connect("s", present=True)
    assert payloads(receive(client, 2)) == [b"new"] * 2


# --- durability


@pytest.fixture(params=["interval", "none"])
def holding(request, tmp_path):
    """A broker that acknowledges before it writes."""
    with durable_broker(tmp_path, "killed", 2) as made:
        config = tmp_path / "durability.json"
        config.write_text(json.dumps({"durability": request.param, "durability_interval_ms": 300}))
        made.flags = ("--config", str(config))
        made.durability = request.param
        made.start()
        yield made


def messages_in_log(broker: DurableBroker) -> int:
    return sum(one["messages"] for one in lines("--segments", broker.data))


def test_what_is_settled_in_time_is_never_written(holding):
    broker = holding
    reader, writer = broker.connect("reader"), broker.connect("writer")
    subscribe(reader, ("a", 1), ("$share/g/a", 1))
    for number in range(20):
        publish(writer, "a", *numbered(20, number))
        receive(reader, 40)
    subscribe(reader, ("b", 1))
    if broker.durability == "interval":
        wait_until(lambda: sum(one["changes"] for one in lines("--segments", broker.data)), "nothing is written")
    assert messages_in_log(broker) < 100  # of 400: only what an interval's end found on its way
    publish(writer, "b", b"waits")
    if broker.durability == "interval":
        wait_until(lambda: any(one["topic"] == "b" for one in lines("--records", broker.data)
                               if one["record"] == "message"), "what waits is not written")
        broker.restart()
    else:
        broker.stop()
        broker.start()
    reader = broker.connect("reader", present=True)
    received = payloads(receive(reader, 1))
    while received[-1] != b"waits":  # at QoS 1 what was settled just before the end may come again
        received += payloads(receive(reader, 1))
    assert received[-1] == b"waits"
