#include "router/filter.h"

#include "base/assert.h"

namespace mqttq {

Filter::Filter(NamespaceId namespace_id, std::string_view text, uint32_t shard_count) noexcept
    : namespace_id_(namespace_id),
      text_size_(static_cast<uint16_t>(text.size())),
      shard_count_(static_cast<uint16_t>(shard_count)) {
  for (uint32_t i = 0; i < shard_count; ++i) new (&locals()[i]) Local();
  std::memcpy(static_cast<void*>(locals() + shard_count), text.data(), text.size());
}

Filter::~Filter() {
  for (uint32_t i = 0; i < shard_count_; ++i) {
    destroy(locals()[i].journal);
    locals()[i].~Local();
  }
}

std::string_view Filter::text() const noexcept {
  auto* self = const_cast<Filter*>(this);
  return {reinterpret_cast<const char*>(self->locals() + shard_count_), text_size_};
}

}  // namespace mqttq
