// A broker without I/O for tests of the protocol: the shards of the middle, the committer, links that are vectors of
// bytes, and a clock that stands until it is told to go on. Everything runs in the test's thread.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "broker/committer.h"
#include "codec/codec.h"
#include "session/shard_core.h"

namespace mqttq {

// A log that can be made to wait and to fail.
class TestLog final : public Log {
 public:
  Status append(std::span<const LogRecord> batch) noexcept override;
  uint64_t durable_number() noexcept override { return held ? 0 : last_; }

  bool held = false;              // appended records are not durable yet
  Status answer = Status::Ok;     // of the next batches
  std::vector<uint32_t> batches;  // records in each batch, failed ones too

 private:
  uint64_t last_ = 0;
};

class TestLink final : public Link {
 public:
  size_t write(std::span<const Bytes> pieces) noexcept override;
  void pause_reading(bool on) noexcept override { paused = on; }
  void close(bool abort) noexcept override;
  std::string_view peer_address() const noexcept override { return "192.0.2.1:50000"; }

  std::vector<std::byte> written;
  std::deque<std::vector<std::byte>> inbox;  // sent by the client, not read yet
  size_t room = SIZE_MAX;                    // bytes that write() still takes
  uint32_t shard = 0;
  Connection* connection = nullptr;
  bool paused = false;
  bool refused_some = false;  // the link owes an on_writable
  bool closed = false;
};

struct TestSetup {
  Limits limits;
  Policy policy;
  uint32_t shard_count = 1;
  uint32_t mailbox_capacity = 64;
  AccessControl* access = nullptr;
};

inline TestSetup shards(uint32_t count, uint32_t mailbox_capacity = 64) {
  TestSetup setup;
  setup.shard_count = count;
  setup.mailbox_capacity = mailbox_capacity;
  return setup;
}

class TestBroker {
 public:
  explicit TestBroker(TestSetup setup = {});
  ~TestBroker();

  ShardCore& core(uint32_t shard = 0) noexcept { return *cores_[shard]; }
  Router& router() noexcept { return router_; }
  TestLog& log() noexcept { return log_; }
  PostOffice& office() noexcept { return office_; }
  Instant now() const noexcept { return now_; }
  uint64_t counter(Counter Counters::* which) noexcept;
  // The first of "c0", "c1", … whose home is `shard`.
  std::string client_id_at(uint32_t shard) const;

  // Runs those shards, and the committer, that are awake, until none is. Fails the test if that never comes, and if
  // somebody was sent mail and was not woken for it.
  void settle();
  // Without memory it tries again for as long as there is none: settle() is then content with so many rounds.
  bool restless = false;
  // A shard, or the committer, is to have a turn.
  void wake(uint32_t party) noexcept { awake_ |= uint64_t{1} << party; }
  // One turn of one shard, or of the committer, and nothing else. True if there is more to do.
  bool turn(uint32_t shard);
  bool commit();
  // The clock goes on, and whatever is due happens.
  void advance_ms(int64_t duration_ms);
  void advance_s(int64_t duration_s) { advance_ms(duration_s * 1000); }
  // The clock goes on, and nobody has a turn yet.
  void pass_ms(int64_t duration_ms) noexcept { now_ = now_ + duration_ms * kMillisecond; }

  TestLink& open(uint32_t shard, const ListenerInfo& listener);
  void hang_up(TestLink& link, bool broken = true);
  void answer(const AccessTicket& ticket, const AccessAnswer& answer);
  void answer(const AccessTicket& ticket, Verdict verdict, ReasonCode reason = ReasonCode::Success) {
    answer(ticket, {.verdict = verdict, .reason = reason});
  }

 private:
  struct Wires final : Network {
    void detach(Link& link, uint32_t to) noexcept override;
    bool adopt(Link& link, Connection& connection) noexcept override;
    uint32_t shard = 0;
  };
  bool read_links(uint32_t shard);

