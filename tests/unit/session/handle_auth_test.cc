// Enhanced authentication (MQTT5 4.12): the client and the host speak by AUTH, before CONNACK and again at any time.
#include <catch2/catch_test_macros.hpp>

#include "heap.h"
#include "hex.h"
#include "session/fixture.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
constexpr auto kQos1 = Qos::AtLeastOnce;
constexpr auto kGoOn = ReasonCode::ContinueAuthentication;
constexpr auto kAgain = ReasonCode::ReAuthenticate;

// A host that takes the method "M", says what it is told to, and remembers what it was asked.
class TestAccess final : public AccessControl {
 public:
  struct Asked {
    AccessTicket ticket;
    std::string client_id, user_name, password, method, data, address;  // absent: "-"
    bool reauthentication = false;
    uint32_t round = 0;
  };
  struct AskedToAct {
    AccessTicket ticket;
    std::string user_name, topic;
  };

  Verdict connect(const ConnectQuestion& question) noexcept override {
    asked.push_back({question.ticket, std::string(question.client_id), std::string(question.user_name.value_or("-")),
                     question.password ? std::string(as_text(*question.password)) : "-",
                     std::string(question.authentication_method.value_or("-")),
                     std::string(as_text(question.authentication_data)), std::string(question.peer_address),
                     question.reauthentication, question.round});
    return connects;
  }
  Verdict act(const ActionQuestion& question) noexcept override {
    acting.push_back({question.ticket, std::string(question.user_name), std::string(question.topic)});
    return acts;
  }
  bool offers(NamespaceId namespace_id, std::string_view method) const noexcept override {
    return namespace_id == kGlobalNamespace && method == "M";
  }

  Verdict connects = Verdict::Pending;
  Verdict acts = Verdict::Allow;
  std::vector<Asked> asked;
  std::vector<AskedToAct> acting;
};

codec::ConnectView connect_with(std::string_view client_id, std::string_view method, std::string_view data = {}) {
  codec::ConnectView connect = connect_as(client_id);
  connect.authentication_method = method;
  connect.authentication_data = as_bytes(data);
  return connect;
}

AccessAnswer allow(std::string_view data = {}, std::string_view user_name = {}) {
  return {.verdict = Verdict::Allow, .authentication_data = as_bytes(data), .user_name = user_name};
}
AccessAnswer go_on(std::string_view data = {}) {
  return {.verdict = Verdict::Continue, .authentication_data = as_bytes(data)};
}
AccessAnswer deny(ReasonCode reason = ReasonCode::Success) { return {.verdict = Verdict::Deny, .reason = reason}; }

// A broker whose host takes "M".
struct Scene {
  explicit Scene(TestSetup setup = {}) : broker(with_access(setup, access)) {}
  static TestSetup with_access(TestSetup setup, TestAccess& access) {
    setup.access = &access;
    return setup;
  }
  // The last question that came, answered.
  void answer(const AccessAnswer& answer) {
    REQUIRE_FALSE(access.asked.empty());
    broker.answer(access.asked.back().ticket, answer);
  }
  // A client between its CONNECT and its first AUTH.
  TestClient& ask_for_more(TestClient& client, std::string_view client_id = "a") {
    client.connect(connect_with(client_id, "M"));
    answer(go_on("?"));
    REQUIRE(client.said() == Lines{"AUTH 18 M '?'"});
    return client;
  }
  TestClient& accepted(TestClient& client, codec::ConnectView connect = connect_with("a", "M")) {
    client.connect(connect);
    answer(allow());
    REQUIRE(client.said() == Lines{"CONNACK 00 M ''"});
    return client;
  }

  TestAccess access;
  TestBroker broker;
};

}  // namespace

// --- before CONNACK

TEST_CASE("a method that the host does not offer is refused, and nobody is asked", "[session][MQTT-4.12.0-1]") {
  Scene scene;
  TestClient client(scene.broker), tenant(scene.broker, V5, 0, {.namespace_id = 1});
  CHECK(client.connect(connect_with("a", "m")).said() == Lines{"CONNACK 8c", "closed"});
  CHECK(tenant.connect(connect_with("a", "M")).said() == Lines{"CONNACK 8c", "closed"});
  CHECK(scene.access.asked.empty());
}

