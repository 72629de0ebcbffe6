// All that a broker keeps: the log in files, and the store that follows it with everything but messages.
//
// A batch is durable when the log has it. Its changes of state are gathered and carried out in the store some time
// later, many at once, with the number that the store has followed up to: from there on the log tells them again when
// the directory is opened. Without files the store has everything, a batch is one of its own, and nothing follows.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "base/ring.h"
#include "store/fields.h"
#include "store/file_log.h"
#include "store/held_records.h"
#include "store/log.h"
#include "store/state.h"

namespace mqttq {

class DataDirectory final : public Log, public MessageSource, private LogReplay {
 public:
  static constexpr uint16_t kFormat = 1;
  struct Options {
    uint64_t segment_bytes = uint64_t{64} << 20;  // of the log
    uint64_t follow_bytes = uint64_t{4} << 20;    // of changes that the store has not followed
    uint64_t seed = 0;                            // a secret, another one each time
    int64_t unix_offset_ms = 0;                   // from our clock to Unix time
    uint64_t memory_bytes = uint64_t{64} << 20;   // of the newest messages, which stay in memory
    LogSink* log = nullptr;                       // of what operators must know; nullable
    // 0: what is acknowledged is durable. Else it is written so much later at most, or when there is much of it, and
    // what is settled before never is.
    int64_t hold_ns = 0;
    bool syncs = true;  // what is written is on stable storage then; else when the system likes
    StoreQuota::Options quota;
  };
  // The kinds of records: what write_journaled() wrote; StateWrites::bytes().
  enum class Kind : uint8_t { Message = 1, State = 2 };
  // What the store says of the directory, but for its secret.
  struct Meta {
    uint16_t format = 0;
    uint32_t boot = 0;
    uint64_t followed = 0;  // it has all changes up to this number
    uint64_t wanted = 1;    // no earlier message is needed
  };
  struct LoadedMessage {
    uint64_t number = 0;
    MessageRef message;                             // empty: it is not one of the newest
    int64_t logged_us = 0;                          // Message::logged_us()
    uint32_t size = 0;                              // of its content
    uint32_t topic = 0;                             // of topic_of(), where it has a time
    uint32_t first_journal = 0, journal_count = 0;  // of journals_of()
    uint32_t position_count = 0;                    // of positions_of()
  };

  // nullptr: `status` and `problem`, for people, say why (Io, Permission, NoMemory, Full; Unsupported: of a newer
  // version; Invalid: there is a log without its store). disk, store: borrowed, outlive it; nobody else uses them.
  // disk: of the log's files; null: the log is a table of the store.
  static std::unique_ptr<DataDirectory> open(Disk* disk, Store& store, const Options& options, Status& status,
                                             std::string& problem);

  // NotFound: nothing was ever kept there. Invalid: it is incomplete, and what is known is filled in. Of a newer format
  // nothing but that.
  static Status read_meta(Store& store, Meta& meta) noexcept;

  // The secret under which the directory's keys were made: the broker's, for all its life.
  uint64_t seed() const noexcept { return seed_; }
  // What was appended can be fetched.
  bool writes_at_once() const noexcept { return options_.hold_ns == 0; }
  // Counts the times that it was opened, from 1.
  uint32_t boot() const noexcept { return boot_; }
  int64_t unix_offset_ms() const noexcept { return options_.unix_offset_ms; }

  // --- before the first append()
  Status load(StateTable table, StateLoader& loader) noexcept;
  // Messages that may still be needed, by their numbers.
  const std::vector<LoadedMessage>& loaded_messages() const noexcept { return loaded_; }
  std::span<const uint64_t> journals_of(const LoadedMessage& message) const noexcept {
    return std::span(loaded_journals_).subspan(message.first_journal, message.journal_count);
  }
  // In the first of these, which are streams'.
  std::span<const uint64_t> positions_of(const LoadedMessage& message) const noexcept {
    return std::span(loaded_journals_).subspan(message.first_journal + message.journal_count, message.position_count);
  }
  std::string_view topic_of(const LoadedMessage& message) const noexcept {
    return message.logged_us ? std::string_view(*loaded_topics_[message.topic]) : std::string_view();
  }
  void forget_loaded() noexcept;

  // The names of namespaces by their ids, from 1 on.
  const std::vector<std::string>& namespaces() const noexcept { return namespaces_; }
  // The next namespace has this name. Durable when it returns Ok. Errors: of the store, NoMemory. Any thread, one at a
  // time.
  Status add_namespace(std::string_view name) noexcept;

  // --- Log
  Status append(std::span<const LogRecord> batch) noexcept override;
  uint64_t durable_number() noexcept override { return last_number_; }
  bool keeps() const noexcept override { return true; }
  void tend(Instant now) noexcept override;
  bool wants_lowest() const noexcept override {
    return log_ ? log_->segment_count() > 1 || !moved_.empty() : wanted_ < last_number_;
  }
  uint64_t wants_needed(uint64_t waiting_bytes, Instant now) noexcept override;
  bool moves() const noexcept override {
    return moving_up_to_ || !unneeded_.empty() || wanted_ != wanted_durable_ ||
           (!held_.empty() && options_.hold_ns != INT64_MAX);
  }
  void set_needed(uint64_t up_to, std::span<const uint64_t> numbers) noexcept override;
  void set_lowest(uint64_t number) noexcept override { wanted_ = std::max(wanted_, number); }
  uint64_t evictable() const noexcept override { return evictable_; }
  Status fetch(uint64_t number, MessageRef& message) noexcept override;
  void fetch_bodies(Ring<FetchedMessage>& messages, Array<std::byte>& bodies) noexcept override;
  StoreQuota* quota() noexcept override { return &quota_; }
  // The store follows to the end. Errors: those of the store, as `problem` of its last try.
  Status follow() noexcept;

