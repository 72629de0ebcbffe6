// Numbers what must be durable, has it logged in batches, and tells journals and publishers when it is.
//
// One per broker. Runs on a thread of its own, or in the turn of the only shard when nothing is kept; either way it is
// called by one thread.
#pragma once

#include <vector>

#include "message/detail.h"
#include "router/mail.h"
#include "store/log.h"
#include "store/state.h"

namespace mqttq {

class Committer {
 public:
  // Throws std::bad_alloc. log: borrowed, outlives it. health: is told whether batches are taken; nullable.
  Committer(PostOffice& office, Log& log, StoreHealth* health = nullptr);

  // Unix time minus the time that turn() is told; no message is timed before `newest_us`.
  void set_clock(int64_t unix_offset_ms, int64_t newest_us) noexcept {
    unix_offset_ms_ = unix_offset_ms;
    newest_us_ = newest_us;
  }
  // Takes proposals and changes of state, appends them as one batch, and answers what has become durable. True if it is
  // to be called again soon without being woken: something is not durable yet, or there was no memory for a mail.
  bool turn(Instant now) noexcept;
  // Of who is through with everything that came before: changes that could not be written are left.
  bool idle() const noexcept { return open_.empty(); }
  uint64_t take_woken() noexcept { return postman_.take_woken(); }
  // Room is being given back: to be called again within a second without being woken.
  bool tidies(Instant now) const noexcept { return log_.keeps() && (log_.moves() || now < tidies_until_); }

 private:
  // Of one append, and as many records with their receipts: the more, the less each of them costs.
  static constexpr uint32_t kBatchMax = 8192;        // mails
  static constexpr uint64_t kBatchBytes = 4u << 20;  // of their contents; the last may pass it
  // A message for journals, or changes of a shard's state, on its way.
  struct Open {
    uint64_t number = 0;  // 0: not appended
    MessageRef message;
    RouteRef route;
    PublishOrigin origin;
    uint64_t shards_open = 0;                         // whose journals are still to be sent it, once it is durable
    uint64_t receipt = 0;                             // Mail::Kind::Propose, number
    std::unique_ptr<WithoutQueues, Destroy> without;  // full ones; null: there are none
    std::unique_ptr<MailPayload, Destroy> state;      // changes: a StateRecord, until they are durable
    uint32_t serial = 0;                              // of them
    bool of_stream = false;                           // some stream takes it
    bool positioned = false;                          // streams gave it positions
    bool told = false;                                // that they could not be written yet
    Reason reason;                                    // why nobody gets it
    Reason full_reason;                               // why some queue does not
  };

  bool gather() noexcept;  // false without memory: some mails stay where they are
  bool take(Mail& mail, uint64_t& bytes) noexcept;
  bool enter_queues(const Message& message, const Route& route, Open& open) noexcept;
  static bool made_alone(Open& open) noexcept;
  void stamp(const Open& open) noexcept;
  template <class Take>
  void for_each_stream(const Open& open, Take&& take) noexcept;
  void take_positions_back() noexcept;
  bool name_journals(Open& open) noexcept;
  Status append() noexcept;
  void add_record(const LogRecord& record, size_t size) noexcept;
  void end_receipts(uint64_t& number, size_t& begin) noexcept;
  void probe() noexcept;
  void on_failure() noexcept;
  void answer_durable() noexcept;
  // Sends the journals and the publisher, or the shard, what they are to hear. False without memory: the rest is left.
  bool answer(Open& open) noexcept;
  bool answer_state(const Open& open, ReasonCode reason) noexcept;
  void note_health(bool failing) noexcept;
  void ask_for_lowest(Instant now) noexcept;
  void take_needed() noexcept;
  void tell_evictable() noexcept;
  void refuse(Open& open, Detail why) noexcept;
  void tell_room() noexcept;

  PostOffice& office_;
  Log& log_;
  StoreHealth* const health_;
  Postman postman_;
  uint64_t last_number_;
  int64_t unix_offset_ms_ = 0;
  int64_t newest_us_ = 0;  // that a message was given
  Instant now_{};
  Ring<Open> open_;         // oldest first
  uint32_t unwritten_ = 0;  // of these, at the end: to be appended
  bool changed_ = false;    // something was taken since the last turn
  bool try_again_ = false;  // what could not be written, at
  Instant try_again_at_{};
  uint32_t first_box_ = 0;  // whose mails are the first of the next batch
  Array<LogRecord> batch_;
  // Of each record so many journals and positions, or, if it is of receipts, so many bytes of them.
  struct Size {
    uint32_t count = 0, positions = 0;
  };
  Array<Size> sizes_;
  Array<uint64_t> journals_;  // and positions, behind those of each
  StateWrites receipts_;
  std::vector<uint64_t> lowest_;  // by shard, of the question that is open; 0: not answered
  Instant lowest_asked_{};
  Instant tidies_until_{};                                       // asked again after the last change
  uint64_t waiting_bytes_ = 0;                                   // of all shards, at the last answers
  std::vector<std::unique_ptr<NeededNumbers, Destroy>> needed_;  // by shard, as lowest_
  uint64_t evicted_ = 0;                                         // what shards were told
};

}  // namespace mqttq
