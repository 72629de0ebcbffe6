// The host as an authenticator of its own methods: AUTHENTICATE events with a method, and mqttq_reply_auth().
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <map>
#include <mutex>

#include "host.h"

using namespace mqttq::abi;

namespace {

constexpr uint8_t kGoOn = 0x18, kAgain = 0x19;

void offer(Host& host, mqttq_events* events, std::vector<const char*> methods, bool authorize = false) {
  REQUIRE(mqttq_broker_set_access(host.get(), events, 1, authorize, nullptr) == MQTTQ_OK);
  REQUIRE(mqttq_broker_set_auth_methods(host.get(), methods.data(), methods.size(), nullptr) == MQTTQ_OK);
}

mqttq_status reply(Host& host, const Taken& question, mqttq_auth_decision decision, std::string_view data = {},
                   std::string_view user_name = {}, mqttq_reason_code reason_code = 0) {
  mqttq_auth_answer answer = auth_answer();
  answer.decision = decision;
  answer.reason_code = reason_code;
  answer.data = bytes(data);
  answer.user_name = bytes(user_name);
  return mqttq_reply_auth(host.get(), &question.event.reply, &answer);
}

std::string user_name_of(Host& host, const std::string& client_id) {
  uint64_t cursor = 0;
  mqttq_clients* clients = nullptr;
  std::string found;
  REQUIRE(mqttq_clients_list(host.get(), nullptr, bytes(client_id), &cursor, 0, &clients, nullptr) == MQTTQ_OK);
  for (size_t i = 0; i < mqttq_clients_count(clients); ++i) {
    const mqttq_client client = mqttq_clients_get(clients, i);
    if (text(client.client_id) == client_id) found = text(client.user_name);
  }
  mqttq_clients_free(clients);
  return found;
}

// The shape of SCRAM (RFC 5802) with a checksum in the place of its hash: who knows the password answers a challenge
// that nobody could foresee, and is shown that the other side knows it too.
std::string checksum(const std::string& secret) {
  uint32_t hash = 2'166'136'261u;
  for (const char byte : secret) hash = (hash ^ static_cast<uint8_t>(byte)) * 16'777'619u;
  return std::to_string(hash);
}
std::string proof(const std::string& password, const std::string& nonces) {
  return checksum("client " + password + nonces);
}
std::string signature(const std::string& password, const std::string& nonces) {
  return checksum("server " + password + nonces);
}

// "ann" with the password "secret"; each client's place in the conversation by its client id.
class Scram {
 public:
  explicit Scram(mqttq_broker* broker) : broker_(broker) {}

  static void on_event(void* user, const mqttq_event* event) { static_cast<Scram*>(user)->answer(*event); }

  void answer(const mqttq_event& event) {
    const std::lock_guard lock(mutex_);  // there may be several shards
    mqttq_auth_answer answer = auth_answer();
    std::string data;
    const std::string client_id = text(event.client_id), said = text(event.auth_data);
    if (event.round == 0) {
      nonces_[client_id] = said.substr(said.find(' ') + 1) + std::to_string(++count_);
      users_[client_id] = said.substr(0, said.find(' '));
      data = nonces_[client_id];
      answer.decision = MQTTQ_AUTH_CONTINUE;
    } else if (users_[client_id] == "ann" && said == proof("secret", nonces_[client_id])) {
      data = signature("secret", nonces_[client_id]);
      answer.decision = MQTTQ_AUTH_ALLOW;
      answer.user_name = bytes(users_[client_id]);
    } else {
      answer.reason_code = 0x86;
    }
    answer.data = bytes(data);
    statuses.push_back(mqttq_reply_auth(broker_, &event.reply, &answer));
  }

  std::vector<mqttq_status> statuses;

 private:
  mqttq_broker* broker_;
  std::mutex mutex_;
  std::map<std::string, std::string> users_, nonces_;
  uint32_t count_ = 0;
};

// Plays the client's part from its first AUTH on; returns what ends the conversation.
Answer converse(WireClient& client, const std::string& nonce, const std::string& password) {
  const Answer challenge = read_answer(client.read());
  CHECK(challenge.type == 0xF0);
  CHECK(challenge.reason_code == kGoOn);
  CHECK(challenge.method == "SCRAM");
  CHECK(challenge.data.starts_with(nonce));
  client.send(auth_packet(kGoOn, "SCRAM", proof(password, challenge.data)));
  const std::string last = client.read();
  if (static_cast<uint8_t>(last[0]) == 0xE0) return {0xE0, static_cast<uint8_t>(last[2]), {}, {}};
  const Answer end = read_answer(last);
  if (end.reason_code == 0) CHECK(end.data == signature("secret", challenge.data));
  return end;
}

}  // namespace

