"""The C ABI by ctypes alone: a broker on its own threads, asked and answered from Python's; one in asyncio's loop."""

import asyncio
import ctypes
import hmac
import os
import pathlib
import select
import shutil
import socket
import struct
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import libmqttq as m  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 20  # for whatever is to happen; nothing waits that long unless something is wrong

lib = m.load()


def text(value: str) -> bytes:
    """A UTF-8 Encoded String (MQTT5 1.5.4)."""
    return struct.pack("!H", len(value.encode())) + value.encode()


def packet(first: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([first, len(body)]) + body


def connect_packet(client_id: str, user_name: str | None = None, password: str | None = None) -> bytes:
    flags = 0x02 | (0x80 if user_name is not None else 0) | (0x40 if password is not None else 0)
    body = text("MQTT") + bytes([4, flags, 0, 60]) + text(client_id)
    for value in (user_name, password):
        body += text(value) if value is not None else b""
    return packet(0x10, body)


def auth_properties(data: bytes) -> bytes:
    """The length of the properties, the method "HMAC" and its data."""
    properties = b"\x15" + text("HMAC") + b"\x16" + struct.pack("!H", len(data)) + data
    return bytes([len(properties)]) + properties


def auth_packet(reason_code: int, data: bytes) -> bytes:
    return packet(0xF0, bytes([reason_code]) + auth_properties(data))


def digest(nonce: bytes, of: bytes) -> bytes:
    """What only those can say to a nonce who know the password, which is not sent."""
    return hmac.digest(b"secret", of + nonce, "sha256")


class Socket:
    """An MQTT client that sends and reads packets of less than 128 bytes, and waits with a bound."""

    def __init__(self, address: str):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)

    def send(self, data: bytes) -> "Socket":
        self.socket.sendall(data)
        return self

    def read(self) -> bytes:
        """The next packet, or b"" at the end."""
        head = self.exactly(2)
        return head + self.exactly(head[1]) if head else b""

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                return b""
            data += more
        return data


class Broker:
    """A broker under test with its events; ends everything in the right order."""

    def __init__(self, **config):
        self.error = m.Error()
        lib.mqttq_error_init(self.error, ctypes.sizeof(m.Error))
        broker_config = m.BrokerConfig()
        lib.mqttq_broker_config_init(broker_config, ctypes.sizeof(m.BrokerConfig))
        for name, value in config.items():
            setattr(broker_config, name, value)
        self.handle = ctypes.c_void_p()
        self.good(lib.mqttq_broker_create(broker_config, self.handle, self.error))
        self.kept = [broker_config]
        self.listeners, self.subscribers, self.events = [], [], []

    def good(self, status: int) -> None:
        if status != m.OK:
            raise AssertionError(f"{lib.mqttq_status_text(status).decode()}: {self.error.text.decode()}")

    def start(self) -> None:
        self.good(lib.mqttq_broker_start(self.handle, self.error))

    def open_events(self, **settings) -> ctypes.c_void_p:
        config, events = m.EventsConfig(), ctypes.c_void_p()
        lib.mqttq_events_config_init(config, ctypes.sizeof(config))
        for name, value in settings.items():
            setattr(config, name, value)
        self.good(lib.mqttq_events_open(self.handle, config, events, self.error))
        self.kept.append(config)
        self.events.append(events)
        return events

    def listen(self, address: bytes = b"127.0.0.1:0") -> str:
        config, listener = m.ListenerConfig(), ctypes.c_void_p()
        lib.mqttq_listener_config_init(config, ctypes.sizeof(config))
        config.address = address
        self.good(lib.mqttq_listener_open(self.handle, config, listener, self.error))
        self.listeners.append(listener)
        return lib.mqttq_listener_address(listener).decode()

    def subscribe(self, topic_filter: bytes, events: ctypes.c_void_p, **settings) -> ctypes.c_void_p:
        config, subscriber = m.SubscriberConfig(), ctypes.c_void_p()
        lib.mqttq_subscriber_config_init(config, ctypes.sizeof(config))
        config.topic_filter, config.events = m.Bytes.of(topic_filter), events
        for name, value in settings.items():
            setattr(config, name, value)
        self.good(lib.mqttq_subscriber_open(self.handle, config, subscriber, self.error))
        self.subscribers.append(subscriber)
        return subscriber

    def publish(self, topic: bytes, payload: bytes, **settings) -> None:
        config, message = m.MessageConfig(), ctypes.c_void_p()
        lib.mqttq_message_config_init(config, ctypes.sizeof(config))
        config.topic, config.payload = m.Bytes.of(topic), m.Bytes.of(payload)
        for name, value in settings.items():
            setattr(config, name, value)
        self.good(lib.mqttq_message_create(config, message, self.error))
        self.good(lib.mqttq_publish(self.handle, message, self.error))
        lib.mqttq_message_release(message)

    def counter(self, name: bytes) -> int:
        count = lib.mqttq_broker_counters(self.handle, None, 0)
        figures = (m.Counter * count)()
        lib.mqttq_broker_counters(self.handle, figures, count)
        return {figure.name: figure.value for figure in figures}[name]

    def route_count(self, topic: bytes) -> int:
        """How many topic filters match this topic."""
        routes = ctypes.c_void_p()
        self.good(lib.mqttq_routes_list(self.handle, None, m.Bytes.of(topic), routes, self.error))
        count = lib.mqttq_routes_count(routes)
        lib.mqttq_routes_free(routes)
        return count

    def end(self) -> None:
        for listener in self.listeners:
            lib.mqttq_listener_close(listener)
        for subscriber in self.subscribers:
            lib.mqttq_subscriber_close(subscriber)
        lib.mqttq_broker_stop(self.handle)
        for events in self.events:
            lib.mqttq_events_close(events)
        lib.mqttq_broker_destroy(self.handle)


