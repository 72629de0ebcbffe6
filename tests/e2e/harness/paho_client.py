"""Eclipse Paho's Python client behind the suite's interface."""

import socket
import threading
from collections.abc import Iterable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from harness.client import TIMEOUT_S, Client, Connack, Message, Subscription, Version, Will

# Paho's names are the specification's without blanks; the suite's are snake case.
_NAMES = {
    "payload_format_indicator": "PayloadFormatIndicator",
    "message_expiry_interval": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "subscription_identifier": "SubscriptionIdentifier",
    "session_expiry_interval": "SessionExpiryInterval",
    "assigned_client_identifier": "AssignedClientIdentifier",
    "server_keep_alive": "ServerKeepAlive",
    "reason_string": "ReasonString",
    "receive_maximum": "ReceiveMaximum",
    "topic_alias_maximum": "TopicAliasMaximum",
    "topic_alias": "TopicAlias",
    "maximum_qos": "MaximumQoS",
    "retain_available": "RetainAvailable",
    "user_properties": "UserProperty",
    "maximum_packet_size": "MaximumPacketSize",
    "will_delay_interval": "WillDelayInterval",
    "wildcard_subscription_available": "WildcardSubscriptionAvailable",
    "subscription_identifiers_available": "SubscriptionIdentifierAvailable",
    "shared_subscription_available": "SharedSubscriptionAvailable",
    "request_problem_information": "RequestProblemInformation",
}


def _encode(packet_type: int, values: dict[str, Any] | None) -> Properties | None:
    if not values:
        return None
    properties = Properties(packet_type)
    for name, value in values.items():
        setattr(properties, _NAMES[name], value)
    return properties


def _decode(properties: Properties | None) -> dict[str, Any]:
    if properties is None or properties.isEmpty():
        return {}
    return {name: getattr(properties, theirs) for name, theirs in _NAMES.items() if hasattr(properties, theirs)}


def _below(opened) -> socket.socket:
    """The socket itself, of which Paho's WebSocket shows a few functions only."""
    return getattr(opened, "_socket", opened)


