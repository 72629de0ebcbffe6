"""What every client of the suite can do, whoever wrote it: connect, subscribe, publish, and wait for what comes.

Nothing here or in the tests sleeps: each wait ends as soon as its condition holds, and fails after TIMEOUT_S.
"""

import abc
import dataclasses
import enum
import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

# Seconds until a wait gives up. Only a failure takes this long, so it is generous: the machine may be busy.
TIMEOUT_S = 20.0

_client_numbers = itertools.count(1)


class Version(enum.IntEnum):
    """The Protocol Version byte of CONNECT."""

    V3_1 = 3
    V3_1_1 = 4
    V5 = 5


@dataclasses.dataclass(frozen=True)
class Message:
    """An Application Message as a client received it.

    properties: by the specification's names in snake case; user_properties is a list of pairs,
    subscription_identifier a list of numbers.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Will:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Subscription:
    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclasses.dataclass(frozen=True)
class Connack:
    reason_code: int  # for MQTT 3 as the client library reports it: 0 is success
    session_present: bool
    properties: dict[str, Any] = dataclasses.field(default_factory=dict)


class Inbox:
    """What has arrived and was not yet taken, in order. Filled by a client's thread, emptied by the test's."""

    def __init__(self, owner: str):
        self._owner = owner
        self._items: list[Any] = []
        self._changed = threading.Condition()

    def put(self, item: Any) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def take(self, count: int, timeout_s: float = TIMEOUT_S) -> list[Any]:
        """Waits for `count` items and removes them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._items) >= count, timeout_s):
                raise AssertionError(
                    f"{self._owner}: {len(self._items)} of {count} arrived in {timeout_s} s: {self._items!r:.2000}")
            taken, self._items = self._items[:count], self._items[count:]
            return taken

    def take_until(self, wanted: Callable[[Any], bool], timeout_s: float = TIMEOUT_S) -> list[Any]:
        """Waits for an item that is `wanted`; removes and returns everything up to and including it."""
        with self._changed:
            if not self._changed.wait_for(lambda: any(map(wanted, self._items)), timeout_s):
                raise AssertionError(f"{self._owner}: what was wanted did not arrive in {timeout_s} s, "
                                     f"but: {self._items!r:.2000}")
            count = next(i for i, item in enumerate(self._items) if wanted(item)) + 1
            taken, self._items = self._items[:count], self._items[count:]
            return taken


class Client(abc.ABC):
    """One MQTT client. Not connected until `connect`; `close` must be called at the end, whatever happened."""

    kind: str

    def __init__(self, broker, version: Version, client_id: str | None = None):
        """client_id: at most 23 bytes, the limit of MQTT 3.1; None makes one up; "" is sent as it is."""
        self.broker = broker
        self.version = version
        self.client_id = f"{self.kind}{version.value}-{next(_client_numbers)}" if client_id is None else client_id
        self.messages = Inbox(self.client_id or self.kind)

    @abc.abstractmethod
    def connect(self, clean_start: bool = True, keep_alive_s: int = 60, will: Will | None = None,
                properties: dict[str, Any] | None = None) -> Connack:
        """Connects and waits for CONNACK, of whatever reason code."""

    @abc.abstractmethod
    def subscribe(self, *subscriptions: Subscription, identifier: int | None = None) -> list[int]:
        """Sends one SUBSCRIBE and returns SUBACK's reason codes."""

    @abc.abstractmethod
    def unsubscribe(self, *topic_filters: str) -> None:
        """Sends one UNSUBSCRIBE and waits for UNSUBACK."""

    @abc.abstractmethod
    def publish_many(self, topic: str, payloads: Iterable[bytes], qos: int = 0, retain: bool = False,
                     properties: dict[str, Any] | None = None) -> list[int]:
        """Publishes in order, without waiting in between; waits for all acknowledgements.

        Returns the reason codes; for QoS 0 and MQTT 3, which have none, zeros.
        """

    @abc.abstractmethod
    def disconnect(self) -> None:
        """Ends the connection with DISCONNECT."""

    @abc.abstractmethod
    def drop(self) -> None:
        """Closes the socket without DISCONNECT."""

    @abc.abstractmethod
    def wait_closed(self, timeout_s: float = TIMEOUT_S) -> int | None:
        """Waits until the connection is closed; the reason code of the server's DISCONNECT, None if there was none."""

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the client; never fails."""

    def publish(self, topic: str, payload: bytes | str = b"", qos: int = 0, retain: bool = False,
                properties: dict[str, Any] | None = None) -> int:
        """Publishes one message and waits until it is acknowledged; its reason code."""
        payload = payload.encode() if isinstance(payload, str) else payload
        return self.publish_many(topic, [payload], qos, retain, properties)[0]

    def take(self, count: int, timeout_s: float = TIMEOUT_S) -> list[Message]:
        """Waits for the next `count` messages."""
        return self.messages.take(count, timeout_s)

    def take_one(self, timeout_s: float = TIMEOUT_S) -> Message:
        return self.messages.take(1, timeout_s)[0]

    def take_until(self, payload: bytes | str, timeout_s: float = TIMEOUT_S) -> list[Message]:
        """All messages before the first with `payload`, which is taken and left out.

        This is how a test shows that nothing else came: it sends a last message behind what must not arrive. Order
        holds only for what one client publishes to one topic, so what must arrive is taken first, or sent by the same.
        """
        payload = payload.encode() if isinstance(payload, str) else payload
        return self.messages.take_until(lambda message: message.payload == payload, timeout_s)[:-1]


def remaining(deadline: float) -> float:
    """Seconds from now until `deadline` of time.monotonic(), not below 0."""
    return max(0.0, deadline - time.monotonic())
