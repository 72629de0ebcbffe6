// See broker.h.
#include "reference/broker.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace mqttq::bench {
namespace {

constexpr size_t kReadSize = 256u << 10;
constexpr size_t kPacketSizeMax = 2u << 20;  // also of the packet whose beginning is kept between two reads
constexpr size_t kUnsentMax = 64u << 20;     // bytes; a subscriber further behind is dropped

// A cursor over a packet's body; `ok` turns false for good when something is missing.
struct Fields {
  std::span<const std::byte> bytes;
  bool ok = true;

  std::span<const std::byte> take(size_t size) {
    if (size > bytes.size()) {
      ok = false;
      return {};
    }
    const auto taken = bytes.first(size);
    bytes = bytes.subspan(size);
    return taken;
  }
  unsigned number(size_t size) {
    unsigned value = 0;
    for (const std::byte byte : take(size)) value = value << 8 | static_cast<unsigned>(byte);
    return value;
  }
  unsigned varint() {
    unsigned value = 0;
    for (unsigned shift = 0; shift < 28 && ok; shift += 7) {
      const unsigned digit = number(1);
      value |= (digit & 0x7f) << shift;
      if ((digit & 0x80) == 0) return value;
    }
    ok = false;
    return 0;
  }
  std::string_view text() {
    const auto taken = take(number(2));
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
};

}  // namespace

struct Reference::Connection {
  int fd = -1;
  uint8_t version = 0;  // the Protocol Level; 0 until CONNECT
  bool touched = false;
  bool awaiting_write = false;
  uint16_t packet_id = 0;  // of the last QoS 1 message sent; acknowledgements are not tracked
  Buffer out;
  std::vector<std::byte> partial;  // the beginning of a packet whose rest has not come
};

Reference::Reference(uint16_t port)
    : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      listen_fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      read_buffer_(new std::byte[kReadSize + kPacketSizeMax]) {
  const int on = 1;
  setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t size = sizeof address;
  if (bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listen_fd_, 1024) != 0 ||
      getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("127.0.0.1:" + std::to_string(port) + ": " + std::strerror(errno));
  }
  port_ = ntohs(address.sin_port);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, listen_fd_, &event) != 0) throw std::runtime_error("epoll_ctl");
}

Reference::~Reference() {
  for (const auto& [fd, connection] : connections_) ::close(fd);
  ::close(listen_fd_);
  ::close(epoll_fd_);
}

void Reference::run(const volatile bool& stop) {
  epoll_event events[512];
  while (!stop) {
    const int count = epoll_wait(epoll_fd_, events, 512, -1);
    for (int i = 0; i < count; ++i) {
      auto* const connection = static_cast<Connection*>(events[i].data.ptr);
      if (!connection) {
        accept_all();
      } else if (connection->fd >= 0) {
        if (events[i].events & EPOLLOUT) touch(*connection);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read(*connection);
      }
    }
    for (Connection* connection : touched_) {
      connection->touched = false;
      if (connection->fd >= 0) flush(*connection);
    }
    touched_.clear();
    closed_.clear();
  }
}

void Reference::accept_all() {
  for (;;) {
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto connection = std::make_unique<Connection>();
    connection->fd = fd;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = connection.get();
    epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event);
    connections_[fd] = std::move(connection);
  }
}

