// What bench_layouts asks of a way to lay durable messages out on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "layouts/record.h"

namespace mqttq::layouts {

struct LayoutOptions {
  std::string directory;
  uint64_t journals = 1;                // their numbers are 0..journals-1
  uint64_t bound_bytes = 64 << 20;      // of the log before it is moved, or of a segment
  double collect_share = 0.5;           // a segment with fewer live records than this is collected
  bool write_map = false;               // MDB_WRITEMAP
  bool tables = false;                  // a table per segment of the log, emptied by mdb_drop
  std::string preallocate = "reserve";  // none, reserve (fallocate), zero (written ahead), reuse (old files again)
};

// Bytes and things that only the layout can count.
struct LayoutFigures {
  uint64_t syncs = 0;           // two for a commit of LMDB
  uint64_t memory_fixed = 0;    // bytes in memory that grow with the journals only
  uint64_t memory_varying = 0;  // and those that grow with the backlog
  uint64_t segments = 0;
  uint64_t moved_entries = 0;  // entries moved, or listed in an index
  uint64_t collected = 0;      // records copied by collection
  uint64_t bytes_read = 0;     // asked for by pread; LMDB's map is not counted here
};

// Owned and called by one thread. Throws std::runtime_error when the disk or the library below fails.
class Layout {
 public:
  // The record is good until the callback returns; false ends the reading.
  using Reader = std::function<bool(const Record&)>;

  virtual ~Layout() = default;

  // Makes messages and settlements durable: one group commit, done when this returns.
  //   messages  numbers go on where the last batch ended
  //   settled   entries that their journals are done with, each journal's in order; written with the same commit
  virtual void append(std::span<const Message> messages, std::span<const Entry> settled) = 0;

  // What may wait: called between commits, does a slice when one is due.
  virtual void work() = 0;

  // The unsettled messages of a journal from a number on, in order.
  virtual void read(uint64_t journal, uint64_t from, const Reader& reader) = 0;

  // The highest number that is on disk; 0 if none.
  [[nodiscard]] virtual uint64_t last_number() const = 0;

  // On: commits do not sync, to fill a store quickly before measuring. Off: syncs all there is.
  virtual void hurry(bool on) = 0;
  [[nodiscard]] virtual bool syncs() const = 0;
  [[nodiscard]] virtual LayoutFigures figures() const = 0;
};

// Opens what the directory holds and rebuilds what is kept in memory. Unknown names give nullptr.
[[nodiscard]] std::unique_ptr<Layout> open_layout(const std::string& name, const LayoutOptions& options);

[[nodiscard]] std::unique_ptr<Layout> open_direct(const LayoutOptions& options);
[[nodiscard]] std::unique_ptr<Layout> open_moved(const LayoutOptions& options);
[[nodiscard]] std::unique_ptr<Layout> open_indexed(const LayoutOptions& options);
[[nodiscard]] std::unique_ptr<Layout> open_files(const LayoutOptions& options);

}  // namespace mqttq::layouts
