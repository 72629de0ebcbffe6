// The Application Message as it moves through the house.
//
// A MessageView points into the publisher's read buffer. What must outlive the turn becomes a Message, once: one
// immutable counted block that every receiver shares, so that a fan-out to 10 000 sessions copies no payload.
#pragma once

#include <atomic>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "message/qos.h"

namespace mqttq {

// A tenant's separate topics. It is part of every key. 0 is the global namespace.
using NamespaceId = uint32_t;
inline constexpr NamespaceId kGlobalNamespace = 0;

// Who published: a hash of namespace and client id under the broker's secret seed, so that it stays the same for a
// client that comes back [MQTT-3.8.3-3]. 0 is nobody: the host, the broker itself.
using PublisherId = uint64_t;

// Borrowed text and bytes of one message.
struct MessageView {
  NamespaceId namespace_id = kGlobalNamespace;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  PublisherId publisher = 0;
  Instant expires_at{INT64_MAX};  // INT64_MAX: never
  std::string_view topic_name;
  Bytes properties;  // as on the wire of version 5, without length, alias, expiry and subscription identifiers
  Bytes payload;

  bool expires() const noexcept { return expires_at.ns != INT64_MAX; }
  bool expired(Instant now) const noexcept { return expires_at <= now; }
  // Whole seconds left (MQTT5 3.3.2.3.3), 0 when it has expired; only if expires().
  uint32_t expiry_left_s(Instant now) const noexcept {
    return expired(now) ? 0 : static_cast<uint32_t>((expires_at - now + kSecond - 1) / kSecond);
  }
};

class MessageRef;

// One block: this header, then topic, properties and payload. Made by Message::create, ended by its last MessageRef.
class Message {
 public:
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  // Copies everything in `view`. An empty reference when the allocator refuses. references: how many are counted at
  // once, that one included.
  static MessageRef create(const MessageView& view, uint32_t references = 1) noexcept;

  MessageView view() const noexcept;
  std::string_view topic_name() const noexcept { return {reinterpret_cast<const char*>(bytes()), topic_size_}; }
  Bytes payload() const noexcept { return {bytes() + topic_size_ + properties_size_, payload_size_}; }
  Qos qos() const noexcept { return qos_; }
  NamespaceId namespace_id() const noexcept { return namespace_id_; }
  PublisherId publisher() const noexcept { return publisher_; }
  Instant expires_at() const noexcept { return expires_at_; }
  // Of Unix time, when it was numbered for a stream; 0: it was for none.
  int64_t logged_us() const noexcept { return logged_us_; }
  // By who numbers it or reads it back, before those have it that look at it.
  void set_logged(int64_t us) const noexcept { logged_us_ = us; }
  bool expired(Instant now) const noexcept { return expires_at_ <= now; }
  // Bytes of topic, properties and payload: what limits in bytes count.
  uint32_t content_size() const noexcept { return topic_size_ + properties_size_ + payload_size_; }

 private:
  friend class MessageRef;
  Message(const MessageView& view, uint32_t references) noexcept;
  const std::byte* bytes() const noexcept { return reinterpret_cast<const std::byte*>(this + 1); }

  std::atomic<uint32_t> references_;
  const NamespaceId namespace_id_;
  const PublisherId publisher_;
  const Instant expires_at_;
  mutable int64_t logged_us_ = 0;
  const uint32_t properties_size_;
  const uint32_t payload_size_;
  const uint16_t topic_size_;
  const Qos qos_;
  const bool retain_;
};

// A share of a Message. May be passed between threads.
class MessageRef {
 public:
  MessageRef() noexcept = default;
  // Takes over one reference that was counted already.
  explicit MessageRef(Message* counted) noexcept : message_(counted) {}
  MessageRef(const MessageRef& other) noexcept : message_(other.message_) {
    if (message_) message_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  MessageRef(MessageRef&& other) noexcept : message_(other.message_) { other.message_ = nullptr; }
  MessageRef& operator=(MessageRef other) noexcept {
    Message* mine = message_;
    message_ = other.message_;
    other.message_ = mine;
    return *this;
  }
  ~MessageRef() {
    if (message_ && message_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) end(message_);
  }

  // One share more, which was counted already.
  static MessageRef counted(const MessageRef& other) noexcept { return MessageRef(other.message_); }
  // One share more of a message that somebody else holds.
  static MessageRef share(Message& message) noexcept {
    message.references_.fetch_add(1, std::memory_order_relaxed);
    return MessageRef(&message);
  }
  static MessageRef share(const Message& message) noexcept { return share(const_cast<Message&>(message)); }
  // Nobody else has a share, nor can get one but from here.
  bool only() const noexcept { return message_->references_.load(std::memory_order_acquire) == 1; }
  // `count` shares at once, of which this reference was one.
  void drop(uint32_t count) noexcept {
    Message* message = detach();
    if (message->references_.fetch_sub(count, std::memory_order_acq_rel) == count) end(message);
  }
  // Gives the share away uncounted: to be taken over by MessageRef(Message*) again.
  Message* detach() noexcept { return std::exchange(message_, nullptr); }

  explicit operator bool() const noexcept { return message_ != nullptr; }
  const Message& operator*() const noexcept { return *message_; }
  const Message* operator->() const noexcept { return message_; }
  const Message* get() const noexcept { return message_; }

 private:
  static void end(Message* message) noexcept;

  Message* message_ = nullptr;
};

// A message on its way through one shard: a view, and the counted block once somebody asked for it.
class MovingMessage {
 public:
  // logged_us: Message::logged_us() of the one that is made of it.
  explicit MovingMessage(const MessageView& view, int64_t logged_us = 0) noexcept
      : view_(view), logged_us_(logged_us) {}
  explicit MovingMessage(const MessageRef& kept) noexcept : view_(kept->view()), kept_(kept) {}
  explicit MovingMessage(MessageRef&& kept) noexcept : view_(kept->view()), kept_(std::move(kept)) {}
  ~MovingMessage() {
    if (shares_) kept_.drop(shares_);
  }
  MovingMessage(const MovingMessage&) = delete;
  MovingMessage& operator=(const MovingMessage&) = delete;

  // Of the text and bytes that it was made of, whether or not it is kept.
  const MessageView& view() const noexcept { return view_; }
  // The counted block, made on the first call; empty when the allocator refuses.
  const MessageRef& keep() noexcept {
    if (!kept_ && (kept_ = Message::create(view_, kShares))) {
      kept_->set_logged(logged_us_);
      shares_ = kShares;
    }
    return kept_;
  }
  // A share of it for somebody who keeps it; empty when the allocator refuses.
  MessageRef share() noexcept {
    if (!keep() || shares_ <= 1) return kept_;
    --shares_;
    return MessageRef::counted(kept_);
  }
  bool kept() const noexcept { return static_cast<bool>(kept_); }
  int64_t logged_us() const noexcept { return kept_ ? kept_->logged_us() : logged_us_; }

 private:
  // Counted in advance where the block is made, so that to hand one out touches no counter that others may touch.
  static constexpr uint32_t kShares = 1u << 20;

  MessageView view_;
  int64_t logged_us_ = 0;
  MessageRef kept_;
  uint32_t shares_ = 0;  // left of those; 0: kept_ is a share as any other
};

}  // namespace mqttq
