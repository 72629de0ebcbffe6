// Streams on one shard: what they keep, and what each reader is handed, from memory and from where it is kept.
#include "stream/stream.h"

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "heap.h"
#include "message/topic.h"

namespace mqttq {

namespace {

constexpr uint32_t kHere = 0, kElsewhere = 1;  // shards

// Readers by the index of their memberships.
struct Taken {
  std::vector<uint64_t> positions;
  std::vector<std::string> payloads;
  uint64_t skipped = 0;
  StreamPlace place;
  Handed answer = Handed::Finished;
  uint32_t room = UINT32_MAX;
};

class TestCourier final : public MemberCourier, public StreamCourier {
 public:
  Handed hand_to_member(uint32_t, SlabHandle, SlabHandle, MovingMessage&, uint64_t, Instant,
                        uint64_t) noexcept override {
    return Handed::Away;
  }
  void count_lost() noexcept override { ++lost; }
  void note_groups_changed() noexcept override { ++changes; }
  Handed hand_to_reader(SlabHandle membership, MovingMessage& message, const StreamAt& at, Instant) noexcept override {
    return take(readers[membership.index], message.view(), at);
  }
  bool send_batch(uint32_t shard, SlabHandle membership,
                  std::unique_ptr<StreamBatch, Destroy>& batch) noexcept override {
    CHECK(shard == kElsewhere);
    if (refuses_batches) return false;
    Taken& reader = readers[membership.index];
    for (; !batch->items.empty(); batch->items.pop_front()) {
      if (batch->epoch != reader.place.epoch) continue;
      const StreamBatch::Item& item = batch->items.front();
      if (take(reader, item.message->view(), item.at) == Handed::Full) ++reader.place.epoch;
    }
    batch.reset();
    return true;
  }
  bool fetch_for_stream(SlabHandle page, std::span<const uint64_t> numbers, uint64_t) noexcept override {
    if (!fetches) return false;
    asked.emplace_back(page, std::vector<uint64_t>(numbers.begin(), numbers.end()));
    return true;
  }
  // A body is the number of its message.
  bool read_body(Bytes body, MessageView& message) noexcept override {
    message = kept.at(std::stoull(std::string(as_text(body))))->view();
    return true;
  }
  int64_t unix_us(Instant now) const noexcept override { return now.ns / kMicrosecond; }
  void record_stream(const Stream&) noexcept override { ++recorded; }
  void forget_stream(const Stream&) noexcept override { ++forgotten; }
  void tell_deleted(uint32_t, SlabHandle membership, Instant) noexcept override { deleted.insert(membership.index); }

  std::map<uint32_t, Taken> readers;
  std::map<uint64_t, MessageRef> kept;  // by number
  std::vector<std::pair<SlabHandle, std::vector<uint64_t>>> asked;
  std::set<uint32_t> deleted;
  int lost = 0, changes = 0, recorded = 0, forgotten = 0;
  bool fetches = true, refuses_batches = false;

 private:
  static Handed take(Taken& reader, const MessageView& view, const StreamAt& at) {
    if (reader.answer == Handed::Full || reader.room == 0) return Handed::Full;
    --reader.room;
    reader.positions.push_back(at.position);
    reader.payloads.emplace_back(as_text(view.payload));
    reader.skipped += at.skipped;
    reader.place.position = at.position + 1;
    reader.place.number = at.number + 1;
    return reader.answer;
  }
};

struct StreamTest {
  static constexpr MemberState kThere{1000, true, false, false, 0};