TEST_CASE("a host runs a conversation of two rounds with clients of two shards, and again later",
          "[abi][MQTT-4.12.0-2][MQTT-4.12.0-4][MQTT-4.12.0-5][MQTT-4.12.1-1][MQTT-4.12.1-2]") {
  for (const uint32_t mode : {uint32_t{MQTTQ_ON_WORKER}, uint32_t{MQTTQ_ON_SHARD}}) {
    Host host{2};
    Scram scram(host.get());
    offer(host, host.open_events(mode, Scram::on_event, &scram), {"OTHER", "SCRAM"});
    host.start();
    const std::string address = host.listen();
    for (int i = 0; i < 8; ++i) {  // some of them live on the other shard
      const std::string client_id = "c" + std::to_string(i);
      WireClient ann(address);
      ann.send(connect_packet({.client_id = client_id, .auth_method = "SCRAM", .auth_data = "ann n" + client_id}));
      const Answer accepted = converse(ann, "n" + client_id, "secret");
      CHECK(accepted.type == 0x20);
      CHECK(accepted.reason_code == 0);
      CHECK(accepted.method == "SCRAM");
      CHECK(user_name_of(host, client_id) == "ann");
      CHECK(ann.nothing_but_ping());

      ann.send(auth_packet(kAgain, "SCRAM", "ann m"));
      const Answer again = converse(ann, "m", "secret");
      CHECK(again.type == 0xF0);
      CHECK(again.reason_code == 0);
      CHECK(again.method == "SCRAM");
      CHECK(ann.nothing_but_ping());

      ann.send(auth_packet(kAgain, "SCRAM", "ben m"));
      const Answer failed = converse(ann, "m", "secret");
      CHECK(failed.type == 0xE0);
      CHECK(failed.reason_code == 0x87);  // 0x86 is not for DISCONNECT
      CHECK(ann.read().empty());
    }
    WireClient thief(address);
    thief.send(connect_packet({.client_id = "t", .auth_method = "SCRAM", .auth_data = "ann n"}));
    const Answer refused = converse(thief, "n", "guess");
    CHECK(refused.type == 0x20);
    CHECK(refused.reason_code == 0x86);
    CHECK(refused.method.empty());
    CHECK(thief.read().empty());
    host.end();
    CHECK(scram.statuses == std::vector<mqttq_status>(8 * 6 + 2, MQTTQ_OK));
  }
}

