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
}

}  // namespace mqttq
