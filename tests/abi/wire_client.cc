// The bytes of the few packets that these tests send, and a socket for them.
#include "wire_client.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

namespace mqttq::abi {

namespace {

uint8_t byte_at(std::string_view bytes, size_t index) {
  if (index >= bytes.size()) throw std::runtime_error("a packet is shorter than it should be");
  return static_cast<uint8_t>(bytes[index]);
}

std::string u16(size_t value) { return {static_cast<char>(value >> 8), static_cast<char>(value)}; }

// A Variable Byte Integer of one or two bytes (MQTT5 1.5.5).
std::string varint(size_t value) {
  if (value < 128) return {static_cast<char>(value)};
  if (value > 16'383) throw std::runtime_error("longer than these packets can be");
  return {static_cast<char>(0x80 | (value & 0x7F)), static_cast<char>(value >> 7)};
}

std::string packet(uint8_t first, const std::string& body) {
  return std::string(1, static_cast<char>(first)) + varint(body.size()) + body;
}

// Authentication Method and Authentication Data.
std::string auth_properties(std::string_view method, std::string_view data) {
  if (method.empty()) return {};
  return '\x15' + wire_text(method) + '\x16' + wire_text(data);
}

// Where the body begins, and its size.
struct Frame {
  size_t begin, size;
};
Frame frame_of(std::string_view bytes) {
  const size_t low = byte_at(bytes, 1);
  if (low < 128) return {2, low};
  return {3, (low & 0x7F) | size_t{byte_at(bytes, 2)} << 7};
}

}  // namespace

std::string wire_text(std::string_view text) { return u16(text.size()) + std::string(text); }

std::string connect_packet(const ConnectOptions& options) {
  uint8_t flags = options.clean_start ? 0x02 : 0;
  if (!options.user_name.empty()) flags |= 0x80;
  if (!options.password.empty()) flags |= 0x40;
  const uint32_t expiry = options.session_expiry_s;
  const std::string properties = '\x11' + u16(expiry >> 16) + u16(expiry & 0xFFFF) +
                                 auth_properties(options.auth_method, options.auth_data) + options.properties;
  std::string body = wire_text("MQTT") + '\5' + static_cast<char>(flags) + u16(60);
  body += varint(properties.size()) + properties + wire_text(options.client_id);
  if (!options.user_name.empty()) body += wire_text(options.user_name);
  if (!options.password.empty()) body += wire_text(options.password);
  return packet(0x10, body);
}

std::string subscribe_packet(uint16_t packet_id, std::string_view topic_filter, uint8_t qos) {
  return packet(0x82, u16(packet_id) + '\0' + wire_text(topic_filter) + static_cast<char>(qos));
}

std::string publish_packet(std::string_view topic, std::string_view payload, uint8_t qos, uint16_t packet_id,
                           std::string_view properties, bool retain) {
  std::string body = wire_text(topic);
  if (qos) body += u16(packet_id);
  body += varint(properties.size()) + std::string(properties) + std::string(payload);
  return packet(static_cast<uint8_t>(0x30 | qos << 1 | (retain ? 1 : 0)), body);
}

std::string auth_packet(uint8_t reason_code, std::string_view method, std::string_view data) {
  const std::string properties = auth_properties(method, data);
  return packet(0xF0, static_cast<char>(reason_code) + varint(properties.size()) + properties);
}

Answer read_answer(std::string_view packet) {
  Answer read;
  read.type = byte_at(packet, 0);
  if (read.type != 0xF0 && read.type != 0x20 && read.type != 0xE0) {
    throw std::runtime_error("neither AUTH nor CONNACK nor DISCONNECT");
  }
  size_t at = frame_of(packet).begin + (read.type == 0x20 ? 1 : 0);
  read.reason_code = byte_at(packet, at++);
  if (at == packet.size()) return read;
  at += byte_at(packet, at) < 128 ? 1 : 2;  // the length of the properties, which go to the end
  while (at < packet.size()) {
    const uint8_t id = byte_at(packet, at++);
    std::string* const text = id == 0x15   ? &read.method
                              : id == 0x16 ? &read.data
                              : id == 0x1A ? &read.response_information
                              : id == 0x1C ? &read.server_reference
                              : id == 0x1F ? &read.reason_string
                                           : nullptr;
    if (text) {
      const size_t size = size_t{byte_at(packet, at)} << 8 | byte_at(packet, at + 1);
      *text = packet.substr(at + 2, size);
      at += 2 + size;
    } else if (id == 0x21 || id == 0x22) {  // Receive Maximum, Topic Alias Maximum
      at += 2;
    } else if (id == 0x27 || id == 0x11) {  // Maximum Packet Size, Session Expiry Interval
      at += 4;
    } else {
      throw std::runtime_error("a property that these tests do not read");
    }
  }
  return read;
}

std::string ping_packet() { return packet(0xC0, ""); }

WireClient::WireClient(std::string_view address) {
  const size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(std::string(address.substr(colon + 1)))));
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket_ < 0 || ::connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    ::close(socket_);
    throw std::runtime_error("cannot connect to " + std::string(address));
  }
}

