"""What a store that has a quota refuses when it is reached, what goes on, and how it ends; the same of one journal."""

import contextlib
import json
import pathlib
import time

import pytest
from test_durable import (BOTH_VERSIONS, EVERY_SHARDS, RETAIN, DurableBroker, durable_broker, exchange, payloads,
                          properties, receive, subscribe, unsubscribe)

from harness import wire
from harness.broker import Process, server_path
from harness.client import TIMEOUT_S
from harness.wire import Published, Socket

pytestmark = pytest.mark.ours_only("quotas are mqttq-server's")

QUOTA = 1 << 20
SIZE = 10_000  # bytes of a message here
ALARM = "$SYS/broker/store/alarm"
REFUSED = 0x97
NEVER_FULL = 500  # messages; so many do not fit


@pytest.fixture(params=["stopped", "killed"])
def end(request):
    return request.param


@pytest.fixture
def shards():
    return 2


@pytest.fixture
def start(tmp_path, end, shards):
    """A function that starts a broker with these limits and a data directory."""
    with contextlib.ExitStack() as stack:

        def begin(**limits) -> DurableBroker:
            broker = stack.enter_context(durable_broker(tmp_path, end, shards))
            config = tmp_path / "quota.json"
            config.write_text(json.dumps({"limits": limits, "sys": {"interval_s": 1}}))
            broker.flags = ("--config", str(config))
            broker.start()
            return broker

        yield begin


def publish_one(client: Socket, topic: str, payload: bytes, qos: int = 1, version: int = 5,
                retain: bool = False, **values) -> tuple[int, str] | None:
    """The reason code of its acknowledgement and why; with 3.x None where the connection ended in its place."""
    client.send(wire.publish(topic, payload, qos, 1, version=version, flags=retain * RETAIN,
                             properties=properties(**values)))
    packet = client.read()
    if packet is None:
        assert version != 5
        return None
    assert packet.type == (wire.PUBACK if qos == 1 else wire.PUBREC), packet
    code = packet.body[2] if len(packet.body) > 2 else 0
    if qos == 2 and code < 0x80:
        client.send(wire.acknowledge(wire.PUBREL, 1))
        client.expect(wire.PUBCOMP)
    return code, b"".join(packet.properties().get("reason_string", []) if version == 5 else []).decode()


def sized(number: int) -> bytes:
    return f"{number}:".encode().ljust(SIZE, b"x")


def is_refused(answer: tuple[int, str] | None, limit: str = "limits.store_bytes") -> bool:
    if answer is None:
        return True
    if answer[0] < 0x80:
        return False
    assert answer == (REFUSED, f"{limit} is reached")
    return True


def fill(broker: DurableBroker, topic: str, qos: int = 1, version: int = 5, retain: bool = False) -> list[bytes]:
    """Publishes to `topic`, in which {} is the number, until it is refused; returns what was not."""
    client = broker.connect("", version=version, clean=True, **({"expiry_s": 0} if version == 5 else {}))
    taken = []
    for number in range(NEVER_FULL):
        answer = publish_one(client, topic.format(number), sized(number), qos, version, retain)
        if is_refused(answer):
            client.close()
            return taken
        taken.append(sized(number))
    raise AssertionError("it is never full")


def once(broker: DurableBroker, topic: str, payload: bytes, **options) -> tuple[int, str]:
    client = broker.connect("", clean=True, expiry_s=0)
    answer = publish_one(client, topic, payload, **options)
    client.close()
    return answer


class Watch:
    """What $SYS says of the store."""

    def __init__(self, broker: DurableBroker):
        self.client = broker.connect("", clean=True, expiry_s=0)
        self.values: dict[str, str] = {}
        self.client.send(wire.subscribe(1, ("$SYS/broker/store/+/#", 0), (ALARM, 0)))
        while (packet := self.client.read()).type != wire.SUBACK:
            self.take(packet)

    def take(self, packet) -> None:
        message = Published.of(packet)
        self.values[message.topic.removeprefix("$SYS/broker/store/")] = message.payload.decode()

    def until(self, alarm: str) -> dict[str, str]:
        while self.values.get("alarm") != alarm:
            self.take(self.client.read())
        return self.values


def bytes_on_disk(directory: pathlib.Path) -> int:
    total = 0
    for file in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the broker may remove it meanwhile
            total += file.stat().st_blocks * 512
    return total