void Reference::read(Connection& connection) {
  const size_t kept = connection.partial.size();
  if (kept != 0) std::memcpy(read_buffer_.get(), connection.partial.data(), kept);
  const ssize_t received = recv(connection.fd, read_buffer_.get() + kept, kReadSize, 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (received <= 0) return close(connection);
  std::span<const std::byte> bytes(read_buffer_.get(), kept + static_cast<size_t>(received));
  while (bytes.size() >= 2) {
    size_t header_size = 1;
    size_t body_size = 0;
    bool whole = false;
    for (unsigned shift = 0; header_size < bytes.size() && shift < 28 && !whole; shift += 7) {
      const auto digit = static_cast<uint8_t>(bytes[header_size++]);
      body_size |= static_cast<size_t>(digit & 0x7f) << shift;
      whole = (digit & 0x80) == 0;
    }
    if (header_size + body_size > kPacketSizeMax || (!whole && header_size == 5)) return close(connection);
    if (!whole || bytes.size() - header_size < body_size) break;
    const auto packet = bytes.first(header_size + body_size);
    if (!handle_packet(connection, packet, packet.subspan(header_size))) return close(connection);
    bytes = bytes.subspan(packet.size());
  }
  connection.partial.assign(bytes.begin(), bytes.end());
}

// False ends the connection.
bool Reference::handle_packet(Connection& connection, std::span<const std::byte> packet,
                              std::span<const std::byte> body) {
  const unsigned type = static_cast<unsigned>(packet[0]) >> 4;
  if (connection.version == 0 && type != 1) return false;
  switch (type) {
    case 1: return handle_connect(connection, body);
    case 3: return handle_publish(connection, packet, body);
    case 4: return true;  // PUBACK: nothing waits for it
    case 8: return handle_subscribe(connection, body);
    case 12:
      connection.out.append("\xd0\x00", 2);
      touch(connection);
      return true;
    default: return false;  // DISCONNECT, and all that is not served here
  }
}

bool Reference::handle_connect(Connection& connection, std::span<const std::byte> body) {
  Fields fields{body};
  const std::string_view protocol = fields.text();
  const unsigned version = fields.number(1);
  if (!fields.ok || protocol != "MQTT" || (version != 4 && version != 5) || connection.version != 0) return false;
  connection.version = static_cast<uint8_t>(version);
  if (version == 5)
    connection.out.append("\x20\x03\x00\x00\x00", 5);  // no properties: Receive Maximum 65535
  else
    connection.out.append("\x20\x02\x00\x00", 4);
  touch(connection);
  return true;
}

bool Reference::handle_publish(Connection& connection, std::span<const std::byte> packet,
                               std::span<const std::byte> body) {
  Message message{};
  message.packet = packet;
  message.qos = static_cast<uint8_t>(static_cast<unsigned>(packet[0]) >> 1 & 3);
  message.version = connection.version;
  if (message.qos > 1) return false;
  Fields fields{body};
  message.topic_name = fields.text();
  if (message.qos == 1) {
    message.packet_id_offset = packet.size() - fields.bytes.size();
    const unsigned packet_id = fields.number(2);
    std::byte* to = connection.out.extend(4);
    to[0] = std::byte{0x40};
    to[1] = std::byte{2};
    to[2] = static_cast<std::byte>(packet_id >> 8);
    to[3] = static_cast<std::byte>(packet_id & 0xff);
    touch(connection);
  }
  if (connection.version == 5) fields.take(fields.varint());
  if (!fields.ok) return false;
  message.payload = fields.bytes;
  Topic& found = topic(message.topic_name);
  for (const Subscription& subscription : found.subscriptions) forward(message, subscription);
  for (Group& group : found.groups) {
    if (group.members.empty()) continue;
    group.next = group.next + 1 < group.members.size() ? group.next + 1 : 0;
    forward(message, group.members[group.next]);
  }
  return true;
}

void Reference::forward(const Message& message, const Subscription& to) {
  Connection& target = *to.connection;
  const uint8_t qos = std::min(message.qos, to.qos);
  if (++target.packet_id == 0) target.packet_id = 1;
  const std::byte packet_id[2] = {static_cast<std::byte>(target.packet_id >> 8),
                                  static_cast<std::byte>(target.packet_id & 0xff)};
  touch(target);
  if (qos == message.qos && target.version == message.version) {
    std::byte* copy = target.out.extend(message.packet.size());
    std::memcpy(copy, message.packet.data(), message.packet.size());
    if (qos == 1) std::memcpy(copy + message.packet_id_offset, packet_id, 2);
    return;
  }
  const bool has_properties = target.version == 5;
  size_t remaining =
      2 + message.topic_name.size() + (qos == 1 ? 2u : 0u) + (has_properties ? 1u : 0u) + message.payload.size();
  const auto put_byte = [&](unsigned value) { *target.out.extend(1) = static_cast<std::byte>(value); };
  put_byte(0x30u | static_cast<unsigned>(qos) << 1);
  do {
    put_byte(static_cast<unsigned>(remaining & 0x7f) | (remaining > 0x7f ? 0x80u : 0u));
    remaining >>= 7;
  } while (remaining != 0);
  put_byte(static_cast<unsigned>(message.topic_name.size() >> 8));
  put_byte(static_cast<unsigned>(message.topic_name.size() & 0xff));
  target.out.append(message.topic_name.data(), message.topic_name.size());
  if (qos == 1) target.out.append(packet_id, 2);
  if (has_properties) put_byte(0);
  target.out.append(message.payload.data(), message.payload.size());
}

bool Reference::handle_subscribe(Connection& connection, std::span<const std::byte> body) {
  Fields fields{body};
  const auto packet_id = fields.take(2);
  if (connection.version == 5) fields.take(fields.varint());
  std::string codes;
  while (fields.ok && !fields.bytes.empty()) {
    const std::string_view filter = fields.text();
    const auto qos = static_cast<uint8_t>(fields.number(1) & 3);
    if (fields.ok) codes.push_back(static_cast<char>(subscribe(connection, filter, qos)));
  }
  const size_t body_size = 2 + (connection.version == 5 ? 1 : 0) + codes.size();
  if (!fields.ok || codes.empty() || body_size > 0x3fff) return false;
  const std::string head{static_cast<char>(0x90), static_cast<char>((body_size & 0x7f) | 0x80),
                         static_cast<char>(body_size >> 7)};  // a two-byte length, short or not
  connection.out.append(head.data(), head.size());
  connection.out.append(packet_id.data(), packet_id.size());
  if (connection.version == 5) connection.out.append("\x00", 1);
  connection.out.append(codes.data(), codes.size());
  touch(connection);
  return true;
}

// Exact topics, "prefix/#" and shared exact topics; other wildcards are refused. Returns the SUBACK's code.
uint8_t Reference::subscribe(Connection& connection, std::string_view filter, uint8_t qos) {
  constexpr std::string_view kShare = "$share/";
  qos = std::min<uint8_t>(qos, 1);
  const Subscription subscription{&connection, qos};
  std::string group;
  if (filter.starts_with(kShare)) {
    const size_t end = filter.find('/', kShare.size());
    if (end == std::string_view::npos) return 0x80;
    group = filter.substr(kShare.size(), end - kShare.size());
    filter = filter.substr(end + 1);
  }
  if (filter.find_first_of("+#") == std::string_view::npos) {
    Topic& found = topic(filter);
    if (group.empty()) {
      found.subscriptions.push_back(subscription);
      return qos;
    }
    const auto same = std::find_if(found.groups.begin(), found.groups.end(), [&](auto& g) { return g.name == group; });
    if (same == found.groups.end())
      found.groups.push_back({group, {subscription}});
    else
      same->members.push_back(subscription);
    return qos;
  }
  if (!group.empty() || !filter.ends_with("/#") || filter.find_first_of("+#") != filter.size() - 1) return 0x80;
  filter.remove_suffix(1);
  prefix_filters_.push_back({std::string(filter), subscription});
  for (auto& [name, found] : topics_) {
    if (name.starts_with(filter)) found.subscriptions.push_back(subscription);
  }
  return qos;
}

Reference::Topic& Reference::topic(std::string_view name) {
  const auto found = topics_.find(name);
  if (found != topics_.end()) return found->second;
  Topic& made = topics_[std::string(name)];
  for (const PrefixFilter& filter : prefix_filters_) {
    if (name.starts_with(filter.prefix)) made.subscriptions.push_back(filter.subscription);
  }
  return made;
}

void Reference::touch(Connection& connection) {
  if (connection.touched) return;
  connection.touched = true;
  touched_.push_back(&connection);
}

void Reference::flush(Connection& connection) {
  if (!connection.out.empty()) {
    const ssize_t sent = send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent >= 0) connection.out.consume(static_cast<size_t>(sent));
    if ((sent < 0 && errno != EAGAIN && errno != EINTR) || connection.out.size() > kUnsentMax) return close(connection);
  }
  const bool unsent = !connection.out.empty();
  if (unsent == connection.awaiting_write) return;
  connection.awaiting_write = unsent;
  epoll_event event{};
  event.events = EPOLLIN | (unsent ? static_cast<uint32_t>(EPOLLOUT) : 0u);
  event.data.ptr = &connection;
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, connection.fd, &event);
}

void Reference::close(Connection& connection) {
  if (connection.fd < 0) return;
  const auto owned = connections_.find(connection.fd);
  ::close(connection.fd);
  connection.fd = -1;
  closed_.push_back(std::move(owned->second));
  connections_.erase(owned);
  // Connections come and go only around a measurement, so looking through all topics is good enough.
  const auto is_gone = [&](const Subscription& subscription) { return subscription.connection == &connection; };
  for (auto& [name, found] : topics_) {
    std::erase_if(found.subscriptions, is_gone);
    for (Group& group : found.groups) std::erase_if(group.members, is_gone);
  }
  std::erase_if(prefix_filters_, [&](const PrefixFilter& filter) { return is_gone(filter.subscription); });
}

}  // namespace mqttq::bench
