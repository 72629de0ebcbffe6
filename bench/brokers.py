"""Starting and stopping the brokers under measurement, each with what it needs to be fast and comparable."""

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20

MOSQUITTO_CONFIG = """\
user {user}
listener {port} 127.0.0.1
allow_anonymous true
{persistence}
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
log_type none
"""
# Once a second, the shortest that it takes: by default it is each half hour, and a run would see none.
MOSQUITTO_PERSISTENCE = """\
persistence true
persistence_location {folder}/
autosave_interval 1
"""
# What mosquitto keeps without a limit, kept here too.
MQTTQ_LIMITS = {"inflight_max": 65535, "outbox_messages_max": 4294967295, "outbox_bytes_max": 268435456}
RABBITMQ_CONFIG = """\
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:{port}
mqtt.allow_anonymous = true
mqtt.prefetch = 65535
mqtt.tcp_listen_options.nodelay = true
mqtt.tcp_listen_options.backlog = 4096
mqtt.durable_queue_type = {queue_type}
log.console = false
log.file = false
"""
RABBITMQ_STREAM_CONFIG = """\
listeners.tcp = none
stream.listeners.tcp.1 = 127.0.0.1:{port}
log.console = false
log.file = false
"""
# Schedulers that spin while they wait would be counted as work.
RABBITMQ_ERLANG = ("+sbwt none +sbwtdcpu none +sbwtdio none "
                   "-kernel inet_dist_use_interface {127,0,0,1}")
RABBITMQ_PROGRAMS = ("beam.smp", "erl_child_setup")
NATS_CONFIG = """\
server_name: bench
listen: "127.0.0.1:{own_port}"
jetstream {{ store_dir: "{folder}" }}
mqtt {{ listen: "127.0.0.1:{port}", max_ack_pending: 65535 }}
"""
NATS_STREAM_CONFIG = """\
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{folder}" }}
"""
KINDS = {"mosquitto": "mosquitto", "bench_reference": "reference", "rabbitmq-server": "rabbitmq", "nats-server": "nats"}


class BrokerError(Exception):
    pass