TEST_CASE("the host hears all that CONNECT says, and one answer may be enough", "[session][MQTT-4.12.0-5]") {
  Scene scene;
  TestClient client(scene.broker);
  codec::ConnectView connect = connect_with("a", "M", "first");
  connect.user_name = "u";
  connect.password = as_bytes("p");
  client.connect(connect);
  REQUIRE(scene.access.asked.size() == 1);
  const TestAccess::Asked& asked = scene.access.asked[0];
  CHECK(asked.client_id == "a");
  CHECK(asked.user_name == "u");
  CHECK(asked.password == "p");
  CHECK(asked.method == "M");
  CHECK(asked.data == "first");
  CHECK(asked.address == "192.0.2.1:50000");
  CHECK_FALSE(asked.reauthentication);
  CHECK(asked.round == 0);
  CHECK(client.said() == Lines{});
  scene.answer(allow("welcome"));
  CHECK(client.said() == Lines{"CONNACK 00 M 'welcome'"});
  CHECK(client.ping().said() == Lines{"PINGRESP"});

  scene.access.connects = Verdict::Allow;
  TestClient at_once(scene.broker);
  CHECK(at_once.connect(connect_with("b", "M")).said() == Lines{"CONNACK 00 M ''"});
}

TEST_CASE("the host asks on by AUTH 0x18 and is answered by AUTH 0x18, each with the method of CONNECT",
          "[session][MQTT-4.12.0-2][MQTT-4.12.0-3][MQTT-4.12.0-5][MQTT-3.15.2-1][MQTT-3.2.0-1]") {
  Scene scene;
  TestClient client(scene.broker);
  codec::ConnectView connect = connect_with("a", "M", "0");
  connect.user_name = "u";
  connect.password = as_bytes("p");
  client.connect(connect);
  for (uint32_t round = 0; round < 3; ++round) {
    REQUIRE(scene.access.asked.size() == round + 1);
    const TestAccess::Asked& asked = scene.access.asked[round];
    CHECK(asked.round == round);
    CHECK(asked.data == std::to_string(round));
    CHECK(asked.client_id == "a");
    CHECK(asked.user_name == "u");
    CHECK(asked.password == "p");
    CHECK(asked.method == "M");
    CHECK_FALSE(asked.reauthentication);
    CHECK(client.said() == Lines{});
    CHECK(client.link().paused);
    if (round == 2) break;
    scene.answer(go_on("ask" + std::to_string(round)));
    CHECK(client.said() == Lines{"AUTH 18 M 'ask" + std::to_string(round) + "'"});
    CHECK_FALSE(client.link().paused);
    client.auth(kGoOn, "M", std::to_string(round + 1));
  }
  CHECK(scene.broker.core().sessions().count() == 0);
  scene.answer(allow("end"));
  CHECK(client.said() == Lines{"CONNACK 00 M 'end'"});
  CHECK_FALSE(client.link().paused);
  CHECK(client.ping().said() == Lines{"PINGRESP"});
  CHECK(scene.broker.counter(&Counters::packets_received) == 4);
}

TEST_CASE("an answer may come at once in a later round too", "[session][MQTT-4.12.0-4]") {
  Scene scene;
  TestClient good(scene.broker), bad(scene.broker), busy(scene.broker);
  scene.ask_for_more(good, "good");
  scene.ask_for_more(bad, "bad");
  scene.ask_for_more(busy, "busy");
  scene.access.connects = Verdict::Allow;
  CHECK(good.auth(kGoOn, "M").said() == Lines{"CONNACK 00 M ''"});
  CHECK(good.ping().said() == Lines{"PINGRESP"});
  scene.access.connects = Verdict::Deny;
  CHECK(bad.auth(kGoOn, "M").said() == Lines{"CONNACK 87", "closed"});
  scene.access.connects = Verdict::Busy;
  CHECK(busy.auth(kGoOn, "M").said() == Lines{"CONNACK 89", "closed"});
}

