"""libmqttq for ctypes alone: structures and prototypes written down by hand from include/mqttq, nothing generated.

What stands here is what any language has to do that sees only symbols and layouts. The library is the file named by
MQTTQ_LIBRARY. Callbacks that were handed over must be kept by the caller for as long as the library may call them.
"""

import ctypes
import os
from ctypes import (POINTER, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64,
                    c_void_p)

OK, EINVAL, EADDRINUSE, ESHUTDOWN, ENOTFOUND, ESTATE = 0, -1, -3, -6, -7, -11
LOG_NOTICE = 3
AUTHENTICATE, AUTHORIZE, CONNECTED, DISCONNECTED, SESSION_ENDED, MESSAGE = 1, 2, 3, 4, 5, 6
OBSERVE_SESSIONS = 1
AUTH_DENY, AUTH_ALLOW, AUTH_CONTINUE = 0, 1, 2
PULL, ON_WORKER, ON_SHARD = 0, 1, 2
TRANSPORT_STREAM, TRANSPORT_WEBSOCKET = 0, 1


class Bytes(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("size", c_size_t)]

    @classmethod
    def of(cls, value: bytes) -> "Bytes":
        """Borrows from `value`, which it keeps alive."""
        made = cls(ctypes.cast(c_char_p(value), c_void_p), len(value))
        made.kept = value
        return made

    def value(self) -> bytes:
        return ctypes.string_at(self.data, self.size) if self.size else b""


class Error(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("status", c_int32), ("system_error", c_int32), ("text", c_char * 512)]


class Limits(ctypes.Structure):
    _fields_ = [("size", c_size_t)] + [(name, c_uint32) for name in (
        "packet_size_max", "topic_size_max", "topic_levels_max", "connect_timeout_ms", "connections_max",
        "sessions_max", "connect_rate", "receive_maximum", "receipt_timeout_s", "inflight_max", "outbox_messages_max",
        "outbox_bytes_max", "subscriptions_max", "session_expiry_max_s", "keep_alive_max_s", "topic_alias_maximum",
        "retained_messages_max", "retained_bytes_max", "message_rate", "byte_rate", "connect_size_max",
        "maximum_qos", "topic_alias_out_maximum", "delayed_messages_max", "delayed_bytes_max", "delay_max_s",
        "store_memory_bytes", "log_segment_bytes")] + [
            ("store_bytes", c_uint64), ("journal_bytes", c_uint64), ("journal_messages", c_uint32),
            ("store_alarm_percent", c_uint32), ("outbox_age_max_s", c_uint32)]


class StoreFigures(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("bytes_used", c_uint64), ("bytes_max", c_uint64), ("alarm", c_uint32),
                ("reserved", c_uint32)]


LogFunction = ctypes.CFUNCTYPE(None, c_void_p, c_uint8, c_void_p, c_size_t)


class StoreWrite(ctypes.Structure):
    _fields_ = [("kind", c_uint32), ("table", c_uint32), ("key", Bytes), ("value", Bytes)]


# A batch, a value and the user of an entry are handles.
StoreOpen = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(Error))
StoreCommit = ctypes.CFUNCTYPE(None, c_void_p, POINTER(StoreWrite), c_size_t, c_void_p)
StoreGet = ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint32, Bytes, c_void_p)
StoreEntry = ctypes.CFUNCTYPE(c_int, c_void_p, Bytes, Bytes)
StoreScan = ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint32, Bytes, Bytes, StoreEntry, c_void_p)
StoreUsage = ctypes.CFUNCTYPE(None, c_void_p, POINTER(c_uint64), POINTER(c_uint64))
StoreClose = ctypes.CFUNCTYPE(None, c_void_p)


class Store(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("user", c_void_p), ("open", StoreOpen), ("commit", StoreCommit),
                ("get", StoreGet), ("scan", StoreScan), ("usage", StoreUsage), ("close", StoreClose)]


class BrokerConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("shards", c_uint32), ("host_loop", c_uint32), ("mailbox_capacity", c_uint32),
                ("log", LogFunction), ("log_user", c_void_p), ("limits", POINTER(Limits)),
                ("features_off", c_uint32), ("exclusive_subscriptions", c_uint32), ("sys_interval_s", c_uint32),
                ("client_events", c_uint32), ("response_information", c_char_p), ("data_dir", c_char_p),
                ("store", POINTER(Store)), ("durability", c_uint32), ("durability_interval_ms", c_uint32)]


class Counter(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("text", c_char_p), ("value", c_uint64)]


class ListenerConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("address", c_char_p), ("ns", c_void_p), ("packet_size_max", c_uint32),
                ("connect_timeout_ms", c_uint32), ("transport", c_uint32), ("path", c_char_p)]


class UserProperty(ctypes.Structure):
    _fields_ = [("name", Bytes), ("value", Bytes)]


class MessageConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("ns", c_void_p), ("topic", Bytes), ("payload", Bytes), ("qos", c_uint8),
                ("retain", c_uint8), ("payload_is_text", c_uint8), ("has_message_expiry", c_uint8),
                ("message_expiry_s", c_uint32), ("content_type", Bytes), ("response_topic", Bytes),
                ("correlation_data", Bytes), ("user_properties", POINTER(UserProperty)),
                ("user_property_count", c_size_t)]


class Reply(ctypes.Structure):
    _fields_ = [("words", c_uint64 * 3)]


class Event(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("type", c_uint32), ("reason_code", c_uint8), ("action", c_uint8),
                ("qos", c_uint8), ("retain", c_uint8), ("has_user_name", c_uint8), ("has_password", c_uint8),
                ("has_reply", c_uint8), ("protocol_version", c_uint8), ("sequence", c_uint64),
                ("namespace_name", c_char_p), ("client_id", Bytes), ("user_name", Bytes), ("password", Bytes),
                ("address", Bytes), ("topic", Bytes), ("message", c_void_p), ("user", c_void_p), ("reply", Reply),
                ("auth_method", Bytes), ("auth_data", Bytes), ("reauthentication", c_uint8), ("round", c_uint8)]


class AuthAnswer(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("decision", c_uint32), ("reason_code", c_uint8), ("data", Bytes),
                ("user_name", Bytes), ("reason_string", Bytes), ("server_reference", Bytes)]


EventFunction = ctypes.CFUNCTYPE(None, c_void_p, POINTER(Event))


class EventsConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("capacity", c_uint32), ("mode", c_uint32), ("on_event", EventFunction),
                ("user", c_void_p)]


class SubscriberConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("ns", c_void_p), ("topic_filter", Bytes), ("events", c_void_p),
                ("user", c_void_p), ("qos", c_uint8), ("answers", c_uint8), ("skip_retained", c_uint8)]


class Route(ctypes.Structure):
    _fields_ = [("topic_filter", Bytes), ("subscriptions", c_uint32)]


class Client(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("client_id", Bytes), ("user_name", Bytes), ("address", Bytes),
                ("connected", c_uint8), ("protocol_version", c_uint8), ("keep_alive_s", c_uint16),
                ("session_expiry_s", c_uint32), ("subscriptions", c_uint32), ("inflight", c_uint32),
                ("waiting", c_uint64)]


class Disconnect(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("reason_code", c_uint8), ("end_session", c_uint8), ("reason_string", Bytes),
                ("server_reference", Bytes)]


class Rewrite(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("ns", c_void_p), ("actions", c_uint32), ("from", Bytes), ("to", Bytes)]


class AutoSubscription(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("ns", c_void_p), ("topic_filter", Bytes), ("qos", c_uint8),
                ("no_local", c_uint8), ("retain_as_published", c_uint8), ("retain_handling", c_uint32)]


class Delayed(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("id", c_uint64), ("due_ms", c_uint64), ("client_id", Bytes),
                ("message", c_void_p)]


class QueueConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("topic_filter", Bytes), ("dead_letter_topic", Bytes), ("dispatch", c_uint32),
                ("overflow", c_uint32), ("messages_max", c_uint64), ("bytes_max", c_uint64), ("age_max_s", c_uint32),
                ("redelivery_delay_ms", c_uint32), ("ack_timeout_ms", c_uint32), ("deliveries_max", c_uint32),
                ("exclusive", c_uint32), ("last_value", c_uint32), ("keyless", c_uint32), ("no_wait", c_uint32),
                ("key", Bytes)]


class Queue(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("name", Bytes), ("config", QueueConfig), ("messages", c_uint64),
                ("bytes", c_uint64), ("inflight", c_uint64), ("oldest_ms", c_uint64), ("consumers", c_uint32),
                ("consumers_connected", c_uint32)] + [(name, c_uint64) for name in (
                    "entered", "refused", "delivered", "redelivered", "settled", "rejected", "timed_out", "expired",
                    "dropped", "replaced", "keyless", "dead", "purged")]


class ConsumerConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("ns", c_void_p), ("queue", Bytes), ("events", c_void_p), ("user", c_void_p),
                ("window", c_uint32), ("priority", c_int32)]


class Queued(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("id", c_uint64), ("deliveries", c_uint32), ("inflight", c_uint32),
                ("message", c_void_p)]


class StreamConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("topic_filter", Bytes), ("key", Bytes), ("messages_max", c_uint64),
                ("bytes_max", c_uint64), ("age_max_s", c_uint32), ("no_wait", c_uint32),
                ("last_value", c_uint32)]


class Stream(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("name", Bytes), ("config", StreamConfig), ("messages", c_uint64),
                ("bytes", c_uint64), ("first_position", c_uint64), ("next_position", c_uint64), ("first_us", c_int64),
                ("last_us", c_int64), ("last_minute", c_uint64), ("readers", c_uint32),
                ("readers_connected", c_uint32), ("entered", c_uint64), ("trimmed", c_uint64), ("delivered", c_uint64),
                ("replaced", c_uint64)]


class StreamLag(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("client_id", Bytes), ("cursor", Bytes), ("topic_filter", Bytes),
                ("position", c_uint64), ("messages", c_uint64), ("time_us", c_uint64), ("delivered", c_uint64),
                ("connected", c_uint32)]


class StreamReaderConfig(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("ns", c_void_p), ("stream", Bytes), ("topic_filter", Bytes), ("offset", Bytes),
                ("cursor", Bytes), ("ahead", c_uint32)]


class Streamed(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("position", c_uint64), ("time_us", c_int64), ("skipped", c_uint64),
                ("message", c_void_p)]


class StreamPolicy(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("auto_create", c_uint32), ("count_max", c_uint32),
                ("disconnect_on_delete", c_uint32), ("auto_config", POINTER(StreamConfig))]


class QueuePolicy(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("auto_create", c_uint32), ("count_max", c_uint32),
                ("disconnect_on_delete", c_uint32), ("auto_config", POINTER(QueueConfig))]


# By the name that the C header gives the structure.
STRUCTURES = {
    "mqttq_bytes": Bytes, "mqttq_error": Error, "mqttq_limits": Limits, "mqttq_broker_config": BrokerConfig,
    "mqttq_counter": Counter, "mqttq_listener_config": ListenerConfig, "mqttq_user_property": UserProperty,
    "mqttq_message_config": MessageConfig, "mqttq_reply": Reply, "mqttq_event": Event,
    "mqttq_auth_answer": AuthAnswer, "mqttq_events_config": EventsConfig, "mqttq_subscriber_config": SubscriberConfig,
    "mqttq_route": Route, "mqttq_client": Client, "mqttq_disconnect": Disconnect, "mqttq_rewrite": Rewrite,
    "mqttq_auto_subscription": AutoSubscription, "mqttq_delayed": Delayed, "mqttq_store_write": StoreWrite,
    "mqttq_store": Store, "mqttq_store_figures": StoreFigures, "mqttq_queue_config": QueueConfig,
    "mqttq_queue": Queue, "mqttq_consumer_config": ConsumerConfig, "mqttq_queued": Queued,
    "mqttq_queue_policy": QueuePolicy, "mqttq_stream_config": StreamConfig, "mqttq_stream": Stream,
    "mqttq_stream_lag": StreamLag, "mqttq_stream_reader_config": StreamReaderConfig, "mqttq_streamed": Streamed,
    "mqttq_stream_policy": StreamPolicy,
}

