// Whole sessions: a program drives a broker without I/O, and a model judges all that comes back.
//
// An input is text: '0'..'9', 'a'..'z' are 0..35, and any other character is its code. The first chooses the broker: an
// even number two shards with mailboxes of one mail, an odd one one shard; 2 and 3 with small windows, 4 and 5 with
// small outboxes; and each six more are these with another strategy of shared groups. After '=' stands one that
// rewrites topics, which some clients call by other names, and subscribes everybody to "a/b" by itself.
//
// Then come instructions: a letter, and a character for each operand. Spaces and unknown letters count for nothing.
// `c` is a client, 0 to 3.
//
//   C c v f e r p k w s connects: version 3.1, 3.1.1, 5; clean start; expiry 0, 30 s, 120 s, for ever; Receive Maximum;
//                       Maximum Packet Size; Keep Alive; will (0 none, else QoS, retain, delay); accepting shard
//   S c n (f o)* i      subscribes to 1 to 3 filters with options, or (9) to 20 from the one on; i: identifier
//   U c n f*            unsubscribes
//   P c t q z x         publishes: topic, QoS and retain, size, properties
//   F c t q z x d       the same, delayed: 3 s, 12 s, 60 s
//   D c n               repeats a publish that is not finished, with DUP
//   J c n q             publishes under the identifier of one that is open: QoS 1 or 2, without and with DUP
//   A c m               acknowledges by itself (1, as at first) or not (0)
//   K c n r             sends the n-th acknowledgement that is due; r: refuses
//   X c k               acknowledges what is not there, or not so
//   I c                 pings
//   Q c r               disconnects: normally, with its will, with another expiry
//   B c m               its link breaks: 0 behind what it sent, 1 at once; 2: it shuts its own side alone, and reads on
//   M c k               sends what is malformed
//   H c n               of what it sends next only n bytes come; the rest comes before what follows
//   E c n               what it sends is read n bytes at a time; 0: at once
//   W c n               its link takes n more bytes, and then none;  N c: its link takes all again
//   T n                 time passes
//   G                   from here on things are only sent;  . lets all come to rest;  t n: a turn of shard, committer;
//                       g: things happen at once again
//   L l                 the log holds everything back; goes on
//   Y v  V k n b  Z n…  a stranger in another namespace: connects (3: too large); sends a packet with byte n set to b;
//                       sends n bytes
//
// At the end all come back, get what they are owed and leave for good; the broker is then to be empty. What happens is
// told on standard error with MQTTQ_FUZZ_TRACE in the environment. -entropic=0 and ASAN_OPTIONS=malloc_context_size=2
// double the speed.
#include <algorithm>

#include "old_names.h"
#include "session/client.h"
#include "session/stranger.h"

namespace {

using namespace mqttq;
using namespace mqttq::fuzz;

constexpr const char* kTopics[] = {"a", "a/b", "a/b/c", "b", "/a", "g/x", "$d/a", "$SYS/x"};
constexpr const char* kFilters[] = {
    "a",     "a/b",          "a/+",          "a/#",          "#",     "+",        "+/b",  "b", "/+", "w/#", "$d/#",
    "a/b/c", "$share/s/g/+", "$share/s/g/x", "$share/t/g/#", "a/#/b", "$share/s", "+/+/c"};
constexpr uint32_t kClients = 4;
constexpr uint32_t kLongestDelay_s = 60;

class Program {
 public:
  Program(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool done() const { return rest_.empty(); }
  // Passes over this character, if it is the next.
  bool take(uint8_t wanted) {
    if (rest_.empty() || rest_.front() != wanted) return false;
    raw();
    return true;
  }
  uint8_t raw() {
    if (rest_.empty()) return 0;
    const uint8_t byte = rest_.front();
    rest_ = rest_.subspan(1);
    return byte;
  }
  uint8_t letter() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) raw();
    return raw();
  }
  // 0 .. bound-1.
  uint32_t number(uint32_t bound) {
    const uint8_t byte = letter();
    if (byte >= '0' && byte <= '9') return (byte - '0') % bound;
    if (byte >= 'a' && byte <= 'z') return (byte - 'a' + 10u) % bound;
    return byte % bound;
  }
  template <class T, size_t count>
  T choice(const T (&table)[count]) {
    return table[number(count)];
  }