@EVERY_SHARDS
@pytest.mark.parametrize("version,qos", [(5, 2), (4, 1)], ids=["v5", "v3_1_1"])
def test_messages_fill_it(start, version, qos):
    """They are refused before the disk takes more; who was told otherwise loses nothing, and room ends it."""
    broker = start(store_bytes=QUOTA)
    kept = broker.connect("kept")
    subscribe(kept, ("a/#", 2))
    kept.close()
    live = broker.connect("", clean=True, expiry_s=0)
    subscribe(live, ("a/#", 0))
    watch = Watch(broker)
    watch.until("ok")
    taken = fill(broker, "a/b", qos, version)
    assert QUOTA * 0.7 < len(taken) * SIZE < QUOTA
    received = exchange(live, lambda messages: len(messages) == len(taken) + 1)  # the one that is refused too
    assert payloads(received) == [*taken, sized(len(taken))]
    watch.until("high")
    watch.until("full")
    assert watch.values["bytes/limit"] == str(QUOTA)
    broker.running.child.wait_line("the store has little room left: ")
    broker.running.child.wait_line("the store is full, and what is new is refused: ")

    broker.connect("", clean=True, expiry_s=0).send(wire.publish("a/b", b"at 0"))
    assert live.expect_publish().payload == b"at 0"
    assert bytes_on_disk(broker.data) <= QUOTA * 5 // 2  # what moves out of the log is there twice for a while

    broker.restart()
    taken += fill(broker, "a/b", qos, version)  # the start has given back what was reserved
    watch = Watch(broker)
    watch.until("full")
    kept = broker.connect("kept", present=True)
    received = receive(kept, len(taken))
    assert payloads(received) == taken
    watch.until("ok")
    assert int(watch.values["bytes/used"]) < QUOTA * 3 // 4
    broker.running.child.wait_line("the store takes what is new again: |the store has enough room again: ")
    assert once(broker, "a/b", b"again", qos=qos)[0] == 0
    assert payloads(receive(kept, 1)) == [b"again"]


def test_what_is_new_is_refused_and_what_is_there_goes_on(start):
    broker = start(store_bytes=QUOTA)
    kept = broker.connect("kept")
    subscribe(kept, ("a", 1), ("b", 1), ("c/+", 1))
    kept.close()
    assert once(broker, "retained", sized(1), retain=True)[0] < 0x80
    fill(broker, "a")
    Watch(broker).until("full")

    new = Socket(broker)
    new.send(wire.connect("new", properties=properties(session_expiry_interval=60)))
    assert new.expect(wire.CONNACK).reason_code == REFUSED
    new.expect_closed()
    new = Socket(broker)
    new.send(wire.connect("new", version=4, clean=False))
    assert new.expect(wire.CONNACK).reason_code == 3
    new.expect_closed()

    live = broker.connect("live", clean=True, expiry_s=0)
    subscribe(live, ("live", 2))
    assert once(broker, "live", b"x", qos=2)[0] == 0
    assert payloads(receive(live, 1)) == [b"x"]

    for retain, topic, payload in [(False, "$delayed/100/live", b"x"), (True, "new", b"x"), (False, "c/d", b"x"),
                                   (True, "retained", sized(1)), (True, "retained", sized(1) + b"x")]:
        assert is_refused(once(broker, topic, payload, retain=retain)), topic
    assert once(broker, "retained", b"less", retain=True)[0] < 0x80
    assert payloads(broker.retained("retained", 1)) == [b"less"]
    assert once(broker, "retained", b"", retain=True)[0] < 0x80
    assert once(broker, "retained", b"", retain=True)[0] < 0x80
    assert is_refused(once(broker, "retained", b"x", retain=True))

    kept = broker.connect("kept", present=True, receive_maximum=1)
    kept.expect_publish()
    assert is_refused(publish_one(kept, "live", b"x", 2))  # its identifier would have to be kept
    assert publish_one(kept, "live", b"x", 1)[0] == 0
    subscribe(kept, ("b", 1), ("new", 1), ("c/+", 0), granted=[1, REFUSED, 0])
    unsubscribe(kept, "b")
    broker.restart()
    kept = broker.connect("kept", present=False, clean=True)  # which ends what waits for it
    kept.close()
    Watch(broker).until("ok")
    assert once(broker, "new", b"x", retain=True)[0] < 0x80


