// Messages of a stream as lines of JSON, and back: how they leave a broker and come into another.
#pragma once

#include <string>
#include <vector>

#include "message/message.h"
#include "router/stream_place.h"

namespace mqttq::capi {

// Throws std::bad_alloc. unix_offset_ms: from our clock to Unix time.
void append_line(const Message& message, const StreamAt& at, int64_t unix_offset_ms, std::string& out);

struct ReadLine {
  MessageRef message;
  uint64_t line = 0;  // its number, from 1
};
// Adds the message of each line, with its time; lines without any character are none. Returns what is wrong with the
// first that is no such line, with its number, or nothing. Throws std::bad_alloc.
std::string read_lines(std::string_view text, NamespaceId namespace_id, int64_t unix_offset_ms,
                       std::vector<ReadLine>& out);

// Whether this library can: it reads JSON by simdjson.
bool reads_lines() noexcept;

}  // namespace mqttq::capi
