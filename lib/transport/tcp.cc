#include "transport/tcp.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/sanitizer.h"
#include "transport/websocket.h"

namespace mqttq {

namespace {

// The system's own calls. Those of the C library are points at which a thread may be cancelled, and to be ready for
// that costs a message that comes alone some hundredths of its way; nobody cancels a shard. But only by them the thread
// sanitizer knows what happened before what.
#ifdef MQTTQ_WITH_TSAN

ssize_t receive(int descriptor, std::span<std::byte> buffer) noexcept {
  return ::recv(descriptor, buffer.data(), buffer.size(), 0);
}
ssize_t send_one(int descriptor, const iovec& piece) noexcept {
  return ::send(descriptor, piece.iov_base, piece.iov_len, MSG_NOSIGNAL);
}
ssize_t send_message(int descriptor, const msghdr& message) noexcept {
  return ::sendmsg(descriptor, &message, MSG_NOSIGNAL);
}

#else

ssize_t receive(int descriptor, std::span<std::byte> buffer) noexcept {
  return ::syscall(SYS_recvfrom, descriptor, buffer.data(), buffer.size(), 0, nullptr, nullptr);
}
ssize_t send_one(int descriptor, const iovec& piece) noexcept {
  return ::syscall(SYS_sendto, descriptor, piece.iov_base, piece.iov_len, MSG_NOSIGNAL, nullptr, 0);
}
ssize_t send_message(int descriptor, const msghdr& message) noexcept {
  return ::syscall(SYS_sendmsg, descriptor, &message, MSG_NOSIGNAL);
}

#endif

// One piece needs no message header.
ssize_t send_some(int descriptor, std::span<iovec> pieces) noexcept {
  if (pieces.size() == 1) return send_one(descriptor, pieces[0]);
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  return send_message(descriptor, message);
}

}  // namespace

PeerAddress::PeerAddress(const sockaddr_storage& address) noexcept
    : bytes_{}, port_{}, family_(static_cast<uint8_t>(address.ss_family)) {
  if (family_ == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    std::memcpy(port_, &v4.sin_port, sizeof port_);
    std::memcpy(bytes_, &v4.sin_addr, sizeof v4.sin_addr);
  } else if (family_ == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(port_, &v6.sin6_port, sizeof port_);
    std::memcpy(bytes_, &v6.sin6_addr, sizeof v6.sin6_addr);
  }
}

sockaddr_storage PeerAddress::whole() const noexcept {
  sockaddr_storage address{};
  address.ss_family = family_;
  if (family_ == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    std::memcpy(&v4.sin_port, port_, sizeof port_);
    std::memcpy(&v4.sin_addr, bytes_, sizeof v4.sin_addr);
  } else if (family_ == AF_INET6) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    std::memcpy(&v6.sin6_port, port_, sizeof port_);
    std::memcpy(&v6.sin6_addr, bytes_, sizeof v6.sin6_addr);
  }
  return address;
}

