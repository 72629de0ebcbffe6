#!/usr/bin/env python3
"""Kills a broker again and again under load, and holds it to what it had acknowledged.

    crash.py [--kills N] [--seed S] [--shards N] [--server FILE] [--directory DIR]

Clients publish at QoS 1 and 2, subscribe, unsubscribe and begin again, with identifiers that are used again at once.
The broker is killed (-9) when the n-th packet of a kind chosen at random has been read: right behind a PUBACK, PUBREC,
PUBCOMP, SUBACK, UNSUBACK, CONNACK, a PUBLISH of QoS 2 or a PUBREL. It is started on the same directory, everybody comes
back, finishes what was open, and at the end everything is read. Then

- every session and every subscription that was acknowledged is there;
- every message that was acknowledged has come to every session whose subscription covered it: at QoS 2 exactly once,
  at QoS 1 at least once;
- nothing came that was not published, and of one publisher and QoS nothing came before what it had published earlier;
- what a subscriber had settled a second before a kill does not come again.

Prints one line per round of kills and ends with 1 if any of this does not hold. `--seed` repeats the choices, not the
times at which the machine does things.
"""

import argparse
import asyncio
import collections
import json
import logging
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import wire  # noqa: E402
from harness.broker import server_path  # noqa: E402

SETTLED_S = 1.0  # what was settled so long before a kill is durable: the broker writes progress every 50 ms
WAIT_S = 30.0  # until a wait is a failure

KINDS = (wire.PUBACK, wire.PUBREC, wire.PUBCOMP, wire.SUBACK, wire.UNSUBACK, wire.CONNACK, wire.PUBLISH, wire.PUBREL)
NAMES = {wire.PUBACK: "PUBACK", wire.PUBREC: "PUBREC", wire.PUBCOMP: "PUBCOMP", wire.SUBACK: "SUBACK",
         wire.UNSUBACK: "UNSUBACK", wire.CONNACK: "CONNACK", wire.PUBLISH: "PUBLISH at QoS 2", wire.PUBREL: "PUBREL"}


class Failure(Exception):
    """A promise was broken."""


class Server:
    """mqttq-server on one directory, killed and started many times."""

    def __init__(self, path: str, directory: str, shards: int, limits: dict[str, int]):
        config = pathlib.Path(directory + ".json")
        config.write_text(json.dumps({"limits": limits}))
        self._command = [path, "--listen", "tcp://127.0.0.1:0", "--data-dir", directory, "--shards", str(shards),
                         "--config", str(config)]
        self.process: subprocess.Popen | None = None
        self.port = 0
        self.kills = 0
        self.countdown = 0  # packets of `kind` until it is killed; 0: none
        self.kind = 0
        self.killed_at: list[float] = []

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"tcp://127\.0\.0\.1:(\d+)", line)
        if not found:
            raise Failure(f"the broker does not start: {self.process.communicate()[1]}")
        self.port = int(found[1])

    def note(self, kind: int) -> None:
        """A packet was read: it may have been the one."""
        if self.countdown and kind == self.kind:
            self.countdown -= 1
            if not self.countdown:
                self.kill()

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process.stderr.close()
            self.kills += 1
            self.countdown = 0
            self.killed_at.append(time.monotonic())

    def life_left(self, moment: float, life: int) -> float:
        """Seconds from `moment` to the kill that ended the broker's life of that number; 0 if none has."""
        return self.killed_at[life] - moment if life < len(self.killed_at) else 0.0

    def stop(self) -> None:
        self.process.terminate()
        _, errors = self.process.communicate(timeout=WAIT_S)
        if self.process.returncode != 0:
            raise Failure(f"the broker ended with {self.process.returncode}: {errors}")


class Client:
    """One client id, over all of its connections. Subclasses say what they do and what they know."""

    def __init__(self, world: "World", client_id: str):
        self.world = world
        self.client_id = client_id
        self.has_session = False  # was acknowledged
        self._life = 0  # of the broker, that it is connected to
        self.connected = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    def send(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def live(self, clean: bool = False) -> None:
        """One connection, until the broker is gone."""
        self._life = self.world.server.kills
        try:
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self.world.server.port)
        except OSError:
            return
        try:
            expiry = wire.encode_property("session_expiry_interval", 3600)
            self.send(wire.connect(self.client_id, clean=clean, properties=expiry + wire.QUIET))
            while packet := await self._read(reader):
                self.world.server.note_packet(self, packet)
                self._on_packet(packet, clean)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connected.clear()
            self._writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> wire.Packet | None:
        first = await reader.read(1)
        if not first:
            return None
        length = shift = 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        return wire.Packet(first[0] >> 4, first[0] & 15, await reader.readexactly(length))

    def _on_packet(self, packet: wire.Packet, clean: bool) -> None:
        if packet.type == wire.CONNACK:
            if packet.reason_code:
                raise Failure(f"{self.client_id}: CONNACK {packet.reason_code:#x}")
            if self.has_session and not clean and not packet.session_present:
                raise Failure(f"{self.client_id}: its session is gone")
            self.has_session = True
            self.connected.set()
            self.on_connected(packet.session_present)
        elif packet.type == wire.DISCONNECT:
            raise Failure(f"{self.client_id}: DISCONNECT {packet.reason_code:#x}")
        else:
            self.on_packet(packet)

    def on_connected(self, session_present: bool) -> None:
        raise NotImplementedError

    def on_packet(self, packet: wire.Packet) -> None:
        raise NotImplementedError

    def done(self) -> bool:
        """Nothing of its own is open."""
        raise NotImplementedError


