"""Backups: of a directory that is in use or not, by mqttq-server --backup; and brokers that are started on them."""

import itertools
import pathlib
import resource
import shutil
import subprocess
import threading
import time

import pytest

from harness import wire
from harness.broker import server_path
from harness.client import Will
from harness.wire import Published, Socket, encode_property
from test_durable import (DUP, EVERY_SHARDS, DurableBroker, durable_broker, exchange, payloads, receive, release,
                          subscribe)
from test_inspect import edit, flip, inspect, lines, look

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

SMALL_LOG = '{"limits": {"log_segment_bytes": 20000, "store_memory_bytes": 2000}}'


def back_up(data: pathlib.Path, to: pathlib.Path, code: int = 0, **options) -> str:
    """Makes a backup, which must end with `code`; returns what it says."""
    command = [server_path(), "--data-dir", str(data), "--backup", str(to)]
    result = subprocess.run(command, capture_output=True, timeout=120, check=False, **options)
    said = result.stderr.decode()
    assert result.returncode == code, said
    assert result.stdout == b""
    return said


def refused_start(data: pathlib.Path) -> str:
    """What a server says that does not start on a directory."""
    command = [server_path(), "--data-dir", str(data), "--listen", "tcp://127.0.0.1:0"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode == 1
    assert b"ready" not in result.stdout
    return result.stderr.decode()


@pytest.fixture
def shards():
    return 2


@pytest.fixture
def broker(tmp_path, shards):
    with durable_broker(tmp_path, "killed", shards) as made:
        (tmp_path / "small.json").write_text(SMALL_LOG)
        made.flags = ("--config", str(tmp_path / "small.json"))
        made.start()
        yield made


@pytest.fixture
def restored(broker):
    """A function that copies a backup and starts a broker on it, as the page says."""
    made: list[DurableBroker] = []

    def start(backup: pathlib.Path, end: str = "stopped") -> DurableBroker:
        directory = broker.directory / f"restored-{len(made)}"
        directory.mkdir()
        one = DurableBroker(directory, end, broker.shards)
        one.flags = broker.flags
        made.append(one)
        shutil.copytree(backup, one.data)
        one.start()
        return one

    yield start
    for one in made:
        if one.running and one.running.child.process.poll() is None:
            one.stop()


class Kept:
    """A little of everything that is kept, and how it is found again by a broker that starts on it."""

    def __init__(self, broker: DurableBroker):
        sleeper = broker.connect("sleeper")
        subscribe(sleeper, ("a/#", 1), ("b", 2), subscription_identifier=7)
        sleeper.close()
        # In flight: one at QoS 1, one that waits for its PUBREC, one that waits for its PUBCOMP.
        taker = broker.connect("taker")
        subscribe(taker, ("c/#", 2))
        broker.publish("c/1", b"1", qos=1)
        broker.publish("c/2", b"2", b"3", qos=2)
        for _ in range(3):
            message = taker.expect_publish()
            if message.payload == b"3":
                taker.send(wire.acknowledge(wire.PUBREC, message.packet_id))
        assert taker.expect(wire.PUBREL).packet_id == message.packet_id
        # Taken, and not released: its identifier is known.
        publisher = broker.connect("publisher")
        publisher.send(wire.publish("b", b"once", 2, 9))
        publisher.expect(wire.PUBREC)
        watcher = broker.connect("watcher")
        subscribe(watcher, ("will", 1), ("late", 1))
        watcher.close()
        broker.connect("mortal", will=Will("will", b"gone", 1, properties={"will_delay_interval": 1}))
        broker.publish("a/1", b"waits")
        broker.publish("kept", b"retained", qos=1, retain=True)
        broker.publish("large", bytes(300_000), qos=1, retain=True)
        broker.publish("$delayed/2/late", b"delayed")

    @staticmethod
    def check(broker: DurableBroker) -> None:
        taker = broker.connect("taker", present=True)
        received = exchange(taker, lambda messages: len(messages) == 2)
        assert [(one.payload, one.dup) for one in sorted(received, key=lambda one: one.payload)] == [
            (b"1", True), (b"2", True)]
        assert broker.last(taker, "c/3") == []  # the third one was finished by its PUBREL
        publisher = broker.connect("publisher", present=True)
        publisher.send(wire.publish("b", b"once", 2, 9, flags=DUP))
        release(publisher, 1)
        sleeper = broker.connect("sleeper", present=True)
        received = broker.last(sleeper, "a/2")
        assert [(one.topic, one.payload, one.qos) for one in received] == [("b", b"once", 2), ("a/1", b"waits", 1)]
        assert all(one.properties["subscription_identifier"] == [7] for one in received)
        assert payloads(broker.retained("kept", 1)) == [b"retained"]
        assert payloads(broker.retained("large", 1)) == [bytes(300_000)]
        watcher = broker.connect("watcher", present=True)
        assert sorted(payloads(receive(watcher, 2))) == [b"delayed", b"gone"]


@EVERY_SHARDS
def test_everything_kept_beside_a_broker_that_runs(broker, restored):
    """The backup is of then, and the broker goes on as if there were none; from each a broker is what it was."""
    kept = Kept(broker)
    backup = broker.directory / "backup"
    assert f"{broker.data} is backed up in {backup}" in back_up(broker.data, backup)
    broker.publish("a/1", b"behind the backup")
    one = restored(backup)
    assert not (one.data / "backup").exists()
    one.running.child.wait_line(r"restored a backup: \d+ entries of the store, \d+ files of the log")
    # Who was connected when the backup was made is not any more: a will comes.
    kept.check(one)
    one.restart()
    assert one.connect("sleeper", present=True).ping() is None
    broker.restart()
    assert payloads(receive(broker.connect("sleeper", present=True), 3)) == [b"once", b"waits", b"behind the backup"]


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_directory_that_no_broker_has(broker, restored, end):
    """Nothing is written there; the backup can be started on itself."""
    kept = Kept(broker)
    broker.end = end
    broker.finish()
    before = look(broker.data)
    backup, again = broker.directory / "backup", broker.directory / "again"
    backup.mkdir()  # an empty one will do
    back_up(broker.data, backup)
    back_up(broker.data, again)
    assert look(broker.data) == before
    assert [path.name for path in sorted(backup.iterdir())] == [path.name for path in sorted(again.iterdir())]
    assert not any(path.name.startswith(("store", "owner")) for path in backup.iterdir())
    assert again.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in again.iterdir())
    kept.check(restored(backup, "killed"))
    itself = DurableBroker(broker.directory, "killed", broker.shards)
    itself.data = again
    try:
        itself.start()
        kept.check(itself)
        itself.restart()
        assert b"retained" in payloads(itself.retained("kept", 1))
    finally:
        itself.finish()