def take(events: ctypes.c_void_p) -> m.Event:
    """Waits for the next event, whose pointers are good until the next take."""
    batch = (m.Event * 1)()
    while not lib.mqttq_events_take(events, batch, 1):
        if not select.select([lib.mqttq_events_fd(events)], [], [], TIMEOUT_S)[0]:
            raise TimeoutError("no event came")
    return batch[0]


def threads_of_process() -> int:
    return len(os.listdir("/proc/self/task"))


class Layouts(unittest.TestCase):
    def test_structures_written_by_hand_have_the_layout_of_the_c_compiler(self):
        listed = [line.split() for line in (HERE / "layout.txt").read_text().splitlines()]
        sizes = {words[1]: int(words[2]) for words in listed if words[0] == "struct"}
        self.assertEqual(sizes, {name: ctypes.sizeof(one) for name, one in m.STRUCTURES.items()})
        for name, offset, size in [words[1:4] for words in listed if words[0] == "field"]:
            structure, field = name.split(".")
            place = getattr(m.STRUCTURES[structure], field)
            self.assertEqual((place.offset, place.size), (int(offset), int(size)), name)

    def test_every_exported_function_has_a_prototype_here(self):
        symbols = (HERE / "symbols.txt").read_text().split()
        self.assertEqual(sorted(f"mqttq_{name}" for name in m.PROTOTYPES), symbols)

    def test_the_version_is_the_same_as_number_and_as_text(self):
        number = lib.mqttq_version()
        self.assertEqual(f"{number >> 16}.{number >> 8 & 255}.{number & 255}", lib.mqttq_version_text().decode())


