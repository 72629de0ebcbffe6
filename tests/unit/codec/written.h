// Encodes into a buffer of just the size that was counted.
#pragma once

#include <vector>

#include "codec/codec.h"

namespace mqttq::codec {

// write(Writer&) is called twice. If it writes more than it counted, a sanitizer sees it; if less, nothing is returned.
template <class Write>
std::vector<std::byte> written(const Write& write) {
  Writer counter;
  write(counter);
  std::vector<std::byte> bytes(counter.size());
  Writer writer(bytes.data());
  write(writer);
  if (writer.size() != counter.size()) return {};
  return bytes;
}

}  // namespace mqttq::codec
