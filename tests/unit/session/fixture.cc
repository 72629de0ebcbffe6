// See fixture.h.
#include "session/fixture.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>

#include "hex.h"

namespace mqttq {

using codec::PacketType;

// --- the log and the links

Status TestLog::append(std::span<const LogRecord> batch) noexcept {
  batches.push_back(static_cast<uint32_t>(batch.size()));
  if (answer == Status::Ok) last_ = batch.back().number;
  return answer;
}

size_t TestLink::write(std::span<const Bytes> pieces) noexcept {
  size_t taken = 0;
  for (const Bytes piece : pieces) {
    const size_t step = std::min(piece.size(), room - taken);
    written.insert(written.end(), piece.begin(), piece.begin() + static_cast<ptrdiff_t>(step));
    taken += step;
    if (step < piece.size()) {
      refused_some = true;
      break;
    }
  }
  if (room != SIZE_MAX) room -= taken;
  return taken;
}

void TestLink::close(bool) noexcept {
  closed = true;
  connection = nullptr;
}

void TestBroker::Wires::detach(Link& link, uint32_t) noexcept { static_cast<TestLink&>(link).connection = nullptr; }

bool TestBroker::Wires::adopt(Link& link, Connection& connection) noexcept {
  auto& test_link = static_cast<TestLink&>(link);
  test_link.connection = &connection;
  test_link.shard = shard;
  return true;
}

// --- the broker

TestBroker::TestBroker(TestSetup setup)
    : setup_(setup),
      router_(setup_.shard_count, 0x5eed),
      office_(setup_.shard_count, setup_.mailbox_capacity),
      committer_(office_, log_) {
  for (uint32_t i = 0; i < setup_.shard_count; ++i) {
    wires_.push_back(std::make_unique<Wires>());
    wires_.back()->shard = i;
    ShardWorld world{setup_.limits, setup_.policy, router_, office_, population_};
    world.access = setup_.access;
    world.network = wires_.back().get();
    cores_.push_back(std::make_unique<ShardCore>(world, i, i + 1, now_));
  }
}

// All shards let go of what they hold before any of them is gone, as the broker does it.
TestBroker::~TestBroker() {
  for (const auto& core : cores_) core->abandon();
}

uint64_t TestBroker::counter(Counter Counters::* which) noexcept {
  uint64_t sum = 0;
  for (const auto& core : cores_) sum += (core->counters().*which).value();
  return sum;
}

std::string TestBroker::client_id_at(uint32_t shard) const {
  for (uint32_t i = 0;; ++i) {
    std::string name = "c" + std::to_string(i);
    if (cores_[0]->home_of(kGlobalNamespace, name) == shard) return name;
  }
}

bool TestBroker::read_links(uint32_t shard) {
  bool some = false;
  for (size_t i = 0; i < links_.size(); ++i) {
    TestLink& link = *links_[i];
    while (link.shard == shard && link.connection && !link.paused && !link.inbox.empty()) {
      const std::vector<std::byte> bytes = std::move(link.inbox.front());
      link.inbox.pop_front();
      cores_[shard]->on_read(*link.connection, bytes, now_);
      some = true;
    }
    if (link.shard == shard && link.connection && link.refused_some && link.room > 0) {
      link.refused_some = false;
      cores_[shard]->on_writable(*link.connection, now_);
      some = true;
    }
  }
  return some;
}

bool TestBroker::turn(uint32_t shard) {
  awake_ &= ~(uint64_t{1} << shard);
  router_.epoch().online(shard);
  bool more = read_links(shard);
  more |= cores_[shard]->turn(now_);
  awake_ |= cores_[shard]->postman().take_woken();
  router_.epoch().offline(shard);
  return more;
}

bool TestBroker::commit() {
  awake_ &= ~(uint64_t{1} << office_.committer());
  const bool open = committer_.turn(now_);
  awake_ |= committer_.take_woken();
  return open;
}

void TestBroker::settle() {
  for (int round = 0; awake_ != 0; ++round) {
    if (restless && round == 20) return;
    if (round == 10'000) FAIL("the broker does not come to rest");
    for (uint32_t i = 0; i < setup_.shard_count; ++i) {
      if (awake_ >> i & 1 && turn(i)) wake(i);
    }
    if (awake_ >> office_.committer() & 1 && commit() && !log_.held) wake(office_.committer());
  }
  for (uint32_t i = 0; i < office_.party_count(); ++i) {
    if (office_.has_mail(i)) FAIL("somebody has mail and was not woken");
  }
}

void TestBroker::advance_ms(int64_t duration_ms) {
  now_ = now_ + duration_ms * kMillisecond;
  for (uint32_t i = 0; i < office_.party_count(); ++i) wake(i);
  settle();
}

TestLink& TestBroker::open(uint32_t shard, const ListenerInfo& listener) {
  links_.push_back(std::make_unique<TestLink>());
  TestLink& link = *links_.back();
  link.shard = shard;
  link.connection = cores_[shard]->open(link, listener, now_);
  if (!link.connection) link.closed = true;
  return link;
}

void TestBroker::hang_up(TestLink& link, bool broken) {
  if (link.connection) cores_[link.shard]->on_closed(*link.connection, broken, now_);
  wake(link.shard);
  settle();
}

void TestBroker::answer(const AccessTicket& ticket, const AccessAnswer& answer) {
  router_.epoch().online(ticket.shard);
  cores_[ticket.shard]->on_access_answer(ticket, answer, now_);
  router_.epoch().offline(ticket.shard);
  wake(ticket.shard);
  settle();
}

// --- packets as lines

namespace {

std::string hex_of(Bytes bytes) {
  std::string text;
  char digits[4];
  for (const std::byte byte : bytes) {
    std::snprintf(digits, sizeof digits, " %02x", std::to_integer<unsigned>(byte));
    text += digits;
  }
  return text;
}

std::string hex_of(ReasonCode reason) {
  const std::byte byte{static_cast<uint8_t>(reason)};
  return hex_of(Bytes(&byte, 1));
}

std::string text_of(Bytes bytes) { return std::string(as_text(bytes)); }

std::string number(uint32_t packet_id) { return " #" + std::to_string(packet_id); }

// " SCRAM 'data'", or nothing without a method.
template <class Packet>
std::string authentication_of(const Packet& packet) {
  if (!packet.authentication_method) return {};
  return " " + std::string(*packet.authentication_method) + " '" + text_of(packet.authentication_data) + "'";
}

std::string describe_connack(Bytes packet, ProtocolVersion version) {
  const auto connack = codec::decode_connack(packet, version);
  if (!connack.ok()) return "?" + hex_of(packet);
  std::string line = "CONNACK" + hex_of(connack->reason_code);
  if (connack->session_present) line += " present";
  return line + authentication_of(*connack);
}

std::string describe_auth(Bytes packet) {
  const auto auth = codec::decode_auth(packet);
  if (!auth.ok() || !auth->reason_string.empty()) return "?" + hex_of(packet);
  return "AUTH" + hex_of(auth->reason_code) + authentication_of(*auth);
}

std::string describe_publish(Bytes packet, ProtocolVersion version) {
  const auto publish = codec::decode_publish(packet, version);
  if (!publish.ok()) return "?" + hex_of(packet);
  std::string line = "PUBLISH " + std::string(publish->topic_name) + " '" + text_of(publish->payload) + "'";
  if (publish->qos != Qos::AtMostOnce) {
    line += " qos" + std::to_string(static_cast<int>(publish->qos)) + number(publish->packet_id);
  }
  if (publish->dup) line += " dup";
  if (publish->retain) line += " retain";
  std::string identifiers, others;
  codec::PropertyReader reader(publish->properties);
  for (codec::Property property; reader.next(property);) {
    switch (property.id) {
      case PropertyId::TopicAlias: others += " alias=" + std::to_string(property.number); break;
      case PropertyId::MessageExpiryInterval: others += " expiry=" + std::to_string(property.number); break;
      case PropertyId::PayloadFormatIndicator: others += " format=" + std::to_string(property.number); break;
      case PropertyId::ContentType: others += " type=" + text_of(property.data); break;
      case PropertyId::ResponseTopic: others += " response=" + text_of(property.data); break;
      case PropertyId::CorrelationData: others += " correlation=" + text_of(property.data); break;
      case PropertyId::UserProperty: others += " " + text_of(property.data) + ":" + text_of(property.value); break;
      case PropertyId::SubscriptionIdentifier:
        identifiers += (identifiers.empty() ? " sub=" : ",") + std::to_string(property.number);
        break;
      default: others += " ?"; break;
    }
  }
  return line + identifiers + others;
}

std::string describe_ack(Bytes packet, ProtocolVersion version) {
  const auto ack = codec::decode_ack(packet, version);
  if (!ack.ok()) return "?" + hex_of(packet);
  static constexpr const char* kNames[] = {"PUBACK", "PUBREC", "PUBREL", "PUBCOMP"};
  std::string line = kNames[static_cast<int>(ack->type) - static_cast<int>(PacketType::Puback)];
  line += number(ack->packet_id);
  if (ack->reason_code != ReasonCode::Success) line += hex_of(ack->reason_code);
  return line;
}

std::string describe_suback(Bytes packet, ProtocolVersion version) {
  const auto suback = codec::decode_suback(packet, version);
  if (!suback.ok()) return "?" + hex_of(packet);
  return (suback->type == PacketType::Suback ? "SUBACK" : "UNSUBACK") + number(suback->packet_id) +
         hex_of(suback->reason_codes);
}

std::string describe_disconnect(Bytes packet, ProtocolVersion version) {
  const auto disconnect = codec::decode_disconnect(packet, version);
  if (!disconnect.ok() || version != ProtocolVersion::V5) return "?" + hex_of(packet);
  return "DISCONNECT" + hex_of(disconnect->reason_code) + (disconnect->session_expiry_s ? " expiry" : "");
}

}  // namespace

Lines describe(Bytes bytes, ProtocolVersion version) {
  Lines lines;
  while (!bytes.empty()) {
    const codec::Frame frame = codec::scan_frame(bytes);
    if (frame.kind != codec::Frame::Kind::Complete) {
      lines.push_back("?" + hex_of(bytes));
      break;
    }
    const Bytes packet = bytes.first(frame.size);
    bytes = bytes.subspan(frame.size);
    switch (frame.type) {
      case PacketType::Connack: lines.push_back(describe_connack(packet, version)); break;
      case PacketType::Publish: lines.push_back(describe_publish(packet, version)); break;
      case PacketType::Puback:
      case PacketType::Pubrec:
      case PacketType::Pubrel:
      case PacketType::Pubcomp: lines.push_back(describe_ack(packet, version)); break;
      case PacketType::Suback:
      case PacketType::Unsuback: lines.push_back(describe_suback(packet, version)); break;
      case PacketType::Pingresp: lines.push_back(packet.size() == 2 ? "PINGRESP" : "?" + hex_of(packet)); break;
      case PacketType::Disconnect: lines.push_back(describe_disconnect(packet, version)); break;
      case PacketType::Auth: lines.push_back(describe_auth(packet)); break;
      default: lines.push_back("?" + hex_of(packet)); break;
    }
  }
  return lines;
}

std::vector<std::string> reason_strings(Bytes bytes, ProtocolVersion version) {
  std::vector<std::string> texts;
  for (; !bytes.empty(); bytes = bytes.subspan(codec::scan_frame(bytes).size)) {
    const codec::Frame frame = codec::scan_frame(bytes);
    const Bytes packet = bytes.first(frame.size);
    switch (frame.type) {
      case PacketType::Connack: texts.emplace_back(codec::decode_connack(packet, version)->reason_string); break;
      case PacketType::Puback:
      case PacketType::Pubrec:
      case PacketType::Pubrel:
      case PacketType::Pubcomp: texts.emplace_back(codec::decode_ack(packet, version)->reason_string); break;
      case PacketType::Suback:
      case PacketType::Unsuback: texts.emplace_back(codec::decode_suback(packet, version)->reason_string); break;
      case PacketType::Disconnect: texts.emplace_back(codec::decode_disconnect(packet, version)->reason_string); break;
      default: texts.emplace_back(); break;
    }
  }
  return texts;
}

// --- the client

codec::ConnectView connect_as(std::string_view client_id, bool clean_start, uint32_t session_expiry_s) {
  codec::ConnectView connect;
  connect.client_id = client_id;
  connect.clean_start = clean_start;
  connect.session_expiry_s = session_expiry_s;
  return connect;
}

codec::ConnectView with_will(codec::ConnectView connect, std::string_view topic_name, std::string_view payload, Qos qos,
                             bool retain, uint32_t delay_s) {
  connect.has_will = true;
  connect.will.topic_name = topic_name;
  connect.will.payload = as_bytes(payload);
  connect.will.qos = qos;
  connect.will.retain = retain;
  connect.will_delay_s = delay_s;
  return connect;
}

TestClient::TestClient(TestBroker& broker, ProtocolVersion version, uint32_t shard, const ListenerInfo& listener)
    : broker_(broker), link_(broker.open(shard, listener)), version_(version) {}

TestClient& TestClient::send(Bytes bytes) {
  link_.inbox.emplace_back(bytes.begin(), bytes.end());
  broker_.wake(link_.shard);
  broker_.settle();
  return *this;
}

TestClient& TestClient::raw(std::string_view hexadecimal) { return send(hex(hexadecimal)); }

template <class... Packet>
TestClient& TestClient::send_packet(const Packet&... packet) {
  codec::Writer counting;
  codec::encode(packet..., counting);
  std::vector<std::byte> bytes(counting.size());
  codec::Writer writing(bytes.data());
  codec::encode(packet..., writing);
  return send(bytes);
}

TestClient& TestClient::connect(codec::ConnectView connect) {
  connect.version = version_;
  return send_packet(connect);
}

TestClient& TestClient::publish(std::string_view topic_name, std::string_view payload, Qos qos, uint16_t packet_id,
                                bool retain, bool dup) {
  codec::PublishView view;
  view.topic_name = topic_name;
  view.payload = as_bytes(payload);
  view.qos = qos;
  view.packet_id = packet_id;
  view.retain = retain;
  view.dup = dup;
  return publish(view);
}

TestClient& TestClient::publish(const codec::PublishView& publish) { return send_packet(publish, version_); }

TestClient& TestClient::subscribe(uint16_t packet_id, const std::vector<TestEntry>& entries, uint32_t identifier) {
  std::vector<std::byte> bytes;
  for (const TestEntry& entry : entries) {
    const codec::SubscriptionOptions options{entry.qos, entry.no_local, entry.retain_as_published,
                                             entry.retain_handling};
    const size_t at = bytes.size();
    bytes.resize(at + 2 + entry.topic_filter.size() + 1);
    codec::Writer writer(bytes.data() + at);
    writer.prefixed(entry.topic_filter);
    writer.u8(codec::encode_options(options));
  }
  codec::SubscribeView subscribe;
  subscribe.packet_id = packet_id;
  subscribe.subscription_identifier = identifier;
  subscribe.entries = bytes;
  return send_packet(subscribe, version_);
}

TestClient& TestClient::unsubscribe(uint16_t packet_id, const std::vector<std::string_view>& topic_filters) {
  std::vector<std::byte> bytes;
  for (const std::string_view topic_filter : topic_filters) {
    const size_t at = bytes.size();
    bytes.resize(at + 2 + topic_filter.size());
    codec::Writer(bytes.data() + at).prefixed(topic_filter);
  }
  codec::UnsubscribeView unsubscribe;
  unsubscribe.packet_id = packet_id;
  unsubscribe.entries = bytes;
  return send_packet(unsubscribe, version_);
}

TestClient& TestClient::ack(PacketType type, uint16_t packet_id, ReasonCode reason) {
  codec::AckView view;
  view.type = type;
  view.packet_id = packet_id;
  view.reason_code = reason;
  return send_packet(view, version_);
}

TestClient& TestClient::disconnect(ReasonCode reason) {
  codec::DisconnectView view;
  view.reason_code = reason;
  return send_packet(view, version_);
}

TestClient& TestClient::auth(ReasonCode reason, std::string_view method, std::string_view data) {
  codec::AuthView view;
  view.reason_code = reason;
  view.authentication_method = method;
  view.authentication_data = as_bytes(data);
  return send_packet(view);
}

void TestClient::drop() { broker_.hang_up(link_); }

void TestClient::finish() { broker_.hang_up(link_, false); }

std::vector<std::byte> TestClient::said_bytes() { return std::exchange(link_.written, {}); }

Lines TestClient::said() {
  Lines lines = describe(said_bytes(), version_);
  if (link_.closed && !std::exchange(said_closed_, true)) lines.push_back("closed");
  return lines;
}

TestClient& TestClient::accepted(const codec::ConnectView& view) {
  connect(view);
  const Lines lines = said();
  REQUIRE_FALSE(lines.empty());
  REQUIRE(lines.front().starts_with("CONNACK 00"));
  REQUIRE(lines.size() == 1);
  return *this;
}

TestClient& TestClient::subscribed(std::string_view topic_filter, Qos qos, uint32_t identifier) {
  subscribe(60'000, {{topic_filter, qos}}, identifier);
  const Lines lines = said();
  REQUIRE_FALSE(lines.empty());
  REQUIRE(lines.front() == "SUBACK #60000 0" + std::to_string(static_cast<int>(qos)));
  REQUIRE(lines.size() == 1);
  return *this;
}

}  // namespace mqttq
