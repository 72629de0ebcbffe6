// Every sequence of a few events at QoS 1 and 2, up to a depth, against the models of qos_model.h.
//
// Each sequence runs in a broker of its own from its first event on, and all that the client and the taker see is
// compared after every event. Behind the last one, events are added that tell what state is left. Under a sanitizer,
// which takes ten times as long, one sequence of eleven is played: what it looks for does not hide in a single order.
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <optional>
#include <span>

#include "session/fixture.h"
#include "session/qos_model.h"

namespace mqttq {

namespace {

constexpr auto V311 = ProtocolVersion::V311;
constexpr auto V5 = ProtocolVersion::V5;
using codec::PacketType;

template <class Event>
struct Step {
  Event event;
  Lines expected;
};

// The path and the model go on by one event. False if it cannot happen.
template <class Model, class Event>
bool extend(Model& model, std::vector<Step<Event>>& path, Event event) {
  std::optional<Lines> expected = model.apply(event);
  if (expected) path.push_back({event, std::move(*expected)});
  return expected.has_value();
}

// Calls visit(model, path) for every sequence of `depth` events that `model` allows.
template <class Model, class Event, class Visit>
void for_each_sequence(const Model& model, std::span<const Event> alphabet, size_t depth,
                       std::vector<Step<Event>>& path, Visit& visit) {
  if (depth == 0) {
    visit(model, path);
    return;
  }
  for (const Event& event : alphabet) {
    Model next = model;
    if (!extend(next, path, event)) continue;
    for_each_sequence(next, alphabet, depth - 1, path, visit);
    path.pop_back();
  }
}

std::string joined(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : ", ") + line;
  return text;
}

// Plays paths, each with a session of its own, and fails the test at the first difference. A World serves for several:
// to make a broker takes longer than to play a path.
template <class World>
class Player {
 public:
  template <class... Arguments>
  explicit Player(Arguments... arguments) : make_([=](std::optional<World>& world) { world.emplace(arguments...); }) {}

  template <class Event>
  void play(const std::vector<Step<Event>>& path) {
    if (count_++ % kPathsPerPlayed != 0) return;
    if (played_++ % kPathsPerWorld == 0) make_(world_);
    world_->begin();
    for (size_t i = 0; i < path.size(); ++i) {
      const Lines said = world_->apply(path[i].event);
      if (said == path[i].expected) continue;
      std::string story;
      for (size_t k = 0; k <= i; ++k) story += to_string(path[k].event) + " -> " + joined(path[k].expected) + "\n";
      FAIL(story << "but the last said: " << joined(said));
    }
    world_->end();
  }
  uint32_t count() const { return count_; }

 private:
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  static constexpr uint32_t kPathsPerPlayed = 11;  // shares no factor with the sizes of the alphabets
#else
  static constexpr uint32_t kPathsPerPlayed = 1;
#endif
  static constexpr uint32_t kPathsPerWorld = 32;
  std::function<void(std::optional<World>&)> make_;
  std::optional<World> world_;
  uint32_t count_ = 0;
  uint32_t played_ = 0;
};

// --- what a client publishes

// Takes what is published to "t", and answers late if it is told to.
class Taker final : public Sink {
 public:
  Taker(TestBroker& broker, bool late) : Sink(kGlobalNamespace), broker_(broker) {
    subscription_.sink = this;
    subscription_.qos = Qos::ExactlyOnce;
    subscription_.answers = late;
    REQUIRE(broker_.core().fan_out().add(subscription_, kGlobalNamespace, "t") == Status::Ok);
  }
  ~Taker() { broker_.core().fan_out().remove(subscription_); }

  void deliver(const Delivery& delivery, Instant) noexcept override {
    taken.push_back("taken " + std::string(as_text(delivery.message.view().payload)));
    if (!subscription_.answers) return;
    broker_.core().hold_answer(delivery.answer);
    owed_.push_back(delivery.answer);
  }
  void answer(bool oldest, ReasonCode reason) {
    const SlabHandle handle = oldest ? owed_.front() : owed_.back();
    oldest ? owed_.pop_front() : owed_.pop_back();
    broker_.core().answer(handle, reason, broker_.now());
    broker_.wake(0);
    broker_.settle();
  }

  Lines taken;

 private:
  TestBroker& broker_;
  Subscription subscription_;
  std::deque<SlabHandle> owed_;
};

class ReceiverWorld {
 public:
  ReceiverWorld(ProtocolVersion version, bool late, uint16_t receive_maximum)
      : version_(version), broker_(setup(receive_maximum)), taker_(broker_, late) {}

