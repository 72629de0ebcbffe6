"""mqttq-server's words about flags and configuration, SIGHUP, its log, and what it tells systemd."""

import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from harness.broker import HOST, SOURCE_DIR, Process, server_path
from harness.client import TIMEOUT_S
from harness.wire import Socket

pytestmark = pytest.mark.ours_only("these are mqttq-server's own flags and words")

ANY_PORT = f"tcp://{HOST}:0"
READY = r"^mqttq-server ready (.*)$"


@pytest.fixture
def run(tmp_path):
    """A function that starts mqttq-server with flags in a directory of the test's own; what still runs after the test
    is killed."""
    started = []

    def start(*flags: str, program: tuple[str, ...] = (), env: dict[str, str] | None = None) -> Process:
        started.append(Process([*program, server_path(), *flags], env={**os.environ, **(env or {})}))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def config(tmp_path):
    """A function that writes the configuration file and returns its path."""

    def write(content: str | dict | bytes) -> str:
        file = tmp_path / "mqttq.json"
        if isinstance(content, dict):
            content = json.dumps(content)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


class At:
    """Where a broker listens that the test started itself."""

    host = HOST
    kind = "mqttq"

    def __init__(self, url: str):
        self.port = int(url.rpartition(":")[2])


class Manager:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, address: str):
        """address: a path, or a name that begins with @ for an abstract socket."""
        self.env = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def take(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    one = Manager(str(tmp_path / "notify"))
    yield one
    one.close()


def urls_of(server: Process) -> list[str]:
    return server.wait_line(READY)[1].split(" ")


def end(server: Process, number: int = signal.SIGTERM) -> None:
    server.process.send_signal(number)
    assert server.wait_end() == 0, server.output()


def check(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([server_path(), *flags], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


# --- flags

LEFT_OUT = "expected tcp://HOST:PORT, ws://HOST:PORT/PATH or unix:///PATH"
ANYBODY = ("can be reached from other machines, and no authentication is configured; listen on a loopback address or a "
           'Unix socket, or let everybody in by --allow-anonymous or "allow_anonymous": true')

WRONG_FLAGS = {
    ("--lisen", "x"): "--lisen: unknown flag; did you mean --listen?",
    ("--frobnicate-zealously",): "--frobnicate-zealously: unknown flag; mqttq-server --help lists them",
    ("surplus",): "surplus: expected a flag; mqttq-server --help lists them",
    ("--config",): "--config: expected FILE after it",
    ("--version=1",): "--version: takes no value",
    ("--shards", "0"): '--shards: expected a whole number from 1 to 63, found "0"',
    ("--shards=64",): '--shards: expected a whole number from 1 to 63, found "64"',
    ("--shards", "2x"): '--shards: expected a whole number from 1 to 63, found "2x"',
    ("--log-level", "loud"): '--log-level: expected error, warning, notice, info or debug, found "loud"',
    ("--log-format", "xml"): '--log-format: expected text or json, found "xml"',
    ("--data-dir", ""): "--data-dir: expected a directory, found nothing",
    ("--listen", "tls://127.0.0.1:8883"): f"--listen tls://127.0.0.1:8883: this build has no TLS; {LEFT_OUT}",
    ("--listen", "wss://127.0.0.1/mqtt"): "--listen wss://127.0.0.1/mqtt: this build has no WebSocket over TLS; "
                                          f"{LEFT_OUT}",
    ("--listen", "quic://127.0.0.1:14567"): f"--listen quic://127.0.0.1:14567: this build has no QUIC; {LEFT_OUT}",
    ("--listen", "gopher://a"): f'--listen gopher://a: {LEFT_OUT}, found "gopher://a"',
    ("--listen", "tcp://127.0.0.1"): '--listen tcp://127.0.0.1: expected tcp://HOST:PORT with a port from 0 to 65535, '
                                     'found "tcp://127.0.0.1"',
    ("--listen", "tcp://[::1]:65536"): "--listen tcp://[::1]:65536: expected tcp://HOST:PORT with a port from 0 to "
                                       '65535, found "tcp://[::1]:65536"',
    ("--listen", "tcp://example:1"): "--listen tcp://example:1: expected an IPv4 address, an IPv6 address in brackets "
                                     'or localhost, found "example"',
    ("--listen", "ws://127.0.0.1/mqtt"): "--listen ws://127.0.0.1/mqtt: expected ws://HOST:PORT with a port from 0 to "
                                         '65535, found "ws://127.0.0.1"',
    ("--listen", "ws://[::1]:80/a?b"): "--listen ws://[::1]:80/a?b: expected ws://HOST:PORT/PATH with a path in "
                                       "visible ASCII without '?' and '#', found \"ws://[::1]:80/a?b\"",
    ("--listen", "unix://here"): '--listen unix://here: expected unix:///PATH, found "unix://here"',
    ("--listen", "unix:///" + "a" * 107): f"--listen unix:///{'a' * 107}: the path of a Unix socket has at most 107 "
                                          "bytes",
    ("--listen", "tcp://0.0.0.0:0"): f"--listen: tcp://0.0.0.0:0 {ANYBODY}",
    ("--listen", "tcp://[::]:0"): f"--listen: tcp://[::]:0 {ANYBODY}",
    ("--listen", "ws://0.0.0.0:0/mqtt"): f"--listen: ws://0.0.0.0:0/mqtt {ANYBODY}",
}


@pytest.mark.parametrize("flags", WRONG_FLAGS, ids=" ".join)
def test_the_message_for_wrong_flags(flags):
    """One line that says what was wrong and what was expected; exit code 2, and nothing on stdout."""
    result = check("--check-config", *flags)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", WRONG_FLAGS[flags] + "\n")


@pytest.mark.parametrize("flags", [
    ("--listen", "tcp://0.0.0.0:1883", "--allow-anonymous"),
    ("--allow-anonymous", "--listen=tcp://[::]:1883"),
    ("--listen", "tcp://127.200.1.1:1883"),
    ("--listen", "tcp://[::1]:1883"),
    ("--listen", "tcp://localhost:1883"),
    ("--listen", "ws://localhost:8083"),
    ("--listen", "ws://[::1]:8083/a/b"),
    ("--listen", "unix:///run/mqttq.sock"),
    ("--shards", "63", "--log-level", "error", "--log-format", "json"),
    (),
], ids=" ".join)
def test_good_flags(flags):
    """Without --allow-anonymous only what this machine alone can reach; with it, everything."""
    result = check("--check-config", *flags)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "flags: no fault found\n")


def test_help_names_every_flag():
    result = check("--help")
    assert result.returncode == 0 and result.stderr == ""
    for flag in ("--config FILE", "--listen URL", "--data-dir DIR", "--allow-anonymous", "--shards N",
                 "--log-level LEVEL", "--log-format FORMAT", "--check-config", "--version", "--help"):
        assert f"\n  {flag} " in result.stdout


# --- the configuration file

BETWEEN = "not JSON: a key in quotes, a colon, a value or a comma is missing here, or is one too many"
PACKET_SIZE = "limits.packet_size_max: expected a whole number from 1 to 268435455, found"

STRATEGIES = "round_robin, random, least_inflight, sticky, hash_client_id or hash_topic"
FILLED_IN = "${client_id} and ${user_name} are what can be filled in"

# The file's text, and what is said about it behind the file's name.
WRONG_FILES = {
    "": "1: expected an object in braces, found nothing",
    " // nothing\n": "1: expected an object in braces, found nothing",
    "[]": "1: expected an object in braces",
    "null": "1: expected an object in braces",
    '{\n  "listeners": [\n': "2: not JSON: this [ is not closed",
    '{\n  "log": {}\n': "1: not JSON: this { is not closed",
    '{\n  "listeners": [\n  }\n}': "3: not JSON: } does not close the [ of line 2",
    '{\n  "shards": 1\n}\n}\n': "4: expected the end of the file",
    '{}\n{}': "2: expected the end of the file",
    '{\n  "shards": 1,\n}': f"3: {BETWEEN}",
    '{\n  "shards": 1\n  "log": {}\n}': f"3: {BETWEEN}",
    '{\n  "shards" 1\n}': f"2: {BETWEEN}",
    '{\n  "shards":\n}': f"3: {BETWEEN}",
    '{\n  shards: 1\n}': f"2: {BETWEEN}",
    '{\n  "log": {"level\n": 1}}': "2: not JSON: a string is not closed on its line",
    '{\n  "log": {"level": "err\tor"}}': "2: not JSON: a control character in a string",
    '{\n  "log": {"level": "err\\or"}}': "2: not JSON: a string with a bad escape",
    '{\n  /* of C */\n}': "2: not JSON: a comment begins with //",
    b'{\n\n  "log": {"level": "\xff"}}': "3: not UTF-8",
    '{\n  "limit": {}\n}': '2: limit: unknown key; did you mean "limits"?',
    '{\n  "limits": {\n    "packet_max": 1\n  }\n}':
        '3: limits.packet_max: unknown key; did you mean "packet_size_max"?',
    '{\n  "limits.packet_size_max": 1\n}':
        "2: limits.packet_size_max: unknown key; known are listeners, allow_anonymous, data_dir, shards, durability, "
        "durability_interval_ms, log, protocol, shared_subscriptions, rewrites, auto_subscriptions, queues, streams, "
        "limits, sys",
    '{\n  "shards": 1,\n  // again\n  "shards": 1\n}': "4: shards: given twice, first in line 2",
    '{\n  "limits": 3\n}': "2: limits: expected an object in braces, found 3",
    '{\n\n\n\n\n\n  "limits": {"packet_size_max": "big"}\n}': f'7: {PACKET_SIZE} "big"',
    '{"limits": {\n"packet_size_max": 0}}': f"2: {PACKET_SIZE} 0",
    '{"limits": {\n"packet_size_max": 268435456}}': f"2: {PACKET_SIZE} 268435456",
    '{"limits": {\n"packet_size_max": 99999999999999999999}}': f"2: {PACKET_SIZE} 99999999999999999999",
    '{"limits": {\n"packet_size_max": -1}}': f"2: {PACKET_SIZE} -1",
    '{"limits": {\n"packet_size_max": 1.0}}': f"2: {PACKET_SIZE} 1.0",
    '{"limits": {\n"packet_size_max": 1e3}}': f"2: {PACKET_SIZE} 1e3",
    '{"limits": {\n"packet_size_max": 010}}': f"2: {PACKET_SIZE} 010",
    '{"limits": {\n"packet_size_max": true}}': f"2: {PACKET_SIZE} true",
    '{"limits": {\n"packet_size_max": null}}': f"2: {PACKET_SIZE} null",
    '{"limits": {\n"packet_size_max": {}}}': f"2: {PACKET_SIZE} an object",
    '{"limits": {\n"packet_size_max": []}}': f"2: {PACKET_SIZE} an array",
    '{"limits": {\n"packet_size_max": "' + "é" * 100 + '"}}': f'2: {PACKET_SIZE} "{"é" * 29}...',
    '{\n  "shards": 64\n}': "2: shards: expected a whole number from 0 to 63, found 64",
    '{\n  "allow_anonymous": 1\n}': "2: allow_anonymous: expected true or false, found 1",
    '{\n  "allow_anonymous": truer\n}': "2: allow_anonymous: expected true or false, found truer",
    '{\n  "log": {\n    "level": "loud" } }':
        '3: log.level: expected error, warning, notice, info or debug, found "loud"',
    '{\n  "log": {\n    "format": 2 } }': "3: log.format: expected text or json, found 2",
    '{\n  "listeners": {}\n}': "2: listeners: expected an array in brackets, found an object",
    '{\n  "listeners": []\n}': "2: listeners: expected at least one element, found an empty array",
    '{\n  "listeners": [\n    3 ] }': "3: listeners[0]: expected an object in braces, found 3",
    '{\n  "listeners": [\n    {"packet_size_max": 1} ] }':
        "3: listeners[0].url: expected a URL in quotes, found nothing",
    '{\n  "listeners": [\n    {"url": 1883} ] }': "3: listeners[0].url: expected a URL in quotes, found 1883",
    '{\n  "listeners": [\n    {"url": "tcp://127.0.0.1:0"},\n    {"url": "tls://127.0.0.1:0"} ] }':
        f"4: listeners[1].url: this build has no TLS; {LEFT_OUT}",
    '{\n  "listeners": [\n    {"url": "tcp://192.0.2.1:1883"} ] }':
        f"3: listeners[0].url: tcp://192.0.2.1:1883 {ANYBODY}",
    '{"limits": {\n"delayed_messages_max": 67108865}}':
        "2: limits.delayed_messages_max: expected a whole number from 0 to 67108864, found 67108865",
    '{"limits": {\n"delayed_bytes_max": 0}}':
        "2: limits.delayed_bytes_max: expected a whole number from 1 to 4294967295, found 0",
    '{"limits": {\n"delay_max_s": 42949670}}':
        "2: limits.delay_max_s: expected a whole number from 1 to 42949669, found 42949670",
    '{"protocol": {\n"response_information": 1}}':
        "2: protocol.response_information: expected a string of 0 to 1024 bytes, found 1",
    '{"protocol": {\n"response_information": "' + "é" * 513 + '"}}':
        f'2: protocol.response_information: expected a string of 0 to 1024 bytes, found "{"é" * 29}...',
    '{"protocol": {\n"response_information": "a\\u0000b"}}':
        '2: protocol.response_information: expected a string without U+0000, found "a\\u0000b"',
    '{"protocol": {\n"response_information": "${client}"}}': f"2: protocol.response_information: {FILLED_IN}",
    '{\n  "rewrites": {}\n}': "2: rewrites: expected an array in brackets, found an object",
    '{\n  "rewrites": [\n    {"from": "a", "to": "b"},\n    "c"\n  ]\n}':
        '4: rewrites[1]: expected an object in braces, found "c"',
    '{\n  "rewrites": [\n' + '{"from": "a", "to": "b"},\n' * 1000 + '{"from": "a", "to": "b"} ] }':
        "1003: rewrites[1000]: expected at most 1000 elements, found more",
    '{\n  "rewrites": [\n    {"from": "a", "too": "b"}\n  ]\n}':
        '3: rewrites[0].too: unknown key; did you mean "to"?',
    '{\n  "rewrites": [\n    {"from": "a"}\n  ]\n}':
        "3: rewrites[0].to: expected a string of 1 to 65535 bytes, found nothing",
    '{\n  "rewrites": [\n    {"from": "", "to": "b"}\n  ]\n}':
        '3: rewrites[0].from: expected a string of 1 to 65535 bytes, found ""',
    '{\n  "rewrites": [\n    {"to": "b", "from": "' + "a" * 65536 + '"}\n  ]\n}':
        f'3: rewrites[0].from: expected a string of 1 to 65535 bytes, found "{"a" * 59}...',
    '{\n  "rewrites": [\n    {"from": "a", "to": "b",\n     "actions": "some"}\n  ]\n}':
        '4: rewrites[0].actions: expected all, publish or subscribe, found "some"',
    '{\n  "rewrites": [\n    {"from": "a/b", "to": "b"},\n    {"from": "a/+",\n     "to": "$3"}\n  ]\n}':
        "5: rewrites[1].to: $3, and 1 wildcard to be named",
    '{\n  "rewrites": [\n    {"from": "a/+",\n     "to": "b/#"}\n  ]\n}':
        "4: rewrites[0].to: a wildcard, and nothing can be published to it",
    '{\n  "rewrites": [\n    {"to": "b",\n     "from": "a#"}\n  ]\n}': "4: rewrites[0].from: not a topic filter",
    '{\n  "auto_subscriptions": [\n    {"qos": 1}\n  ]\n}':
        "3: auto_subscriptions[0].topic_filter: expected a string of 1 to 65535 bytes, found nothing",
    '{\n  "auto_subscriptions": [\n    {"topic_filter": "a",\n     "qos": 3}\n  ]\n}':
        "4: auto_subscriptions[0].qos: expected a whole number from 0 to 2, found 3",
    '{\n  "auto_subscriptions": [\n    {"topic_filter": "a",\n     "retained": "no"}\n  ]\n}':
        '4: auto_subscriptions[0].retained: expected true or false, found "no"',
    '{\n  "auto_subscriptions": [\n    {\n      "topic_filter": "${user}"}\n  ]\n}':
        f"4: auto_subscriptions[0].topic_filter: {FILLED_IN}",
    '{\n  "auto_subscriptions": [\n    {"topic_filter": "$share/g/a",\n     "no_local": true}\n  ]\n}':
        "4: auto_subscriptions[0].no_local: not for a shared subscription",
    '{\n  "auto_subscriptions": [\n' + '{"topic_filter": "a"},\n' * 100 + '{"topic_filter": "a"} ] }':
        "103: auto_subscriptions[100]: expected at most 100 elements, found more",
    '{\n  "shared_subscriptions": {"groups": [\n    {"name": "a"} ] } }':
        f"3: shared_subscriptions.groups[0].strategy: expected {STRATEGIES}, found nothing",
    '{\n  "shared_subscriptions": {"groups": [\n    {"name": "a", "strategy": "fair"} ] } }':
        f'3: shared_subscriptions.groups[0].strategy: expected {STRATEGIES}, found "fair"',
    '{\n  "shared_subscriptions": {"groups": [\n    {"name": "", "strategy": "random"} ] } }':
        '3: shared_subscriptions.groups[0].name: expected a string of 1 to 65535 bytes, found ""',
    '{\n  "shared_subscriptions": {"groups": [\n    {"name": "a/b", "strategy": "random"} ] } }':
        "3: shared_subscriptions.groups[0].name: the name of a group has no /, + and #",
    '{\n  "shared_subscriptions": {"groups": [\n    {"name": "a", "strategy": "random"},\n'
    '    {"name": "b", "strategy": "random"},\n    {"name": "a", "strategy": "random"} ] } }':
        "5: shared_subscriptions.groups[2].name: the same as shared_subscriptions.groups[0].name",
}


@pytest.mark.parametrize("text", WRONG_FILES, ids=lambda text: text[:60])
def test_the_message_for_a_wrong_file(config, text):
    """One line with file, line, key and what was expected; exit code 2, and nothing on stdout."""
    file = config(text)
    result = check("--config", file, "--check-config")
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"{file}:{WRONG_FILES[text]}\n")


def test_files_that_cannot_be_read_are_named(tmp_path):
    for file, why in ((tmp_path / "absent.json", "no such file or directory"), (tmp_path, "is a directory")):
        result = check("--config", str(file))
        assert (result.returncode, result.stderr) == (2, f"{file}: cannot be read: {why}\n")


@pytest.mark.parametrize("text", [
    '{}',
    '\ufeff{}',
    '// nothing to say\r\n{\r\n}\r\n// the end',
    '{ "log": { "level": "info" } } // no line end',
    '{ "\\u0073hards": 3, "log": {"format": "json"}, "allow_anonymous": false }',
    '{ "listeners": [ { "url": "unix:///tmp/a//b" } ] } // the slashes above are no comment',
    '{ "allow_anonymous": true, "listeners": [ { "url": "tcp://0.0.0.0:1883" } ] }',
    '{ "rewrites": [], "auto_subscriptions": [], "shared_subscriptions": { "groups": [] } }',
    '{ "rewrites": [ { "from": "a/+", "to": "b/#", "actions": "subscribe" } ] }',
    '{ "limits": { "topic_alias_maximum": 0, "connect_rate": 0, "retained_bytes_max": 4294967295 } }',
])
def test_good_files(config, text):
    file = config(text)
    result = check("--config", file, "--check-config")
    assert (result.returncode, result.stderr) == (0, f"{file}: no fault found\n")


def test_flags_win_over_the_file(config, run):
    """The file's level would hide the line that the flag's level shows."""
    file = config({"log": {"level": "error", "format": "json"}, "listeners": [{"url": "tls://127.0.0.1:1"}]})
    assert check("--config", file, "--listen", ANY_PORT).returncode == 2  # what flags replace must be right too
    file = config({"log": {"level": "error", "format": "json"}, "listeners": [{"url": ANY_PORT}, {"url": ANY_PORT}]})
    server = run("--config", file, "--listen", ANY_PORT, "--log-level", "notice", "--log-format", "text")
    assert len(urls_of(server)) == 1
    server.wait_line(r"^\S+ notice  mqttq-server .* keeps everything in memory")
    end(server)


def test_limits_reach_the_wire(config, run):
    """What limits say is announced in CONNACK; a listener's own value wins over it (MQTT5 3.2.2.3)."""
    file = config({
        "listeners": [{"url": ANY_PORT}, {"url": ANY_PORT, "packet_size_max": 5000}],
        "limits": {"packet_size_max": 7000, "receive_maximum": 17, "topic_alias_maximum": 5, "keep_alive_max_s": 30,
                   "session_expiry_max_s": 60},
    })
    server = run("--config", file)
    sizes = []
    for url in urls_of(server):
        with Socket(At(url)) as client:
            properties = client.connect("limits").properties()
            sizes += properties["maximum_packet_size"]
            assert properties["receive_maximum"] == [17]
            assert properties["topic_alias_maximum"] == [5]
            assert properties["server_keep_alive"] == [30]
    assert sizes == [7000, 5000]
    end(server)


def test_no_topic_aliases(config, run):
    """0 in the file is none, not the default: CONNACK says 0 or nothing (MQTT5 3.2.2.3.8)."""
    server = run("--config", config({"listeners": [{"url": ANY_PORT}], "limits": {"topic_alias_maximum": 0}}))
    with Socket(At(urls_of(server)[0])) as client:
        assert client.connect("none").properties().get("topic_alias_maximum", [0]) == [0]
    end(server)


# --- a running server

def test_the_only_line_on_stdout(run, tmp_path):
    """The ready line names every address as a URL, and is all there is on stdout."""
    path = tmp_path / "x.sock"
    server = run("--listen", ANY_PORT, "--listen", f"unix://{path}")
    tcp, unix = urls_of(server)
    assert re.fullmatch(rf"tcp://{re.escape(HOST)}:[1-9]\d*", tcp)
    assert unix == f"unix://{path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(bytes.fromhex("10 0d 00 04 4d 51 54 54 04 02 00 0a 00 01 75"))  # CONNECT of 3.1.1, client id "u"
        client.settimeout(TIMEOUT_S)
        assert client.recv(4) == bytes.fromhex("20 02 00 00")
    end(server)
    assert server.stdout == [f"mqttq-server ready {tcp} {unix}"]
    assert not path.exists()


def test_a_port_in_use(run):
    """It is named, and the exit code is 1: flags and configuration were right."""
    first = run("--listen", ANY_PORT)
    url = urls_of(first)[0]
    second = run("--listen", url)
    assert second.wait_end() == 1
    assert second.stdout == []
    assert len(second.stderr) == 1
    assert second.stderr[0].endswith(f" error   cannot listen on {url}: address already in use")
    end(first)


def test_a_socket_in_no_directory(run, tmp_path):
    server = run("--listen", f"unix://{tmp_path}/absent/x.sock", "--log-format", "json")
    assert server.wait_end() == 1
    assert json.loads(server.stderr[0])["text"] == \
        f"cannot listen on unix://{tmp_path}/absent/x.sock: no such file or directory"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_end(run, number):
    server = run("--listen", ANY_PORT)
    urls_of(server)
    end(server, number)
    assert any(f"{signal.Signals(number).name}: ending" in line for line in server.stderr)


def test_the_descriptor_limit_is_raised(run):
    """The soft limit would allow fewer connections than the hard one."""
    server = run("--listen", ANY_PORT, program=("sh", "-c", 'ulimit -Sn 100; ulimit -Hn 300; exec "$0" "$@"'))
    urls_of(server)
    limits = pathlib.Path(f"/proc/{server.process.pid}/limits").read_text()
    assert re.search(r"^Max open files +300 +300 ", limits, re.MULTILINE), limits
    end(server)


def test_log_lines_are_json(run):
    """Each has a time, a level and a text; what a peer chose cannot break out of it."""
    server = run("--listen", ANY_PORT, "--log-format", "json", "--log-level", "debug", "--shards", "1")
    at = At(urls_of(server)[0])
    deadline = time.monotonic() + TIMEOUT_S
    while not any('a\\"' in line for line in server.stderr):  # not every line is written: there is a rate
        assert time.monotonic() < deadline, server.output()
        with Socket(at) as client:
            client.connect('a"}\\é')
            client.send(b"\xf0\x00")  # AUTH, which is not in place here
            client.expect_disconnect()
    end(server)
    lines = [json.loads(line) for line in server.stderr]
    assert all(set(line) == {"time", "level", "text"} for line in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert {line["level"] for line in lines} <= {"error", "warning", "notice", "info", "debug"}
    assert any('a"}\\é' in line["text"] for line in lines)


def test_the_level_hides_lines(run):
    server = run("--listen", ANY_PORT, "--log-level", "error")
    urls_of(server)
    end(server)
    assert server.stderr == []


def test_a_full_stderr_stops_nobody(run, manager):
    """Nobody reads the log: the server goes on, and says later how many lines were lost."""
    read_end, write_end = os.pipe()
    try:
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 8192)
        server = run("--listen", ANY_PORT, env=manager.env,
                     program=("sh", "-c", f'exec "$0" "$@" 2>/proc/{os.getpid()}/fd/{write_end}'))
        urls_of(server)
        assert manager.take() == "READY=1"

        def reload() -> None:  # leaves one line, and ends with READY=1
            server.process.send_signal(signal.SIGHUP)
            assert manager.take().startswith("RELOADING=1\n")
            assert manager.take() == "READY=1"

        for _ in range(200):
            reload()
        said = os.read(read_end, 1 << 16)
        reload()
        said += os.read(read_end, 1 << 16)
        end(server)
        lost = re.findall(rb" warning (\d+) log lines were lost: stderr was full\n", said)
        written = said.count(b" SIGHUP: ")
        assert len(lost) == 1 and int(lost[0]) + written == 201
        assert said.startswith(b"2") and said.endswith(b"\n")
    finally:
        os.close(read_end)
        os.close(write_end)


# --- SIGHUP

class Reloading:
    """A server with a configuration file that can be changed under it."""

    def __init__(self, run, config, manager, content: dict, *flags: str):
        self._config, self._manager = config, manager
        self.server = run("--config", config(content), *flags, env=manager.env)
        self.urls = urls_of(self.server)
        assert manager.take() == "READY=1"

    def reload(self, content: dict | str) -> None:
        """Ends when the server says that the reload is over, whichever way."""
        self._config(content)
        self.server.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", self._manager.take())
        assert self._manager.take() == "READY=1"

    def listening(self) -> list[str]:
        """The addresses in the newest line about a reload."""
        line = self.server.wait_line(r"SIGHUP: configuration read, listening on")
        line = [line for line in self.server.stderr if "SIGHUP: configuration read" in line][-1]
        return line.partition("listening on ")[2].split(" ")


def test_listeners_come_and_go(run, config, manager, tmp_path):
    """Those that stay keep their port, and their clients; clients of one that went go on too."""
    path = tmp_path / "come.sock"
    one = Reloading(run, config, manager, {"listeners": [{"url": ANY_PORT}, {"url": "tcp://127.0.0.2:0"}]})
    staying, going = (socket.create_connection(url[len("tcp://"):].split(":")) for url in one.urls)
    with Socket(At(one.urls[0])) as client, staying, going:
        client.connect("stays")
        one.reload({"listeners": [{"url": f"unix://{path}"}, {"url": ANY_PORT}]})
        assert set(one.listening()) == {one.urls[0], f"unix://{path}"}
        client.ping()
        going.sendall(bytes.fromhex("10 0d 00 04 4d 51 54 54 04 02 00 0a 00 01 75"))
        going.settimeout(TIMEOUT_S)
        assert going.recv(4) == bytes.fromhex("20 02 00 00")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(one.urls[1][len("tcp://"):].split(":")).close()
        with socket.socket(socket.AF_UNIX) as unix:
            unix.connect(str(path))
    end(one.server)
    assert not path.exists()


def test_a_listener_changes_its_own_limit(run, config, manager):
    one = Reloading(run, config, manager, {"listeners": [{"url": ANY_PORT}]})
    url = one.urls[0]
    one.reload({"listeners": [{"url": url}]})
    one.reload({"listeners": [{"url": url, "packet_size_max": 3000}]})
    with Socket(At(url)) as client:
        assert client.connect("x").properties()["maximum_packet_size"] == [3000]
    end(one.server)


def test_a_port_in_use_at_reload(run, config, manager):
    """It is named, and the listeners are as before, the one that was to go among them."""
    one = Reloading(run, config, manager, {"listeners": [{"url": ANY_PORT}]})
    one.reload({"listeners": [{"url": one.urls[0]}]})
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        one.reload({"listeners": [{"url": ANY_PORT}, {"url": f"tcp://{HOST}:{port}"}]})
    one.server.wait_line("SIGHUP: configuration not taken over, the old one stays: cannot listen on "
                         rf"tcp://127\.0\.0\.1:{port}: address already in use")
    with Socket(At(one.urls[0])) as client:
        client.connect("x")
    end(one.server)


def test_the_log_changes(run, config, manager):
    """Level and format take effect at once."""
    listeners = [{"url": ANY_PORT}]
    one = Reloading(run, config, manager, {"listeners": listeners, "log": {"level": "error"}})
    one.reload({"listeners": listeners, "log": {"level": "notice", "format": "json"}})
    one.server.wait_line(r'^\{"time":"[^"]*","level":"notice","text":"SIGHUP: configuration read, listening on')
    one.reload({"listeners": listeners, "log": {"level": "error"}})
    end(one.server)
    assert len(one.server.stderr) == 1


def test_flags_still_win_at_reload(run, config, manager):
    flags = ("--log-level", "notice", "--listen", ANY_PORT)
    one = Reloading(run, config, manager, {"listeners": [{"url": ANY_PORT}]}, *flags)
    one.reload({"log": {"level": "error"}, "listeners": [{"url": "unix:///nowhere/x"}]})
    assert one.listening() == one.urls
    end(one.server)


def test_what_cannot_change_is_said(run, config, manager):
    """Once for each key; what can change does."""
    listeners = [{"url": ANY_PORT}]
    one = Reloading(run, config, manager, {"listeners": listeners, "limits": {"connections_max": 10}})
    one.reload({"listeners": listeners, "shards": 2, "limits": {"packet_size_max": 1000}, "log": {"level": "info"}})
    one.listening()
    kept = [line.partition("SIGHUP: ")[2] for line in one.server.stderr if "cannot change" in line]
    assert kept == [f"{key} cannot change before the next start"
                    for key in ("shards", "limits.packet_size_max", "limits.connections_max")]
    end(one.server)


def test_an_array_that_cannot_change(run, config, manager):
    """It is named once, whatever changed in it, and not if it is the same."""
    listeners = {"listeners": [{"url": ANY_PORT}]}
    before = {"rewrites": [{"from": "a", "to": "b"}, {"from": "c", "to": "d"}],
              "auto_subscriptions": [{"topic_filter": "a"}],
              "shared_subscriptions": {"groups": [{"name": "a", "strategy": "random"}]}}
    one = Reloading(run, config, manager, listeners | before)
    one.reload(listeners | before | {"rewrites": [{"from": "a", "to": "x"}, {"from": "c", "to": "y"}]})
    one.reload(listeners)
    end(one.server)
    kept = [line.partition("SIGHUP: ")[2] for line in one.server.stderr if "cannot change" in line]
    assert kept == [f"{key} cannot change before the next start"
                    for key in ("rewrites", "shared_subscriptions.groups", "rewrites", "auto_subscriptions")]


def test_a_reload_is_judged_by_the_library_too(run, config, manager):
    """What waits for the next start is refused now, with all that stands beside it."""
    one = Reloading(run, config, manager, {"listeners": [{"url": ANY_PORT}]})
    file = config("")
    one.reload('{\n  "log": {"level": "error"},\n  "protocol": {\n    "response_information": "${client" } }')
    one.server.wait_line("SIGHUP: configuration refused, the old one stays: "
                         rf"{re.escape(file)}:4: protocol\.response_information: {re.escape(FILLED_IN)}$")
    one.reload({"listeners": [{"url": one.urls[0]}]})
    assert one.listening() == one.urls
    end(one.server)


def test_a_refused_reload(run, config, manager):
    """The message is the one that --check-config gives, and nothing changes, not even what was right in it."""
    one = Reloading(run, config, manager, {"listeners": [{"url": ANY_PORT}]})
    file = config("")
    one.reload('{\n  "log": {"level": "error"},\n  "listeners": [{"url": "tcp://192.0.2.1:1883"}]\n}')
    one.server.wait_line("SIGHUP: configuration refused, the old one stays: "
                         rf"{re.escape(file)}:3: listeners\[0\]\.url: tcp://192\.0\.2\.1:1883 can be reached")
    os.remove(file)
    one.server.process.send_signal(signal.SIGHUP)
    one.server.wait_line(rf"the old one stays: {re.escape(file)}: cannot be read: no such file or directory")
    with Socket(At(one.urls[0])) as client:
        client.connect("x")
    end(one.server)


def test_a_reload_without_a_file(run):
    server = run("--listen", ANY_PORT)
    urls = urls_of(server)
    server.process.send_signal(signal.SIGHUP)
    server.wait_line(rf"SIGHUP: there is no configuration file to read, listening on {re.escape(urls[0])}$")
    end(server)


# --- systemd

@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_systemd_is_told(run, tmp_path, abstract):
    """READY=1 when connections are accepted, RELOADING=1 and READY=1 around a reload, STOPPING=1 before the drain."""
    manager = Manager(f"@mqttq-{os.getpid()}" if abstract else str(tmp_path / "notify"))
    try:
        server = run("--listen", ANY_PORT, env=manager.env)
        assert manager.take() == "READY=1"
        with Socket(At(urls_of(server)[0])) as client:
            client.connect("x")
            server.process.send_signal(signal.SIGHUP)
            assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.take())
            assert manager.take() == "READY=1"
            server.process.terminate()
            assert manager.take() == "STOPPING=1"
            assert client.expect_disconnect() == 0x8B
        assert server.wait_end() == 0
    finally:
        manager.close()


