"""MQTT.js behind the suite's interface. One Node.js process, js/client.mjs, hosts all its clients."""

import base64
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import Any

from harness.client import TIMEOUT_S, Client, Connack, Message, Subscription, Version, Will, remaining

E2E_DIR = pathlib.Path(__file__).resolve().parents[1]

# MQTT.js camel-cases the specification's names, with one exception that is worth a line.
_EXCEPTIONS = {"subscription_identifiers_available": "subscriptionIdentifiersAvailable"}


def _camel(name: str) -> str:
    return _EXCEPTIONS.get(name) or re.sub(r"_(.)", lambda match: match[1].upper(), name)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name)


def _bytes_out(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _encode(properties: dict[str, Any] | None) -> dict[str, Any]:
    encoded = {}
    for name, value in (properties or {}).items():
        if name == "user_properties":  # an object, so the order between different keys is MQTT.js's
            grouped: dict[str, list[str]] = {}
            for key, text in value:
                grouped.setdefault(key, []).append(text)
            value = grouped
        elif name == "payload_format_indicator":
            value = bool(value)
        elif isinstance(value, bytes):
            value = _bytes_out(value)
        encoded[_camel(name)] = value
    return encoded


def _decode(properties: dict[str, Any]) -> dict[str, Any]:
    decoded = {}
    for name, value in properties.items():
        name = _snake(name)
        if name == "user_properties":
            value = [(key, text) for key, texts in value.items()
                     for text in (texts if isinstance(texts, list) else [texts])]
        elif name == "subscription_identifier":
            value = value if isinstance(value, list) else [value]
        elif name == "payload_format_indicator":
            value = int(value)
        elif isinstance(value, dict):
            value = base64.b64decode(value["base64"])
        decoded[name] = value
    return decoded


class Driver:
    """The Node.js process. Shared by all MqttJsClients of a run; ended by `close`."""

    def __init__(self):
        node = shutil.which("node")
        if node is None or not (E2E_DIR / "node_modules" / "mqtt").is_dir():
            raise FileNotFoundError("Node.js and `npm ci` in tests/e2e are needed; tools/setup does both")
        self._process = subprocess.Popen([node, str(E2E_DIR / "js" / "client.mjs")], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._clients: dict[int, "MqttJsClient"] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def register(self, client: "MqttJsClient") -> int:
        with self._changed:
            number = next(self._numbers)
            self._clients[number] = client
            return number

    def forget(self, number: int) -> None:
        with self._changed:
            self._clients.pop(number, None)

    def call(self, name: str, timeout_s: float = TIMEOUT_S, **arguments: Any) -> Any:
        """Runs one command of client.mjs and returns its result."""
        with self._changed:
            number = next(self._numbers)
            line = json.dumps({"command": number, "do": name, **arguments}) + "\n"
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
            if not self._changed.wait_for(lambda: number in self._answers or self._ended, timeout_s):
                raise AssertionError(f"MQTT.js did not answer {name} in {timeout_s} s")
            assert number in self._answers, "the Node.js process ended"
            answer = self._answers.pop(number)
        assert "error" not in answer, f"MQTT.js: {name}: {answer['error']}"
        return answer["result"]

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(TIMEOUT_S)

    def _read(self) -> None:
        for line in self._process.stdout:
            object_ = json.loads(line)
            with self._changed:
                if "command" in object_:
                    self._answers[object_["command"]] = object_
                client = self._clients.get(object_.get("client"))
                self._changed.notify_all()
            if client is not None:
                client.on_event(object_)
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class MqttJsClient(Client):
    kind = "js"

    def __init__(self, driver: Driver, broker, version: Version, client_id: str | None = None):
        super().__init__(broker, version, client_id)
        self._driver = driver
        self._number: int | None = None  # of the present connection: each `connect` makes a new client of MQTT.js
        self._changed = threading.Condition()
        self._closed = False
        self._close_reason: int | None = None

    def connect(self, clean_start: bool = True, keep_alive_s: int = 60, will: Will | None = None,
                properties: dict[str, Any] | None = None) -> Connack:
        options: dict[str, Any] = {
            "clientId": self.client_id,
            "protocolVersion": self.version.value,
            "protocolId": "MQIsdp" if self.version == Version.V3_1 else "MQTT",
            "clean": clean_start,
            "keepalive": keep_alive_s,
        }
        if self.version == Version.V5:
            options["properties"] = _encode(properties)
        if will:
            options["will"] = {"topic": will.topic, "payload": _bytes_out(will.payload), "qos": will.qos,
                               "retain": will.retain, "properties": _encode(will.properties)}
        self.close()
        self._closed, self._close_reason = False, None
        self._number = self._driver.register(self)
        path = getattr(self.broker, "websocket_path", None)
        url = f"{'ws' if path else 'mqtt'}://{self.broker.host}:{self.broker.port}{path or ''}"
        connack = self._driver.call("connect", client=self._number, url=url, options=options)
        return Connack(connack["reasonCode"], connack["sessionPresent"], _decode(connack["properties"]))

    def subscribe(self, *subscriptions: Subscription, identifier: int | None = None) -> list[int]:
        filters = {s.topic_filter: {"qos": s.qos, "nl": s.no_local, "rap": s.retain_as_published,
                                    "rh": s.retain_handling} for s in subscriptions}
        properties = {"subscriptionIdentifier": identifier} if identifier is not None else None
        return self._driver.call("subscribe", client=self._number, subscriptions=filters, properties=properties)

    def unsubscribe(self, *topic_filters: str) -> None:
        self._driver.call("unsubscribe", client=self._number, topicFilters=list(topic_filters))

    def publish_many(self, topic: str, payloads: Iterable[bytes], qos: int = 0, retain: bool = False,
                     properties: dict[str, Any] | None = None) -> list[int]:
        options: dict[str, Any] = {"qos": qos, "retain": retain}
        if properties:
            options["properties"] = _encode(properties)
        return self._driver.call("publish", client=self._number, topic=topic, options=options,
                                 payloads=[_bytes_out(payload) for payload in payloads])

    def disconnect(self, reason_code: int | None = None, properties: dict[str, Any] | None = None) -> None:
        options = {} if reason_code is None else {"reasonCode": reason_code}
        if properties:
            options["properties"] = _encode(properties)
        self._driver.call("disconnect", client=self._number, options=options)
        self.wait_closed()

    def drop(self) -> None:
        self._driver.call("drop", client=self._number)
        self.wait_closed()

    def wait_closed(self, timeout_s: float = TIMEOUT_S) -> int | None:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed, remaining(deadline)):
                raise AssertionError(f"{self.client_id}: the connection did not end in {timeout_s} s")
            return self._close_reason

    def close(self) -> None:
        if self._number is not None:
            self._driver.call("drop", client=self._number)
            self._driver.forget(self._number)
            self._number = None

    def on_event(self, event: dict[str, Any]) -> None:
        """Called by the driver's reading thread."""
        if event.get("event") == "message":
            self.messages.put(Message(event["topic"], base64.b64decode(event["payload"]["base64"]), event["qos"],
                                      event["retain"], _decode(event["properties"])))
            return
        with self._changed:
            if event.get("event") == "disconnect":
                self._close_reason = event["reasonCode"]
            elif event.get("event") == "close":
                self._closed = True
            self._changed.notify_all()
