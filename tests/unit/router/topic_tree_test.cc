// The tree of topic filters, with topic_matches() as the judge of what it finds.
#include "router/topic_tree.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <set>
#include <vector>

#include "heap.h"
#include "router/random_topics.h"
#include "router/router.h"

namespace mqttq {

namespace {

// The texts of the filters of a route, sorted.
std::vector<std::string> texts_of(const RouteRef& route) {
  std::vector<std::string> texts;
  for (const Filter* filter : route->filters()) texts.emplace_back(filter->text());
  std::sort(texts.begin(), texts.end());
  return texts;
}

// A filter that shard 0 subscribes to.
Filter& subscribe(Router& router, std::string_view text, NamespaceId namespace_id = kGlobalNamespace) {
  Filter* filter = router.join(namespace_id, text);
  REQUIRE(filter);
  router.set_interest(*filter, 0, true, false);
  return *filter;
}

void unsubscribe(Router& router, Filter& filter) {
  router.set_interest(filter, 0, false, false);
  router.leave(filter);
}

}  // namespace

TEST_CASE("wildcards match whole levels, and '#' the level above too",
          "[router][MQTT-4.7.1-1][MQTT-4.7.1-2][MQTT-3.3.2-3][MQTT311-4.7.1-2][MQTT311-4.7.1-3]") {
  Router router(1, 1);
  std::vector<Filter*> filters;
  for (const char* text :
       {"a/b", "a/+", "a/#", "+/b", "+/+", "#", "a", "+", "a/b/#", "a/+/c", "/+", "+/#", "/#", "a/"}) {
    filters.push_back(&subscribe(router, text));
  }
  using Texts = std::vector<std::string>;
  CHECK(texts_of(router.match(0, "a/b")) == Texts{"#", "+/#", "+/+", "+/b", "a/#", "a/+", "a/b", "a/b/#"});
  CHECK(texts_of(router.match(0, "a")) == Texts{"#", "+", "+/#", "a", "a/#"});
  CHECK(texts_of(router.match(0, "a/")) == Texts{"#", "+/#", "+/+", "a/", "a/#", "a/+"});
  CHECK(texts_of(router.match(0, "/b")) == Texts{"#", "+/#", "+/+", "+/b", "/#", "/+"});
  CHECK(texts_of(router.match(0, "a/b/c")) == Texts{"#", "+/#", "a/#", "a/+/c", "a/b/#"});
  CHECK(texts_of(router.match(0, "A")) == Texts{"#", "+", "+/#"});
  for (Filter* filter : filters) unsubscribe(router, *filter);
}

TEST_CASE("a filter that begins with a wildcard matches no name that begins with '$'",
          "[router][MQTT-4.7.2-1][MQTT311-4.7.2-1]") {
  Router router(1, 1);
  std::vector<Filter*> filters;
  for (const char* text : {"#", "+/a", "+/+", "+", "$SYS/#", "$SYS/+", "$SYS/a", "+/#"}) {
    filters.push_back(&subscribe(router, text));
  }
  CHECK(texts_of(router.match(0, "$SYS/a")) == std::vector<std::string>{"$SYS/#", "$SYS/+", "$SYS/a"});
  CHECK(texts_of(router.match(0, "$a")).empty());
  CHECK(texts_of(router.match(0, "x/$a")) == std::vector<std::string>{"#", "+/#", "+/+"});
  for (Filter* filter : filters) unsubscribe(router, *filter);
}

// Filters come and go; each name has to find the filters that are there, match and are of its namespace.
TEST_CASE("any name finds just the filters that match it, while filters come and go", "[router][MQTT-3.3.2-3]") {
  const int64_t before = heap_blocks();
  Random random(static_cast<uint64_t>(GENERATE(range(1, 7))));
  {
    Router router(1, random.next());
    const int64_t empty = heap_blocks();
    std::multiset<std::pair<NamespaceId, std::string>> model;
    std::vector<Filter*> filters;
    for (int step = 0; step < 1'500; ++step) {
      if (filters.size() < 200 && random.below(2) == 0) {
        const auto namespace_id = static_cast<NamespaceId>(random.below(2) * 64);  // versions are shared by 64
        filters.push_back(&subscribe(router, random_filter(random), namespace_id));
        model.emplace(namespace_id, filters.back()->text());
      } else if (!filters.empty()) {
        const size_t index = random.below(filters.size());
        Filter* left = filters[index];
        model.erase(model.find({left->namespace_id(), std::string(left->text())}));
        const bool last = model.count({left->namespace_id(), std::string(left->text())}) == 0;
        if (last) {
          unsubscribe(router, *left);
        } else {
          router.leave(*left);
        }
        filters.erase(filters.begin() + static_cast<ptrdiff_t>(index));
      }
      const std::string name = random_name(random);
      for (const NamespaceId namespace_id : {0u, 64u}) {
        std::vector<std::string> expected;
        for (auto at = model.begin(); at != model.end(); at = model.upper_bound(*at)) {
          if (at->first == namespace_id && topic_matches(at->second, name)) expected.push_back(at->second);
        }
        REQUIRE(texts_of(router.match(namespace_id, name)) == expected);
      }
    }
    std::set<std::pair<NamespaceId, std::string>> listed;
    router.for_each_filter(
        [&](const Filter& filter) { CHECK(listed.emplace(filter.namespace_id(), filter.text()).second); });
    CHECK(listed == std::set<std::pair<NamespaceId, std::string>>(model.begin(), model.end()));
    for (Filter* filter : filters) {
      model.erase(model.find({filter->namespace_id(), std::string(filter->text())}));
      if (model.count({filter->namespace_id(), std::string(filter->text())}) == 0)
        router.set_interest(*filter, 0, false, false);
      router.leave(*filter);
    }
    CHECK(heap_blocks() == empty);  // every node, table and filter was given back
  }
  CHECK(heap_blocks() == before);
}

TEST_CASE("a filter that finds no memory leaves nothing behind", "[router]") {
  Router router(1, 1);
  Filter& other = subscribe(router, "a/+/b");
  const int64_t before = heap_blocks();
  for (const char* text : {"a/b/c", "a/+/c/d/+/f", "x/+/#", "#"}) {
    int failures = 0;
    for (int64_t after = 0;; ++after) {
      Filter* filter;
      {
        FailingHeap some(after);
        filter = router.join(0, text);
      }
      if (filter) {
        router.leave(*filter);
        break;
      }
      ++failures;
      CHECK(heap_blocks() == before);
    }
    CHECK(failures > 0);
    CHECK(heap_blocks() == before);
  }
  CHECK(texts_of([&] { return router.match(0, "a/x/b"); }()) == std::vector<std::string>{"a/+/b"});
  unsubscribe(router, other);
}

}  // namespace mqttq
