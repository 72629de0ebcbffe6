"""A connection of a client under test: bytes to packets, and which messages it has, for the ledger."""

import asyncio
import collections
import contextlib
import itertools
import socket
import struct
import time

from harness import wire
from harness.queues import properties
from ledger import Failure, Message, Queue

WAIT_S = 30.0  # until an answer is a failure


@contextlib.asynccontextmanager
async def in_time(what: str):
    try:
        async with asyncio.timeout(WAIT_S):
            yield
    except TimeoutError:
        raise Failure(f"{what} did not come in {WAIT_S:.0f} s") from None


class Link(asyncio.Protocol):
    """One connection. Its owner says what is answered; it keeps what may be said of the queue's messages."""

    def __init__(self, world, client_id: str, version: int, owner, queue: Queue | None = None):
        self.world, self.name, self.version, self.owner, self.queue = world, client_id, version, owner, queue
        self.transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self.leaving = False  # the broker may close
        self.receive_maximum = 1000
        self.open: dict[int, tuple[Message, int | None, float] | None] = {}  # by identifier; None: another's by now
        self.consumes = True  # or has unsubscribed
        self._buffer = b""
        self._packet_ids = itertools.cycle(range(1, 65_536))
        self._waiting: dict[int, asyncio.Future] = {}
        self._answered: list[tuple[Message, int | None, float]] = []  # since the last PINGREQ
        self.pings: collections.deque = collections.deque()
        self.join()

    def join(self) -> None:
        """From now on it may be a consumer; what it knew as one before is over."""
        self.joined = time.monotonic()
        self.seen: set[int] = set()
        self.order: dict[int, int] = {}
        self.first_read = 0.0

    # --- bytes

    def connection_made(self, transport) -> None:
        self.transport = transport

    def connection_lost(self, exc) -> None:
        self.release()
        self.closed.set_result(None)
        if not self.leaving:
            self.world.fail(Failure(f"{self.name}: the broker closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while (packet := self._split()) is not None:
                self._on_packet(packet)
            if not self.leaving:
                self.owner.on_batch(self)
        except Exception as failure:  # a callback's is nobody's otherwise
            self.world.fail(failure)

    def _split(self) -> wire.Packet | None:
        found, self._buffer = wire.split_packet(self._buffer)
        return found

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    async def ask(self, data: bytes, answer: int) -> wire.Packet:
        future = self._waiting[answer] = asyncio.get_running_loop().create_future()
        self.send(data)
        async with in_time(f"{self.name}: a packet of type {answer}"):
            return await future

    def _on_packet(self, packet: wire.Packet) -> None:
        if packet.type == wire.PUBLISH:
            self._on_publish(wire.Published.of(packet, self.version))
        elif packet.type == wire.PINGRESP:
            for message, count, since in self.pings.popleft():
                message.queue.on_settled(message, self.name, count, since)
        elif packet.type == wire.PUBACK:
            self.owner.on_puback(packet)
        elif packet.type in self._waiting:
            self._waiting.pop(packet.type).set_result(packet)
        elif not (packet.type == wire.DISCONNECT and self.leaving):
            raise Failure(f"{self.name}: {packet} comes")

    # --- as a client

    async def connect(self, clean: bool, expiry_s: int, receive_maximum: int) -> bool:
        """Whether the session was there."""
        values = b""
        if self.version == 5:
            self.receive_maximum = receive_maximum
            values = properties(session_expiry_interval=expiry_s, receive_maximum=receive_maximum) + wire.QUIET
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", self.world.server.port)
        self.join()
        connack = await self.ask(wire.connect(self.name, self.version, clean=clean, properties=values), wire.CONNACK)
        if connack.reason_code:
            raise Failure(f"{self.name}: CONNACK {connack.reason_code:#x}")
        return connack.session_present

    async def subscribe(self, *filters: str, priority: int | None = None) -> None:
        self.join()
        self.consumes = True
        values = b"" if priority is None else properties(user_property=("consumer-priority", f"{priority}"))
        asked = wire.subscribe(next(self._packet_ids), *((one, 1) for one in filters), version=self.version,
                               properties=values)
        suback = await self.ask(asked, wire.SUBACK)
        if set(suback.reason_codes(self.version)) != {1}:
            raise Failure(f"{self.name}: SUBACK {suback.body.hex(' ')}")

    async def unsubscribe(self, *filters: str) -> None:
        """What it has is another's, and it answers to no effect."""
        self.release()
        self.consumes = False
        await self.ask(wire.unsubscribe(next(self._packet_ids), *filters, version=self.version), wire.UNSUBACK)

    def ping(self) -> None:
        self.pings.append(self._answered)
        self._answered = []
        self.send(wire.packet(wire.PINGREQ << 4))

    async def disconnect(self) -> None:
        """In order, with all that comes until the broker has closed."""
        self.leave()
        self.transport.resume_reading()
        self.send(wire.packet(wire.DISCONNECT << 4))
        async with in_time(f"{self.name}: the connection's end after DISCONNECT"):
            await asyncio.wait([self.closed])

    def leave(self) -> None:
        """From now on it answers nothing, and has nothing surely."""
        self.leaving = True
        self.release()

    def abort(self, reset: bool) -> None:
        self.leave()
        if reset:
            self.socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def socket(self) -> socket.socket:
        return self.transport.get_extra_info("socket")

    # --- as a consumer

    def _on_publish(self, published: wire.Published) -> None:
        if self.queue is None:
            return self.owner.on_publish(self, published)
        message, count = self.queue.on_read(self, published)
        if published.packet_id in self.open:
            raise Failure(f"{self.name}: identifier {published.packet_id} of {message} is still open")
        if len(self.open) >= self.receive_maximum:
            raise Failure(f"{self.name}: {message} comes beyond Receive Maximum {self.receive_maximum}")
        if self.leaving or not self.consumes:
            self.open[published.packet_id] = None
            return None
        self.open[published.packet_id] = message, count, max(self.joined, message.published)
        held = self.queue.held[self.queue.unit(message)]
        held.setdefault(self, {})[published.packet_id] = time.monotonic()
        return self.owner.on_message(self, published.packet_id)

    def answer(self, packet_id: int, reason_code: int = 0) -> None:
        entry = self.open.pop(packet_id)
        if entry:
            self._drop(packet_id, entry[0])
            if reason_code < 0x80:
                self.queue.let_go(entry[0])
                entry[0].answered = True
                self._answered.append(entry)
            else:
                entry[0].returned = entry[1], time.monotonic()
        body = struct.pack(">H", packet_id) + (bytes([reason_code]) if reason_code else b"")
        self.send(wire.packet(wire.PUBACK << 4, body))

    def release(self) -> None:
        for packet_id, entry in self.open.items():
            if entry:
                self._drop(packet_id, entry[0])
                entry[0].returned = entry[1], time.monotonic()
            self.open[packet_id] = None

    def _drop(self, packet_id: int, message: Message) -> None:
        unit = self.queue.unit(message)
        held = self.queue.held[unit]
        del held[self][packet_id]
        if not held[self]:
            del held[self]
        if not held:
            del self.queue.held[unit]