  Stream& declare(const StreamOptions& options = {0, 0, 0}, std::string_view filter = "t/#") {
    Stream* stream = nullptr;
    REQUIRE(streams.declare({0, "s", filter, ++ids, {}}, options, stream) == Status::Ok);
    return *stream;
  }
  // Of last values by topic.
  Stream& declare_last_values(const StreamOptions& options = {0, 0, 0}) {
    Stream* stream = nullptr;
    REQUIRE(streams.declare({0, "s", "t/#", ++ids, "topic", true}, options, stream) == Status::Ok);
    return *stream;
  }
  // Positions of the newest of each topic, in their order, of those that match.
  std::vector<uint64_t> last_values(std::string_view filter = "t/#") const {
    std::map<std::string, uint64_t> newest;
    for (uint64_t position = 0; position < published.size(); ++position) newest[published[position]] = position;
    std::set<uint64_t> found;
    for (const auto& [topic, position] : newest) {
      if (topic_matches(filter, topic)) found.insert(position);
    }
    return {found.begin(), found.end()};
  }
  // shard: kHere, or the other one.
  MemberId join(Stream& stream, uint32_t index, const StreamOffset& offset, std::string_view filter = {},
                uint32_t shard = kHere) {
    const MemberId reader = streams.join(stream, shard, {index, 1}, "client", filter);
    REQUIRE(Streams::is_reader(reader));
    courier.readers[index].place = Streams::resolve(stream, offset, now);
    go_on(reader, index);
    return reader;
  }
  void go_on(MemberId reader, uint32_t index) {
    ++courier.readers[index].place.epoch;
    streams.set_state(reader, kThere, courier.readers[index].place);
  }
  // in_memory: else it has to be read when it is wanted.
  void publish(std::string_view topic, bool in_memory = true) {
    MessageView view;
    const std::string payload = std::to_string(published.size());
    view.topic_name = topic;
    view.payload = as_bytes(std::string_view(payload));
    const MessageRef message = Message::create(view);
    now = now + kMillisecond;
    message->set_logged(now.ns / kMicrosecond);
    courier.kept[++number] = message;
    published.emplace_back(topic);
    const auto ignore = [](Cursor&) {};
    const RouteRef route = router.match(0, topic);
    for (Filter* filter : route->queues()) {
      REQUIRE(filter->gate().enter(message->content_size()));
      const MessageRef none;
      REQUIRE(fan_out.append(
          *filter,
          {number, in_memory ? message : none, message->content_size(), message->logged_us(), message->topic_name()},
          now, ignore));
    }
  }
  // Until nothing more is to be done, or read.
  void run() {
    for (bool more = true; more;) {
      streams.run(now);
      more = streams.has_ready();
      for (auto& [page, numbers] : std::exchange(courier.asked, {})) {
        answer(page, numbers, Status::Ok);
        more = true;
      }
    }
  }
  void answer(SlabHandle page, const std::vector<uint64_t>& numbers, Status status) {
    Ring<FetchedMessage> messages;
    Array<std::byte> bodies;
    for (const uint64_t one : numbers) {
      FetchedMessage fetched{.number = one, .status = status};
      if (status == Status::Ok) {
        const std::string body = std::to_string(one);
        fetched.body_at = bodies.count();
        fetched.body_size = static_cast<uint32_t>(body.size());
        REQUIRE(bodies.append(as_bytes(std::string_view(body))));
      }
      REQUIRE(messages.push_back(std::move(fetched)));
    }
    streams.on_fetched(page, messages, std::move(bodies), now);
  }
  void pass_ms(int64_t duration_ms) {
    now = now + duration_ms * kMillisecond;
    timers.advance(now);
    run();
  }
  // Positions from `first` on whose topics match.
  std::vector<uint64_t> expected(uint64_t first, std::string_view filter = "t/#") const {
    std::vector<uint64_t> found;
    for (uint64_t position = first; position < published.size(); ++position) {
      if (topic_matches(filter, published[position])) found.push_back(position);
    }
    return found;
  }

