// See stranger.h.
#include "stranger.h"

#include <algorithm>
#include <string_view>

namespace mqttq::fuzz {

using codec::PacketType;

namespace {

using namespace std::string_view_literals;

// For version 5 and, behind it, for 3.x.
constexpr std::string_view kPackets[] = {
    "\x10\x1a\0\4MQTT\5\2\0\x0a\x08\x11\0\0\0\x1e\x21\0\2\0\2c0\0\0"sv,
    "\x82\x0a\0\1\2\x0b\1\0\1#\x02"sv,
    "\x82\x10\0\2\0\0\x0a$share/s/#\1"sv,
    "\x32\x0e\0\3a/b\0\1\0stran"sv,
    "\x35\x0b\0\1a\0\2\0stran"sv,
    "\x30\x0c\0\1a\3\x23\0\1stran"sv,
    "\x62\2\0\2"sv,
    "\x40\2\0\1"sv,
    "\x50\3\0\1\0"sv,
    "\x70\2\0\1"sv,
    "\xa2\6\0\3\0\0\1#"sv,
    "\xc0\0"sv,
    "\xe0\1\4"sv,
    "\xe0\7\0\5\x11\0\0\0\1"sv,
    "\xf0\0"sv,
    "\x10\x16\0\4MQTT\4\x2e\0\x0a\0\2c1\0\1a\0\5stran"sv,
    "\x82\6\0\1\0\1#\1"sv,
    "\x32\x0c\0\3a/b\0\1stran"sv,
    "\x35\x0a\0\1a\0\2stran"sv,
    "\xa2\5\0\3\0\1#"sv,
    "\xe0\0"sv,
};

}  // namespace

void Stranger::open() {
  leave();
  link_ = &broker_.open(broker_.shard_count() - 1, kNamespace);
}

void Stranger::leave() {
  if (link_ && !link_->closed) link_->peer_gone = true;
  link_ = nullptr;
  in_.clear();
  out_.clear();
  is_refused_ = false;
}

void Stranger::connect(uint32_t version) {
  static constexpr std::string_view kConnects[] = {
      "\x10\x10\0\6MQIsdp\3\2\0\x0a\0\2c0"sv,
      "\x10\x0e\0\4MQTT\4\0\0\x0a\0\2c0"sv,
      "\x10\x14\0\4MQTT\5\0\0\x0a\5\x11\0\0\0\x1e\0\2c0"sv,
  };
  open();
  if (version % 4 < 3) return send(as_bytes(kConnects[version % 4]));
  send(as_bytes("\x10\x81\x02\0\4MQTT\5"sv));  // larger than is read of somebody who is not known
  is_refused_ = true;
}

void Stranger::judge_rest() const {
  if (link_ && is_refused_) require(link_->closed, "a CONNECT that is too large ends its connection");
}

void Stranger::send_changed(uint32_t kind, uint32_t at, uint8_t value) {
  const Bytes packet = as_bytes(kPackets[kind % std::size(kPackets)]);
  std::vector<std::byte> bytes(packet.begin(), packet.end());
  if (at < bytes.size()) bytes[at] = std::byte{value};
  send(bytes);
}

void Stranger::send(Bytes bytes) {
  if (!link_ || link_->closed) open();
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  link_->inbox.emplace_back(bytes.begin(), bytes.end());
}

bool Stranger::read() {
  if (!link_ || link_->written.empty()) return false;
  require(!is_refused_, "a CONNECT that is too large has no answer");
  in_.insert(in_.end(), link_->written.begin(), link_->written.end());
  link_->written.clear();
  size_t done = 0;
  for (;;) {
    const Bytes rest = Bytes(in_).subspan(done);
    const codec::Frame frame = codec::scan_frame(rest);
    require(frame.kind != codec::Frame::Kind::Malformed, "a stranger gets packets");
    if (frame.kind != codec::Frame::Kind::Complete) break;
    judge(rest.first(frame.size), frame.type);
    done += frame.size;
  }
  in_.erase(in_.begin(), in_.begin() + static_cast<ptrdiff_t>(done));
  return true;
}

void Stranger::judge(Bytes packet, PacketType type) const {
  // Its first packet says which version it speaks; what does not decode is answered in any.
  const codec::Frame first = codec::scan_frame(out_);
  std::vector<ProtocolVersion> versions{ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5};
  if (first.kind == codec::Frame::Kind::Complete) {
    const auto connect = codec::decode_connect(Bytes(out_).first(first.size));
    if (connect.ok()) versions = {connect->version};
  }
  const bool decodes = std::any_of(versions.begin(), versions.end(), [&](ProtocolVersion version) {
    switch (type) {
      case PacketType::Connack: return codec::decode_connack(packet, version).ok();
      case PacketType::Publish: {
        const auto publish = codec::decode_publish(packet, version);
        if (publish.ok()) require(!model_.find(publish->payload), "a stranger gets no message of another namespace");
        return publish.ok();
      }
      case PacketType::Puback:
      case PacketType::Pubrec:
      case PacketType::Pubrel:
      case PacketType::Pubcomp: return codec::decode_ack(packet, version).ok();
      case PacketType::Suback:
      case PacketType::Unsuback: return codec::decode_suback(packet, version).ok();
      case PacketType::Pingresp: return codec::check_ping(packet) == ReasonCode::Success;
      case PacketType::Disconnect:
        return version == ProtocolVersion::V5 && codec::decode_disconnect(packet, version).ok();
      default: return false;
    }
  });
  require(decodes, "what a stranger gets is a server's packet of its version");
}

}  // namespace mqttq::fuzz
