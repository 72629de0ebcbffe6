"""mqttq-server as a program: its flags and configuration, its one line when ready, and its end on SIGTERM."""

import json
import os
import re
import signal
import socket

import pytest

from harness.broker import HOST, Broker, Process, Settings, server_path
from harness.client import Subscription, Version

pytestmark = pytest.mark.ours_only("these are mqttq-server's own flags and words")

LISTEN = ("--listen", f"tcp://{HOST}:0", "--allow-anonymous")


@pytest.fixture
def run():
    """A function that starts mqttq-server with flags; whatever still runs after the test is killed."""
    started = []

    def start(*flags: str) -> Process:
        started.append(Process([server_path(), *flags]))
        return started[-1]

    yield start
    for process in started:
        process.kill()


class At:
    """The address of a broker that the test started itself."""

    host = HOST
    kind = "mqttq"

    def __init__(self, port: str):
        self.port = int(port)


def test_the_ready_line(run, clients):
    """One line, with every address that was bound, each of which serves."""
    server = run("--listen", f"tcp://{HOST}:0", *LISTEN)
    server.wait_line(r"^mqttq-server ready\b")
    ready = [line for line in server.stdout if line.startswith("mqttq-server ready")]
    assert len(ready) == 1
    ports = re.findall(rf"tcp://{re.escape(HOST)}:(\d+)", ready[0])
    assert len(set(ports)) == 2 and "0" not in ports
    one, other = (clients("paho", At(port)) for port in ports)
    assert one.connect().reason_code == 0
    assert other.connect().reason_code == 0
    one.subscribe(Subscription("e2e/both", 1))
    other.publish("e2e/both", "x", 1)
    assert one.take_one().payload == b"x"


def test_one_shard_for_each_core_that_it_may_run_on(run):
    """A server that is held to one core of many has one shard, which commits in its own turn: two threads in all."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        server = run(*LISTEN)
    finally:
        os.sched_setaffinity(0, allowed)
    server.wait_line(r"^mqttq-server ready\b")
    assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 2


def test_sigterm_ends_an_idle_server(run):
    """Without clients the end comes at once, with 0."""
    server = run(*LISTEN)
    server.wait_line(r"^mqttq-server ready\b")
    server.process.terminate()
    assert server.wait_end() == 0


@pytest.mark.parametrize("kind", ["paho", "js"])
def test_sigterm_drains(tmp_path, clients, kind):
    """Clients of MQTT 5 hear DISCONNECT 0x8B, those of MQTT 3 are closed, nobody new gets in, and the exit code is 0.

    [MQTT-3.14.2-1] [MQTT-3.14.4-2]
    """
    broker = Broker(tmp_path)
    try:
        new, old, older = (clients(kind, broker, version) for version in (Version.V5, Version.V3_1_1, Version.V3_1))
        for client in (new, old, older):
            assert client.connect(clean_start=False).reason_code == 0
            client.subscribe(Subscription("e2e/drain", 1))
        broker.stop()  # asserts the exit code
        assert new.wait_closed() == 0x8B
        assert old.wait_closed() is None
        assert older.wait_closed() is None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, broker.port)).close()
    finally:
        broker.child.kill()


def test_what_was_acknowledged_before_sigterm_was_delivered(tmp_path, clients):
    """A subscriber has every message that was acknowledged before the drain began, and then its DISCONNECT."""
    broker = Broker(tmp_path)
    try:
        publisher, subscriber = clients("js", broker), clients("paho", broker)
        publisher.connect()
        subscriber.connect()
        subscriber.subscribe(Subscription("e2e/drain", 1))
        payloads = [f"{number}".encode() * 50 for number in range(500)]
        assert publisher.publish_many("e2e/drain", payloads, 1) == [0] * len(payloads)
        broker.stop()
        assert [message.payload for message in subscriber.take(len(payloads))] == payloads
        assert subscriber.wait_closed() == 0x8B
    finally:
        broker.child.kill()


@pytest.mark.parametrize("flags, named", [
    (("--no-such-flag",), "--no-such-flag"),
    (("--listen",), "--listen"),
    (("--listen", "127.0.0.1"), "127.0.0.1"),
    (("--listen", "gopher://127.0.0.1:0"), "gopher"),
    (("--listen", "tcp://127.0.0.1:70000"), "70000"),
    (("--shards", "many"), "--shards"),
    (("--log-level", "loud"), "loud"),
    (("surplus",), "surplus"),
    (("--version=1",), "--version"),
])
def test_wrong_flags(run, flags, named):
    """Exit code 2, and a message that names what was wrong; nothing on stdout says ready."""
    server = run(*LISTEN, *flags)
    assert server.wait_end() == 2
    assert any(named in line for line in server.stderr), server.output()
    assert not any("ready" in line for line in server.stdout)


# The file's text; the line that is named; what else the message must hold.
WRONG_FILES = {
    "syntax": ('{\n  "listeners": [\n', None, ()),
    "unknown key": ('{\n  // the key is not one of ours\n  "no_such_key": 1\n}\n', 3, ("no_such_key",)),
    "unknown key of a listener": (
        '{\n  "listeners": [\n    {\n      "url": "tcp://127.0.0.1:0",\n      "colour": "red"\n    }\n  ]\n}\n', 5,
        ("colour",)),
    "wrong type": ('{\n  "listeners": "tcp://127.0.0.1:0"\n}\n', 2, ("listeners", "array")),
    "wrong url": ('{\n  "listeners": [\n    {"url": "tcp:127.0.0.1"}\n  ]\n}\n', 3, ("url",)),
    "out of range": (
        '{\n  "listeners": [\n    {"url": "tcp://127.0.0.1:0",\n     "packet_size_max": -1}\n  ]\n}\n', 4,
        ("packet_size_max",)),
    "not an object": ("[]\n", None, ("object",)),
}


@pytest.mark.parametrize("name", WRONG_FILES)
@pytest.mark.parametrize("check", [False, True], ids=["start", "--check-config"])
def test_wrong_configuration(run, tmp_path, name, check):
    """Exit code 2, and a message with file, line, key and what was expected."""
    text, line, words = WRONG_FILES[name]
    file = tmp_path / "wrong.json"
    file.write_text(text)
    server = run("--config", str(file), *(("--check-config",) if check else ()))
    assert server.wait_end() == 2
    said = "\n".join(server.stderr)
    assert (f"{file}:{line}" if line else str(file)) in said, server.output()
    for word in words:
        assert word in said, server.output()


def test_a_wrong_reload_changes_nothing(run, tmp_path, clients):
    """SIGHUP with a file that became wrong: it is refused by file and line, and everything goes on as before."""
    file = tmp_path / "reload.json"
    file.write_text('{\n  "listeners": [ {"url": "tcp://127.0.0.1:0"} ]\n}\n')
    server = run("--config", str(file))
    port = server.wait_line(r"^mqttq-server ready\b.*:(\d+)")[1]
    before, after = clients("paho", At(port)), clients("js", At(port))
    before.connect()
    before.subscribe(Subscription("e2e/reload", 1))
    file.write_text('{\n  "listeners": [ {"url": "tcp://127.0.0.1:0"} ],\n  "no_such_key": 1\n}\n')
    server.process.send_signal(signal.SIGHUP)
    server.wait_line(rf"{re.escape(str(file))}:3\b.*no_such_key")
    after.connect()
    after.publish("e2e/reload", "x", 1)
    assert before.take_one().payload == b"x"
    server.process.terminate()
    assert server.wait_end() == 0


def test_a_missing_configuration(run, tmp_path):
    """A file that is not there is named."""
    server = run("--config", str(tmp_path / "absent.json"))
    assert server.wait_end() == 2
    assert any("absent.json" in line for line in server.stderr), server.output()


def test_check_config(run, tmp_path):
    """A good file, comments and all, is found good without starting anything."""
    file = tmp_path / "good.json"
    file.write_text('// for a test\n{\n  "listeners": [ {"url": "tcp://127.0.0.1:0"} ] // any port\n}\n')
    server = run("--config", str(file), "--check-config")
    assert server.wait_end() == 0
    assert not any("ready" in line for line in server.stdout)


def test_flags_win_over_the_file(run, tmp_path):
    """--listen replaces the file's listeners."""
    with socket.socket() as taken:  # the file asks for a port that is in use, so the file's word would fail
        taken.bind((HOST, 0))
        taken.listen()
        file = tmp_path / "file.json"
        file.write_text(json.dumps({"listeners": [{"url": f"tcp://{HOST}:{taken.getsockname()[1]}"}]}))
        server = run("--config", str(file), *LISTEN)
        server.wait_line(r"^mqttq-server ready\b")
        server.process.terminate()
        assert server.wait_end() == 0