TEST_CASE("an event with a method says all there is to know", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events();
  offer(host, events, {"M"});
  host.start();
  const std::string address = host.listen(host.open_namespace("tenant"));
  WireClient client(address);
  client.send(connect_packet({.client_id = "a",
                              .user_name = "claimed",
                              .password = "secret",
                              .auth_method = "M",
                              .auth_data = std::string("\0\xFF", 2)}));
  wait_for_event(events);
  WireClient other(address);  // comes to where the first one's bytes were read
  other.send(connect_packet({.client_id = "other", .auth_method = "N", .auth_data = std::string(500, 'z')}));
  CHECK(read_answer(other.read()).reason_code == 0x8C);
  const Taken first = take_one(events);
  CHECK(first.event.type == MQTTQ_EVENT_AUTHENTICATE);
  CHECK(first.event.has_reply == 1);
  CHECK(first.event.protocol_version == 5);
  CHECK(first.namespace_name == "tenant");
  CHECK(first.client_id == "a");
  CHECK(first.user_name == "claimed");
  CHECK(first.password == "secret");
  CHECK(first.address.starts_with("127.0.0.1:"));
  CHECK(first.auth_method == "M");
  CHECK(first.auth_data == std::string("\0\xFF", 2));
  CHECK(first.event.reauthentication == 0);
  CHECK(first.event.round == 0);
  CHECK(reply(host, first, MQTTQ_AUTH_CONTINUE, "?") == MQTTQ_OK);
  CHECK(read_answer(client.read()).data == "?");
  client.send(auth_packet(kGoOn, "M", "!"));
  const Taken second = take_one(events);
  CHECK(second.client_id == "a");
  CHECK(second.password == "secret");
  CHECK(second.auth_data == "!");
  CHECK(second.event.round == 1);
  CHECK(reply(host, second, MQTTQ_AUTH_ALLOW, {}, "ann") == MQTTQ_OK);
  CHECK(read_answer(client.read()).method == "M");

  client.send(auth_packet(kAgain, "M", "anew"));
  const Taken again = take_one(events);
  CHECK(again.event.type == MQTTQ_EVENT_AUTHENTICATE);
  CHECK(again.event.has_user_name == 1);
  CHECK(again.event.has_password == 0);
  CHECK(again.event.reauthentication == 1);
  CHECK(again.event.round == 0);
  CHECK(again.namespace_name == "tenant");
  CHECK(again.client_id == "a");
  CHECK(again.user_name == "ann");
  CHECK(again.auth_method == "M");
  CHECK(again.auth_data == "anew");
  mqttq_reply_access(host.get(), &again.event.reply, 1, 0);  // serves for what needs no data
  const Answer done = read_answer(client.read());
  CHECK(done.type == 0xF0);
  CHECK(done.reason_code == 0);
  CHECK(client.nothing_but_ping());

  WireClient plain(address);
  plain.send(connect_packet({.client_id = "b", .user_name = "claimed"}));
  const Taken without = take_one(events);
  CHECK(without.auth_method.empty());
  CHECK(reply(host, without, MQTTQ_AUTH_ALLOW, "ignored", "ben") == MQTTQ_OK);
  const Answer connack = read_answer(plain.read());
  CHECK(connack.reason_code == 0);
  CHECK(connack.method.empty());
  CHECK(plain.nothing_but_ping());
}

TEST_CASE("methods that the host did not name are refused, and so are all when it does not authenticate",
          "[abi][MQTT-4.12.0-1]") {
  for (const int authenticate : {1, 0}) {
    Host host;
    mqttq_events* events = host.open_events();
    const char* const methods[] = {"M", "N"};
    // Either may come first.
    if (!authenticate) REQUIRE(mqttq_broker_set_auth_methods(host.get(), methods, 2, nullptr) == MQTTQ_OK);
    REQUIRE(mqttq_broker_set_access(host.get(), events, authenticate, 0, nullptr) == MQTTQ_OK);
    if (authenticate) REQUIRE(mqttq_broker_set_auth_methods(host.get(), methods, 2, nullptr) == MQTTQ_OK);
    host.start();
    const std::string address = host.listen();
    for (const std::string method : {"m", "MN", "M", "N"}) {
      WireClient client(address);
      client.send(connect_packet({.client_id = "c", .auth_method = method, .auth_data = "x"}));
      if (authenticate && method.size() == 1 && method != "m") {
        CHECK(reply(host, take_one(events), MQTTQ_AUTH_DENY, "ignored", {}, 0x8A) == MQTTQ_OK);
        CHECK(read_answer(client.read()).reason_code == 0x8A);
      } else {
        CHECK(read_answer(client.read()).reason_code == 0x8C);
      }
      CHECK(client.read().empty());
    }
    CHECK(is_empty(events));
  }
}

TEST_CASE("names of methods are judged, and only before the broker is started", "[abi]") {
  Host host;
  const std::string longest(65'535, 'x'), longer(65'536, 'x');
  const auto set = [&](std::vector<const char*> methods) {
    return mqttq_broker_set_auth_methods(host.get(), methods.data(), methods.size(), nullptr);
  };
  CHECK(set({"M", longest.c_str()}) == MQTTQ_OK);
  CHECK(set({"M", longer.c_str()}) == MQTTQ_EINVAL);
  CHECK(set({"M", "\xFF"}) == MQTTQ_EINVAL);
  CHECK(set({"M", ""}) == MQTTQ_EINVAL);
  CHECK(set({"M", nullptr}) == MQTTQ_EINVAL);
  CHECK(mqttq_broker_set_auth_methods(host.get(), nullptr, 1, nullptr) == MQTTQ_EINVAL);
  CHECK(mqttq_broker_set_auth_methods(host.get(), nullptr, 0, nullptr) == MQTTQ_OK);
  host.start();
  mqttq_error error = make_error();
  CHECK(mqttq_broker_set_auth_methods(host.get(), nullptr, 0, &error) == MQTTQ_ESTATE);
  CHECK(error.status == MQTTQ_ESTATE);
}

