// Numbers what must be durable, has it logged in batches, and tells journals and publishers when it is.
//
// One per broker. Runs on a thread of its own, or in the turn of the only shard; either way it is called by one thread.
#pragma once

#include "router/mail.h"
#include "store/log.h"

namespace mqttq {

class Committer {
 public:
  // Throws std::bad_alloc. log: borrowed, outlives it.
  Committer(PostOffice& office, Log& log) : office_(office), log_(log), postman_(office, office.committer()) {}

  // Takes proposals, appends them as one batch, and answers what has become durable. True if it is to be called again
  // soon without being woken: records are not durable yet, or there was no memory for a proposal.
  bool turn() noexcept;
  uint64_t take_woken() noexcept { return postman_.take_woken(); }

 private:
  static constexpr uint32_t kBatchMax = 1024;  // records of one append
  struct Open {
    uint64_t number = 0;
    MessageRef message;
    RouteRef route;
    PublishOrigin origin;
    uint64_t shards_open = 0;  // whose journals are still to be sent it, once it is durable
    ReasonCode reason = ReasonCode::Success;
  };

  bool gather() noexcept;  // false without memory: some proposals stay where they are
  void answer_durable() noexcept;
  // Sends the journals and the publisher what they are to hear. False without memory: the rest is left in `open`.
  bool answer(Open& open) noexcept;

  PostOffice& office_;
  Log& log_;
  Postman postman_;
  uint64_t last_number_ = 0;
  Ring<Open> open_;  // appended, not durable yet; oldest first
  LogRecord batch_[kBatchMax];
};

}  // namespace mqttq
