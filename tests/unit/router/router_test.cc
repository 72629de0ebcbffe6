// Routes: which shards care, when a remembered route is out of date, and how long what it names lives.
#include "router/router.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "heap.h"
#include "router/random_topics.h"

namespace mqttq {

TEST_CASE("a route names the shards that care for any of its filters", "[router]") {
  Router router(63, 1);
  Filter &wild = *router.join(0, "a/+"), &exact = *router.join(0, "a/b"), &nobody = *router.join(0, "#");
  router.set_interest(wild, 3, true, false);
  router.set_interest(wild, 62, true, true);
  router.set_interest(exact, 5, true, true, true);
  {
    const RouteRef route = router.match(0, "a/b");
    CHECK(route->filters().size() == 2);  // without the one nobody cares for yet
    CHECK(route->shards() == (uint64_t{1} << 3 | uint64_t{1} << 62 | uint64_t{1} << 5));
    CHECK(route->durable_shards() == (uint64_t{1} << 62 | uint64_t{1} << 5));
    CHECK(route->answering_shards() == uint64_t{1} << 5);
  }
  router.set_interest(wild, 62, true, false);
  CHECK(router.match(0, "a/b")->durable_shards() == uint64_t{1} << 5);
  router.set_interest(wild, 62, false, false);
  CHECK(router.match(0, "a/x")->shards() == uint64_t{1} << 3);
  router.set_interest(wild, 3, false, false);
  router.set_interest(exact, 5, false, false);
  for (Filter* filter : {&wild, &exact, &nobody}) router.leave(*filter);
}

TEST_CASE("a route leaves the journals of full filters out, on all shards", "[router]") {
  Router router(3, 1);
  Filter &full = *router.join(0, "a/+"), &other = *router.join(0, "a/b");
  router.set_interest(full, 0, true, true);
  router.set_interest(full, 2, true, true);
  router.set_interest(other, 1, true, true);
  CHECK(router.match(0, "a/b")->journals(Qos::AtLeastOnce).size() == 2);
  CHECK_FALSE(router.match(0, "a/b")->has_full_journals());
  router.set_interest(full, 2, true, true, false, true);
  {
    const RouteRef both = router.match(0, "a/b"), alone = router.match(0, "a/x");
    CHECK(both->filters().size() == 2);
    CHECK(both->shards() == 7);  // who subscribes without a journal gets it
    REQUIRE(both->journals(Qos::AtLeastOnce).size() == 1);
    CHECK(both->journals(Qos::AtLeastOnce)[0] == &other);
    CHECK(both->durable_shards() == 2);
    CHECK(both->has_full_journals());
    CHECK(alone->journals(Qos::AtLeastOnce).empty());
    CHECK(alone->durable_shards() == 0);
    CHECK(alone->has_journals(Qos::AtLeastOnce));
  }
  router.set_interest(full, 2, true, true);
  CHECK(router.match(0, "a/x")->durable_shards() == 5);
  for (uint32_t shard : {0u, 2u}) router.set_interest(full, shard, false, false);
  router.set_interest(other, 1, false, false);
  for (Filter* filter : {&full, &other}) router.leave(*filter);
}

TEST_CASE("without memory a route with full filters leaves nothing behind", "[router]") {
  Router router(1, 1);
  Filter &full = *router.join(0, "a/+"), &other = *router.join(0, "a/b"), &third = *router.join(0, "#");
  router.set_interest(full, 0, true, true, false, true);
  router.set_interest(third, 0, true, true, false, true);
  router.set_interest(other, 0, true, true);
  const int64_t before = heap_blocks();
  int failures = 0;
  for (int64_t after = 0;; ++after, ++failures) {
    RouteRef route;
    {
      FailingHeap some(after);
      route = router.match(0, "a/b");
    }
    if (route) break;
    CHECK(heap_blocks() == before);
  }
  CHECK(failures >= 3);
  for (Filter* filter : {&full, &other, &third}) {
    router.set_interest(*filter, 0, false, false);
    router.leave(*filter);
  }
}

TEST_CASE("the same text in a namespace is one filter, and another in another", "[router]") {
  Router router(1, 1);
  Filter &first = *router.join(0, "a/#"), &second = *router.join(0, "a/#"), &other = *router.join(1, "a/#");
  CHECK(&first == &second);
  CHECK(&first != &other);
  CHECK(first.user_count() == 2);
  router.set_interest(first, 0, true, false);
  CHECK(router.match(1, "a/b")->filters().empty());
  router.leave(second);
  CHECK(router.match(0, "a/b")->filters().size() == 1);
  router.set_interest(first, 0, false, false);
  router.leave(first);
  router.leave(other);
}

TEST_CASE("a filter outlives its last subscription as long as a route names it", "[router]") {
  const int64_t before = heap_blocks();
  {
    Router router(1, 1);
    Filter* filter = router.join(0, "a/+");
    router.set_interest(*filter, 0, true, false);
    RouteRef route = router.match(0, "a/b");
    RouteRef share = route;
    router.set_interest(*filter, 0, false, false);
    router.leave(*filter);
    CHECK(route->filters()[0]->text() == "a/+");
    CHECK(router.match(0, "a/b")->filters().empty());
    Filter* again = router.join(0, "a/+");
    CHECK(again != route->filters()[0]);
    route = {};
    CHECK(share->filters()[0]->text() == "a/+");
    share = {};
    router.leave(*again);
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a reader that is online keeps what it may hold", "[router]") {
  Router router(2, 1);
  const int64_t empty = heap_blocks();
  router.epoch().online(1);
  Filter* filter = router.join(0, "a/b/+");
  router.leave(*filter);
  CHECK(heap_blocks() > empty);
  router.epoch().offline(1);
  Filter* other = router.join(0, "x");
  router.leave(*other);
  CHECK(heap_blocks() == empty);
}

TEST_CASE("a match without memory gives no route and holds nothing", "[router]") {
  Router router(1, 1);
  Filter* filters[] = {router.join(0, "a/b"), router.join(0, "a/+"), router.join(0, "#")};
  for (Filter* filter : filters) router.set_interest(*filter, 0, true, false);
  const int64_t before = heap_blocks();
  for (int64_t after = 0;; ++after) {
    FailingHeap some(after);
    if (router.match(0, "a/b")) break;
    CHECK(heap_blocks() == before);
  }
  CHECK(heap_blocks() == before);
  for (Filter* filter : filters) {
    router.set_interest(*filter, 0, false, false);
    router.leave(*filter);
  }
}

// The promise behind the route cache: if the version is the same, so is the route.
TEST_CASE("the version of a name changes whenever its route does", "[router]") {
  Random random(static_cast<uint64_t>(GENERATE(range(1, 7))));
  Router router(3, random.next());
  struct Remembered {
    NamespaceId namespace_id;
    std::string name;
    uint64_t version = 0;
    std::vector<std::pair<const Filter*, std::string>> filters;
    uint64_t shards = 0, durable_shards = 0;
  };
  const auto look = [&](NamespaceId namespace_id, const std::string& name) {
    Remembered seen{namespace_id, name};
    seen.version = router.version(namespace_id, name, router.topic_hash(namespace_id, name));
    const RouteRef route = router.match(namespace_id, name);
    for (const Filter* filter : route->filters()) seen.filters.emplace_back(filter, filter->text());
    seen.shards = route->shards();
    seen.durable_shards = route->durable_shards();
    return seen;
  };
  std::vector<Remembered> names;
  for (int i = 0; i < 40; ++i) names.push_back(look(static_cast<NamespaceId>(random.below(2)), random_name(random)));
  struct Joined {
    Filter* filter;
    uint64_t shards = 0;
  };
  std::vector<Joined> filters;
  int unchanged = 0;
  for (int step = 0; step < 600; ++step) {
    const uint64_t choice = random.below(10);
    if (choice < 3 || filters.empty()) {
      filters.push_back({router.join(static_cast<NamespaceId>(random.below(2)), random_filter(random))});
    } else if (choice < 5) {
      const size_t index = random.below(filters.size());
      Filter& left = *filters[index].filter;
      for (uint32_t shard = 0; shard < 3; ++shard) {
        const bool others = std::any_of(filters.begin(), filters.end(), [&](const Joined& one) {
          return one.filter == &left && &one != &filters[index] && (one.shards >> shard & 1);
        });
        if (!others) router.set_interest(left, shard, false, false);
      }
      router.leave(left);
      filters.erase(filters.begin() + static_cast<ptrdiff_t>(index));
    } else {
      Joined& changed = filters[random.below(filters.size())];
      const auto shard = static_cast<uint32_t>(random.below(3));
      const bool any = random.below(3) != 0;
      router.set_interest(*changed.filter, shard, any, any && random.below(2) == 0);
      for (Joined& one : filters) {
        if (one.filter == changed.filter) one.shards = any ? one.shards | 1u << shard : one.shards & ~(1u << shard);
      }
    }
    for (Remembered& known : names) {
      Remembered now = look(known.namespace_id, known.name);
      if (now.version == known.version) {
        ++unchanged;
        REQUIRE(now.filters == known.filters);
        REQUIRE(now.shards == known.shards);
        REQUIRE(now.durable_shards == known.durable_shards);
      }
      known = std::move(now);
    }
  }
  CHECK(unchanged > 10'000);  // a change concerns few names
  for (Joined& one : filters) {
    for (uint32_t shard = 0; shard < 3; ++shard) router.set_interest(*one.filter, shard, false, false);
  }
  for (Joined& one : filters) router.leave(*one.filter);
}

}  // namespace mqttq
