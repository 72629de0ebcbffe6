// Which descriptors are ready, and that nobody hears of one that was taken out.
#include "transport/poller.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <utility>
#include <vector>

namespace mqttq {

namespace {

constexpr uint8_t kReadable = Poller::kReadable, kWritable = Poller::kWritable, kFailed = Poller::kFailed;

struct Pair {
  Pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0); }
  ~Pair() {
    for (const int end : ends) {
      if (end >= 0) ::close(end);
    }
  }
  void hang_up() { ::close(std::exchange(ends[1], -1)); }
  void send() const { REQUIRE(::write(ends[1], "x", 1) == 1); }
  int ends[2];
};

struct PollerTest {
  std::vector<std::pair<void*, uint8_t>> told;
  void (*then)(PollerTest& test) = nullptr;
  Pair one, two;
  Poller poller{this, [](void* user, void* item, uint8_t events) noexcept {
                  auto& test = *static_cast<PollerTest*>(user);
                  test.told.emplace_back(item, events);
                  if (test.then) test.then(test);
                }};
  std::vector<std::pair<void*, uint8_t>> wait() {
    poller.wait(0);
    std::sort(told.begin(), told.end());
    return std::exchange(told, {});
  }
  bool has_something() const {
    pollfd watched{poller.descriptor(), POLLIN, 0};
    return ::poll(&watched, 1, 0) == 1;
  }
};

using Told = std::vector<std::pair<void*, uint8_t>>;

}  // namespace

TEST_CASE_METHOD(PollerTest, "what is asked for is told, as long as it is so", "[transport]") {
  REQUIRE(poller.change(one.ends[0], &one, 0, kReadable));
  CHECK(wait() == Told{});
  CHECK_FALSE(has_something());
  one.send();
  CHECK(has_something());
  CHECK(wait() == Told{{&one, kReadable}});
  CHECK(wait() == Told{{&one, kReadable}});
  REQUIRE(poller.change(one.ends[0], &one, kReadable, kReadable | kWritable));
  CHECK(wait() == Told{{&one, kReadable | kWritable}});
  REQUIRE(poller.change(one.ends[0], &one, kReadable | kWritable, kWritable));
  CHECK(wait() == Told{{&one, kWritable}});
  REQUIRE(poller.change(one.ends[0], &one, kWritable, 0));
  CHECK(wait() == Told{});
}

TEST_CASE_METHOD(PollerTest, "a peer that is gone is told of, but not where nothing is asked for", "[transport]") {
  REQUIRE(poller.change(one.ends[0], &one, 0, kReadable));
  REQUIRE(poller.change(two.ends[0], &two, 0, kReadable));
  REQUIRE(poller.change(two.ends[0], &two, kReadable, 0));
  one.hang_up();
  two.hang_up();
  const Told heard = wait();
  REQUIRE(heard.size() == 1);
  CHECK(heard[0].first == &one);
  CHECK((heard[0].second & (kReadable | kFailed)) != 0);
}

TEST_CASE_METHOD(PollerTest, "who is taken out while others are told hears nothing more", "[transport]") {
  REQUIRE(poller.change(one.ends[0], &one, 0, kReadable));
  REQUIRE(poller.change(two.ends[0], &two, 0, kReadable));
  one.send();
  two.send();
  then = [](PollerTest& test) {
    Pair& other = test.told[0].first == &test.one ? test.two : test.one;
    if (test.told.size() == 1) REQUIRE(test.poller.change(other.ends[0], &other, kReadable, 0));
  };
  CHECK(wait().size() == 1);
}

TEST_CASE_METHOD(PollerTest, "a descriptor that cannot be watched is refused", "[transport]") {
  CHECK_FALSE(poller.change(-1, &one, 0, kReadable));
}

}  // namespace mqttq
