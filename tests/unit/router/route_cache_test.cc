// A shard's memory of routes: never out of date, bounded, and it knows which names are valid.
#include "router/route_cache.h"

#include <catch2/catch_test_macros.hpp>

#include "heap.h"
#include "router/random_topics.h"

namespace mqttq {

namespace {

using Outcome = RouteCache::Outcome;

size_t filters_of(RouteCache& cache, std::string_view name, NamespaceId namespace_id = kGlobalNamespace) {
  const RouteRef* route = nullptr;
  REQUIRE(cache.find(namespace_id, name, 128, route) == Outcome::Found);
  return (*route)->filters().size();
}

}  // namespace

TEST_CASE("a remembered route is used until its topic's filters change", "[router]") {
  Router router(1, 1);
  {
    RouteCache cache(router, 16);
    CHECK(filters_of(cache, "a/b") == 0);
    const RouteRef *first = nullptr, *second = nullptr;
    REQUIRE(cache.find(0, "a/b", 128, first) == Outcome::Found);
    const Route* remembered = &**first;
    REQUIRE(cache.find(0, "a/b", 128, second) == Outcome::Found);
    CHECK(&**second == remembered);
    for (const char* text : {"a/b", "a/+", "+/b", "#"}) {
      const size_t before = filters_of(cache, "a/b");
      Filter& filter = *router.join(0, text);
      router.set_interest(filter, 0, true, false);
      CHECK(filters_of(cache, "a/b") == before + 1);
      CHECK(filters_of(cache, "a/b", 1) == 0);
      router.set_interest(filter, 0, false, false);
      CHECK(filters_of(cache, "a/b") == before);
      router.leave(filter);
      CHECK(filters_of(cache, "a/b") == before);
    }
  }
}

TEST_CASE("names that are no topic names have no route", "[router][MQTT-3.3.2-2][MQTT-4.7.3-1]") {
  Router router(1, 1);
  RouteCache cache(router, 16);
  const RouteRef* route = nullptr;
  for (const std::string_view name : {"", "a/+", "#", "\xff"})
    CHECK(cache.find(0, name, 128, route) == Outcome::InvalidTopic);
  CHECK(cache.find(0, std::string_view("a\0b", 3), 128, route) == Outcome::InvalidTopic);
  CHECK(cache.find(0, "a/b/c", 2, route) == Outcome::InvalidTopic);
  CHECK(cache.find(0, "a/b", 2, route) == Outcome::Found);
}

TEST_CASE("a full cache forgets and still finds", "[router]") {
  const int64_t before = heap_blocks();
  {
    Router router(1, 1);
    Filter& filter = *router.join(0, "x/+");
    router.set_interest(filter, 0, true, false);
    {
      RouteCache cache(router, 2);
      for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 100; ++i) CHECK(filters_of(cache, "x/" + std::to_string(i)) == 1);
      }
      CHECK(heap_blocks() < before + 40);  // eight entries of a name and a route
    }
    router.set_interest(filter, 0, false, false);
    router.leave(filter);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("what comes once is not remembered, and what comes twice is", "[router]") {
  Router router(1, 1);
  Filter& filter = *router.join(0, "x/#");
  router.set_interest(filter, 0, true, false);
  {
    RouteCache cache(router, 64);
    const RouteRef* route = nullptr;
    for (int i = 0; i < 1000; ++i) filters_of(cache, "x/once/" + std::to_string(i));
    static_cast<void>(cache.take_visits());
    for (int round = 0; round < 3; ++round) {
      filters_of(cache, "x/twice");
      REQUIRE(cache.find(0, "x/twice", 128, route) == Outcome::Found);
      CHECK((*route)->filters().size() == 1);
      CHECK((cache.take_visits() > 0) == (round < 2));  // it was walked to: the second time to be remembered
      filters_of(cache, "x/other/" + std::to_string(round));
      static_cast<void>(cache.take_visits());
    }
  }
  router.set_interest(filter, 0, false, false);
  router.leave(filter);
}

TEST_CASE("names of every size are told apart", "[router]") {
  Router router(1, 1);
  const int64_t before = heap_blocks();
  {
    RouteCache cache(router, 16);
    Filter* filters[100];
    for (uint32_t size = 1; size < 100; ++size) {
      filters[size] = router.join(0, std::string(size, 'a'));
      router.set_interest(*filters[size], 0, true, false);
    }
    for (int round = 0; round < 4; ++round) {
      for (uint32_t size = 1; size < 100; ++size) {
        CHECK(filters_of(cache, std::string(size, 'a')) == 1);
        CHECK(filters_of(cache, std::string(size - 1, 'a') + 'b') == 0);
        CHECK(filters_of(cache, std::string(size, 'a'), 1) == 0);
      }
    }
    for (uint32_t size = 1; size < 100; ++size) {
      router.set_interest(*filters[size], 0, false, false);
      router.leave(*filters[size]);
    }
  }
  router.tidy();
  CHECK(heap_blocks() == before);
}

TEST_CASE("without memory to remember it a route is still found, and without memory for it that is said", "[router]") {
  Router router(1, 1);
  RouteCache cache(router, 2);
  const RouteRef* route = nullptr;
  {
    FailingHeap none(0);
    CHECK(cache.find(0, "a", 128, route) == Outcome::NoMemory);
  }
  {
    FailingHeap one(1);
    CHECK(cache.find(0, "a", 128, route) == Outcome::Found);
  }
  CHECK(filters_of(cache, "a") == 0);
  const std::string long_name(100, 'n');
  for (int round = 0; round < 3; ++round) {
    FailingHeap none(0);  // the route of nothing is there already
    CHECK(cache.find(0, long_name, 128, route) == Outcome::Found);
    CHECK((*route)->filters().empty());
  }
}

}  // namespace mqttq
