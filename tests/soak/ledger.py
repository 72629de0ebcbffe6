"""What is known of queues and of their messages at the clients' end, and what must not happen by that.

What is held to is certain there: a message was handed out after it was published and after its consumer subscribed, and
before it was read; a consumer has it from then on until it answers or goes.
"""

import asyncio
import collections
import time

from harness import wire
from harness.queues import deliveries, user_values

ACK_TIMEOUT_MS = 500
SURELY_S = 0.1  # within which one shard hears of the other, on a busy machine too; far from the time-out
DELIVERIES_MAX = 3

# name -> (how many may be unsettled, options). A short queue hands out what has just come.
QUEUES = {
    "turn": (2000, {}),
    "any": (500, {"dispatch": "random"}),
    "fewest": (300, {"dispatch": "least_inflight"}),
    "keyed": (400, {"dispatch": "key_ordered", "key": "user_property:key"}),
    "alone": (20, {"exclusive": True}),
    "ranked": (100, {}),
    "timed": (300, {"ack_timeout_ms": ACK_TIMEOUT_MS}),
    "mortal": (300, {"deliveries_max": DELIVERIES_MAX, "dead_letter_topic": "dead/mortal"}),
    "last": (1 << 30, {"last_value": True, "key": "topic"}),
}
KEYED = ("keyed", "last")
RANKED = ("ranked", "alone")  # their consumers have priorities
ORDERLY = ("fewest",)  # their consumers unsubscribe before they go, and so read all that they were sent


class Failure(Exception):
    """A promise was broken."""


class Message:
    __slots__ = ("queue", "number", "key", "published", "reads", "counts", "answered", "returned", "settled", "dead",
                 "replaced")

    def __init__(self, queue: "Queue", number: int, key: int):
        self.queue, self.number, self.key = queue, number, key
        self.published = time.monotonic()
        self.reads = 0
        self.counts: set[int] = set()  # of deliveries; MQTT 3.x has none
        self.answered = False  # somebody may have settled it
        self.returned: tuple[int | None, float] = 0, 0.0  # which delivery came back last, and not before when
        self.settled: tuple[float, int | None] | None = None  # surely: since when, and at which delivery
        self.dead = False
        self.replaced: float | None = None  # since when a newer one of its key has been acknowledged

    def __str__(self) -> str:
        return (f"{self.queue.name} {self.number} (key {self.key}, published {time.monotonic() - self.published:.2f} s "
                f"ago, read {self.reads} times, counts {sorted(self.counts)}, answered {self.answered}, "
                f"settled {self.settled is not None}, dead {self.dead})")