class Publisher(Client):
    """Publishes numbered messages with few identifiers, so that each is used again at once."""

    WINDOW = 6

    def __init__(self, world: "World", client_id: str):
        super().__init__(world, client_id)
        self.next_number = 0
        self.open: dict[int, tuple[int, int, str, bool]] = {}  # identifier -> (number, qos, topic, released)
        self.active = True

    def on_connected(self, session_present: bool) -> None:
        for packet_id, (number, qos, topic, released) in list(self.open.items()):
            if released:
                self.send(wire.acknowledge(wire.PUBREL, packet_id))
            else:
                self._send_publish(packet_id, number, qos, topic, dup=True)
        self._fill()

    def _send_publish(self, packet_id: int, number: int, qos: int, topic: str, dup: bool = False) -> None:
        payload = f"{self.client_id} {number} {qos}".encode()
        self.send(wire.publish(topic, payload, qos, packet_id, flags=8 if dup else 0))

    def _fill(self) -> None:
        while self.active and len(self.open) < self.WINDOW:
            free = [one for one in range(1, self.WINDOW + 1) if one not in self.open]
            packet_id = self.world.random.choice(free)
            qos = self.world.random.choice((1, 2, 2))
            topic = f"t/{self.world.random.randrange(4)}"
            number = self.next_number
            self.next_number += 1
            self.open[packet_id] = (number, qos, topic, False)
            self.world.on_published(self.client_id, number, qos, topic)
            self._send_publish(packet_id, number, qos, topic)

    def on_packet(self, packet: wire.Packet) -> None:
        packet_id = packet.packet_id
        number, qos, topic, released = self.open[packet_id]
        fine = (0, 0x92) if packet.type == wire.PUBCOMP else (0, 0x10)  # 0x92: the PUBREL before was obeyed already
        if len(packet.body) > 2 and packet.body[2] not in fine:
            raise Failure(f"{self.client_id}: {NAMES[packet.type]} {packet.body[2]:#x} for {number}")
        if packet.type == wire.PUBACK and qos == 1:
            self.world.on_acknowledged(self.client_id, number)
            del self.open[packet_id]
        elif packet.type == wire.PUBREC and qos == 2:
            self.world.on_acknowledged(self.client_id, number)
            self.open[packet_id] = (number, qos, topic, True)
            self.send(wire.acknowledge(wire.PUBREL, packet_id))
        elif packet.type == wire.PUBCOMP and released:
            del self.open[packet_id]
        else:
            raise Failure(f"{self.client_id}: {NAMES[packet.type]} {packet_id} in the wrong state")
        self._fill()

    def done(self) -> bool:
        return not self.open


