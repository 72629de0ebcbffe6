"""mqttq-inspect: what a data directory holds, beside a broker that runs and after one that was killed."""

import json
import os
import pathlib
import shutil
import stat
import struct
import subprocess

import pytest

from harness import wire
from harness.broker import server_path
from harness.client import Will
from test_durable import NO_LOCAL, RETAIN, RETAIN_AS_PUBLISHED, DurableBroker, subscribe

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

LISTS = ["--segments", "--sessions", "--journals", "--retained", "--delayed", "--namespaces", "--records"]
LOG = "log-0000000000000001"
# Escape sequences, a C1 control in its two bytes, a change of direction, quotes, and text that may be seen.
HOSTILE = "\x1b]0;x\x07\x1b[31m\u009b2J\u202e\u200b\"\\ é"
SHOWN = r'\u{1b}]0;x\u{7}\u{1b}[31m\u{9b}2J\u{202e}\u{200b}\"\\ é'


def inspect(*words, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Runs the inspector. before: a command in front of it."""
    program = os.environ.get("MQTTQ_INSPECT") or pathlib.Path(server_path()).parents[2] / "tools/inspect/mqttq-inspect"
    return subprocess.run([*before, program, *map(str, words)], capture_output=True, timeout=60, check=False)


def lines(*words, code: int = 0) -> list[dict]:
    """The lines of a list, or the one of a summary."""
    result = inspect("--json", *words)
    assert result.returncode == code, result.stderr
    return [json.loads(line) for line in result.stdout.decode().splitlines()]


def look(directory: pathlib.Path) -> dict:
    """All that a reader must leave as it was: bytes, times of change, modes."""
    paths = [directory, *directory.iterdir()]
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_mode, path.is_file() and path.read_bytes())
            for path in paths}


def fill(broker: DurableBroker) -> None:
    """A little of everything that is kept."""
    sleeper = broker.connect("sleeper" + HOSTILE)
    subscribe(sleeper, ("a/#", 1 | NO_LOCAL), ("b", 2 | RETAIN_AS_PUBLISHED), ("c", 0), subscription_identifier=7)
    sleeper.close()
    taker = broker.connect("taker", expiry_s=0xFFFFFFFF,
                           will=Will("will", b"gone", 1, properties={"will_delay_interval": 5}))
    subscribe(taker, ("b", 2))
    broker.publish("a/" + HOSTILE, b"1", b"22", b"333")
    publisher = broker.connect("publisher")
    publisher.send(wire.publish("b", b"4444", 2, 9))
    publisher.expect(wire.PUBREC)
    taker.expect_publish()
    broker.publish("kept", b"retained", retain=True, message_expiry_interval=1000)
    broker.publish("$delayed/3600/late", b"delayed")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The directory of a broker that was killed, without most of the room reserved for its log; not to be changed."""
    broker = DurableBroker(tmp_path_factory.mktemp("inspect"), "killed", 1)
    try:
        broker.start()
        fill(broker)
        broker.finish()
        os.truncate(broker.data / LOG, 16 * 1024)
        yield broker.data
    finally:
        broker.running.child.kill()


@pytest.fixture
def copy(killed, tmp_path):
    """Such a directory of the test's own."""
    return pathlib.Path(shutil.copytree(killed, tmp_path / "data"))


# --- what it says


def test_the_summary(killed):
    (summary,) = lines(killed)
    assert summary["owner"] is None
    assert (summary["store_format"], summary["boots"], summary["followed"], summary["wanted"]) == (1, 1, 0, 1)
    (segment,) = summary["segments"]
    assert (segment["file"], segment["format"], segment["torn"]) == (LOG, 1, False)
    assert segment["bytes"] == (killed / LOG).stat().st_size > segment["bytes_used"]
    assert segment["messages"] == 4
    assert segment["messages"] + segment["changes"] == segment["last"] == summary["last_number"]
    assert summary["sessions"]["connected"] == 2
    assert summary["sessions"]["gone"] == 1
    assert summary["sessions"]["never_expire"] == 1
    assert summary["subscriptions"] == {"qos0": 1, "qos1": 1, "qos2": 2}
    assert (summary["inflight"], summary["receipts"], summary["wills"]) == (1, 1, 1)
    assert (summary["retained"], summary["retained_bytes"], summary["delayed"]) == (1, 8, 1)
    assert {name: table["entries"] for name, table in summary["tables"].items()} == {
        "meta": 5, "sessions": 3, "subscriptions": 4, "positions": 3, "inflight": 1, "receipts": 1, "wills": 1,
        "retained": 1, "delayed": 1, "namespaces": 0}
    assert [(one["topic_filter"], one["waiting"], one["readers"]) for one in summary["journals"]] == [
        ("a/#", 3, 1), ("b", 1, 2)]
    assert summary["damage"] == []


def test_sessions(killed):
    publisher, sleeper, taker = lines("--sessions", killed)
    assert (publisher["client_id"], publisher["receipts"], publisher["connected"]) == ("publisher", [9], True)
    assert sleeper["client_id"] == "sleeper" + HOSTILE
    assert not sleeper["connected"] and sleeper["disconnected"].endswith("Z")
    assert sleeper["expiry_s"] == 300
    by_filter = {one["topic_filter"]: one for one in sleeper["subscriptions"]}
    assert all(one["identifier"] == 7 for one in by_filter.values())
    first, second, third = by_filter["a/#"], by_filter["b"], by_filter["c"]
    assert (first["qos"], first["no_local"], first["retain_as_published"], first["waiting"]) == (1, True, False, 3)
    assert (second["qos"], second["no_local"], second["retain_as_published"], second["waiting"]) == (2, False, True, 1)
    assert (third["qos"], third["position"], third["waiting"]) == (0, None, 0)
    assert taker["expiry_s"] is None
    (inflight,) = taker["inflight"]
    assert (inflight["qos"], inflight["awaits"], inflight["packet_id"]) == (2, "PUBREC", 1)
    assert inflight["number"] >= second["position"]
    assert (taker["will"]["topic"], taker["will"]["delay_s"], taker["will"]["payload_bytes"]) == ("will", 5, 4)


def test_queues(tmp_path):
    config = tmp_path / "queues.json"
    last_values = {"name": "last", "topic_filter": "a/+", "key": "topic", "last_value": True}
    config.write_text(json.dumps({"queues": {"declared": [{"name": "plain", "topic_filter": "a/#"}, last_values]}}))
    broker = DurableBroker(tmp_path, "killed", 1)
    broker.flags = ("--config", str(config))
    try:
        broker.start()
        consumer = broker.connect("consumer", receive_maximum=1)
        subscribe(consumer, ("$queue/plain", 2), granted=[1])
        broker.publish("a/b", *(b"%d" % number for number in range(5)))
        consumer.expect_publish()
        broker.stop()
        last, plain = sorted(lines("--queues", broker.data), key=lambda one: one["name"])
        assert (plain["topic_filter"], plain["consumers"], plain["waiting"], plain["values"]) == ("a/#", 1, 4, 0)
        assert plain["open"] == [plain["position"] - 1]
        assert (last["consumers"], last["waiting"], last["values"], last["open"]) == (0, 0, 1, [])
        summary = lines(broker.data)[0]
        assert (summary["queues"], summary["queued"]) == (2, 6)
        text = inspect("--queues", broker.data).stdout.decode()
        assert 'takes "a/#", 1 kept consumers' in text and "5 messages; 1 of them" in text
    finally:
        broker.running.child.kill()


def test_groups(tmp_path):
    broker = DurableBroker(tmp_path, "killed", 1)
    try:
        broker.start()
        member = broker.connect("member", receive_maximum=1)
        subscribe(member, ("$share/g/a/#", 2))
        broker.publish("a/b", *(b"%d" % number for number in range(5)))
        member.expect_publish()
        member.close()
        broker.publish("a/b", b"the last")
        broker.stop()
        (group,) = lines("--groups", broker.data)
        assert (group["shared_filter"], group["members"], group["waiting"]) == ("$share/g/a/#", 1, 5)
        assert group["open"] == [group["position"] - 1]
        (journal,) = lines("--journals", broker.data)
        assert (journal["topic_filter"], journal["readers"], journal["waiting"]) == ("a/#", 1, 5)
        text = inspect("--groups", broker.data).stdout.decode()
        assert "1 members" in text and "5 waiting, 1 handed out" in text
    finally:
        broker.running.child.kill()


def test_records(killed):
    records = lines("--records", killed)
    assert [one["number"] for one in records] == list(range(1, len(records) + 1))
    messages = [one for one in records if one["record"] == "message"]
    assert [(one["topic"], one["payload_bytes"], one["journals"], one["qos"]) for one in messages] == [
        ("a/" + HOSTILE, 1, 1, 1), ("a/" + HOSTILE, 2, 1, 1), ("a/" + HOSTILE, 3, 1, 1), ("b", 4, 1, 2)]
    changes = [change for one in records if one["record"] == "changes" for change in one["changes"]]
    receipt = next(change for change in changes if change["table"] == "receipts")
    assert (receipt["change"], receipt["client_id"], len(receipt["key"])) == ("put", "publisher", 36)
    assert {change["table"] for change in changes} >= {"sessions", "subscriptions", "positions", "inflight", "wills",
                                                       "retained", "delayed"}


def test_what_is_retained_and_delayed(killed):
    retained, delayed = lines("--retained", "--delayed", killed)
    assert (retained["kind"], retained["topic"], retained["retain"]) == ("retained", "kept", True)
    assert retained["expires"].endswith("Z")
    assert (delayed["kind"], delayed["topic"], delayed["payload_bytes"]) == ("delayed", "late", 7)
    assert delayed["due"] > sorted(one["disconnected"] or "" for one in lines("--sessions", killed))[-1]


def test_text_of_clients_is_only_text(killed):
    """No byte of it can move a cursor, name a window or hide what stands beside it."""
    for words in ([], *([one] for one in LISTS), LISTS):
        for form in ([], ["--json"]):
            result = inspect(*form, *words, killed)
            assert result.returncode == 0
            text = (result.stdout + result.stderr).decode()
            assert all(one == "\n" or one.isprintable() for one in text), (words, form)
    assert SHOWN in inspect("--sessions", killed).stdout.decode()
    assert SHOWN in inspect("--records", killed).stdout.decode()


def test_a_name_that_is_no_text(killed, tmp_path):
    """Bytes that are no UTF-8, and a character that is not seen and needs two words of UTF-16."""
    directory = os.fsencode(tmp_path) + b"/\xff\xc3\xf0\xf3\xa0\x80\x81\x9b"
    shutil.copytree(os.fsencode(killed), directory)
    for form, shown in (([], rb'/\xff\xc3\xf0\u{e0001}\x9b"'),
                        (["--json"], rb'/\ufffd\ufffd\ufffd\udb40\udc01\ufffd"')):
        result = inspect(*form, os.fsdecode(directory))
        assert result.returncode == 0
        assert shown in result.stdout
    assert json.loads(result.stdout)["directory"].endswith("\ufffd" * 3 + "\U000e0001\ufffd")


def test_the_secret_is_not_told(killed):
    store = (killed / "store.mdb").read_bytes()
    at = store.index(b"seed") + 4
    (seed,) = struct.unpack("<Q", store[at:at + 8])
    assert seed
    said = "".join(inspect(*form, *words, killed).stdout.decode() for form in ([], ["--json"]) for words in ([], LISTS))
    for secret in (str(seed), f"{seed:x}", store[at:at + 8].hex()):
        assert secret not in said


# --- what it leaves alone


def test_nothing_is_written(copy):
    before = look(copy)
    for words in ([], LISTS):
        assert inspect(*words, copy).returncode == 0
    assert look(copy) == before


def test_a_directory_that_cannot_be_written(copy):
    for path in copy.iterdir():
        path.chmod(stat.S_IRUSR)
    copy.chmod(stat.S_IRUSR | stat.S_IXUSR)
    before = look(copy)
    # Root may write anywhere, so that right is taken from it.
    result = inspect("--json", copy, before=("setpriv", "--bounding-set", "-dac_override", "--"))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["sessions"]["gone"] == 1
    assert look(copy) == before
    copy.chmod(0o700)


@pytest.mark.parametrize("lock", ["locked", "without lock file"])
def test_beside_a_broker(tmp_path, lock):
    """Which goes on as if nobody had looked."""
    broker = DurableBroker(tmp_path, "killed", 2)
    before = ()
    try:
        broker.start()
        fill(broker)
        if lock != "locked":
            (broker.data / "store.mdb-lock").chmod(0o400)
            before = ("setpriv", "--bounding-set", "-dac_override", "--")
        files = look(broker.data)
        for words in ([], LISTS):
            result = inspect("--json", *words, broker.data, before=before)
            assert result.returncode == 0, result.stderr
        summary = json.loads(inspect("--json", broker.data, before=before).stdout)
        assert summary["owner"] == broker.running.child.process.pid
        assert summary["receipts"] == 1
        if lock != "locked":  # the broker is still writing, into the log, and into the store when it follows
            written = (LOG, "store.mdb", "store.mdb-lock", "data")
            assert {name: look(broker.data)[name] for name in files if name not in written} == {
                name: file for name, file in files.items() if name not in written}
            assert set(look(broker.data)) == set(files)
        broker.publish("a/last", b"x")
        assert json.loads(inspect("--json", broker.data).stdout)["journals"][0]["waiting"] == 4
        broker.restart()
        sleeper = broker.connect("sleeper" + HOSTILE, present=True)
        assert sleeper.expect_publish().payload == b"1"
        assert lines(broker.data)[0]["boots"] == 2
    finally:
        broker.running.child.kill()
        shutil.rmtree(broker.data, ignore_errors=True)  # logs are large, and pytest keeps what is left


# --- damage


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def edit(path: pathlib.Path, change) -> None:
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data) or data)