  void begin() { event_count_ = 0; }
  void end() {
    connect(true, 0);
    client_->drop();
    client_.reset();
  }
  Lines apply(const ReceiverEvent& event) {
    using Kind = ReceiverEvent::Kind;
    const std::string payload(1, static_cast<char>('a' + event_count_++));
    switch (event.kind) {
      case Kind::Publish:
      case Kind::Repeat:
        client_->publish("t", payload, Qos::ExactlyOnce, event.packet_id, false, event.kind == Kind::Repeat);
        break;
      case Kind::Refused: client_->publish("$SYS/no", payload, Qos::ExactlyOnce, event.packet_id); break;
      case Kind::Release: client_->ack(PacketType::Pubrel, event.packet_id); break;
      case Kind::Resume:
      case Kind::CleanStart: connect(event.kind == Kind::CleanStart, version_ == V5 ? 100 : 0); break;
      case Kind::OldestTakes: taker_.answer(true, ReasonCode::Success); break;
      case Kind::OldestFails: taker_.answer(true, ReasonCode::QuotaExceeded); break;
      case Kind::NewestTakes: taker_.answer(false, ReasonCode::Success); break;
    }
    Lines lines = std::exchange(taker_.taken, {});
    if (client_) {
      for (std::string& line : client_->said()) lines.push_back(std::move(line));
    }
    return lines;
  }

 private:
  static TestSetup setup(uint16_t receive_maximum) {
    TestSetup setup;
    setup.limits.receive_maximum = receive_maximum;
    return setup;
  }
  void connect(bool clean_start, uint32_t session_expiry_s) {
    if (client_) client_->drop();
    client_.emplace(broker_, version_);
    client_->connect(connect_as("p", clean_start, session_expiry_s));
  }

  ProtocolVersion version_;
  TestBroker broker_;
  Taker taker_;
  std::optional<TestClient> client_;
  int event_count_ = 0;
};

// Returns how many sequences of `depth` events behind the first CONNECT there were.
uint32_t publish_in_every_way(ProtocolVersion version, bool late, uint16_t receive_maximum,
                              std::span<const ReceiverEvent> alphabet, size_t depth) {
  using Kind = ReceiverEvent::Kind;
  Player<ReceiverWorld> player(version, late, receive_maximum);
  auto visit = [&](ReceiverModel model, std::vector<Step<ReceiverEvent>> path) {
    // Each identifier once more: is it a repeat? And then whether somebody still owes an answer, and to whom.
    extend(model, path, ReceiverEvent{Kind::Resume});
    for (const uint16_t packet_id : {1, 2}) extend(model, path, ReceiverEvent{Kind::Repeat, packet_id});
    while (model.owed()) extend(model, path, ReceiverEvent{Kind::OldestTakes});
    for (const uint16_t packet_id : {1, 2}) extend(model, path, ReceiverEvent{Kind::Release, packet_id});
    player.play(path);
  };
  ReceiverModel model(version == V5, late, receive_maximum);
  std::vector<Step<ReceiverEvent>> path;
  extend(model, path, ReceiverEvent{Kind::Resume});
  for_each_sequence(model, alphabet, depth, path, visit);
  return player.count();
}

// --- what a client is sent

class SenderWorld {
 public:
  // receive_maximum: the client's with 5; of 3.1.1, which has none, it is the broker's own window.
  // kept: the session outlives its connections, and is sent to through a journal; else live.
  SenderWorld(ProtocolVersion version, uint16_t receive_maximum, bool kept)
      : version_(version),
        receive_maximum_(receive_maximum),
        kept_(kept),
        broker_(setup(version, receive_maximum)),
        publisher_(broker_) {
    publisher_.accepted(connect_as("p"));
  }

  void begin() {
    message_count_ = 0;
    connect(receive_maximum_, kept_);
    client_->said();
    client_->subscribed("t", Qos::ExactlyOnce);
  }
  void end() {
    connect(receive_maximum_, false);
    client_->drop();
    client_.reset();
  }
  Lines apply(const SenderEvent& event) {
    using Kind = SenderEvent::Kind;
    switch (event.kind) {
      case Kind::Puback: client_->ack(PacketType::Puback, event.packet_id); break;
      case Kind::Pubrec: client_->ack(PacketType::Pubrec, event.packet_id); break;
      case Kind::PubrecFailed: client_->ack(PacketType::Pubrec, event.packet_id, ReasonCode::UnspecifiedError); break;
      case Kind::Pubcomp: client_->ack(PacketType::Pubcomp, event.packet_id); break;
      case Kind::UnknownPubrec: client_->ack(PacketType::Pubrec, SenderModel::kUnknownId); break;
      case Kind::Proper: FAIL("the model says which"); break;
      case Kind::Message: publish(); break;
      case Kind::Miss:
        client_->drop();
        publish();
        connect(event.number, true);
        break;
      case Kind::Resume: connect(event.number, true); break;
    }
    return client_->said();
  }

