// A reader of a stream in the process: what it is handed stands ready until the host takes it.
#pragma once

#include <condition_variable>
#include <deque>

#include "capi/handles.h"

namespace mqttq::capi {

// Lives on the stream's home, where everything happens but what says otherwise.
class HostReader final : public StreamTaker {
 public:
  struct Item {
    MessageRef message;
    StreamAt at;
  };
  // ahead: messages that stand ready.
  explicit HostReader(size_t ahead) noexcept : ahead_(ahead) {}

  // Errors: NotFound, Invalid (the stream's filter does not cover this one), NoMemory; of its cursor Exists, Full.
  Status open(ShardCore& core, NamespaceId namespace_id, std::string_view name, std::string_view topic_filter,
              const StreamTerms& terms, Instant now);
  void close() noexcept;
  // False: the stream has ended.
  bool seek(const StreamOffset& offset, Instant now);
  // All before this position is done with. Errors: NotFound; Invalid (it lies behind the end).
  Status commit(uint64_t position);
  bool has_cursor() const noexcept { return !cursor_.empty(); }  // any thread
  // There is room again.
  void resume();

  // Thread: any but a shard's. Waits for the first as long as this, and takes so many at most. resumes: set where
  // resume() is to be called. False: the stream has ended, and all was taken. Throws std::bad_alloc.
  bool take(size_t count, std::chrono::milliseconds timeout, std::vector<Item>& out, bool& resumes);

  Handed take(MovingMessage& message, const StreamAt& at, Instant now) noexcept override;
  void on_stream_deleted(Instant now) noexcept override;

 private:
  void go_on(const StreamPlace& place);

  const size_t ahead_;
  ShardCore* core_ = nullptr;
  Stream* stream_ = nullptr;
  MemberId reader_ = 0;  // 0: the stream has ended, or it is closed
  StreamPlace place_;    // behind what it was handed
  std::string cursor_;   // its name
  std::mutex mutex_;     // of what follows
  std::condition_variable changed_;
  std::deque<Item> items_;
  bool full_ = false, ended_ = false;
};

}  // namespace mqttq::capi
