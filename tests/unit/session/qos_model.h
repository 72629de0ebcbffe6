// What a server owes one client at QoS 1 and 2, told from the specification alone (MQTT5 4.3, 4.4, 4.6, 4.9; MQTT 3.1.1
// says the same without reason codes): one model for what the client publishes, one for what it is sent.
//
// Models are values: a copy goes on by itself. apply() answers an event with what the client then sees, as lines of the
// fixture, or with nothing if the event cannot happen: a packet without a connection, an answer that nobody owes. What
// the specification leaves open is marked "ours".
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mqttq {

// --- the client publishes, the server receives

struct ReceiverEvent {
  enum class Kind : uint8_t {
    Publish,
    Repeat,
    Refused,
    Release,
    Resume,
    CleanStart,
    OldestTakes,
    OldestFails,
    NewestTakes
  };
  Kind kind;
  uint16_t packet_id = 0;
};

inline std::string to_string(const ReceiverEvent& event) {
  static constexpr const char* kNames[] = {"PUBLISH",     "PUBLISH dup",  "PUBLISH refused", "PUBREL",      "resume",
                                           "clean start", "oldest takes", "oldest fails",    "newest takes"};
  std::string text = kNames[static_cast<int>(event.kind)];
  if (event.packet_id) text += " #" + std::to_string(event.packet_id);
  return text;
}

// The server as receiver of QoS 2. Every PUBLISH event has a payload of its own, 'a' for the first event and so on,
// whether the client means the same message or not: for the server the identifier alone says so.
class ReceiverModel {
 public:
  // late: the taker answers when an event says so, and not at once. receive_maximum: the server's.
  ReceiverModel(bool five, bool late, size_t receive_maximum)
      : five_(five), late_(late), receive_maximum_(receive_maximum) {}

  std::optional<std::vector<std::string>> apply(const ReceiverEvent& event) {
    using Kind = ReceiverEvent::Kind;
    said_.clear();
    const char payload = static_cast<char>('a' + event_count_++);
    switch (event.kind) {
      case Kind::Publish:
      case Kind::Repeat:  // DUP means nothing to a receiver of QoS 2 (MQTT5 3.3.1.1)
      case Kind::Refused:
        if (!connected_) return std::nullopt;
        on_publish(event.packet_id, payload, event.kind == Kind::Refused);
        break;
      case Kind::Release:
        if (!connected_) return std::nullopt;
        on_release(event.packet_id);
        break;
      case Kind::Resume:
      case Kind::CleanStart: on_connect(event.kind == Kind::CleanStart); break;
      case Kind::OldestTakes:
      case Kind::OldestFails:
      case Kind::NewestTakes: {
        if (owed_.empty()) return std::nullopt;
        if (event.kind == Kind::NewestTakes && owed_.size() == 1) return std::nullopt;  // that is the oldest
        const auto which = event.kind == Kind::NewestTakes ? owed_.end() - 1 : owed_.begin();
        const char answered = *which;
        owed_.erase(which);
        on_answer(answered, event.kind != Kind::OldestFails);
        break;
      }
    }
    return said_;
  }

  bool owed() const { return !owed_.empty(); }

 private:
  enum class Outcome { Open, Taken, Failed, Denied };
  // Came, and has no PUBREC yet.
  struct Exchange {
    uint16_t packet_id;
    char payload;
    Outcome outcome;
    uint32_t connection;  // on which it came last, and is answered
  };

  void on_publish(uint16_t packet_id, char payload, bool refused) {
    if (const auto known = released_later_.find(packet_id); known != released_later_.end()) {  // [MQTT-4.3.3-10]
      known->second = connection_;
      say("PUBREC", packet_id);
      return;
    }
    for (Exchange& exchange : unanswered_) {
      if (exchange.packet_id != packet_id) continue;
      exchange.connection = connection_;  // ours: one PUBREC, when there is an answer, serves for both
      return;
    }
    if (open_here() >= receive_maximum_) {  // 3.1.1 is held to the same bound, and cannot be told of it: ours
      close("DISCONNECT 93");               // [MQTT-3.3.4-7]
      return;
    }
    if (!refused) said_.push_back(std::string("taken ") + payload);  // new [MQTT-4.3.3-9] [MQTT-4.3.3-12]
    if (!refused && late_) owed_.push_back(payload);
    // 3.1.1 cannot say no: what is not permitted is acknowledged and let go [MQTT311-3.3.5-2].
    const Outcome outcome = refused ? (five_ ? Outcome::Denied : Outcome::Taken)
                            : late_ ? Outcome::Open
                                    : Outcome::Taken;
    unanswered_.push_back({packet_id, payload, outcome, connection_});
    answer();
  }

  // What the quota counts: it begins anew with each connection (MQTT5 4.9).
  size_t open_here() const {
    size_t count = 0;
    for (const Exchange& exchange : unanswered_) count += exchange.connection == connection_;
    for (const auto& [packet_id, connection] : released_later_) count += connection == connection_;
    return count;
  }

  void on_answer(char payload, bool taken) {
    for (Exchange& exchange : unanswered_) {
      if (exchange.payload == payload) exchange.outcome = taken ? Outcome::Taken : Outcome::Failed;
    }
    answer();
  }

  // In the order in which the publishes came; ours, as [MQTT-4.6.0-3] binds clients.
  void answer() {
    while (!unanswered_.empty() && unanswered_.front().outcome != Outcome::Open) {
      const Exchange done = unanswered_.front();
      unanswered_.pop_front();
      if (done.outcome == Outcome::Taken) released_later_[done.packet_id] = done.connection;
      if (!connected_ || done.connection != connection_) continue;
      if (done.outcome == Outcome::Taken) {
        say("PUBREC", done.packet_id);  // [MQTT-4.3.3-8]
      } else if (five_) {
        say("PUBREC", done.packet_id, done.outcome == Outcome::Denied ? " 87" : " 97");
      } else {
        close("");  // ours: without an answer the client sends it again
      }
    }
  }

  void on_release(uint16_t packet_id) {
    for (const Exchange& exchange : unanswered_) {
      if (exchange.packet_id != packet_id) continue;
      close("DISCONNECT 82");  // ours: PUBREL answers a PUBREC [MQTT-4.3.3-4], and there was none
      return;
    }
    const bool known = released_later_.erase(packet_id) > 0;
    say("PUBCOMP", packet_id, known || !five_ ? "" : " 92");  // [MQTT-4.3.3-11]
  }

  void on_connect(bool clean_start) {
    if (clean_start || !kept_) {
      unanswered_.clear();
      released_later_.clear();
    }
    said_.push_back(kept_ && !clean_start ? "CONNACK 00 present" : "CONNACK 00");
    kept_ = five_ || !clean_start;  // with 5 the session has an expiry
    connected_ = true;
    ++connection_;
  }

  void say(const char* packet, uint16_t packet_id, const char* reason = "") {
    said_.push_back(std::string(packet) + " #" + std::to_string(packet_id) + reason);
  }
  void close(const char* why) {
    if (five_ && *why) said_.push_back(why);
    said_.push_back("closed");
    connected_ = false;
  }

  bool five_, late_;
  size_t receive_maximum_;
  bool connected_ = false, kept_ = false;
  uint32_t connection_ = 0;
  int event_count_ = 0;
  std::deque<Exchange> unanswered_;
  // PUBREC was sent, or would have been, and PUBREL has not come: on which connection the publish came last.
  std::map<uint16_t, uint32_t> released_later_;
  std::deque<char> owed_;  // payloads that the taker has not answered
  std::vector<std::string> said_;
};

// --- the server sends, the client receives

struct SenderEvent {
  // Proper stands for the one of the first four that the exchange calls for; apply() puts it in its place.
  enum class Kind : uint8_t { Puback, Pubrec, PubrecFailed, Pubcomp, Proper, UnknownPubrec, Message, Resume, Miss };
  Kind kind;
  // Of Puback to Proper: which open exchange, 0 the oldest. Of Resume and Miss: the new Receive Maximum.
  uint16_t number = 0;
  uint16_t packet_id = 0;  // of that exchange: set by apply()
};

inline std::string to_string(const SenderEvent& event) {
  static constexpr const char* kNames[] = {"PUBACK",  "PUBREC", "PUBREC failed",
                                           "PUBCOMP", "",       "unknown PUBREC",
                                           "message", "resume", "miss a message, resume"};
  std::string text = kNames[static_cast<int>(event.kind)];
  if (event.kind <= SenderEvent::Kind::Pubcomp) text += " of exchange " + std::to_string(event.number);
  if (event.kind >= SenderEvent::Kind::Resume) text += " with " + std::to_string(event.number);
  return text;
}

// The server as sender to one subscriber of "t". Messages are 'a', 'b' and so on, at QoS 2 and 1 by turns.
class SenderModel {
 public:
  static constexpr uint16_t kUnknownId = 999;

  SenderModel(bool five, uint32_t window) : five_(five), window_(window) {}

  std::optional<std::vector<std::string>> apply(SenderEvent& event) {
    using Kind = SenderEvent::Kind;
    said_.clear();
    switch (event.kind) {
      case Kind::Message:
        add_message();
        fill();
        break;
      case Kind::Miss:
      case Kind::Resume:
        if (event.kind == Kind::Miss) add_message();
        for (Exchange& exchange : exchanges_) exchange.counted = false;  // the quota begins anew (MQTT5 4.9)
        window_ = event.number;
        said_.push_back("CONNACK 00 present");
        fill();
        break;
      case Kind::UnknownPubrec: say_release(kUnknownId, false); break;
      default:
        if (event.number >= exchanges_.size()) return std::nullopt;
        event.packet_id = exchanges_[event.number].packet_id;
        if (event.kind == Kind::Proper) event.kind = proper(exchanges_[event.number]);
        on_answer(event.kind, event.number);
    }
    return said_;
  }

  bool all_done() const { return exchanges_.empty(); }
  static int qos_of(char message) { return (message - 'a') % 2 ? 1 : 2; }

 private:
  struct Exchange {
    uint16_t packet_id;
    char message;
    int qos;
    bool released = false;  // PUBREC came: from here on it is PUBREL that is unacknowledged
    bool counted = true;    // something of it was sent on this connection
  };

  static SenderEvent::Kind proper(const Exchange& exchange) {
    if (exchange.qos == 1) return SenderEvent::Kind::Puback;
    return exchange.released ? SenderEvent::Kind::Pubcomp : SenderEvent::Kind::Pubrec;
  }
  void add_message() { waiting_.push_back(static_cast<char>('a' + message_count_++)); }

  void on_answer(SenderEvent::Kind kind, uint16_t number) {
    using Kind = SenderEvent::Kind;
    Exchange& exchange = exchanges_[number];
    bool done = false;
    switch (kind) {
      case Kind::Puback: done = exchange.qos == 1; break;
      case Kind::Pubcomp: done = exchange.released; break;
      case Kind::PubrecFailed: done = exchange.qos == 2; break;  // [MQTT-4.4.0-2]
      default:                                                   // PUBREC
        if (exchange.qos == 2) exchange.released = exchange.counted = true;
        say_release(exchange.packet_id, exchange.qos == 2);  // [MQTT-4.3.3-4]
    }
    if (!done) return;  // ours: an answer of the wrong kind changes nothing
    exchanges_.erase(exchanges_.begin() + number);
    fill();
  }

  // What was not finished goes first, in its order; a PUBREL waits for no quota [MQTT-3.3.4-10]. An exchange of which
  // only the PUBREL is sent on this connection counts against the window like any other: ours, and never too much.
  void fill() {
    bool behind = false;
    for (Exchange& exchange : exchanges_) {
      if (exchange.counted) continue;
      if (exchange.released) {
        exchange.counted = true;
        say_release(exchange.packet_id, true);  // [MQTT-4.3.3-6]: not the PUBLISH
      } else if (!full()) {
        exchange.counted = true;
        say_publish(exchange, " dup");  // [MQTT-3.3.1-1]
      } else {
        behind = true;
      }
    }
    while (!behind && !waiting_.empty() && !full()) {
      const char message = waiting_.front();
      waiting_.pop_front();
      exchanges_.push_back({++last_id_, message, qos_of(message)});  // ours: counted up, so never one in use
      say_publish(exchanges_.back(), "");
    }
  }

  bool full() const {
    return std::count_if(exchanges_.begin(), exchanges_.end(), [](const Exchange& one) { return one.counted; }) >=
           static_cast<ptrdiff_t>(window_);
  }
  void say_publish(const Exchange& exchange, const char* dup) {
    said_.push_back(std::string("PUBLISH t '") + exchange.message + "' qos" + std::to_string(exchange.qos) + " #" +
                    std::to_string(exchange.packet_id) + dup);
  }
  void say_release(uint16_t packet_id, bool known) {
    said_.push_back("PUBREL #" + std::to_string(packet_id) + (known || !five_ ? "" : " 92"));
  }

  bool five_;
  uint32_t window_;
  uint16_t last_id_ = 0;
  int message_count_ = 0;
  std::vector<Exchange> exchanges_;  // in the order of the first sending
  std::deque<char> waiting_;
  std::vector<std::string> said_;
};

}  // namespace mqttq