class OwnThreads(unittest.TestCase):
    def setUp(self):
        self.brokers, self.sockets = [], []

    def tearDown(self):
        for one in self.sockets:
            one.socket.close()
        for broker in self.brokers:
            broker.end()

    def broker(self, **config) -> Broker:
        broker = Broker(**config)
        self.brokers.append(broker)
        return broker

    def client(self, address: str) -> Socket:
        self.sockets.append(Socket(address))
        return self.sockets[-1]

    def test_a_message_published_in_the_process_comes_with_its_properties(self):
        broker = self.broker(shards=2)
        broker.start()
        events = broker.open_events()
        broker.subscribe(b"rooms/+/light", events, qos=1, user=4711)
        properties = (m.UserProperty * 2)(m.UserProperty(m.Bytes.of(b"k"), m.Bytes.of(b"1")),
                                          m.UserProperty(m.Bytes.of(b"k"), m.Bytes.of(b"2")))
        broker.publish(b"rooms/7/light", b"on", qos=1, content_type=m.Bytes.of(b"text/plain"),
                       response_topic=m.Bytes.of(b"answers"), correlation_data=m.Bytes.of(b"\0\1"),
                       user_properties=properties, user_property_count=2)
        event = take(events)
        self.assertEqual((event.type, event.user, event.size), (m.MESSAGE, 4711, ctypes.sizeof(m.Event)))
        self.assertEqual(lib.mqttq_message_topic(event.message).value(), b"rooms/7/light")
        self.assertEqual(lib.mqttq_message_payload(event.message).value(), b"on")
        self.assertEqual(lib.mqttq_message_content_type(event.message).value(), b"text/plain")
        self.assertEqual(lib.mqttq_message_response_topic(event.message).value(), b"answers")
        self.assertEqual(lib.mqttq_message_correlation_data(event.message).value(), b"\0\1")
        pairs, one = [], m.UserProperty()
        while lib.mqttq_message_user_property(event.message, len(pairs), one):
            pairs.append((one.name.value(), one.value.value()))
        self.assertEqual(pairs, [(b"k", b"1"), (b"k", b"2")])

    def test_a_client_and_a_subscriber_in_the_process_hear_each_other(self):
        broker = self.broker(shards=2)
        broker.start()
        events = broker.open_events()
        broker.subscribe(b"up/#", events, qos=1)
        client = self.client(broker.listen()).send(connect_packet("c1"))
        self.assertEqual(client.read(), b"\x20\x02\x00\x00")
        client.send(packet(0x82, b"\0\1" + text("down/#") + b"\0"))
        self.assertEqual(client.read(), b"\x90\x03\x00\x01\x00")
        client.send(packet(0x32, text("up/1") + b"\0\2" + b"x"))
        self.assertEqual(client.read(), b"\x40\x02\x00\x02")
        event = take(events)
        self.assertEqual(lib.mqttq_message_payload(event.message).value(), b"x")
        broker.publish(b"down/1", b"y")
        self.assertEqual(client.read(), packet(0x30, text("down/1") + b"y"))
        self.assertGreaterEqual(broker.counter(b"messages_received"), 1)

    def test_a_thread_of_the_hosts_decides_who_may_connect(self):
        broker = self.broker(shards=2)
        events = broker.open_events()
        broker.good(lib.mqttq_broker_set_access(broker.handle, events, 1, 0, broker.error))
        broker.start()
        seen = []

        def decide():
            for _ in range(2):
                event = take(events)
                allow = event.user_name.value() == b"ann" and event.password.value() == b"secret"
                seen.append((event.type, event.client_id.value(), event.user_name.value()))
                lib.mqttq_reply_access(broker.handle, event.reply, int(allow), 0)
                lib.mqttq_reply_access(broker.handle, event.reply, 1, 0)  # too late to change anything

        thread = threading.Thread(target=decide)
        thread.start()
        address = broker.listen()
        self.assertEqual(self.client(address).send(connect_packet("a", "ann", "secret")).read(), b"\x20\x02\x00\x00")
        self.assertEqual(self.client(address).send(connect_packet("b", "ben", "secret")).read(), b"\x20\x02\x00\x05")
        thread.join(TIMEOUT_S)
        self.assertEqual(seen, [(m.AUTHENTICATE, b"a", b"ann"), (m.AUTHENTICATE, b"b", b"ben")])

    def test_a_thread_of_the_hosts_converses_with_a_client_that_proves_who_it_is(self):
        broker = self.broker(shards=2)
        events = broker.open_events()
        broker.good(lib.mqttq_broker_set_access(broker.handle, events, 1, 0, broker.error))
        methods = (ctypes.c_char_p * 1)(b"HMAC")
        broker.good(lib.mqttq_broker_set_auth_methods(broker.handle, methods, 1, broker.error))
        broker.start()
        seen, nonces = [], {}

        def converse():
            for _ in range(6):
                event = take(events)
                client_id, data = event.client_id.value(), event.auth_data.value()
                seen.append((client_id, event.auth_method.value(), event.round, event.reauthentication))
                answer = m.AuthAnswer()
                lib.mqttq_auth_answer_init(answer, ctypes.sizeof(answer))
                if event.round == 0:
                    nonces[client_id] = data + os.urandom(8)
                    answer.decision, answer.data = m.AUTH_CONTINUE, m.Bytes.of(nonces[client_id])
                elif hmac.compare_digest(data, digest(nonces[client_id], b"client")):
                    answer.decision, answer.user_name = m.AUTH_ALLOW, m.Bytes.of(b"ann")
                    answer.data = m.Bytes.of(digest(nonces[client_id], b"server"))
                else:
                    answer.reason_code = 0x86
                broker.good(lib.mqttq_reply_auth(broker.handle, event.reply, answer))

        thread = threading.Thread(target=converse)
        thread.start()
        address = broker.listen()

        def begin(client_id):
            head = text("MQTT") + bytes([5, 2, 0, 60])
            return self.client(address).send(packet(0x10, head + auth_properties(b"mine") + text(client_id)))

        def challenge(client):
            auth = client.read()
            nonce = auth[-12:]
            self.assertEqual(auth, auth_packet(0x18, nonce))
            self.assertEqual(nonce[:4], b"mine")
            return nonce

        ann = begin("a")
        nonce = challenge(ann)
        connack = ann.send(auth_packet(0x18, digest(nonce, b"client"))).read()
        self.assertEqual((connack[0], connack[3]), (0x20, 0))
        self.assertIn(auth_properties(digest(nonce, b"server"))[1:], connack)
        nonce = challenge(ann.send(auth_packet(0x19, b"mine")))
        done = ann.send(auth_packet(0x18, digest(nonce, b"client"))).read()
        self.assertEqual(done, auth_packet(0, digest(nonce, b"server")))
        self.assertEqual(ann.send(b"\xc0\0").read(), b"\xd0\0")

        thief = begin("b")
        challenge(thief)
        refused = thief.send(auth_packet(0x18, bytes(32))).read()
        self.assertEqual(refused, b"\x20\x03\0\x86\0")
        self.assertEqual(thief.read(), b"")
        thread.join(TIMEOUT_S)
        self.assertEqual(seen, [(name, b"HMAC", number, anew) for name, anew in ((b"a", 0), (b"a", 1), (b"b", 0))
                                for number in (0, 1)])

    def test_callbacks_run_on_threads_that_python_did_not_start(self):
        lines, told, said = [], threading.Event(), threading.Event()
        threads = set()

        def on_event(user, event):
            threads.add(threading.get_ident())
            self.assertEqual(lib.mqttq_message_payload(event.contents.message).value(), b"ping")
            told.set()

        def log(user, level, line, size):
            lines.append((level, ctypes.string_at(line, size)))
            said.set()

        broker = self.broker(shards=1, log=m.LogFunction(log))
        broker.start()
        events = broker.open_events(mode=m.ON_WORKER, on_event=m.EventFunction(on_event))
        broker.subscribe(b"t", events)
        broker.publish(b"t", b"ping")
        self.assertTrue(told.wait(TIMEOUT_S))
        self.assertNotIn(threading.get_ident(), threads)
        # A client's protocol error is what an operator wants to know.
        self.assertEqual(self.client(broker.listen()).send(packet(0x10, b"\0\4MQXX\4\2\0\0\0\0")).read(), b"")
        self.assertTrue(said.wait(TIMEOUT_S))
        self.assertEqual(lines[0][0], m.LOG_NOTICE)
        self.assertIn(b"127.0.0.1:", lines[0][1])

    def test_errors_say_what_was_wrong(self):
        broker = self.broker(shards=1)
        broker.start()
        taken = broker.listen()
        for address, status, word in ((b"nowhere", m.EINVAL, "nowhere"), (taken.encode(), m.EADDRINUSE, taken)):
            config, listener = m.ListenerConfig(), ctypes.c_void_p(1)
            lib.mqttq_listener_config_init(config, ctypes.sizeof(config))
            config.address = address
            self.assertEqual(lib.mqttq_listener_open(broker.handle, config, listener, broker.error), status)
            self.assertEqual((broker.error.status, listener.value), (status, 1))
            self.assertIn(word, broker.error.text.decode())
            self.assertEqual(lib.mqttq_listener_open(broker.handle, config, listener, None), status)


