// Topic aliases towards one client (MQTT5 3.3.2.3.4): a topic that repeats is named once, and then by a number.
#pragma once

#include <string_view>

#include "base/alloc.h"
#include "base/hash.h"

namespace mqttq {

// Owned by one connection whose client takes aliases. Bounded: a place for each alias, in which a topic has to come
// twice before it takes it, so that topics that come once cost nothing but their hash. A topic that is met twice while
// another holds its place takes that alias over.
class OutgoingAliases {
 public:
  // Topics of up to so many bytes gain nothing; of more are not kept.
  static constexpr size_t kTopicSizeLeast = 4, kTopicSizeMax = 1024;

  // count: aliases, 1..65535. nullptr when the allocator refuses; ended by destroy().
  static OutgoingAliases* make(uint16_t count, uint64_t seed) noexcept {
    void* block = allocate(sizeof(OutgoingAliases) + sizeof(Place) * count);
    return block ? new (block) OutgoingAliases(count, seed) : nullptr;
  }
  OutgoingAliases(const OutgoingAliases&) = delete;
  OutgoingAliases& operator=(const OutgoingAliases&) = delete;
  ~OutgoingAliases() {
    for (uint16_t i = 0; i < count_; ++i) release(places()[i].text);
  }

  // known: the client has been told what it stands for, so that the topic is left out.
  struct Choice {
    uint16_t alias = 0;  // 0: none, the topic goes alone
    bool known = false;
  };
  // For a message on `topic_name` that is sent now; if it is not sent after all, forget() what was not known.
  Choice choose(std::string_view topic_name) noexcept {
    if (topic_name.size() < kTopicSizeLeast || topic_name.size() > kTopicSizeMax) return {};
    const uint64_t hash = hash_text(topic_name, seed_);
    const auto index = static_cast<uint16_t>(hash % count_);
    Place& place = places()[index];
    const auto alias = static_cast<uint16_t>(index + 1);
    if (place.text && place.hash == hash && topic_name == std::string_view(place.text, place.size))
      return {alias, true};
    if (place.candidate != hash) {
      place.candidate = hash;
      return {};
    }
    auto* text = static_cast<char*>(allocate(topic_name.size()));
    if (!text) return {};
    std::memcpy(text, topic_name.data(), topic_name.size());
    release(place.text);
    place.text = text;
    place.size = static_cast<uint16_t>(topic_name.size());
    place.hash = hash;
    return {alias, false};
  }
  void forget(Choice choice) noexcept {
    if (!choice.alias || choice.known) return;
    Place& place = places()[choice.alias - 1];
    release(place.text);
    place.text = nullptr;
  }

 private:
  struct Place {
    char* text = nullptr;  // owned; what the alias stands for
    uint64_t hash = 0;
    uint64_t candidate = 0;  // hash of the last other topic that came
    uint16_t size = 0;
  };
  OutgoingAliases(uint16_t count, uint64_t seed) noexcept : seed_(seed), count_(count) {
    for (uint16_t i = 0; i < count; ++i) new (&places()[i]) Place();
  }
  Place* places() noexcept { return reinterpret_cast<Place*>(this + 1); }

  const uint64_t seed_;
  const uint16_t count_;
};

}  // namespace mqttq
