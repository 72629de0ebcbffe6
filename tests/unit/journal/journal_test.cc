// The tail of a journal against a model that is a vector.
#include "journal/journal.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <memory>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {

MessageRef message_of(std::string_view payload) {
  MessageView view;
  view.topic_name = "t";
  view.payload = as_bytes(payload);
  return Message::create(view);
}

}  // namespace

TEST_CASE("a cursor reads what comes after it was attached, in order", "[journal]") {
  JournalTotals totals;
  Journal journal(totals);
  Cursor early, late;
  REQUIRE(journal.append(1, message_of("nobody reads")));
  CHECK(journal.entry_count() == 0);
  REQUIRE(journal.attach(early));
  CHECK(journal.peek(early) == nullptr);
  REQUIRE(journal.append(2, message_of("a")));
  REQUIRE(journal.attach(late));
  REQUIRE(journal.append(3, message_of("bc")));
  CHECK(journal.behind_count(early) == 2);
  CHECK(journal.behind_bytes(early) == 5);
  CHECK(journal.behind_count(late) == 1);
  CHECK(journal.behind_bytes(late) == 3);
  CHECK(journal.peek(early)->number == 2);
  CHECK(as_text(journal.peek(early)->message->payload()) == "a");
  journal.advance(early);
  CHECK(journal.peek(early)->number == 3);
  CHECK(journal.peek(late)->number == 3);
  journal.advance(early);
  CHECK(journal.peek(early) == nullptr);
  CHECK(journal.behind_bytes(early) == 0);
  journal.detach(early);
  CHECK(journal.peek(late)->number == 3);
  journal.detach(late);
  journal.detach(late);  // again is fine
  CHECK(journal.cursor_count() == 0);
}

