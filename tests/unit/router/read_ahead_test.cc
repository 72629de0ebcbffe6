// Messages that are read before they are needed.
#include "router/read_ahead.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <string>
#include <vector>

namespace mqttq {

namespace {

using Content = ReadAhead::Content;
using Numbers = std::vector<uint64_t>;

MessageRef made(uint64_t number) {
  MessageView view;
  view.topic_name = "t";
  const std::string payload = std::to_string(number);
  view.payload = as_bytes(payload);
  return Message::create(view);
}

struct ReadAheadTest {
  ReadAheadTest() { REQUIRE(journal.attach(cursor)); }
  ~ReadAheadTest() { journal.detach(cursor); }
  void append(uint64_t number, bool in_memory, uint32_t size = 2) {
    REQUIRE(journal.append(number, in_memory ? made(number) : MessageRef(), size));
  }
  Content find(uint64_t number, bool may_ask = true) {
    message = {};
    return ahead.find(cursor, number, message, [&](std::span<const uint64_t> numbers) {
      asked.assign(numbers.begin(), numbers.end());
      return may_ask;
    });
  }
  std::string payload() const { return message ? std::string(as_text(message->payload())) : "none"; }
  // What was asked for came: those of `lost` do not exist, those of `failed` could not be read.
  bool take(const Numbers& lost = {}, const Numbers& failed = {}) {
    Ring<FetchedMessage> messages;
    for (const uint64_t number : std::exchange(asked, {})) {
      FetchedMessage one{number, {}, Status::Ok};
      if (std::count(lost.begin(), lost.end(), number)) one.status = Status::NotFound;
      if (std::count(failed.begin(), failed.end(), number)) one.status = Status::Io;
      if (one.status == Status::Ok) one.message = made(number);
      REQUIRE(messages.push_back(std::move(one)));
    }
    const bool complete = ahead.take(messages);
    CHECK(messages.empty());
    return complete;
  }

  JournalTotals totals;
  Journal journal{totals};
  Cursor cursor;
  ReadAhead ahead;
  MessageRef message;
  Numbers asked;
};

}  // namespace

TEST_CASE_METHOD(ReadAheadTest, "what is in memory is not asked for", "[router]") {
  append(5, true);
  CHECK(find(5) == Content::Here);
  CHECK(payload() == "5");
  CHECK(asked.empty());
}

TEST_CASE_METHOD(ReadAheadTest, "the next that are not in memory are asked for at once, up to one that is",
                 "[router]") {
  for (const uint64_t number : {2, 4, 6}) append(number, false);
  append(8, true);
  append(9, false);
  CHECK(find(2) == Content::Asked);
  CHECK(asked == Numbers{2, 4, 6});
  const Numbers first = asked;
  asked.clear();
  CHECK(find(2) == Content::Asked);
  CHECK(asked.empty());  // it comes
  asked = first;
  CHECK(take());
  for (const uint64_t number : {2, 4, 6, 8}) {
    CHECK(find(number) == Content::Here);
    CHECK(payload() == std::to_string(number));
    journal.advance(cursor);
  }
  CHECK(asked.empty());
  CHECK(find(9) == Content::Asked);
  CHECK(asked == Numbers{9});
}

TEST_CASE_METHOD(ReadAheadTest, "no more is asked for at once than a bound in messages and in bytes", "[router]") {
  const bool large = GENERATE(true, false);
  for (uint64_t number = 1; number <= 100; ++number) append(number, false, large ? kFetchBytesMax / 4 : 2);
  CHECK(find(1) == Content::Asked);
  CHECK(asked.size() == (large ? 5 : kFetchMessagesMax));
}

TEST_CASE_METHOD(ReadAheadTest, "what is in front of the cursor is asked for alone", "[router]") {
  append(7, false);
  CHECK(find(3) == Content::Asked);
  CHECK(asked == Numbers{3});
  CHECK(take());
  CHECK(find(3) == Content::Here);
  CHECK(payload() == "3");
  CHECK(find(7) == Content::Asked);
}

TEST_CASE_METHOD(ReadAheadTest, "what is not needed any more is passed over", "[router]") {
  for (uint64_t number = 1; number <= 5; ++number) append(number, false);
  CHECK(find(1) == Content::Asked);
  CHECK(take());
  journal.move_over(cursor, 3);  // by a limit
  CHECK(find(4) == Content::Here);
  CHECK(payload() == "4");
  CHECK(find(2) == Content::Asked);  // one that came back
  CHECK(asked == Numbers{2});
}

TEST_CASE_METHOD(ReadAheadTest, "what is not there any more is lost, and what cannot be read is tried again",
                 "[router]") {
  for (uint64_t number = 1; number <= 4; ++number) append(number, false);
  CHECK(find(1) == Content::Asked);
  CHECK_FALSE(take({1}, {3}));
  CHECK(find(1) == Content::Lost);
  journal.advance(cursor);
  CHECK(find(2) == Content::Here);
  journal.advance(cursor);
  for (int tries = 0; tries < 99; ++tries) {
    CHECK(find(3) == Content::Asked);
    CHECK_FALSE(take({}, {3, 4}));
  }
  CHECK(find(3) == Content::Asked);
  CHECK(take({}, {3}));  // for seconds now
  CHECK(find(3) == Content::Lost);
  journal.advance(cursor);
  CHECK(find(4) == Content::Here);
}

TEST_CASE_METHOD(ReadAheadTest, "what could not be asked for may be later", "[router]") {
  append(1, false);
  CHECK(find(1, false) == Content::Later);
  CHECK(find(1) == Content::Asked);
}

TEST_CASE("a number is found in a ring that is in order, and put where it belongs", "[router]") {
  struct Item {
    uint64_t number = 0;
  };
  Ring<Item> ring;
  CHECK(find_number(ring, 1) == nullptr);
  for (int i = 0; i < 6; ++i) {  // so that it does not begin where its block does
    REQUIRE(ring.push_back({1}));
    ring.pop_front();
  }
  for (const uint64_t number : {50, 10, 30, 20, 60, 40}) {
    REQUIRE(ring.make_room());
    CHECK(insert_number(ring, Item{number}).number == number);
  }
  for (uint32_t i = 0; i < ring.count(); ++i) CHECK(ring[i].number == 10 * (i + 1));
  for (uint64_t number = 0; number <= 70; ++number) {
    const Item* found = find_number(ring, number);
    CHECK((found != nullptr) == (number % 10 == 0 && number >= 10 && number <= 60));
    if (found) CHECK(found->number == number);
  }
}

}  // namespace mqttq
