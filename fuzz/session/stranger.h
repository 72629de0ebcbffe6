// A peer that sends any bytes, in a namespace of its own: whatever they do, the others are not to notice.
//
// It bears the client ids of the others and uses their topics. What it gets has to be a server's packets, and never a
// message of theirs.
#pragma once

#include "model.h"

namespace mqttq::fuzz {

class Stranger {
 public:
  static constexpr NamespaceId kNamespace = 7;

  Stranger(Broker& broker, const Model& model) : broker_(broker), model_(model) {}

  // Sends a CONNECT, over a new link: version 3.1, 3.1.1 or 5; or one that is too large.
  void connect(uint32_t version);
  // One of some packets, with the byte at `at` set to `value`.
  void send_changed(uint32_t kind, uint32_t at, uint8_t value);
  void send(Bytes bytes);
  void leave();
  bool read();
  void judge_rest() const;

 private:
  void open();
  void judge(Bytes packet, codec::PacketType type) const;

  Broker& broker_;
  const Model& model_;
  FuzzLink* link_ = nullptr;
  bool is_refused_ = false;
  std::vector<std::byte> out_, in_;  // on this link
};

}  // namespace mqttq::fuzz