 private:
  static TestSetup setup(ProtocolVersion version, uint16_t receive_maximum) {
    TestSetup setup;
    if (version == V311) setup.limits.inflight_max = receive_maximum;
    return setup;
  }
  void connect(uint16_t receive_maximum, bool kept) {
    if (client_) client_->drop();
    client_.emplace(broker_, version_);
    codec::ConnectView connect = connect_as("s", !kept, kept && version_ == V5 ? 100 : 0);
    connect.receive_maximum = receive_maximum;
    client_->connect(connect);
  }
  void publish() {
    const char message = static_cast<char>('a' + message_count_++);
    publisher_.publish("t", std::string(1, message), static_cast<Qos>(SenderModel::qos_of(message)), 1);
    publisher_.ack(PacketType::Pubrel, 1).said();
  }

  ProtocolVersion version_;
  uint16_t receive_maximum_;
  bool kept_;
  TestBroker broker_;
  std::optional<TestClient> client_;
  TestClient publisher_;
  uint16_t message_count_ = 0;
};

// Returns how many sequences of `depth` events there were, when three messages have come before.
uint32_t receive_in_every_way(ProtocolVersion version, uint16_t receive_maximum, bool kept,
                              std::span<const SenderEvent> alphabet, size_t depth) {
  using Kind = SenderEvent::Kind;
  Player<SenderWorld> player(version, receive_maximum, kept);
  auto visit = [&](SenderModel model, std::vector<Step<SenderEvent>> path) {
    // The client does all that it owes, and then has had each message, and nothing comes again.
    if (kept) extend(model, path, SenderEvent{Kind::Resume, receive_maximum});
    while (!model.all_done()) extend(model, path, SenderEvent{Kind::Proper, 0});
    if (kept) extend(model, path, SenderEvent{Kind::Resume, receive_maximum});
    player.play(path);
  };
  SenderModel model(version == V5, receive_maximum);
  std::vector<Step<SenderEvent>> path;
  for (int i = 0; i < 3; ++i) extend(model, path, SenderEvent{Kind::Message});
  for_each_sequence(model, alphabet, depth, path, visit);
  return player.count();
}

}  // namespace

