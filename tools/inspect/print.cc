// The words for what a data directory holds.
#include "inspect/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iterator>

#include "inspect/text.h"
#include "store/system_disk.h"

namespace mqttq::inspect {

namespace {

// --- words that several lists share

std::string hex_number(uint64_t number) { return fmt::format("{:016x}", number); }

std::string in_namespace(const Contents& contents, NamespaceId id) {
  if (id == kGlobalNamespace) return {};
  const auto at = contents.namespaces.find(id);
  return at == contents.namespaces.end() ? fmt::format(" in namespace {} (which has no name)", id)
                                         : fmt::format(" in namespace {}", quoted(at->second));
}

void add_namespace(Json& json, const Contents& contents, NamespaceId id) {
  json.add("namespace_id", uint64_t{id});
  const auto at = contents.namespaces.find(id);
  if (id == kGlobalNamespace || at == contents.namespaces.end()) {
    json.add_null("namespace");
  } else {
    json.add("namespace", at->second);
  }
}

void add_outline(Json& json, const Contents& contents, const Outline& message) {
  add_namespace(json, contents, message.namespace_id);
  json.add("topic", message.topic_name).add("qos", static_cast<uint64_t>(message.qos)).add("retain", message.retain);
  json.add("payload_bytes", message.payload_bytes).add("properties_bytes", message.properties_bytes);
  json.add_time("expires", message.expires_ms);
}

std::string outline_text(const Contents& contents, const Outline& message) {
  std::string text =
      fmt::format("{}{}, QoS {}{}, {} bytes", quoted(message.topic_name), in_namespace(contents, message.namespace_id),
                  static_cast<int>(message.qos), message.retain ? ", retain" : "", message.payload_bytes);
  if (message.expires_ms != INT64_MAX) text += ", expires " + calendar(message.expires_ms);
  return text;
}

std::string_view state_name(InflightEntry::State state) {
  switch (state) {
    case InflightEntry::State::AwaitPuback: return "PUBACK";
    case InflightEntry::State::AwaitPubrec: return "PUBREC";
    case InflightEntry::State::AwaitPubcomp: return "PUBCOMP";
  }
  return "";
}

std::string_view kind_name(LogSegment::Kind kind) {
  switch (kind) {
    case LogSegment::Kind::Good: return "good";
    case LogSegment::Kind::Empty: return "empty";
    case LogSegment::Kind::Damaged: return "damaged";
    case LogSegment::Kind::Newer: return "newer";
  }
  return "";
}

// --- segments

bool torn(const Contents& contents, const Segment& segment) {
  return segment.file.more && &segment == &contents.segments.back();
}

void put_segment(const Contents& contents, const Segment& segment, Json& json) {
  json.open('{').add("kind", "segment").add("file", FileLog::segment_name(segment.file.id));
  json.add("state", kind_name(segment.file.kind)).add("format", uint64_t{segment.file.format});
  json.add("bytes", segment.file.bytes).add("bytes_used", segment.file.bytes_used);
  json.add("first", segment.first).add("last", segment.last).add("messages", segment.messages);
  json.add("changes", segment.changes).add("others", segment.others).add("torn", torn(contents, segment)).close('}');
}

std::string segment_text(const Contents& contents, const Segment& segment) {
  std::string text = fmt::format("{}: {} bytes", FileLog::segment_name(segment.file.id), segment.file.bytes);
  switch (segment.file.kind) {
    case LogSegment::Kind::Empty: return text + ", empty: it was being made";
    case LogSegment::Kind::Damaged: return text + ", its header is damaged";
    case LogSegment::Kind::Newer: return text + fmt::format(", format {}, of a newer version", segment.file.format);
    case LogSegment::Kind::Good: break;
  }
  text += fmt::format(" ({} used)", segment.file.bytes_used);
  text += segment.first ? fmt::format(", numbers {} to {}: {} messages, {} changes of state", segment.first,
                                      segment.last, segment.messages, segment.changes)
                        : std::string(", no records");
  if (segment.others) text += fmt::format(", {} of a kind that is not known", segment.others);
  if (torn(contents, segment)) {
    text +=
        contents.owner ? "; its last batch is being written" : "; its last batch is torn, and nobody was told of it";
  }
  return text;
}

void put_segments(const Contents& contents, bool as_json, std::string& out) {
  for (const Segment& segment : contents.segments) {
    Json json;
    if (as_json) put_segment(contents, segment, json);
    out += (as_json ? json.text() : segment_text(contents, segment)) + '\n';
  }
}

// --- sessions

std::vector<const KeptSession*> sessions_in_order(const Contents& contents) {
  std::vector<const KeptSession*> sessions;
  for (const auto& [key, session] : contents.sessions) sessions.push_back(&session);
  std::sort(sessions.begin(), sessions.end(), [](const KeptSession* one, const KeptSession* other) {
    return std::tie(one->namespace_id, one->client_id) < std::tie(other->namespace_id, other->client_id);
  });
  return sessions;
}

void put_session(const Contents& contents, const KeptSession& session, Json& json) {
  json.open('{').add("kind", "session").add("client_id", session.client_id);
  add_namespace(json, contents, session.namespace_id);
  if (session.expiry_s == kSessionExpiryNever) {
    json.add_null("expiry_s");
  } else {
    json.add("expiry_s", uint64_t{session.expiry_s});
  }
  json.add("connected", session.disconnected_ms == INT64_MAX).add_time("disconnected", session.disconnected_ms);
  json.key("subscriptions").open('[');
  for (const KeptSubscription& one : session.subscriptions) {
    json.open('{').add("topic_filter", one.topic_filter).add("qos", static_cast<uint64_t>(one.options.qos));
    json.add("no_local", bool{one.options.no_local}).add("retain_as_published", bool{one.options.retain_as_published});
    json.add("exclusive", bool{one.options.exclusive}).add("retained_owed", one.owed);
    json.add("identifier", uint64_t{one.options.identifier});
    json.add("journal", hex_number(one.journal));
    if (one.position) {
      json.add("position", *one.position);
    } else {
      json.add_null("position");
    }
    json.add("waiting", one.waiting).close('}');
  }
  json.close(']').key("inflight").open('[');
  for (const KeptInflight& one : session.inflight) {
    json.open('{').add("packet_id", uint64_t{one.packet_id}).add("number", one.number);
    json.add("qos", static_cast<uint64_t>(one.qos)).add("retain", one.retain).add("awaits", state_name(one.state));
    json.key("identifiers").open('[');
    for (const uint32_t identifier : one.identifiers) json.value(uint64_t{identifier});
    json.close(']').close('}');
  }
  json.close(']').key("receipts").open('[');
  for (const uint16_t packet_id : session.receipts) json.value(uint64_t{packet_id});
  json.close(']').key("will");
  if (session.will) {
    json.open('{').add("delay_s", uint64_t{session.will->delay_s});
    if (session.will->expiry_s) json.add("expiry_s", uint64_t{*session.will->expiry_s});
    add_outline(json, contents, session.will->message);
    json.close('}');
  } else {
    json.null();
  }
  json.close('}');
}

std::string subscription_text(const KeptSubscription& one) {
  std::string text = fmt::format("{} (QoS {}", quoted(one.topic_filter), static_cast<int>(one.options.qos));
  if (one.options.no_local) text += ", no local";
  if (one.options.retain_as_published) text += ", retain as published";
  if (one.options.exclusive) text += ", exclusive";
  if (one.owed) text += ", retained messages owed";
  if (one.options.identifier) text += fmt::format(", identifier {}", one.options.identifier);
  if (one.position && !one.shared) text += fmt::format(", from {}: {} waiting", *one.position, one.waiting);
  return text + ")";
}

std::string session_text(const Contents& contents, const KeptSession& session) {
  std::string text = quoted(session.client_id) + in_namespace(contents, session.namespace_id);
  text += session.disconnected_ms == INT64_MAX ? " connected" : " gone since " + calendar(session.disconnected_ms);
  text += session.expiry_s == kSessionExpiryNever ? ", never expires" : fmt::format(", expiry {} s", session.expiry_s);
  const char* before = "; subscriptions: ";
  for (const KeptSubscription& one : session.subscriptions) {
    text += std::exchange(before, ", ") + subscription_text(one);
  }
  before = "; in flight: ";
  for (const KeptInflight& one : session.inflight) {
    text += fmt::format("{}{} (number {}, QoS {}, awaits {})", std::exchange(before, ", "), one.packet_id, one.number,
                        static_cast<int>(one.qos), state_name(one.state));
  }
  before = "; receipts: ";
  for (const uint16_t packet_id : session.receipts) text += std::exchange(before, ", ") + std::to_string(packet_id);
  if (session.will) {
    text += fmt::format("; will after {} s: {}", session.will->delay_s, outline_text(contents, session.will->message));
  }
  return text;
}

void put_sessions(const Contents& contents, bool as_json, std::string& out) {
  for (const KeptSession* session : sessions_in_order(contents)) {
    Json json;
    if (as_json) put_session(contents, *session, json);
    out += (as_json ? json.text() : session_text(contents, *session)) + '\n';
  }
}

// --- journals

using JournalEntry = std::pair<uint64_t, const KeptJournal*>;

std::vector<JournalEntry> journals_in_order(const Contents& contents) {
  std::vector<JournalEntry> journals;
  for (const auto& [hash, journal] : contents.journals) journals.emplace_back(hash, &journal);
  std::stable_sort(journals.begin(), journals.end(), [](const JournalEntry& one, const JournalEntry& other) {
    return one.second->waiting > other.second->waiting;
  });
  return journals;
}

void put_journal(const Contents& contents, const JournalEntry& entry, Json& json) {
  const KeptJournal& journal = *entry.second;
  json.open('{').add("kind", "journal").add("journal", hex_number(entry.first));
  if (journal.readers) {
    add_namespace(json, contents, journal.namespace_id);
    json.add("topic_filter", journal.topic_filter);
  } else {
    json.add_null("topic_filter");
  }
  json.add("readers", journal.readers).add("in_log", uint64_t{journal.numbers.size()});
  json.add("waiting", journal.waiting).close('}');
}

std::string journal_text(const Contents& contents, const JournalEntry& entry) {
  const KeptJournal& journal = *entry.second;
  return fmt::format("{} waiting, {} in the log, {} readers: {}", journal.waiting, journal.numbers.size(),
                     journal.readers,
                     journal.readers ? quoted(journal.topic_filter) + in_namespace(contents, journal.namespace_id)
                                     : "journal " + hex_number(entry.first) + ", of no subscription");
}

void put_journals(const Contents& contents, bool as_json, std::string& out) {
  for (const JournalEntry& entry : journals_in_order(contents)) {
    Json json;
    if (as_json) put_journal(contents, entry, json);
    out += (as_json ? json.text() : journal_text(contents, entry)) + '\n';
  }
}

// --- queues

void put_queues(const Contents& contents, bool as_json, std::string& out) {
  for (const auto& [key, queue] : contents.queues) {
    Json json;
    json.open('{').add("kind", "queue");
    add_namespace(json, contents, queue.namespace_id);
    json.add("name", queue.name).add("topic_filter", queue.topic_filter).add("consumers", queue.consumers);
    json.add("position", queue.position).key("open").open('[');
    for (const uint64_t number : queue.open) json.value(number);
    json.close(']').add("values", queue.values).add("waiting", queue.waiting);
    json.add("messages", queue.messages()).close('}');
    out += as_json ? json.text()
                   : fmt::format(
                         "{}{}: takes {}, {} kept consumers, {} messages; {} of them were taken out of its "
                         "journal, and not settled, before number {}",
                         quoted(queue.name), in_namespace(contents, queue.namespace_id), quoted(queue.topic_filter),
                         queue.consumers, queue.messages(), queue.open.size(), queue.position);
    out += '\n';
  }
}

// --- streams

void put_streams(const Contents& contents, bool as_json, std::string& out) {
  for (const auto& [key, stream] : contents.streams) {
    Json json;
    json.open('{').add("kind", "stream");
    add_namespace(json, contents, stream.namespace_id);
    json.add("name", stream.name).add("topic_filter", stream.topic_filter).add("readers", stream.readers);
    json.add("first_position", stream.position).add("first_number", stream.number);
    json.add("messages", stream.messages).key("cursors").open('{');
    for (const auto& [name, position] : stream.cursors) json.add(name, position);
    json.close('}').close('}');
    out += as_json ? json.text()
                   : fmt::format(
                         "{}{}: keeps {}, {} kept readers, {} cursors, {} messages from position {} on, number {}",
                         quoted(stream.name), in_namespace(contents, stream.namespace_id), quoted(stream.topic_filter),
                         stream.readers, stream.cursors.size(), stream.messages, stream.position, stream.number);
    out += '\n';
  }
}

// --- shared groups

void put_groups(const Contents& contents, bool as_json, std::string& out) {
  for (const auto& [key, group] : contents.groups) {
    Json json;
    json.open('{').add("kind", "group");
    add_namespace(json, contents, group.namespace_id);
    json.add("shared_filter", group.shared_filter).add("members", group.members).add("position", group.position);
    json.key("open").open('[');
    for (const uint64_t number : group.open) json.value(number);
    json.close(']').add("waiting", group.waiting).close('}');
    out += as_json ? json.text()
                   : fmt::format("{}{}: {} members, from {}: {} waiting, {} handed out", quoted(group.shared_filter),
                                 in_namespace(contents, group.namespace_id), group.members, group.position,
                                 group.waiting, group.open.size());
    out += '\n';
  }
}

// --- what is short

void put_namespaces(const Contents& contents, bool as_json, std::string& out) {
  for (const auto& [id, name] : contents.namespaces) {
    Json json;
    json.open('{').add("kind", "namespace").add("id", uint64_t{id}).add("name", name).close('}');
    out += (as_json ? json.text() : fmt::format("{} {}", id, quoted(name))) + '\n';
  }
}

void put_retained(const Contents& contents, bool as_json, std::string& out) {
  for (const Outline& message : contents.retained) {
    Json json;
    json.open('{').add("kind", "retained");
    if (as_json) add_outline(json, contents, message);
    json.close('}');
    out += (as_json ? json.text() : outline_text(contents, message)) + '\n';
  }
}

void put_delayed(const Contents& contents, bool as_json, std::string& out) {
  for (const KeptDelayed& delayed : contents.delayed) {
    Json json;
    json.open('{').add("kind", "delayed").add("id", hex_number(delayed.id)).add_time("due", delayed.due_ms);
    json.add("client_id", delayed.client_id);
    if (as_json) add_outline(json, contents, delayed.message);
    json.close('}');
    out += as_json ? json.text()
                   : fmt::format("due {}, of {}: {}", calendar(delayed.due_ms), quoted(delayed.client_id),
                                 outline_text(contents, delayed.message));
    out += '\n';
  }
}

// --- records

class RecordPrinter final : public LogReplay {
 public:
  RecordPrinter(const Contents& contents, bool json) : contents_(contents), as_json_(json) {}

