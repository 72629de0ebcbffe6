// UNSUBSCRIBE: decoded, encoded and decoded again. codec_fuzz.h says what an input is.
#include "codec_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mqttq;
  using namespace mqttq::codec;
  using namespace mqttq::codec::fuzz;
  const Input input = read_input(data, size);
  const auto decode = [&](Bytes packet) { return decode_unsubscribe(packet, input.version); };
  check_round_trip(input, decode);
  const auto packet = decode(input.packet);
  if (!packet.ok()) return 0;
  uint32_t count = 0;
  UnsubscribeReader reader(packet->entries);
  for (std::string_view topic_filter; reader.next(topic_filter);) {
    require(is_valid_utf8(topic_filter), "filters are UTF-8");
    count += 1;
  }
  require(count == packet->entry_count && count > 0, "as many filters are read as were counted");
  return 0;
}
