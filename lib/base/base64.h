// Bytes as text of 64 characters (RFC 4648, section 4), with padding.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace mqttq {

// Throw std::bad_alloc.
void append_base64(Bytes bytes, std::string& out);
// False: that is none; `out` then holds some of it.
bool read_base64(std::string_view text, std::vector<std::byte>& out);

}  // namespace mqttq