TEST_CASE("an answer that cannot be is refused, and the right one still counts", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events();
  offer(host, events, {"M"});
  host.start();
  WireClient client(host.listen());
  client.send(connect_packet({.client_id = "a", .auth_method = "M", .auth_data = "x"}));
  const Taken question = take_one(events);
  const std::string longest(65'535, 'x'), longer(65'536, 'x');
  CHECK(reply(host, question, 3) == MQTTQ_EINVAL);
  CHECK(reply(host, question, MQTTQ_AUTH_ALLOW, longer) == MQTTQ_EINVAL);
  CHECK(reply(host, question, MQTTQ_AUTH_ALLOW, {}, longer) == MQTTQ_EINVAL);
  CHECK(reply(host, question, MQTTQ_AUTH_ALLOW, {}, "\xFF") == MQTTQ_EINVAL);
  CHECK(mqttq_reply_auth(host.get(), &question.event.reply, nullptr) == MQTTQ_EINVAL);
  struct {
    mqttq_auth_answer known;
    uint64_t tail;
  } newer{auth_answer(), 1};
  newer.known.size = sizeof newer;
  newer.known.decision = MQTTQ_AUTH_ALLOW;
  CHECK(mqttq_reply_auth(host.get(), &question.event.reply, &newer.known) == MQTTQ_EINVAL);
  const mqttq_reply nobodys{{UINT64_MAX, 0, 0}};
  CHECK(mqttq_reply_auth(host.get(), &nobodys, &newer.known) == MQTTQ_EINVAL);

  mqttq_auth_answer older = auth_answer();  // ends before its strings
  older.size = offsetof(mqttq_auth_answer, data);
  older.decision = MQTTQ_AUTH_ALLOW;
  older.data = bytes("not read");
  CHECK(mqttq_reply_auth(host.get(), &question.event.reply, &older) == MQTTQ_OK);
  const Answer connack = read_answer(client.read());
  CHECK(connack.reason_code == 0);
  CHECK(connack.data.empty());
  CHECK(user_name_of(host, "a").empty());
}

