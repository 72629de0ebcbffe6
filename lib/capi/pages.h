// Lists of what lives on all shards, a page at a time: what lives through all calls is met once.
#pragma once

#include "capi/handles.h"

namespace mqttq::capi {

// Visits the objects of one slab of each shard from `cursor` on (0: the first page).
//   slab_of  ShardCore& -> what has at() and index_end() as a Slab.
//   take     (shard, object, now) -> false: the page was full before this object.
// Returns the cursor of the next page, 0 at the end. What is thrown goes through.
template <class SlabOf, class Take>
uint64_t walk_page(mqttq_broker& broker, uint64_t cursor, SlabOf&& slab_of, Take&& take) {
  uint32_t shard = 0, index = 0;  // the place at which to go on
  if (cursor) {
    shard = static_cast<uint32_t>((cursor - 1) >> 32);
    index = static_cast<uint32_t>(cursor - 1);
  }
  uint64_t next = 0;
  for (; shard < broker.broker->shard_count() && !next; ++shard, index = 0) {
    broker.on_shard(shard, [&](ShardCore& core, Instant now) {
      auto& slab = slab_of(core);
      for (; index < slab.index_end(); ++index) {
        auto* object = slab.at(index);
        if (!object || take(shard, *object, now)) continue;
        next = (uint64_t{shard} << 32 | index) + 1;
        return;
      }
    });
  }
  return next;
}

}  // namespace mqttq::capi