def test_a_port_in_use_is_named(run):
    """The second server on a port does not start, and says which address it could not have."""
    first = run(*LISTEN)
    port = first.wait_line(r"^mqttq-server ready\b.*:(\d+)")[1]
    second = run("--listen", f"tcp://{HOST}:{port}", "--allow-anonymous")
    assert second.wait_end() != 0
    said = "\n".join(second.stderr)
    assert f"{HOST}:{port}" in said, second.output()
    assert "in use" in said, second.output()
    assert not any("ready" in line for line in second.stdout)


def test_version(run):
    """--version says the name and a version, and ends well."""
    server = run("--version")
    assert server.wait_end() == 0
    assert re.search(r"^mqttq-server \d+\.\d+\.\d+", "\n".join(server.stdout), re.MULTILINE), server.output()


@pytest.mark.parametrize("shards", [1, 2])
def test_any_number_of_shards(tmp_path, clients, shards):
    """Clients meet whichever shard they are on."""
    broker = Broker(tmp_path, Settings(flags=("--shards", str(shards))))
    try:
        made = [clients(kind, broker) for kind in ("paho", "js", "paho", "js", "paho", "js")]
        for client in made:
            client.connect()
            client.subscribe(Subscription("e2e/shards/#", 2))
        for number, client in enumerate(made):
            client.publish_many(f"e2e/shards/{number}", [f"{number}/{at}".encode() for at in range(20)], 2)
        for client in made:
            received = client.take(20 * len(made))
            for number in range(len(made)):
                assert [message.payload for message in received if message.topic.endswith(f"/{number}")] == [
                    f"{number}/{at}".encode() for at in range(20)]
        broker.stop()
    finally:
        broker.child.kill()


def test_nothing_a_client_is_called_drives_a_terminal(run):
    """Controls beyond ASCII in a client id are written as their numbers, in text and in JSON."""
    client_id = "a\u009b\u0085\u2028\u202e\u2066é€".encode()
    for form in ("text", "json"):
        server = run(*LISTEN, "--log-format", form)
        port = int(server.wait_line(r"^mqttq-server ready\b.*:(\d+)")[1])
        with socket.create_connection((HOST, port)) as client:
            variable = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(client_id).to_bytes(2, "big") + client_id
            client.sendall(b"\x10" + bytes([len(variable)]) + variable + b"\x00\x00")  # and a packet of no type
            line = server.wait_line(r"protocol error.*client=.*")[0]
        assert "a\\u009b\\u0085\\u2028\\u202e\\u2066é€" in line
        server.process.terminate()
        assert server.wait_end() == 0
