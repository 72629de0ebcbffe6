// Who may connect, publish and subscribe: asked of the host, or of what is built in.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/slab.h"
#include "message/message.h"
#include "message/reason_code.h"

namespace mqttq {

enum class Verdict : uint8_t {
  Deny,
  Allow,
  Pending,  // the answer comes later
  Busy,     // cannot be asked now: 0x89 for a CONNECT, else a denial
};
enum class Action : uint8_t { Publish, Subscribe };

// Where an answer goes: a connection of a shard, and which of its questions. Stale ones are ignored, so that an answer
// may come late or twice.
struct AccessTicket {
  uint32_t shard = 0;
  SlabHandle connection;
  uint32_t question = 0;
};

// Borrowed for the call.
struct ConnectQuestion {
  AccessTicket ticket;
  NamespaceId namespace_id = kGlobalNamespace;
  ProtocolVersion version = ProtocolVersion::V5;
  std::string_view client_id;
  std::optional<std::string_view> user_name;
  std::optional<Bytes> password;
  std::string_view peer_address;
};

struct ActionQuestion {
  AccessTicket ticket;
  Action action = Action::Publish;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  NamespaceId namespace_id = kGlobalNamespace;
  std::string_view client_id;
  std::string_view user_name;
  std::string_view topic;  // a name or, for Subscribe, a filter
};

// Called on a shard's thread, so it answers at once or says Pending; a pending answer comes through the broker
// (ShardCore::on_access_answer). Nothing waits but the one connection.
class AccessControl {
 public:
  virtual ~AccessControl() = default;
  virtual Verdict connect(const ConnectQuestion& question) noexcept = 0;
  virtual Verdict act(const ActionQuestion& question) noexcept = 0;
};

}  // namespace mqttq
