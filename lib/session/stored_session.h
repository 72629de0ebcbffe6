// The values of a session's tables in the store, and of delayed messages, field by field. A message that is part of one
// stands at its end, and is left there by read().
#pragma once

#include "message/topic.h"
#include "router/shared_group.h"
#include "router/sink.h"
#include "router/stream_place.h"
#include "session/inflight.h"
#include "store/state.h"
#include "store/stored_message.h"

namespace mqttq {

// Bytes of keys.
inline constexpr size_t kSessionKey = TextKey::kSize, kFilterKey = kSessionKey + 8, kPacketKey = kSessionKey + 2,
                        kDelayedKey = 8, kTimeKey = 8, kTakenKey = TextKey::kSize + 16;

struct StoredSession {
  NamespaceId namespace_id = kGlobalNamespace;
  uint32_t expiry_s = 0;
  int64_t disconnected_ms = INT64_MAX;  // Unix time; INT64_MAX: it is connected
  std::string_view client_id;           // borrowed

  void write(FieldWriter& out) const noexcept {
    out.number(uint32_t{namespace_id});
    out.number(expiry_s);
    out.number(static_cast<uint64_t>(disconnected_ms));
    out.text(client_id);
  }
  bool read(FieldReader& in) noexcept {
    namespace_id = in.number<uint32_t>();
    expiry_s = in.number<uint32_t>();
    disconnected_ms = static_cast<int64_t>(in.number<uint64_t>());
    client_id = as_text(in.rest());
    return in.ok() && !client_id.empty() && expiry_s != 0;
  }
};

struct StoredSubscription {
  Subscription options;
  bool owed = false;              // retained messages are still to be sent for it
  int8_t priority = 0;            // of a queue's consumer
  StreamTerms terms;              // of a stream's reader
  std::string_view topic_filter;  // borrowed

  // terms: null: of no stream's reader.
  static void write(FieldWriter& out, const Subscription& options, bool owed, std::string_view topic_filter,
                    int8_t priority = 0, const StreamTerms* terms = nullptr) noexcept {
    out.number(static_cast<uint8_t>(flags_of(options) | (owed ? kOwed : 0) | (priority ? kPriority : 0) |
                                    (terms ? kOfStream : 0)));
    out.number(options.identifier);
    if (priority) out.number(static_cast<uint8_t>(priority));
    if (terms) {
      const bool cursor = !terms->cursor.empty();
      out.number(static_cast<uint8_t>(static_cast<uint8_t>(terms->offset.kind) | (cursor ? kCursor : 0) |
                                      (terms->shared ? kShared : 0)));
      out.number(terms->offset.value);
      if (cursor) out.sized(as_bytes(terms->cursor));
    }
    out.text(topic_filter);
  }
  bool read(FieldReader& in) noexcept {
    const auto flags = in.number<uint8_t>();
    set_flags(options, flags);
    owed = flags & kOwed;
    options.identifier = in.number<uint32_t>();
    if (flags & kPriority) priority = static_cast<int8_t>(in.number<uint8_t>());
    uint8_t kind = 0;
    if (flags & kOfStream) {
      const auto stream_flags = in.number<uint8_t>();
      kind = stream_flags & kOffsetKind;
      terms.offset = {static_cast<StreamOffset::Kind>(kind), in.number<uint64_t>()};
      terms.shared = stream_flags & kShared;
      if (stream_flags & kCursor) terms.cursor = as_text(in.sized());
    }
    topic_filter = as_text(in.rest());
    return in.ok() && kind <= static_cast<uint8_t>(StreamOffset::Kind::Position) && is_valid_topic_filter(topic_filter);
  }

 private:
  static constexpr uint8_t kQos = 3, kNoLocal = 4, kRetainAsPublished = 8, kExclusive = 16, kOwed = 32, kPriority = 64,
                           kOfStream = 128;
  static constexpr uint8_t kOffsetKind = 15, kCursor = 64, kShared = 128;  // behind it

