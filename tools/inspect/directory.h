// All that a data directory says, as plain data: what its store holds, with what its log adds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "queue/queue_address.h"
#include "router/sink.h"
#include "session/inflight.h"
#include "store/backup_file.h"
#include "store/data_directory.h"

namespace mqttq::inspect {

struct Segment {
  LogSegment file;
  uint64_t first = 0, last = 0;  // numbers; 0: it has no record
  uint64_t messages = 0, changes = 0, others = 0;
};

struct Table {
  uint64_t entries = 0, bytes = 0;  // of keys and values
  uint64_t damaged = 0;             // of them
  uint64_t orphans = 0;             // of a session or subscription that is not there; a start leaves them out
};

// A message without its payload.
struct Outline {
  NamespaceId namespace_id = 0;
  std::string topic_name;
  Qos qos = Qos::AtMostOnce;
  bool retain = false;
  uint64_t payload_bytes = 0, properties_bytes = 0;
  int64_t expires_ms = INT64_MAX;  // Unix time; INT64_MAX: never
};

struct KeptSubscription {
  uint64_t journal = 0;
  std::string topic_filter;
  Subscription options;              // QoS, flags and identifier
  bool owed = false;                 // retained messages are still to be sent for it
  bool shared = false;               // its group has the position, or its queue
  std::optional<uint64_t> position;  // the first number that it has not taken
  uint64_t waiting = 0;              // messages from there on
};

// A shared group of sessions that are kept.
struct KeptGroup {
  NamespaceId namespace_id = 0;
  std::string shared_filter;
  uint64_t members = 0;
  uint64_t position = 0;       // the first number that was not taken out of its journal
  std::vector<uint64_t> open;  // before it, with members, or with nobody any more
  uint64_t waiting = 0;        // messages from its position on
};

// A message queue.
struct KeptQueue {
  NamespaceId namespace_id = 0;
  std::string name, topic_filter;
  uint64_t id = 0;
  bool last_value = false;
  bool keyed = false;          // its messages have keys
  uint64_t consumers = 0;      // subscriptions of sessions that are kept
  uint64_t position = 0;       // the first number that was not taken out of its journal
  std::vector<uint64_t> open;  // before it, and not settled
  uint64_t values = 0;         // the newest of their keys, which wait
  uint64_t waiting = 0;        // messages from its position on
  uint64_t messages() const { return waiting + values + open.size(); }
};

// A stream.
struct KeptStream {
  NamespaceId namespace_id = 0;
  std::string name, topic_filter;
  uint64_t id = 0;
  uint64_t readers = 0;   // subscriptions of sessions that are kept
  uint64_t number = 0;    // no message with a lower one is its own any more
  uint64_t position = 0;  // of the first that is
  uint64_t messages = 0;
  std::vector<std::pair<std::string, uint64_t>> cursors;  // with their positions
};

struct KeptInflight {
  uint16_t packet_id = 0;
  uint64_t number = 0;
  InflightEntry::State state = InflightEntry::State::AwaitPuback;
  Qos qos = Qos::AtLeastOnce;
  bool retain = false;
  std::vector<uint32_t> identifiers;
};

struct KeptWill {
  uint32_t delay_s = 0;
  std::optional<uint32_t> expiry_s;
  Outline message;
};

struct KeptSession {
  NamespaceId namespace_id = 0;
  std::string client_id;
  uint32_t expiry_s = 0;
  int64_t disconnected_ms = INT64_MAX;  // Unix time; INT64_MAX: it was connected when this was written
  std::vector<KeptSubscription> subscriptions;
  std::vector<KeptInflight> inflight;
  std::vector<uint16_t> receipts;
  std::optional<KeptWill> will;
};

struct KeptDelayed {
  uint64_t id = 0;
  int64_t due_ms = 0;
  std::string client_id;
  Outline message;
};

// The messages of one topic filter in one namespace.
struct KeptJournal {
  NamespaceId namespace_id = 0;
  std::string topic_filter;  // empty: no subscription is known that reads it
  uint64_t readers = 0;
  std::vector<uint64_t> numbers;  // of its messages in the log, from the first wanted on
  uint64_t waiting = 0;           // for the reader that is furthest behind
};

struct Contents {
  std::string path;
  std::optional<int64_t> owner;  // the process that has it open
  bool has_store = false;
  std::optional<BackupContents> backup;  // its store is one yet, which a start makes a store of
  std::optional<DataDirectory::Meta> meta;
  uint64_t last_number = 0;  // of the log
  std::vector<Segment> segments;
  Table tables[Store::kTables];
  std::map<uint32_t, std::string> namespaces;
  std::map<std::string, KeptSession> sessions;  // by the bytes of their keys
  std::map<uint64_t, KeptJournal> journals;
  std::map<std::pair<NamespaceId, std::string>, KeptGroup> groups;
  std::map<std::string, KeptQueue> queues;    // by the bytes of their keys
  std::map<std::string, KeptStream> streams;  // the same
  std::vector<Outline> retained;
  std::vector<KeptDelayed> delayed;
  std::vector<std::string> damage;  // for people

  bool empty() const noexcept { return !has_store && segments.empty(); }
};

// "sessions" and so on; a number's text of one that has no name yet.
std::string table_name(uint8_t table);

// False: that is no message. journals: eight bytes each.
bool read_record(Bytes body, Outline& message, Bytes& journals);

// problem: why nothing can be read at all. Writes nothing. Throws std::bad_alloc.
std::optional<Contents> read_directory(const std::string& path, std::string& problem);

}  // namespace mqttq::inspect