# Name without "mqttq_": result, arguments. A handle is a c_void_p.
_H, _E = c_void_p, POINTER(Error)
PROTOTYPES = {
    "version": (c_uint32, []),
    "version_text": (c_char_p, []),
    "error_init": (None, [_E, c_size_t]),
    "status_text": (c_char_p, [c_int32]),
    "reason_code_text": (c_char_p, [c_uint8]),
    "limits_init": (None, [POINTER(Limits), c_size_t]),
    "broker_config_init": (None, [POINTER(BrokerConfig), c_size_t]),
    "broker_create": (c_int32, [POINTER(BrokerConfig), POINTER(_H), _E]),
    "broker_start": (c_int32, [_H, _E]),
    "broker_stop": (None, [_H]),
    "broker_destroy": (None, [_H]),
    "broker_fd": (c_int, [_H]),
    "broker_timeout_ms": (c_int, [_H]),
    "broker_turn": (c_int32, [_H, c_uint32]),
    "broker_backup": (c_int32, [_H, c_char_p, _E]),
    "data_dir_backup": (c_int32, [c_char_p, c_char_p, LogFunction, c_void_p, _E]),
    "broker_counters": (c_size_t, [_H, POINTER(Counter), c_size_t]),
    "broker_store_figures": (c_int32, [_H, POINTER(StoreFigures)]),
    "broker_set_access": (c_int32, [_H, _H, c_int, c_int, _E]),
    "broker_set_auth_methods": (c_int32, [_H, POINTER(c_char_p), c_size_t, _E]),
    "broker_observe": (c_int32, [_H, _H, c_uint32, _E]),
    "namespace_open": (c_int32, [_H, c_char_p, c_size_t, POINTER(_H), _E]),
    "namespace_name": (c_char_p, [_H]),
    "listener_config_init": (None, [POINTER(ListenerConfig), c_size_t]),
    "listener_open": (c_int32, [_H, POINTER(ListenerConfig), POINTER(_H), _E]),
    "listener_address": (c_char_p, [_H]),
    "listener_close": (None, [_H]),
    "message_config_init": (None, [POINTER(MessageConfig), c_size_t]),
    "message_create": (c_int32, [POINTER(MessageConfig), POINTER(_H), _E]),
    "message_hold": (_H, [_H]),
    "message_release": (None, [_H]),
    "message_topic": (Bytes, [_H]),
    "message_payload": (Bytes, [_H]),
    "message_qos": (c_uint8, [_H]),
    "message_retain": (c_uint8, [_H]),
    "message_content_type": (Bytes, [_H]),
    "message_response_topic": (Bytes, [_H]),
    "message_correlation_data": (Bytes, [_H]),
    "message_user_property": (c_int, [_H, c_size_t, POINTER(UserProperty)]),
    "publish": (c_int32, [_H, _H, _E]),
    "events_config_init": (None, [POINTER(EventsConfig), c_size_t]),
    "events_open": (c_int32, [_H, POINTER(EventsConfig), POINTER(_H), _E]),
    "events_fd": (c_int, [_H]),
    "events_take": (c_size_t, [_H, POINTER(Event), c_size_t]),
    "events_lost": (c_uint64, [_H]),
    "events_close": (None, [_H]),
    "reply_access": (None, [_H, POINTER(Reply), c_int, c_uint8]),
    "auth_answer_init": (None, [POINTER(AuthAnswer), c_size_t]),
    "reply_auth": (c_int32, [_H, POINTER(Reply), POINTER(AuthAnswer)]),
    "reply_message": (None, [_H, POINTER(Reply), c_uint8]),
    "store_init": (None, [POINTER(Store), c_size_t]),
    "store_batch_done": (None, [c_void_p, c_int32]),
    "store_value_set": (c_int32, [c_void_p, Bytes]),
    "subscriber_config_init": (None, [POINTER(SubscriberConfig), c_size_t]),
    "subscriber_open": (c_int32, [_H, POINTER(SubscriberConfig), POINTER(_H), _E]),
    "subscriber_dropped": (c_uint64, [_H]),
    "subscriber_close": (None, [_H]),
    "broker_set_shared_strategy": (c_int32, [_H, _H, Bytes, c_uint32, _E]),
    "routes_list": (c_int32, [_H, _H, Bytes, POINTER(_H), _E]),
    "routes_count": (c_size_t, [_H]),
    "routes_get": (Route, [_H, c_size_t]),
    "routes_free": (None, [_H]),
    "clients_list": (c_int32, [_H, _H, Bytes, POINTER(c_uint64), c_size_t, POINTER(_H), _E]),
    "clients_count": (c_size_t, [_H]),
    "clients_get": (Client, [_H, c_size_t]),
    "clients_free": (None, [_H]),
    "disconnect_init": (None, [POINTER(Disconnect), c_size_t]),
    "client_disconnect": (c_int32, [_H, _H, Bytes, POINTER(Disconnect), _E]),
    "rewrite_init": (None, [POINTER(Rewrite), c_size_t]),
    "broker_add_rewrite": (c_int32, [_H, POINTER(Rewrite), _E]),
    "auto_subscription_init": (None, [POINTER(AutoSubscription), c_size_t]),
    "broker_add_auto_subscription": (c_int32, [_H, POINTER(AutoSubscription), _E]),
    "delayed_messages": (c_int32, [_H, _H, POINTER(c_uint64), c_size_t, POINTER(_H), _E]),
    "delayed_count": (c_size_t, [_H]),
    "delayed_get": (Delayed, [_H, c_size_t]),
    "delayed_free": (None, [_H]),
    "delayed_cancel": (c_int32, [_H, _H, c_uint64, _E]),
    "queue_config_init": (None, [POINTER(QueueConfig), c_size_t]),
    "queue_declare": (c_int32, [_H, _H, Bytes, POINTER(QueueConfig), _E]),
    "queue_change": (c_int32, [_H, _H, Bytes, c_uint32, POINTER(QueueConfig), _E]),
    "queue_delete": (c_int32, [_H, _H, Bytes, _E]),
    "queue_purge": (c_int32, [_H, _H, Bytes, POINTER(c_uint64), _E]),
    "queues_list": (c_int32, [_H, _H, Bytes, POINTER(c_uint64), c_size_t, POINTER(_H), _E]),
    "queues_count": (c_size_t, [_H]),
    "queues_get": (Queue, [_H, c_size_t]),
    "queues_free": (None, [_H]),
    "consumer_config_init": (None, [POINTER(ConsumerConfig), c_size_t]),
    "consumer_open": (c_int32, [_H, POINTER(ConsumerConfig), POINTER(_H), _E]),
    "consumer_close": (None, [_H]),
    "queue_peek": (c_int32, [_H, _H, Bytes, POINTER(c_uint64), c_size_t, POINTER(_H), _E]),
    "queue_messages_count": (c_size_t, [_H]),
    "queue_messages_get": (Queued, [_H, c_size_t]),
    "queue_messages_free": (None, [_H]),
    "queue_move_back": (c_int32, [_H, _H, Bytes, c_uint64, POINTER(c_uint64), _E]),
    "queue_policy_init": (None, [POINTER(QueuePolicy), c_size_t]),
    "broker_set_queue_policy": (c_int32, [_H, POINTER(QueuePolicy), _E]),
    "stream_config_init": (None, [POINTER(StreamConfig), c_size_t]),
    "stream_declare": (c_int32, [_H, _H, Bytes, POINTER(StreamConfig), _E]),
    "stream_change": (c_int32, [_H, _H, Bytes, POINTER(StreamConfig), _E]),
    "stream_delete": (c_int32, [_H, _H, Bytes, _E]),
    "stream_truncate": (c_int32, [_H, _H, Bytes, Bytes, POINTER(c_uint64), _E]),
    "streams_list": (c_int32, [_H, _H, Bytes, POINTER(c_uint64), c_size_t, POINTER(_H), _E]),
    "streams_count": (c_size_t, [_H]),
    "streams_get": (Stream, [_H, c_size_t]),
    "streams_free": (None, [_H]),
    "stream_lags_list": (c_int32, [_H, _H, Bytes, POINTER(_H), _E]),
    "stream_lags_count": (c_size_t, [_H]),
    "stream_lags_get": (StreamLag, [_H, c_size_t]),
    "stream_lags_free": (None, [_H]),
    "stream_reader_config_init": (None, [POINTER(StreamReaderConfig), c_size_t]),
    "stream_reader_open": (c_int32, [_H, POINTER(StreamReaderConfig), POINTER(_H), _E]),
    "stream_reader_close": (None, [_H]),
    "stream_seek": (c_int32, [_H, Bytes, _E]),
    "stream_commit": (c_int32, [_H, c_uint64, _E]),
    "stream_cursor_delete": (c_int32, [_H, _H, Bytes, Bytes, _E]),
    "stream_read": (c_int32, [_H, c_size_t, c_uint32, POINTER(_H), _E]),
    "stream_messages_count": (c_size_t, [_H]),
    "stream_messages_get": (Streamed, [_H, c_size_t]),
    "stream_messages_free": (None, [_H]),
    "stream_messages_ndjson": (c_int32, [_H, POINTER(Bytes), _E]),
    "stream_import": (c_int32, [_H, _H, Bytes, Bytes, POINTER(c_uint64), _E]),
    "stream_policy_init": (None, [POINTER(StreamPolicy), c_size_t]),
    "broker_set_stream_policy": (c_int32, [_H, POINTER(StreamPolicy), _E]),
}


def load() -> ctypes.CDLL:
    """The library, with the prototypes above; its functions are called as lib.mqttq_…."""
    lib = ctypes.CDLL(os.environ["MQTTQ_LIBRARY"])
    for name, (result, arguments) in PROTOTYPES.items():
        function = getattr(lib, f"mqttq_{name}")
        function.restype, function.argtypes = result, arguments
    return lib
