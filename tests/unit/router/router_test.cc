// Routes: which shards care, when a remembered route is out of date, and how long what it names lives.
#include "router/router.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
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
    uint64_t shards = 0, durable_shards = 0, queue_shards = 0;
  };
  const auto look = [&](NamespaceId namespace_id, const std::string& name) {
    Remembered seen{namespace_id, name};
    seen.version = router.version(namespace_id, name, router.topic_hash(namespace_id, name));
    const RouteRef route = router.match(namespace_id, name);
    for (const Filter* filter : route->filters()) seen.filters.emplace_back(filter, filter->text());
    seen.shards = route->shards();
    seen.durable_shards = route->durable_shards();
    seen.queue_shards = route->journal_shards(Qos::AtMostOnce);
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
      const auto namespace_id = static_cast<NamespaceId>(random.below(2));
      const std::string text = random_filter(random);
      const bool of_queue = random.below(3) == 0;
      filters.push_back(
          {of_queue ? router.join_queue(namespace_id, random.next(), text) : router.join(namespace_id, text)});
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
      const bool of_queue = changed.filter->of_queue();
      router.set_interest(*changed.filter, shard, any && !of_queue, any && (of_queue || random.below(2) == 0));
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
        REQUIRE(now.queue_shards == known.queue_shards);
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

// --- queues

TEST_CASE("a queue has a filter of its own, which stands in routes before those with subscriptions", "[router]") {
  Router router(3, 1);
  Filter &one = *router.join_queue(0, 11, "a/+"), &two = *router.join_queue(0, 22, "a/+"),
         &exact = *router.join_queue(0, 33, "a/b"), &elsewhere = *router.join_queue(1, 44, "a/b");
  CHECK(&one != &two);
  CHECK(one.hash == 11);
  CHECK(two.text() == "a/+");
  CHECK(one.of_queue());
  CHECK(router.match(0, "a/b")->filters().empty());  // nobody is its home yet
  router.set_interest(one, 0, false, true);
  router.set_interest(two, 2, false, true);
  router.set_interest(exact, 2, false, true);
  router.set_interest(elsewhere, 1, false, true);
  {
    const RouteRef route = router.match(0, "a/b");
    CHECK(route->queues().size() == 3);
    CHECK(route->subscribed().empty());
    CHECK(route->shards() == 0);
    CHECK(route->durable_shards() == 5);
    for (const Qos qos : {Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce}) {
      CHECK(route->journals(qos).size() == 3);
      CHECK(route->journal_shards(qos) == 5);
      CHECK(route->has_journals(qos));
    }
  }
  CHECK(router.match(0, "a/x")->queues().size() == 2);
  CHECK(router.match(0, "b")->queues().empty());

  Filter &text = *router.join(0, "a/+"), &live = *router.join(0, "#");
  CHECK_FALSE(text.of_queue());
  CHECK(text.user_count() == 3);
  router.set_interest(text, 1, true, true);
  router.set_interest(live, 1, true, false);
  {
    const RouteRef route = router.match(0, "a/b");
    CHECK(route->filters().size() == 5);
    CHECK(route->queues().size() == 3);
    CHECK(std::all_of(route->queues().begin(), route->queues().end(), [](Filter* each) { return each->of_queue(); }));
    CHECK(route->subscribed().size() == 2);
    CHECK(route->shards() == 2);
    CHECK(route->durable_shards() == 7);
    CHECK(route->journals(Qos::AtMostOnce).size() == 3);
    CHECK(route->journal_shards(Qos::AtMostOnce) == 5);
    CHECK(route->journals(Qos::AtLeastOnce).size() == 5);
    CHECK(route->journal_shards(Qos::AtLeastOnce) == 7);
  }
  CHECK_FALSE(router.match(0, "b")->has_journals(Qos::AtMostOnce));
  router.set_interest(text, 1, true, true, false, true);  // it is full, which is nothing to queues
  {
    const RouteRef route = router.match(0, "a/b");
    CHECK(route->journals(Qos::AtMostOnce).size() == 3);
    CHECK(route->journals(Qos::AtLeastOnce).size() == 4);
    CHECK(route->has_full_journals());
  }
  for (Filter* filter : {&text, &live}) router.set_interest(*filter, 1, false, false);
  router.set_interest(one, 0, false, false);
  router.set_interest(elsewhere, 1, false, false);
  for (Filter* filter : {&two, &exact}) router.set_interest(*filter, 2, false, false);
  for (Filter* filter : {&one, &two, &exact, &elsewhere, &text, &live}) router.leave(*filter);
}

TEST_CASE("queues of one text, and those who subscribe to it, leave in any order", "[router]") {
  const bool wild = GENERATE(true, false);
  const int64_t before = heap_blocks();
  int order[] = {0, 1, 2, 3};
  do {
    Router router(1, 1);
    const char* text = wild ? "a/+" : "a/b";
    Filter* filters[4];
    for (uint64_t i = 0; i < 4; ++i) filters[i] = i == 1 ? router.join(0, text) : router.join_queue(0, i, text);
    for (Filter* filter : filters) router.set_interest(*filter, 0, !filter->of_queue(), true);
    RouteRef held = router.match(0, "a/b");
    for (size_t left = 0; left < 4; ++left) {
      const RouteRef route = router.match(0, "a/b");
      CHECK(route->filters().size() == 4 - left);
      for (size_t i = left; i < 4; ++i) {
        const auto& all = route->filters();
        CHECK(std::count(all.begin(), all.end(), filters[order[i]]) == 1);
      }
      Filter& leaves = *filters[order[left]];
      router.set_interest(leaves, 0, false, false);
      router.leave(leaves);
    }
    CHECK(router.match(0, "a/b")->filters().empty());
    for (Filter* filter : held->filters()) CHECK(filter->text() == text);  // still there for who knows the route
    router.for_each_filter([](const Filter&) { FAIL("a filter is left"); });
  } while (std::next_permutation(std::begin(order), std::end(order)));
  CHECK(heap_blocks() == before);
}

TEST_CASE("a queue's filter, and a route with it, without memory leave nothing behind", "[router]") {
  Router router(2, 1);
  Filter& other = *router.join(0, "a/+");
  router.set_interest(other, 0, true, true);
  const int64_t before = heap_blocks();
  Filter* queue = nullptr;
  int failures = -1;
  for (int64_t after = 0; !queue; ++after, ++failures) {
    CHECK(heap_blocks() == before);
    FailingHeap some(after);
    queue = router.join_queue(0, 5, "a/b/c");
  }
  CHECK(failures >= 2);
  router.set_interest(*queue, 1, false, true);
  Filter& second = *router.join_queue(0, 6, "a/+/c");
  router.set_interest(second, 1, false, true);
  const int64_t with_queues = heap_blocks();
  for (int64_t after = 0;; ++after) {
    FailingHeap some(after);
    if (router.match(0, "a/b/c")) break;
    CHECK(heap_blocks() == with_queues);
  }
  CHECK(router.match(0, "a/b/c")->queues().size() == 2);
  for (Filter* filter : {queue, &second}) {
    router.set_interest(*filter, 1, false, false);
    router.leave(*filter);
  }
  router.set_interest(other, 0, false, false);
  router.leave(other);
}

}  // namespace mqttq
