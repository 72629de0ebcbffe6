// Queues on one shard, with a courier that notes what it is told, for tests of lib/queue/.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "codec/codec.h"
#include "queue/queue.h"
#include "queue/queue_message.h"

namespace mqttq {

// User properties, in their order.
inline std::vector<std::pair<std::string, std::string>> user_properties(const MessageView& view) {
  std::vector<std::pair<std::string, std::string>> found;
  codec::PropertyReader reader(view.properties);
  for (codec::Property property; reader.next(property);) {
    if (property.id != PropertyId::UserProperty) continue;
    found.emplace_back(as_text(property.data), as_text(property.value));
  }
  return found;
}

class QueueTestCourier final : public MemberCourier, public QueueCourier {
 public:
  Handed hand_to_member(uint32_t, SlabHandle membership, SlabHandle home, MovingMessage& message, uint64_t, Instant,
                        uint64_t) noexcept override {
    CHECK(home.generation == 0);  // what comes back comes back by its member
    const auto at = answers.find(membership.index);
    const Handed answer = at == answers.end() ? Handed::Open : at->second;
    if (answer == Handed::Full || answer == Handed::Away) return answer;
    std::string text = std::to_string(membership.index) + ":" + std::string(as_text(message.view().payload));
    for (const auto& [name, value] : user_properties(message.view())) {
      if (name == kDeliveryCountProperty) text += "#" + value;
    }
    handed.push_back(text);
    return answer;
  }
  void count_lost() noexcept override { ++lost; }
  void note_groups_changed() noexcept override { ++changes; }
  bool fetch_for_queue(SlabHandle queue, std::span<const uint64_t> numbers) noexcept override {
    last_queue = queue;
    if (!fetches) return false;
    asked.assign(numbers.begin(), numbers.end());
    return true;
  }
  // The test answers where answers_letters is not set.
  bool publish_dead_letter(const MessageRef& message, SlabHandle queue, uint64_t number, Instant) noexcept override {
    if (!publishes) return false;
    letters.push_back(message);
    last_letter = queue;
    if (answers_letters) queues->on_letter(queue, number, true);
    return true;
  }
  int64_t unix_ms(Instant now) const noexcept override { return now.ns / kMillisecond; }
  void record_value(const Queue& queue, const QueueValue& value) noexcept override {
    values.emplace_back(std::string(queue.name.view()) + ":" + std::to_string(value.number));
  }
  void record_queue(const Queue& queue) noexcept override { recorded.emplace_back(queue.name.view()); }
  void forget_queue(const Queue& queue) noexcept override { forgotten.emplace_back(queue.name.view()); }
  void tell_deleted(uint32_t shard, SlabHandle membership, Instant) noexcept override {
    deleted.push_back(std::to_string(shard) + "/" + std::to_string(membership.index));
  }

  // Who got what since the last call: "membership:payload", and "#n" where the message says how often it was sent.
  std::vector<std::string> take() { return std::exchange(handed, {}); }

  std::vector<std::string> handed, recorded, forgotten, deleted, values;
  std::map<uint32_t, Handed> answers;  // by membership; Open where there is none
  std::vector<MessageRef> letters;
  std::vector<uint64_t> asked;
  SlabHandle last_queue, last_letter;
  int lost = 0, changes = 0;
  bool publishes = true, answers_letters = true, fetches = true;
  Queues* queues = nullptr;
};

struct QueueTest {
  QueueTest() { courier.queues = &queues; }
  static constexpr MemberState kThere{100, true, false, true, 0}, kAway{0, false, false, true, 0};
  using Texts = std::vector<std::string>;

  // Those that a test declares have these options by default.
  static QueueOptions plain() {
    QueueOptions options;
    options.age_max_s = 0;
    return options;
  }
  // window: messages at once.
  static MemberState there(uint16_t window, int8_t priority = 0) { return {window, true, false, true, priority}; }

  Queue& declare(const QueueOptions& options = plain(), std::string_view name = "q", std::string_view filter = "t",
                 std::string_view dead_letter_topic = {}) {
    Queue* queue = nullptr;
    REQUIRE(queues.declare({0, name, filter, ++ids}, options, dead_letter_topic, queue) == Status::Ok);
    REQUIRE(queue);
    return *queue;
  }
  MemberId join(Queue& queue, uint32_t index, MemberState state = kThere) {
    const MemberId member = queues.join(queue, 0, {index, 1}, state);
    REQUIRE(Queues::is_member(member));
    queues.set_state(member, state, now);
    return member;
  }