@pytest.mark.parametrize("address", ["/nowhere/notify", "no path", "/" + "a" * 200])
def test_a_manager_that_is_not_there(run, address):
    server = run("--listen", ANY_PORT, env={"NOTIFY_SOCKET": address})
    urls_of(server)
    end(server)


# --- the pages

def keys_of(schema: dict, path: str = "") -> dict[str, dict]:
    """Each key of the schema with its own part of it."""
    found = {}
    for name, part in schema["properties"].items():
        if part.get("type") == "object":
            found |= keys_of(part, f"{path}{name}.")
        elif part.get("type") == "array":
            found[path + name] = part
            found |= keys_of(part["items"], f"{path}{name}[].")
        else:
            found[path + name] = part
    return found


@pytest.fixture(scope="module")
def keys() -> dict[str, dict]:
    result = check("--print-config-schema")
    assert result.returncode == 0 and result.stderr == ""
    schema = json.loads(result.stdout)
    assert schema["$schema"] and schema["additionalProperties"] is False
    return keys_of(schema)


def test_the_page_has_the_table():
    """docs/SERVER.md holds what --print-config-keys prints."""
    table = check("--print-config-keys").stdout
    assert table.startswith("| key |") and table in (SOURCE_DIR / "docs" / "SERVER.md").read_text()


