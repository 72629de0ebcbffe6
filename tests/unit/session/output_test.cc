// What a connection has to say: pieces, references, partial writes, and what is given back.
#include "session/output.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "heap.h"

namespace mqttq {

namespace {

class TestLink final : public Link {
 public:
  size_t write(std::span<const Bytes> pieces) noexcept override {
    ++calls;
    pieces_max = std::max(pieces_max, pieces.size());
    size_t taken = 0;
    for (const Bytes piece : pieces) {
      const size_t step = std::min(piece.size(), room - taken);
      text += as_text(piece.first(step));
      taken += step;
      if (step < piece.size()) break;
    }
    room -= taken;
    return taken;
  }
  void pause_reading(bool) noexcept override {}
  void close(bool) noexcept override {}
  std::string_view peer_address() const noexcept override { return {}; }

  std::string text;
  size_t room = SIZE_MAX;
  size_t pieces_max = 0;
  int calls = 0;
};

MessageRef message_of(std::string_view payload) {
  MessageView view;
  view.topic_name = "t";
  view.payload = as_bytes(payload);
  return Message::create(view);
}

void write(Output& output, std::string_view text) {
  std::byte* out = output.write(text.size());
  REQUIRE(out);
  std::memcpy(out, text.data(), text.size());
}

}  // namespace

TEST_CASE("what was written goes out in order, in one write", "[session]") {
  OutputPool pool;
  Output* output = pool.take();
  REQUIRE(output);
  TestLink link;
  write(*output, "abc");
  write(*output, "def");
  const MessageRef message = message_of("payload");
  REQUIRE(output->write_reference(message->payload(), message));
  write(*output, "ghi");
  CHECK(output->size() == 16);
  CHECK(output->flush(link));
  CHECK(link.text == "abcdefpayloadghi");
  CHECK(link.calls == 1);
  CHECK(link.pieces_max == 3);  // neighbours are one piece
  CHECK(output->size() == 0);
  CHECK(output->flush(link));  // nothing to do
  pool.give_back(output);
  pool.give_back(nullptr);
}

TEST_CASE("a referenced message lives until its bytes are sent", "[session]") {
  const int64_t before = heap_blocks();
  OutputPool pool;
  Output* output = pool.take();
  TestLink link;
  link.room = 3;
  {
    const MessageRef message = message_of("payload");
    REQUIRE(output->write_reference(message->payload(), message));
  }
  CHECK_FALSE(output->flush(link));
  CHECK(output->size() == 4);
  const int64_t held = heap_blocks();
  link.room = 100;
  CHECK(output->flush(link));
  CHECK(link.text == "payload");
  CHECK(heap_blocks() == held - 1);
  pool.give_back(output);
  CHECK(heap_blocks() > before);  // the pool keeps what it may use again
}

// Everything that was written comes out, whatever the pieces and whatever the link takes at a time.
TEST_CASE("random writes and partial flushes lose and double nothing", "[session]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 13))));
  const int64_t before = heap_blocks();
  {
    OutputPool pool;
    std::string expected;
    TestLink link;
    Output* output = nullptr;
    uint64_t counter = 0;
    for (int step = 0; step < 3'000; ++step) {
      if (!output) output = pool.take();
      if (random.below(10) < 7) {
        static constexpr uint64_t kSizes[] = {8, 60, 300, 1'500, 20'000};
        std::string text(1 + random.below(kSizes[random.below(random.below(20) == 0 ? 5 : 4)]), ' ');
        for (char& c : text) c = static_cast<char>('a' + counter++ % 26);
        if (text.size() > 256 && random.below(2)) {
          const MessageRef message = message_of(text);
          REQUIRE(output->write_reference(message->payload(), message));
        } else {
          write(*output, text);
        }
        expected += text;
      } else {
        link.room = random.below(4) == 0 ? SIZE_MAX : random.below(2'000);
        const bool done = output->flush(link);
        REQUIRE(done == (output->size() == 0));
        REQUIRE(link.text.size() + output->size() == expected.size());
        if (done) pool.give_back(std::exchange(output, nullptr));
      }
    }
    link.room = SIZE_MAX;
    if (output) CHECK(output->flush(link));
    CHECK(link.text == expected);
    CHECK(link.pieces_max <= 64);
    pool.give_back(output);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("an output given back with bytes unsent lets go of all of them", "[session]") {
  const int64_t before = heap_blocks();
  {
    OutputPool pool;
    Output* output = pool.take();
    for (int i = 0; i < 20; ++i) {
      write(*output, std::string(900, 'x'));
      const MessageRef message = message_of(std::string(500, 'y'));
      REQUIRE(output->write_reference(message->payload(), message));
    }
    TestLink link;
    link.room = 5'000;
    CHECK_FALSE(output->flush(link));
    pool.give_back(output);
    Output* next = pool.take();
    CHECK(next->size() == 0);
    write(*next, "fresh");
    TestLink other;
    CHECK(next->flush(other));
    CHECK(other.text == "fresh");
    pool.give_back(next);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("outputs and chunks are used again instead of allocated", "[session]") {
  OutputPool pool;
  const auto round = [&] {
    Output* outputs[3];
    TestLink link;
    for (Output*& output : outputs) {
      output = pool.take();
      for (int i = 0; i < 30; ++i) write(*output, std::string(700, 'x'));
    }
    for (Output* output : outputs) {
      CHECK(output->flush(link));
      pool.give_back(output);
    }
  };
  round();
  const int64_t kept = heap_blocks();
  FailingHeap none(0);
  round();
  CHECK(heap_blocks() == kept);
}

TEST_CASE("without memory a write says so", "[session]") {
  OutputPool pool;
  {
    FailingHeap none(0);
    CHECK(pool.take() == nullptr);
  }
  Output* output = pool.take();
  const MessageRef message = message_of("x");
  {
    FailingHeap none(0);
    CHECK(output->write(10) == nullptr);
    CHECK_FALSE(output->write_reference(message->payload(), message));
  }
  CHECK(output->size() == 0);
  pool.give_back(output);
}

}  // namespace mqttq
