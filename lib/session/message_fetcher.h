// Messages that are no longer in memory, read from where they are kept: asked for by shards, read by a worker.
#pragma once

#include <mutex>
#include <vector>

#include "base/intrusive_list.h"
#include "base/ring.h"
#include "base/slab.h"
#include "store/log.h"

namespace mqttq {

// What one session, shared group, queue or page of a stream asks for, and its answer. Made by create<>().
struct Fetch : ListLink<struct FetchTag> {
  uint32_t shard = 0;
  SlabHandle session;
  SlabHandle group, queue, stream_page;  // names one: it is for that
  Ring<FetchedMessage> messages;         // in the order of their numbers
  bool as_bodies = false;                // they are wanted as bytes
  Array<std::byte> bodies;               // these
};

// One for all shards of a broker. Each session, group, queue and page has one Fetch under way at most.
class MessageFetcher {
 public:
  // Throws std::bad_alloc. source: borrowed.
  MessageFetcher(MessageSource& source, uint32_t shard_count) : source_(source), answers_(shard_count) {}
  ~MessageFetcher() {
    end(asked_);
    for (Fetches& answers : answers_) end(answers);
  }
  MessageFetcher(const MessageFetcher&) = delete;
  MessageFetcher& operator=(const MessageFetcher&) = delete;

  // Takes it over. The worker is to be woken. Any shard.
  void ask(Fetch& fetch) noexcept {
    const std::lock_guard lock(mutex_);
    asked_.push_back(fetch);
  }
  // Reads one. False: nothing was asked for. shard: set to whom it is for, who is to be woken. Thread: the worker's.
  bool run_one(uint32_t& shard) noexcept {
    Fetch* fetch = nullptr;
    {
      const std::lock_guard lock(mutex_);
      fetch = asked_.pop_front();
    }
    if (!fetch) return false;
    {
      const std::lock_guard lock(source_mutex_);
      if (fetch->as_bodies) source_.fetch_bodies(fetch->messages, fetch->bodies);
      for (uint32_t i = 0; !fetch->as_bodies && i < fetch->messages.count(); ++i) {
        FetchedMessage& one = fetch->messages[i];
        one.status = source_.fetch(one.number, one.message);
      }
    }
    shard = fetch->shard;
    const std::lock_guard lock(mutex_);
    answers_[shard].push_back(*fetch);
    return true;
  }
  // Reads one at once. Any thread but a shard's.
  Status read(uint64_t number, MessageRef& message) noexcept {
    const std::lock_guard lock(source_mutex_);
    return source_.fetch(number, message);
  }
  // The next answer, owned by the caller; nullptr: there is none.
  Fetch* take_answer(uint32_t shard) noexcept {
    const std::lock_guard lock(mutex_);
    return answers_[shard].pop_front();
  }
  bool idle() noexcept {
    const std::lock_guard lock(mutex_);
    return asked_.empty();
  }

 private:
  using Fetches = IntrusiveList<Fetch, FetchTag>;
  static void end(Fetches& fetches) noexcept {
    while (Fetch* fetch = fetches.pop_front()) destroy(fetch);
  }

  MessageSource& source_;
  std::mutex source_mutex_;  // held while it reads
  std::mutex mutex_;
  Fetches asked_;
  std::vector<Fetches> answers_;  // by shard
};

}  // namespace mqttq