TEST_CASE("a message is let go when the slowest cursor has passed it, and no reader is left behind it", "[journal]") {
  const int64_t before = heap_blocks();
  {
    JournalTotals totals;
    Journal journal(totals);
    Cursor slow, fast;
    REQUIRE(journal.attach(slow));
    REQUIRE(journal.attach(fast));
    const int64_t unused = heap_blocks();
    for (uint64_t number = 1; number <= 5; ++number) REQUIRE(journal.append(number, message_of("x")));
    const int64_t empty = unused + 1;  // the room for entries stays
    while (journal.peek(fast)) journal.advance(fast);
    CHECK(heap_blocks() == empty + 5);
    while (journal.peek(slow)) journal.advance(slow);
    CHECK(heap_blocks() == empty);
    CHECK(journal.entry_count() == 0);
    REQUIRE(journal.append(6, message_of("y")));
    CHECK(journal.peek(slow)->number == 6);
    CHECK(journal.peek(fast)->number == 6);
    journal.detach(slow);
    CHECK(heap_blocks() == empty + 1);
    journal.detach(fast);
    CHECK(heap_blocks() == before);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a long journal gives its segments back as the slowest cursor goes on", "[journal]") {
  JournalTotals totals;
  Journal journal(totals);
  Cursor slow, fast;
  REQUIRE(journal.attach(slow));
  REQUIRE(journal.attach(fast));
  for (uint64_t number = 1; number <= 1'000; ++number) REQUIRE(journal.append(number, message_of("x")));
  while (journal.peek(fast)) journal.advance(fast);
  int64_t blocks = heap_blocks();
  for (int i = 0; i < 10; ++i) {
    for (int step = 0; step < 96; ++step) journal.advance(slow);
    CHECK(heap_blocks() < blocks - 60);
    blocks = heap_blocks();
  }
  journal.detach(slow);
  journal.detach(fast);
}

TEST_CASE("a waiting cursor is listed once until it stops", "[journal]") {
  JournalTotals totals;
  Journal journal(totals);
  Cursor cursor;
  REQUIRE(journal.attach(cursor));
  CHECK_FALSE(cursor.waiting());
  journal.wait(cursor);
  journal.wait(cursor);
  CHECK(cursor.waiting());
  CHECK(journal.waiting().pop_front() == &cursor);
  CHECK(journal.waiting().empty());
  journal.wait(cursor);
  journal.detach(cursor);
  CHECK(journal.waiting().empty());
}

TEST_CASE("without memory a journal stays as it was", "[journal]") {
  JournalTotals totals;
  Journal journal(totals);
  Cursor cursor;
  {
    FailingHeap none(0);
    CHECK_FALSE(journal.attach(cursor));
    CHECK(cursor.journal == nullptr);
  }
  REQUIRE(journal.attach(cursor));
  const MessageRef message = message_of("x");
  uint64_t number = 0;
  {
    FailingHeap none(0);
    CHECK_FALSE(journal.append(1, message));
    CHECK(journal.peek(cursor) == nullptr);
  }
  REQUIRE(journal.append(++number, message));
  {
    FailingHeap none(0);
    while (journal.append(number + 1, message)) ++number;  // as far as the first segment reaches
    CHECK_FALSE(journal.append(number + 1, message));
  }
  CHECK(journal.behind_count(cursor) == number);
  REQUIRE(journal.append(number + 1, message));
  for (uint64_t i = 1; i <= number + 1; ++i) {
    REQUIRE(journal.peek(cursor)->number == i);
    journal.advance(cursor);
  }
  CHECK(journal.peek(cursor) == nullptr);
  journal.detach(cursor);
}

TEST_CASE("an entry whose message is kept elsewhere takes few bytes", "[journal]") {
  JournalTotals totals;
  Journal journal(totals);
  Cursor cursor;
  REQUIRE(journal.attach(cursor));
  const int64_t before = heap_bytes();
  constexpr int64_t kCount = 32'000;
  uint64_t number = 0;
  for (int i = 0; i < kCount / 2; ++i) REQUIRE(journal.append(++number, {}, 300));
  CHECK((heap_bytes() - before) / (kCount / 2) <= 6);
  const MessageRef message = message_of(std::string(300, 'x'));
  for (int i = 0; i < kCount / 2; ++i) REQUIRE(journal.append(++number, message));
  CHECK((heap_bytes() - before) / kCount > 10);
  REQUIRE(journal.evict(number - 100, UINT32_MAX));
  CHECK((heap_bytes() - before) / kCount <= 6);
  for (uint64_t i = 1; const JournalEntry* entry = journal.peek(cursor); ++i) {
    REQUIRE(entry->number == i);
    journal.advance(cursor);
  }
  CHECK(totals.messages == 0);
  journal.detach(cursor);
}

TEST_CASE("what cannot be packed for want of memory stays as it is", "[journal]") {
  JournalTotals totals;
  Journal journal(totals);
  Cursor cursor;
  REQUIRE(journal.attach(cursor));
  const MessageRef message = message_of("x");
  for (uint64_t number = 1; number <= 100; ++number) REQUIRE(journal.append(number, message));
  {
    FailingHeap none(0);
    REQUIRE(journal.evict(90, UINT32_MAX));
  }
  for (uint64_t number = 1; number <= 100; ++number, journal.advance(cursor)) {
    REQUIRE(journal.peek(cursor)->number == number);
    REQUIRE(!journal.peek(cursor)->message == (number <= 90));
  }
  journal.detach(cursor);
}

// Random operations; after each, every cursor has to read what the model says.
TEST_CASE("a journal behaves as a vector with positions", "[journal]") {
  const int64_t before = heap_blocks();
  Random random(static_cast<uint64_t>(GENERATE(range(1, 9))));
  struct Entry {
    uint64_t number;
    uint32_t size;
  };
  std::vector<Entry> model;
  struct Reader {
    Cursor cursor;
    size_t at;
  };
  {
    JournalTotals totals;
    Journal journal(totals);
    std::vector<std::unique_ptr<Reader>> readers;
    uint64_t number = 0, evicted = 0;
    for (int step = 0; step < 4'000; ++step) {
      const uint64_t choice = random.below(100);
      if (choice < 45) {
        number += random.below(50) ? 1 + random.below(3) : random.below(uint64_t{1} << (10 + random.below(30)));
        const std::string payload(random.below(random.below(20) ? 20 : 5'000), 'x');
        if (!model.empty() && number <= model.back().number) number = model.back().number + 1;
        REQUIRE(journal.append(number, message_of(payload)));
        model.push_back({number, static_cast<uint32_t>(1 + payload.size())});
      } else if (choice < 50 && readers.size() < 12) {
        readers.push_back(std::make_unique<Reader>());
        REQUIRE(journal.attach(readers.back()->cursor));
        readers.back()->at = model.size();
      } else if (choice < 53 && !readers.empty()) {
        const size_t index = random.below(readers.size());
        journal.detach(readers[index]->cursor);
        readers.erase(readers.begin() + static_cast<ptrdiff_t>(index));
      } else if (choice < 98 && !readers.empty()) {
        Reader& reader = *readers[random.below(readers.size())];
        for (uint64_t steps = random.below(50); steps > 0 && reader.at < model.size(); --steps) {
          journal.advance(reader.cursor);
          ++reader.at;
        }
      } else if (choice < 99) {
        if (number) evicted = std::max(evicted, number - std::min(number, random.below(80)));
        while (!journal.evict(evicted, 1 + static_cast<uint32_t>(random.below(40)))) {}
      } else {
        const uint64_t count_max = random.below(80), bytes_max = random.below(900);
        const auto over = [&](const Reader& reader) {
          uint64_t bytes = 0;
          for (size_t i = reader.at; i < model.size(); ++i) bytes += model[i].size;
          return model.size() - reader.at > count_max || bytes > bytes_max;
        };
        uint64_t expected = 0, moved = 0;
        for (const auto& reader : readers) {
          while (over(*reader)) {
            ++reader->at;
            ++expected;
          }
        }
        journal.enforce(count_max, bytes_max, [&](Cursor&, uint32_t count) { moved += count; });
        CHECK(moved == expected);
      }
      REQUIRE(journal.cursor_count() == readers.size());
      size_t slowest = model.size();
      for (const auto& reader : readers) {
        slowest = std::min(slowest, reader->at);
        REQUIRE(journal.behind_count(reader->cursor) == model.size() - reader->at);
        const JournalEntry* entry = journal.peek(reader->cursor);
        if (reader->at == model.size()) {
          REQUIRE(entry == nullptr);
        } else {
          REQUIRE(entry != nullptr);
          REQUIRE(entry->number == model[reader->at].number);
          REQUIRE(!entry->message == (entry->number <= evicted));
          if (entry->message) REQUIRE(entry->message->content_size() == model[reader->at].size);
          uint64_t bytes = 0;
          for (size_t i = reader->at; i < model.size(); ++i) bytes += model[i].size;
          REQUIRE(journal.behind_bytes(reader->cursor) == bytes);
        }
      }
      // What it keeps is what somebody will read, and less than two segments besides.
      REQUIRE(journal.entry_count() <= model.size() - slowest + 64);
      if (slowest == model.size()) REQUIRE(journal.entry_count() == 0);
      REQUIRE(totals.messages == journal.entry_count());
      uint64_t bytes = 0;
      for (size_t i = model.size() - journal.entry_count(); i < model.size(); ++i) bytes += model[i].size;
      REQUIRE(totals.bytes == bytes);
    }
    for (const auto& reader : readers) journal.detach(reader->cursor);
    CHECK(totals.messages == 0);
    CHECK(totals.bytes == 0);
  }
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
