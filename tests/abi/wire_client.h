// A client that speaks MQTT 5 byte by byte over a blocking socket: what a broker's host does not see of itself.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mqttq::abi {

inline constexpr int kTimeoutMs = 20'000;  // for anything that is to happen; only a failing test waits so long

struct ConnectOptions {
  std::string client_id;
  std::string user_name;  // "" = none
  std::string password;   // "" = none
  uint32_t session_expiry_s = 0;
  bool clean_start = true;
  std::string auth_method;  // "" = none
  std::string auth_data;    // with a method
  std::string properties;   // others, encoded
};

// Packets of version 5.0 without properties but those that are named; each may be up to 16 383 bytes.
std::string connect_packet(const ConnectOptions& options);
std::string subscribe_packet(uint16_t packet_id, std::string_view topic_filter, uint8_t qos);
// packet_id counts above QoS 0. properties: encoded, without their length.
std::string publish_packet(std::string_view topic, std::string_view payload, uint8_t qos = 0, uint16_t packet_id = 0,
                           std::string_view properties = {}, bool retain = false);
std::string ping_packet();
std::string auth_packet(uint8_t reason_code, std::string_view method, std::string_view data);
// "ABC" as two bytes of length and the text.
std::string wire_text(std::string_view text);

// What an AUTH, CONNACK or DISCONNECT says. Throws if `packet` is none of them.
struct Answer {
  uint8_t type = 0;  // 0xF0, 0x20 or 0xE0
  uint8_t reason_code = 0;
  std::string method, data, reason_string, server_reference, response_information;
};
Answer read_answer(std::string_view packet);

class WireClient {
 public:
  // address: "127.0.0.1:40123". Throws std::runtime_error, as every function here.
  explicit WireClient(std::string_view address);
  ~WireClient();
  WireClient(const WireClient&) = delete;
  WireClient& operator=(const WireClient&) = delete;

  WireClient& send(std::string_view bytes);
  // The next packet, whole; "" when the connection has ended. Throws when nothing comes in time.
  std::string read();
  // Something has come that was not read.
  bool has_packet() const;
  // True if the next packet answers a PINGREQ sent now: all that the broker had to say before is read.
  bool nothing_but_ping();
  // Sends CONNECT and returns the reason code of the CONNACK, or 256 if the connection ended instead.
  int connect(const ConnectOptions& options);
  // Sends SUBSCRIBE and returns the reason code of the SUBACK.
  int subscribe(std::string_view topic_filter, uint8_t qos);
  // Ends the connection as if the machine had gone: what is underway is answered by a reset.
  void vanish() noexcept;
  int descriptor() const noexcept { return socket_; }

 private:
  bool fill(size_t size);

  int socket_ = -1;
  std::string buffer_;
};

// What a PUBLISH says: its topic, payload and properties. Throws if `packet` is none.
struct ReadPublish {
  std::string topic, payload, properties;
  uint8_t qos = 0;
  bool retain = false;
};
ReadPublish read_publish(std::string_view packet);

}  // namespace mqttq::abi