  bool on_entry(const LogEntry& entry) noexcept override try {
    Json json;
    json.open('{').add("kind", "record").add("number", entry.number);
    std::string text = fmt::format("{} ", entry.number);
    switch (static_cast<DataDirectory::Kind>(entry.kind)) {
      case DataDirectory::Kind::Message: describe_message(entry.body, json, text); break;
      case DataDirectory::Kind::State: describe_changes(entry.body, json, text); break;
      default: json.add("record", "unknown").add("code", uint64_t{entry.kind}); text += "of a kind that is not known";
    }
    json.add("bytes", uint64_t{entry.body.size()}).close('}');
    out_ += (as_json_ ? json.text() : text) + '\n';
    if (out_.size() >= 64 << 10) flush(out_);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
  void on_damage(std::string_view) noexcept override {}  // it has been told

  std::string out_;

 private:
  void describe_message(Bytes body, Json& json, std::string& text) {
    json.add("record", "message");
    Outline message;
    Bytes journals;
    const bool whole = read_record(body, message, journals);
    const uint64_t journal_count = journals.size() / sizeof(uint64_t);
    json.add("whole", whole).add("journals", journal_count);
    if (whole) add_outline(json, contents_, message);
    text += whole ? fmt::format("message {}, for {} journals", outline_text(contents_, message), journal_count)
                  : std::string("is no message");
  }

  void describe_changes(Bytes body, Json& json, std::string& text) {
    json.add("record", "changes").key("changes").open('[');
    text += "changes:";
    StateReader reader(body);
    const char* before = " ";
    for (StoreWrite write; reader.next(write);) {
      const std::string_view what = reader.wants_number()                   ? "put_number"
                                    : write.kind == StoreWrite::Kind::Put   ? "put"
                                    : write.kind == StoreWrite::Kind::Erase ? "erase"
                                                                            : "erase_below";
      const std::string name = table_name(write.table), key = hex(write.key);
      json.open('{').add("change", what).add("table", name).add("key", key);
      text += fmt::format("{}{} {} {}", std::exchange(before, ", "), what, name, key);
      if (write.kind == StoreWrite::Kind::Put) {
        json.add("value_bytes", uint64_t{write.value.size()});
        text += fmt::format(" ({} bytes)", write.value.size());
      }
      if (const KeptSession* session = session_of(write)) {
        json.add("client_id", session->client_id);
        text += " of " + quoted(session->client_id);
      }
      json.close('}');
    }
    json.close(']').add("whole", reader.ok());
    if (!reader.ok()) text += " and what is no change of state";
  }

  // nullptr: it is of none that is there any more.
  const KeptSession* session_of(const StoreWrite& write) const {
    if (write.table < static_cast<uint8_t>(StateTable::Sessions) ||
        write.table > static_cast<uint8_t>(StateTable::Wills) || write.key.size() < TextKey::kSize) {
      return nullptr;
    }
    const auto at = contents_.sessions.find(std::string(as_text(write.key.first(TextKey::kSize))));
    return at == contents_.sessions.end() ? nullptr : &at->second;
  }

  const Contents& contents_;
  const bool as_json_;
};

// --- the summary

struct Totals {
  uint64_t connected = 0, gone = 0, never = 0, due = 0;  // sessions
  uint64_t subscriptions[3] = {};                        // by QoS
  uint64_t inflight = 0, receipts = 0, wills = 0, queued = 0, streamed = 0, waiting = 0, retained_bytes = 0;
  int64_t gone_since_ms = INT64_MAX;
};

Totals total(const Contents& contents) {
  const int64_t now_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  Totals totals;
  for (const auto& [key, session] : contents.sessions) {
    const bool gone = session.disconnected_ms != INT64_MAX;
    ++(gone ? totals.gone : totals.connected);
    totals.gone_since_ms = std::min(totals.gone_since_ms, session.disconnected_ms);
    if (session.expiry_s == kSessionExpiryNever) {
      ++totals.never;
    } else if (gone) {
      totals.due += (now_ms - session.disconnected_ms) / 1000 >= int64_t{session.expiry_s};
    }
    for (const KeptSubscription& one : session.subscriptions) ++totals.subscriptions[static_cast<int>(one.options.qos)];
    totals.inflight += session.inflight.size();
    totals.receipts += session.receipts.size();
    totals.wills += session.will.has_value();
  }
  for (const auto& [key, queue] : contents.queues) totals.queued += queue.messages();
  for (const auto& [key, stream] : contents.streams) totals.streamed += stream.messages;
  for (const auto& [hash, journal] : contents.journals) totals.waiting += journal.waiting;
  for (const Outline& message : contents.retained) totals.retained_bytes += message.payload_bytes;
  return totals;
}

constexpr size_t kTopJournals = 10;

std::vector<JournalEntry> top_journals(const Contents& contents) {
  std::vector<JournalEntry> journals = journals_in_order(contents);
  std::erase_if(journals, [](const JournalEntry& entry) { return entry.second->waiting == 0; });
  journals.resize(std::min(journals.size(), kTopJournals));
  return journals;
}

void put_summary_json(const Contents& contents, std::string& out) {
  const Totals totals = total(contents);
  Json json;
  json.open('{').add("kind", "summary").add("directory", contents.path);
  if (contents.owner) {
    json.add("owner", static_cast<uint64_t>(*contents.owner));
  } else {
    json.add_null("owner");
  }
  json.add_time("backup_made", contents.backup ? contents.backup->head.made_ms : INT64_MAX);
  if (contents.meta) {
    json.add("store_format", uint64_t{contents.meta->format}).add("boots", uint64_t{contents.meta->boot});
    json.add("followed", contents.meta->followed).add("wanted", contents.meta->wanted);
  } else {
    json.add_null("store_format");
  }
  json.add("last_number", contents.last_number).key("segments").open('[');
  for (const Segment& segment : contents.segments) put_segment(contents, segment, json);
  json.close(']').key("tables").open('{');
  for (uint8_t table = 0; table < Store::kTables; ++table) {
    const Table& of = contents.tables[table];
    if (!of.entries && table > static_cast<uint8_t>(StateTable::Namespaces)) continue;
    json.key(table_name(table)).open('{').add("entries", of.entries).add("bytes", of.bytes);
    json.add("damaged", of.damaged).add("orphans", of.orphans).close('}');
  }
  json.close('}').key("sessions").open('{').add("connected", totals.connected).add("gone", totals.gone);
  json.add_time("gone_since", totals.gone_since_ms).add("never_expire", totals.never).add("expired", totals.due);
  json.close('}').key("subscriptions").open('{');
  for (int qos = 0; qos < 3; ++qos) json.add(fmt::format("qos{}", qos), totals.subscriptions[qos]);
  json.close('}').add("inflight", totals.inflight).add("receipts", totals.receipts).add("wills", totals.wills);
  json.add("retained", uint64_t{contents.retained.size()}).add("retained_bytes", totals.retained_bytes);
  json.add("delayed", uint64_t{contents.delayed.size()}).add("namespaces", uint64_t{contents.namespaces.size()});
  json.add("queues", uint64_t{contents.queues.size()}).add("queued", totals.queued);
  json.add("streams", uint64_t{contents.streams.size()}).add("streamed", totals.streamed);
  json.add("waiting", totals.waiting).key("journals").open('[');
  for (const JournalEntry& entry : top_journals(contents)) put_journal(contents, entry, json);
  json.close(']').key("damage").open('[');
  for (const std::string& text : contents.damage) json.value(text);
  json.close(']').close('}');
  out += json.text() + '\n';
}

void put_line(std::string& out, std::string_view name, std::string_view text) {
  out += fmt::format("{:<14} {}\n", name, text);
}

void put_summary_text(const Contents& contents, std::string& out) {
  const Totals totals = total(contents);
  put_line(out, "directory", quoted(contents.path));
  put_line(out, "in use", contents.owner ? fmt::format("by process {}", *contents.owner) : "by no broker");
  if (contents.backup) {
    put_line(out, "backup",
             fmt::format("made {}, of which a start makes a store", calendar(contents.backup->head.made_ms)));
  }
  if (contents.meta) {
    put_line(out, "store", fmt::format("format {}, opened {} times", contents.meta->format, contents.meta->boot));
    put_line(out, "followed",
             fmt::format("up to number {}; the log goes to {}", contents.meta->followed,
                         std::max(contents.last_number, contents.meta->followed)));
    put_line(out, "wanted", fmt::format("from number {} on", contents.meta->wanted));
  } else {
    put_line(out, "store", "none that can be read");
  }
  put_line(out, "log", fmt::format("{} segments", contents.segments.size()));
  for (const Segment& segment : contents.segments) out += "  " + segment_text(contents, segment) + '\n';
  put_line(out, "tables", "with what the store has not followed yet");
  for (uint8_t table = 0; table < Store::kTables; ++table) {
    const Table& of = contents.tables[table];
    if (!of.entries && table > static_cast<uint8_t>(StateTable::Namespaces)) continue;
    out += fmt::format("  {:<14}{:>10} entries {:>12} bytes", table_name(table), of.entries, of.bytes);
    if (of.damaged) out += fmt::format(", {} damaged", of.damaged);
    if (of.orphans) out += fmt::format(", {} belong to nothing", of.orphans);
    out += '\n';
  }
  std::string sessions =
      fmt::format("{}: {} connected, {} gone", contents.sessions.size(), totals.connected, totals.gone);
  if (totals.gone) sessions += fmt::format(" (the first of them {})", calendar(totals.gone_since_ms));
  put_line(out, "sessions", sessions + fmt::format("; {} never expire, {} have expired", totals.never, totals.due));
  put_line(out, "subscriptions",
           fmt::format("{} at QoS 0, {} at QoS 1, {} at QoS 2", totals.subscriptions[0], totals.subscriptions[1],
                       totals.subscriptions[2]));
  put_line(out, "in flight", fmt::format("{} messages, and {} receipts", totals.inflight, totals.receipts));
  put_line(out, "wills", std::to_string(totals.wills));
  put_line(out, "retained", fmt::format("{} of {} bytes", contents.retained.size(), totals.retained_bytes));
  put_line(out, "delayed", std::to_string(contents.delayed.size()));
  put_line(out, "namespaces", std::to_string(contents.namespaces.size()));
  put_line(out, "queues", fmt::format("{}, with {} messages", contents.queues.size(), totals.queued));
  put_line(out, "streams", fmt::format("{}, with {} messages", contents.streams.size(), totals.streamed));
  put_line(out, "waiting", fmt::format("{} messages", totals.waiting));
  for (const JournalEntry& entry : top_journals(contents)) out += "  " + journal_text(contents, entry) + '\n';
  put_line(out, "damage", contents.damage.empty() ? "none" : std::to_string(contents.damage.size()));
  for (const std::string& text : contents.damage) out += "  " + text + '\n';
}

}  // namespace

void put_summary(const Contents& contents, bool json, std::string& out) {
  json ? put_summary_json(contents, out) : put_summary_text(contents, out);
}

const List kLists[] = {
    {"--segments", "the files of the log", put_segments},
    {"--sessions", "sessions with subscriptions, positions, messages in flight, receipts and wills", put_sessions},
    {"--journals", "topic filters that are read, with the messages that wait, most of them first", put_journals},
    {"--groups", "shared groups of kept sessions: members, position, what is handed out and what waits", put_groups},
    {"--queues", "message queues: kept consumers, messages, position", put_queues},
    {"--streams", "streams: kept readers, messages, first position", put_streams},
    {"--retained", "retained messages", put_retained},
    {"--delayed", "delayed messages", put_delayed},
    {"--namespaces", "namespaces", put_namespaces},
};
const size_t kListCount = std::size(kLists);

void print_records(const Contents& contents, bool json) {
  SystemDisk disk(contents.path, true);
  RecordPrinter printer(contents, json);
  std::string problem;
  if (FileLog::replay_only(disk, 0, printer, problem) == Status::NoMemory) throw std::bad_alloc();
  flush(printer.out_);
}

void flush(std::string& out) {
  std::fwrite(out.data(), 1, out.size(), stdout);
  out.clear();
}

}  // namespace mqttq::inspect
