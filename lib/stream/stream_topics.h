// The topics of a stream's messages, each by a small number that its entries have: who reads what a narrower filter
// matches judges each topic once, and passes over the entries of the others without reading them.
#pragma once

#include "base/array.h"
#include "base/hash_table.h"
#include "base/owned_text.h"

namespace mqttq {

// Owned by one shard and touched only there.
class StreamTopics {
 public:
  static constexpr uint32_t kUnknown = UINT32_MAX;  // there was no memory for it

  StreamTopics() noexcept = default;
  StreamTopics(const StreamTopics&) = delete;
  StreamTopics& operator=(const StreamTopics&) = delete;
  ~StreamTopics();

  // An entry more has this topic. Returns its number, or kUnknown.
  uint32_t enter(std::string_view name) noexcept;
  // An entry less; kUnknown is fine.
  void leave(uint32_t topic) noexcept;
  // Of one that some entry has.
  std::string_view name(uint32_t topic) const noexcept { return by_number_[topic]->name.view(); }
  bool is_used(uint32_t topic) const noexcept { return by_number_[topic] != nullptr; }
  // All numbers are below.
  uint32_t end() const noexcept { return by_number_.count(); }
  // Count up when there is a new one; when a number means another topic than before.
  uint64_t changes() const noexcept { return changes_; }
  uint64_t reuses() const noexcept { return reuses_; }

 private:
  struct Topic : HashLink<Topic> {
    OwnedText name;
    uint32_t number = 0;
    uint64_t count = 0;
  };
  HashTable<Topic> by_name_;
  Array<Topic*> by_number_;  // null: nobody has it
  Array<uint32_t> free_;     // with room for all numbers
  uint64_t changes_ = 0, reuses_ = 0;
};

}  // namespace mqttq