TcpLink::TcpLink(int descriptor, const sockaddr_storage& peer) noexcept : descriptor_(descriptor), peer_(peer) {
  const int on = 1;
  if (peer.ss_family != AF_UNIX) ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

TcpLink::~TcpLink() {
  MQTTQ_ASSERT(!owner_);
  unlink();
  destroy(websocket_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string_view TcpLink::peer_address() const noexcept {
  if (!owner_) return {};
  const std::span<char> text = owner_->address_buffer();
  return {text.data(), format_address(peer_.whole(), text)};
}

bool TcpLink::start(TcpOwner& owner) noexcept {
  MQTTQ_ASSERT(!owner_);
  if (!owner.poller().change(descriptor_, this, 0, wanted())) return false;
  watched_ = wanted();
  owner_ = &owner;
  return true;
}

void TcpLink::stop() noexcept {
  if (!owner_) return;
  owner_->poller().change(descriptor_, this, watched_, 0);
  watched_ = 0;
  owner_ = nullptr;
}

uint8_t TcpLink::wanted() const noexcept {
  const int reading = reading_paused_ && !lingering_ ? 0 : Poller::kReadable;
  return static_cast<uint8_t>(reading | (want_writable_ ? Poller::kWritable : 0));
}

// Asks for what is wanted now; in steady state nothing changes, and nothing is called.
void TcpLink::watch() noexcept {
  if (!owner_) return;
  if (wanted() == watched_) return;
  // Refused, it hears nothing more; its keep-alive ends it.
  static_cast<void>(owner_->poller().change(descriptor_, this, watched_, wanted()));
  watched_ = wanted();
}

void TcpLink::on_ready(uint8_t events) noexcept {
  if (events & Poller::kFailed) events |= watched_;  // reading or writing will tell how
  in_event_ = true;
  if (lingering_) {
    discard();
  } else {
    if (events & Poller::kWritable) {
      want_writable_ = false;
      if (websocket_) answer_frames();
      owner_->on_writable(*this);
    }
    if ((events & Poller::kReadable) && owner_ && !reading_paused_ && !lingering_) {
      const std::span<std::byte> buffer = owner_->read_buffer();
      const ssize_t got = receive(descriptor_, buffer);
      if (got > 0 && websocket_) {
        on_frames(buffer.first(static_cast<size_t>(got)));
      } else if (got > 0) {
        owner_->on_read(*this, buffer.first(static_cast<size_t>(got)));
      } else if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        owner_->on_peer_closed(*this, got != 0);
      }
    }
    if (websocket_) tell_end();
    watch();
  }
  in_event_ = false;
  if (ended_) destroy(this);
}

size_t TcpLink::write(std::span<const Bytes> pieces) noexcept {
  return websocket_ ? write_frames(pieces) : send(pieces);
}

size_t TcpLink::send(std::span<const Bytes> pieces) noexcept {
  iovec vector[64];
  size_t count = std::min(pieces.size(), std::size(vector)), offered = 0;
  for (size_t i = 0; i < count; ++i) {
    vector[i] = {const_cast<std::byte*>(pieces[i].data()), pieces[i].size()};
    offered += pieces[i].size();
  }
  ssize_t sent;
  do {
    sent = send_some(descriptor_, {vector, count});
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      // Broken: reading will tell. What was to be sent is of no use to anybody.
      reading_paused_ = false;
      watch();
      return offered;
    }
    sent = 0;
  }
  if (static_cast<size_t>(sent) < offered && !want_writable_) {
    want_writable_ = true;
    if (!in_event_) watch();
  }
  return static_cast<size_t>(sent);
}

void TcpLink::pause_reading(bool paused) noexcept {
  reading_paused_ = paused;
  if (in_event_) return;
  watch();
  if (websocket_ && !paused && !end_told_ && owner_ && websocket_->end() != WebSocket::End::None) {
    owner_->on_resumed(*this);
  }
}

// A socket closed with bytes unread is reset, and the reset may overtake what we said last: so our side is shut, and
// the rest is read away, until the peer closes or the owner's patience ends.
void TcpLink::close(bool abort) noexcept {
  user_ = nullptr;
  if (websocket_ && say_goodbye(abort)) abort = false;
  if (abort || !owner_ || ::shutdown(descriptor_, SHUT_WR) != 0) {
    end();
    return;
  }
  lingering_ = true;
  want_writable_ = false;
  watch();
  owner_->on_linger(*this);
}

void TcpLink::discard() noexcept {
  const std::span<std::byte> buffer = owner_->read_buffer();
  const ssize_t got = receive(descriptor_, buffer);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) end();
}

void TcpLink::end() noexcept {
  unlink();
  stop();
  if (in_event_) {
    ended_ = true;
  } else {
    destroy(this);
  }
}

// --- WebSocket

// The socket below a WebSocket.
struct TcpLink::Wire final : WebSocketWire {
  explicit Wire(TcpLink& of) noexcept : link(of) {}
  size_t send(std::span<const Bytes> pieces) noexcept override { return link.send(pieces); }
  TcpLink& link;
};

size_t TcpLink::write_frames(std::span<const Bytes> pieces) noexcept {
  Wire wire(*this);
  return websocket_->write(pieces, wire);
}

void TcpLink::answer_frames() noexcept {
  if (websocket_->has_answer()) write_frames({});
}

void TcpLink::on_frames(std::span<std::byte> bytes) noexcept {
  const size_t size = websocket_->read(bytes);
  if (size) owner_->on_read(*this, bytes.first(size));
  if (owner_ && !lingering_) answer_frames();
}

void TcpLink::tell_end() noexcept {
  if (!owner_ || reading_paused_ || lingering_ || end_told_) return;
  const WebSocket::End end = websocket_->end();
  end_told_ = end != WebSocket::End::None;
  switch (end) {
    case WebSocket::End::None: return;
    case WebSocket::End::ByPeer: owner_->on_peer_closed(*this, false); return;
    case WebSocket::End::Violation: owner_->on_violation(*this, websocket_->fault()); return;
    case WebSocket::End::NoMemory: owner_->on_peer_closed(*this, true); return;
  }
}