  TestSetup setup_;
  Router router_;
  std::vector<std::unique_ptr<TestLink>> links_;
  PostOffice office_;
  Population population_;
  TestLog log_;
  Committer committer_;
  std::vector<std::unique_ptr<Wires>> wires_;
  std::vector<std::unique_ptr<ShardCore>> cores_;
  Instant now_{1'000 * kSecond};
  uint64_t awake_ = 0;  // a bit each, as in Postman::take_woken()
};

// What came from the broker, a line for each packet; "closed" when it closed the connection. For instance
// "CONNACK 00 present", "PUBLISH a/b 'x' qos1 #1 dup retain expiry=5 sub=1,2", "PUBACK #1 10", "SUBACK #1 00 80",
// "DISCONNECT 8e", "AUTH 18 SCRAM 'data'". Absent: what is 0, false or not there.
using Lines = std::vector<std::string>;

struct TestEntry {
  std::string_view topic_filter;
  Qos qos = Qos::AtMostOnce;
  bool no_local = false;
  bool retain_as_published = false;
  codec::RetainHandling retain_handling = codec::RetainHandling::Send;
};

// A CONNECT for a session that lives `session_expiry_s` longer than its connection.
codec::ConnectView connect_as(std::string_view client_id, bool clean_start = true, uint32_t session_expiry_s = 0);
codec::ConnectView with_will(codec::ConnectView connect, std::string_view topic_name, std::string_view payload,
                             Qos qos = Qos::AtMostOnce, bool retain = false, uint32_t delay_s = 0);

class TestClient {
 public:
  explicit TestClient(TestBroker& broker, ProtocolVersion version = ProtocolVersion::V5, uint32_t shard = 0,
                      const ListenerInfo& listener = {});

  // Each sends one packet and lets the broker come to rest.
  TestClient& connect(codec::ConnectView connect);
  TestClient& publish(std::string_view topic_name, std::string_view payload, Qos qos = Qos::AtMostOnce,
                      uint16_t packet_id = 0, bool retain = false, bool dup = false);
  TestClient& publish(const codec::PublishView& publish);
  TestClient& subscribe(uint16_t packet_id, const std::vector<TestEntry>& entries, uint32_t identifier = 0);
  TestClient& unsubscribe(uint16_t packet_id, const std::vector<std::string_view>& topic_filters);
  TestClient& ack(codec::PacketType type, uint16_t packet_id, ReasonCode reason = ReasonCode::Success);
  TestClient& disconnect(ReasonCode reason = ReasonCode::Success);
  TestClient& auth(ReasonCode reason, std::string_view method, std::string_view data = {});
  TestClient& ping() { return raw("c0 00"); }
  // See hex.h.
  TestClient& raw(std::string_view hexadecimal);
  TestClient& send(Bytes bytes);
  // The network fails.
  void drop();
  // It sends nothing more, and still reads.
  void finish();

  // All that came since the last call.
  Lines said();
  // The same as bytes.
  std::vector<std::byte> said_bytes();
  // Connects and swallows the answer, which must be an acceptance.
  TestClient& accepted(const codec::ConnectView& connect);
  // Subscribes and swallows the SUBACK, which must grant.
  TestClient& subscribed(std::string_view topic_filter, Qos qos, uint32_t identifier = 0);

  TestLink& link() noexcept { return link_; }
  bool closed() const noexcept { return link_.closed; }

 private:
  template <class... Packet>
  TestClient& send_packet(const Packet&... packet);

  TestBroker& broker_;
  TestLink& link_;
  ProtocolVersion version_;
  bool said_closed_ = false;
};

// The packets of `bytes` as lines; what is not a packet of a server becomes "? hexadecimal".
Lines describe(Bytes bytes, ProtocolVersion version);

// The Reason String of each packet of a server in `bytes`, empty where it has none.
std::vector<std::string> reason_strings(Bytes bytes, ProtocolVersion version = ProtocolVersion::V5);

}  // namespace mqttq