  static uint8_t flags_of(const Subscription& subscription) noexcept {
    return static_cast<uint8_t>(static_cast<uint8_t>(subscription.qos) | (subscription.no_local ? kNoLocal : 0) |
                                (subscription.retain_as_published ? kRetainAsPublished : 0) |
                                (subscription.exclusive ? kExclusive : 0));
  }
  static void set_flags(Subscription& subscription, uint8_t flags) noexcept {
    subscription.qos = static_cast<Qos>(std::min(flags & kQos, 2));
    subscription.no_local = flags & kNoLocal;
    subscription.retain_as_published = flags & kRetainAsPublished;
    subscription.exclusive = flags & kExclusive;
  }
};

// Where a durable group stands, and which messages before that are with members whose sessions end with the broker, or
// nobody: the numbers follow, each with 8 bytes, and then the text, which is borrowed.
struct StoredGroup {
  static void write(FieldWriter& out, const GroupProgress& progress) noexcept {
    out.number(uint32_t{progress.namespace_id});
    out.number(progress.position);
    uint32_t count = 0;
    for (uint32_t i = 0; i < progress.open.count(); ++i) count += !progress.open[i].settled;
    out.number(count);
    for (uint32_t i = 0; i < progress.open.count(); ++i) {
      if (!progress.open[i].settled) out.number(progress.open[i].number);
    }
    out.text(progress.shared_filter);
  }
  // open(uint64_t): called for each message before the position.
  template <class Open>
  static bool read(FieldReader& in, NamespaceId& namespace_id, uint64_t& position, std::string_view& shared_filter,
                   Open&& open) noexcept {
    namespace_id = in.number<uint32_t>();
    position = in.number<uint64_t>();
    for (auto left = in.number<uint32_t>(); left && in.ok(); --left) open(in.number<uint64_t>());
    shared_filter = as_text(in.rest());
    return in.ok() && parse_shared_filter(shared_filter).kind == SharedFilter::Kind::Shared;
  }
};

struct StoredWill {
  uint32_t delay_s = 0;
  bool expires = false;
  uint32_t expiry_s = 0;

  void write(FieldWriter& out) const noexcept {
    out.number(delay_s);
    out.number(uint8_t{expires});
    out.number(expiry_s);
  }
  void read(FieldReader& in) noexcept {
    delay_s = in.number<uint32_t>();
    expires = in.number<uint8_t>() != 0;
    expiry_s = in.number<uint32_t>();
  }
};

struct StoredDelayed {
  int64_t due_ms = 0;          // Unix time
  std::string_view client_id;  // borrowed

  void write(FieldWriter& out) const noexcept {
    out.number(static_cast<uint64_t>(due_ms));
    out.sized(as_bytes(client_id));
  }
  void read(FieldReader& in) noexcept {
    due_ms = static_cast<int64_t>(in.number<uint64_t>());
    client_id = as_text(in.sized());
  }
};

// A message on its way to a client: by its number in the log, or, where it has none, with all that it holds.
struct StoredInflight {
  static constexpr uint8_t kQos = 3, kRetain = 4, kOfGroup = 8, kOfStream = 16, kSkipped = 32;

  // group: the hash of the text that it came through, a shared filter's or a stream's; 0: it came by itself.
  static void write(FieldWriter& out, const InflightEntry& entry, uint64_t group, int64_t unix_offset_ms) noexcept {
    out.number(entry.number);
    out.number(entry.order);
    out.number(static_cast<uint8_t>(entry.state));
    out.number(static_cast<uint8_t>(static_cast<uint8_t>(entry.qos) | (entry.retain ? kRetain : 0) |
                                    (group ? kOfGroup : 0) | (entry.of_stream ? kOfStream : 0) |
                                    (entry.skipped ? kSkipped : 0)));
    out.number(static_cast<uint32_t>(entry.identifiers.span().size()));
    for (const uint32_t identifier : entry.identifiers.span()) out.number(identifier);
    if (group) out.number(group);
    if (entry.of_stream) out.number(entry.position);
    if (entry.skipped) out.number(entry.skipped);
    if (entry.number == 0 && entry.message) write_message(out, entry.message->view(), unix_offset_ms);
  }
  // False: it is no such value, or there is no memory.
  static bool read(FieldReader& in, InflightEntry& entry, uint64_t& group) noexcept {
    entry.number = in.number<uint64_t>();
    entry.order = in.number<uint32_t>();
    const auto state = in.number<uint8_t>(), flags = in.number<uint8_t>();
    entry.state = static_cast<InflightEntry::State>(std::min<uint8_t>(state, 2));
    entry.qos = (flags & kQos) == 1 ? Qos::AtLeastOnce : Qos::ExactlyOnce;
    entry.retain = flags & kRetain;
    Array<uint32_t> identifiers;
    bool memory = true;
    for (auto left = in.number<uint32_t>(); left && in.ok(); --left) {
      memory = memory && identifiers.push_back(in.number<uint32_t>());
    }
    group = flags & kOfGroup ? in.number<uint64_t>() : 0;
    entry.of_stream = flags & kOfStream;
    entry.position = entry.of_stream ? in.number<uint64_t>() : 0;
    entry.skipped = flags & kSkipped ? in.number<uint32_t>() : 0;
    return in.ok() && state <= 2 && memory && entry.identifiers.set(identifiers.span());
  }
};

}  // namespace mqttq