TEST_CASE("answers of another round, twice, late or never change nothing for others", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  offer(host, events, {"M"});
  host.start();
  const std::string address = host.listen(), hurried = host.listen(nullptr, 1'500);
  WireClient client(address);
  client.send(connect_packet({.client_id = "a", .auth_method = "M"}));
  const Taken first = take_one(events);
  reply(host, first, MQTTQ_AUTH_CONTINUE, "1");
  reply(host, first, MQTTQ_AUTH_ALLOW, "2");  // twice
  CHECK(read_answer(client.read()).data == "1");
  client.send(auth_packet(kGoOn, "M", "x"));
  const Taken second = take_one(events);
  reply(host, first, MQTTQ_AUTH_ALLOW, "3");  // of the round before
  mqttq_reply_access(host.get(), &first.event.reply, 0, 0);
  reply(host, second, MQTTQ_AUTH_ALLOW, "4");
  reply(host, second, MQTTQ_AUTH_DENY);
  CHECK(read_answer(client.read()).data == "4");
  CHECK(client.nothing_but_ping());

  WireClient never(hurried), silent(hurried);
  never.send(connect_packet({.client_id = "never", .auth_method = "M"}));
  const Taken unanswered = take_one(events);
  silent.send(connect_packet({.client_id = "silent", .auth_method = "M"}));
  reply(host, take_one(events), MQTTQ_AUTH_CONTINUE);
  CHECK(read_answer(silent.read()).reason_code == kGoOn);
  WireClient later(hurried);
  later.send(connect_packet({.client_id = "later", .auth_method = "M"}));
  reply(host, take_one(events), MQTTQ_AUTH_ALLOW);
  CHECK(read_answer(later.read()).reason_code == 0);
  later.send(auth_packet(kAgain, "M", ""));
  const Taken again = take_one(events);
  CHECK(read_answer(never.read()).reason_code == 0x87);
  CHECK(never.read().empty());
  CHECK(read_answer(silent.read()).reason_code == 0x87);
  CHECK(silent.read().empty());
  CHECK(reply(host, unanswered, MQTTQ_AUTH_ALLOW) == MQTTQ_OK);  // late
  const std::string disconnect = later.read();
  REQUIRE(disconnect.size() >= 3);
  CHECK(static_cast<uint8_t>(disconnect[0]) == 0xE0);
  CHECK(static_cast<uint8_t>(disconnect[2]) == 0x87);
  CHECK(later.read().empty());
  reply(host, again, MQTTQ_AUTH_ALLOW);
  CHECK(client.nothing_but_ping());
  CHECK(host.client_ids() == std::vector<std::string>{"a"});
  mqttq_broker_stop(host.get());
  reply(host, second, MQTTQ_AUTH_ALLOW);
}

TEST_CASE("a full ring refuses a conversation as server busy, at its beginning and anew", "[abi]") {
  Host host;
  mqttq_events* events = host.open_events(1);
  offer(host, events, {"M"});
  host.start();
  const std::string address = host.listen();
  WireClient ann(address), blocks(address), ben(address);
  ann.send(connect_packet({.client_id = "ann", .auth_method = "M"}));
  reply(host, take_one(events), MQTTQ_AUTH_ALLOW);
  CHECK(read_answer(ann.read()).reason_code == 0);
  blocks.send(connect_packet({.client_id = "blocks", .auth_method = "M"}));
  wait_for_event(events);
  ben.send(connect_packet({.client_id = "ben", .auth_method = "M"}));
  CHECK(read_answer(ben.read()).reason_code == 0x89);
  ann.send(auth_packet(kAgain, "M", ""));
  CHECK(ann.read() == std::string("\xE0\x01\x89", 3));
}

TEST_CASE("a permission is asked for again when the host has said who it is now", "[abi]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  offer(host, events, {"M"}, true);
  host.start();
  WireClient client(host.listen());
  client.send(connect_packet({.client_id = "c", .auth_method = "M"}));
  reply(host, take_one(events), MQTTQ_AUTH_ALLOW, {}, "ann");
  CHECK(read_answer(client.read()).reason_code == 0);
  for (const std::string user : {"ann", "ben"}) {
    client.send(publish_packet("t", "x", 1, 1));
    const Taken asked = take_one(events);
    CHECK(asked.event.type == MQTTQ_EVENT_AUTHORIZE);
    CHECK(asked.user_name == user);
    CHECK(reply(host, asked, user == "ann" ? MQTTQ_AUTH_ALLOW : MQTTQ_AUTH_CONTINUE) == MQTTQ_OK);
    const std::string puback = client.read();
    CHECK(static_cast<uint8_t>(puback[4]) == (user == "ann" ? 0x10 : 0x87));
    if (user == "ben") break;
    client.send(auth_packet(kAgain, "M", ""));
    reply(host, take_one(events), MQTTQ_AUTH_ALLOW, {}, "ben");
    CHECK(read_answer(client.read()).type == 0xF0);
  }
}

TEST_CASE("a denied client is told why, and where to go instead", "[abi][MQTT-3.2.2-8]") {
  Host host{2};
  mqttq_events* events = host.open_events();
  REQUIRE(mqttq_broker_set_access(host.get(), events, 1, 0, nullptr) == MQTTQ_OK);
  host.start();
  WireClient client(host.listen());
  client.send(connect_packet({.client_id = "c"}));
  const Taken asked = take_one(events);
  mqttq_auth_answer answer = auth_answer();
  answer.decision = MQTTQ_AUTH_DENY;
  answer.reason_code = 0x87;
  answer.server_reference = bytes("other.example");
  CHECK(mqttq_reply_auth(host.get(), &asked.event.reply, &answer) == MQTTQ_EINVAL);  // only with 0x9C and 0x9D
  answer.reason_code = 0x9D;
  answer.reason_string = bytes("\xff");
  CHECK(mqttq_reply_auth(host.get(), &asked.event.reply, &answer) == MQTTQ_EINVAL);
  answer.reason_string = bytes("gone for good");
  CHECK(mqttq_reply_auth(host.get(), &asked.event.reply, &answer) == MQTTQ_OK);
  const Answer connack = read_answer(client.read());
  CHECK(connack.reason_code == 0x9D);
  CHECK(connack.reason_string == "gone for good");
  CHECK(connack.server_reference == "other.example");
  CHECK(client.read().empty());
}