  Instant now{1'000 * kSecond};
  Router router{2, 1};
  FanOut fan_out{router, kHere};
  TimerWheel timers{now};
  TestCourier courier;
  Streams streams{fan_out, courier, courier, timers, 7};
  uint64_t number = 0, ids = 0;
  std::vector<std::string> published;  // topics, by positions
};

}  // namespace

TEST_CASE("each reader of a stream has all from where it begins, from memory or not, here or elsewhere", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare();
  for (int i = 0; i < 3'000; ++i) test.publish("t/" + std::to_string(i % 7), i >= 2'500);
  for (uint32_t i = 0; i < 12; ++i) {
    test.join(stream, i, {StreamOffset::Kind::Position, i * 260}, {}, i % 2 ? kElsewhere : kHere);
  }
  test.run();
  for (int i = 0; i < 300; ++i) {
    test.publish("t/live");
    if (i % 10 == 0) test.run();
  }
  test.run();
  for (uint32_t i = 0; i < 12; ++i) {
    INFO(i);
    const Taken& reader = test.courier.readers[i];
    if (i % 2) {  // until it says that it is done, so many are on their way
      std::vector<uint64_t> wanted = test.expected(i * 260);
      wanted.resize(std::min<size_t>(wanted.size(), 1024));
      CHECK(reader.positions == wanted);
      continue;
    }
    CHECK(reader.positions == test.expected(i * 260));
  }
}

TEST_CASE("a reader elsewhere is handed what it has said that it is done with", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare();
  for (int i = 0; i < 5'000; ++i) test.publish("t/a", i % 2 == 1 && i >= 4'000);
  const MemberId reader = test.join(stream, 1, {StreamOffset::Kind::Earliest}, {}, kElsewhere);
  size_t before = 0;
  for (int i = 0; i < 100 && test.courier.readers[1].positions.size() < 5'000; ++i) {
    test.run();
    const size_t after = test.courier.readers[1].positions.size();
    REQUIRE(after > before);
    test.streams.done(reader, static_cast<uint32_t>(after - before));
    before = after;
  }
  CHECK(test.courier.readers[1].positions == test.expected(0));
}

TEST_CASE("a reader without room goes on where it stopped", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare();
  for (int i = 0; i < 2'000; ++i) test.publish("t/a", i >= 1'500);
  for (const uint32_t shard : {kHere, kElsewhere}) {
    Taken& taken = test.courier.readers[shard];
    taken.room = 100;
    const MemberId reader = test.join(stream, shard, {StreamOffset::Kind::Earliest}, {}, shard);
    for (int i = 0; i < 30; ++i) {
      test.run();
      taken.room = 100;
      test.go_on(reader, shard);
    }
    CHECK(taken.positions == test.expected(0));
  }
}

TEST_CASE("a narrower filter has all that it matches, and is asked for nothing else", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare();
  for (int i = 0; i < 9'000; ++i) test.publish("t/" + std::to_string(i % 90) + "/" + std::to_string(i % 3), i >= 8'000);
  struct Case {
    uint32_t index;
    std::string_view filter;
  };
  for (const Case& one : {Case{1, "t/7/+"}, {2, "t/+/2"}, {3, "t/#"}, {4, "t/none"}}) {
    INFO(one.filter);
    std::set<uint64_t> read;
    test.join(stream, one.index, {StreamOffset::Kind::Earliest}, one.filter);
    for (bool more = true; more;) {
      test.streams.run(test.now);
      more = test.streams.has_ready();
      for (auto& [page, numbers] : std::exchange(test.courier.asked, {})) {
        for (const uint64_t number : numbers) CHECK(topic_matches(one.filter, test.published[number - 1]));
        test.answer(page, numbers, Status::Ok);
        more = true;
      }
    }
    CHECK(test.courier.readers[one.index].positions == test.expected(0, one.filter));
  }
  test.publish("t/7/x");
  test.publish("t/none");
  test.run();
  CHECK(test.courier.readers[1].positions == test.expected(0, "t/7/+"));
  CHECK(test.courier.readers[4].positions == test.expected(0, "t/none"));
}

TEST_CASE("what is trimmed is gone, and a reader that comes too late is told how much it misses", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare({100, 0, 0});
  Taken& slow = test.courier.readers[1];
  slow.room = 10;
  const MemberId reader = test.join(stream, 1, {StreamOffset::Kind::Earliest});
  for (int i = 0; i < 1'000; ++i) {
    test.publish("t/a", i % 2);
    test.run();
  }
  CHECK(stream.index.first() == 900);
  CHECK(stream.figures.trimmed == 900);
  slow.room = UINT32_MAX;
  test.go_on(reader, 1);
  test.run();
  CHECK(slow.skipped == 890);
  CHECK(slow.positions.size() == 110);
  CHECK(stream.filter->gate().messages() == 100);
}

TEST_CASE("a live reader gets a burst whole that is larger than what is kept", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare({5, 0, 0});
  test.join(stream, 1, {StreamOffset::Kind::Latest});
  test.run();
  for (int i = 0; i < 2'000; ++i) test.publish("t/a");
  test.run();
  CHECK(test.courier.readers[1].positions == test.expected(0));
  CHECK(stream.index.count() == 5);
}

TEST_CASE("limits by bytes and by age", "[stream]") {
  StreamTest test;
  Stream& by_bytes = test.declare({0, 60, 0});
  for (int i = 0; i < 10; ++i) test.publish("t/abcdefgh");  // 11 bytes each
  test.run();
  CHECK(by_bytes.index.count() == 5);
  test.streams.set_options(by_bytes, {0, 0, 10}, test.now);
  CHECK(by_bytes.index.count() == 5);
  test.pass_ms(9'000);
  CHECK(by_bytes.index.count() == 5);
  test.pass_ms(1'200);
  CHECK(by_bytes.index.count() == 0);
  CHECK(by_bytes.index.first() == 10);
  test.publish("t/a");
  CHECK(by_bytes.index.at(10).number == 11);
}

TEST_CASE("what cannot be read is tried again, and what is not there any more is passed over", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare();
  for (int i = 0; i < 100; ++i) test.publish("t/a", false);
  const auto fail = [&](Status status) {
    test.streams.run(test.now);
    auto asked = std::exchange(test.courier.asked, {});
    REQUIRE(asked.size() == 1);
    test.answer(asked[0].first, asked[0].second, status);
  };
  test.courier.fetches = false;
  test.join(stream, 1, {StreamOffset::Kind::Earliest});
  test.streams.run(test.now);
  CHECK(test.courier.readers[1].positions.empty());
  test.courier.fetches = true;
  for (int i = 0; i < 3; ++i) {
    test.now = test.now + 100 * kMillisecond;
    test.timers.advance(test.now);
    fail(Status::Io);
  }
  CHECK(test.courier.lost == 0);
  test.pass_ms(100);
  CHECK(test.courier.readers[1].positions == test.expected(0));
  test.join(stream, 2, {StreamOffset::Kind::Position, 50});
  test.run();  // of the page that is there
  CHECK(test.courier.readers[2].positions == test.expected(50));
  for (int i = 0; i < 10; ++i) test.publish("t/b", false);
  fail(Status::NotFound);
  test.run();
  CHECK(test.courier.lost == 20);  // for both
}

TEST_CASE("a stream of last values has one message of each key, and a reader that keeps up gets every update",
          "[stream]") {
  for (const bool in_memory : {true, false}) {
    StreamTest test;
    Stream& stream = test.declare_last_values();
    Random random(5);
    Taken& slow = test.courier.readers[2];
    slow.room = 50;
    test.join(stream, 1, {StreamOffset::Kind::Earliest});
    const MemberId reader = test.join(stream, 2, {StreamOffset::Kind::Earliest});
    for (int i = 0; i < 20'000; ++i) {
      test.publish("t/" + std::to_string(random.below(random.below(8) ? 20 : 3'000)));
      if (random.below(400) != 0) continue;
      test.run();
      if (!in_memory) test.streams.evict(test.number - random.below(100));
    }
    test.run();
    if (!in_memory) test.streams.evict(test.number);
    const std::vector<uint64_t> wanted = test.last_values();
    CHECK(stream.index.count() == wanted.size());
    CHECK(stream.figures.replaced == test.published.size() - wanted.size());
    CHECK(stream.filter->gate().messages() == wanted.size());
    CHECK((test.courier.readers[1].positions == test.expected(0)));
    test.join(stream, 3, {StreamOffset::Kind::Earliest});
    test.join(stream, 4, {StreamOffset::Kind::Earliest}, "t/+");
    test.join(stream, 5, {StreamOffset::Kind::Earliest}, "t/7");
    test.join(stream, 6, {StreamOffset::Kind::Position, wanted[wanted.size() / 2]});
    slow.room = UINT32_MAX;
    test.go_on(reader, 2);
    test.run();
    CHECK(test.courier.readers[3].positions == wanted);
    CHECK(test.courier.readers[4].positions == wanted);
    CHECK(test.courier.readers[5].positions == test.last_values("t/7"));
    CHECK(test.courier.readers[6].positions.front() == wanted[wanted.size() / 2]);
    // Of the slow one what it had, and from there on the newest of each.
    std::set<uint64_t> left(wanted.begin(), wanted.end());
    for (size_t i = 0; i < 50; ++i) left.erase(slow.positions[i]);
    CHECK(std::vector<uint64_t>(slow.positions.begin() + 50, slow.positions.end()) ==
          std::vector<uint64_t>(left.begin(), left.end()));
    CHECK(slow.skipped == 0);
  }
}

TEST_CASE("limits of a stream of last values are of what it keeps", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare_last_values({100, 0, 0});
  Random random(6);
  for (int i = 0; i < 30'000; ++i) {
    test.publish("t/" + std::to_string(random.below(5'000)));
    if (i % 16 == 0) test.run();
    REQUIRE(stream.index.count() <= 116);
  }
  test.run();
  std::vector<uint64_t> wanted = test.last_values();
  wanted.erase(wanted.begin(), wanted.end() - 100);
  test.join(stream, 1, {StreamOffset::Kind::Earliest});
  test.run();
  CHECK(test.courier.readers[1].positions == wanted);
  CHECK(stream.values.count() <= 2 * 100 + 64 + 16);
}

TEST_CASE("updates of one key cost no other its place", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare_last_values({3, 0, 0});
  for (const char* topic : {"t/a", "t/b", "t/c"}) test.publish(topic);
  test.run();
  for (int i = 0; i < 50; ++i) test.publish("t/c");
  test.run();
  CHECK(stream.index.count() == 3);
  CHECK(stream.figures.trimmed == 0);
  test.join(stream, 1, {StreamOffset::Kind::Earliest});
  test.run();
  CHECK(test.courier.readers[1].positions == test.last_values());
}

TEST_CASE("what a reader of last values has missed are those that the limits dropped", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare_last_values({5, 0, 0});
  Taken& slow = test.courier.readers[1];
  slow.room = 1;
  const MemberId reader = test.join(stream, 1, {StreamOffset::Kind::Earliest});
  for (int i = 0; i < 40; ++i) {
    test.publish("t/" + std::to_string(i % 4));
    test.run();
  }
  for (const char* topic : {"t/x", "t/y", "t/z"}) test.publish(topic);
  test.run();
  CHECK(stream.figures.trimmed == 2);  // of seven keys
  slow.room = UINT32_MAX;
  test.go_on(reader, 1);
  test.run();
  CHECK(slow.skipped == 2);
  CHECK(slow.positions.size() == 1 + 5);
}

TEST_CASE("updates of the same keys take no more memory", "[stream]") {
  StreamTest test;
  Stream& stream = test.declare_last_values();
  const auto update = [&] {
    for (int i = 0; i < 20'000; ++i) {
      test.publish("t/" + std::to_string(i % 50));
      if (i % 10 == 0) test.run();
    }
    test.run();
    test.courier.kept.clear();
    return heap_bytes();
  };
  update();
  const int64_t before = update();
  CHECK(std::abs(update() - before) < 20'000);
  CHECK(stream.index.count() == 50);
}

TEST_CASE("what comes back from the log has the positions that it had, and what is missing is told", "[stream]") {
  StreamTest test;
  Stream* stream = test.streams.restore({0, "s", "t/#", 1, {}}, {0, 0, 0});
  REQUIRE(stream);
  test.streams.restore_place(*stream, 100);
  stream->last_us = 5'000'000;  // of one that was dropped
  const auto ignore = [](Cursor&) {};
  const RouteRef route = test.router.match(0, "t/a");
  for (const uint64_t position : {100, 101, 105, 110}) {
    MessageView view;
    view.topic_name = "t/a";
    const MessageRef message = Message::create(view);
    REQUIRE(test.fan_out.append(*route->queues().front(),
                                {++test.number, message, message->content_size(), static_cast<int64_t>(position),
                                 message->topic_name(), true, position},
                                test.now, ignore));
  }
  Streams::finish_restore(*stream, test.now);
  CHECK(stream->filter->gate().stream_end().position == 111);
  CHECK(stream->index.at(105).us == 105);
  CHECK(stream->last_us == 5'000'000);
  test.join(*stream, 1, {StreamOffset::Kind::Earliest});
  test.join(*stream, 2, {StreamOffset::Kind::Position, 103});
  test.run();
  CHECK(test.courier.readers[1].positions == std::vector<uint64_t>{100, 101, 105, 110});
  CHECK(test.courier.readers[1].skipped == 7);
  CHECK(test.courier.readers[2].positions == std::vector<uint64_t>{105, 110});
  CHECK(test.courier.readers[2].skipped == 6);
  // One that had more than the log has now gets what comes, at whatever position.
  test.courier.readers[4].place = {200, 5, 0, 0, 0};
  test.go_on(test.streams.join(*stream, kHere, {4, 1}, "client", {}), 4);
  test.publish("t/a");
  test.run();
  CHECK(test.courier.readers[4].positions == std::vector<uint64_t>{111});
  // One that stood at 105 goes on there, whatever it is told that this is called.
  test.courier.readers[3].place = {101, 3, 0, 0, 0};
  const MemberId reader = test.streams.join(*stream, kHere, {3, 1}, "client", {});
  test.go_on(reader, 3);
  test.run();
  CHECK(test.courier.readers[3].positions == std::vector<uint64_t>{105, 110, 111});
}

TEST_CASE("a stream that ends tells its readers, also while they wait for a page", "[stream]") {
  const int64_t before = heap_blocks();
  {
    StreamTest test;
    Stream& stream = test.declare();
    for (int i = 0; i < 3'000; ++i) test.publish("t/a", false);
    for (uint32_t i = 0; i < 4; ++i) test.join(stream, i, {StreamOffset::Kind::Position, i * 700});
    test.streams.run(test.now);
    auto asked = std::exchange(test.courier.asked, {});
    test.streams.remove(stream, test.now);
    CHECK(test.courier.deleted.size() == 4);
    for (auto& [page, numbers] : asked) test.answer(page, numbers, Status::Ok);
    test.run();
    CHECK(test.streams.find(0, "s") == nullptr);
    test.declare();
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("streams without memory lose nothing that they took", "[stream]") {
  for (int64_t blocks = 0; blocks < 60; ++blocks) {
    INFO(blocks);
    StreamTest test;
    Stream& stream = test.declare();
    for (int i = 0; i < 1'200; ++i) test.publish("t/" + std::to_string(i % 5), i >= 1'000);
    const MemberId reader = test.join(stream, 1, {StreamOffset::Kind::Earliest}, "t/1");
    test.join(stream, 2, {StreamOffset::Kind::Earliest});
    {
      const FailingHeap heap(blocks);
      test.streams.run(test.now);
    }
    for (int i = 0; i < 3; ++i) test.pass_ms(100);
    CHECK(test.courier.readers[1].positions == test.expected(0, "t/1"));
    CHECK(test.courier.readers[2].positions == test.expected(0));
    test.streams.leave(reader);
  }
}

}  // namespace mqttq