class Subscriber(Client):
    """Reads what it subscribed to, and remembers every message that came."""

    def __init__(self, world: "World", client_id: str, filters: dict[str, int], slow: bool):
        super().__init__(world, client_id)
        self.filters = filters
        self.slow = slow
        self.subscribed: dict[str, int] = {}  # filter -> the number of all publishes at its SUBACK
        self.came: collections.Counter = collections.Counter()  # (publisher, number) -> times
        self.settled_at: dict[tuple[str, int], tuple[float, int]] = {}  # when, and in which life of the broker
        self.receipts: set[int] = set()  # identifiers of QoS 2 messages whose PUBREL has not come
        self.last: dict[tuple[str, int], int] = {}
        self._asked: dict[int, tuple[str, bool]] = {}  # identifier -> (filter, subscribe)
        self._next_id = 1

    def on_connected(self, session_present: bool) -> None:
        if not session_present:
            self.receipts.clear()
        self._asked.clear()
        for topic_filter, qos in self.filters.items():
            if topic_filter not in self.subscribed:
                self._ask(topic_filter, qos)
        # One that comes and goes; nothing is expected of it, and it must do no harm.
        self._ask("t/1", 1, subscribe=self.world.random.random() < 0.5)

    def _ask(self, topic_filter: str, qos: int, subscribe: bool = True) -> None:
        packet_id, self._next_id = self._next_id, self._next_id % 1000 + 1
        self._asked[packet_id] = (topic_filter, subscribe)
        if subscribe:
            self.send(wire.subscribe(packet_id, (topic_filter, qos)))
        else:
            self.send(wire.unsubscribe(packet_id, topic_filter))

    def on_packet(self, packet: wire.Packet) -> None:
        if packet.type == wire.PUBLISH:
            self._on_publish(wire.Published.of(packet))
        elif packet.type == wire.PUBREL:
            self.receipts.discard(packet.packet_id)
            self.send(wire.acknowledge(wire.PUBCOMP, packet.packet_id))
        elif packet.type in (wire.SUBACK, wire.UNSUBACK):
            topic_filter, subscribe = self._asked.pop(packet.packet_id)
            if subscribe and packet.reason_codes(5)[0] > 2:
                raise Failure(f"{self.client_id}: SUBACK {packet.reason_codes(5)[0]:#x}")
            if subscribe and topic_filter in self.filters:
                self.subscribed.setdefault(topic_filter, self.world.published_count)
            elif topic_filter == "t/1":
                self._ask("t/1", 1, subscribe=not subscribe)
        else:
            raise Failure(f"{self.client_id}: a packet of type {packet.type}")

    def _on_publish(self, message: wire.Published) -> None:
        publisher, number, qos = message.payload.decode().split()
        key = publisher, int(number)
        if key not in self.world.published:
            raise Failure(f"{self.client_id}: {key} was never published")
        if message.qos == 2:
            if message.packet_id in self.receipts:  # it comes again, and is answered again
                if not message.dup:
                    raise Failure(f"{self.client_id}: identifier {message.packet_id} is used while it is open")
                self.send(wire.acknowledge(wire.PUBREC, message.packet_id))
                return
            self.receipts.add(message.packet_id)
        again = self.came[key] > 0
        self.came[key] += 1
        if again and message.qos == 2:
            raise Failure(f"{self.client_id}: {key} came twice at QoS 2")
        if again and (left := self.world.server.life_left(*self.settled_at[key])) > SETTLED_S:
            raise Failure(f"{self.client_id}: {key} comes again, settled {left:.1f} s before a kill")
        order = publisher, message.qos
        steady = any(covers(topic_filter, message.topic) for topic_filter in self.subscribed)
        if steady and not again and not message.dup:  # else it may be a later copy, of which the first was not for it
            if self.last.get(order, -1) > key[1]:
                raise Failure(f"{self.client_id}: {key} came behind {self.last[order]}")
            self.last[order] = key[1]
        self.settled_at[key] = time.monotonic(), self._life
        self.send(wire.acknowledge(wire.PUBACK if message.qos == 1 else wire.PUBREC, message.packet_id))

    def missing(self) -> list:
        """What was acknowledged to its publisher, and has not come."""
        found = []
        for key, (qos, topic, place) in self.world.published.items():
            if key not in self.world.acknowledged or self.came[key]:
                continue
            covered = any(place >= since and covers(topic_filter, topic)
                          for topic_filter, since in self.subscribed.items())
            if covered:
                found.append(key)
        return found

    def done(self) -> bool:
        return len(self.subscribed) == len(self.filters) and not self.receipts and not self.missing()


def covers(topic_filter: str, topic: str) -> bool:
    return topic_filter in (topic, "t/+", "t/#", "#")


class Passer(Client):
    """Begins its session anew each time: what the one before had is gone."""

    def on_connected(self, session_present: bool) -> None:
        if session_present:
            raise Failure(f"{self.client_id}: a clean start found a session")
        self.send(wire.subscribe(1, ("t/2", 2)))

    def on_packet(self, packet: wire.Packet) -> None:
        if packet.type == wire.PUBLISH:
            message = wire.Published.of(packet)
            self.send(wire.acknowledge(wire.PUBACK if message.qos == 1 else wire.PUBREC, message.packet_id))
        elif packet.type == wire.PUBREL:
            self.send(wire.acknowledge(wire.PUBCOMP, packet.packet_id))

    def done(self) -> bool:
        return True