def test_retained_messages_fill_it(start):
    """What is cleared gives its room back, though nobody writes anything else."""
    broker = start(store_bytes=QUOTA)
    watch = Watch(broker)
    taken = fill(broker, "r/{}", retain=True)
    watch.until("full")
    assert bytes_on_disk(broker.data) <= QUOTA * 5 // 2  # a message is in the log until the store has it
    broker.restart()
    watch = Watch(broker)
    assert len(broker.retained("r/+", len(taken))) == len(taken)
    client = broker.connect("", clean=True, expiry_s=0)
    for number in range(len(taken)):
        assert publish_one(client, f"r/{number}", b"", retain=True)[0] < 0x80
    watch.until("ok")
    assert once(broker, "r/new", sized(1), retain=True)[0] < 0x80


def test_retained_messages_that_expire_give_their_room_back(start):
    broker = start(store_bytes=QUOTA)
    watch = Watch(broker)
    client = broker.connect("", clean=True, expiry_s=0)
    for number in range(NEVER_FULL):
        if is_refused(publish_one(client, f"r/{number}", sized(number), retain=True, message_expiry_interval=5)):
            break
    watch.until("full")
    watch.until("ok")
    deadline = time.monotonic() + TIMEOUT_S
    while broker.retained("r/+", 0):  # those that came last have not expired yet
        assert time.monotonic() < deadline
    assert once(broker, "r/new", sized(0), retain=True)[0] == 0


def test_delayed_messages_fill_it(start):
    broker = start(store_bytes=QUOTA)
    watch = Watch(broker)
    live = broker.connect("", clean=True, expiry_s=0)
    subscribe(live, ("d/#", 0))
    taken = fill(broker, "$delayed/8/d/{}")
    watch.until("full")
    received = exchange(live, lambda messages: len(messages) == len(taken))
    assert sorted(payloads(received)) == sorted(taken)
    watch.until("ok")
    assert not is_refused(once(broker, "$delayed/100/d", sized(1)))


@BOTH_VERSIONS
@pytest.mark.parametrize("limits,limit", [({"journal_messages": 5}, 5), ({"journal_bytes": 5 * (SIZE + 3)}, 5)],
                         ids=["messages", "bytes"])
def test_a_journal_that_is_full(start, version, limits, limit):
    """It takes no more; other journals and live receivers do, and the publisher is told."""
    broker = start(**limits)
    why = "limits.journal_messages or limits.journal_bytes"
    slow = broker.connect("slow")
    subscribe(slow, ("a/#", 1))
    slow.close()
    fast, live = broker.connect("fast"), broker.connect("", clean=True, expiry_s=0)
    subscribe(fast, ("a/+", 1), ("own", 1))
    subscribe(live, ("a/b", 1))
    taken: list[bytes] = []
    refused = 0
    for number in range(limit + 5):  # some more may be on their way between shards when it becomes full
        if refused == 2:
            break
        payload = sized(number)
        client = broker.connect("", version=version, clean=True, **({"expiry_s": 0} if version == 5 else {}))
        answer = publish_one(client, "a/b", payload, version=version)
        client.close()
        if is_refused(answer, why):
            assert number >= limit
            refused += 1
        else:
            taken.append(payload)
        for receiver in (fast, live):  # each before the next, so that theirs never wait
            assert payloads(receive(receiver, 1)) == [payload]
    assert refused
    broker.restart()
    assert once(broker, "b", b"x")[0] < 0x80
    fast = broker.connect("fast", present=True)
    came: list[bytes] = []
    while b"x" not in came:  # what it had not settled comes first, and may fill its own journal
        assert is_refused(once(broker, "a/b", b"x", qos=2), why)
        came = payloads(broker.last(fast, "own"))
    slow = broker.connect("slow", present=True)
    assert payloads(receive(slow, len(taken))) == taken
    while is_refused(once(broker, "a/b", b"again"), why):
        pass
    assert payloads(receive(slow, 1)) == [b"again"]


@pytest.mark.parametrize("limits,text", [
    ({"store_bytes": 1000}, "limits.store_bytes: less than 1048576"),
    ({"store_bytes": 1 << 54}, "expected a whole number from 0 to 9007199254740992"),
    ({"store_alarm_percent": 101}, "expected a whole number from 1 to 100"),
])
def test_bad_limits_are_refused_by_name(tmp_path, limits, text):
    config = tmp_path / "bad.json"
    config.write_text(json.dumps({"limits": limits}))
    child = Process([server_path(), "--listen", "tcp://127.0.0.1:0", "--config", str(config),
                     "--data-dir", str(tmp_path / "data")])
    assert child.wait_end() != 0
    assert any(text in line for line in child.stderr), child.output()