def test_the_examples_of_the_page_are_good(config):
    examples = re.findall(r"```json\n(.*?)```", (SOURCE_DIR / "docs" / "SERVER.md").read_text(), re.DOTALL)
    assert len(examples) == 6
    for example in examples:
        result = check("--config", config(example), "--check-config")
        assert result.returncode == 0, result.stderr


def test_the_page_has_every_flag():
    page = (SOURCE_DIR / "docs" / "SERVER.md").read_text()
    for flag in re.findall(r"^  (--\S+)", check("--help").stdout, re.MULTILINE):
        assert f"`{flag}" in page, flag


def test_the_schema_has_the_keys_of_the_table(keys):
    assert list(keys) == re.findall(r"^\| `(\S+)` \|", check("--print-config-keys").stdout, re.MULTILINE)


def test_every_limit_is_the_librarys(keys):
    """The keys of limits are the fields of mqttq_limits, and their defaults are those that its header states."""
    header = (SOURCE_DIR / "include" / "mqttq" / "broker.h").read_text()
    body = re.search(r"typedef struct mqttq_limits \{(.*?)\} mqttq_limits;", header, re.DOTALL)[1]
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    stated = {}
    for name, words in re.findall(r"uint(?:32|64)_t (\w+);\s*/\*(.*?)\*/", body, re.DOTALL):
        number, unit = re.search(r"\b0 = (no bound|[\d ]*\d)(?: (\w+))?", words).groups()
        stated[f"limits.{name}"] = 0 if number == "no bound" else int(number.replace(" ", "")) * units.get(unit, 1)
    given = {key: part["default"] for key, part in keys.items() if key.startswith("limits.")}
    assert given == stated


def test_every_limit_has_its_line(keys):
    """docs/LIMITS.md says of each key what happens when it is reached."""
    page = (SOURCE_DIR / "docs" / "LIMITS.md").read_text()
    assert [key for key in keys if key.startswith("limits.") and f"`{key}`" not in page] == []


def test_the_extremes_of_every_number_are_good(keys, config):
    """What the schema allows the server takes, one step beyond it does not."""
    for key, part in keys.items():
        if part.get("type") != "integer":
            continue
        for value, good in ((part["minimum"], True), (part["maximum"], True), (part["minimum"] - 1, False),
                            (part["maximum"] + 1, False)):
            content: dict = {"listeners": [{"url": ANY_PORT}], "auto_subscriptions": [{"topic_filter": "a"}],
                             "queues": {"declared": [{"name": "q", "topic_filter": "a"}]},
                             "streams": {"declared": [{"name": "s", "topic_filter": "a"}]}}
            *path, last = key.split(".")
            place = content
            for step in path:
                place = place[step[:-2]][0] if step.endswith("[]") else place.setdefault(step, {})
            place[last] = value
            result = check("--config", config(content), "--check-config")
            assert result.returncode == (0 if good else 2), (key, value, result.stderr)