// A peer that sent a close frame is owed one, though it takes no more of anything else. True if the link is to be
// closed in good order for it.
bool TcpLink::say_goodbye(bool abort) noexcept {
  const bool owed = websocket_->end() == WebSocket::End::ByPeer || websocket_->end() == WebSocket::End::Violation;
  if (!owner_ || (abort && !owed)) return false;
  websocket_->close(owner_->stopping() ? WebSocket::kGoingAway : WebSocket::kNormal);
  answer_frames();
  return owed;
}

// --- addresses

namespace {

int bind_and_listen(const sockaddr_storage& address, socklen_t size, bool shared_before, bool shared_after) noexcept {
  const int descriptor = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  const int on = 1;
  bool good = true;
  if (address.ss_family != AF_UNIX) {
    good = ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    if (address.ss_family == AF_INET6) ::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (shared_before) good = good && ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
  }
  good = good && ::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), size) == 0;
  if (shared_after) good = good && ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
  good = good && ::listen(descriptor, 4096) == 0;
  if (good) return descriptor;
  const int error = errno;
  ::close(descriptor);
  errno = error;
  return -1;
}

// A socket file that nobody listens on any more is what a broker that was killed left behind.
void remove_stale_socket(const sockaddr_storage& address, socklen_t size) noexcept {
  const char* path = reinterpret_cast<const sockaddr_un&>(address).sun_path;
  struct stat file;
  if (::lstat(path, &file) != 0 || !S_ISSOCK(file.st_mode)) return;  // nobody's file is taken for one
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return;
  if (::connect(probe, reinterpret_cast<const sockaddr*>(&address), size) != 0 && errno == ECONNREFUSED) {
    ::unlink(path);
  }
  ::close(probe);
}

}  // namespace

ListenSocket listen_on(const sockaddr_storage& address, socklen_t size, bool shared) noexcept {
  ListenSocket result;
  const bool local = address.ss_family == AF_UNIX;
  if (local) remove_stale_socket(address, size);
  result.descriptor = bind_and_listen(address, size, shared && !local, !shared && !local);
  if (result.descriptor < 0) result.error = errno;
  return result;
}

socklen_t parse_address(std::string_view text, sockaddr_storage& out) noexcept {
  out = {};
  if (text.starts_with('/') || text.starts_with('.')) {
    auto& local = reinterpret_cast<sockaddr_un&>(out);
    if (text.size() >= sizeof local.sun_path) return 0;
    local.sun_family = AF_UNIX;
    std::copy(text.begin(), text.end(), local.sun_path);
    return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + 1);
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size() || text.size() - colon > 6) return 0;
  uint32_t port = 0;
  for (const char digit : text.substr(colon + 1)) {
    if (digit < '0' || digit > '9') return 0;
    port = port * 10 + static_cast<uint32_t>(digit - '0');
  }
  if (port > 65'535) return 0;
  std::string_view host = text.substr(0, colon);
  char name[INET6_ADDRSTRLEN];
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (host.size() >= sizeof name) return 0;
    *std::copy(host.begin(), host.end(), name) = '\0';
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<uint16_t>(port));
    return ::inet_pton(AF_INET6, name, &v6.sin6_addr) == 1 ? sizeof v6 : 0;
  }
  if (host == "localhost") host = "127.0.0.1";
  if (host.size() >= sizeof name) return 0;
  *std::copy(host.begin(), host.end(), name) = '\0';
  auto& v4 = reinterpret_cast<sockaddr_in&>(out);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(static_cast<uint16_t>(port));
  return ::inet_pton(AF_INET, name, &v4.sin_addr) == 1 ? sizeof v4 : 0;
}

size_t format_address(const sockaddr_storage& address, std::span<char> out) noexcept {
  char name[INET6_ADDRSTRLEN] = "unix";
  int size = 0;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, name, sizeof name);
    size = std::snprintf(out.data(), out.size(), "%s:%u", name, ntohs(v4.sin_port));
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, name, sizeof name);
    size = std::snprintf(out.data(), out.size(), "[%s]:%u", name, ntohs(v6.sin6_port));
  } else {
    const auto& local = reinterpret_cast<const sockaddr_un&>(address);
    size = std::snprintf(out.data(), out.size(), "%s", local.sun_path[0] ? local.sun_path : "unix");
  }
  return std::min(static_cast<size_t>(std::max(size, 0)), out.size() - 1);
}

}  // namespace mqttq