 private:
  DataDirectory(Disk* disk, Store& store, const Options& options) noexcept
      : disk_(disk), store_(store), options_(options), quota_(options.quota) {}
  Status open_store(std::string& problem);
  Status load_namespaces(std::string& problem);
  Status open_log(std::string& problem);
  Status load_messages(std::string& problem);
  // The changes become writes_, which borrow their bytes. Throws std::bad_alloc.
  void set_writes(const StateWrites& changes);
  Status commit(std::span<const StoreWrite> writes) noexcept;
  Status append_to_store(std::span<const LogRecord> batch);
  uint32_t topic_number(std::string_view name);  // throws std::bad_alloc
  // older: than what the log is wanted for.
  bool take_message(uint64_t number, Bytes body, bool older) noexcept;
  bool on_entry(const LogEntry& entry) noexcept override;
  void on_damage(std::string_view text) noexcept override;
  // Room for as many bytes in gathered_. False without memory, or when there are too many.
  bool make_room(size_t bytes) noexcept;
  void note_appended(uint64_t number, uint64_t bytes) noexcept;
  void note_messages(std::span<const LogRecord> batch) noexcept;
  Status read_log(uint64_t number, Array<std::byte>& bodies) noexcept;
  Status fetch_from_store(uint64_t number, Array<std::byte>& bodies) noexcept;
  void say(LogLevel level, std::string_view text) noexcept;
  void say_failing(std::string_view what, Status status, std::string_view so) noexcept;
  Status append_batch(std::span<const LogRecord> batch);
  Status write(std::span<const LogRecord> batch);
  // What is held is written. Errors: as append().
  Status write_held();
  void tend_held(Instant now) noexcept;
  void tell_appending(Status status) noexcept;
  // A step of what set_needed() has begun.
  void move_some(Instant now) noexcept;
  Status move_step();
  // How much room is taken and left; looked at each second, in between what is known is enough.
  bool look_at_room(Instant now) noexcept;
  void note_room() noexcept;
  uint32_t spares() const noexcept;
  void tell_quota() noexcept;

  Disk* const disk_;
  Store& store_;
  const Options options_;
  std::unique_ptr<FileLog> log_;
  uint64_t seed_ = 0;
  uint32_t boot_ = 0;
  uint64_t last_number_ = 0;
  uint64_t followed_ = 0;        // the store has all changes up to this number
  uint64_t wanted_ = 1;          // no earlier message is needed
  uint64_t wanted_durable_ = 1;  // and this is what the store knows of that
  StateWrites gathered_;         // changes that the store has not followed
  Array<std::byte> bodies_;      // scratch of append()
  std::vector<LogEntry> entries_;
  std::vector<StoreWrite> writes_;
  StateWrites keys_;  // of a batch without files
  std::vector<LoadedMessage> loaded_;
  std::vector<uint64_t> loaded_journals_;                    // and positions, behind those of each
  std::unordered_map<std::string, uint32_t> topic_numbers_;  // of those with a time
  std::vector<const std::string*> loaded_topics_;            // in there
  uint32_t loaded_first_ = 0;                                // with its content
  uint64_t loaded_bytes_ = 0;                                // of those
  std::vector<std::string> namespaces_;
  struct Mark {
    uint64_t number = 0;
    uint64_t bytes = 0;  // of all messages up to it
  };
  Ring<Mark> marks_;  // behind what is evictable, about a megabyte apart
  uint64_t appended_bytes_ = 0, evictable_bytes_ = 0;
  uint64_t evictable_ = 0;
  Array<std::byte> fetched_;  // the worker's
  Array<FileLog::Found> found_;
  std::mutex store_mutex_;  // one commits at a time
  std::mutex read_mutex_;   // one reads from the log at a time
  // Messages that the log no longer has, or is about to drop: the store has them, in `Log`. By their numbers; those
  // from moving_.front() on are being moved.
  std::vector<uint64_t> moved_;
  std::vector<uint64_t> moving_;    // what is still to be moved, from moving_at_ on
  std::vector<uint64_t> unneeded_;  // of moved_: to be erased, from the end
  size_t moving_at_ = 0;
  uint64_t moving_up_to_ = 0;  // 0: nothing is being moved
  uint64_t moved_bytes_ = 0;   // of them in the store, about
  Array<std::byte> moved_body_;
  Instant swept_at_{};
  HeldRecords held_;
  Instant held_until_{};  // once something is
  Instant try_again_at_{};
  bool complained_ = false, append_failing_ = false;
  StoreQuota quota_;
  uint64_t store_bytes_ = 0;  // what the store has taken
  uint32_t freeing_ = 0;      // batches of the store that are still to come before it says what is free
  Instant room_looked_at_{};
  StoreAlarm told_ = StoreAlarm::Ok;  // of the quota and the disk
};

}  // namespace mqttq
