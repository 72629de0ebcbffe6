// A disk that loses what was not synced: of every write any of its sectors, of the directory any of its changes. Calls
// fail when they are told to.
#pragma once

#include <algorithm>
#include <map>
#include <vector>

#include "base/random.h"
#include "store/disk.h"

namespace mqttq {

class SimulatedDisk final : public Disk {
 public:
  static constexpr size_t kSector = 512;

  explicit SimulatedDisk(uint64_t seed) : random_(seed) {}

  // The power goes, and comes again. Files that are open are of no use any more.
  void cut_power() {
    for (auto& [name, node] : nodes_) {
      for (const Write& write : node->unsynced) {
        for (size_t at = 0; at < write.bytes.size();) {  // sector by sector, as they lie on the disk
          const size_t size = std::min(write.bytes.size() - at, kSector - (write.offset + at) % kSector);
          if (random_.below(2)) apply(node->durable, write.offset + at, Bytes(write.bytes).subspan(at, size));
          at += size;
        }
      }
      node->unsynced.clear();
      node->now = node->durable;
    }
    // What was made may be gone, and what was removed be back.
    Nodes kept = synced_nodes_;
    for (const auto& [name, node] : nodes_) {
      if (!synced_nodes_.contains(name) && random_.below(2)) kept[name] = node;
    }
    for (const auto& [name, node] : synced_nodes_) {
      if (!nodes_.contains(name) && random_.below(2)) kept.erase(name);
    }
    for (const auto& [name, node] : kept) {
      node->unsynced.clear();
      node->now = node->durable;
    }
    nodes_ = synced_nodes_ = kept;
  }

  // The `after`-th call from now that may fail does, with `status`, and all that follow while `lasting`.
  void fail(uint64_t after, Status status, bool lasting) {
    fail_after_ = after;
    fail_with_ = status;
    fail_lasting_ = lasting;
  }
  void heal() {
    fail_after_ = UINT64_MAX;
    failed_ = false;
  }
  // Some call has failed since it was told to.
  bool failing() const { return failed_; }
  // Calls that could have failed.
  uint64_t calls() const { return calls_; }
  uint64_t bytes_written() const { return bytes_written_; }