class Load:
    """Publishers that go on until they are told to stop, and what was acknowledged to them."""

    def __init__(self, broker: DurableBroker, count: int):
        self.acknowledged: dict[bytes, int] = {}  # payload -> QoS
        self.published: set[bytes] = set()
        self.failures: list[BaseException] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(broker, f"p{i}")) for i in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, broker: DurableBroker, client_id: str) -> None:
        try:
            with Socket(broker) as client:
                client.connect(client_id, clean=False, properties=encode_property("session_expiry_interval", 300))
                for number in itertools.count():
                    if self._ended.is_set():
                        return
                    qos, payload = 1 + number % 2, f"{client_id} {number}".encode()
                    self.published.add(payload)
                    client.send(wire.publish(f"load/{number % 4}", payload + b" " * 200, qos, 1 + number % 5))
                    client.expect(wire.PUBACK if qos == 1 else wire.PUBREC)
                    self.acknowledged[payload] = qos
                    if qos == 2:
                        client.send(wire.acknowledge(wire.PUBREL, 1 + number % 5))
                        client.expect(wire.PUBCOMP)
        except BaseException as failure:  # told by the test's own thread
            self.failures.append(failure)

    def wait(self, count: int) -> None:
        """Until so many were acknowledged."""
        self.wait_until(lambda: len(self.acknowledged) >= count)

    def wait_until(self, reached) -> None:
        deadline = time.monotonic() + 60
        while not self.failures and not reached():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not self.failures


