// The committer: batches in the order of its numbers, answers when the log says durable, refusals when it fails.
#include "broker/committer.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <string>
#include <vector>

#include "heap.h"
#include "router/router.h"

namespace mqttq {

namespace {

constexpr Instant now{kSecond};

class TestLog final : public Log {
 public:
  Status append(std::span<const LogRecord> batch) noexcept override {
    if (answer != Status::Ok) return answer;
    batches.push_back(batch.size());
    for (const LogRecord& record : batch) {
      numbers.push_back(record.number);
      std::string text = std::to_string(record.number) + ":";
      for (const uint64_t journal : record.journals) text += " " + std::to_string(journal);
      records.push_back(text + (record.message ? "" : " none") + (record.state.empty() ? "" : " state"));
    }
    return Status::Ok;
  }
  uint64_t durable_number() noexcept override { return numbers.empty() ? 0 : std::min(durable, numbers.back()); }

  bool keeps() const noexcept override { return quota_bytes != 0; }
  bool wants_lowest() const noexcept override { return true; }
  void set_lowest(uint64_t number) noexcept override { lowest = number; }
  StoreQuota* quota() noexcept override { return quota_bytes ? &store_quota : nullptr; }

  uint64_t quota_bytes = 0, lowest = 0;
  StoreQuota store_quota{{1000, 80}};
  Status answer = Status::Ok;
  uint64_t durable = UINT64_MAX;
  std::vector<size_t> batches;
  std::vector<uint64_t> numbers;
  std::vector<std::string> records;  // "number: journals", "none" without a message, "state"
};

struct CommitterTest {
  Router router{2, 1};
  PostOffice office;
  TestLog log;
  StoreHealth health;
  Committer committer{office, log, &health};
  Filter* filter = nullptr;

  explicit CommitterTest(uint32_t capacity = 64) : office(2, capacity) {
    filter = router.join(0, "t");
    router.set_interest(*filter, 1, true, true);  // durable on the second shard only
    router.set_interest(*filter, 0, true, false);
  }
  ~CommitterTest() {
    for (uint32_t shard = 0; shard < 2; ++shard) take(shard);
    router.set_interest(*filter, 0, false, false);
    router.set_interest(*filter, 1, false, false);
    router.leave(*filter);
  }