  static MessageView message(std::string_view payload, Qos qos = Qos::AtLeastOnce, std::string_view topic = "t") {
    MessageView view;
    view.topic_name = topic;
    view.payload = as_bytes(payload);
    view.qos = qos;
    return view;
  }
  // As the committer numbers it, and as it comes from there.
  uint64_t publish(const MessageView& view, bool in_memory = true) {
    const RouteRef route = router.match(view.namespace_id, view.topic_name);
    const MessageRef kept = Message::create(view);
    Array<Filter*> without;
    for (Filter* filter : route->queues()) {
      if (!filter->gate().enter(kept->content_size())) REQUIRE(without.push_back(filter));
    }
    append(kept, *route, without.span(), in_memory);
    return number;
  }
  void append(const MessageRef& kept, const Route& route, std::span<Filter* const> without, bool in_memory = true) {
    const auto ignore = [](Cursor&) {};
    ++number;
    if (in_memory) {
      REQUIRE(fan_out.append(number, kept, route, without, now, ignore));
    } else {
      for (Filter* filter : route.journals(kept->qos())) {
        REQUIRE(fan_out.append(*filter, {number, {}, kept->content_size()}, now, ignore));
      }
    }
    queues.run(now);
  }
  // So many, whose payloads are their numbers.
  void publish(int count, bool in_memory = true) {
    for (; count; --count) publish(message(std::to_string(number + 1)), in_memory);
  }
  void done(MemberId member, const std::vector<uint64_t>& numbers, uint64_t marks = 0) {
    std::vector<uint64_t> marked;
    for (const uint64_t one : numbers) marked.push_back(one | marks);
    queues.done(member, marked, now);
  }
  void reject(MemberId member, const std::vector<uint64_t>& numbers) { done(member, numbers, GroupNumbers::kRejected); }
  void give_up(MemberId member, const std::vector<uint64_t>& numbers) {
    done(member, numbers, GroupNumbers::kReturned);
  }
  void pass_ms(int64_t duration_ms) {
    now = now + duration_ms * kMillisecond;
    timers.advance(now);
    queues.run(now);
  }
  // A due time, and the two ticks that a timer may be late.
  void pass_surely_ms(int64_t duration_ms) { pass_ms(duration_ms + 32); }

  // What would be written of each that is changed: "q@position: what is open", "." behind what is settled, "*" behind
  // what a consumer has.
  std::string record(bool all = false) {
    std::string text;
    queues.record_progress(number, all, now, [&](const Queue& queue, uint64_t position) {
      text += std::string(queue.name.view()) + "@" + std::to_string(position) + ":";
      for (uint32_t i = 0; i < queue.work->open.count(); ++i) {
        const QueueOpen& one = queue.work->open[i];
        text += " " + std::to_string(one.number) + (one.settled ? "." : one.member ? "*" : "");
      }
    });
    return text;
  }
  // What it holds, where all agree about that.
  uint64_t depth(Queue& queue) {
    const QueueGate& gate = queue.filter->gate();
    uint64_t open_bytes = 0;
    uint32_t open = 0, waiting = 0;
    for (uint32_t i = 0; i < queue.work->open.count(); ++i) {
      const QueueOpen& one = queue.work->open[i];
      if (one.settled) continue;
      ++open;
      waiting += !one.member;
      open_bytes += one.size;
    }
    CHECK(queue.work->open_count == open);
    CHECK(queue.work->waiting_count == waiting);
    CHECK(queue.work->open_bytes == open_bytes);
    CHECK(gate.messages() == queue.depth());
    CHECK(gate.bytes() == queue.bytes());
    return queue.depth();
  }

  Router router{2, 1};
  FanOut fan_out{router, 0};
  QueueTestCourier courier;
  Instant now{1000 * kSecond};
  TimerWheel timers{now};
  Queues queues{fan_out, courier, courier, timers, 1};
  uint64_t number = 0, ids = 0;
};

}  // namespace mqttq