class Broker:
    """A broker by name and command line; start() runs one process of it, pinned to `cores`.

    The kind follows from the program's name (KINDS), and anything else is taken for an mqttq-server. Further words of
    the command are passed on, so that two settings of one broker can be compared.

    keeps: has messages on disk, in the folder that start() is given; RabbitMQ and NATS always have, the reference
    never. limits: of an mqttq-server, beside MQTTQ_LIMITS. queue_type: of RabbitMQ, "classic" or "quorum", for MQTT, or
    "stream" for its own protocol of streams in place of MQTT. queues: of an mqttq-server that has message queues, whose
    clients may declare them, without a limit. speaks_mqtt: False for a NATS that has its own protocol only.
    """

    def __init__(self, name, command, keeps=False, limits=None, queue_type="classic", queues=False,
                 speaks_mqtt=True):
        self.name = name
        self.command = shlex.split(command)
        self.kind = KINDS.get(os.path.basename(self.command[0]), "mqttq")
        self.keeps = keeps or self.kind in ("rabbitmq", "nats")
        self.limits = {**MQTTQ_LIMITS, **(limits or {})}
        self.queue_type = queue_type
        self.queues = queues
        self.speaks_mqtt = speaks_mqtt
        self.build = self._build()

    def start(self, cores, folder):
        """folder: an empty directory for configuration, output and data; the caller removes it after Running.stop()."""
        if self.kind == "reference":
            return Running(self, self.command + ["0"], cores, folder, 0, "bench_reference ready")
        if self.kind == "mqttq":
            return self._start_mqttq(cores, folder)
        port = free_port()
        data = data_folder(folder)
        os.mkdir(data)
        if self.kind == "rabbitmq":
            return self._start_rabbitmq(cores, folder, port)
        if self.kind == "nats":
            text = NATS_CONFIG if self.speaks_mqtt else NATS_STREAM_CONFIG
            config = write(folder, "nats.conf", text.format(own_port=free_port(), port=port, folder=data))
        else:
            persistence = MOSQUITTO_PERSISTENCE.format(folder=data) if self.keeps else "persistence false"
            config = write(folder, "mosquitto.conf", MOSQUITTO_CONFIG.format(
                user=pwd.getpwuid(os.getuid()).pw_name, port=port, persistence=persistence))
        return Running(self, self.command + ["-c", config], cores, folder, port, None)

    def _start_mqttq(self, cores, folder):
        arguments = ["--listen", "tcp://127.0.0.1:0", "--allow-anonymous"]
        if "--config" not in self.command:
            content = {"limits": self.limits}
            if self.queues:
                content["queues"] = {"auto_create": True,
                                     "auto": {"messages_max": 0, "bytes_max": 0, "age_max_s": 0}}
                content["streams"] = {"auto_create": True, "auto": {"age_max_s": 0}}
            arguments += ["--config", write(folder, "mqttq.json", json.dumps(content))]
        if "--shards" not in self.command:
            arguments += ["--shards", str(len(cores))]
        if self.keeps:
            arguments += ["--data-dir", data_folder(folder)]
        return Running(self, self.command + arguments, cores, folder, 0, "mqttq-server ready")

    def _start_rabbitmq(self, cores, folder, port):
        """All that it has is below `folder`; its name service too is one of its own, on a port of its own."""
        epmd_port = str(free_port())
        text, plugin = ((RABBITMQ_STREAM_CONFIG, "rabbitmq_stream") if self.queue_type == "stream"
                        else (RABBITMQ_CONFIG, "rabbitmq_mqtt"))
        environment = dict(
            os.environ, HOME=folder, RABBITMQ_NODENAME="bench@localhost", RABBITMQ_MNESIA_BASE=data_folder(folder),
            RABBITMQ_LOG_BASE=folder, RABBITMQ_PID_FILE=os.path.join(folder, "rabbitmq.pid"),
            RABBITMQ_CONFIG_FILE=write(folder, "rabbitmq.conf",
                                       text.format(port=port, queue_type=self.queue_type)),
            RABBITMQ_ENABLED_PLUGINS_FILE=write(folder, "enabled_plugins", f"[{plugin}]."),
            RABBITMQ_CONF_ENV_FILE=os.path.join(folder, "none"), RABBITMQ_DIST_PORT=str(free_port()),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=RABBITMQ_ERLANG, ERL_EPMD_PORT=epmd_port,
            ERL_EPMD_ADDRESS="127.0.0.1")
        epmd = shutil.which("epmd")
        if not epmd:
            raise BrokerError(f"{self.name}: epmd, which comes with Erlang, was not found")
        return Running(self, self.command, cores, folder, port, None, environment,
                       [epmd, "-port", epmd_port, "-address", "127.0.0.1"])

    def _build(self):
        if self.kind == "rabbitmq":  # to ask it would start it
            found = re.search(r"rabbitmq_server-([0-9.]+)", os.path.realpath(self.command[0]))
            if not found:
                raise BrokerError(f"{self.name}: {self.command[0]} is not below a folder rabbitmq_server-VERSION; give "
                                  "the script itself, not a wrapper of it")
            return f"RabbitMQ {found.group(1)}, {self.queue_type}{'s' if self.queue_type == 'stream' else ' queues'}"
        argument = {"mosquitto": "-h", "reference": "--build", "nats": "--version", "mqttq": "--version"}[self.kind]
        try:
            result = subprocess.run([self.command[0], argument], stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerError(f"{self.name}: {error}") from error
        return (result.stdout.splitlines() or ["unknown"])[0]


class Running:
    """One broker that answers on 127.0.0.1:port.

    environment: None for our own. helper: a command that runs beside it and is not measured. pids: whose CPU time is
    the broker's.
    """

    def __init__(self, broker, command, cores, folder, port, ready_text, environment=None, helper=None):
        self.broker = broker
        self.port = port
        self.output_path = os.path.join(folder, "output.txt")
        self.helper = None
        with open(self.output_path, "wb") as output:
            def start(words):
                return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                        env=environment, preexec_fn=lambda: os.sched_setaffinity(0, cores))
            if helper:
                self.helper = start(helper)
            self.process = start(command)
        self.pid = self.process.pid
        try:
            self._wait_until_ready(ready_text)
        except BrokerError:
            self.stop()
            raise
        # RabbitMQ's script is not one of them, nor is what runs for a moment, such as the df that it starts at times.
        self.pids = [self.pid] if broker.kind != "rabbitmq" else [pid for pid in family(self.pid)
                                                                  if program_of(pid) in RABBITMQ_PROGRAMS]

    def stop(self):
        """Ends the process and reaps it, so that its CPU time stands in our children's total."""
        started = family(self.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            for pid in started:  # our child is not reaped yet, and neither is what it waits for
                end_now(pid)
            self.process.wait()
        if self.helper:
            self.helper.kill()
            self.helper.wait()

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


def data_folder(folder):
    return os.path.join(folder, "data")


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def family(pid):
    """The process and those that it and its children have started and that still run."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children", encoding="ascii") as file:
                    found += [int(word) for word in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
    return found


def program_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended


def end_now(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