 private:
  std::span<const uint8_t> rest_;
};

struct Setup {
  uint32_t shard_count, mailbox_capacity;
  Limits limits;
  Policy policy;
};

Setup read_setup(Program& program) {
  static constexpr SharedStrategy kStrategies[] = {
#define MQTTQ_X(name, word) SharedStrategy::name,
      MQTTQ_SHARED_STRATEGIES(MQTTQ_X)
#undef MQTTQ_X
  };
  const bool renames = program.take('=');
  const uint32_t choice = program.number(6 * std::size(kStrategies));
  const uint32_t kind = choice % 6;
  Setup setup{2 - kind % 2, kind % 2 ? 64u : 1u, {}, {}};
  setup.policy.shared.set_default(kStrategies[choice / 6]);
  if (renames) {
    rewrite_old_names(setup.policy);
    setup.policy.auto_subscriptions.emplace_back(kGlobalNamespace, "a/b", codec::SubscriptionOptions{Qos::AtLeastOnce});
  }
  setup.limits.packet_size_max = 64 * 1024;
  setup.limits.connect_size_max = 256;
  setup.limits.receipt_timeout_s = 1'000'000;
  setup.limits.topic_alias_maximum = 4;
  if (kind / 2 == 1) {
    setup.limits.receive_maximum = 3;
    setup.limits.inflight_max = 2;
  } else if (kind / 2 == 2) {
    setup.limits.outbox_bytes_max = 600;
    setup.limits.outbox_messages_max = 5;
  }
  return setup;
}

class Run {
 public:
  explicit Run(Program& program)
      : program_(program),
        setup_(read_setup(program)),
        broker_(setup_.shard_count, setup_.mailbox_capacity, setup_.limits, setup_.policy),
        model_(broker_, setup_.policy),
        stranger_(broker_, model_) {
    for (uint32_t i = 0; i < kClients; ++i) {
      const bool uses_old_names = setup_.policy.rewrites.count() && i % 2 == 0;
      clients_.push_back(std::make_unique<Client>(broker_, model_, "c" + std::to_string(i), uses_old_names));
    }
  }

  void run() {
    constexpr uint32_t kStepsMax = 400;
    for (uint32_t step = 0; step < kStepsMax && !program_.done(); ++step) {
      const auto halves = [](const auto& client) { return client->half_sent(); };
      model_.still = !hold_;
      model_.calm = !hold_ && !broker_.log().held && std::none_of(clients_.begin(), clients_.end(), halves);
      act(program_.letter());
      if (!hold_) settle();
    }
    finish();
  }

 private:
  Client& client() { return *clients_[program_.number(kClients)]; }