def flip(at: int):
    def change(data: bytearray) -> None:
        data[at] ^= 0x10

    return change


def make_newer(data: bytearray) -> None:
    data[8] = 2
    data[60:64] = struct.pack("<I", crc32c(bytes(data[:60])))


@pytest.mark.parametrize("file, change, said", [
    pytest.param(LOG, flip(70), f"{LOG}: damaged in 1 or more places", id="a flipped byte in a record"),
    pytest.param(LOG, flip(20), f"{LOG}: its header is damaged", id="a flipped byte in a header"),
    pytest.param(LOG, make_newer, f"{LOG} has format 2, written by a newer version", id="a newer log"),
    pytest.param("store.mdb", lambda data: data[:9000], "the store is damaged", id="a truncated store"),
    pytest.param("store.mdb", lambda data: b"\xff" * 20000, "cannot open", id="a store that is none"),
    pytest.param("store.mdb", lambda data: data[:8192] + b"\xff" * (len(data) - 8192), "the store is damaged",
                 id="an overwritten store"),
    pytest.param("store.mdb", lambda data: data.replace(b"format\1\0", b"format\2\0"),
                 "the store has format 2, written by a newer version", id="a newer store"),
    pytest.param("store.mdb", lambda data: data.replace(b"followed", b"fooooooo"),
                 "what it says of itself is incomplete", id="a store without a number"),
])
def test_damage(copy, file, change, said):
    """It is told, and what is left is shown."""
    edit(copy / file, change)
    before = look(copy)
    result = inspect("--json", copy)
    assert result.returncode == 1, result.stderr
    summary = json.loads(result.stdout)
    assert any(said in text for text in summary["damage"]), summary["damage"]
    assert said in result.stderr.decode()
    assert inspect(copy).returncode == inspect(*LISTS, copy).returncode == 1
    assert summary["segments"][0]["file"] == LOG
    if file == "store.mdb":
        assert summary["segments"][0]["messages"] == 4
    assert look(copy) == before


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_log_without_its_store(copy, how):
    """Here the store had not followed yet: the log says it all."""
    (copy / "store.mdb").unlink()
    if how == "empty":
        (copy / "store.mdb").touch()
    (summary,) = lines(copy, code=1)
    assert summary["damage"] == ["there is a log, and the store that belongs to it is missing or empty"]
    assert summary["sessions"]["connected"] + summary["sessions"]["gone"] == 3
    assert [one["client_id"] for one in lines("--sessions", copy, code=1)][0] == "publisher"