class Queue:
    """What is known of a queue and of its messages in this round."""

    def __init__(self, name: str):
        self.name = name
        self.depth, self.options = QUEUES[name]
        self.topic_filter = f"{name}/#"
        self.next_number = 1
        self.messages: dict[int, Message] = {}
        self.unsettled_count = 0
        self.room = asyncio.Event()
        self.held: dict[int, dict["Link", dict[int, float]]] = collections.defaultdict(dict)  # by key, or by number
        self.newest: dict[int, tuple[int, float]] = {}  # of last values: what was read, and when
        self.last_taken: dict[int, Message] = {}  # of each key
        self.tenures: collections.deque = collections.deque(maxlen=200)  # of an exclusive queue: who read what
        self.expected: set[Message] = set()  # by the steady consumer
        self.complete = asyncio.Event()
        self.active_at = time.monotonic()
        self.reads = self.again = 0
        self.wait_s_max = 0.0

    def unit(self, message: Message) -> int:
        """What one consumer has at a time."""
        return message.key if self.name in KEYED else message.number

    def publish(self, key: int) -> Message:
        message = self.messages[self.next_number] = Message(self, self.next_number, key)
        self.next_number += 1
        self.unsettled_count += 1
        return message

    def on_taken(self, message: Message) -> None:
        """It was acknowledged to its publisher."""
        if before := self.last_taken.get(message.key):
            before.replaced = time.monotonic()
        self.last_taken[message.key] = message

    def let_go(self, message: Message) -> None:
        """It need not come any more."""
        if not message.answered and not message.dead:
            self.unsettled_count -= 1
            if self.unsettled_count < self.depth:
                self.room.set()
        self.expected.discard(message)
        if not self.expected:
            self.complete.set()

    def expect_rest(self) -> None:
        """Nobody is there any more: what was not settled has to come."""
        rest = {one for one in self.messages.values() if not one.answered and not one.dead}
        if self.name == "last":
            newest = {one.key: one for one in self.messages.values()}
            rest &= set(newest.values())
        self.expected = rest
        self.complete.clear()
        if not rest:
            self.complete.set()
        self.active_at = time.monotonic()

    def on_read(self, link: "Link", published: wire.Published) -> tuple[Message, int | None]:
        number = int(published.payload.split()[0])
        message = self.messages.get(number)
        if message is None:
            raise Failure(f"{link.name}: {self.name} {number} comes, which was settled rounds ago or never published")
        if published.qos != 1 or published.dup or published.retain or published.topic != f"{self.name}/{message.key}":
            raise Failure(f"{link.name}: {message} comes as {published}")
        now = time.monotonic()
        count = None
        if link.version == 5:
            count = deliveries(published)
            if count < 2 and user_values(published, "delivery-count") or count in message.counts:
                raise Failure(f"{link.name}: delivery-count {count} of {message}")
            message.counts.add(count)
        message.reads += 1
        self.reads += 1
        self.again += message.reads > 1
        if message.reads == 1:
            self.wait_s_max = max(self.wait_s_max, now - message.published)
        self.active_at = now
        since = max(link.joined, message.published)  # it was not handed out before
        if count and message.returned[0] == count - 1 and "ack_timeout_ms" not in self.options:
            since = max(since, message.returned[1])
        self._check_settled(message, link.name, since)
        if "ack_timeout_ms" not in self.options:
            self._check_holders(message, link, since)
        if self.name in KEYED:
            self._check_order(message, link, since, now)
        if "exclusive" in self.options:
            self._check_tenures(message, link, since, now)
        link.seen.add(number)
        return message, count

    def _check_settled(self, message: Message, who: str, since: float) -> None:
        if message.settled:
            at, count = message.settled
            if since > at or (count and max(message.counts, default=0) > count):
                raise Failure(f"{who}: it comes again, {time.monotonic() - at:.2f} s after it was settled: {message}")

    def _check_holders(self, message: Message, link: "Link", since: float) -> None:
        for other, held in self.held.get(self.unit(message), {}).items():
            if min(held.values()) < since and (other is not link or message.returned[1] == since):
                raise Failure(f"{link.name}: {message} comes while {other.name} has {len(held)} of them")

    def _check_order(self, message: Message, link: "Link", since: float, now: float) -> None:
        """What is new to a consumer has nothing of its key before it that comes later: it would not be the first."""
        before = link.order.get(message.key, 0)
        if message.number < before and message.number not in link.seen:
            raise Failure(f"{link.name}: {message} comes behind {before} of the same key")
        link.order[message.key] = max(before, message.number)
        if self.name == "last":
            newest, at = self.newest.get(message.key, (0, 0.0))
            if message.replaced and message.replaced + SURELY_S < message.returned[1] == since:
                raise Failure(f"{link.name}: {message} comes again, though a newer one was there when it came back")
            if newest > message.number and at < since:
                raise Failure(f"{link.name}: {message} comes, {now - at:.2f} s after {newest} of the same key")
            if message.number > newest:
                self.newest[message.key] = message.number, now

    def _check_tenures(self, message: Message, link: "Link", since: float, now: float) -> None:
        link.first_read = link.first_read or now
        for other, handed_after, read in reversed(self.tenures):
            if other is not link and link.first_read < handed_after and read < since:
                raise Failure(f"{link.name}: {message} comes after {other.name} had the queue, since which "
                              f"{link.name} has been there")
        self.tenures.append((link, since, now))

    def on_settled(self, message: Message, who: str, count: int | None, since: float) -> None:
        """The broker has obeyed its PUBACK."""
        if "ack_timeout_ms" in self.options and time.monotonic() - since > SURELY_S:
            return
        if message.dead:
            raise Failure(f"{who}: what it settled is a dead letter: {message}")
        message.settled = time.monotonic(), count
        self._check_settled(message, who, 0)  # it may have come before this was known

    def finish_round(self) -> None:
        for message in self.messages.values():
            if self.name in ORDERLY and max(message.counts, default=0) > message.reads:
                raise Failure(f"deliveries were counted that were none: {message}")
        self.messages.clear()
        self.newest.clear()
        self.last_taken.clear()
        self.unsettled_count = 0
        self.room.set()
