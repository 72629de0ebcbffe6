// Listeners for MQTT over WebSocket, as a host opens them and a client meets them.
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <thread>

#include "host.h"
#include "websocket_client.h"

using namespace mqttq::abi;
using namespace mqttq::ws;

namespace {

mqttq_status open_with(Host& host, uint32_t transport, const char* path, std::string& text_out) {
  mqttq_listener_config config = listener_config();
  config.address = "127.0.0.1:0";
  config.transport = transport;
  config.path = path;
  mqttq_error error = make_error();
  mqttq_listener* listener = nullptr;
  const mqttq_status status = mqttq_listener_open(host.get(), &config, &listener, &error);
  text_out = error.text;
  mqttq_listener_close(listener);
  return status;
}

}  // namespace

TEST_CASE("a transport and a path that are none are refused by name", "[abi]") {
  Host host;
  host.start();
  std::string text;
  CHECK(open_with(host, MQTTQ_TRANSPORT_STREAM, nullptr, text) == MQTTQ_OK);
  CHECK(open_with(host, 2, nullptr, text) == MQTTQ_EINVAL);
  CHECK(text == "transport: 2 is none");
  CHECK(open_with(host, MQTTQ_TRANSPORT_STREAM, "/mqtt", text) == MQTTQ_EINVAL);
  CHECK(text.starts_with("path: "));
  for (const char* path : {"", "mqtt", "/a b", "/a?b", "/a#b", "/\xC3\xBC"}) {
    CHECK(open_with(host, MQTTQ_TRANSPORT_WEBSOCKET, path, text) == MQTTQ_EINVAL);
    CHECK(text.starts_with("path \""));
  }
}

#ifndef MQTTQ_WITH_TLS

TEST_CASE("a build without TLS has no WebSocket, and says so", "[abi]") {
  Host host;
  host.start();
  std::string text;
  CHECK(open_with(host, MQTTQ_TRANSPORT_WEBSOCKET, nullptr, text) == MQTTQ_EUNSUPPORTED);
  CHECK(text == "this build has no WebSocket: it was built without TLS");
}

#else

namespace {

constexpr std::string_view kConnect311("\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01", 14);

std::string connect_311(char client_id) { return std::string(kConnect311) + client_id; }

// Another first line, with the fields of kRequest.
std::string request_with(std::string_view line) {
  return std::string(line) + std::string(kRequest.substr(kRequest.find("\r\n")));
}

}  // namespace

TEST_CASE("a listener for WebSockets opens at a path, by default /mqtt", "[abi]") {
  Host host;
  host.start();
  std::string text;
  CHECK(open_with(host, MQTTQ_TRANSPORT_WEBSOCKET, nullptr, text) == MQTTQ_OK);
  CHECK(open_with(host, MQTTQ_TRANSPORT_WEBSOCKET, "/", text) == MQTTQ_OK);
}

TEST_CASE("a client subscribes, publishes, receives and pings through a WebSocket",
          "[abi][MQTT-6.0.0-1][MQTT-6.0.0-2][MQTT-6.0.0-4]") {
  Host host;
  host.start();
  WebSocketClient client(host.listen_websocket());
  client.send(kRequest);
  const std::string answer = client.read_answer();
  CHECK(answer.find("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") != std::string::npos);
  CHECK(answer.find("\r\nSec-WebSocket-Protocol: mqtt\r\n") != std::string::npos);
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send_packets(subscribe_packet(1, "t", 1));
  CHECK(client.read()[0] == '\x90');
  // Two packets in one frame; then one packet in a frame for each byte, with pings between them.
  client.send_packets(publish_packet("t", "one") + publish_packet("t", "two"));
  CHECK(read_publish(client.read()).payload == "one");
  CHECK(read_publish(client.read()).payload == "two");
  for (const char byte : publish_packet("t", "three")) client.send(frame(kBinary, {&byte, 1}) + frame(kPing, ""));
  std::string payload;
  for (Frame next = client.read_frame(); next.opcode != kBinary || (payload += next.payload).size() < 11;) {
    next = client.read_frame();
  }
  CHECK(read_publish(payload).payload == "three");
  client.send(frame(kPing, "are you there?"));
  Frame pong = client.read_frame();
  while (pong.payload.empty()) pong = client.read_frame();  // of the pings before
  CHECK(pong == Frame{kPong, "are you there?"});
  client.send_packets(ping_packet());
  CHECK(client.read() == "\xD0" + std::string(1, '\0'));
}

