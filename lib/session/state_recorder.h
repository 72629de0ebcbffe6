// What of one shard outlives the process: its changes, gathered over a turn and sent to the committer, and what waits
// until they are durable (DESIGN 2: what is sent only after what).
#pragma once

#include "base/ring.h"
#include "message/detail.h"
#include "router/mail.h"
#include "store/log.h"
#include "store/state.h"

namespace mqttq {

// Where a broker keeps things. Borrowed by all of its shards.
struct StateSetup {
  StoreHealth* health = nullptr;  // null: nothing is kept
  uint64_t seed = 0;              // of keys
  uint32_t boot = 0;
  bool at_once = true;  // what is recorded can be read again; else somebody has to hold it until then
};

// Owned by one shard. Changes are true in memory at once; a record that cannot be written stays with the committer, who
// says so, and tries again.
class StateRecorder {
 public:
  StateRecorder(const StateSetup& setup, uint32_t shard) noexcept : setup_(setup), shard_(shard) {}

  bool on() const noexcept { return setup_.health != nullptr; }
  // What must be durable is to be refused: the last batch could not be written.
  bool failing() const noexcept { return on() && setup_.health->failing.load(std::memory_order_relaxed); }
  bool at_once() const noexcept { return setup_.at_once; }
  // What is new is to be refused, and what makes something larger: the quota is reached.
  bool full() const noexcept { return on() && setup_.health->full.load(std::memory_order_relaxed); }
  // Why something new is refused, if it is.
  Reason refusal() const noexcept {
    if (failing()) return {ReasonCode::QuotaExceeded, Detail::StoreFailing};
    return full() ? Reason(ReasonCode::QuotaExceeded, Detail::StoreFull) : Reason();
  }
  const StoreHealth* health() const noexcept { return setup_.health; }
  // Nothing is recorded any more.
  void stop() noexcept { setup_.health = nullptr; }

  StateWrites& writes() noexcept { return writes_; }
  TextKey key(NamespaceId namespace_id, std::string_view text) const noexcept {
    return text_key(namespace_id, text, setup_.seed);
  }
  // Names something new, in all lives of the directory.
  uint64_t next_id() noexcept { return uint64_t{setup_.boot} << 40 | uint64_t{shard_} << 34 | ++last_id_; }

  // Names the record that has all changes until now.
  uint32_t serial() const noexcept { return writes_.empty() ? serial_ - 1 : serial_; }
  bool durable(uint32_t serial) const noexcept { return static_cast<int32_t>(durable_serial_ - serial) >= 0; }
  bool all_durable() const noexcept { return durable(serial()); }
  // Unless all_durable(): a publish is answered when all changes until now are durable, or could not be written. False
  // without memory.
  [[nodiscard]] bool answer_when_durable(const PublishOrigin& origin) noexcept {
    return answers_.push_back({origin, serial()});
  }

  // False: there was no room, and changes wait.
  bool post(Postman& postman, uint32_t committer) noexcept;
  // What the committer said of a record; answer(const PublishOrigin&, ReasonCode) for each publish that waited for it.
  template <class Answer>
  void on_recorded(uint32_t serial, ReasonCode reason, Answer&& answer) noexcept {
    if (!is_error(reason)) durable_serial_ = serial;
    while (!answers_.empty() && static_cast<int32_t>(serial - answers_.front().serial) >= 0) {
      answer(answers_.front().origin, reason);
      answers_.pop_front();
    }
  }

  // The highest number of the log that this shard has heard of: all of its messages up to it have come.
  uint64_t seen_number() const noexcept { return seen_number_; }
  void note_seen(uint64_t number) noexcept { seen_number_ = std::max(seen_number_, number); }

 private:
  struct Waiting {
    PublishOrigin origin;
    uint32_t serial = 0;
  };

  StateSetup setup_;
  const uint32_t shard_;
  StateWrites writes_;
  uint32_t serial_ = 1;  // of the record that is gathered
  uint32_t durable_serial_ = 0;
  uint64_t seen_number_ = 0;
  uint64_t last_id_ = 0;
  Ring<Waiting> answers_;  // by their serials
};

}  // namespace mqttq