class InAsyncio(unittest.TestCase):
    def test_asyncio_drives_a_broker_that_serves_foreign_clients(self):
        for program in ("mosquitto_pub", "mosquitto_sub"):
            self.assertTrue(shutil.which(program), f"{program} is missing; tools/setup installs it")
        asyncio.run(asyncio.wait_for(self.serve_foreign_clients(), 2 * TIMEOUT_S))

    async def serve_foreign_clients(self):
        threads = threads_of_process()
        broker = Broker(host_loop=1)
        broker.start()
        loop = asyncio.get_running_loop()
        timer, subscribed = None, asyncio.Event()

        def turn():
            nonlocal timer
            if timer:
                timer.cancel()
            self.assertEqual(lib.mqttq_broker_turn(broker.handle, 0), m.OK)
            if not subscribed.is_set() and broker.route_count(b"answer/x"):
                subscribed.set()
            timer = loop.call_later(lib.mqttq_broker_timeout_ms(broker.handle) / 1000, turn)

        loop.add_reader(lib.mqttq_broker_fd(broker.handle), turn)
        host, port = broker.listen().rsplit(":", 1)
        # Everything that is published is echoed from inside, in the loop that also drives the broker.
        events, echo = broker.open_events(), (m.Event * 16)()
        broker.subscribe(b"question/#", events, qos=1)

        def answer():
            for event in echo[:lib.mqttq_events_take(events, echo, len(echo))]:
                payload = lib.mqttq_message_payload(event.message).value()
                broker.publish(b"answer/" + payload, payload.upper(), qos=1)

        loop.add_reader(lib.mqttq_events_fd(events), answer)
        turn()
        self.assertEqual(threads_of_process(), threads)  # asyncio itself begins one for each child below
        subscriber = await asyncio.create_subprocess_exec(
            "mosquitto_sub", "-h", host, "-p", port, "-i", "reader", "-q", "1", "-t", "answer/#", "-C", "3", "-v",
            "-V", "5", stdout=asyncio.subprocess.PIPE)
        await subscribed.wait()
        for word in ("one", "two", "three"):
            publisher = await asyncio.create_subprocess_exec(
                "mosquitto_pub", "-h", host, "-p", port, "-q", "1", "-t", "question/1", "-m", word)
            self.assertEqual(await publisher.wait(), 0)
        printed, _ = await subscriber.communicate()
        self.assertEqual(printed.split(b"\n"), [b"answer/one ONE", b"answer/two TWO", b"answer/three THREE", b""])
        loop.remove_reader(lib.mqttq_broker_fd(broker.handle))
        loop.remove_reader(lib.mqttq_events_fd(events))
        timer.cancel()
        broker.end()


if __name__ == "__main__":
    unittest.main()
