// The log in files: every durable change, in batches, each on stable storage when append() returns (decision 13).
//
// A segment is a file "log-<id>" of records behind a header. A batch is one write and one sync; the next one begins
// when it is done, so that only the last can be torn. docs/STORE.md has the bytes.
#pragma once

#include <mutex>

#include "base/array.h"
#include "store/disk.h"

namespace mqttq {

struct LogEntry {
  uint64_t number = 0;  // greater than all before; never 0
  uint8_t kind = 0;     // the caller's
  Bytes body;           // borrowed
};

// A file of the log, for tools.
struct LogSegment {
  enum class Kind : uint8_t { Good, Empty, Damaged, Newer };
  uint64_t id = 0;
  Kind kind = Kind::Good;
  uint16_t format = 0;
  uint64_t bytes = 0;          // of the file
  uint64_t bytes_used = 0;     // up to the end of its last batch that counts
  bool more = false;           // and what stands behind it is not nothing: a batch that is torn, or was refused
  uint64_t previous_last = 0;  // the last number that was durable when it was begun
};

// Hears what the log holds when it is opened.
class LogReplay {
 public:
  // In the order of the numbers. False, without memory: the log is not opened.
  virtual bool on_entry(const LogEntry& entry) noexcept = 0;
  // Something that was durable is damaged, and skipped. text: for people.
  virtual void on_damage(std::string_view text) noexcept = 0;
  // Behind the entries of a good one; of another there are none, and it may come before its turn.
  virtual void on_segment(const LogSegment&) noexcept {}

 protected:
  ~LogReplay() = default;
};

// Used by one thread, but for read().
class FileLog {
 public:
  static constexpr uint16_t kFormat = 1;
  static constexpr size_t kBodySizeMax = size_t{288} << 20;  // a PUBLISH of the largest size and what we add
  struct Options {
    uint64_t segment_bytes = uint64_t{64} << 20;  // a batch that does not fit begins a new one, which may be longer
    uint64_t from = 0;  // the first number that is wanted: what was before it may have been dropped
    uint64_t seed =
        0;  // a secret, another one each time: sums are salted, so that nobody's payload looks like a record
    bool syncs = true;  // each batch, before append() returns; else the system writes it when it likes
  };

  // Tells `replay` every entry of every whole batch, from the first number wanted on. nullptr: `status` and `problem`,
  // for people, say why (Io, NotFound, Permission, NoMemory, Unsupported: a newer format). disk: borrowed, outlives it.
  static std::unique_ptr<FileLog> open(Disk& disk, const Options& options, LogReplay& replay, Status& status,
                                       std::string& problem);

  // For tools: tells what open() would, and writes and removes nothing; beside a broker that goes on, the last batch
  // may seem torn. What cannot be read, or is of a newer format, is told and skipped. Errors: NoMemory; Io, NotFound,
  // Permission of the directory.
  static Status replay_only(Disk& disk, uint64_t from, LogReplay& replay, std::string& problem);

  // The files of the log among `names`, by their ids, which grow.
  static std::vector<uint64_t> segments_among(std::span<const std::string> names);
  static std::string segment_name(uint64_t id);
  // Copies the file of a segment without the room behind its records, for a backup. open: a broker may be writing to
  // it; then its end may be torn, like that of a log whose broker was killed. kind: of Empty and Newer ones nothing is
  // copied. copied: bytes that were, and their sum. Errors: of either file; NoMemory. Throws std::bad_alloc.
  struct Copied {
    uint64_t bytes = 0;
    uint32_t sum = 0;  // CRC-32C
  };
  static Status copy_segment(File& from, uint64_t id, bool open, File& to, LogSegment::Kind& kind, Copied& copied);

