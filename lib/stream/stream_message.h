// What a stream adds to its messages on their way out: user properties that say where each stands.
#pragma once

#include <string_view>

#include "base/array.h"
#include "stream/stream.h"

namespace mqttq {

// User properties.
inline constexpr std::string_view kStreamOffsetProperty = "stream-offset";  // of SUBSCRIBE too
inline constexpr std::string_view kStreamCursorProperty = "stream-cursor",
                                  kStreamGroupProperty = "stream-group";  // its
inline constexpr std::string_view kStreamTimeProperty = "stream-ts";
inline constexpr std::string_view kStreamKeyProperty = "stream-key";
inline constexpr std::string_view kStreamSkippedProperty = "stream-skipped";

// As on the wire of version 5, in place of what `out` held. key: at most 65 535 bytes; null: it has none. False without
// memory.
bool write_stream_properties(const StreamAt& at, std::string_view key, Array<std::byte>& out) noexcept;

}  // namespace mqttq
