// See client.h.
#include "client.h"

#include <algorithm>

#include "link.h"
#include "message/topic.h"
#include "stream/stream_message.h"
#include "world.h"

namespace mqttq::sim {

using codec::PacketType;

namespace {

std::vector<std::byte> user_property(std::string_view name, std::string_view value) {
  std::vector<std::byte> bytes(5 + name.size() + value.size());
  codec::Writer writer(bytes.data());
  writer.u8(static_cast<uint8_t>(PropertyId::UserProperty));
  writer.prefixed(name);
  writer.prefixed(value);
  return bytes;
}

// Two of one name and one of another, which must stay in this order [MQTT-3.3.2-18].
std::vector<std::byte> user_properties(uint32_t number) {
  std::vector<std::byte> bytes;
  for (const char* name : {"b", "a", "b"}) {
    const std::vector<std::byte> one = user_property(name, std::to_string(number));
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  return bytes;
}

}  // namespace

void Client::fail(const std::string& what) const { world_.fail(client_id_ + ": " + what); }

// --- one thing at a time

Client& Client::connect(const ConnectSetup& setup) {
  begin_connect(setup);
  world_.settle();
  require(is_connected(), "the connection is not accepted");
  return *this;
}

Client& Client::subscribe(const std::string& topic_filter, Qos qos, uint32_t identifier) {
  return subscribe({Entry{topic_filter, qos}}, identifier);
}

Client& Client::subscribe(const std::vector<Entry>& entries, uint32_t identifier) {
  begin_subscribe(entries, identifier);
  world_.settle();
  return *this;
}

Client& Client::unsubscribe(const std::string& topic_filter) {
  begin_unsubscribe({topic_filter});
  world_.settle();
  return *this;
}

Client& Client::publish(const std::string& topic_name, const std::string& payload, Qos qos, bool retain) {
  return publish({topic_name, payload, qos, retain});
}

Client& Client::publish(const PublishSetup& setup) {
  begin_publish(setup);
  world_.settle();
  return *this;
}

Client& Client::until_acknowledged() {
  world_.settle();
  require(outgoing_.empty(), "a publish is not acknowledged");
  return *this;
}

Client& Client::disconnect(ReasonCode reason, std::optional<uint32_t> session_expiry_s) {
  begin_disconnect(reason, session_expiry_s);
  world_.settle();
  return *this;
}

Client& Client::drop() {
  break_link(false);
  world_.settle();
  return *this;
}

// --- sending

template <class... Packet>
void Client::send(const Packet&... packet) {
  codec::Writer counting;
  codec::encode(packet..., counting);
  std::vector<std::byte> bytes(counting.size());
  codec::Writer writing(bytes.data());
  codec::encode(packet..., writing);
  send_raw(bytes);
}

// "PUBLISH #3 a/b m17:" for the trace.
std::string Client::describe(Bytes packet) const {
  static constexpr const char* kNames[] = {"?",       "CONNECT",  "CONNACK",    "PUBLISH", "PUBACK",      "PUBREC",
                                           "PUBREL",  "PUBCOMP",  "SUBSCRIBE",  "SUBACK",  "UNSUBSCRIBE", "UNSUBACK",
                                           "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"};
  const codec::Frame frame = codec::scan_frame(packet);
  std::string text = kNames[static_cast<unsigned>(frame.type)];
  if (frame.type == PacketType::Publish) {
    if (const auto publish = codec::decode_publish(packet, version_); publish.ok()) {
      text += " #" + std::to_string(publish->packet_id) + " qos " + std::to_string(static_cast<int>(publish->qos)) +
              (publish->dup ? " dup" : "") + (publish->retain ? " retain" : "") + " " +
              std::string(publish->topic_name) + " " + std::string(as_text(publish->payload)).substr(0, 12);
    }
  } else if (frame.type != PacketType::Connect && frame.size >= 4u) {
    for (size_t i = frame.header_size; i < frame.size && i < 24u; ++i) {
      const auto byte = std::to_integer<char>(packet[i]);
      text += byte > ' ' ? std::string(1, byte) : "." + std::to_string(static_cast<int>(byte));
    }
  }
  return text;
}

void Client::send_raw(Bytes bytes) {
  require(link_ != nullptr, "sends without a connection");
  world_.trace([&] { return client_id_ + " > " + describe(bytes); });
  if (!leaving_) link_->send(bytes);
}

void Client::begin_connect(const ConnectSetup& setup) {
  if (state_ != State::Idle) leave_link();
  setup_ = setup;
  // Until a clean start is answered, the broker may have the session still that we have forgotten [MQTT-3.2.2-4].
  setup_.clean_start = setup_.clean_start || forgotten_;
  forgotten_ = setup_.clean_start;
  if (version_ != ProtocolVersion::V5) {
    setup_.session_expiry_s = setup_.clean_start ? 0 : kSessionExpiryNever;
    setup_.receive_maximum = kReceiveMaximumDefault;
    setup_.packet_size_max = 0;
    setup_.topic_alias_maximum = 0;
    setup_.authenticates = false;
    if (setup_.will) setup_.will->delay_s = 0;
  }
  connack_reason_.reset();
  disconnect_reason_.reset();
  aliases_in_.clear();
  acknowledgements_.clear();
  // If it has not been read yet that the last will is taken back, the new connection may come first.
  if (will_before_ && link_before_->connection) world_.model().message(will_before_).forbidden = false;
  will_before_ = 0;
  link_ = world_.open_link();
  if (!link_) return;
  state_ = State::Connecting;
  leaving_ = false;
  world_.trace([&] {
    return client_id_ + " connects at shard " + std::to_string(link_->shard) + ", lives on " +
           std::to_string(world_.core(0).home_of(kGlobalNamespace, client_id_)) +
           (setup_.clean_start ? ", clean" : "") + ", expiry " + std::to_string(setup_.session_expiry_s);
  });
  codec::ConnectView connect;
  connect.version = version_;
  connect.client_id = client_id_;
  connect.clean_start = setup_.clean_start;
  connect.keep_alive_s = setup_.keep_alive_s;
  if (version_ == ProtocolVersion::V5) {
    connect.session_expiry_s = setup_.session_expiry_s;
    connect.receive_maximum = setup_.receive_maximum;
    connect.maximum_packet_size = setup_.packet_size_max;
    connect.topic_alias_maximum = setup_.topic_alias_maximum;
  }
  authenticating_ = setup_.authenticates;
  if (setup_.authenticates) {
    connect.authentication_method = SimAccess::kMethod;
    connect.authentication_data = as_bytes("some data of the client's");
  }
  std::string will_topic;
  if (setup_.will) {
    connect.has_will = true;
    will_topic = name_of(setup_.will->topic_name);
    connect.will.topic_name = will_topic;
    connect.will.payload = as_bytes(setup_.will->payload);
    connect.will.qos = setup_.will->qos;
    connect.will.retain = setup_.will->retain;
    connect.will_delay_s = setup_.will->delay_s;
  }
  will_ = 0;
  if (setup_.will) register_will(setup_);
  if (setup_.clean_start) forget_session();
  unsure_ = unsure_ || setup_.clean_start;
  send(connect);
}

void Client::register_will(const ConnectSetup& setup) {
  Published will;
  will.publisher = client_id_;
  will.topic_name = setup.will->topic_name;
  will.payload = setup.will->payload;
  will.qos = setup.will->qos;
  will.retain = setup.will->retain;
  will.will = true;
  will_ = world_.model().publish(std::move(will)).id;
  world_.model().sent(will_);  // from here on it may come: the broker may end the connection before the client knows
}

// The connection is over for us.
void Client::settle_will(WillFate fate) {
  if (!will_) return;
  Published& will = world_.model().message(std::exchange(will_, 0));
  if (fate == WillFate::TakenBack) {
    will.forbidden = true;
    will_before_ = will.id;
    link_before_ = link_;
  } else if (fate == WillFate::Owed && state_ == State::Connected && setup_.will->delay_s == 0) {
    will.owed = true;
  }
}

// What this client calls a topic or a filter.
std::string Client::name_of(const std::string& topic) const {
  return uses_old_names && !is_queue(topic) && !is_stream(topic) ? old_name_of(topic) : topic;
}

bool Client::is_queue(const std::string& topic_filter) const {
  return !consumes.empty() && topic_filter == queue_address;
}

bool Client::is_stream(const std::string& topic_filter) const {
  return !stream.empty() && topic_filter == stream_address;
}

std::string Client::name_of(const Published& message) const {
  const std::string name = name_of(message.topic_name);
  return message.delay_s ? "$delayed/" + std::to_string(message.delay_s) + "/" + name : name;
}

void Client::begin_subscribe(const std::vector<Entry>& entries, uint32_t identifier) {
  const uint16_t packet_id = next_packet_id();
  std::vector<std::byte> bytes;
  for (const Entry& entry : entries) {
    codec::SubscriptionOptions options{entry.qos, entry.no_local, entry.retain_as_published, entry.retain_handling};
    if (version_ != ProtocolVersion::V5) options = {entry.qos, false, false, codec::RetainHandling::Send};
    const std::string name = name_of(entry.topic_filter);
    const size_t at = bytes.size();
    bytes.resize(at + 2 + name.size() + 1);
    codec::Writer writer(bytes.data() + at);
    writer.prefixed(name);
    writer.u8(codec::encode_options(options));
    const SharedFilter shared = parse_shared_filter(entry.topic_filter);
    Subscribed asked;
    asked.topic_filter = shared.topic_filter;
    asked.group = shared.group;
    asked.qos = options.qos;
    asked.no_local = options.no_local;
    asked.retain_as_published = options.retain_as_published;
    asked.retain_handling = options.retain_handling;
    asked.identifier = version_ == ProtocolVersion::V5 ? identifier : 0;
    asked.packet_id = packet_id;
    world_.model().asked(*session_, asked);
  }
  codec::SubscribeView subscribe;
  subscribe.packet_id = packet_id;
  subscribe.subscription_identifier = identifier;
  subscribe.entries = bytes;
  const std::vector<std::byte> group = user_property(kStreamGroupProperty, stream_group);
  if (!stream_group.empty()) subscribe.properties = group;
  requests_[packet_id] = PacketType::Suback;
  for (const Entry& entry : entries) {
    if (is_queue(entry.topic_filter)) world_.queues().subscribing(*this, entry.qos);
    if (is_stream(entry.topic_filter)) {
      world_.streams().subscribing(*this, entry.qos);
      begins_stream_ = packet_id;
    }
  }
  send(subscribe, version_);
}

void Client::begin_unsubscribe(const std::vector<std::string>& topic_filters) {
  const uint16_t packet_id = next_packet_id();
  std::vector<std::byte> bytes;
  for (const std::string& topic_filter : topic_filters) {
    const std::string name = name_of(topic_filter);
    const size_t at = bytes.size();
    bytes.resize(at + 2 + name.size());
    codec::Writer(bytes.data() + at).prefixed(name);
    world_.model().ending(*session_, topic_filter, packet_id);
    if (is_queue(topic_filter)) {
      world_.queues().unsubscribing(*this);
      leaves_queue_ = packet_id;
    }
  }
  codec::UnsubscribeView unsubscribe;
  unsubscribe.packet_id = packet_id;
  unsubscribe.entries = bytes;
  requests_[packet_id] = PacketType::Unsuback;
  send(unsubscribe, version_);
}

void Client::begin_publish(const PublishSetup& setup) {
  Published message;
  message.publisher = client_id_;
  message.publisher_session = session_ ? session_->number : 0;
  message.topic_name = setup.topic_name;
  message.payload = setup.payload;
  message.qos = setup.qos;
  message.retain = setup.retain;
  message.delay_s = setup.delay_s;
  if (version_ == ProtocolVersion::V5) {
    message.expiry_s = setup.expiry_s;
    if (setup.user_properties) {
      message.properties = user_properties(static_cast<uint32_t>(world_.model().messages().size()));
    }
  }
  const Published& known = world_.model().publish(std::move(message));
  Outgoing outgoing{0, known.id, setup.qos,
                    setup.qos == Qos::AtLeastOnce ? Outgoing::State::AwaitPuback : Outgoing::State::AwaitPubrec};
  if (setup.qos != Qos::AtMostOnce) {
    outgoing.packet_id = next_packet_id();
    outgoing_.push_back(outgoing);
  }
  send_publish(outgoing, false, setup.alias);
}

void Client::send_publish(const Outgoing& outgoing, bool dup, bool alias) {
  Published& message = world_.model().message(outgoing.message);
  codec::PublishView publish;
  publish.dup = dup;
  publish.qos = message.qos;
  publish.retain = message.retain;
  publish.packet_id = outgoing.packet_id;
  const std::string name = name_of(message);
  publish.topic_name = name;
  publish.payload = as_bytes(message.payload);
  publish.properties = message.properties;
  publish.has_message_expiry = message.expiry_s != 0;
  publish.message_expiry_s = message.expiry_s;
  if (alias && version_ == ProtocolVersion::V5) {
    if (const auto known = aliases_.find(name); known != aliases_.end()) {
      publish.topic_alias = known->second;
      publish.topic_name = {};
    } else if (aliases_.size() < alias_max_) {
      publish.topic_alias = aliases_[name] = static_cast<uint16_t>(aliases_.size() + 1);
    }
  }
  world_.model().sent(outgoing.message);
  if (unsure_) message.repeatable = true;
  if (outgoing.state == Outgoing::State::AwaitPuback && outgoing.packet_id) await_puback_.push_back(outgoing.packet_id);
  if (outgoing.state == Outgoing::State::AwaitPubrec && outgoing.packet_id) await_pubrec_.push_back(outgoing.packet_id);
  send(publish, version_);
}

void Client::begin_disconnect(ReasonCode reason, std::optional<uint32_t> session_expiry_s) {
  if (state_ == State::Idle) return;
  codec::DisconnectView disconnect;
  if (version_ == ProtocolVersion::V5) {
    disconnect.reason_code = reason;
    disconnect.session_expiry_s = session_expiry_s;
    if (session_expiry_s) durable_ = *session_expiry_s != 0;
  }
  send(disconnect, version_);
  // Unless the broker may end it before it reads that.
  const bool read =
      state_ == State::Connected && setup_.keep_alive_s == 0 && !world_.log().may_fail() && !world_.model().may_refuse;
  const bool normal = disconnect.reason_code == ReasonCode::Success;
  settle_will(!read ? WillFate::Unknown : normal ? WillFate::TakenBack : WillFate::Owed);
  link_->hang_up(false);
  lose_connection();
}

void Client::begin_ping() {
  const std::byte ping[] = {std::byte{0xC0}, std::byte{0}};
  send_raw(ping);
}

void Client::begin_reauthentication() {
  if (!setup_.authenticates) return;
  require(!authenticating_, "is to authenticate twice at once");
  authenticating_ = true;
  send_auth(ReasonCode::ReAuthenticate);
}

void Client::send_auth(ReasonCode reason) {
  codec::AuthView auth;
  auth.reason_code = reason;
  auth.authentication_method = SimAccess::kMethod;
  auth.authentication_data = as_bytes("more data of the client's");
  send(auth);
}

void Client::break_link(bool lose_some) {
  if (state_ == State::Idle) return;
  const bool whole = !lose_some || world_.chance(500);
  if (!whole) link_->to_broker.truncate(world_.random().below(link_->to_broker.size() + 1));
  link_->hang_up(!whole && world_.chance(500));
  settle_will(WillFate::Owed);
  lose_connection();
}

void Client::leave_link() {
  if (state_ == State::Idle) return;
  // What is in flight there may come before or after what the next connection brings, or be cut anywhere.
  if (world_.chance(500)) link_->to_broker.truncate(world_.random().below(link_->to_broker.size() + 1));
  link_->abandon();
  settle_will(WillFate::Owed);
  lose_connection();
}

void Client::lose_connection() {
  world_.trace([&] { return client_id_ + " has no connection any more"; });
  if (state_ == State::Connecting) {
    unsure_ = true;
    unanswered_ = link_;
  }
  if (state_ == State::Connected) world_.model().disconnected(client_id_);
  if (!consumes.empty() && !world_.queues().empty()) world_.queues().gone(*this);
  if (!stream.empty()) world_.streams().gone(*this);
  leaves_queue_ = begins_stream_ = 0;
  state_ = State::Idle;
  link_ = nullptr;
  in_.clear();
  aliases_.clear();
  open_.clear();
  for (auto& queue : due_) queue.clear();
  await_puback_.clear();
  await_pubrec_.clear();
  requests_.clear();
  will_ = 0;
}

bool Client::is_heard() const noexcept { return is_connected() && link_ && !link_->closed_by_broker(); }

bool Client::may_connect() const noexcept { return !unanswered_ || unanswered_->closed_by_broker(); }

void Client::forget_session() {
  outgoing_.clear();
  incoming_.clear();
  session_ = nullptr;
}

uint16_t Client::next_packet_id() {
  const auto taken = [&](uint16_t packet_id) {
    return requests_.contains(packet_id) || std::any_of(outgoing_.begin(), outgoing_.end(), [&](const Outgoing& one) {
             return one.packet_id == packet_id;
           });
  };
  // Small numbers, soon used again.
  do {
    last_packet_id_ = static_cast<uint16_t>(last_packet_id_ % (40 + outgoing_.size() + requests_.size()) + 1);
  } while (taken(last_packet_id_));
  return last_packet_id_;
}

// --- steps

bool Client::can_act() const noexcept {
  if (!link_) return false;
  if (reads && link_->readable_for_client()) return true;
  return std::any_of(std::begin(due_), std::end(due_), [](const auto& queue) { return !queue.empty(); }) &&
         acknowledges;
}

size_t Client::available() const noexcept { return reads && link_ ? link_->to_client.size() : 0; }

void Client::act(size_t size) {
  std::vector<std::deque<Due>*> ready;
  for (auto& queue : due_) {
    if (acknowledges && !queue.empty()) ready.push_back(&queue);
  }
  if (!ready.empty() && (size == 0 || world_.chance(400))) {
    send_due(*ready[world_.random().below(ready.size())]);
    return;
  }
  if (size == 0) {  // all was read, and the broker has closed
    settle_will(WillFate::Owed);
    lose_connection();
    return;
  }
  const Bytes arrived = link_->to_client.front(size);
  in_.insert(in_.end(), arrived.begin(), arrived.end());
  link_->to_client.skip(size);
  size_t done = 0;
  while (link_) {
    const Bytes rest = Bytes(in_).subspan(done);
    const codec::Frame frame = codec::scan_frame(rest);
    require(frame.kind != codec::Frame::Kind::Malformed, "got bytes that are no packet");
    if (frame.kind != codec::Frame::Kind::Complete) break;
    if (setup_.packet_size_max && frame.size > setup_.packet_size_max)
      fail("got a packet over its Maximum Packet Size");
    done += frame.size;
    const std::vector<std::byte> packet(rest.begin(), rest.begin() + frame.size);
    handle(frame, packet);
  }
  if (link_) in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(done));
}

void Client::send_due(std::deque<Due>& queue) {
  const Due due = queue.front();
  queue.pop_front();
  if (due.type == PacketType::Puback || due.type == PacketType::Pubcomp) open_.erase(due.packet_id);
  if (due.type == PacketType::Puback && !consumes.empty()) {
    world_.queues().acknowledging(*this, due.packet_id, !is_error(due.reason));
  }
  if (due.type == PacketType::Puback && !stream_group.empty()) {
    world_.streams().acknowledging(*this, due.packet_id);
  }
  codec::AckView ack;
  ack.type = due.type;
  ack.packet_id = due.packet_id;
  ack.reason_code = due.reason;
  send(ack, version_);
}

// --- what arrives

void Client::handle(const codec::Frame& frame, Bytes packet) {
  world_.trace([&] { return client_id_ + " < " + describe(packet); });
  if (state_ == State::Connecting && frame.type != PacketType::Connack && frame.type != PacketType::Auth)
    fail("got a packet before CONNACK");  // [MQTT-3.2.0-1]
  switch (frame.type) {
    case PacketType::Connack: handle_connack(packet); return;
    case PacketType::Publish: handle_publish(packet); return;
    case PacketType::Puback:
    case PacketType::Pubrec:
    case PacketType::Pubrel:
    case PacketType::Pubcomp: handle_ack(packet); return;
    case PacketType::Suback:
    case PacketType::Unsuback: handle_suback(packet); return;
    case PacketType::Pingresp: require(codec::check_ping(packet) == ReasonCode::Success, "got a bad PINGRESP"); return;
    case PacketType::Disconnect: handle_disconnect(packet); return;
    case PacketType::Auth: handle_auth(packet); return;
    default: fail("got a packet that is a client's");
  }
}

void Client::handle_connack(Bytes packet) {
  require(state_ == State::Connecting, "got a second CONNACK");
  const auto connack = codec::decode_connack(packet, version_);
  require(connack.ok(), "got a CONNACK that does not decode");
  connack_reason_ = connack->reason_code;
  if (connack->reason_code != ReasonCode::Success) {
    require(may_be_refused, "is refused");
    require(!connack->session_present, "is refused with Session Present");  // [MQTT-3.2.2-6]
    return;
  }
  require(connack->authentication_method.has_value() == setup_.authenticates, "got a CONNACK of another method");
  if (setup_.authenticates) {  // [MQTT-4.12.0-5]
    require(*connack->authentication_method == SimAccess::kMethod, "got a CONNACK of another method");
    require(as_text(connack->authentication_data) == SimAccess::kData, "got other data than the host's");
  }
  authenticating_ = false;
  session_present_ = connack->session_present;
  require(!(setup_.clean_start && session_present_ && version_ != ProtocolVersion::V31),
          "got Session Present after a clean start");  // [MQTT-3.2.2-2]
  state_ = State::Connected;
  forgotten_ = false;
  receive_maximum_out_ = connack->receive_maximum;
  alias_max_ = connack->topic_alias_maximum;
  // In 3.1 CONNACK has no Session Present: a client goes by what it asked for.
  bool present = session_present_;
  if (version_ == ProtocolVersion::V31 && !setup_.clean_start) {
    present = session_present_ = unsure_ ? world_.model().session(client_id_) != nullptr : session_ && durable_;
  }
  durable_ = setup_.session_expiry_s != 0;
  if (!present) forget_session();
  if (!present && !stream.empty()) world_.streams().session_began(*this);
  session_ = &world_.model().connected(client_id_, version_, present, !unsure_, setup_.packet_size_max);
  if (will_) world_.model().message(will_).publisher_session = session_->number;
  send_quota_ = std::min<size_t>(receive_maximum_out_, world_.setup().limits.receive_maximum);
  for (const Outgoing& one : outgoing_) {  // in the order of the first sending [MQTT-4.4.0-1]
    if (one.state != Outgoing::State::AwaitPubcomp) {
      send_publish(one, true);
    } else {
      due_[2].push_back({PacketType::Pubrel, one.packet_id});
    }
  }
  perhaps_another_session_ = unsure_ || (perhaps_another_session_ && present);
  unsure_ = false;
}

void Client::handle_publish(Bytes packet) {
  const auto decoded = codec::decode_publish(packet, version_);
  require(decoded.ok(), "got a PUBLISH that does not decode");
  codec::PublishView named = *decoded;
  const codec::PublishView* publish = &named;
  require(named.topic_alias <= setup_.topic_alias_maximum, "got an alias beyond its maximum");  // [MQTT-3.1.2-26]
  if (named.topic_alias) {
    std::string& topic = aliases_in_[named.topic_alias];
    if (!named.topic_name.empty()) topic = named.topic_name;
    named.topic_name = topic;
  }
  require(is_valid_topic_name(publish->topic_name), "got a PUBLISH without a valid topic");
  const std::string payload(as_text(publish->payload));
  if (is_sys_topic(publish->topic_name)) {  // what the broker says of itself: the model knows nothing of it
    require(publish->qos == Qos::AtMostOnce && !publish->dup, "got a message of $SYS that is not at QoS 0");
    said_by_broker_.emplace_back(publish->topic_name, payload);
    return;
  }
  bool repeat = false;
  if (publish->qos != Qos::AtMostOnce) {
    require(!open_.contains(publish->packet_id), "got a Packet Identifier that is in use");  // [MQTT-2.2.1-4]
    open_.insert(publish->packet_id);
    require(open_.size() <= setup_.receive_maximum, "got more than its Receive Maximum");  // [MQTT-3.3.4-9]
  } else {
    require(!publish->dup, "got DUP at QoS 0");  // [MQTT-3.3.1-2]
  }
  if (publish->qos == Qos::AtLeastOnce) {
    require(!incoming_.contains(publish->packet_id) || perhaps_another_session_,
            "got an identifier at QoS 1 that is in use at QoS 2");
    const bool rejects = rejects_in_1000 && version_ == ProtocolVersion::V5 &&
                         world_.queues().consumes(*this, publish->topic_name) && world_.chance(rejects_in_1000);
    due_[0].push_back({PacketType::Puback, publish->packet_id,
                       rejects ? ReasonCode::ImplementationSpecificError : ReasonCode::Success});
  } else if (publish->qos == Qos::ExactlyOnce) {
    const auto [known, fresh] = incoming_.emplace(publish->packet_id, payload);
    if (!fresh) {
      repeat = publish->dup && known->second == payload;
      require(repeat || perhaps_another_session_, "got an identifier whose exchange is open");
      known->second = payload;
    }
    due_[1].push_back({PacketType::Pubrec, publish->packet_id});
  }
  if (repeat) return;
  if (world_.queues().consumes(*this, publish->topic_name)) {
    world_.queues().received(*this, *publish);
  } else if (world_.streams().reads(*this, publish->topic_name)) {
    world_.streams().received(*this, *publish);
  } else {
    world_.model().received(*session_, *publish);
  }
  received_.push_back(payload);
  received_topics_.emplace_back(publish->topic_name, payload);
}

// By a queue that has no room for it.
bool Client::may_be_rejected(uint16_t packet_id) const {
  return std::any_of(outgoing_.begin(), outgoing_.end(), [&](const Outgoing& one) {
    return one.packet_id == packet_id && world_.queues().may_reject(world_.model().message(one.message).topic_name);
  });
}

void Client::handle_ack(Bytes packet) {
  const auto ack = codec::decode_ack(packet, version_);
  require(ack.ok(), "got an acknowledgement that does not decode");
  if (ack->type == PacketType::Pubrel) {
    require(!is_error(ack->reason_code), "got a PUBREL for a PUBREC of nothing");
    incoming_.erase(ack->packet_id);
    due_[1].push_back({PacketType::Pubcomp, ack->packet_id});
    return;
  }
  const auto at = std::find_if(outgoing_.begin(), outgoing_.end(),
                               [&](const Outgoing& one) { return one.packet_id == ack->packet_id; });
  require(at != outgoing_.end(), "got an acknowledgement of nothing it sent");
  switch (ack->type) {
    case PacketType::Puback:
      require(at->state == Outgoing::State::AwaitPuback, "got a PUBACK for a QoS 2 publish");
      require(await_puback_.front() == ack->packet_id, "got PUBACKs out of order");  // [MQTT-4.6.0-2]
      await_puback_.pop_front();
      break;
    case PacketType::Pubrec:
      require(at->state == Outgoing::State::AwaitPubrec, "got a PUBREC out of place");
      // [MQTT-4.6.0-3]. What was refused before it came again counts from then on.
      require(await_pubrec_.front() == ack->packet_id || world_.log().may_fail() || world_.model().may_refuse ||
                  may_be_rejected(await_pubrec_.front()),
              "got PUBRECs out of order");
      std::erase(await_pubrec_, ack->packet_id);
      break;
    default:
      require(at->state == Outgoing::State::AwaitPubcomp, "got a PUBCOMP out of place");
      require(!is_error(ack->reason_code) || ack->reason_code == ReasonCode::PacketIdentifierNotFound,
              "got a PUBCOMP with another error");
      outgoing_.erase(at);
      return;
  }
  acknowledgements_.push_back(ack->reason_code);
  if (is_error(ack->reason_code)) {
    Model& model = world_.model();
    require(model.may_lose || model.may_refuse || world_.log().failed_count ||
                world_.queues().may_reject(model.message(at->message).topic_name),
            "a publish is refused");
  }
  world_.model().acknowledged(at->message, ack->reason_code);
  if (ack->type == PacketType::Pubrec && !is_error(ack->reason_code)) {
    at->state = Outgoing::State::AwaitPubcomp;
    due_[2].push_back({PacketType::Pubrel, ack->packet_id});
  } else {
    outgoing_.erase(at);
  }
}

void Client::handle_suback(Bytes packet) {
  const auto suback = codec::decode_suback(packet, version_);
  require(suback.ok(), "got a SUBACK or UNSUBACK that does not decode");
  const auto request = requests_.find(suback->packet_id);
  require(request != requests_.end() && request->second == suback->type,
          "got a SUBACK or UNSUBACK for nothing it asked");
  requests_.erase(request);
  if (suback->packet_id == leaves_queue_) {
    leaves_queue_ = 0;
    world_.queues().unsubscribed(*this);
  }
  if (suback->packet_id == begins_stream_ && !is_error(static_cast<ReasonCode>(suback->reason_codes[0]))) {
    begins_stream_ = 0;
    world_.streams().subscribed(*this);
  }
  world_.model().answered(*session_, suback->packet_id, suback->reason_codes);
}

void Client::handle_disconnect(Bytes packet) {
  require(version_ == ProtocolVersion::V5, "got a DISCONNECT, which 3.x does not have from a server");
  const auto disconnect = codec::decode_disconnect(packet, version_);
  require(disconnect.ok(), "got a DISCONNECT that does not decode");
  disconnect_reason_ = disconnect->reason_code;
  switch (disconnect->reason_code) {
    case ReasonCode::SessionTakenOver:
    case ReasonCode::KeepAliveTimeout: break;
    default:
      if (!may_be_refused) fail("is disconnected: " + std::string(to_text(disconnect->reason_code)));
  }
}

void Client::handle_auth(Bytes packet) {
  const auto auth = codec::decode_auth(packet);
  require(auth.ok(), "got an AUTH that does not decode");
  require(authenticating_, "got an AUTH and did not authenticate");  // [MQTT-4.12.0-6]
  require(auth->authentication_method == SimAccess::kMethod, "got an AUTH of another method");
  require(as_text(auth->authentication_data) == SimAccess::kData, "got other data than the host's");
  if (auth->reason_code == ReasonCode::ContinueAuthentication) {
    send_auth(ReasonCode::ContinueAuthentication);
    return;
  }
  require(auth->reason_code == ReasonCode::Success, "got an AUTH that is a client's");
  require(state_ == State::Connected, "got an AUTH that ends what CONNACK is to end");
  authenticating_ = false;
}

}  // namespace mqttq::sim