class Reader:
    """A session that reads meanwhile."""

    def __init__(self, broker: DurableBroker):
        self.came: set[bytes] = set()  # each before the broker hears that it has come
        self._client = Socket(broker)
        self._client.connect("reader", clean=False, properties=encode_property("session_expiry_interval", 300))
        subscribe(self._client, ("load/#", 2))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        unreleased: set[int] = set()
        while unreleased or b"stop" not in self.came:
            packet = self._client.read()
            if packet.type == wire.PUBREL:
                unreleased.discard(packet.packet_id)
                self._client.send(wire.acknowledge(wire.PUBCOMP, packet.packet_id))
                continue
            message = Published.of(packet)
            self.came.add(message.payload.rstrip())
            if message.qos == 2:
                unreleased.add(message.packet_id)
            self._client.send(wire.acknowledge(wire.PUBREC if message.qos == 2 else wire.PUBACK, message.packet_id))

    def join(self) -> None:
        self._thread.join()
        self._client.close()


def judge(messages: list[Published], acknowledged: dict[bytes, int], published: set[bytes], seen: set[bytes]) -> None:
    """What a session got of a load: nothing lost, nothing made up, QoS 2 once, each publisher's QoS in its order."""
    came = [one.payload.rstrip() for one in messages]
    assert set(acknowledged) - set(came) - seen == set()
    assert set(came) <= published
    at_2 = [payload for one, payload in zip(messages, came) if one.qos == 2]
    assert len(at_2) == len(set(at_2))
    for qos in (1, 2):
        last: dict[bytes, int] = {}
        for one, payload in zip(messages, came):
            publisher, number = payload.split()
            if one.qos == qos and not one.dup:
                assert last.get(publisher, -1) < int(number)
                last[publisher] = int(number)


@EVERY_SHARDS
def test_under_load(broker, restored):
    """All that was acknowledged before a backup began is in it, while files of the log come and go."""
    sleeper = broker.connect("sleeper")
    subscribe(sleeper, ("load/#", 2))
    sleeper.close()
    reader = Reader(broker)
    made = []
    with Load(broker, 4) as load:
        for number in range(5):
            load.wait(150 * (number + 1))
            if number == 2:  # what waits for it holds up the log no longer
                broker.connect("sleeper", clean=True, expiry_s=0).close()
                load.wait_until(lambda: not (broker.data / "log-0000000000000001").exists())
            acknowledged = dict(load.acknowledged)
            backup = broker.directory / f"backup-{number}"
            back_up(broker.data, backup)
            made.append((backup, acknowledged, set(reader.came)))
    broker.publish("load/0", b"stop")
    reader.join()
    assert set(load.acknowledged) <= reader.came
    segments = [[path.name for path in sorted(backup.glob("log-*"))] for backup, *_ in made]
    assert segments[0][-1] < segments[-1][0], "no file of the log went meanwhile"
    for number, (backup, acknowledged, seen) in enumerate(made):
        assert lines(backup)[0]["damage"] == []
        one = restored(backup)
        received = one.last(one.connect("reader", present=True), "load/0")
        judge(received, acknowledged, load.published, seen)
        if number < 2:
            received = one.last(one.connect("sleeper", present=True), "load/0")
            assert received.pop().payload == b"the last"  # of the reader
            judge(received, acknowledged, load.published, set())
        one.stop()


# --- what is refused


def test_where_no_backup_can_be_made(broker, tmp_path):
    broker.publish("kept", b"x", retain=True)
    backup = tmp_path / "backup"
    back_up(broker.data, backup)
    before = look(backup)
    assert f"{backup} is not empty" in back_up(broker.data, backup, code=1)
    assert look(backup) == before
    assert f"{broker.data / 'x'} lies within {broker.data}" in back_up(broker.data, broker.data / "x", code=1)
    assert "No such file or directory" in back_up(broker.data, tmp_path / "missing" / "x", code=1)
    assert "no directory" in back_up(broker.data, backup / "backup", code=1)
    for source in (tmp_path / "missing", pathlib.Path("/proc/self")):
        assert f"there is nothing to back up: {source}" in back_up(source, tmp_path / "new", code=1)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "store.mdb").touch()
    assert "it is empty" in back_up(tmp_path / "none", tmp_path / "new", code=1)
    assert not (tmp_path / "new").exists()
    result = subprocess.run([server_path(), "--backup", str(tmp_path / "new")], capture_output=True, check=False)
    assert (result.returncode, b"--data-dir names it" in result.stderr) == (2, True)
    broker.restart()
    assert payloads(broker.retained("kept", 1)) == [b"x"]


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk(broker, tmp_path, there):
    """An error that says so, and nothing that could be taken for a backup; with some room more it is made."""
    broker.publish("kept", bytes(100_000), retain=True)
    backup = tmp_path / "backup"
    if there:
        backup.mkdir()

    def bounded(size: int):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    for size in (0, 1000, 70_000, 100_000):
        said = back_up(broker.data, backup, code=1, preexec_fn=bounded(size))
        assert "no space is left" in said
        assert backup.exists() == there
        assert not there or list(backup.iterdir()) == []
    back_up(broker.data, backup, preexec_fn=bounded(300_000))
    assert (backup / "backup").exists()


