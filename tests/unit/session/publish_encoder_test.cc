// PUBLISH as it leaves, against what codec::encode makes of the same message.
#include "session/publish_encoder.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <string>
#include <vector>

#include "base/random.h"

namespace mqttq {

namespace {

// Properties as text, in their order but for identifiers and expiry, whose place is free.
std::vector<std::string> properties_of(const codec::PublishView& view) {
  std::vector<std::string> others, free;
  codec::PropertyReader reader(view.properties);
  for (codec::Property property; reader.next(property);) {
    const std::string raw(as_text(reader.raw()));
    const bool moves =
        property.id == PropertyId::SubscriptionIdentifier || property.id == PropertyId::MessageExpiryInterval;
    (moves ? free : others).push_back(raw);
  }
  std::sort(free.begin(), free.end());
  others.insert(others.end(), free.begin(), free.end());
  return others;
}

}  // namespace

TEST_CASE("a message is encoded as the codec would", "[session][MQTT-3.3.2-6]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 5))));
  for (int round = 0; round < 2'000; ++round) {
    const auto version = static_cast<ProtocolVersion>(3 + random.below(3));
    const std::string topic(1 + random.below(random.below(30) == 0 ? 65'535 : 40), 't');
    const std::string payload(random.below(random.below(30) == 0 ? 200'000 : 200), 'p');
    std::vector<std::byte> properties;
    for (uint64_t i = random.below(5); i > 0; --i) {
      const std::string name(random.below(60), 'n');
      const size_t at = properties.size();
      properties.resize(at + 5 + name.size() + 1);
      codec::Writer writer(properties.data() + at);
      writer.u8(static_cast<uint8_t>(PropertyId::UserProperty));
      writer.prefixed(name);
      writer.prefixed(i % 2 ? "a" : "b");
    }
    std::vector<uint32_t> identifiers;
    for (uint64_t i = random.below(4); i > 0; --i) {
      identifiers.push_back(1 + static_cast<uint32_t>(random.below(1ull << random.below(28))));
    }
    const Instant now{static_cast<int64_t>(random.below(1'000'000'000'000))};
    MessageView view;
    view.topic_name = topic;
    view.payload = as_bytes(payload);
    view.properties = properties;
    uint32_t left_s = 0;
    if (random.below(2)) {
      const int64_t left_ns = static_cast<int64_t>(random.below(100'000'000'000)) - 20'000'000'000;
      view.expires_at = now + left_ns;
      left_s = left_ns <= 0 ? 0 : static_cast<uint32_t>((left_ns + kSecond - 1) / kSecond);
    }
    codec::PublishView fields;
    fields.qos = static_cast<Qos>(random.below(3));
    fields.dup = fields.qos != Qos::AtMostOnce && random.below(2);
    fields.retain = random.below(2);
    fields.packet_id = fields.qos == Qos::AtMostOnce ? 0 : static_cast<uint16_t>(1 + random.below(65'535));
    fields.subscription_identifiers = identifiers;

    const PublishEncoder encoder(view, fields, version, now);
    std::vector<std::byte> bytes(encoder.packet_size());
    std::byte* end = encoder.write_head(bytes.data());
    REQUIRE(static_cast<size_t>(end - bytes.data()) == encoder.head_size());
    if (!payload.empty()) std::memcpy(end, payload.data(), payload.size());

    codec::PublishView whole = fields;
    whole.topic_name = topic;
    whole.payload = as_bytes(payload);
    whole.properties = properties;
    whole.has_message_expiry = view.expires();
    whole.message_expiry_s = left_s;
    codec::Writer counting;
    codec::encode(whole, version, counting);
    REQUIRE(bytes.size() == counting.size());
    std::vector<std::byte> expected(counting.size());
    codec::Writer writing(expected.data());
    codec::encode(whole, version, writing);
    if (version != ProtocolVersion::V5) {
      REQUIRE(bytes == expected);
      continue;
    }
    const auto ours = codec::decode_publish(bytes, version), theirs = codec::decode_publish(expected, version);
    REQUIRE(ours.ok());
    REQUIRE(theirs.ok());
    REQUIRE(bytes[0] == expected[0]);
    REQUIRE(ours->topic_name == theirs->topic_name);
    REQUIRE(ours->packet_id == theirs->packet_id);
    REQUIRE(as_text(ours->payload) == as_text(theirs->payload));
    REQUIRE(properties_of(*ours) == properties_of(*theirs));
  }
}

}  // namespace mqttq