  void act(uint8_t letter) {
    if (traced()) trace(std::string("-- ") + static_cast<char>(letter));
    switch (letter) {
      case 'C': return connect(client());
      case 'S': return subscribe(client());
      case 'U': return unsubscribe(client());
      case 'P': return publish(client(), false);
      case 'F': return publish(client(), true);
      case 'D': return with_number(&Client::repeat_publish);
      case 'J': {
        Client& one = client();
        const uint32_t which = program_.number(36);
        const uint32_t kind = program_.number(4);
        return one.publish_in_use(which, kind % 2 ? Qos::ExactlyOnce : Qos::AtLeastOnce, kind / 2);
      }
      case 'X': return with_number(&Client::acknowledge_wrongly);
      case 'M': return with_number(&Client::send_malformed);
      case 'H': return with_number(&Client::split_next);
      case 'E': return with_number(&Client::set_chunk);
      case 'A': {
        Client& one = client();
        return one.set_automatic(program_.number(2));
      }
      case 'K': {
        Client& one = client();
        const uint32_t which = program_.number(36);
        return one.acknowledge(which, program_.number(2));
      }
      case 'I': return client().ping();
      case 'Q': return disconnect(client());
      case 'B': {
        Client& one = client();
        const uint32_t how = program_.number(3);
        return how == 2 ? one.shut() : one.drop(how);
      }
      case 'W': {
        Client& one = client();
        return one.set_room(program_.number(36));
      }
      case 'N': return client().set_room(SIZE_MAX);
      case 'T': return pass_time();
      case 'G': hold_ = true; return;
      case 'g': hold_ = false; return;
      case '.': return settle();
      case 't': return broker_.turn(program_.number(setup_.shard_count + 1));
      case 'L': broker_.log().held = true; return;
      case 'l':
        broker_.log().held = false;
        broker_.wake_all();
        return;
      case 'Y': return stranger_.connect(program_.number(4));
      case 'V': {
        const uint32_t kind = program_.number(36);
        const uint32_t at = program_.number(64);
        return stranger_.send_changed(kind, at, program_.raw());
      }
      case 'Z': {
        std::vector<std::byte> bytes(program_.number(36));
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(program_.raw());
        return stranger_.send(bytes);
      }
      default: return;
    }
  }

  void with_number(void (Client::*what)(uint32_t)) {
    Client& one = client();
    (one.*what)(program_.number(64));
  }

  void connect(Client& one) {
    static constexpr ProtocolVersion kVersions[] = {ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5};
    static constexpr uint32_t kExpiries[] = {0, 30, 120, kSessionExpiryNever};
    static constexpr uint16_t kReceiveMaxima[] = {kReceiveMaximumDefault, 1, 2, 5};
    static constexpr uint32_t kPacketSizes[] = {0, 200, 90, 64, 24, 8, 3};
    static constexpr uint16_t kKeepAlives[] = {0, 10, 60};
    ConnectSetup setup;
    setup.version = program_.choice(kVersions);
    setup.clean_start = program_.number(2);
    setup.session_expiry_s = program_.choice(kExpiries);
    setup.receive_maximum = program_.choice(kReceiveMaxima);
    setup.packet_size_max = program_.choice(kPacketSizes);
    setup.alias_max = setup.receive_maximum == 5 ? 3 : 0;
    setup.keep_alive_s = program_.choice(kKeepAlives);
    const uint32_t will = program_.number(13);
    setup.has_will = will;
    if (will) {
      setup.will_qos = static_cast<Qos>((will - 1) % 3);
      setup.will_retain = (will - 1) / 3 % 2;
      setup.will_delay_s = (will - 1) / 6 * 20;
    }
    one.connect(setup, program_.number(setup_.shard_count));
  }

  void subscribe(Client& one) {
    constexpr uint32_t kMany = 20;
    const uint32_t count = program_.number(10);
    std::vector<Wanted> entries(count == 9 ? 1 : 1 + (count + 2) % 3);
    uint32_t first = 0;
    for (Wanted& entry : entries) {
      first = program_.number(std::size(kFilters));
      entry.text = kFilters[first];
      const uint32_t options = program_.number(36);
      entry.options.qos = static_cast<Qos>(options % 3);
      entry.options.no_local = options / 3 % 2;
      entry.options.retain_as_published = options / 6 % 2;
      entry.options.retain_handling = static_cast<codec::RetainHandling>(options / 12);
    }
    while (count == 9 && entries.size() < kMany) {
      entries.push_back(entries.front());
      entries.back().text = kFilters[(first + entries.size() - 1) % std::size(kFilters)];
    }
    one.subscribe(std::move(entries), program_.number(4));
  }

  void unsubscribe(Client& one) {
    std::vector<std::string> texts(1 + (program_.number(3) + 2) % 3);
    for (std::string& text : texts) text = program_.choice(kFilters);
    one.unsubscribe(texts);
  }

