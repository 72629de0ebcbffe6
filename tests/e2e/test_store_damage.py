"""Damage in the store of a broker that was killed: it is refused by name, and what can still be read is salvaged."""

import pathlib
import shutil
import signal
import struct

import pytest

from harness.client import Will
from test_durable import DurableBroker, expect_refusal, payloads, receive, run, subscribe  # noqa: F401 (a fixture)
from test_inspect import inspect, lines, look

pytestmark = pytest.mark.ours_only("the data directory is mqttq-server's")

PAGE = 4096
SESSIONS = 40
LISTS = ["--sessions", "--journals", "--retained", "--delayed", "--namespaces", "--records"]


def fill(broker: DurableBroker, early: bool) -> None:
    """Sessions with wills, and retained messages, so many that tables have several pages. early: a message waits from
    the beginning, which keeps the log."""
    broker.flags = ("--config", str(broker.directory / "limits.json"))
    (broker.directory / "limits.json").write_text('{"limits": {"log_segment_bytes": 65536}}')
    broker.start()
    for number in range(SESSIONS):
        client = broker.connect(f"session {number}", will=Will("will", b"w" * 300, 1,
                                                               properties={"will_delay_interval": 3600}))
        subscribe(client, (f"to/{number}/#", 1), ("all", 2))
        client.close()
        if early and number == 0:
            broker.publish("to/0/early", b"early")
        broker.publish(f"retained/{number}", f"kept {number} ".encode() * 20, retain=True)
    broker.publish("$delayed/3600/late", b"delayed")


def make(directory: pathlib.Path, early: bool) -> pathlib.Path:
    """The directory of a broker whose store has followed, and that was killed then."""
    broker = DurableBroker(directory, "killed", 1)
    try:
        fill(broker, early)
        broker.stop()
        broker.start()
        broker.publish("all", b"for all")
        broker.publish("to/7/x", b"for one")
        broker.finish()
    finally:
        broker.running.child.kill()
    return broker.data


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """With all of its log. Not to be changed."""
    return make(tmp_path_factory.mktemp("killed"), early=True)


@pytest.fixture(scope="module")
def moved_on(tmp_path_factory):
    """The log of which is needed for its end alone. Not to be changed."""
    return make(tmp_path_factory.mktemp("moved_on"), early=False)


@pytest.fixture
def copy(killed, tmp_path):
    """A directory of the test's own."""
    return pathlib.Path(shutil.copytree(killed, tmp_path / "data"))


@pytest.fixture
def copy_moved_on(moved_on, tmp_path):
    """A directory of the test's own."""
    return pathlib.Path(shutil.copytree(moved_on, tmp_path / "data"))


def break_pages(directory: pathlib.Path, *holding: bytes) -> int:
    """Writes over the header of every leaf of the store that holds one of these bytes. How many there were.

    What lies below its entries is left over from what the page was before.
    """
    store = directory / "store.mdb"
    data = bytearray(store.read_bytes())
    broken = 0
    for at in range(2 * PAGE, len(data), PAGE):
        kind, _, entries = struct.unpack_from("<HHH", data, at + 10)
        if kind == 2 and any(one in data[at + entries:at + PAGE] for one in holding):
            data[at:at + 16] = b"\xff" * 16
            broken += 1
    store.write_bytes(data)
    return broken


def start(tmp_path: pathlib.Path, data: pathlib.Path) -> DurableBroker:
    broker = DurableBroker(tmp_path, "stopped", 1)
    broker.data = data
    broker.start()
    return broker


def everything(directory: pathlib.Path) -> list[dict]:
    return [line for line in lines(*LISTS, directory) if line["kind"] != "directory"]


def test_a_broken_store_is_refused_by_name(copy, run):  # noqa: F811
    assert break_pages(copy, b"kept 3 ")
    before = (copy / "store.mdb").read_bytes()
    for _ in range(2):
        expect_refusal(run(str(copy)), f"{copy}/store.mdb is damaged: table 7, page ", "it says of itself that it is",
                       "`mqttq-inspect --salvage NEW DIR`")
    assert (copy / "store.mdb").read_bytes() == before


def test_a_broken_head_is_refused_by_name(copy, run):  # noqa: F811
    store = copy / "store.mdb"
    store.write_bytes(bytes(PAGE) + store.read_bytes()[PAGE:])
    expect_refusal(run(str(copy)), "store.mdb is damaged: its first page is not one that LMDB begins with", "--salvage")


