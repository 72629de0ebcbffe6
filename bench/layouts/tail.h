// The entries of one stretch of the log, chained by journal: 4 bytes per journal and 12 per entry.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mqttq::layouts {

class Tail {
 public:
  struct Item {
    uint64_t number;
    uint32_t position;
  };

  explicit Tail(uint64_t journals) : heads_(journals, kNone) {}

  // first: no number below it will be added.
  void clear(uint64_t first) {
    first_ = first;
    std::ranges::fill(heads_, kNone);
    nodes_.clear();
  }

  // Numbers rise within a journal.
  void add(uint64_t journal, uint64_t number, uint32_t position) {
    nodes_.push_back({static_cast<uint32_t>(number - first_), position, heads_[journal]});
    heads_[journal] = static_cast<uint32_t>(nodes_.size() - 1);
  }

  // Appends the journal's entries above `number`, in order.
  void collect(uint64_t journal, uint64_t above, std::vector<Item>& out) const {
    const auto begin = static_cast<std::ptrdiff_t>(out.size());
    for (uint32_t at = heads_[journal]; at != kNone; at = nodes_[at].before) {
      const Node& node = nodes_[at];
      if (first_ + node.offset <= above) break;
      out.push_back({first_ + node.offset, node.position});
    }
    std::reverse(out.begin() + begin, out.end());
  }

  [[nodiscard]] uint64_t first() const { return first_; }
  [[nodiscard]] size_t size() const { return nodes_.size(); }
  [[nodiscard]] size_t memory_fixed() const { return heads_.capacity() * sizeof heads_[0]; }
  [[nodiscard]] size_t memory_varying() const { return nodes_.capacity() * sizeof(Node); }

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  struct Node {
    uint32_t offset;  // number less first_
    uint32_t position;
    uint32_t before;  // the journal's entry before this one
  };

  uint64_t first_ = 1;
  std::vector<uint32_t> heads_;  // per journal its newest node
  std::vector<Node> nodes_;
};

}  // namespace mqttq::layouts
