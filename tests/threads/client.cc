#include "client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <stdexcept>

#include "transport/tcp.h"

namespace mqttq::test {

namespace {

codec::PacketType type_of(const std::vector<std::byte>& packet) {
  return static_cast<codec::PacketType>(std::to_integer<uint8_t>(packet[0]) >> 4);
}

}  // namespace

Client::Client(const std::string& address) {
  sockaddr_storage where{};
  const socklen_t size = parse_address(address, where);
  socket_ = ::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{20, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&where), size) != 0) throw std::runtime_error("cannot connect");
}

Client::~Client() { ::close(socket_); }

void Client::send_raw(const std::vector<std::byte>& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t step = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (step <= 0) throw std::runtime_error("cannot send");
    sent += static_cast<size_t>(step);
  }
}

template <class... Packet>
void Client::send(const Packet&... packet) {
  codec::Writer counting;
  codec::encode(packet..., counting);
  std::vector<std::byte> bytes(counting.size());
  codec::Writer writing(bytes.data());
  codec::encode(packet..., writing);
  send_raw(bytes);
}

std::vector<std::byte> Client::read_packet() {
  for (;;) {
    const codec::Frame frame = codec::scan_frame(input_);
    if (frame.kind == codec::Frame::Kind::Malformed) throw std::runtime_error("malformed packet from the broker");
    if (frame.kind == codec::Frame::Kind::Complete) {
      const auto end = input_.begin() + frame.size;
      std::vector<std::byte> packet(input_.begin(), end);
      input_.erase(input_.begin(), end);
      return packet;
    }
    std::byte buffer[16 * 1024];
    const ssize_t got = ::recv(socket_, buffer, sizeof buffer, 0);
    if (got == 0) throw std::runtime_error("closed by the broker");
    if (got < 0) throw std::runtime_error("the broker is silent");
    input_.insert(input_.end(), buffer, buffer + got);
  }
}

bool Client::take_message(const std::vector<std::byte>& packet) {
  codec::AckView ack;
  if (type_of(packet) == codec::PacketType::Pubrel) {
    const auto pubrel = codec::decode_ack(packet, ProtocolVersion::V5);
    if (!pubrel.ok()) throw std::runtime_error("malformed PUBREL from the broker");
    ack.type = codec::PacketType::Pubcomp;
    ack.packet_id = pubrel->packet_id;
    send(ack, ProtocolVersion::V5);
    return true;
  }
  if (type_of(packet) != codec::PacketType::Publish) return false;
  const auto publish = codec::decode_publish(packet, ProtocolVersion::V5);
  if (!publish.ok()) throw std::runtime_error("malformed PUBLISH from the broker");
  inbox_.push_back(
      {std::string(publish->topic_name), std::string(as_text(publish->payload)), publish->qos, publish->retain});
  if (publish->qos != Qos::AtMostOnce) {
    ack.type = publish->qos == Qos::AtLeastOnce ? codec::PacketType::Puback : codec::PacketType::Pubrec;
    ack.packet_id = publish->packet_id;
    send(ack, ProtocolVersion::V5);
  }
  return true;
}

std::vector<std::byte> Client::read(codec::PacketType type) {
  for (;;) {
    std::vector<std::byte> packet = read_packet();
    if (type_of(packet) == type) return packet;
    if (!take_message(packet)) throw std::runtime_error("an unexpected packet from the broker");
  }
}

bool Client::connect(const std::string& client_id, bool clean_start, uint32_t session_expiry_s) {
  codec::ConnectView connect;
  connect.clean_start = clean_start;
  connect.client_id = client_id;
  connect.session_expiry_s = session_expiry_s;
  send(connect);
  const auto connack = codec::decode_connack(read(codec::PacketType::Connack), ProtocolVersion::V5);
  if (!connack.ok() || connack->reason_code != ReasonCode::Success) throw std::runtime_error("refused");
  return connack->session_present;
}

void Client::subscribe(const std::string& topic_filter, Qos qos) {
  std::vector<std::byte> entry(3 + topic_filter.size());
  codec::Writer writer(entry.data());
  writer.prefixed(topic_filter);
  writer.u8(static_cast<uint8_t>(qos));
  codec::SubscribeView subscribe;
  subscribe.packet_id = next_packet_id_++;
  subscribe.entry_count = 1;
  subscribe.entries = entry;
  send(subscribe, ProtocolVersion::V5);
  const std::vector<std::byte> packet = read(codec::PacketType::Suback);
  const auto suback = codec::decode_suback(packet, ProtocolVersion::V5);
  if (!suback.ok() || suback->reason_codes[0] != static_cast<std::byte>(qos)) throw std::runtime_error("not granted");
}

void Client::unsubscribe(const std::string& topic_filter) {
  std::vector<std::byte> entry(2 + topic_filter.size());
  codec::Writer writer(entry.data());
  writer.prefixed(topic_filter);
  codec::UnsubscribeView unsubscribe;
  unsubscribe.packet_id = next_packet_id_++;
  unsubscribe.entry_count = 1;
  unsubscribe.entries = entry;
  send(unsubscribe, ProtocolVersion::V5);
  read(codec::PacketType::Unsuback);
}

void Client::publish(const std::string& topic_name, const std::string& payload, Qos qos, bool retain) {
  codec::PublishView publish;
  publish.topic_name = topic_name;
  publish.payload = as_bytes(payload);
  publish.qos = qos;
  publish.retain = retain;
  if (qos != Qos::AtMostOnce) publish.packet_id = next_packet_id_++;
  send(publish, ProtocolVersion::V5);
  if (qos == Qos::AtMostOnce) return;
  const auto wait_for = [&](codec::PacketType type) {
    const auto ack = codec::decode_ack(read(type), ProtocolVersion::V5);
    if (!ack.ok() || ack->packet_id != publish.packet_id || is_error(ack->reason_code)) {
      throw std::runtime_error("the publish was not acknowledged");
    }
  };
  if (qos == Qos::AtLeastOnce) {
    wait_for(codec::PacketType::Puback);
    return;
  }
  wait_for(codec::PacketType::Pubrec);
  codec::AckView pubrel;
  pubrel.type = codec::PacketType::Pubrel;
  pubrel.packet_id = publish.packet_id;
  send(pubrel, ProtocolVersion::V5);
  wait_for(codec::PacketType::Pubcomp);
}

void Client::disconnect() { send(codec::DisconnectView(), ProtocolVersion::V5); }

Client::Received Client::receive() {
  while (inbox_.empty()) {
    if (!take_message(read_packet())) throw std::runtime_error("an unexpected packet from the broker");
  }
  Received first = inbox_.front();
  inbox_.erase(inbox_.begin());
  return first;
}

std::vector<Client::Received> Client::receive_until(const std::string& payload) {
  std::vector<Received> all;
  for (Received one = receive(); one.payload != payload; one = receive()) all.push_back(one);
  return all;
}

ReasonCode Client::wait_for_disconnect() {
  const auto disconnect = codec::decode_disconnect(read(codec::PacketType::Disconnect), ProtocolVersion::V5);
  if (!disconnect.ok()) throw std::runtime_error("malformed DISCONNECT from the broker");
  return disconnect->reason_code;
}

}  // namespace mqttq::test
