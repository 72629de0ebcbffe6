// A store that lives as long as its process: what a broker without a data directory has.
#pragma once

#include <shared_mutex>

#include "store/store.h"

namespace mqttq {

class MemoryStore final : public Store {
 public:
  // bytes_max: of keys, values and what holds them; 0: as many as memory has. Over it a batch is refused, Full.
  explicit MemoryStore(uint64_t bytes_max = 0) noexcept : bytes_max_(bytes_max) {}
  ~MemoryStore() override;

  void commit(std::span<const StoreWrite> writes, uint64_t batch, OnDurable on_durable, void* user) noexcept override;
  Status get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept override;
  Status scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept override;
  StoreUsage usage() noexcept override;

 private:
  // A skip list for each table: of two neighbours on a level, on average every fourth stands on the one above.
  static constexpr uint32_t kLevels = 12;
  struct Node;
  struct Path {
    Node** at[kLevels];  // the links that lead to the place
  };

  Node* make_node(const StoreWrite& write) noexcept;
  Node* find(uint8_t table, Bytes key, Path* path = nullptr) noexcept;  // the first that is not before `key`
  void put(uint8_t table, Node& node) noexcept;
  void erase(Path& path) noexcept;  // the one that it leads to
  void apply(const StoreWrite& write) noexcept;
  Status make_nodes(std::span<const StoreWrite> writes) noexcept;

  const uint64_t bytes_max_;
  std::shared_mutex mutex_;
  Node* heads_[kTables][kLevels] = {};
  Node* made_ = nullptr;  // for the Puts of the batch that is carried out, in their order
  uint64_t bytes_ = 0;
  uint64_t coin_ = 0;
};

}  // namespace mqttq