class World:
    def __init__(self, server: Server, seed: int):
        self.server = server
        server.note_packet = self.note_packet
        self.random = random.Random(seed)
        self.published: dict[tuple[str, int], tuple[int, str, int]] = {}  # -> (qos, topic, place among all)
        self.published_count = 0
        self.acknowledged: set[tuple[str, int]] = set()
        self.publishers = [Publisher(self, f"publisher-{i}") for i in range(4)]
        self.subscribers = [
            Subscriber(self, "all-2", {"t/#": 2}, False),
            Subscriber(self, "all-1", {"t/+": 1}, False),
            Subscriber(self, "overlapping", {"t/#": 1, "t/0": 2, "t/3": 2}, False),
            Subscriber(self, "few", {"t/3": 2}, False),
            Subscriber(self, "sometimes", {"#": 2}, True),
        ]
        self.passer = Passer(self, "passer")

    def note_packet(self, client: Client, packet: wire.Packet) -> None:
        if packet.type != wire.PUBLISH or packet.flags >> 1 & 3 == 2:
            self.server.note(packet.type)

    def on_published(self, publisher: str, number: int, qos: int, topic: str) -> None:
        self.published[publisher, number] = qos, topic, self.published_count
        self.published_count += 1

    def on_acknowledged(self, publisher: str, number: int) -> None:
        self.acknowledged.add((publisher, number))

    def clients(self) -> list[tuple[Client, bool]]:
        """Who connects this time, and whether with a clean start."""
        some = [(one, False) for one in self.publishers]
        some += [(one, False) for one in self.subscribers if not one.slow or self.random.random() < 0.4]
        return some + [(self.passer, True)]

    async def run_until_killed(self) -> str:
        """One life of the broker."""
        kind = self.random.choice(KINDS)
        most = 12 if kind in (wire.SUBACK, wire.UNSUBACK) else 8 if kind == wire.CONNACK else 300
        self.server.kind, count = kind, self.random.randint(1, most)
        self.server.start()
        self.server.countdown = count
        tasks = [asyncio.create_task(one.live(clean)) for one, clean in self.clients()]
        _, pending = await asyncio.wait(tasks, timeout=WAIT_S)
        if pending:
            # So many packets of that kind did not come: that is no failure, the kill comes now.
            self.server.kill()
            _, pending = await asyncio.wait(tasks, timeout=WAIT_S)
        for task in tasks:
            task.result()
        return f"{NAMES[kind]} {count}"

    async def finish(self) -> None:
        """Everybody comes back, nothing new is published, and all that was promised comes."""
        self.server.start()
        for one in self.publishers:
            one.active = False
        everybody = self.publishers + self.subscribers
        tasks = [asyncio.create_task(one.live()) for one in everybody]
        deadline = time.monotonic() + WAIT_S
        while not all(one.done() for one in everybody):
            finished = [task for task in tasks if task.done()]
            for task in finished:
                task.result()
            if finished:
                raise Failure("the broker closed a connection")
            if time.monotonic() > deadline:
                lost = {one.client_id: one.missing()[:5] for one in self.subscribers if one.missing()}
                raise Failure(f"acknowledged and lost: {lost}; open: "
                              f"{[one.client_id for one in everybody if not one.done()]}")
            await asyncio.wait(tasks, timeout=0.02)  # or until one of them fails
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.server.stop()
        for one in self.publishers:
            one.active = True


async def run(world: World, kills: int, round_size: int) -> None:
    server = world.server
    began = time.monotonic()
    while server.kills < kills:
        for _ in range(min(round_size, kills - server.kills)):
            world.last = await world.run_until_killed()
        await world.finish()
        print(f"{server.kills} kills, {len(world.acknowledged)} messages acknowledged, "
              f"{sum(sum(one.came.values()) for one in world.subscribers)} came, "
              f"{time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--round", type=int, default=10, help="kills between two times that everything is read")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--memory", type=int, default=2000, help="limits.store_memory_bytes")
    parser.add_argument("--segment", type=int, default=20000, help="limits.log_segment_bytes")
    parser.add_argument("--server")
    parser.add_argument("--directory", help="made, and kept when something is wrong; default: a temporary one")
    arguments = parser.parse_args()
    directory = arguments.directory or tempfile.mkdtemp(prefix="mqttq-crash-")
    limits = {"store_memory_bytes": arguments.memory, "log_segment_bytes": arguments.segment}
    server = Server(arguments.server or server_path(), directory, arguments.shards, limits)
    world = World(server, arguments.seed)
    print(f"seed {arguments.seed}", flush=True)
    logging.getLogger("asyncio").disabled = True  # it tells of each write to a broker that is gone
    try:
        asyncio.run(run(world, arguments.kills, arguments.round))
    except Failure as failure:
        server.kill()
        print(f"FAILED after {server.kills} kills, the last behind {getattr(world, 'last', '-')}: {failure}\n"
              f"seed {arguments.seed}, the data is in {directory}", flush=True)
        return 1
    finally:
        server.kill()
        pathlib.Path(directory + ".json").unlink()
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
