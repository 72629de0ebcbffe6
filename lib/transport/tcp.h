// TCP and Unix-domain sockets of a shard: its Poller says which are ready, the bytes move by our own calls, as they are
// or through a WebSocket.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/intrusive_list.h"
#include "base/link.h"
#include "transport/poller.h"

namespace mqttq {

class TcpLink;
class WebSocket;

// Who owns the links of one thread and hears of them. Everything happens on that thread.
class TcpOwner {
 public:
  // Its items are the links.
  virtual Poller& poller() noexcept = 0;
  // The buffer into which every read goes: borrowed until on_read returns.
  virtual std::span<std::byte> read_buffer() noexcept = 0;
  virtual void on_read(TcpLink& link, Bytes bytes) noexcept = 0;
  virtual void on_writable(TcpLink& link) noexcept = 0;
  // The peer sends nothing more, but may still read; or, `broken`, it is gone. The owner closes the link.
  virtual void on_peer_closed(TcpLink& link, bool broken) noexcept = 0;
  // What the peer sent is not what its WebSocket may carry; `what`: static. The owner closes the link.
  virtual void on_violation(TcpLink& link, const char* what) noexcept = 0;
  // A WebSocket that ended while the link was not read: the owner calls tell_end(), soon, and not from here.
  virtual void on_resumed(TcpLink& link) noexcept = 0;
  // Is everything closed now? Then a WebSocket says so in its goodbye.
  virtual bool stopping() const noexcept = 0;
  // For the text of one address, until the next one.
  virtual std::span<char> address_buffer() noexcept = 0;
  // The link was closed in good order and waits for the peer to read; the owner calls end() when that takes too long.
  virtual void on_linger(TcpLink& link) noexcept = 0;

 protected:
  ~TcpOwner() = default;
};

// A socket's address, in as few bytes as it has.
class PeerAddress {
 public:
  explicit PeerAddress(const sockaddr_storage& address) noexcept;
  sockaddr_storage whole() const noexcept;

 private:
  uint8_t bytes_[16];
  uint8_t port_[2];  // in network order
  uint8_t family_;
};

// One accepted socket. Owns its descriptor, and ends itself after close(). An idle one is this object.
class TcpLink final : public Link, public ListLink<struct TcpLinkTag> {
 public:
  // descriptor: non-blocking; taken. `create<TcpLink>(…)`; ends itself after close().
  TcpLink(int descriptor, const sockaddr_storage& peer) noexcept;
  TcpLink(const TcpLink&) = delete;
  TcpLink& operator=(const TcpLink&) = delete;
  ~TcpLink();

  // Speaks through a WebSocket: taken, of create(). Before start().
  void set_websocket(WebSocket* websocket) noexcept { websocket_ = websocket; }
  // Is watched by `owner`'s poller from now on. False when it cannot be.
  bool start(TcpOwner& owner) noexcept;
  // Is watched no longer: for going to another thread.
  void stop() noexcept;
  // Ends a lingering link.
  void end() noexcept;
  // Tells the owner, once, that the WebSocket has ended; not while reading is paused, since what was read before it
  // is still to be handled.
  void tell_end() noexcept;

  // Link.
  size_t write(std::span<const Bytes> pieces) noexcept override;
  void pause_reading(bool paused) noexcept override;
  void close(bool abort) noexcept override;
  std::string_view peer_address() const noexcept override;
  // The poller has something to tell.
  void on_ready(uint8_t events) noexcept;

  // The owner's: its connection, none once the link was closed.
  void* user() const noexcept { return lingering_ ? nullptr : user_; }
  void set_user(void* user) noexcept {
    if (!lingering_) user_ = user;
  }
  // The owner's, from on_linger() on.
  Instant linger_until() const noexcept { return linger_until_; }
  void set_linger_until(Instant until) noexcept { linger_until_ = until; }

 private:
  struct Wire;
  uint8_t wanted() const noexcept;
  void watch() noexcept;
  void discard() noexcept;
  size_t send(std::span<const Bytes> pieces) noexcept;
  void on_frames(std::span<std::byte> bytes) noexcept;
  size_t write_frames(std::span<const Bytes> pieces) noexcept;
  void answer_frames() noexcept;
  bool say_goodbye(bool abort) noexcept;

  TcpOwner* owner_ = nullptr;
  WebSocket* websocket_ = nullptr;  // owned; null: the bytes of MQTT are those of the socket
  union {
    void* user_ = nullptr;
    Instant linger_until_;  // once lingering_
  };
  int descriptor_;
  const PeerAddress peer_;
  uint8_t watched_ : 2 = 0;  // events asked for
  bool reading_paused_ : 1 = false;
  bool want_writable_ : 1 = false;
  bool lingering_ : 1 = false;
  bool in_event_ : 1 = false;  // on_ready is running, and ends the object if it is to be
  bool ended_ : 1 = false;
  bool end_told_ : 1 = false;  // of the WebSocket
};
static_assert(sizeof(TcpLink) <= 72);

// Opens a listening socket, non-blocking, and gives its descriptor; of further ones for the same address too, when
// `shared`: the first is bound without sharing, so that a port in use is seen.
struct ListenSocket {
  int descriptor = -1;
  int error = 0;  // errno, when descriptor is -1
};
ListenSocket listen_on(const sockaddr_storage& address, socklen_t size, bool shared) noexcept;

// "127.0.0.1:1883", "[::1]:0", or "/path" of a Unix-domain socket. Returns the address' size, 0 if not understood.
socklen_t parse_address(std::string_view text, sockaddr_storage& out) noexcept;
// The same text again; "unix" for a nameless Unix-domain socket. Returns its size.
size_t format_address(const sockaddr_storage& address, std::span<char> out) noexcept;

}  // namespace mqttq