@pytest.mark.parametrize("change, said", [
    pytest.param(lambda at: edit(at / "backup", lambda data: data[:-1]), "its end is missing", id="truncated"),
    pytest.param(lambda at: edit(at / "backup", flip(100)), "the backup is damaged at byte 64", id="flipped"),
    pytest.param(lambda at: edit(at / "backup", lambda data: b"something else"), "its end is missing", id="another"),
    pytest.param(lambda at: (at / "log-0000000000000001").unlink(), "log-0000000000000001 is missing", id="no log"),
    pytest.param(lambda at: edit(at / "log-0000000000000001", flip(100)), "is not as it was when the backup was made",
                 id="another log"),
    pytest.param(lambda at: (at / "backup").rename(at / "backup-unfinished"), "was not finished", id="unfinished"),
    pytest.param(lambda at: (at / "backup").unlink(), "the store that belongs to it is missing", id="only a log"),
])
def test_what_is_not_restored(broker, tmp_path, change, said):
    """It is named, stays as it is, and in the place of what is whole it stands in no way."""
    broker.publish("kept", b"x", retain=True)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    back_up(broker.data, whole)
    shutil.copytree(whole, broken)
    change(broken)
    before = {path.name: path.read_bytes() for path in broken.iterdir()}
    for _ in range(2):
        assert said in refused_start(broken)
    assert {name: (broken / name).read_bytes() for name in before} == before
    if said != "its end is missing":
        shutil.rmtree(broken)
        return
    shutil.copy(whole / "backup", broken / "backup")
    one = DurableBroker(tmp_path, "killed", 1)
    one.data = broken
    try:
        one.start()
        assert payloads(one.retained("kept", 1)) == [b"x"]
    finally:
        one.finish()


def test_beside_a_store(broker, tmp_path):
    """A backup that is copied over a directory is not taken for what is there, nor the other way round."""
    broker.publish("kept", b"x", retain=True)
    backup = tmp_path / "backup"
    back_up(broker.data, backup)
    broker.stop()
    shutil.copy(backup / "backup", broker.data)
    before = look(broker.data)
    assert "there is a backup beside a store that is in use" in refused_start(broker.data)
    after = look(broker.data)
    assert [after[name] for name in before if name.startswith(("log-", "backup"))] == [
        before[name] for name in before if name.startswith(("log-", "backup"))]
    (broker.data / "backup").unlink()
    broker.start()
    assert payloads(broker.retained("kept", 1)) == [b"x"]


# --- what the inspector says


def test_the_inspector_reads_a_backup(broker, tmp_path):
    Kept(broker)
    broker.finish()
    backup = tmp_path / "backup"
    back_up(broker.data, backup)
    (of_data,), (of_backup,) = lines(broker.data), lines(backup)
    assert of_data["backup_made"] is None
    assert of_backup["backup_made"].startswith("20")
    assert "of which a start makes a store" in inspect(backup).stdout.decode()
    for name in of_data.keys() - {"directory", "segments", "backup_made"}:
        assert of_backup[name] == of_data[name], name
    for words in (["--sessions"], ["--journals"], ["--retained"], ["--delayed"], ["--records"]):
        assert lines(*words, backup) == lines(*words, broker.data)
    edit(backup / "backup", lambda data: data[:-1])
    assert "its end is missing" in lines(backup, code=1)[0]["damage"][0]
    (backup / "log-0000000000000001").unlink()
    back_up(broker.data, tmp_path / "again")
    (tmp_path / "again" / "log-0000000000000001").unlink()
    assert any("log-0000000000000001 is missing, which belongs to the backup" in text
               for text in lines(tmp_path / "again", code=1)[0]["damage"])