  // Has from now on what `other` has.
  void copy(const SimulatedDisk& other) {
    nodes_.clear();
    for (const auto& [name, node] : other.nodes_) {
      nodes_[name] = std::make_shared<Node>(*node);
      nodes_[name]->open = 0;
    }
    synced_nodes_ = nodes_;
  }
  // One byte of one file is another from now on.
  void damage(const std::string& name, uint64_t offset) {
    auto& node = *nodes_.at(name);
    for (auto* bytes : {&node.durable, &node.now}) {
      if (offset < bytes->size()) (*bytes)[offset] ^= std::byte{0x10};
    }
  }
  std::vector<std::byte>& bytes(const std::string& name) { return nodes_.at(name)->now; }
  size_t file_count() const { return nodes_.size(); }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, node] : nodes_) all.push_back(name);
    return all;
  }

  Status open(const std::string& name, bool make, std::unique_ptr<File>& file) noexcept override {
    if (const Status status = call(); status != Status::Ok) return status;
    auto& node = nodes_[name];
    if (make) node = std::make_shared<Node>();
    if (!node) {
      nodes_.erase(name);
      return Status::NotFound;
    }
    file = std::make_unique<SimulatedFile>(*this, node);
    return Status::Ok;
  }
  Status remove(const std::string& name) noexcept override {
    if (const Status status = call(); status != Status::Ok) return status;
    return nodes_.erase(name) ? Status::Ok : Status::NotFound;
  }
  Status rename(const std::string& from, const std::string& to) noexcept override {
    if (const Status status = call(); status != Status::Ok) return status;
    const auto at = nodes_.find(from);
    if (at == nodes_.end()) return Status::NotFound;
    nodes_[to] = at->second;
    nodes_.erase(from);
    return Status::Ok;
  }
  Status rename_unread(const std::string& from, const std::string& to) noexcept override {
    const auto at = nodes_.find(from);
    return at != nodes_.end() && at->second->open ? Status::Busy : rename(from, to);
  }
  Status list(std::vector<std::string>& names) noexcept override {
    if (const Status status = call(); status != Status::Ok) return status;
    names = this->names();
    return Status::Ok;
  }
  Status sync() noexcept override {
    if (const Status status = call(); status != Status::Ok) return status;
    synced_nodes_ = nodes_;
    return Status::Ok;
  }

 private:
  struct Write {
    uint64_t offset;
    std::vector<std::byte> bytes;
  };
  struct Node {
    std::vector<std::byte> durable, now;
    std::vector<Write> unsynced;
    int open = 0;  // files
  };
  using Nodes = std::map<std::string, std::shared_ptr<Node>>;

  class SimulatedFile final : public File {
   public:
    SimulatedFile(SimulatedDisk& disk, std::shared_ptr<Node> node) : disk_(disk), node_(std::move(node)) {
      ++node_->open;
    }
    ~SimulatedFile() override { --node_->open; }
    Status read(uint64_t offset, std::span<std::byte> into, size_t& got) noexcept override {
      got = 0;
      if (const Status status = disk_.call(); status != Status::Ok) return status;
      if (offset < node_->now.size()) got = std::min(into.size(), static_cast<size_t>(node_->now.size() - offset));
      std::copy_n(node_->now.begin() + static_cast<ptrdiff_t>(std::min<uint64_t>(offset, node_->now.size())), got,
                  into.begin());
      return Status::Ok;
    }
    Status write(uint64_t offset, Bytes bytes) noexcept override {
      const Status status = disk_.call();
      if (status != Status::Ok) bytes = bytes.first(disk_.random_.below(bytes.size() + 1));  // a part got there
      node_->unsynced.push_back({offset, {bytes.begin(), bytes.end()}});
      disk_.bytes_written_ += bytes.size();
      apply(node_->now, offset, bytes);
      return status;
    }
    Status reserve(uint64_t size) noexcept override {
      if (const Status status = disk_.call(); status != Status::Ok) return status;
      for (auto* bytes : {&node_->durable, &node_->now}) bytes->resize(std::max<size_t>(bytes->size(), size));
      return Status::Ok;
    }
    Status cut(uint64_t size) noexcept override {
      if (const Status status = disk_.call(); status != Status::Ok) return status;
      for (auto* bytes : {&node_->durable, &node_->now}) bytes->resize(std::min<size_t>(bytes->size(), size));
      return Status::Ok;
    }
    // One that fails leaves some of it on the disk, and forgets that there was any: a later one is no proof.
    Status sync() noexcept override {
      const Status status = disk_.call();
      for (const Write& write : node_->unsynced) {
        if (status == Status::Ok || disk_.random_.below(2)) apply(node_->durable, write.offset, write.bytes);
      }
      node_->unsynced.clear();
      return status;
    }

   private:
    SimulatedDisk& disk_;
    const std::shared_ptr<Node> node_;
  };

  static void apply(std::vector<std::byte>& to, uint64_t offset, Bytes bytes) {
    if (to.size() < offset + bytes.size()) to.resize(offset + bytes.size());
    std::copy(bytes.begin(), bytes.end(), to.begin() + static_cast<ptrdiff_t>(offset));
  }
  Status call() {
    ++calls_;
    if (fail_after_ == UINT64_MAX) return Status::Ok;
    if (fail_after_ > 0) {
      --fail_after_;
      return Status::Ok;
    }
    if (!fail_lasting_) heal();
    failed_ = true;
    return fail_with_;
  }

  Random random_;
  Nodes nodes_, synced_nodes_;
  uint64_t calls_ = 0;
  uint64_t bytes_written_ = 0;
  uint64_t fail_after_ = UINT64_MAX;
  Status fail_with_ = Status::Io;
  bool fail_lasting_ = false, failed_ = false;
};

}  // namespace mqttq