WireClient::~WireClient() {
  if (socket_ >= 0) ::close(socket_);
}

WireClient& WireClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) throw std::runtime_error("cannot send");
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return *this;
}

// False when the connection ended before so many bytes came.
bool WireClient::fill(size_t size) {
  while (buffer_.size() < size) {
    pollfd watched{socket_, POLLIN, 0};
    if (::poll(&watched, 1, kTimeoutMs) != 1) throw std::runtime_error("nothing came in time");
    char block[4096];
    const ssize_t got = ::recv(socket_, block, sizeof block, 0);
    if (got <= 0) return false;
    buffer_.append(block, static_cast<size_t>(got));
  }
  return true;
}

std::string WireClient::read() {
  if (!fill(2)) return {};
  if (byte_at(buffer_, 1) >= 128 && !fill(3)) return {};
  const Frame frame = frame_of(buffer_);
  if (!fill(frame.begin + frame.size)) return {};
  const std::string whole = buffer_.substr(0, frame.begin + frame.size);
  buffer_.erase(0, whole.size());
  return whole;
}

bool WireClient::has_packet() const {
  pollfd watched{socket_, POLLIN, 0};
  return !buffer_.empty() || ::poll(&watched, 1, 0) == 1;
}

bool WireClient::nothing_but_ping() {
  send(ping_packet());
  const std::string next = read();
  return !next.empty() && byte_at(next, 0) == 0xD0;
}

int WireClient::connect(const ConnectOptions& options) {
  send(connect_packet(options));
  const std::string answer = read();
  if (answer.empty()) return 256;
  if (byte_at(answer, 0) != 0x20) throw std::runtime_error("no CONNACK came");
  return byte_at(answer, 3);
}

int WireClient::subscribe(std::string_view topic_filter, uint8_t qos) {
  send(subscribe_packet(1, topic_filter, qos));
  const std::string answer = read();
  if (answer.empty() || byte_at(answer, 0) != 0x90) throw std::runtime_error("no SUBACK came");
  return byte_at(answer, answer.size() - 1);
}

void WireClient::vanish() noexcept {
  const linger at_once{1, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(socket_);
  socket_ = -1;
}

ReadPublish read_publish(std::string_view packet) {
  const uint8_t first = byte_at(packet, 0);
  if ((first & 0xF0) != 0x30) throw std::runtime_error("not a PUBLISH");
  ReadPublish read;
  read.qos = first >> 1 & 3;
  read.retain = first & 1;
  size_t at = frame_of(packet).begin;
  const size_t topic_size = size_t{byte_at(packet, at)} << 8 | byte_at(packet, at + 1);
  read.topic = packet.substr(at + 2, topic_size);
  at += 2 + topic_size + (read.qos ? 2 : 0);
  const size_t properties_size = byte_at(packet, at);
  if (properties_size >= 128) throw std::runtime_error("more properties than these tests read");
  read.properties = packet.substr(at + 1, properties_size);
  read.payload = packet.substr(at + 1 + properties_size);
  return read;
}

}  // namespace mqttq::abi
