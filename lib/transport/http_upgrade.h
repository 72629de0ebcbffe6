// The opening handshake of a WebSocket (RFC 6455 4.2): a request of HTTP/1.1 is judged and answered. Pure functions.
#pragma once

#include "base/bytes.h"

namespace mqttq {

// SHA-1, which the answer is made with, comes with the library for TLS: a build without has no WebSocket.
#ifdef MQTTQ_WITH_TLS
inline constexpr bool kHasWebSocket = true;
#else
inline constexpr bool kHasWebSocket = false;
#endif

inline constexpr size_t kUpgradeRequestMax = 8192;  // bytes of a request, with the empty line at its end
inline constexpr size_t kUpgradeAnswerMax = 512;    // bytes

// Why a request is refused. Static.
struct UpgradeFault {
  uint16_t status;         // of HTTP
  const char* phrase;      // that goes with it
  const char* more_lines;  // fields of the answer, each with its end of line
  const char* text;        // for people: the answer's body, and the log's line
};
extern const UpgradeFault kUpgradeRequestTooLong, kUpgradeRequestMalformed;

struct Upgrade {
  const UpgradeFault* fault = nullptr;  // null: it is accepted
  std::string_view key;                 // of Sec-WebSocket-Key; borrowed from the request
  std::string_view subprotocol;         // the one of those offered that is chosen; static
};

// Whether what has come so far may still become a request: another protocol is answered at once, not when time is out.
bool begins_as_request(std::string_view bytes) noexcept;

// request: whole, up to its empty line. path: where the WebSocket is, compared byte by byte; what a request has behind
// '?' does not matter.
Upgrade judge_upgrade(std::string_view request, std::string_view path) noexcept;

// The answer to what was judged. out: kUpgradeAnswerMax bytes at least. Returns its size.
size_t write_upgrade_answer(const Upgrade& upgrade, std::span<char> out) noexcept;

// A path that a listener may have: it begins with '/' and consists of what stands for itself in a request.
bool is_websocket_path(std::string_view path) noexcept;

}  // namespace mqttq
