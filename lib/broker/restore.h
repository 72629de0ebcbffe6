// From what was kept to a broker that goes on where it ended.
#pragma once

#include <functional>
#include <string>

#include "session/shard_core.h"
#include "store/data_directory.h"

namespace mqttq {

struct Restored {
  uint64_t sessions = 0, subscriptions = 0, queues = 0, streams = 0;
  uint64_t messages = 0, inflight = 0, retained = 0, delayed = 0;
  int64_t newest_us = 0;  // of Unix time: no message is to be timed before
  uint64_t lost = 0;      // entries that were damaged, or belong to nothing any more
};

// Before any shard runs, from one thread. shard(i): core i of as many as the router has. Errors: NoMemory, Io, Full (a
// limit is below what was kept); `problem` says what. log: nullable; hears every second how far it is.
Status restore(DataDirectory& directory, Router& router, const std::function<ShardCore&(uint32_t)>& shard, Instant now,
               LogSink* log, Restored& restored, std::string& problem);

}  // namespace mqttq
