// What a client sends. See client.h.
#include "client.h"

#include <algorithm>

#include "message/topic.h"
#include "old_names.h"

namespace mqttq::fuzz {

using codec::PacketType;

namespace {

std::vector<std::byte> forwarded_properties(uint32_t number) {
  const std::string text = std::to_string(number);
  std::vector<std::byte> bytes(64 + 4 * text.size());
  codec::Writer writer(bytes.data());
  writer.u8(static_cast<uint8_t>(PropertyId::PayloadFormatIndicator));
  writer.u8(1);
  for (const char* name : {"b", "a", "b"}) {  // which must stay in this order [MQTT-3.3.2-18]
    writer.u8(static_cast<uint8_t>(PropertyId::UserProperty));
    writer.prefixed(std::string_view(name));
    writer.prefixed(text);
  }
  writer.u8(static_cast<uint8_t>(PropertyId::ResponseTopic));
  writer.prefixed(text);
  bytes.resize(writer.size());
  return bytes;
}

// Bytes that end a connection in every version, whatever came before. In version 5 a Property Length of 0 goes in where
// `properties` says.
struct Malformed {
  const char* bytes;
  size_t size;
  int properties = -1;
};
#define MQTTQ_MALFORMED(text, ...) {text, sizeof(text) - 1 __VA_OPT__(, ) __VA_ARGS__}
constexpr Malformed kMalformed[] = {
    MQTTQ_MALFORMED("\x10\x0d\0\4MQTT\4\2\0\0\0\1x"),  // a second CONNECT
    MQTTQ_MALFORMED("\x36\x05\0\1a\0\1", 7),           // QoS 3
    MQTTQ_MALFORMED("\x80\x06\0\1\0\1a\0", 4),         // a SUBSCRIBE with flags of 0
    MQTTQ_MALFORMED("\0\0"),                           // type 0
    MQTTQ_MALFORMED("\x30\xff\xff\xff\xff\1"),         // a Remaining Length of five bytes
    MQTTQ_MALFORMED("\x32\x06\0\1a\0\0x", 7),          // a Packet Identifier of 0
    MQTTQ_MALFORMED("\xc0\1\0"),                       // a PINGREQ with something in it
    MQTTQ_MALFORMED("\x20\2\0\0"),                     // a server's packet
    MQTTQ_MALFORMED("\x30\x05\0\3a/+", 7),             // a Topic Name with a wildcard
    MQTTQ_MALFORMED("\x82\2\0\1", 4),                  // a SUBSCRIBE of nothing
    MQTTQ_MALFORMED("\xf0\0"),                         // AUTH, and no method
    MQTTQ_MALFORMED("\x30\xff\xff\xff\x7f"),           // larger than is taken
    MQTTQ_MALFORMED("\x30\2\0\0", 4),                  // neither topic nor alias
    MQTTQ_MALFORMED("\x38\3\0\1a", 5),                 // DUP at QoS 0
    MQTTQ_MALFORMED("\x30\4\0\2\xc3\x28", 6),          // no UTF-8
    MQTTQ_MALFORMED("\xa2\6\0\1\0\2\xed\xa0", 4),      // a surrogate, cut off
    MQTTQ_MALFORMED("\x40\2\0\0"),                     // a PUBACK of 0
    MQTTQ_MALFORMED("\xe1\0"),                         // a DISCONNECT with flags
    MQTTQ_MALFORMED("\xe0\6\0\4\x1c\0\1a"),            // a DISCONNECT with a Server Reference
};

}  // namespace

std::string hex_of(Bytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes.first(std::min<size_t>(bytes.size(), 60))) {
    text += ' ';
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

// --- sending

// What it calls a topic or a filter.
std::string Client::name_of(const std::string& topic) const { return uses_old_names_ ? old_name_of(topic) : topic; }

template <class... Packet>
void Client::send(const Packet&... packet) {
  codec::Writer counting;
  codec::encode(packet..., counting);
  std::vector<std::byte> bytes(counting.size());
  codec::Writer writing(bytes.data());
  codec::encode(packet..., writing);
  send_bytes(bytes);
}

void Client::send_bytes(Bytes bytes) {
  if (traced()) trace(client_id_ + " >" + hex_of(bytes));
  std::vector<std::byte> all = std::exchange(held_, {});
  all.insert(all.end(), bytes.begin(), bytes.end());
  if (const size_t part = std::exchange(half_, 0); part && part < all.size()) {
    held_.assign(all.begin() + static_cast<ptrdiff_t>(part), all.end());
    all.resize(part);
  }
  part_.insert(part_.end(), all.begin(), all.end());
  for (;;) {
    const codec::Frame frame = codec::scan_frame(part_);
    if (frame.kind != codec::Frame::Kind::Complete) break;
    last_sent_ = broker_.now();  // [MQTT-3.1.2-22]
    part_.erase(part_.begin(), part_.begin() + static_cast<ptrdiff_t>(frame.size));
  }
  const size_t step = chunk_ ? chunk_ : all.size();
  for (size_t at = 0; at < all.size(); at += step) {
    const auto from = all.begin() + static_cast<ptrdiff_t>(at);
    link_->inbox.emplace_back(from, from + static_cast<ptrdiff_t>(std::min(step, all.size() - at)));
  }
}

void Client::send_held() {
  half_ = 0;
  if (link_ && !held_.empty()) send_bytes({});
}

std::optional<bool> Client::session_expected() const {
  if (unsure_) return {};
  if (!record_ || record_->over || !record_->durable) return false;
  if (record_->connected || expiry_s_ == kSessionExpiryNever) return true;
  const int64_t away = broker_.now() - lost_at_, expiry = int64_t{expiry_s_} * kSecond;
  if (away < expiry) return true;
  return away > expiry + kSecond ? std::optional(false) : std::nullopt;
}

void Client::on_time() {
  if (state_ != State::Idle || !record_ || record_->over) return;
  const auto expected = session_expected();
  if (!expected) unsure_ = true;  // within a second of its end
  if (expected != true) record_->over = true;
}

void Client::connect(const ConnectSetup& wanted, uint32_t shard) {
  if (state_ == State::Connecting) return;  // the earlier could come after the later
  send_held();
  if (state_ != State::Idle) {
    old_links_.push_back({link_, setup_.version, std::exchange(in_, {})});
    const bool unread = !link_->inbox.empty() || link_->room != SIZE_MAX;
    end_will(!unread && state_ == State::Connected && setup_.will_delay_s == 0);
    lose_connection();
    unsure_ |= unread;
  }
  setup_ = wanted;
  expected_present_ = session_expected();
  if (!expected_present_) setup_.clean_start = true;
  if (record_ && expected_present_ == false) record_->over = true;
  if (setup_.clean_start) {
    expected_present_ = false;
    if (record_) record_->over = true;
    outgoing_.clear();
    incoming_.clear();
  }
  const bool v5 = setup_.version == ProtocolVersion::V5;
  if (!v5) {
    setup_.session_expiry_s = setup_.clean_start ? 0 : kSessionExpiryNever;
    setup_.receive_maximum = kReceiveMaximumDefault;
    setup_.packet_size_max = setup_.alias_max = 0;
    setup_.will_delay_s = 0;
  }
  link_ = &broker_.open(shard, kGlobalNamespace);
  state_ = State::Connecting;
  was_here_ = true;
  codec::ConnectView connect;
  connect.version = setup_.version;
  connect.client_id = client_id_;
  connect.clean_start = setup_.clean_start;
  connect.keep_alive_s = setup_.keep_alive_s;
  connect.session_expiry_s = setup_.session_expiry_s;
  connect.receive_maximum = setup_.receive_maximum;
  connect.maximum_packet_size = setup_.packet_size_max;
  connect.topic_alias_maximum = setup_.alias_max;
  Message will;
  std::string will_topic;
  if (setup_.has_will) {
    will.publisher = client_id_;
    will.topic_name = "w/" + client_id_;
    will.qos = setup_.will_qos;
    will.retain = setup_.will_retain;
    will.will = true;
    Message& added = model_.add(std::move(will));
    added.payload = "m" + std::to_string(added.id) + ":will";
    will_ = added.id;
    model_.will_possible(will_);
    connect.has_will = true;
    will_topic = name_of(added.topic_name);
    connect.will.topic_name = will_topic;
    connect.will.payload = as_bytes(added.payload);
    connect.will.qos = added.qos;
    connect.will.retain = added.retain;
    connect.will_delay_s = setup_.will_delay_s;
  }
  send(connect);
}

void Client::end_will(bool comes) {
  if (will_ && comes) model_.will_due(will_);
  will_ = 0;
}

bool Client::awaits(const std::deque<Awaited>& queue, uint16_t packet_id) {
  return std::any_of(queue.begin(), queue.end(),
                     [packet_id](const Awaited& one) { return one.packet_id == packet_id; });
}

uint16_t Client::next_packet_id() const {
  const auto taken = [this](uint16_t id) {
    const auto waits = [id](const std::deque<uint16_t>& queue) {
      return std::find(queue.begin(), queue.end(), id) != queue.end();
    };
    return subscribes_.contains(id) || unsubscribes_.contains(id) || awaits(await_puback_, id) ||
           awaits(await_pubrec_, id) || waits(await_pubcomp_) || waits(await_again_) || waits(perhaps_again_) ||
           std::any_of(outgoing_.begin(), outgoing_.end(), [id](const Outgoing& one) { return one.packet_id == id; });
  };
  uint16_t id = 1;
  while (taken(id)) ++id;
  return id;
}

void Client::subscribe(std::vector<Wanted> entries, uint32_t identifier) {
  if (!active()) return;
  const bool v5 = setup_.version == ProtocolVersion::V5;
  std::vector<std::byte> bytes;
  for (Wanted& entry : entries) {
    const SharedFilter shared = parse_shared_filter(entry.text);
    entry.topic_filter = shared.topic_filter;
    entry.group = shared.group;
    entry.identifier = v5 ? identifier : 0;
    if (entry.text.starts_with("$share/")) entry.options.no_local = false;  // [MQTT-3.8.3-4]
    if (!v5) entry.options = {entry.options.qos, false, false, codec::RetainHandling::Send};
    const std::string name = name_of(entry.text);
    const size_t at = bytes.size();
    bytes.resize(at + 2 + name.size() + 1);
    codec::Writer writer(bytes.data() + at);
    writer.prefixed(name);
    writer.u8(codec::encode_options(entry.options));
  }
  codec::SubscribeView subscribe;
  subscribe.packet_id = next_packet_id();
  subscribe.subscription_identifier = identifier;
  subscribe.entries = bytes;
  model_.asked(*record_, entries);
  subscribes_[subscribe.packet_id].entries = std::move(entries);
  send(subscribe, setup_.version);
}

void Client::unsubscribe(const std::vector<std::string>& texts) {
  if (!active()) return;
  Request request;
  std::vector<std::byte> bytes;
  for (const std::string& text : texts) {
    const std::string name = name_of(text);
    const size_t at = bytes.size();
    bytes.resize(at + 2 + name.size());
    codec::Writer(bytes.data() + at).prefixed(name);
    request.texts.push_back(text);
    request.existed.push_back(model_.ending(*record_, text));
  }
  request.asked = model_.moment();
  codec::UnsubscribeView unsubscribe;
  unsubscribe.packet_id = next_packet_id();
  unsubscribe.entries = bytes;
  unsubscribes_[unsubscribe.packet_id] = std::move(request);
  send(unsubscribe, setup_.version);
}

// Within the broker's Receive Maximum, repeats included.
bool Client::may_publish() const {
  const auto qos2 = std::count_if(outgoing_.begin(), outgoing_.end(),
                                  [](const Outgoing& one) { return one.state != Outgoing::State::AwaitPuback; });
  return await_puback_.size() + static_cast<size_t>(qos2) < broker_.limits().receive_maximum;
}

bool Client::read_at_once() const {
  return model_.still && link_->inbox.empty() && !link_->paused && link_->room == SIZE_MAX && !half_sent();
}

void Client::publish(const PublishSetup& setup) {
  if (!active()) return;
  if (setup.qos != Qos::AtMostOnce && !may_publish()) return;
  const bool v5 = setup_.version == ProtocolVersion::V5;
  Message message;
  message.publisher = client_id_;
  message.publisher_session = record_->number;
  message.topic_name = setup.topic_name;
  message.qos = setup.qos;
  message.retain = setup.retain;
  message.refused = setup.topic_name.starts_with("$SYS");
  message.waits = link_->room != SIZE_MAX;
  message.delay_s = message.refused ? 0 : setup.delay_s;
  Message& added = model_.add(std::move(message));
  if (v5 && setup.properties) added.properties = forwarded_properties(added.id);
  if (v5 && setup.expiry_s) {
    added.has_expiry = true;
    added.expiry_s = *setup.expiry_s;
  }
  if (!setup.empty) added.payload = "m" + std::to_string(added.id) + ":" + std::string(setup.padding, '.');
  Outgoing outgoing{0, added.id,
                    setup.qos == Qos::AtLeastOnce ? Outgoing::State::AwaitPuback : Outgoing::State::AwaitPubrec};
  if (setup.qos != Qos::AtMostOnce) {
    outgoing.packet_id = next_packet_id();
    outgoing_.push_back(outgoing);
  }
  send_publish(outgoing, false, v5 && setup.alias);
}

void Client::send_publish(const Message& message, uint16_t packet_id, bool dup, bool alias) {
  codec::PublishView publish;
  publish.dup = dup;
  publish.qos = message.qos;
  publish.retain = message.retain;
  publish.packet_id = packet_id;
  std::string name = name_of(message.topic_name);
  if (message.delay_s) name = "$delayed/" + std::to_string(message.delay_s) + "/" + name;
  publish.topic_name = name;
  publish.payload = as_bytes(message.payload);
  publish.properties = message.properties;
  publish.has_message_expiry = message.has_expiry;
  publish.message_expiry_s = message.expiry_s;
  if (alias) {
    if (const auto known = aliases_out_.find(name); known != aliases_out_.end()) {
      publish.topic_alias = known->second;
      publish.topic_name = {};
    } else if (aliases_out_.size() < alias_max_out_) {
      publish.topic_alias = aliases_out_[name] = static_cast<uint16_t>(aliases_out_.size() + 1);
    }
  }
  send(publish, setup_.version);
}

void Client::send_publish(const Outgoing& outgoing, bool dup, bool alias, Awaited::Kind kind) {
  Message& message = model_.message(outgoing.message);
  const bool v5 = setup_.version == ProtocolVersion::V5;
  const bool taken = kind != Awaited::Kind::InUse;
  if (message.qos == Qos::AtLeastOnce && (v5 || taken)) {
    await_puback_.push_back({outgoing.packet_id, outgoing.message, kind});
  }
  if (message.qos == Qos::ExactlyOnce) await_pubrec(outgoing, dup && message.refused);
  if (!v5) message.sent_bare = true;
  if (taken) model_.sent(outgoing.message);
  send_publish(message, outgoing.packet_id, dup, alias);
}

// again: it is answered by itself, whenever it comes.
void Client::await_pubrec(const Outgoing& outgoing, bool again) {
  if (again || outgoing.state == Outgoing::State::Received) {
    await_again_.push_back(outgoing.packet_id);
  } else if (awaits(await_pubrec_, outgoing.packet_id)) {  // the answer to the first may be that of the second too
    perhaps_again_.push_back(outgoing.packet_id);
  } else {
    await_pubrec_.push_back({outgoing.packet_id, outgoing.message});
  }
}

void Client::repeat_publish(uint32_t which) {
  if (!active() || outgoing_.empty()) return;
  const Outgoing outgoing = outgoing_[which % outgoing_.size()];
  if (model_.message(outgoing.message).refused) return;  // each is refused by itself
  if (outgoing.state == Outgoing::State::AwaitPuback && !may_publish()) return;
  if (outgoing.state == Outgoing::State::AwaitPubcomp) return;
  // At QoS 1 it has had no answer: as long as the broker has not sent one, the identifier is open.
  const bool open = read_at_once() && outgoing.state == Outgoing::State::AwaitPuback;
  const auto perhaps = outgoing.state == Outgoing::State::AwaitPuback ? Awaited::Kind::Perhaps : Awaited::Kind::Taken;
  send_publish(outgoing, true, false, open ? Awaited::Kind::InUse : perhaps);
}

void Client::publish_in_use(uint32_t which, Qos qos, bool dup) {
  if (!active() || outgoing_.empty() || !may_publish() || !read_at_once()) return;
  const Outgoing open = outgoing_[which % outgoing_.size()];
  if (open.state == Outgoing::State::AwaitPubcomp) return;  // perhaps it is not open any more
  const bool v5 = setup_.version == ProtocolVersion::V5;
  const Qos qos_open = model_.message(open.message).qos;
  Message message;
  message.publisher = client_id_;
  message.topic_name = "a";
  message.qos = qos;
  message.refused = true;
  Message& added = model_.add(std::move(message));
  added.payload = "m" + std::to_string(added.id) + ":";
  if (qos == Qos::ExactlyOnce && qos_open == Qos::ExactlyOnce) {
    await_pubrec(open, false);  // a repeat, by its identifier [MQTT-4.3.3-10]
  } else if (v5) {
    (qos == Qos::AtLeastOnce ? await_puback_ : await_pubrec_)
        .push_back({open.packet_id, added.id, Awaited::Kind::InUse});
  } else if (qos == Qos::ExactlyOnce || qos_open == Qos::ExactlyOnce || !dup) {
    expect_close_ = true;  // when those before it are answered
  }
  send_publish(added, open.packet_id, dup, false);
}

void Client::send_ack(PacketType type, uint16_t packet_id, ReasonCode reason) {
  codec::AckView ack;
  ack.type = type;
  ack.packet_id = packet_id;
  ack.reason_code = setup_.version == ProtocolVersion::V5 ? reason : ReasonCode::Success;
  send(ack, setup_.version);
}

void Client::send_due(Due due, bool refuse) {
  ReasonCode reason = ReasonCode::Success;
  Incoming* incoming = find_incoming(due.packet_id);
  switch (due.type) {
    case PacketType::Puback:
      if (refuse) reason = ReasonCode::ImplementationSpecificError;
      if (incoming) incoming->answered = true;
      if (incoming) model_.answered(*record_, as_bytes(incoming->payload));
      open_.erase(due.packet_id);
      break;
    case PacketType::Pubrec:
      if (incoming) incoming->received = true;
      if (incoming) model_.answered(*record_, as_bytes(incoming->payload));
      if (refuse && setup_.version == ProtocolVersion::V5) {  // the exchange is over (MQTT5 4.3.3)
        reason = ReasonCode::QuotaExceeded;
        if (incoming) incoming->answered = true;
        open_.erase(due.packet_id);
      }
      break;
    case PacketType::Pubcomp:
      if (incoming) incoming->answered = true;
      open_.erase(due.packet_id);
      break;
    default:  // PUBREL
      for (Outgoing& one : outgoing_) {
        if (one.packet_id == due.packet_id) one.state = Outgoing::State::AwaitPubcomp;
      }
      await_pubcomp_.push_back(due.packet_id);
      break;
  }
  send_ack(due.type, due.packet_id, reason);
}

void Client::acknowledge(uint32_t which, bool refuse) {
  if (!active() || due_.empty()) return;
  const auto at = due_.begin() + static_cast<ptrdiff_t>(which % due_.size());
  const Due due = *at;
  due_.erase(at);
  send_due(due, refuse);
}

void Client::set_automatic(bool on) {
  automatic_ = on;
  while (on && active() && !due_.empty()) acknowledge(0, false);
}

// Acknowledgements of nothing, and those that are not due yet: what is there stays as it is.
void Client::acknowledge_wrongly(uint32_t kind) {
  if (!active()) return;
  const auto open = [this](Qos qos) -> const Incoming* {
    for (const Incoming& one : incoming_) {
      if (one.qos == qos && !one.received && !one.answered && !one.again) return &one;
    }
    return nullptr;
  };
  switch (kind % 7) {
    case 0: return send_ack(PacketType::Puback, kNobodysId);
    case 1: return send_ack(PacketType::Pubcomp, kNobodysId);
    case 2: await_not_found_.push_back(kNobodysId); return send_ack(PacketType::Pubrec, kNobodysId);
    case 3: await_pubcomp_.push_back(kNobodysId); return send_ack(PacketType::Pubrel, kNobodysId);
    case 4:
      if (const Incoming* one = open(Qos::ExactlyOnce)) send_ack(PacketType::Puback, one->packet_id);
      return;
    case 5:
      if (const Incoming* one = open(Qos::ExactlyOnce)) send_ack(PacketType::Pubcomp, one->packet_id);
      return;
    default:
      if (const Incoming* one = open(Qos::AtLeastOnce)) {
        await_not_found_.push_back(one->packet_id);
        send_ack(PacketType::Pubrec, one->packet_id);
      }
  }
}

void Client::ping() {
  if (!active()) return;
  ++pings_;
  const std::byte bytes[] = {std::byte{0xC0}, std::byte{0}};
  send_bytes(bytes);
}

void Client::send_malformed(uint32_t kind) {
  if (!active()) return;
  const Malformed& chosen = kMalformed[kind % std::size(kMalformed)];
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < chosen.size; ++i) bytes.push_back(static_cast<std::byte>(chosen.bytes[i]));
  if (setup_.version == ProtocolVersion::V5 && chosen.properties >= 0) {
    bytes.insert(bytes.begin() + chosen.properties, std::byte{0});
    bytes[1] = static_cast<std::byte>(std::to_integer<unsigned>(bytes[1]) + 1);
  }
  send_held();
  half_ = 0;
  send_bytes(bytes);
  expect_close_ = true;
  const bool at_once = link_->room == SIZE_MAX;
  end_will(at_once && setup_.will_delay_s == 0);
}

void Client::disconnect(ReasonCode reason, std::optional<uint32_t> session_expiry_s) {
  if (!active()) return;
  const bool v5 = setup_.version == ProtocolVersion::V5;
  codec::DisconnectView disconnect;
  if (v5) {
    disconnect.reason_code = reason;
    if (session_expiry_s && record_->durable) {  // it may not be set again when it was 0 (MQTT5 3.14.2.2.2)
      disconnect.session_expiry_s = session_expiry_s;
    }
  }
  send_held();
  half_ = 0;
  send(disconnect, setup_.version);
  const bool read = link_->room == SIZE_MAX && model_.calm;
  const bool keeps_will = v5 && reason != ReasonCode::Success;
  if (read && will_ && !keeps_will) model_.message(will_).forbidden = true;
  end_will(read && keeps_will && setup_.will_delay_s == 0);
  if (!read) {
    unsure_ = record_->over = true;
  } else if (disconnect.session_expiry_s) {
    expiry_s_ = *disconnect.session_expiry_s;
    record_->durable = expiry_s_ != 0;
  }
  link_->peer_gone = true;
  link_->written.clear();
  lose_connection();
}

// reset: what the broker has not read is lost; otherwise it comes first.
void Client::drop(bool reset) {
  if (state_ != State::Connected) return;
  held_.clear();
  link_->peer_gone = true;
  link_->is_reset = reset;
  link_->written.clear();
  // A stalled connection is not read to its end.
  if (!reset && link_->paused) unsure_ = record_->over = true;
  end_will(!link_->paused && setup_.will_delay_s == 0);
  lose_connection();
}

void Client::shut() {
  if (state_ != State::Connected || expect_close_) return;
  send_held();
  half_ = 0;
  link_->is_shut = true;
  shut_ = expect_close_ = true;
  shut_at_ = broker_.now();
  end_will(!link_->paused && link_->room == SIZE_MAX && setup_.will_delay_s == 0);
}

void Client::set_room(size_t room) {
  if (!link_) return;
  link_->room = room;
  was_full_ |= room != SIZE_MAX;
  room_since_ = broker_.now();
}

void Client::lose_connection() {
  if (traced()) trace(client_id_ + " has no connection any more");
  lost_at_ = broker_.now();
  if (state_ == State::Connected) model_.disconnected(*record_);
  if (record_ && record_->over) {
    outgoing_.clear();
    incoming_.clear();
  }
  state_ = State::Idle;
  link_ = nullptr;
  in_.clear();
  held_.clear();
  part_.clear();
  half_ = chunk_ = 0;
  expect_close_ = shut_ = resumed_ = was_full_ = false;
  automatic_ = true;
  disconnect_reason_.reset();
  will_ = 0;
  aliases_out_.clear();
  aliases_in_.clear();
  open_.clear();
  await_puback_.clear();
  await_pubrec_.clear();
  for (auto* queue : {&await_again_, &perhaps_again_, &await_pubcomp_, &await_not_found_}) queue->clear();
  subscribes_.clear();
  unsubscribes_.clear();
  pings_ = 0;
  due_.clear();
  last_again_ = 0;
}

}  // namespace mqttq::fuzz