TEST_CASE("clients of 3.1.1 come through a WebSocket too", "[abi][MQTT311-6.0.0-1][MQTT311-6.0.0-2][MQTT311-6.0.0-4]") {
  Host host;
  host.start();
  WebSocketClient client(host.listen_websocket());
  client.open();
  const std::string connect = connect_311('c');
  client.send(frame(kBinary, connect.substr(0, 3), {.final = false}) + frame(kContinuation, connect.substr(3)));
  CHECK(client.read() == std::string("\x20\x02\x00\x00", 4));
  client.send_packets(std::string("\x82\x06\x00\x01\x00\x01t\x00", 8) + std::string("\x30\x04\x00\x01tx", 6));
  CHECK(client.read() == std::string("\x90\x03\x00\x01\x00", 5));
  CHECK(client.read() == std::string("\x30\x04\x00\x01tx", 6));
  client.send(frame(kText, "text"));
  CHECK(client.read_frame() == close_frame(1003));
  CHECK(client.read_frame().opcode == WebSocketClient::kEnded);
}

TEST_CASE("an old client that offers mqttv3.1 is answered by it", "[abi]") {
  Host host;
  host.start();
  WebSocketClient client(host.listen_websocket());
  std::string request(kRequest);
  request.replace(request.rfind(": mqtt"), 6, ": mqttv3.1");
  CHECK(client.send(request).read_answer().find("\r\nSec-WebSocket-Protocol: mqttv3.1\r\n") != std::string::npos);
}

TEST_CASE("a WebSocket is at its listener's path alone, and stays when that closes", "[abi]") {
  Host host{2};
  host.start();
  mqttq_listener_config config = listener_config();
  config.address = "127.0.0.1:0";
  config.transport = MQTTQ_TRANSPORT_WEBSOCKET;
  std::string path = "/a/b";
  config.path = path.c_str();
  mqttq_listener* listener = nullptr;
  REQUIRE(mqttq_listener_open(host.get(), &config, &listener, nullptr) == MQTTQ_OK);
  path = "????";  // it was copied
  const std::string address = mqttq_listener_address(listener);
  const auto answer_to = [&](std::string_view line) {
    WebSocketClient client(address);
    const std::string answer = client.send(request_with(line)).read_answer();
    if (!answer.starts_with("HTTP/1.1 101 ")) CHECK(client.read_frame().opcode == WebSocketClient::kEnded);
    return answer.substr(0, 12);
  };
  CHECK(answer_to("GET /a/b HTTP/1.1") == "HTTP/1.1 101");
  CHECK(answer_to("GET /mqtt HTTP/1.1") == "HTTP/1.1 404");
  CHECK(answer_to("POST /a/b HTTP/1.1") == "HTTP/1.1 405");
  CHECK(answer_to("nonsense") == "HTTP/1.1 400");
  CHECK(host.counter("protocol_errors") == 3);
  {
    WebSocketClient wrong(address);
    CHECK(wrong.send(connect_packet({.client_id = "c"})).read_answer().starts_with("HTTP/1.1 400 "));
  }
  WebSocketClient slow(address);
  slow.send("GET /a/b");
  host.settle();
  mqttq_listener_close(listener);
  slow.send(request_with(" HTTP/1.1"));
  CHECK(slow.read_answer().starts_with("HTTP/1.1 101 "));
  CHECK(slow.connect({.client_id = "slow"}) == 0);
}

TEST_CASE("text ends the connection by DISCONNECT and 1003, and the will is published",
          "[abi][MQTT-6.0.0-1][MQTT-3.1.2-8]") {
  Host host;
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("#", events);
  WebSocketClient client(host.listen_websocket());
  client.open();
  std::string connect = connect_packet({.client_id = "c"});
  connect[9] = static_cast<char>(connect[9] | 0x04);  // the will flag
  connect += std::string(1, '\0') + wire_text("will") + wire_text("text is not MQTT");
  connect[1] = static_cast<char>(connect.size() - 2);
  client.send_packets(connect);
  REQUIRE(client.read()[3] == 0);
  client.send(frame(kBinary, publish_packet("t", "before")) + frame(kText, "text") +
              frame(kBinary, publish_packet("t", "behind")));
  CHECK(static_cast<uint8_t>(client.read()[2]) == 0x82);
  CHECK(client.read_frame() == close_frame(1003));
  CHECK(client.read_frame().opcode == WebSocketClient::kEnded);
  CHECK(take_one(events).payload == "before");
  CHECK(take_one(events).payload == "text is not MQTT");
  CHECK(host.counter("protocol_errors") == 1);
}