// 8 events, depth 5, both versions: 65 536 sequences.
TEST_CASE("QoS 2 publishes come through once in every order of PUBLISH, PUBREL and reconnect",
          "[session][MQTT-4.3.3-8][MQTT-4.3.3-9][MQTT-4.3.3-10][MQTT-4.3.3-11][MQTT-4.3.3-12][MQTT311-4.3.3-2]"
          "[MQTT311-3.3.5-2]") {
  using Kind = ReceiverEvent::Kind;
  constexpr ReceiverEvent kEvents[] = {{Kind::Publish, 1}, {Kind::Repeat, 1},  {Kind::Publish, 2}, {Kind::Refused, 1},
                                       {Kind::Release, 1}, {Kind::Release, 2}, {Kind::Resume},     {Kind::CleanStart}};
  CHECK(publish_in_every_way(V5, false, 2, kEvents, 5) == 32'768);
  CHECK(publish_in_every_way(V311, false, 2, kEvents, 5) == 32'768);
}

// 10 events, depth 5, both versions, with a Receive Maximum of 2 and of 1 (3.1.1: depth 4): 72 683 sequences. An answer
// that nobody owes, and a packet on a closed connection, are left out.
TEST_CASE("QoS 2 publishes come through once when their taker answers late, or fails, in every order",
          "[session][MQTT-3.3.4-7][MQTT-4.3.3-8][MQTT-4.3.3-9][MQTT-4.3.3-10][MQTT-4.3.3-11][MQTT-4.3.3-12]"
          "[MQTT311-4.3.3-2][MQTT311-3.3.5-2]") {
  using Kind = ReceiverEvent::Kind;
  constexpr ReceiverEvent kEvents[] = {{Kind::Publish, 1},  {Kind::Publish, 2}, {Kind::Refused, 2}, {Kind::Release, 1},
                                       {Kind::Release, 2},  {Kind::Resume},     {Kind::CleanStart}, {Kind::OldestTakes},
                                       {Kind::OldestFails}, {Kind::NewestTakes}};
  CHECK(publish_in_every_way(V5, true, 2, kEvents, 5) == 25'408);
  CHECK(publish_in_every_way(V311, true, 2, kEvents, 5) == 23'074);
  CHECK(publish_in_every_way(V5, true, 1, kEvents, 5) == 21'573);
  CHECK(publish_in_every_way(V311, true, 1, kEvents, 4) == 2'628);
}

// Two exchanges fit into the window, and one after some of the reconnects. With 5: 13 events, depth 4, 27 609
// sequences. With 3.1.1, which has no negative PUBREC and no Receive Maximum: 10 events, depth 4, 9 988.
// What answers an exchange that is not open is left out, but for one PUBREC.
TEST_CASE("a subscriber has each message once, whatever it answers in which order, and wherever it reconnects",
          "[session][MQTT-2.2.1-4][MQTT-3.3.1-1][MQTT-3.3.4-9][MQTT-3.3.4-10][MQTT-4.3.2-3][MQTT-4.3.3-3][MQTT-4.3.3-4]"
          "[MQTT-4.3.3-5][MQTT-4.3.3-6][MQTT-4.4.0-1][MQTT-4.4.0-2][MQTT-4.6.0-6][MQTT-4.9.0-1][MQTT-4.9.0-2]"
          "[MQTT-4.9.0-3][MQTT311-3.3.1-1][MQTT311-4.3.2-1][MQTT311-4.3.3-1][MQTT311-4.4.0-1][MQTT311-4.6.0-1]"
          "[MQTT311-4.6.0-6]") {
  using Kind = SenderEvent::Kind;
  constexpr SenderEvent kEvents[] = {
      {Kind::Puback, 0},  {Kind::Puback, 1},       {Kind::Pubrec, 0},      {Kind::Pubrec, 1},     {Kind::Pubcomp, 0},
      {Kind::Pubcomp, 1}, {Kind::Message},         {Kind::Resume, 2},      {Kind::UnknownPubrec}, {Kind::Miss, 2},
      {Kind::Resume, 1},  {Kind::PubrecFailed, 0}, {Kind::PubrecFailed, 1}};
  CHECK(receive_in_every_way(V5, 2, true, kEvents, 4) == 27'609);
  CHECK(receive_in_every_way(V311, 2, true, std::span(kEvents).first(10), 4) == 9'988);
}

// The same for a session that ends with its connection: 10 events, depth 4, 9 496 sequences.
TEST_CASE("a subscriber without a kept session has each message once, whatever it answers in which order",
          "[session][MQTT-2.2.1-4][MQTT-3.3.4-9][MQTT-3.3.4-10][MQTT-4.3.2-3][MQTT-4.3.3-3][MQTT-4.3.3-4][MQTT-4.4.0-2]"
          "[MQTT-4.6.0-6][MQTT-4.9.0-1][MQTT-4.9.0-2][MQTT-4.9.0-3]") {
  using Kind = SenderEvent::Kind;
  constexpr SenderEvent kEvents[] = {
      {Kind::Puback, 0},  {Kind::Puback, 1}, {Kind::Pubrec, 0},     {Kind::Pubrec, 1},       {Kind::Pubcomp, 0},
      {Kind::Pubcomp, 1}, {Kind::Message},   {Kind::UnknownPubrec}, {Kind::PubrecFailed, 0}, {Kind::PubrecFailed, 1}};
  CHECK(receive_in_every_way(V5, 2, false, kEvents, 4) == 9'496);
}

// Deeper, with a client that answers as it should or refuses, out of order at most. 7 events: a window of two, depth 6,
// 87 847 sequences; a window of one, depth 5, 7 977.
TEST_CASE("a subscriber that keeps to the rules and reconnects has each message once, in every order",
          "[session][MQTT-3.3.1-1][MQTT-3.3.4-9][MQTT-3.3.4-10][MQTT-4.3.2-3][MQTT-4.3.3-3][MQTT-4.3.3-4][MQTT-4.3.3-5]"
          "[MQTT-4.3.3-6][MQTT-4.4.0-1][MQTT-4.4.0-2][MQTT-4.6.0-6][MQTT-4.9.0-1][MQTT-4.9.0-2]") {
  using Kind = SenderEvent::Kind;
  constexpr SenderEvent kEvents[] = {{Kind::Proper, 0},       {Kind::Proper, 1}, {Kind::PubrecFailed, 0},
                                     {Kind::PubrecFailed, 1}, {Kind::Resume, 2}, {Kind::Resume, 1},
                                     {Kind::Miss, 2}};
  CHECK(receive_in_every_way(V5, 2, true, kEvents, 6) == 87'847);
  CHECK(receive_in_every_way(V5, 1, true, kEvents, 5) == 7'977);
}

}  // namespace mqttq
