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
  Pending,   // the answer comes later; no answer itself
  Busy,      // cannot be asked now: 0x89 for a CONNECT, else a denial
  Continue,  // a later answer only, and only to a question with a method: the client is to say more
};
enum class Action : uint8_t { Publish, Subscribe, DeclareQueue };

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

  // Enhanced authentication (MQTT5 4.12): asked once for each packet of the client's that belongs to it.
  std::optional<std::string_view> authentication_method;
  Bytes authentication_data;      // of this packet, up to 65 535 bytes
  bool reauthentication = false;  // of a connection in use: the user name is what it is known by, the password absent
  uint8_t round = 0;              // 0: CONNECT, or the AUTH that begins again; then one for each AUTH that goes on
};

// So many times one authentication may be answered by Continue; one time more is a denial.
inline constexpr uint8_t kAuthenticationRoundsMax = 16;

struct ActionQuestion {
  AccessTicket ticket;
  Action action = Action::Publish;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  NamespaceId namespace_id = kGlobalNamespace;
  std::string_view client_id;
  std::string_view user_name;
  std::string_view topic;  // a name or, for Subscribe, a filter; for queues "$queue/{name}" and what it is a queue of
};

// What comes of a question that was Pending. Borrowed for the call.
struct AccessAnswer {
  Verdict verdict = Verdict::Deny;
  ReasonCode reason = ReasonCode::Success;  // why not; Success: not authorized
  Bytes authentication_data = {};           // with a method: Allow, Continue. Up to 65 535 bytes
  std::string_view user_name = {};          // Allow of a ConnectQuestion: who it is. Empty: as the client said
  std::string_view reason_string = {};      // Deny of a ConnectQuestion: for people
  std::string_view server_reference = {};   // the same, with 0x9C and 0x9D: where to go instead
};

// Called on a shard's thread, so it answers at once or says Pending; a pending answer comes through the broker
// (ShardCore::on_access_answer). Nothing waits but the one connection.
class AccessControl {
 public:
  virtual ~AccessControl() = default;
  virtual Verdict connect(const ConnectQuestion& question) noexcept = 0;
  virtual Verdict act(const ActionQuestion& question) noexcept = 0;
  // Is enhanced authentication by this method to be had? Only then connect() is asked with one.
  virtual bool offers(NamespaceId, std::string_view /*method*/) const noexcept { return false; }
};

}  // namespace mqttq
