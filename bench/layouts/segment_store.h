// Where the segments of `indexed` and `files` are: LMDB, or plain files. Only bytes; segmented.cc gives them meaning.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "layouts/layout.h"

namespace mqttq::layouts {

inline constexpr size_t kIndexPageSize = 4064;  // with LMDB's header it fills one overflow page
inline constexpr size_t kTrimsPerBlock = 250;   // two blocks to a page

struct SegmentInfo {
  uint32_t id = 0;         // rises with every segment made
  bool survivors = false;  // made by collection
  bool sealed = false;
  uint64_t first = 0;  // numbers of its messages, of a log segment; the last is known once it is sealed
  uint64_t last = 0;
  uint64_t records = 0;
  uint64_t bytes = 0;
  uint32_t pages = 0;                                 // of its index
  std::vector<std::pair<uint64_t, uint64_t>> ranges;  // survivors: the numbers that were whole log segments
  std::vector<uint32_t> replaces;                     // survivors: the segments that are gone when this one is sealed
};

// The settled positions, in blocks of kTrimsPerBlock journals.
struct TrimBlock {
  uint64_t index;
  std::span<const uint64_t> trims;
};

class SegmentStore {
 public:
  virtual ~SegmentStore() = default;

  // All that a restart needs besides the index pages: segments by id, and the trims into `trims`.
  [[nodiscard]] virtual std::vector<SegmentInfo> list(std::vector<uint64_t>& trims) = 0;
  // Must an index say where a record is, or does its number do?
  [[nodiscard]] virtual bool needs_position(bool survivors) const = 0;
  [[nodiscard]] virtual uint32_t checksum_seed(uint32_t segment) const = 0;
  // Of an unsealed log segment, in order, until the bytes are no record of it. The callback says how long each was.
  using Replay = std::function<size_t(std::string_view bytes, uint32_t position)>;
  virtual void replay(const SegmentInfo& segment, const Replay& replay) = 0;

  virtual void create(const SegmentInfo& segment) = 0;

  // One transaction appends records to one segment, or index pages of one segment. A commit that does not sync may be
  // lost until the next one that does.
  virtual void begin(const SegmentInfo& segment) = 0;
  virtual std::byte* append(uint64_t number, bool settlements, size_t size, uint32_t& position) = 0;
  virtual void put_page(uint32_t page, std::span<const std::byte> bytes) = 0;
  virtual void commit(bool sync) = 0;

  // Durable when it returns: the segment, its index, what it replaces being gone, and the trims.
  virtual void seal(const SegmentInfo& segment, std::span<const TrimBlock> trims) = 0;
  // Deletes some of a segment; true when it is gone.
  [[nodiscard]] virtual bool drop(const SegmentInfo& segment) = 0;

  // May a restart append to a segment that was open, or is what a torn commit left behind its end in the way?
  [[nodiscard]] virtual bool appends_after_restart() const = 0;

  // For reading: begin_read() before, end_read() after, or inside a transaction; what is returned is good until the
  // next call.
  virtual void begin_read() = 0;
  virtual void end_read() = 0;
  virtual std::string_view record(const SegmentInfo& segment, uint64_t number, uint32_t position) = 0;
  virtual std::string_view page(const SegmentInfo& segment, uint32_t page) = 0;

  virtual void hurry(bool on) = 0;
  [[nodiscard]] virtual bool syncs() const = 0;
  virtual void count(LayoutFigures& figures) const = 0;
};

[[nodiscard]] std::unique_ptr<SegmentStore> open_lmdb_segments(const LayoutOptions& options);
[[nodiscard]] std::unique_ptr<SegmentStore> open_file_segments(const LayoutOptions& options);

}  // namespace mqttq::layouts