TEST_CASE("who fails is told by CONNACK and closed, in any round", "[session][MQTT-4.12.0-4][MQTT-3.1.4-2]") {
  Scene scene;
  TestClient early(scene.broker), late(scene.broker);
  early.connect(connect_with("a", "M"));
  scene.answer(deny(ReasonCode::BadUserNameOrPassword));
  CHECK(early.said() == Lines{"CONNACK 86", "closed"});
  scene.ask_for_more(late).auth(kGoOn, "M", "wrong");
  scene.answer(deny());
  CHECK(late.said() == Lines{"CONNACK 87", "closed"});
  CHECK(scene.broker.core().sessions().count() == 0);
  CHECK(scene.broker.core().connections().count() == 0);
  CHECK(scene.broker.counter(&Counters::connections_refused) == 2);
}

TEST_CASE("until CONNACK a client says nothing but AUTH and DISCONNECT",
          "[session][MQTT-3.1.2-30][MQTT-3.1.4-6][MQTT-3.14.0-1]") {
  Scene scene;
  const auto said_to = [&](std::string_view packet) {
    TestClient client(scene.broker);
    return scene.ask_for_more(client).raw(packet).said();
  };
  const Lines refused{"CONNACK 82", "closed"};
  CHECK(said_to("c0 00") == refused);
  CHECK(said_to("31 05 00 01 't' 00 'x'") == refused);
  CHECK(said_to("82 07 00 01 00 00 01 't' 00") == refused);
  CHECK(said_to("40 02 00 01") == refused);
  CHECK(said_to("10 0e | 00 04 'MQTT' 05 02 | 00 3c | 00 | 00 01 'a'") == refused);
  CHECK(said_to("30 7f") == refused);  // before it is there
  CHECK(said_to("20 02 00 00") == refused);
  CHECK(scene.broker.counter(&Counters::protocol_errors) == 7);
  CHECK(scene.broker.counter(&Counters::retained_set) == 0);
  CHECK(said_to("e0 00") == Lines{"closed"});
  CHECK(said_to("e0 01 04") == Lines{"closed"});                    // there is no will yet
  CHECK(said_to("e0 07 00 05 11 00 00 00 05") == Lines{"closed"});  // nor a session
  CHECK(said_to("e0 01 10") == Lines{"CONNACK 82", "closed"});      // no reason of DISCONNECT
  CHECK(said_to("e0 00 c0 00 f0 00") == Lines{"closed"});           // nothing behind it counts
  CHECK(scene.broker.counter(&Counters::protocol_errors) == 8);
  CHECK(scene.broker.core().connections().count() == 0);
}

TEST_CASE("an AUTH out of place before CONNACK is a protocol error",
          "[session][MQTT-4.12.0-3][MQTT-4.12.0-5][MQTT-3.15.1-1][MQTT-3.15.2-1]") {
  Scene scene;
  const auto said_to = [&](std::string_view packet) {
    TestClient client(scene.broker);
    return scene.ask_for_more(client).raw(packet).said();
  };
  CHECK(said_to("f0 06 18 04 15 00 01 'N'") == Lines{"CONNACK 82", "closed"});  // another method
  CHECK(said_to("f0 06 18 04 15 00 01 'm'") == Lines{"CONNACK 82", "closed"});
  CHECK(said_to("f0 02 18 00") == Lines{"CONNACK 82", "closed"});  // none
  CHECK(said_to("f0 00") == Lines{"CONNACK 82", "closed"});        // success, which is not a client's
  CHECK(said_to("f0 06 00 04 15 00 01 'M'") == Lines{"CONNACK 82", "closed"});
  CHECK(said_to("f0 06 19 04 15 00 01 'M'") == Lines{"CONNACK 82", "closed"});  // there is nothing to begin again
  CHECK(said_to("f0 06 87 04 15 00 01 'M'") == Lines{"CONNACK 82", "closed"});
  CHECK(said_to("f1 06 18 04 15 00 01 'M'") == Lines{"CONNACK 81", "closed"});
  CHECK(scene.access.asked.size() == 8);
}

TEST_CASE("without a method in CONNECT there is no AUTH, from neither side",
          "[session][MQTT-4.12.0-6][MQTT-4.12.0-7]") {
  Scene scene;
  TestClient client(scene.broker), oldest(scene.broker, V311), asked_on(scene.broker);
  client.connect(connect_as("a"));
  CHECK(scene.access.asked.back().method == "-");
  scene.answer(allow("data"));
  CHECK(client.said() == Lines{"CONNACK 00"});
  CHECK(client.auth(kAgain, "M").said() == Lines{"DISCONNECT 82", "closed"});
  oldest.connect(connect_as("b"));
  scene.answer(allow("data"));
  CHECK(oldest.said() == Lines{"CONNACK 00"});
  CHECK(oldest.auth(kAgain, "M").said() == Lines{"closed"});
  asked_on.connect(connect_as("c"));
  scene.answer(go_on("more"));  // a host that asked for what cannot be
  CHECK(asked_on.said() == Lines{"CONNACK 87", "closed"});
}

