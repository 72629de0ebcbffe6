"""Starting and stopping the brokers under measurement, each with what it needs to be fast and comparable."""

import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import time

READY_TIMEOUT_S = 20
STOP_TIMEOUT_S = 20

MOSQUITTO_CONFIG = """\
user {user}
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
log_type none
"""
# What mosquitto keeps without a limit, kept here too.
MQTTQ_CONFIG = """\
{"limits": {"inflight_max": 65535, "outbox_messages_max": 4294967295, "outbox_bytes_max": 268435456}}
"""


class BrokerError(Exception):
    pass


class Broker:
    """A broker by name and command line; start() runs one process of it, pinned to `cores`.

    The kind follows from the program's name: "mosquitto", "bench_reference", and anything else is taken for an
    mqttq-server. Further words of the command are passed on, so that two settings of one broker can be compared.
    """

    def __init__(self, name, command):
        self.name = name
        self.command = shlex.split(command)
        program = os.path.basename(self.command[0])
        self.kind = {"mosquitto": "mosquitto", "bench_reference": "reference"}.get(program, "mqttq")
        self.build = self._build()

    def start(self, cores, folder):
        """folder: an empty directory for configuration and output; the caller removes it after Running.stop()."""
        if self.kind == "mosquitto":
            port = free_port()
            config = os.path.join(folder, "mosquitto.conf")
            with open(config, "w", encoding="ascii") as file:
                file.write(MOSQUITTO_CONFIG.format(user=pwd.getpwuid(os.getuid()).pw_name, port=port))
            return Running(self, self.command + ["-c", config], cores, folder, port, None)
        if self.kind == "reference":
            return Running(self, self.command + ["0"], cores, folder, 0, "bench_reference ready")
        arguments = ["--listen", "tcp://127.0.0.1:0", "--allow-anonymous"]
        if "--config" not in self.command:
            config = os.path.join(folder, "mqttq.json")
            with open(config, "w", encoding="ascii") as file:
                file.write(MQTTQ_CONFIG)
            arguments += ["--config", config]
        if "--shards" not in self.command:
            arguments += ["--shards", str(len(cores))]
        return Running(self, self.command + arguments, cores, folder, 0, "mqttq-server ready")

    def _build(self):
        argument = {"mosquitto": "-h", "reference": "--build", "mqttq": "--version"}[self.kind]
        try:
            result = subprocess.run([self.command[0], argument], stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerError(f"{self.name}: {error}") from error
        return (result.stdout.splitlines() or ["unknown"])[0]


class Running:
    """One broker process that answers on 127.0.0.1:port."""

    def __init__(self, broker, command, cores, folder, port, ready_text):
        self.broker = broker
        self.port = port
        self.output_path = os.path.join(folder, "output.txt")
        with open(self.output_path, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                            preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.pid = self.process.pid
        try:
            self._wait_until_ready(ready_text)
        except BrokerError:
            self.stop()
            raise

    def stop(self):
        """Ends the process and reaps it, so that its CPU time stands in our children's total."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def output(self):
        with open(self.output_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def _wait_until_ready(self, ready_text):
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BrokerError(f"{self.broker.name} ended with code {self.process.returncode}: "
                                  + self.output()[-2000:])
            if ready_text is None and accepts(self.port):
                return
            if ready_text is not None and self._find_port(ready_text):
                return
            time.sleep(0.005)  # the distance between two looks, not a wait for luck
        raise BrokerError(f"{self.broker.name} was not ready within {READY_TIMEOUT_S} s: {self.output()[-2000:]}")

    def _find_port(self, ready_text):
        for line in self.output().splitlines(keepends=True):
            if line.startswith(ready_text) and line.endswith("\n"):
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if not found:
                    raise BrokerError(f"{self.broker.name} named no address on 127.0.0.1: {line.strip()}")
                self.port = int(found.group(1))
                return True
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
