#include "store/memory_store.h"

#include <algorithm>
#include <bit>
#include <mutex>

#include "base/hash.h"

namespace mqttq {

// One entry: this, its links, key and value, in one block.
struct MemoryStore::Node {
  uint32_t value_size;
  uint16_t key_size;
  uint16_t level_count;

  Node** links() noexcept { return reinterpret_cast<Node**>(this + 1); }
  std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(links() + level_count); }
  Bytes key() noexcept { return {bytes(), key_size}; }
  Bytes value() noexcept { return {bytes() + key_size, value_size}; }
  size_t size() const noexcept { return sizeof(Node) + sizeof(Node*) * level_count + key_size + value_size; }
};

namespace {

bool before(Bytes one, Bytes other) noexcept { return as_text(one) < as_text(other); }

}  // namespace

MemoryStore::~MemoryStore() {
  for (auto& levels : heads_) {
    for (Node* node = levels[0]; node;) release(std::exchange(node, node->links()[0]));
  }
}

MemoryStore::Node* MemoryStore::make_node(const StoreWrite& write) noexcept {
  const uint64_t coin = hash_mix(++coin_, 0);
  Node shape{static_cast<uint32_t>(write.value.size()), static_cast<uint16_t>(write.key.size()),
             static_cast<uint16_t>(std::min(1 + std::countr_zero(coin) / 2, static_cast<int>(kLevels)))};
  void* block = allocate(shape.size());
  if (!block) return nullptr;
  Node* node = new (block) Node(shape);
  std::copy(write.key.begin(), write.key.end(), node->bytes());
  std::copy(write.value.begin(), write.value.end(), node->bytes() + node->key_size);
  return node;
}

MemoryStore::Node* MemoryStore::find(uint8_t table, Bytes key, Path* path) noexcept {
  Node** links = heads_[table];
  for (uint32_t level = kLevels; level-- > 0;) {
    while (links[level] && before(links[level]->key(), key)) links = links[level]->links();
    if (path) path->at[level] = &links[level];
  }
  return links[0];
}

void MemoryStore::erase(Path& path) noexcept {
  Node* ended = *path.at[0];
  for (uint32_t level = 0; level < ended->level_count; ++level) *path.at[level] = ended->links()[level];
  bytes_ -= ended->size();
  release(ended);
}

void MemoryStore::put(uint8_t table, Node& node) noexcept {
  Path path;
  Node* at = find(table, node.key(), &path);
  if (at && as_text(at->key()) == as_text(node.key())) erase(path);
  for (uint32_t level = 0; level < node.level_count; ++level) {
    node.links()[level] = *path.at[level];
    *path.at[level] = &node;
  }
  bytes_ += node.size();
}

void MemoryStore::apply(const StoreWrite& write) noexcept {
  Path path;
  switch (write.kind) {
    case StoreWrite::Kind::Put: {
      Node* node = made_;
      made_ = node->links()[0];
      put(write.table, *node);
      return;
    }
    case StoreWrite::Kind::Erase: {
      Node* at = find(write.table, write.key, &path);
      if (at && as_text(at->key()) == as_text(write.key)) erase(path);
      return;
    }
    case StoreWrite::Kind::EraseRange:
      find(write.table, write.key, &path);
      while (*path.at[0] && (write.value.empty() || before((*path.at[0])->key(), write.value))) {
        erase(path);
      }
      return;
  }
}

// All that the batch needs, before anything of it is done.
Status MemoryStore::make_nodes(std::span<const StoreWrite> writes) noexcept {
  Node* last = nullptr;
  uint64_t more = 0;
  Status status = Status::Ok;
  for (const StoreWrite& write : writes) {
    if (write.kind != StoreWrite::Kind::Put) continue;
    Node* node = make_node(write);
    if (!node) {
      status = Status::NoMemory;
      break;
    }
    node->links()[0] = nullptr;
    (last ? last->links()[0] : made_) = node;
    last = node;
    more += node->size();
  }
  if (status == Status::Ok && bytes_max_ && more && bytes_ + more > bytes_max_) status = Status::Full;
  if (status == Status::Ok) return status;
  while (made_) release(std::exchange(made_, made_->links()[0]));
  return status;
}

void MemoryStore::commit(std::span<const StoreWrite> writes, uint64_t batch, OnDurable on_durable,
                         void* user) noexcept {
  Status status;
  {
    const std::unique_lock lock(mutex_);
    status = make_nodes(writes);
    if (status == Status::Ok) {
      for (const StoreWrite& write : writes) apply(write);
    }
  }
  on_durable(user, batch, status);
}

Status MemoryStore::get(uint8_t table, Bytes key, Array<std::byte>& value) noexcept {
  const std::shared_lock lock(mutex_);
  Node* at = find(table, key);
  if (!at || as_text(at->key()) != as_text(key)) return Status::NotFound;
  value.clear();
  return value.append(at->value()) ? Status::Ok : Status::NoMemory;
}

Status MemoryStore::scan(uint8_t table, Bytes first, Bytes end, StoreVisitor& visitor) noexcept {
  const std::shared_lock lock(mutex_);
  for (Node* at = find(table, first); at; at = at->links()[0]) {
    if (!end.empty() && !before(at->key(), end)) break;
    if (!visitor.on_entry(at->key(), at->value())) break;
  }
  return Status::Ok;
}

StoreUsage MemoryStore::usage() noexcept {
  const std::shared_lock lock(mutex_);
  return {bytes_, bytes_max_};
}

}  // namespace mqttq