def test_a_torn_batch_is_no_damage(copy):
    """Nobody was told of what is in it."""
    used = lines(copy)[0]["segments"][0]["bytes_used"]
    edit(copy / LOG, flip(used - 1))
    (summary,) = lines(copy)
    assert summary["segments"][0]["torn"]
    assert summary["delayed"] == 0
    assert b"its last batch is torn" in inspect(copy).stdout


def test_a_store_without_its_log(copy):
    """Which is as it should be before anything was kept, and not when the store has followed a log."""
    (copy / LOG).unlink()
    (summary,) = lines(copy)
    assert summary["segments"] == []
    assert summary["boots"] == 1
    edit(copy / "store.mdb", lambda data: data.replace(b"followed" + bytes(8), b"followed\5" + bytes(7)))
    assert lines(copy, code=1)[0]["damage"] == [
        "the log ends at number 0, and the store has followed it to 5: files are missing"]


def test_a_log_without_its_beginning(copy):
    """Messages that are wanted, and changes that the store has not followed, were there."""
    def renumber(data: bytearray) -> None:  # as if it had been begun behind number 3
        data[24] = 3
        data[60:64] = struct.pack("<I", crc32c(bytes(data[:60])))

    edit(copy / LOG, renumber)
    assert "the log begins behind number 3, and is wanted from 1 on: files are missing" in lines(
        copy, code=1)[0]["damage"]


@pytest.mark.parametrize("words, said", [
    ([], "usage"), (["--nonsense", "."], "unknown word"), ([".", "."], "usage"),
    (["--json", "missing"], "No such file"), (["\x1b[2J"], r"\u{1b}[2J"), ([__file__], "Not a directory"),
    (["empty"], "no broker has kept anything"),
])
def test_what_cannot_be_read(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = inspect(*words)
    assert (result.returncode, result.stdout) == (2, b"")
    assert said in result.stderr.decode()
    assert b"\x1b" not in result.stderr
    assert list((tmp_path / "empty").iterdir()) == []


def test_help():
    result = inspect("--help")
    assert result.returncode == 0
    assert all(one in result.stdout.decode() for one in LISTS)


def test_a_full_disk_behind_it(copy):
    """What could not be written is an error too."""
    program = os.environ.get("MQTTQ_INSPECT") or pathlib.Path(server_path()).parents[2] / "tools/inspect/mqttq-inspect"
    with open("/dev/full", "wb") as full:
        assert subprocess.run([program, copy], stdout=full, check=False).returncode == 2