  void publish(Client& one, bool delayed) {
    static constexpr uint32_t kPaddings[] = {0, 40, 300, 3000};
    static constexpr uint32_t kDelays_s[] = {3, 12, kLongestDelay_s};
    PublishSetup setup;
    setup.topic_name = program_.choice(kTopics);
    const uint32_t qos = program_.number(6);
    setup.qos = static_cast<Qos>(qos % 3);
    setup.retain = qos / 3;
    const uint32_t size = program_.number(5);
    setup.empty = size == 4;
    setup.padding = setup.empty ? 0 : kPaddings[size];
    const uint32_t properties = program_.number(16);
    setup.alias = properties & 1;
    setup.properties = properties & 2;
    if (properties & 4) setup.expiry_s = properties & 8 ? 100 : 6;
    if (delayed) setup.delay_s = program_.choice(kDelays_s);
    one.publish(setup);
  }

  void disconnect(Client& one) {
    switch (program_.number(5)) {
      case 0: return one.disconnect(ReasonCode::Success, {});
      case 1: return one.disconnect(ReasonCode::DisconnectWithWill, {});
      case 2: return one.disconnect(ReasonCode::Success, 0);
      case 3: return one.disconnect(ReasonCode::Success, 60);
      default: return one.disconnect(ReasonCode::UnspecifiedError, 10);
    }
  }

  void pass_time() {
    static constexpr int64_t kSteps_ms[] = {50, 1'000, 7'000, 16'000, 35'000, 100'000, 200'000};
    const int64_t step_ms = program_.choice(kSteps_ms);
    if (!hold_) advance_ms(step_ms);
  }

  void advance_ms(int64_t step_ms) {
    broker_.advance_ms(step_ms);
    model_.on_time();
    for (const auto& one : clients_) one->on_time();
  }

  // What is delayed comes.
  void wait_for_delayed() {
    if (!model_.has_delayed()) return;
    advance_ms((kLongestDelay_s + 2) * 1000);
    settle();
  }

  // Until nobody has anything to say; then what has to be so is.
  void settle() {
    for (uint32_t round = 0;; ++round) {
      require(round < 10'000, "broker and clients come to rest");
      broker_.settle();
      bool some = stranger_.read();
      for (const auto& one : clients_) some |= one->read();
      if (!some) break;
    }
    stranger_.judge_rest();
    if (broker_.log().held) {
      for (const auto& one : clients_) one->judge_time();
      return;
    }
    const bool half = std::any_of(clients_.begin(), clients_.end(), [](const auto& one) { return one->half_sent(); });
    for (const auto& one : clients_) one->judge_rest();
    if (!half) model_.rest();
  }

  // All come back, get what they are owed, and leave for good.
  void finish() {
    if (traced()) trace("-- the end");
    hold_ = broker_.log().held = false;
    broker_.wake_all();
    for (const auto& one : clients_) one->send_held();
    settle();
    for (const auto& one : clients_) one->set_room(SIZE_MAX);
    settle();
    for (const auto& one : clients_) one->set_automatic(true);
    settle();
    model_.calm = true;
    wait_for_delayed();
    for (const auto& one : clients_) {
      if (!one->was_here() || !one->idle() || !one->session_kept()) continue;
      ConnectSetup setup;
      setup.version = one->version();
      setup.clean_start = false;
      setup.session_expiry_s = one->session_expiry_s();
      one->connect(setup, 0);
    }
    settle();
    for (const auto& one : clients_) {
      if (!one->was_here()) continue;
      if (!one->idle()) one->disconnect(ReasonCode::Success, {});
      settle();
      ConnectSetup setup;
      one->connect(setup, 0);
      settle();
      one->disconnect(ReasonCode::Success, {});
      settle();
    }
    stranger_.leave();
    settle();
    wait_for_delayed();
    broker_.end_sessions(Stranger::kNamespace);
    settle();
    broker_.require_empty();
  }

  Program& program_;
  Setup setup_;
  Broker broker_;
  Model model_;
  Stranger stranger_;
  std::vector<std::unique_ptr<Client>> clients_;
  bool hold_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 4096) return 0;
  Program program(data, size);
  Run(program).run();
  return 0;
}
