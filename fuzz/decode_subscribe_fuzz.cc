// SUBSCRIBE: decoded, encoded and decoded again. codec_fuzz.h says what an input is.
#include "codec_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mqttq;
  using namespace mqttq::codec;
  using namespace mqttq::codec::fuzz;
  const Input input = read_input(data, size);
  const auto decode = [&](Bytes packet) { return decode_subscribe(packet, input.version); };
  check_round_trip(input, decode);
  const auto packet = decode(input.packet);
  if (!packet.ok()) return 0;
  uint32_t count = 0;
  SubscribeReader reader(packet->entries, input.version);
  for (SubscribeEntry entry; reader.next(entry);) {
    require(is_valid_utf8(entry.topic_filter), "filters are UTF-8");
    require(entry.options.qos <= Qos::ExactlyOnce, "there is no QoS 3");
    count += 1;
  }
  require(count == packet->entry_count && count > 0, "as many filters are read as were counted");
  return 0;
}
