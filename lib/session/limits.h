// Every bound of a broker, with its default. What the wire says when one is reached stands beside it.
#pragma once

#include <cstdint>

namespace mqttq {

struct Limits {
  uint32_t packet_size_max = 1024 * 1024;       // bytes of one packet from a peer; 0x95, then closed
  uint32_t connect_size_max = 256 * 1024;       // bytes of CONNECT; closed
  uint32_t topic_size_max = 65'535;             // bytes; 0x90 or 0x8F
  uint32_t topic_levels_max = 128;              // at most 1024; 0x90 or 0x8F
  uint32_t connect_timeout_ms = 10'000;         // from accept to a whole CONNECT; closed
  uint32_t connections_max = 1'000'000;         // closed before CONNECT
  uint32_t sessions_max = 2'000'000;            // CONNACK 0x97 (3.x: 3)
  uint32_t connect_rate = 0;                    // CONNECTs a second and shard; 0 = no limit; CONNACK 0x9F (3.x: 3)
  uint16_t receive_maximum = 1'000;             // QoS 1 and 2 publishes a client may have open; 0x93, then closed
  uint32_t receipt_timeout_s = 300;             // of a QoS 2 publish whose PUBREL does not come; forgotten
  uint16_t inflight_max = 1'000;                // QoS 1 and 2 messages sent and open, and the client's Receive Maximum
  uint32_t outbox_messages_max = 10'000;        // waiting for a client's window, or for an offline one, per
                                                // subscription where durable; over it the oldest is dropped and counted
  uint32_t outbox_bytes_max = 4 * 1024 * 1024;  // waiting for a client's socket: over it QoS 0 is dropped and counted,
                                                // and nothing more is read from the client; also of what waits as above
  uint32_t outbox_age_max_s = 2'592'000;        // waiting in a journal for an offline client or a group; 0 = no limit;
                                                // what waits longer is dropped and counted
  uint32_t subscriptions_max = 100'000;         // per session; SUBACK 0x97 (3.x: 0x80)
  uint32_t session_expiry_max_s = 0xFFFF'FFFF;  // CONNACK names the shorter one
  uint16_t keep_alive_max_s = 0;                // 0 = the client's own; else Server Keep Alive (MQTT 5 only)
  uint16_t topic_alias_maximum = 64;            // from the client; 0x94, then closed
  uint16_t topic_alias_out_maximum = 64;        // towards a client, and its own Topic Alias Maximum; the topic is sent
  uint32_t retained_messages_max = 1'000'000;   // PUBACK or PUBREC 0x97; the message is routed all the same
  uint32_t retained_bytes_max = 1024 * 1024 * 1024;
  uint32_t delayed_messages_max = 100'000;         // PUBACK or PUBREC 0x97
  uint32_t delayed_bytes_max = 256 * 1024 * 1024;  // the same
  uint32_t delay_max_s = 42'949'669;               // 0x90
  uint32_t message_rate = 0;                       // publishes a second and connection; its reads pause; 0 = no limit
  uint32_t byte_rate = 0;                          // bytes a second and connection; its reads pause; 0 = no limit
  uint32_t store_memory_bytes = 64 * 1024 * 1024;  // of the newest messages that are kept: others are read again
  uint32_t log_segment_bytes = 64 * 1024 * 1024;   // of a file of the log
  uint64_t store_bytes = 0;       // that the store takes; 0 = no limit; PUBACK or PUBREC 0x97, CONNACK and SUBACK too
  uint32_t journal_messages = 0;  // that wait in the journal of one topic filter; 0 = no limit; PUBACK or PUBREC 0x97
  uint64_t journal_bytes = 0;     // the same
  uint32_t store_alarm_percent = 80;               // of store_bytes, from which on an alarm is raised
  uint8_t maximum_qos = 2;                         // 0x9B
  bool retain_available = true;                    // 0x9A
  bool wildcard_subscriptions_available = true;    // SUBACK 0xA2
  bool shared_subscriptions_available = true;      // SUBACK 0x9E
  bool subscription_identifiers_available = true;  // 0xA1
};

}  // namespace mqttq
