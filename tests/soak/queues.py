#!/usr/bin/env python3
"""Consumers of message queues that come and go for minutes, and what the broker owes them and the publishers.

    queues.py [--minutes N] [--seed S] [--shards N] [--server FILE] [--directory DIR]

Publishers send numbered messages at QoS 1 to one queue of each kind. Consumers settle most of what they get, reject
some of it, keep some unanswered or answer late, and end after milliseconds or a second: by DISCONNECT, by a reset, or
taken over by a connection of their own client id; or they unsubscribe, stay, and subscribe again. That is a round of 15
seconds. Then all of them and their sessions are ended, one steady consumer for each queue joins, and what nobody can
have settled has to come to it, until mqttq-inspect finds every queue empty. All the time

- nothing that is settled comes again. It is when its PUBACK was followed by a round trip, and ack_timeout_ms cannot
  have been over by then;
- no message, of key_ordered and last_value no key, is with two consumers at once, and what comes back of a key comes
  again when nobody has another of it;
- the messages of a key come to each connection in their order, last values to all of them, and no value comes again
  that was not the last when it came back;
- no exclusive queue passes over to another consumer and back to one that was there all the time;
- the numbers in `delivery-count` are all different, absent for the first, and not higher than what came, where nothing
  can have come unread;
- a message is settled or a dead letter, once, and that letter tells the truth;
- no queue is silent for 10 seconds while it has messages and consumers come and go;
- sessions that are to be there are, and identifiers and Receive Maximum are kept to;
- the broker has not more in memory at the end than after the second round, but for 20 MB.

Prints one line per round and one of totals, and ends with 1 if any of this does not hold. `--seed` repeats the choices,
not the times at which the machine does things. mqttq-inspect is that of the build that has the server.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import wire  # noqa: E402
from harness.broker import server_path  # noqa: E402
from harness.queues import properties  # noqa: E402
from ledger import DELIVERIES_MAX, ORDERLY, QUEUES, RANKED, Failure, Message, Queue  # noqa: E402
from link import WAIT_S, Link, in_time  # noqa: E402

FLAP_S = 15.0  # of a round, before the steady consumers
STALL_S = 10.0  # without a message, where one is due
# Buffers grow to what the busiest moment takes, which is not in each round: by 2 MB in three minutes. In those a leak
# of 50 bytes for each delivery, or of 350 for each connection, is more.
MEMORY_SLACK = 20 << 20
FLAPPERS = 10  # of a queue
KEYS = 6


class Flapper:
    """A consumer that comes and goes, under one client id."""

    def __init__(self, world: "World", queue: Queue, index: int):
        self.world, self.queue = world, queue
        self.random = random.Random(f"{world.seed} {queue.name} {index}")
        self.name = f"{queue.name}-{index}"
        self.version = 4 if index % 3 == 2 else 5
        self.addresses: list[str] = []  # of the session
        self.kept = False  # the session outlives its connection

    async def run(self) -> None:
        while not self.world.calm:
            await self.flap()
        await (await self.open(clean=True, kept=False)).disconnect()
        self.addresses = []

    async def open(self, clean: bool, kept: bool) -> Link:
        link = Link(self.world, self.name, self.version, self, self.queue)
        present = await link.connect(clean, 60 if kept else 0, self.random.randint(1, 20))
        if present == clean and (present or self.kept):
            raise Failure(f"{self.name}: session present {present}, clean start {clean}")
        if not present:
            self.addresses = []
        self.kept = kept
        return link

    async def flap(self) -> None:
        draw = self.random.random
        clean = draw() < 0.5
        link = await self.open(clean, draw() < 0.5 if self.version == 5 else not clean)
        if not self.addresses:
            await self.subscribe(link)
        silent = draw() < 0.1
        if silent:  # with little room at its end, so that the broker finds none
            link.socket().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.transport.pause_reading()
        await self.stay(link)
        if silent and draw() < 0.5:
            link.transport.resume_reading()
            silent = False
        while not silent and draw() < 0.3:
            self.world.flaps += 1
            await link.unsubscribe(*self.addresses)
            self.addresses = []
            self.answer_some(link, 0.5)  # the rest of them takes room in its window
            await self.subscribe(link)
            await self.stay(link)
        if self.queue.name in ORDERLY:
            link.transport.resume_reading()
            await link.unsubscribe(*self.addresses)
            self.addresses = []
        self.world.flaps += 1
        how = draw()
        if how < 0.3:
            if how < 0.15:
                link.ping()
            await link.disconnect()
        elif how < 0.6:
            link.abort(reset=how < 0.45)
        else:
            link.leave()  # the next connection takes it over

    async def subscribe(self, link: Link) -> None:
        addresses = [f"$queue/{self.queue.name}", f"$queue/{self.queue.name}/{self.queue.topic_filter}"]
        self.addresses = addresses if self.random.random() < 0.2 else [self.random.choice(addresses)]
        ranked = self.version == 5 and self.queue.name in RANKED
        await link.subscribe(*self.addresses, priority=self.random.randint(-2, 2) if ranked else None)

    async def stay(self, link: Link) -> None:
        await asyncio.wait([link.closed], timeout=10 ** self.random.uniform(-2.5, 0))

    def on_message(self, link: Link, packet_id: int) -> None:
        draw = self.random.random()
        if draw < (0.4 if self.queue.name == "mortal" else 0.08) and self.version == 5:
            link.answer(packet_id, 0x80)
        elif draw < 0.8:
            link.answer(packet_id)  # else it has it for a while

    def answer_some(self, link: Link, share: float) -> None:
        for packet_id in list(link.open):
            if self.random.random() < share:
                link.answer(packet_id)

    def on_batch(self, link: Link) -> None:
        self.answer_some(link, 0.1)
        if self.random.random() < 0.2:
            link.ping()


class Steady:
    """A consumer that settles all there is."""

    def on_message(self, link: Link, packet_id: int) -> None:
        link.answer(packet_id)

    def on_batch(self, link: Link) -> None:
        if not link.pings:
            link.ping()


class Publisher:
    """Publishes to one queue, in bursts, as long as not too much is unsettled."""

    def __init__(self, world: "World", queue: Queue):
        self.world, self.queue = world, queue
        self.random = random.Random(f"{world.seed} {queue.name}")
        self.link = Link(world, f"to-{queue.name}", 5, self)
        self._open: dict[int, Message] = {}
        self._all_taken = asyncio.Event()

    async def run(self) -> None:
        queue = self.queue
        while not self.world.calm:
            for packet_id in range(1, self.random.randint(2, 20)):
                message = self._open[packet_id] = queue.publish(self.random.randrange(KEYS))
                self.link.send(wire.publish(f"{queue.name}/{message.key}", f"{message.number} ".ljust(100).encode(), 1,
                                            packet_id, properties=properties(user_property=("key", f"{message.key}"))))
            self._all_taken.clear()
            async with in_time(f"PUBACK of messages to {queue.name}"):
                await self._all_taken.wait()
            if queue.unsettled_count >= queue.depth and not self.world.calm:
                queue.room.clear()
                await queue.room.wait()
            await asyncio.sleep(self.random.uniform(0, 0.06))  # others have their turn

    def on_puback(self, packet: wire.Packet) -> None:
        if len(packet.body) > 2 and packet.body[2]:
            raise Failure(f"PUBACK {packet.body[2]:#x} for {self._open[packet.packet_id]}")
        self.queue.on_taken(self._open.pop(packet.packet_id))
        if not self._open:
            self._all_taken.set()

    def on_batch(self, link: Link) -> None:
        pass


class Coroner:
    """Reads dead letters."""

    def __init__(self, world: "World", queue: Queue):
        self.queue = queue
        self.link = Link(world, "coroner", 5, self)
        self.letters = 0

    def on_publish(self, link: Link, published: wire.Published) -> None:
        number = int(published.payload.split()[0])
        message = self.queue.messages.get(number)
        if message is None or message.dead or message.settled:
            raise Failure(f"a dead letter of {message or f'{self.queue.name} {number}, which was settled rounds ago'}")
        said = {name.decode(): value.decode() for name, value in published.properties["user_property"]}
        if (said.pop("dead-letter-reason") not in ("rejected", "consumer lost") or said != {
                "key": f"{message.key}", "dead-letter-queue": self.queue.name, "dead-letter-hops": "1",
                "dead-letter-topic": f"{self.queue.name}/{message.key}", "delivery-count": f"{DELIVERIES_MAX}"}):
            raise Failure(f"{message} is a dead letter with {said}")
        self.queue.let_go(message)
        message.dead = True
        self.letters += 1
        link.send(wire.acknowledge(wire.PUBACK, published.packet_id))

    def on_batch(self, link: Link) -> None:
        pass


class Server:
    """mqttq-server on an empty directory."""

    def __init__(self, path: str, directory: str, shards: int):
        self.directory = directory
        config = pathlib.Path(directory, "config.json")
        declared = [{"name": name, "topic_filter": f"{name}/#", **options} for name, (_, options) in QUEUES.items()]
        # Small files are given back within each round, and what is known of them.
        config.write_text(json.dumps({"queues": {"declared": declared}, "limits": {"log_segment_bytes": 1 << 20}}))
        self._inspect = pathlib.Path(path).parents[2] / "tools/inspect/mqttq-inspect"
        self._data = f"{directory}/data"
        with open(f"{directory}/log", "w", encoding="utf-8") as log:
            self._process = subprocess.Popen([path, "--listen", "tcp://127.0.0.1:0", "--data-dir", self._data,
                                              "--shards", str(shards), "--config", str(config)],
                                             stdout=subprocess.PIPE, stderr=log, text=True)
        found = re.search(r"tcp://127\.0\.0\.1:(\d+)", self._process.stdout.readline())
        if not found:
            raise Failure(f"the broker does not start, see {directory}/log")
        self.port = int(found[1])

    def memory(self) -> int:
        """Bytes."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024

    async def left(self) -> list[dict]:
        """What mqttq-inspect finds in queues, of those that are not empty."""
        process = await asyncio.create_subprocess_exec(self._inspect, "--json", "--queues", self._data,
                                                       stdout=subprocess.PIPE)
        said, _ = await process.communicate()
        queues = [json.loads(line) for line in said.splitlines()]
        if process.returncode or len(queues) != len(QUEUES):
            raise Failure(f"mqttq-inspect ends with {process.returncode} and {len(queues)} queues")
        return [one for one in queues if one["open"] or one["values"] or one["waiting"] or one["consumers"]]

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.stdout.close()
        try:
            return self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class World:
    def __init__(self, server: Server, seed: int):
        self.server, self.seed = server, seed
        self.calm = False  # nobody publishes, and nobody flaps
        self.flaps = 0
        self.failed = asyncio.get_running_loop().create_future()
        self.queues = [Queue(name) for name in QUEUES]
        self.publishers = [Publisher(self, queue) for queue in self.queues]
        self.flappers = [Flapper(self, queue, index) for queue in self.queues for index in range(FLAPPERS)]
        self.coroner = Coroner(self, next(queue for queue in self.queues if queue.name == "mortal"))

    def fail(self, failure: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(failure)

    async def run(self, minutes: float) -> None:
        for one in (*self.publishers, self.coroner):
            await one.link.connect(True, 0, 1000)
        await self.coroner.link.subscribe("dead/#")
        totals: collections.Counter = collections.Counter()
        worst = 0.0, ""
        memory: list[int] = []
        began = time.monotonic()
        while time.monotonic() < began + minutes * 60 or len(memory) < 3:
            figures, wait = await self.round()
            memory.append(self.server.memory())
            print(f"round {len(memory)}: {told(figures, wait)}, {memory[-1] >> 10} kB", flush=True)
            totals.update(figures)
            worst = max(worst, wait)
        print(f"{len(memory)} rounds, {time.monotonic() - began:.0f} s: {told(totals, worst)}", flush=True)
        if memory[-1] > memory[1] + MEMORY_SLACK:
            raise Failure(f"{memory[-1] >> 10} kB in memory, and {memory[1] >> 10} kB after the second round")
        for one in (*self.publishers, self.coroner):
            await one.link.disconnect()

    async def round(self) -> tuple[dict[str, int], tuple[float, str]]:
        """Its figures, and which message waited longest for its first delivery: seconds, and its queue."""
        self.calm, self.flaps, self.coroner.letters = False, 0, 0
        numbers = sum(queue.next_number for queue in self.queues)
        for queue in self.queues:
            queue.active_at, queue.reads, queue.again, queue.wait_s_max = time.monotonic(), 0, 0, 0.0
        tasks = [asyncio.create_task(one.run()) for one in (*self.publishers, *self.flappers)]
        end = time.monotonic() + FLAP_S
        while time.monotonic() < end:
            await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            for queue in self.queues:
                if queue.unsettled_count and time.monotonic() - queue.active_at > STALL_S:
                    raise Failure(f"{queue.name}: nothing came in {STALL_S:.0f} s, with {queue.unsettled_count} "
                                  "messages unsettled")
        self.calm = True
        for queue in self.queues:
            queue.room.set()
        await asyncio.gather(*tasks)
        steady = await asyncio.gather(*map(self.drain, self.queues))
        deadline = time.monotonic() + STALL_S
        while left := await self.server.left():
            if time.monotonic() > deadline:
                raise Failure(f"{STALL_S:.0f} s after all was settled mqttq-inspect finds {left}")
        for link in steady:
            await link.disconnect()
        for queue in self.queues:
            queue.finish_round()
        figures = {"published": sum(queue.next_number for queue in self.queues) - numbers,
                   "delivered": sum(queue.reads for queue in self.queues),
                   "redelivered": sum(queue.again for queue in self.queues), "dead": self.coroner.letters,
                   "flaps": self.flaps}
        return figures, max((queue.wait_s_max, queue.name) for queue in self.queues)

    async def drain(self, queue: Queue) -> Link:
        """A steady consumer gets what nobody can have settled; it stays."""
        queue.expect_rest()
        link = Link(self, f"steady-{queue.name}", 5, Steady(), queue)
        await link.connect(True, 0, 100)
        await link.subscribe(f"$queue/{queue.name}")
        while queue.expected:
            left = queue.active_at + STALL_S - time.monotonic()
            if left <= 0:
                some = "; ".join(map(str, sorted(queue.expected, key=lambda one: one.number)[:5]))
                raise Failure(f"{queue.name}: {len(queue.expected)} messages do not come to its only consumer: {some}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await queue.complete.wait()
        return link


def told(figures: dict[str, int], wait: tuple[float, str]) -> str:
    return ", ".join(f"{value} {name}" for name, value in figures.items()) + f", worst wait {wait[0]:.1f} s ({wait[1]})"


async def run(server: Server, seed: int, minutes: float) -> None:
    world = World(server, seed)
    work = asyncio.create_task(world.run(minutes))
    await asyncio.wait([work, world.failed], return_when=asyncio.FIRST_COMPLETED)
    if world.failed.done():
        world.failed.result()
    work.result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3, help="at least three rounds")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--server")
    parser.add_argument("--directory", help="made, and kept when something is wrong; default: a temporary one")
    arguments = parser.parse_args()
    directory = arguments.directory or tempfile.mkdtemp(prefix="mqttq-soak-")
    pathlib.Path(directory).mkdir(exist_ok=True)
    print(f"seed {arguments.seed}", flush=True)
    server = None
    try:
        server = Server(arguments.server or server_path(), directory, arguments.shards)
        asyncio.run(run(server, arguments.seed, arguments.minutes))
        if code := server.stop():
            raise Failure(f"the broker ended with {code}")
    except (Failure, AssertionError) as failure:
        print(f"FAILED: {failure}\nseed {arguments.seed}, data and log are in {directory}", flush=True)
        return 1
    finally:
        if server:
            server.stop()
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