def test_a_store_that_was_cut_is_refused_by_name(copy, run):  # noqa: F811
    store = copy / "store.mdb"
    store.write_bytes(store.read_bytes()[:6 * PAGE])
    expect_refusal(run(str(copy)), "store.mdb is damaged: ", " is named, and there are 6", "--salvage")


def test_what_the_store_has_lost_its_log_still_tells(copy, tmp_path, run):  # noqa: F811
    """Sessions are gone from the tables; carried out again, the log brings them back, with all that waited."""
    before = everything(copy)
    assert break_pages(copy, b"session 7", b"kept 3 ")
    expect_refusal(run(str(copy)), "is damaged")
    result = inspect("--salvage", tmp_path / "new", copy)
    assert result.returncode == 1, result.stderr
    said = result.stdout.decode()
    assert "sessions: " in said and "broken places skipped" in said
    assert "table 7, page " in result.stderr.decode()
    assert everything(tmp_path / "new") == before

    broker = start(tmp_path, tmp_path / "new")
    try:
        for number in range(SESSIONS):
            client = broker.connect(f"session {number}", present=True)
            expected = {0: [b"early", b"for all"], 7: [b"for all", b"for one"]}.get(number, [b"for all"])
            assert payloads(receive(client, len(expected))) == expected
        assert sorted(payloads(broker.retained("retained/#", SESSIONS))) == sorted(
            f"kept {number} ".encode() * 20 for number in range(SESSIONS))
        broker.stop()
    finally:
        broker.running.child.kill()


def test_what_nothing_tells_any_more_is_lost_alone(copy_moved_on, tmp_path, run):  # noqa: F811
    """Some retained messages are lost, and nothing else."""
    copy = copy_moved_on
    assert break_pages(copy, b"kept 3 ")
    expect_refusal(run(str(copy)), "is damaged: table 7")
    result = inspect("--salvage", tmp_path / "new", copy)
    assert result.returncode == 1, result.stderr
    (told,) = [line for line in result.stdout.decode().splitlines() if line.startswith("retained: ")]
    assert told.endswith(f" of {SESSIONS} that there are said to be; 1 broken places skipped")
    (summary,) = lines(tmp_path / "new")
    left = summary["retained"]
    assert 0 < left < SESSIONS and f"retained: {left} entries copied" in told
    assert summary["sessions"]["gone"] == SESSIONS
    assert summary["wills"] == SESSIONS

    broker = start(tmp_path, tmp_path / "new")
    try:
        client = broker.connect("session 7", present=True)
        assert payloads(receive(client, 2)) == [b"for all", b"for one"]
        broker.retained("retained/#", left)
        broker.stop()
    finally:
        broker.running.child.kill()


@pytest.mark.parametrize("head", [0, 1])
def test_a_store_without_one_page_of_its_head(copy, tmp_path, head):
    """Either is a snapshot of all, and what the older one does not have the log tells."""
    before = everything(copy)
    store = copy / "store.mdb"
    data = bytearray(store.read_bytes())
    data[head * PAGE:(head + 1) * PAGE] = bytes(PAGE)
    store.write_bytes(data)
    result = inspect("--salvage", tmp_path / "new", copy)
    assert result.returncode == 1, result.stderr
    assert ["its first page", "its second page"][head] in result.stderr.decode()
    after = everything(tmp_path / "new")
    assert [one for one in after if one["kind"] != "record"] == [one for one in before if one["kind"] != "record"]


def test_a_sound_directory_is_copied_whole(copy, tmp_path):
    before, files = everything(copy), look(copy)
    result = inspect("--salvage", tmp_path / "new", copy)
    assert (result.returncode, result.stderr) == (0, b"")
    assert "broken" not in result.stdout.decode()
    assert everything(tmp_path / "new") == before
    assert look(copy) == files
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "new").iterdir())
    (one,), (other,) = lines(copy), lines(tmp_path / "new")
    assert (one["followed"], one["wanted"], one["boots"]) == (other["followed"], other["wanted"], other["boots"])


def lose_table(directory: pathlib.Path, table: int) -> None:
    """Takes it out of the list of tables, in every snapshot."""
    record = b"\x30\0\0\0\x02\0\x01\0"  # 48 bytes of value, a tree, one byte of key
    store = directory / "store.mdb"
    data = store.read_bytes()
    key = bytes([ord("a") + table])
    assert record + key in data
    store.write_bytes(data.replace(record + key, record + b"z"))