TEST_CASE("answers of an earlier round, and a second one, are not for this round", "[session][MQTT-4.12.0-2]") {
  Scene scene;
  TestClient client(scene.broker);
  scene.ask_for_more(client);
  const AccessTicket first = scene.access.asked.back().ticket;
  scene.broker.answer(first, allow("too early"));  // it is the client's turn
  scene.broker.answer(first, go_on("again"));
  CHECK(client.said() == Lines{});
  client.auth(kGoOn, "M", "proof");
  const AccessTicket second = scene.access.asked.back().ticket;
  scene.broker.answer(first, allow("too late"));
  scene.broker.answer(first, deny());
  CHECK(client.said() == Lines{});
  CHECK_FALSE(client.closed());
  scene.broker.answer(second, allow("right"));
  scene.broker.answer(second, deny());
  scene.broker.answer(second, go_on());
  CHECK(client.said() == Lines{"CONNACK 00 M 'right'"});
  CHECK(client.ping().said() == Lines{"PINGRESP"});
  client.drop();
  scene.broker.answer(second, allow());
}

TEST_CASE("rounds are bounded", "[session][MQTT-4.12.0-4]") {
  Scene scene;
  TestClient enough(scene.broker), too_many(scene.broker);
  for (TestClient* client : {&enough, &too_many}) {
    client->connect(connect_with(client == &enough ? "a" : "b", "M"));
    for (uint32_t round = 0; round < kAuthenticationRoundsMax; ++round) {
      scene.answer(go_on());
      CHECK(client->said() == Lines{"AUTH 18 M ''"});
      client->auth(kGoOn, "M");
    }
    CHECK(scene.access.asked.back().round == kAuthenticationRoundsMax);
    scene.answer(client == &enough ? allow() : go_on());
  }
  CHECK(enough.said() == Lines{"CONNACK 00 M ''"});
  CHECK(too_many.said() == Lines{"CONNACK 87", "closed"});
}