  // On stable storage as a whole when it returns Ok. Else (Full, Io, NoMemory, Permission) nothing of it will be
  // replayed once a later batch has succeeded, and until then perhaps.
  Status append(std::span<const LogEntry> batch) noexcept;
  // Of the last batch that is durable; 0: none ever was.
  uint64_t last_number() const noexcept { return last_number_; }
  // The body of a record that is durable, behind what `bodies` holds. Errors: NotFound (dropped, or damaged), Io,
  // Permission, NoMemory. One thread at a time, any, beside the other calls. Numbers that grow are found fastest.
  Status read(uint64_t number, Array<std::byte>& bodies) noexcept;
  // The same of many that lie close behind the one that was read last, as they are in the file: what is between them
  // comes along. size: of the part of the file that is read at once. found: where each of the first is in `bodies`, as
  // many as one such read brings; of the next one read() says more.
  struct Found {
    uint32_t at = 0, size = 0;
  };
  void read_run(std::span<const uint64_t> numbers, uint32_t size, Array<std::byte>& bodies,
                Array<Found>& found) noexcept;
  // Gives up the segments that hold nothing from `number` on. After a crash they may be there again. spares: so many of
  // their files at most are kept to become segments once more, since writing over something costs less than writing
  // where nothing was; and no more than were begun since some were given up, or one. Errors: as append().
  Status drop_before(uint64_t number, uint32_t spares = kSparesMax) noexcept;
  static constexpr uint32_t kSparesMax = 4;

  uint32_t segment_count() const noexcept { return static_cast<uint32_t>(segments_.size()); }
  // Of all segments, as far as there are records in them.
  uint64_t record_bytes() const noexcept;
  // The last number of the oldest segments that are not longer than so much together, of one at least. Not of the one
  // that is being written, nor what a later one needs beside it; 0: there is no other.
  uint64_t last_of_oldest(uint64_t bytes_max) const noexcept;
  // Of all segments: whole ones as long as their files are, of the open one what is written. Without spares.
  uint64_t bytes_used() const noexcept { return bytes_ - (file_ ? segments_.back().bytes - offset_ : 0); }

 private:
  // Where a record begins; there is one for some kilobytes each, so that others are found from there.
  struct Place {
    uint64_t number = 0;
    uint64_t offset = 0;
  };
  struct Segment {
    uint64_t id = 0;
    uint64_t last_number = 0;
    uint64_t record_bytes = 0;  // up to the end of the last
    uint32_t salt = 0;
    std::vector<Place> places;
    uint64_t bytes = 0;  // of the file

    void note(uint64_t number, uint64_t offset);  // throws std::bad_alloc
  };
  // What read() has open, and the bytes around where it was last.
  struct Reading {
    uint64_t id = 0;
    std::unique_ptr<File> file;
    Array<std::byte> window;
    uint64_t window_at = 0;
    uint32_t salt = 0;
    uint64_t last_number = 0;  // of the file, when that was looked up
    Place next;                // of the record behind the last; 0: not known
  };
  class Reader;

  FileLog(Disk& disk, const Options& options) noexcept : disk_(disk), options_(options) {}
  Status replay(LogReplay& replay, std::string& problem);
  Status begin_segment() noexcept;
  Status make_segment(uint64_t id, std::unique_ptr<File>& file);
  void take_spare(const std::vector<std::string>& names);
  void drop_spares(uint32_t left) noexcept;
  Status write_ahead(size_t size) noexcept;
  Status look(uint64_t at, size_t size, Bytes& bytes) noexcept;
  Status find(uint64_t number, uint32_t salt, Place from, Array<std::byte>& bodies, bool gaps) noexcept;
  bool encode(std::span<const LogEntry> batch, size_t size) noexcept;

  Disk& disk_;
  const Options options_;
  bool only_replays_ = false;
  std::vector<Segment> segments_;  // oldest first; of the open one too
  std::unique_ptr<File> file_;     // the last segment, unless the next append begins another
  uint64_t offset_ = 0;            // where its next batch goes
  uint64_t written_to_ = 0;        // so much of it was written before: see write_ahead()
  uint32_t salt_ = 0;              // of its sums
  uint64_t next_id_ = 1;
  uint64_t last_number_ = 0;
  uint64_t bytes_ = 0;               // of all files
  std::vector<std::string> spares_;  // names of files as long as a segment
  uint32_t begun_ = 0;               // segments, since some were given up
  Array<std::byte> buffer_;
  std::mutex mutex_;  // of segments_, as far as read() looks at them
  Reading reading_;
};

}  // namespace mqttq
