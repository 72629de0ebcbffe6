#include "store/held_records.h"

#include <algorithm>
#include <map>
#include <string>

namespace mqttq {

Status HeldRecords::take(std::span<const LogRecord> batch) noexcept {
  const size_t messages = messages_.size(), journals = journals_.size();
  size_t changes = 0;
  for (const LogRecord& record : batch) changes += record.state.size();
  try {
    if (!changes_.reserve(changes)) return Status::NoMemory;
    size_t bytes = changes;
    for (const LogRecord& record : batch) {
      if (!record.message) continue;
      messages_.push_back({record.number, MessageRef::share(*record.message), static_cast<uint32_t>(journals_.size()),
                           static_cast<uint32_t>(record.journals.size()),
                           static_cast<uint32_t>(record.positions.size())});
      journals_.insert(journals_.end(), record.journals.begin(), record.journals.end());
      journals_.insert(journals_.end(), record.positions.begin(), record.positions.end());
      bytes += record.message->content_size();
    }
    bytes_ += bytes;
  } catch (const std::bad_alloc&) {
    messages_.resize(messages);
    journals_.resize(journals);
    return Status::NoMemory;
  }
  for (const LogRecord& record : batch) {
    if (record.message || record.state.empty()) continue;
    static_cast<void>(changes_.append(record.state, record.number));  // it is whole, and there is room
    changes_number_ = record.number;
  }
  return Status::Ok;
}

// A range that is erased goes first, with all of its keys that were put before; what is put later is put after all of
// them.
bool HeldRecords::put_changes_together() {
  using Key = std::pair<uint8_t, std::string>;
  std::map<Key, StoreWrite> last;
  std::vector<StoreWrite> ranges;
  StateReader reader(changes_.bytes());
  for (StoreWrite write; reader.next(write);) {
    Key key{write.table, as_text(write.key)};
    if (write.kind != StoreWrite::Kind::EraseRange) {
      last.insert_or_assign(std::move(key), write);
      continue;
    }
    const auto first = last.lower_bound(key);
    const Key end =
        write.value.empty() ? Key(static_cast<uint8_t>(write.table + 1), "") : Key(write.table, as_text(write.value));
    last.erase(first, last.lower_bound(end));
    ranges.push_back(write);
  }
  together_.clear();
  for (const StoreWrite& write : ranges) together_.add(write);
  for (const auto& [key, write] : last) together_.add(write);
  return !together_.take_failure();
}

std::span<const LogRecord> HeldRecords::put_together() {
  if (!put_changes_together()) throw std::bad_alloc();
  batch_.clear();
  for (const Held& held : messages_) {
    if (held.message.only()) continue;  // settled: nobody can ask for it any more
    const std::span numbers = std::span(journals_).subspan(held.first_journal);
    batch_.push_back({held.number,
                      held.message.get(),
                      numbers.first(held.journal_count),
                      {},
                      numbers.subspan(held.journal_count, held.position_count)});
  }
  if (!changes_.empty()) {
    const auto at = std::lower_bound(batch_.begin(), batch_.end(), changes_number_,
                                     [](const LogRecord& one, uint64_t number) { return one.number < number; });
    batch_.insert(at, {changes_number_, nullptr, {}, together_.bytes(), {}});
  }
  return batch_;
}

void HeldRecords::clear() noexcept {
  messages_.clear();
  journals_.clear();
  changes_.clear();
  bytes_ = 0;
}

}  // namespace mqttq