TEST_CASE("the time for CONNECT is the time for the whole conversation", "[session][MQTT-4.12.0-4]") {
  TestSetup setup;
  setup.limits.connect_timeout_ms = 5'000;
  Scene scene(setup);
  TestClient silent(scene.broker), unanswered(scene.broker);
  silent.connect(connect_with("a", "M"));
  scene.broker.advance_ms(2'000);
  scene.answer(go_on());
  scene.ask_for_more(unanswered, "b");
  scene.broker.advance_ms(2'900);
  CHECK(silent.said() == Lines{"AUTH 18 M ''"});
  unanswered.auth(kGoOn, "M");
  CHECK_FALSE(silent.closed());
  scene.broker.advance_ms(200);
  CHECK(silent.said() == Lines{"CONNACK 87", "closed"});
  CHECK(unanswered.said() == Lines{"CONNACK 87", "closed"});
  scene.answer(allow());
}

// A shard without memory for its list of those who wait for room looks at all connections.
TEST_CASE("who waits for the host is not disturbed by others who wait for room", "[session]") {
  for (int64_t blocks = 0; blocks < 20; ++blocks) {
    INFO(blocks << " blocks are given");
    Scene scene({.shard_count = 2, .mailbox_capacity = 1});
    TestClient subscriber(scene.broker), publisher(scene.broker), first(scene.broker), second(scene.broker);
    scene.accepted(subscriber, connect_with(scene.broker.client_id_at(1), "M")).subscribed("t", Qos::AtMostOnce);
    const std::string name = scene.broker.client_id_at(0);
    scene.accepted(publisher, connect_with(name, "M"));
    first.connect(connect_with(name + "0", "M"));
    const AccessTicket about_first = scene.access.asked.back().ticket;
    scene.ask_for_more(second, name + "1").auth(kGoOn, "M");
    const size_t asked = scene.access.asked.size();
    for (int i = 0; i < 4; ++i) publisher.link().inbox.push_back(hex("30 05 00 01 't' 00 'x'"));
    {
      const FailingHeap failing(blocks);
      for (int i = 0; i < 3; ++i) scene.broker.turn(0);
    }
    scene.broker.settle();
    CHECK(scene.access.asked.size() == asked);
    CHECK(first.said() == Lines{});
    CHECK(second.said() == Lines{});
    scene.broker.answer(about_first, deny());
    scene.answer(deny());
    CHECK(first.said() == Lines{"CONNACK 87", "closed"});
    CHECK(second.said() == Lines{"CONNACK 87", "closed"});
  }
}

TEST_CASE("an AUTH may come byte by byte", "[session][MQTT-4.12.0-3]") {
  Scene scene;
  TestClient client(scene.broker);
  scene.ask_for_more(client);
  for (const char* byte : {"f0", "0b", "18", "09", "15", "00", "01", "'M'", "16", "00", "02", "'h'", "'i'"}) {
    CHECK(scene.access.asked.size() == 1);
    client.raw(byte);
  }
  REQUIRE(scene.access.asked.size() == 2);
  CHECK(scene.access.asked[1].data == "hi");
  scene.answer(allow());
  CHECK(client.said() == Lines{"CONNACK 00 M ''"});
}

TEST_CASE("a client identifier of ours is the same in every round and in CONNACK", "[session][MQTT-3.2.2-16]") {
  Scene scene;
  TestClient client(scene.broker);
  client.connect(connect_with("", "M"));
  scene.answer(go_on());
  client.auth(kGoOn, "M");
  REQUIRE(scene.access.asked.size() == 2);
  CHECK(scene.access.asked[0].client_id.starts_with("auto-"));
  CHECK(scene.access.asked[1].client_id == scene.access.asked[0].client_id);
  client.said();
  scene.answer(allow());
  const auto bytes = client.said_bytes();
  const auto connack = codec::decode_connack(bytes, V5);
  REQUIRE(connack.ok());
  CHECK(connack->assigned_client_id == scene.access.asked[0].client_id);
}

TEST_CASE("the host says who it is, and that is the user of the connection", "[session]") {
  for (const std::string_view method : {"M", ""}) {
    Scene scene;
    TestClient named(scene.broker), unnamed(scene.broker);
    codec::ConnectView connect = method.empty() ? connect_as("a") : connect_with("a", method);
    connect.user_name = "claimed";
    named.connect(connect);
    scene.answer(allow({}, "ann"));
    named.publish("t", "x");
    connect.client_id = "b";
    unnamed.connect(connect);
    scene.answer(allow());
    unnamed.publish("t", "x");
    REQUIRE(scene.access.acting.size() == 2);
    CHECK(scene.access.acting[0].user_name == "ann");
    CHECK(scene.access.acting[1].user_name == "claimed");
  }
}

TEST_CASE("method, data and user go with the connection to the shard of its session",
          "[session][MQTT-4.12.0-5][MQTT-4.12.1-1]") {
  for (const uint32_t rounds : {0u, 1u, 2u}) {
    Scene scene({.shard_count = 2});
    const std::string name = scene.broker.client_id_at(1);
    TestClient client(scene.broker);
    codec::ConnectView connect = with_will(connect_with(name, "M", "first"), "w", "gone");
    connect.user_name = "claimed";
    client.connect(connect);
    for (uint32_t round = 0; round < rounds; ++round) {
      scene.answer(go_on());
      if (round + 1 < rounds) {
        client.auth(kGoOn, "M");
      } else {
        client.raw("f0 06 18 04 15 00 01 'M'  c0 00  c0");  // nothing of what comes behind it is lost
      }
    }
    client.said();
    CHECK(scene.access.asked.back().round == rounds);
    CHECK(scene.access.asked.back().ticket.shard == 0);
    const AccessTicket old = scene.access.asked.back().ticket;
    scene.answer(allow("welcome", "ann"));
    if (rounds) client.raw("00");
    Lines lines{"CONNACK 00 M 'welcome'"};
    if (rounds) lines.insert(lines.end(), 2, "PINGRESP");
    CHECK(client.said() == lines);
    CHECK(scene.broker.counter(&Counters::connections_moved) == 1);
    CHECK(scene.broker.core(1).sessions().count() == 1);
    CHECK(scene.broker.counter(&Counters::packets_received) == 1 + rounds + (rounds ? 2 : 0));
    scene.broker.answer(old, deny());
    CHECK(client.publish("t", "x").ping().said() == Lines{"PINGRESP"});
    CHECK(scene.access.acting.back().user_name == "ann");

    client.auth(kAgain, "M", "again");
    CHECK(scene.access.asked.back().ticket.shard == 1);
    CHECK(scene.access.asked.back().client_id == name);
    CHECK(scene.access.asked.back().user_name == "ann");
    scene.answer(allow("done"));
    CHECK(client.said() == Lines{"AUTH 00 M 'done'"});
  }
}

// AUTH never has a Reason String or User Properties that could be left out.
TEST_CASE("an AUTH that is larger than the client takes is not sent",
          "[session][MQTT-3.15.2-2][MQTT-3.15.2-3][MQTT-3.1.2-24]") {
  for (const uint32_t size : {14u, 13u}) {
    Scene scene;
    TestClient client(scene.broker);
    codec::ConnectView connect = connect_with("a", "M");
    connect.maximum_packet_size = size;
    client.connect(connect);
    scene.answer(go_on("abc"));
    const auto bytes = client.said_bytes();
    CHECK(bytes.size() == (size == 14 ? 14 : 0));
    CHECK(client.closed() == (size == 13));
    if (size == 14) CHECK(describe(bytes, V5) == Lines{"AUTH 18 M 'abc'"});
  }
}

// --- of a connection in use

TEST_CASE("a client authenticates anew, and all else goes on meanwhile",
          "[session][MQTT-4.12.1-1][MQTT-4.12.0-2][MQTT-4.12.0-5][MQTT-3.15.2-1]") {
  Scene scene;
  TestClient client(scene.broker), other(scene.broker);
  codec::ConnectView connect = connect_with("a", "M");
  connect.user_name = "u";
  connect.password = as_bytes("p");
  scene.accepted(client, connect).subscribed("t", kQos1);
  scene.accepted(other, connect_with("b", "M")).subscribed("t", kQos1);
  uint16_t packet_id = 0;  // to each subscriber
  const auto all_goes_on = [&] {
    const std::string line = "PUBLISH t 'mine' qos1 #" + std::to_string(++packet_id);
    CHECK(client.publish("t", "mine", kQos1, 1).said() == Lines{line, "PUBACK #1"});
    CHECK(client.ack(codec::PacketType::Puback, packet_id).ping().said() == Lines{"PINGRESP"});
    CHECK(other.said() == Lines{line});
    other.ack(codec::PacketType::Puback, packet_id);
  };

  client.auth(kAgain, "M", "first");
  REQUIRE(scene.access.asked.size() == 3);
  const TestAccess::Asked asked = scene.access.asked.back();
  CHECK(asked.reauthentication);
  CHECK(asked.round == 0);
  CHECK(asked.client_id == "a");
  CHECK(asked.user_name == "u");
  CHECK(asked.password == "-");
  CHECK(asked.method == "M");
  CHECK(asked.data == "first");
  CHECK(asked.address == "192.0.2.1:50000");
  CHECK(client.said() == Lines{});
  CHECK_FALSE(client.link().paused);
  all_goes_on();
  scene.answer(go_on("challenge"));
  CHECK(client.said() == Lines{"AUTH 18 M 'challenge'"});
  all_goes_on();
  client.auth(kGoOn, "M", "proof");
  CHECK(scene.access.asked.back().reauthentication);
  CHECK(scene.access.asked.back().round == 1);
  CHECK(scene.access.asked.back().data == "proof");
  all_goes_on();
  scene.broker.answer(asked.ticket, deny());  // of the round before
  scene.answer(allow("welcome"));
  scene.answer(deny());
  CHECK(client.said() == Lines{"AUTH 00 M 'welcome'"});
  all_goes_on();

  client.auth(kAgain, "M");  // and once more
  CHECK(scene.access.asked.back().round == 0);
  scene.answer(allow());
  CHECK(client.said() == Lines{"AUTH 00 M ''"});
}

TEST_CASE("who fails to authenticate anew is disconnected", "[session][MQTT-4.12.1-2][MQTT-3.14.2-1]") {
  struct Case {
    ReasonCode given, said;
    const char* line;
  };
  const Case cases[] = {
      {ReasonCode::Success, ReasonCode::NotAuthorized, "DISCONNECT 87"},
      {ReasonCode::QuotaExceeded, ReasonCode::QuotaExceeded, "DISCONNECT 97"},
      {ReasonCode::BadUserNameOrPassword, ReasonCode::NotAuthorized, "DISCONNECT 87"},  // a CONNACK's alone
      {ReasonCode::Banned, ReasonCode::NotAuthorized, "DISCONNECT 87"},
      {ReasonCode::ContinueAuthentication, ReasonCode::NotAuthorized, "DISCONNECT 87"},
  };
  for (const Case& one : cases) {
    Scene scene;
    TestClient client(scene.broker), watcher(scene.broker);
    scene.accepted(watcher, connect_with("w", "M")).subscribed("will", Qos::AtMostOnce);
    scene.accepted(client, with_will(connect_with("a", "M"), "will", "gone")).auth(kAgain, "M");
    scene.answer(deny(one.given));
    CHECK(client.said() == Lines{one.line, "closed"});
    CHECK(watcher.said() == Lines{"PUBLISH will 'gone'"});
  }
  Scene scene;
  TestClient at_once(scene.broker), busy(scene.broker), bounded(scene.broker);
  scene.accepted(at_once, connect_with("a", "M"));
  scene.accepted(busy, connect_with("b", "M"));
  scene.accepted(bounded, connect_with("c", "M")).auth(kAgain, "M");
  for (uint32_t round = 0; round < kAuthenticationRoundsMax; ++round) {
    scene.answer(go_on());
    CHECK(bounded.said() == Lines{"AUTH 18 M ''"});
    bounded.auth(kGoOn, "M");
  }
  scene.answer(go_on());
  CHECK(bounded.said() == Lines{"DISCONNECT 87", "closed"});
  scene.access.connects = Verdict::Deny;
  CHECK(at_once.auth(kAgain, "M").said() == Lines{"DISCONNECT 87", "closed"});
  scene.access.connects = Verdict::Busy;
  CHECK(busy.auth(kAgain, "M").said() == Lines{"DISCONNECT 89", "closed"});
}

TEST_CASE("an AUTH out of place on a connection in use is a protocol error",
          "[session][MQTT-4.12.1-1][MQTT-4.12.0-3][MQTT-3.15.1-1][MQTT-3.15.2-1]") {
  Scene scene;
  enum class Open { Nothing, HostAsked, ClientAsked };
  const auto said_to = [&](Open open, std::string_view packet) {
    TestClient client(scene.broker);
    scene.accepted(client);
    if (open != Open::Nothing) client.auth(kAgain, "M");
    if (open == Open::ClientAsked) scene.answer(go_on());
    client.said();
    const size_t asked = scene.access.asked.size();
    const Lines lines = client.raw(packet).said();
    CHECK(scene.access.asked.size() == asked);
    return lines;
  };
  const std::string_view again = "f0 06 19 04 15 00 01 'M'", on = "f0 06 18 04 15 00 01 'M'";
  const Lines error{"DISCONNECT 82", "closed"};
  CHECK(said_to(Open::Nothing, on) == error);
  CHECK(said_to(Open::Nothing, "f0 06 19 04 15 00 01 'N'") == error);  // not the method of CONNECT
  CHECK(said_to(Open::Nothing, "f0 02 19 00") == error);
  CHECK(said_to(Open::Nothing, "f0 06 00 04 15 00 01 'M'") == error);
  CHECK(said_to(Open::Nothing, "f0 00") == error);
  CHECK(said_to(Open::Nothing, "f4 06 19 04 15 00 01 'M'") == Lines{"DISCONNECT 81", "closed"});
  CHECK(said_to(Open::HostAsked, again) == error);
  CHECK(said_to(Open::HostAsked, on) == error);
  CHECK(said_to(Open::ClientAsked, again) == error);
  CHECK(said_to(Open::ClientAsked, "f0 06 18 04 15 00 01 'N'") == error);
  CHECK(scene.broker.core().connections().count() == 0);
}

TEST_CASE("a conversation that does not end in time ends the connection", "[session][MQTT-4.12.1-2]") {
  TestSetup setup;
  setup.limits.connect_timeout_ms = 60'000;
  Scene scene(setup);
  const ListenerInfo hurried{.connect_timeout_ms = 5'000};
  TestClient waits_for_host(scene.broker, V5, 0, hurried), waits_for_client(scene.broker, V5, 0, hurried);
  TestClient in_time(scene.broker, V5, 0, hurried), dawdles(scene.broker, V5, 0, hurried);
  scene.accepted(waits_for_host, connect_with("a", "M"));
  scene.accepted(waits_for_client, connect_with("b", "M"));
  scene.accepted(in_time, connect_with("c", "M"));
  scene.accepted(dawdles, connect_with("d", "M"));
  scene.broker.advance_s(100);  // the time to connect is long over
  waits_for_host.auth(kAgain, "M");
  const AccessTicket unanswered = scene.access.asked.back().ticket;
  dawdles.auth(kAgain, "M");
  scene.answer(go_on());
  waits_for_client.auth(kAgain, "M");
  scene.broker.advance_ms(2'000);
  scene.answer(go_on());
  CHECK(waits_for_client.said() == Lines{"AUTH 18 M ''"});
  dawdles.auth(kGoOn, "M");  // gains no time
  CHECK(dawdles.said() == Lines{"AUTH 18 M ''"});
  in_time.auth(kAgain, "M");
  scene.answer(allow());
  CHECK(in_time.said() == Lines{"AUTH 00 M ''"});
  scene.broker.advance_ms(2'900);
  CHECK(waits_for_host.ping().said() == Lines{"PINGRESP"});
  CHECK(waits_for_client.ping().said() == Lines{"PINGRESP"});
  scene.broker.advance_ms(200);
  CHECK(waits_for_host.said() == Lines{"DISCONNECT 87", "closed"});
  CHECK(waits_for_client.said() == Lines{"DISCONNECT 87", "closed"});
  CHECK(dawdles.said() == Lines{"DISCONNECT 87", "closed"});
  scene.broker.answer(unanswered, allow());  // too late
  scene.broker.advance_s(100);
  CHECK(in_time.ping().said() == Lines{"PINGRESP"});
}

TEST_CASE("permissions are the user's who was authenticated last", "[session]") {
  Scene scene;
  TestClient client(scene.broker);
  scene.accepted(client);
  client.publish("t", "1", kQos1, 1).publish("t", "2", kQos1, 2);
  CHECK(client.said() == Lines{"PUBACK #1 10", "PUBACK #2 10"});
  CHECK(scene.access.acting.size() == 1);  // remembered
  client.auth(kAgain, "M");
  client.publish("t", "3", kQos1, 3);
  CHECK(scene.access.acting.size() == 1);  // until it has succeeded
  scene.answer(allow({}, "ben"));
  CHECK(client.said() == Lines{"PUBACK #3 10", "AUTH 00 M ''"});
  scene.access.acts = Verdict::Deny;
  CHECK(client.publish("t", "4", kQos1, 4).said() == Lines{"PUBACK #4 87"});
  REQUIRE(scene.access.acting.size() == 2);
  CHECK(scene.access.acting[1].user_name == "ben");
}

TEST_CASE("what was asked for the user before is asked again for the new one", "[session]") {
  Scene scene;
  TestClient client(scene.broker);
  scene.accepted(client).auth(kAgain, "M");
  scene.access.acts = Verdict::Pending;
  client.publish("t", "1", kQos1, 1);
  REQUIRE(scene.access.acting.size() == 1);
  scene.answer(allow({}, "ben"));
  CHECK(client.said() == Lines{"AUTH 00 M ''"});
  REQUIRE(scene.access.acting.size() == 2);
  CHECK(scene.access.acting[1].user_name == "ben");
  CHECK(scene.access.acting[1].topic == "t");
  scene.broker.answer(scene.access.acting[0].ticket, Verdict::Allow);  // of the user before
  CHECK(client.said() == Lines{});
  scene.broker.answer(scene.access.acting[1].ticket, Verdict::Deny);
  CHECK(client.said() == Lines{"PUBACK #1 87"});
  CHECK(client.ping().said() == Lines{"PINGRESP"});
}

}  // namespace mqttq
