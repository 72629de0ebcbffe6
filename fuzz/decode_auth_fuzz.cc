// AUTH: decoded, encoded and decoded again. codec_fuzz.h says what an input is.
#include "codec_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mqttq;
  using namespace mqttq::codec;
  using namespace mqttq::codec::fuzz;
  const Input input = read_input(data, size);
  check_round_trip(input, [&](Bytes packet) { return decode_auth(packet); });
  return 0;
}
