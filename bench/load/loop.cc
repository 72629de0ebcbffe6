// See loop.h.
#include "load/loop.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "load/failure.h"

namespace mqttq::bench {
namespace {

constexpr size_t kReadSize = 1u << 20;
constexpr size_t kPacketSizeMax = 2u << 20;  // of an unfinished packet; brokers forward nothing larger than we sent
constexpr uint32_t kHandshakesMax = 64;      // mosquitto listens with a backlog of 100
constexpr size_t kFiltersPerSubscribe = 200;
constexpr double kAnswerTimeoutS = 30;

[[noreturn]] void fail_with_errno(const char* what) { throw Failure(std::string(what) + ": " + std::strerror(errno)); }

}  // namespace

void Handler::on_acknowledged(Client&, uint16_t) { throw Failure("the broker acknowledged what was never sent"); }

void Handler::on_closed(Client& client) {
  throw Failure("the broker closed the connection of client " + std::to_string(client.index));
}

uint64_t Loop::clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

Loop::Loop(const std::string& host, uint16_t port)
    : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      port_(htons(port)),
      now_ns_(clock_ns()),
      read_buffer_(new std::byte[kReadSize + kPacketSizeMax]) {
  if (epoll_fd_ < 0) fail_with_errno("epoll_create1");
  if (inet_pton(AF_INET, host.c_str(), &address_) != 1) throw UsageError("--host takes a numeric IPv4 address");
}

Loop::~Loop() {
  for (const auto& client : clients_) {
    if (client && client->fd_ >= 0) close(*client);
  }
  ::close(epoll_fd_);
}

Client& Loop::open(const ConnectOptions& options, Handler& handler, uint32_t index) {
  // A blocking connect: over loopback it returns at once unless the accept queue is full.
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail_with_errno("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = address_;
  address.sin_port = port_;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    fail_with_errno("connect");
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, O_NONBLOCK);

  auto owned = std::make_unique<Client>();
  Client& client = *owned;
  client.fd_ = fd;
  client.handler = &handler;
  client.index = index;
  client.version = options.version;
  if (free_slots_.empty()) {
    client.slot_ = clients_.size();
    clients_.push_back(std::move(owned));
  } else {
    client.slot_ = free_slots_.back();
    free_slots_.pop_back();
    clients_[client.slot_] = std::move(owned);
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &client;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) fail_with_errno("epoll_ctl");
  put_connect(client.out, options);
  touch(client);
  return client;
}

std::vector<Client*> Loop::open_all(uint32_t count, Handler& handler,
                                    const std::function<ConnectOptions(uint32_t)>& options) {
  std::vector<Client*> opened;
  opened.reserve(count);
  uint32_t connected_count = 0;  // clients [0, connected_count) have their CONNACK
  while (connected_count < count) {
    while (opened.size() < count && opened.size() - connected_count < kHandshakesMax) {
      const auto index = static_cast<uint32_t>(opened.size());
      opened.push_back(&open(options(index), handler, index));
    }
    require([&] { return opened[connected_count]->connected; }, kAnswerTimeoutS, "a CONNACK");
    while (connected_count < opened.size() && opened[connected_count]->connected) ++connected_count;
  }
  return opened;
}

void Loop::subscribe(Client& client, const std::vector<std::string>& filters, uint8_t qos) {
  uint16_t packet_id = 0;
  for (size_t at = 0; at < filters.size(); at += kFiltersPerSubscribe) {
    const size_t count = std::min(kFiltersPerSubscribe, filters.size() - at);
    const uint32_t before = client.subscribed_count;
    packet_id = static_cast<uint16_t>(packet_id % 65535 + 1);
    put_subscribe(client.out, client.version, packet_id, std::span(filters).subspan(at, count), qos);
    touch(client);
    require([&] { return client.subscribed_count != before; }, kAnswerTimeoutS, "a SUBACK");
  }
}

void Loop::close(Client& client) {
  if (client.fd_ < 0) return;
  const linger reset{1, 0};
  setsockopt(client.fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  ::close(client.fd_);  // leaves the epoll set by itself
  client.fd_ = -1;
  client.connected = false;
  closed_.push_back(&client);
}

void Loop::disconnect(Client& client, bool end_session) {
  class Leaving final : public Handler {
   public:
    explicit Leaving(Loop& loop) : loop_(loop) {}
    void on_publish(Client&, const Publish&) override {}
    void on_acknowledged(Client&, uint16_t) override {}
    void on_closed(Client& closed) override {
      gone = true;
      loop_.close(closed);
    }
    bool gone = false;

   private:
    Loop& loop_;
  };
  Leaving leaving(*this);
  client.handler = &leaving;
  put_disconnect(client.out, client.version, end_session);
  touch(client);
  require([&] { return leaving.gone; }, kAnswerTimeoutS, "the end of a connection after DISCONNECT");
}

bool Loop::run_until(const std::function<bool()>& done, uint64_t deadline_ns) {
  for (;;) {
    if (done()) return true;
    const uint64_t now = clock_ns();
    if (now >= deadline_ns) return false;
    const uint64_t left_ms = (deadline_ns - now) / 1'000'000 + 1;
    turn(busy_polling_ ? 0 : static_cast<int>(std::min<uint64_t>(left_ms, 50)));
  }
}

void Loop::require(const std::function<bool()>& done, double seconds, std::string_view what) {
  if (!run_until(done, clock_ns() + static_cast<uint64_t>(seconds * 1e9))) {
    throw Failure("no answer in time: " + std::string(what));
  }
}

void Loop::turn(int timeout_ms) {
  if (!touched_.empty()) timeout_ms = 0;  // queued outside a turn, as by open()
  epoll_event events[512];
  const int count = epoll_wait(epoll_fd_, events, 512, timeout_ms);
  if (count < 0 && errno != EINTR) fail_with_errno("epoll_wait");
  now_ns_ = clock_ns();
  for (int i = 0; i < count; ++i) {
    Client& client = *static_cast<Client*>(events[i].data.ptr);
    if (client.fd_ < 0) continue;
    if (events[i].events & EPOLLOUT) touch(client);
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read(client);
  }
  if (turn_handler_) turn_handler_->on_turn();
  // write() may fail and close, but queues nothing for others, so the list does not grow underneath.
  for (Client* client : touched_) {
    client->touched_ = false;
    if (client->fd_ >= 0) write(*client);
  }
  touched_.clear();
  forget_closed();
}

void Loop::read(Client& client) {
  // The kept beginning goes before the new bytes, so that every packet is parsed in one piece.
  const size_t kept = client.partial_.size();
  if (kept > kPacketSizeMax) throw Failure("the broker sent a packet of more than 2 MiB");
  std::byte* const buffer = read_buffer_.get();
  if (kept != 0) std::memcpy(buffer, client.partial_.data(), kept);
  const ssize_t received = recv(client.fd_, buffer + kept, kReadSize, 0);
  if (received < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    if (errno == ECONNRESET || errno == EPIPE) return client.handler->on_closed(client);
    fail_with_errno("recv");
  }
  if (received == 0) return client.handler->on_closed(client);
  now_ns_ = clock_ns();
  std::span<const std::byte> bytes(buffer, kept + static_cast<size_t>(received));
  Frame frame{};
  while (const size_t size = next_frame(bytes, frame)) {
    bytes = bytes.subspan(size);
    handle_frame(client, frame);
    if (client.fd_ < 0) return;
  }
  client.partial_.assign(bytes.begin(), bytes.end());
}

void Loop::handle_frame(Client& client, const Frame& frame) {
  switch (frame.type()) {
    case PacketType::Publish: {
      const Publish publish = read_publish(frame, client.version);
      if (publish.qos != 0) {
        put_acknowledgement(client.out, publish.qos == 1 ? PacketType::Puback : PacketType::Pubrec, publish.packet_id);
        touch(client);
      }
      return client.handler->on_publish(client, publish);
    }
    case PacketType::Puback:
    case PacketType::Pubcomp:
      if (read_acknowledgement_code(frame) >= 0x80) throw Failure("the broker refused a message");
      return client.handler->on_acknowledged(client, read_packet_id(frame));
    case PacketType::Pubrec:
      if (read_acknowledgement_code(frame) >= 0x80) throw Failure("the broker refused a message");
      put_acknowledgement(client.out, PacketType::Pubrel, read_packet_id(frame));
      return touch(client);
    case PacketType::Pubrel:
      put_acknowledgement(client.out, PacketType::Pubcomp, read_packet_id(frame));
      return touch(client);
    case PacketType::Connack: {
      const Connack connack = read_connack(frame, client.version);
      if (connack.reason_code != 0) {
        throw Failure("the broker refused a connection with code " + std::to_string(connack.reason_code));
      }
      client.connected = true;
      client.session_present = connack.session_present;
      client.receive_maximum = connack.receive_maximum;
      return client.handler->on_connected(client);
    }
    case PacketType::Suback:
      for (const std::byte code : read_suback_codes(frame, client.version)) {
        if (static_cast<uint8_t>(code) >= 0x80) throw Unsupported("the broker refused a subscription");
      }
      ++client.subscribed_count;
      return client.handler->on_subscribed(client);
    case PacketType::Unsuback: return;
    case PacketType::Pingresp: return client.handler->on_pong(client);
    case PacketType::Disconnect:
      throw Failure("the broker sent DISCONNECT with code " +
                    std::to_string(frame.body.empty() ? 0 : static_cast<unsigned>(frame.body[0])));
    default: throw Failure("the broker sent a packet of type " + std::to_string(static_cast<int>(frame.type())));
  }
}

void Loop::write(Client& client) {
  while (!client.out.empty()) {
    const ssize_t sent = send(client.fd_, client.out.data(), client.out.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      if (errno == ECONNRESET || errno == EPIPE) return;  // the next read reports it
      fail_with_errno("send");
    }
    client.out.consume(static_cast<size_t>(sent));
  }
  if (client.out.empty() == client.awaiting_write_) watch(client, !client.out.empty());
}

void Loop::watch(Client& client, bool for_write) {
  client.awaiting_write_ = for_write;
  epoll_event event{};
  event.events = EPOLLIN | (for_write ? static_cast<uint32_t>(EPOLLOUT) : 0u);
  event.data.ptr = &client;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, client.fd_, &event) != 0) fail_with_errno("epoll_ctl");
}

void Loop::forget_closed() {
  for (Client* client : closed_) {
    const size_t slot = client->slot_;
    clients_[slot].reset();
    free_slots_.push_back(slot);
  }
  closed_.clear();
}

}  // namespace mqttq::bench
