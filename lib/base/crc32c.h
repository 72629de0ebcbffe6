// CRC-32C (Castagnoli), as of iSCSI and ext4: what is torn or decayed is taken for sound once in four billion times.
#pragma once

#include "base/bytes.h"

namespace mqttq {

// Of `bytes` behind those of which `before` is the sum; 0 for the first.
uint32_t crc32c(Bytes bytes, uint32_t before = 0) noexcept;
// The same where the processor has no instruction for it.
uint32_t crc32c_by_table(Bytes bytes, uint32_t before = 0) noexcept;

}  // namespace mqttq