  bool propose(uint32_t shard, uint16_t packet_id, bool wanted = true, std::string_view topic = "t",
               Qos qos = Qos::AtLeastOnce, uint64_t receipt = 0) {
    MessageView view;
    view.topic_name = topic;
    const std::string payload = std::to_string(packet_id);
    view.payload = as_bytes(payload);
    view.qos = qos;
    Mail mail;
    mail.number = receipt;
    mail.kind = Mail::Kind::Propose;
    mail.from = static_cast<uint8_t>(shard);
    mail.message = Message::create(view);
    mail.route = router.match(0, topic);
    if (wanted) mail.origin = {{shard, 1}, 7, packet_id, static_cast<uint8_t>(shard)};
    return office.box(shard, office.committer()).push(std::move(mail));
  }
  // What came to a shard: "append 3 payload", "published 5", "refused 5 97".
  std::vector<std::string> take(uint32_t shard) {
    std::vector<std::string> texts;
    Mailbox<Mail>& box = office.box(office.committer(), shard);
    while (Mail* mail = box.front()) {
      if (mail->kind == Mail::Kind::Append) {
        texts.push_back("append " + std::to_string(mail->number) + " " +
                        std::string(as_text(mail->message->payload())));
        if (const auto* without = static_cast<const WithoutQueues*>(mail->payload.get())) {
          std::vector<uint64_t> queues;
          for (const Filter* one : without->filters) queues.push_back(one->hash);
          std::sort(queues.begin(), queues.end());
          for (const uint64_t queue : queues) texts.back() += " without " + std::to_string(queue);
        }
      } else if (mail->kind == Mail::Kind::Alarm) {
        texts.push_back("alarm " + std::string(to_text(health.alarm.load())));
      } else if (mail->kind != Mail::Kind::Published) {
        texts.push_back("other");
      } else if (mail->reason == ReasonCode::Success) {
        texts.push_back("published " + std::to_string(mail->origin.packet_id));
      } else {
        const bool by_queue = static_cast<Detail>(mail->token) == Detail::QueueFull;
        texts.push_back((by_queue ? "no room " : "refused ") + std::to_string(mail->origin.packet_id));
      }
      box.pop();
    }
    return texts;
  }
};

using Texts = std::vector<std::string>;

// Two queues more, at home on the first shard: 11 matches what the session's filter does, "t", and "u"; 22 only "u".
struct QueueCommitterTest : CommitterTest {
  explicit QueueCommitterTest(uint32_t capacity = 64) : CommitterTest(capacity) {
    both = router.join_queue(0, 11, "+");
    second = router.join_queue(0, 22, "u");
    for (Filter* queue : {both, second}) router.set_interest(*queue, 0, false, true);
  }
  ~QueueCommitterTest() {
    for (uint32_t shard = 0; shard < 2; ++shard) take(shard);
    for (Filter* queue : {both, second}) {
      router.set_interest(*queue, 0, false, false);
      router.leave(*queue);
    }
  }
  static void limit(Filter& queue, uint64_t messages_max, QueueOverflow overflow) {
    queue.gate().set_limits(messages_max, UINT64_MAX, overflow);
  }
  // A log that keeps what it is given.
  void keep() {
    log.quota_bytes = 1;
    log.store_quota.set_used(0);
  }
  Texts told(uint32_t shard) {
    Texts texts = take(shard);
    std::erase(texts, "other");
    return texts;
  }
  Filter *both, *second;
};

}  // namespace

// A shard counts on what it has recorded: of a message that is not needed any more nothing is to be dropped before.
TEST_CASE_METHOD(CommitterTest, "what is not needed any more is kept until that is durable", "[broker]") {
  log.quota_bytes = 1000;
  constexpr int64_t kSecondAndMore = kSecond + kMillisecond;
  static_cast<void>(committer.turn(now));
  const auto asked = [&](uint32_t shard) {
    uint32_t questions = 0;
    Mailbox<Mail>& box = office.box(office.committer(), shard);
    for (; Mail* mail = box.front(); box.pop()) questions += mail->kind == Mail::Kind::FindLowest;
    return questions;
  };
  CHECK(asked(0) + asked(1) == 2);
  for (uint32_t shard = 0; shard < 2; ++shard) {
    Mail record, answer;
    record.kind = Mail::Kind::Record;
    record.from = static_cast<uint8_t>(shard);
    auto* state = create<StateRecord>();
    const StateKey key = StateKey().add(uint64_t{shard});
    StateWrites writes;
    writes.erase(StateTable::Inflight, key.bytes());
    state->writes = writes.take();
    record.payload.reset(state);
    REQUIRE(office.box(shard, office.committer()).push(std::move(record)));
    answer.kind = Mail::Kind::Lowest;
    answer.number = 70 + shard;
    REQUIRE(office.box(shard, office.committer()).push(std::move(answer)));
  }
  log.answer = Status::Full;
  for (int second = 0; second < 5; ++second) static_cast<void>(committer.turn(now + second * kSecondAndMore));
  CHECK(log.lowest == 0);
  CHECK(asked(0) + asked(1) == 0);
  log.answer = Status::Ok;
  static_cast<void>(committer.turn(now + 6 * kSecondAndMore));
  CHECK(log.batches == std::vector<size_t>{2});
  CHECK(log.lowest == 70);
  CHECK(asked(0) + asked(1) == 2);
}

TEST_CASE_METHOD(CommitterTest, "proposals become one batch, and each is answered when it is durable", "[broker]") {
  log.durable = 0;
  REQUIRE(propose(0, 5));
  REQUIRE(propose(1, 6));
  REQUIRE(propose(0, 7, false));
  CHECK(committer.turn(now));  // there is something open
  CHECK(log.batches == std::vector<size_t>{3});
  CHECK(log.numbers == std::vector<uint64_t>{1, 2, 3});
  CHECK(take(0).empty());
  CHECK(take(1).empty());
  log.durable = 2;
  CHECK(committer.turn(now));
  CHECK(take(0) == Texts{"published 5"});
  CHECK(take(1) == Texts{"append 1 5", "append 2 7"});
  log.durable = 3;
  CHECK_FALSE(committer.turn(now));
  CHECK(take(0).empty());
  CHECK(take(1) == Texts{"append 3 6", "published 6"});
  CHECK(committer.take_woken() == 3);
  CHECK(committer.take_woken() == 0);
}

TEST_CASE_METHOD(CommitterTest, "a batch that fails is refused as a whole, and what was open before is not",
                 "[broker]") {
  log.durable = 0;
  REQUIRE(propose(0, 1));
  REQUIRE(committer.turn(now));
  log.answer = Status::Io;
  REQUIRE(propose(0, 2));
  REQUIRE(propose(1, 3));
  REQUIRE(propose(0, 4, false));
  REQUIRE(committer.turn(now));
  CHECK(take(0) == Texts{"refused 2"});
  CHECK(take(1) == Texts{"refused 3"});
  log.answer = Status::Ok;
  REQUIRE(propose(0, 5));
  log.durable = UINT64_MAX;
  CHECK_FALSE(committer.turn(now));
  CHECK(take(0) == Texts{"published 1", "published 5"});
  CHECK(take(1) == Texts{"append 1 1", "append 5 5"});  // numbers of a failed batch are not used again
  CHECK(log.numbers == std::vector<uint64_t>{1, 5});
}

TEST_CASE_METHOD(CommitterTest, "beyond the quota messages are refused one by one, and the first shard hears of it",
                 "[broker]") {
  log.quota_bytes = 1;
  log.store_quota.set_used(700);  // a message takes about 138
  for (uint16_t id = 1; id <= 4; ++id) REQUIRE(propose(0, id));
  REQUIRE(propose(1, 5, false));  // a sixteenth more does not do
  committer.turn(now);
  CHECK(log.batches == std::vector<size_t>{2});
  CHECK(log.numbers == std::vector<uint64_t>{1, 2});
  CHECK(health.full);
  CHECK(health.alarm == StoreAlarm::Full);
  Texts first = take(0);
  std::erase(first, "other");  // which number is the lowest?
  CHECK(first == Texts{"published 1", "published 2", "refused 3", "refused 4", "alarm full"});
  Texts second = take(1);
  std::erase(second, "other");
  CHECK(second == Texts{"append 1 1", "append 2 2", "refused 0"});  // nobody waits for it, and it is counted
  log.store_quota.set_used(899);
  committer.turn(now);
  CHECK_FALSE(health.full);
  CHECK(take(0) == Texts{"alarm high"});
  log.store_quota.set_used(0);
  REQUIRE(propose(0, 6));
  committer.turn(now);
  CHECK(take(0) == Texts{"published 6", "alarm ok"});
  CHECK(log.numbers == std::vector<uint64_t>{1, 2, 3});
}

TEST_CASE("answers wait for room in the mailboxes and keep their order", "[broker]") {
  CommitterTest test(1);
  Texts got_0, got_1;
  uint16_t next = 1;
  for (int round = 0; round < 60; ++round) {
    while (next <= 20 && test.propose(1, next)) ++next;
    static_cast<void>(test.committer.turn(now));
    for (std::string& text : test.take(0)) got_0.push_back(std::move(text));
    for (std::string& text : test.take(1)) got_1.push_back(std::move(text));
  }
  Texts expected;
  for (int i = 1; i <= 20; ++i) {
    expected.push_back("append " + std::to_string(i) + " " + std::to_string(i));
    expected.push_back("published " + std::to_string(i));
  }
  CHECK(got_0.empty());
  CHECK(got_1 == expected);
}

// What was taken before memory ended is logged all the same; the rest waits in its mailbox.
TEST_CASE_METHOD(CommitterTest, "without memory proposals wait, and none is answered that was not logged", "[broker]") {
  for (uint16_t id = 1; id <= 40; ++id) REQUIRE(propose(0, id));
  {
    FailingHeap none(0);
    CHECK(committer.turn(now));  // comes back, and is to be called again
    CHECK(log.numbers.empty());
  }
  {
    FailingHeap some(2);
    static_cast<void>(committer.turn(now));
  }
  Texts got = take(0);
  for (int i = 0; i < 5; ++i) {
    static_cast<void>(committer.turn(now));
    for (std::string& text : take(0)) got.push_back(std::move(text));
  }
  Texts expected;
  for (int i = 1; i <= 40; ++i) expected.push_back("published " + std::to_string(i));
  CHECK(got == expected);
  CHECK(log.numbers.size() == 40);
}

// --- queues

TEST_CASE_METHOD(QueueCommitterTest,
                 "a queue that rejects what it has no room for has its publisher told, and nobody else", "[broker]") {
  limit(*both, 2, QueueOverflow::Reject);
  for (uint16_t id = 1; id <= 4; ++id) REQUIRE(propose(1, id));
  CHECK_FALSE(committer.turn(now));
  CHECK(take(0) == Texts{"append 1 1", "append 2 2", "append 3 3 without 11", "append 4 4 without 11"});
  CHECK(take(1) == Texts{"append 1 1", "published 1", "append 2 2", "published 2", "append 3 3 without 11", "no room 3",
                         "append 4 4 without 11", "no room 4"});
  CHECK(both->gate().messages() == 2);
  CHECK(both->gate().refused_count() == 2);
  both->gate().leave(1, 2);
  REQUIRE(propose(1, 5));
  REQUIRE(propose(1, 6));
  committer.turn(now);
  CHECK(take(1) == Texts{"append 5 5", "published 5", "append 6 6 without 11", "no room 6"});
}

TEST_CASE_METHOD(QueueCommitterTest, "a queue that drops what is new has nobody told", "[broker]") {
  limit(*both, 1, QueueOverflow::DropNewest);
  for (uint16_t id = 1; id <= 2; ++id) REQUIRE(propose(0, id));
  committer.turn(now);
  CHECK(take(0) == Texts{"append 1 1", "published 1", "append 2 2 without 11", "published 2"});
  CHECK(both->gate().refused_count() == 1);
}

TEST_CASE_METHOD(QueueCommitterTest, "a queue that is full does without a message, and the other one has it",
                 "[broker]") {
  limit(*both, 1, QueueOverflow::DropNewest);
  limit(*second, 2, QueueOverflow::Reject);
  for (uint16_t id = 1; id <= 3; ++id) REQUIRE(propose(0, id, true, "u"));
  committer.turn(now);
  CHECK(take(0) == Texts{"append 1 1", "published 1", "append 2 2 without 11", "published 2",
                         "append 3 3 without 11 without 22", "no room 3"});
  CHECK(take(1).empty());
  CHECK(both->gate().messages() == 1);
  CHECK(second->gate().messages() == 2);
}

TEST_CASE_METHOD(QueueCommitterTest, "kept is who takes a message, and not who does without it", "[broker]") {
  keep();
  limit(*both, 1, QueueOverflow::Reject);
  limit(*second, 2, QueueOverflow::DropNewest);
  REQUIRE(propose(0, 1));
  REQUIRE(propose(0, 2));
  for (uint16_t id = 3; id <= 5; ++id) REQUIRE(propose(0, id, true, "u"));
  committer.turn(now);
  const std::string session = std::to_string(filter->hash);
  CHECK(log.records == Texts{"1: 11 " + session, "2: " + session, "3: 22", "4: 22", "5: none"});
}

// It is sent again as a new one.
TEST_CASE_METHOD(QueueCommitterTest, "the receipt of a message that a queue rejects is not kept", "[broker]") {
  keep();
  limit(*both, 1, QueueOverflow::Reject);
  REQUIRE(propose(0, 1, true, "t", Qos::ExactlyOnce, 99));
  REQUIRE(propose(0, 2, true, "t", Qos::ExactlyOnce, 99));
  committer.turn(now);
  const std::string session = std::to_string(filter->hash);
  CHECK(log.records == Texts{"1: 11 " + session, "2: " + session, "3: none state"});
}

TEST_CASE_METHOD(QueueCommitterTest, "what could not be written takes no room of a queue", "[broker]") {
  if (GENERATE(true, false)) keep();
  limit(*both, 2, QueueOverflow::Reject);
  log.answer = GENERATE(Status::Io, Status::Full, Status::NoMemory);
  for (uint16_t id = 1; id <= 3; ++id) REQUIRE(propose(0, id));
  committer.turn(now);
  Texts told_0 = told(0);
  std::erase(told_0, "alarm failing");
  CHECK(told_0 == Texts{"refused 1", "refused 2", "refused 3"});
  CHECK(both->gate().messages() == 0);
  CHECK(both->gate().bytes() == 0);
  log.answer = Status::Ok;
  for (uint16_t id = 4; id <= 5; ++id) REQUIRE(propose(0, id));
  committer.turn(now + kSecond);
  told_0 = told(0);
  std::erase(told_0, "alarm ok");
  const size_t appended = static_cast<size_t>(
      std::count_if(told_0.begin(), told_0.end(), [](const std::string& text) { return text.starts_with("append"); }));
  CHECK(appended == 2);
  CHECK(both->gate().messages() == 2);
}

// A will that could not be written is tried again, and has its room meanwhile.
TEST_CASE_METHOD(QueueCommitterTest, "what is tried again keeps its room in a queue, and takes it once", "[broker]") {
  keep();
  limit(*both, 1, QueueOverflow::Reject);
  log.answer = Status::Io;
  REQUIRE(propose(0, 1, false));
  REQUIRE(committer.turn(now));
  CHECK(both->gate().messages() == 1);
  for (int i = 1; i < 5; ++i) REQUIRE(committer.turn(now + i * kSecond));
  CHECK(both->gate().messages() == 1);
  log.answer = Status::Ok;
  committer.turn(now + 10 * kSecond);
  CHECK(both->gate().messages() == 1);
  Texts first = told(0);
  std::erase_if(first, [](const std::string& text) { return text.starts_with("alarm"); });
  CHECK(first == Texts{"append " + std::to_string(log.numbers.back()) + " 1"});
}

TEST_CASE_METHOD(QueueCommitterTest, "what is beyond the quota takes no room of a queue", "[broker]") {
  keep();
  log.store_quota.set_used(990);
  REQUIRE(propose(0, 1));
  committer.turn(now);
  CHECK(both->gate().messages() == 0);
  CHECK(both->gate().bytes() == 0);
  CHECK(log.numbers.empty());
}

TEST_CASE_METHOD(QueueCommitterTest, "a message at QoS 0 goes to queues, and nobody is answered", "[broker]") {
  const bool keeps = GENERATE(true, false);
  if (keeps) keep();
  limit(*both, 1, QueueOverflow::Reject);
  REQUIRE(propose(1, 0, false, "t", Qos::AtMostOnce));
  REQUIRE(propose(1, 0, false, "t", Qos::AtMostOnce));
  committer.turn(now);
  CHECK(told(0) == Texts{"append 1 0", "append 2 0 without 11"});
  CHECK(told(1).empty());
  if (keeps) CHECK(log.records == Texts{"1: 11", "2: none"});
  log.answer = Status::Io;
  both->gate().leave(1, 2);
  REQUIRE(propose(1, 0, false, "t", Qos::AtMostOnce));
  committer.turn(now);
  CHECK(both->gate().messages() == 0);
  CHECK(told(1) == (keeps ? Texts{"refused 0"} : Texts{}));  // lost, and counted
}

// Whatever memory is refused to: each message has its room once, or is not taken.
TEST_CASE("without memory no room of a queue is taken twice", "[broker]") {
  for (int64_t after = 0; after < 40; ++after) {
    QueueCommitterTest test;
    test.limit(*test.both, 3, QueueOverflow::DropNewest);
    test.limit(*test.second, 1, QueueOverflow::Reject);
    for (uint16_t id = 1; id <= 6; ++id) REQUIRE(test.propose(0, id, true, "u"));
    Texts got;
    const auto look = [&] {
      for (std::string& text : test.take(0)) got.push_back(std::move(text));
    };
    {
      FailingHeap some(after);
      static_cast<void>(test.committer.turn(now));
    }
    look();
    for (int i = 0; i < 5; ++i) {
      static_cast<void>(test.committer.turn(now + i * kSecond));
      look();
    }
    const auto taken = [&](const std::string& queue) {
      return static_cast<uint64_t>(std::count_if(got.begin(), got.end(), [&](const std::string& text) {
        return text.starts_with("append") && text.find("without " + queue) == std::string::npos;
      }));
    };
    INFO(after);
    CHECK(test.both->gate().messages() == taken("11"));
    CHECK(test.second->gate().messages() == taken("22"));
    CHECK(test.both->gate().messages() <= 3);
    CHECK(test.second->gate().messages() <= 1);
  }
}

}  // namespace mqttq