class PahoClient(Client):
    kind = "paho"

    def __init__(self, broker, version: Version, client_id: str | None = None, manual_ack: bool = False):
        """manual_ack: messages are acknowledged only by `acknowledge`."""
        super().__init__(broker, version, client_id)
        self._manual_ack = manual_ack
        self._client: paho.Client | None = None
        self._changed = threading.Condition()
        self._connack: Connack | None = None
        self._closed = False
        self._close_reason: int | None = None
        self._answers: dict[tuple[str, int], list[int]] = {}  # (packet, packet id) -> reason codes

    def connect(self, clean_start: bool = True, keep_alive_s: int = 60, will: Will | None = None,
                properties: dict[str, Any] | None = None) -> Connack:
        v5 = self.version == Version.V5
        path = getattr(self.broker, "websocket_path", None)
        client = paho.Client(CallbackAPIVersion.VERSION2, self.client_id, protocol=self.version.value,
                             clean_session=None if v5 else clean_start, manual_ack=self._manual_ack,
                             reconnect_on_failure=False, transport="websockets" if path else "tcp")
        if path:
            client.ws_set_options(path=path)
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._on_closed(None)
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = lambda _c, _u, mid, reason, _p: self._answer("publish", mid, [reason.value])
        client.on_subscribe = lambda _c, _u, mid, reasons, _p: self._answer(
            "subscribe", mid, [reason.value for reason in reasons])
        client.on_unsubscribe = lambda _c, _u, mid, reasons, _p: self._answer(
            "unsubscribe", mid, [reason.value for reason in reasons])
        client.on_socket_open = lambda _c, _u, opened: _below(opened).setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if will:
            client.will_set(will.topic, will.payload, will.qos, will.retain,
                            _encode(PacketTypes.WILLMESSAGE, will.properties))
        self.close()
        self._client = client
        self._connack, self._closed, self._close_reason = None, False, None
        extra = {"clean_start": clean_start, "properties": _encode(PacketTypes.CONNECT, properties)} if v5 else {}
        client.connect(self.broker.host, self.broker.port, keep_alive_s, **extra)
        client.loop_start()
        self._wait(lambda: self._connack is not None or self._closed, "CONNACK")
        assert self._connack is not None, f"{self.client_id}: the connection was closed without CONNACK"
        return self._connack

    def subscribe(self, *subscriptions: Subscription, identifier: int | None = None) -> list[int]:
        if self.version == Version.V5:
            topics = [(s.topic_filter, SubscribeOptions(s.qos, s.no_local, s.retain_as_published, s.retain_handling))
                      for s in subscriptions]
            properties = _encode(PacketTypes.SUBSCRIBE,
                                 {"subscription_identifier": identifier} if identifier is not None else None)
            result, mid = self._client.subscribe(topics, properties=properties)
        else:
            result, mid = self._client.subscribe([(s.topic_filter, s.qos) for s in subscriptions])
        assert result == paho.MQTT_ERR_SUCCESS, paho.error_string(result)
        return self._take_answer("subscribe", mid)

    def unsubscribe(self, *topic_filters: str) -> None:
        result, mid = self._client.unsubscribe(list(topic_filters))
        assert result == paho.MQTT_ERR_SUCCESS, paho.error_string(result)
        self._take_answer("unsubscribe", mid)

    def begin_publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False,
                      properties: dict[str, Any] | None = None) -> int:
        """Publishes without waiting; the packet's identifier in Paho."""
        info = self._client.publish(topic, payload, qos, retain, _encode(PacketTypes.PUBLISH, properties))
        # The broker may have closed the connection for this very packet by now; Paho keeps it all the same.
        kept = qos > 0 and info.rc == paho.MQTT_ERR_NO_CONN
        assert info.rc == paho.MQTT_ERR_SUCCESS or kept, paho.error_string(info.rc)
        return info.mid

    def publish_many(self, topic: str, payloads: Iterable[bytes], qos: int = 0, retain: bool = False,
                     properties: dict[str, Any] | None = None) -> list[int]:
        mids = [self.begin_publish(topic, payload, qos, retain, properties) for payload in payloads]
        return [self._take_answer("publish", mid)[0] for mid in mids]

    def disconnect(self, reason_code: int | None = None, properties: dict[str, Any] | None = None) -> None:
        """reason_code: of MQTT 5; None sends the shortest DISCONNECT."""
        if reason_code is None and properties is None:
            self._client.disconnect()
        else:
            self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=reason_code or 0),
                                    _encode(PacketTypes.DISCONNECT, properties))
        self.wait_closed()

    def drop(self) -> None:
        # shutdown, not close: Paho's thread still selects on the descriptor, and finds the end by itself.
        _below(self._client.socket()).shutdown(socket.SHUT_RDWR)
        self.wait_closed()

    def wait_closed(self, timeout_s: float = TIMEOUT_S) -> int | None:
        self._wait(lambda: self._closed, "the connection's end", timeout_s)
        return self._close_reason

    def close(self) -> None:
        if self._client is not None:
            if not self._closed:
                self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _on_connect(self, _client, _userdata, flags, reason, properties) -> None:
        with self._changed:
            self._connack = Connack(reason.value, flags.session_present, _decode(properties))
            self._changed.notify_all()

    def _on_disconnect(self, client, _userdata, flags, _reason, _properties) -> None:
        # Paho 2.1.0 overlooks the reason code of a DISCONNECT without properties, so it is read from the packet.
        packet = bytes(client._in_packet["packet"])
        self._on_closed((packet[0] if packet else 0) if flags.is_disconnect_packet_from_server else None)

    def _on_closed(self, reason_code: int | None) -> None:
        with self._changed:
            self._closed, self._close_reason = True, reason_code
            self._changed.notify_all()

    def _on_message(self, _client, _userdata, message) -> None:
        self.messages.put(Message(message.topic, bytes(message.payload), message.qos, bool(message.retain),
                                  _decode(getattr(message, "properties", None))))

    def _answer(self, packet: str, mid: int, reason_codes: list[int]) -> None:
        with self._changed:
            self._answers[packet, mid] = reason_codes
            self._changed.notify_all()

    def _take_answer(self, packet: str, mid: int) -> list[int]:
        self._wait(lambda: (packet, mid) in self._answers or self._closed, f"the answer to {packet} {mid}")
        with self._changed:
            assert (packet, mid) in self._answers, f"{self.client_id}: closed before {packet} {mid} was answered"
            return self._answers.pop((packet, mid))

    def _wait(self, condition, what: str, timeout_s: float = TIMEOUT_S) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise AssertionError(f"{self.client_id}: {what} did not come in {timeout_s} s")