@pytest.mark.parametrize("damage, said", [
    (lambda path: lose_table(path, 9), "the names of namespaces are lost"),
    (lambda path: break_pages(path, b"followed"), "the secret of all its keys: nothing can be salvaged"),
    (lambda path: (path / "store.mdb").write_bytes(b"\xff" * 20 * PAGE), "nothing can be read of the store"),
    (lambda path: (path / "store.mdb").write_bytes(b""), "nothing can be read of the store"),
    (lambda path: (path / "store.mdb").unlink(), "No such file or directory"),
], ids=["namespaces", "secret", "overwritten", "empty", "missing"])
def test_without_what_the_store_says_of_itself_nothing_is_salvaged(copy, tmp_path, damage, said):
    damage(copy)
    result = inspect("--salvage", tmp_path / "new", copy)
    assert result.returncode == 2
    assert said in result.stderr.decode()
    assert not (tmp_path / "new").exists()


def test_what_the_store_says_of_itself_is_read_from_the_snapshot_before(copy, tmp_path):
    """A start writes it anew: the newest page that holds it is broken, the one before is not."""
    before = everything(copy)
    store = copy / "store.mdb"
    data = bytearray(store.read_bytes())
    pages = [at for at in range(2 * PAGE, len(data), PAGE)
             if data[at + 10] == 2 and b"followed" in data[at:at + PAGE] and b"seed" in data[at:at + PAGE]]
    for at in pages:
        data[at:at + 8] = bytes(8)
        store.write_bytes(data)
        result = inspect("--salvage", tmp_path / f"new {at}", copy)
        assert result.returncode in (0, 1), result.stderr
        assert everything(tmp_path / f"new {at}") == before
        if result.returncode == 1:
            assert "from the snapshot before the last one" in result.stderr.decode()
            break
        data[at:at + 8] = struct.pack("<Q", at // PAGE)
    else:
        pytest.fail("no page of the newest snapshot was found")


def test_a_salvage_does_not_write_over_anything(copy, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "empty").mkdir()
    assert inspect("--salvage", tmp_path / "empty", copy).returncode == 0
    for to, said in ((tmp_path / "full", "is not empty"), (tmp_path / "empty", "is not empty"), (copy, "is not empty"),
                     (tmp_path / "full" / "mine", "File exists"), (tmp_path / "no" / "such", "No such file")):
        result = inspect("--salvage", to, copy)
        assert (result.returncode, result.stdout) == (2, b""), result.stdout
        assert said in result.stderr.decode()
    assert (tmp_path / "full" / "mine").read_text() == "mine"


@pytest.mark.parametrize("bytes_max", [40 * 1024, 72 * 1024], ids=["in the log", "in the store"])
@pytest.mark.parametrize("how", ["full", "killed"])
def test_a_salvage_that_is_cut_short_leaves_nothing_that_starts(copy, tmp_path, run, how, bytes_max):  # noqa: F811
    """No file may be longer; the process hears of it, or dies of it."""
    before = ("env", *(["--ignore-signal=XFSZ"] if how == "full" else []), "prlimit", f"--fsize={bytes_max}", "--")
    result = inspect("--salvage", tmp_path / "new", copy, before=before)
    if how == "full":
        assert result.returncode == 2, result.stdout
        assert "cannot be written; what is in " in result.stderr.decode()
    else:
        assert result.returncode in (2, -signal.SIGXFSZ)  # the first write beyond it may come back with a part
    said = "there is a log (log-" if bytes_max < 65536 else "what it says of itself is incomplete"
    expect_refusal(run(str(tmp_path / "new")), said)


def test_a_directory_that_a_broker_has_open_is_not_salvaged(tmp_path):
    broker = DurableBroker(tmp_path, "killed", 1)
    try:
        broker.start()
        result = inspect("--salvage", tmp_path / "new", broker.data)
        assert result.returncode == 2
        assert f"process {broker.running.child.process.pid} has " in result.stderr.decode()
        assert not (tmp_path / "new").exists()
    finally:
        broker.running.child.kill()
        shutil.rmtree(broker.data, ignore_errors=True)


@pytest.mark.parametrize("words, said", [
    (["--salvage"], "wants a new directory"),
    (["--salvage", "new"], "usage"),
    (["--salvage", "new", "--json", "data"], "stands alone"),
    (["--salvage", "new", "--sessions", "data"], "stands alone"),
    (["--salvage", "new", "no such directory"], "cannot read"),
])
def test_words_that_cannot_be(words, said):
    result = inspect(*words)
    assert (result.returncode, result.stdout) == (2, b"")
    assert said in result.stderr.decode()
    assert not pathlib.Path("new").exists()
