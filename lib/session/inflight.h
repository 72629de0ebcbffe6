// The QoS 1 and 2 messages sent to one client and not yet finished.
#pragma once

#include "base/slab.h"
#include "message/message.h"
#include "session/packet_id_map.h"

namespace mqttq {

// The Subscription Identifiers that go with one message: none or one in place, more in a block of their own.
class Identifiers {
 public:
  Identifiers() noexcept = default;
  Identifiers(Identifiers&& other) noexcept : count_(other.count_), one_(other.one_), many_(other.many_) {
    other.count_ = 0;
    other.many_ = nullptr;
  }
  Identifiers& operator=(Identifiers&& other) noexcept {
    if (this != &other) {
      this->~Identifiers();
      new (this) Identifiers(std::move(other));
    }
    return *this;
  }
  ~Identifiers() {
    if (many_) release(many_);
  }

  // False when the allocator refuses; it is then empty.
  [[nodiscard]] bool set(std::span<const uint32_t> identifiers) noexcept {
    release(many_);
    many_ = nullptr;
    count_ = 0;
    if (identifiers.size() > 1) {
      many_ = static_cast<uint32_t*>(allocate(identifiers.size_bytes()));
      if (!many_) return false;
      std::memcpy(many_, identifiers.data(), identifiers.size_bytes());
    } else if (!identifiers.empty()) {
      one_ = identifiers.front();
    }
    count_ = static_cast<uint32_t>(identifiers.size());
    return true;
  }
  std::span<const uint32_t> span() const noexcept { return {many_ ? many_ : &one_, count_}; }

 private:
  uint32_t count_ = 0;
  uint32_t one_ = 0;
  uint32_t* many_ = nullptr;
};

// One message on its way to a client.
struct InflightEntry {
  enum class State : uint8_t {
    AwaitPuback,
    AwaitPubrec,
    AwaitPubcomp,  // PUBREL was sent; the message is let go
  };
  MessageRef message;  // empty: let go, or to be fetched by its number
  Identifiers identifiers;
  SlabHandle membership;  // of the shared group, queue or stream that it came from; names nothing for any other
  uint64_t number = 0;    // of the log, by which it is kept; 0: it is not
  uint64_t position = 0;  // of a stream's message
  uint32_t skipped = 0;   // of its stream, in front of it; no more are told
  uint32_t order = 0;     // counts up with each message sent: a resumed session resends in this order (MQTT5 4.4)
  State state = State::AwaitPuback;
  Qos qos = Qos::AtLeastOnce;
  bool retain = false;
  bool sent = true;   // on the connection there is now, and so counted in its window
  bool kept = false;  // recorded
  // It is another's as soon as this client is gone, or has unsubscribed: then only its identifier is left of it.
  bool of_queue = false;
  bool of_stream = false;
};

}  // namespace mqttq