TEST_CASE("connections move between shards with all that they read, and with a close frame behind it",
          "[abi][MQTT-6.0.0-2]") {
  constexpr int kClients = 24;
  Host host{3};
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("in/#", events);
  const std::string address = host.listen_websocket();
  // Everything at once: the request, CONNECT, a publish and the end. Each is handled where the client is at home.
  for (int i = 0; i < kClients; ++i) {
    const std::string name = "in/" + std::to_string(i);
    const std::string packets = connect_packet({.client_id = name}) + publish_packet(name, "x", 1, 1);
    WebSocketClient client(address);
    client.send(std::string(kRequest) + frame(kBinary, packets.substr(0, 20), {.final = false}) + frame(kPing, name) +
                frame(kContinuation, packets.substr(20)) + frame(kClose, "\x03\xE8"));
    CHECK(client.read_answer().starts_with("HTTP/1.1 101 "));
    CHECK(client.read_frame() == Frame{kPong, name});
    CHECK(client.read()[0] == '\x20');
    CHECK(client.read()[0] == '\x40');
    CHECK(client.read_frame() == close_frame(1000));
    CHECK(client.read_frame().opcode == WebSocketClient::kEnded);
    CHECK(take_one(events).topic == name);
  }
  CHECK(host.counter("connections_moved") > 0);
  // And at leisure: a frame that is half read when the connection moves goes on.
  for (int i = 0; i < kClients; ++i) {
    WebSocketClient client(address);
    const std::string name = "in/" + std::to_string(i);
    const std::string packets = connect_packet({.client_id = name}) + publish_packet(name, "y", 1, 1);
    const std::string whole = frame(kBinary, packets);
    client.open().send(whole.substr(0, whole.size() - 3));
    CHECK(client.read()[0] == '\x20');
    client.send(whole.substr(whole.size() - 3));
    CHECK(client.read()[0] == '\x40');
    CHECK(take_one(events).payload == "y");
  }
}

TEST_CASE("who sent a close frame is told first what became of its publishes", "[abi]") {
  Host host;
  host.start();
  mqttq_events* events = host.open_events();
  host.subscribe("t", events, 1, true);
  WebSocketClient client(host.listen_websocket());
  client.open();
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send(frame(kBinary, publish_packet("t", "x", 1, 1)) + frame(kClose, ""));
  const Taken taken = take_one(events);
  mqttq_reply_message(host.get(), &taken.event.reply, 0);
  CHECK(client.read()[0] == '\x40');
  CHECK(client.read_frame() == Frame{kClose, ""});
  CHECK(client.read_frame().opcode == WebSocketClient::kEnded);
}

TEST_CASE("a stopping broker says so in MQTT and in the close frame", "[abi]") {
  Host host{2};
  host.start();
  WebSocketClient client(host.listen_websocket());
  client.open();
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  std::thread stopper([&] { mqttq_broker_stop(host.get()); });
  CHECK(static_cast<uint8_t>(client.read()[2]) == 0x8B);
  CHECK(client.read_frame() == close_frame(1001));
  CHECK(client.read_frame().opcode == WebSocketClient::kEnded);
  client.socket().vanish();
  stopper.join();
}

TEST_CASE("the time to connect counts the request too", "[abi]") {
  Host host;
  host.start();
  const std::string address = host.listen_websocket(nullptr, 50);
  WebSocketClient silent(address), asking(address), opened(address);
  asking.send("GET /mqtt HTTP/1.1\r\n");
  opened.open();
  CHECK(silent.read_frame().opcode == WebSocketClient::kEnded);
  CHECK(asking.read_frame().opcode == WebSocketClient::kEnded);
  CHECK(opened.read_frame() == close_frame(1000));
}

TEST_CASE("a client that does not read gets what it asked for when it does", "[abi][MQTT-6.0.0-2]") {
  constexpr int kMessages = 600;
  const std::string body(16'000, 'x');
  Host host;
  host.start();
  WebSocketClient client(host.listen_websocket());
  client.open();
  REQUIRE(client.connect({.client_id = "c"}) == 0);
  client.send_packets(subscribe_packet(1, "t", 1));
  CHECK(client.read()[0] == '\x90');
  // Some 9 MiB, of which the system takes a part only: frames are cut wherever it is full.
  for (int i = 0; i < kMessages; ++i) {
    host.publish("t", std::to_string(i) + body, 1);
    if (i % 100 == 0) client.send(frame(kPing, std::to_string(i)));
  }
  host.settle();
  for (int i = 0; i < kMessages; ++i) {
    const std::string packet = client.read();
    REQUIRE(read_publish(packet).payload == std::to_string(i) + body);
    client.send_packets(std::string("\x40\x02", 2) +
                        packet.substr(packet.size() - body.size() - std::to_string(i).size() - 3, 2));
  }
  client.send_packets(ping_packet());
  CHECK(client.read()[0] == '\xD0');
}

#endif
