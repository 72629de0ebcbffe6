// Lists through their items.
#include "base/intrusive_list.h"

#include <catch2/catch_test_macros.hpp>
#include <vector>

namespace mqttq {

namespace {
struct Item : ListLink<struct FirstTag>, ListLink<struct SecondTag> {
  explicit Item(int of) : number(of) {}
  int number;
};
using First = IntrusiveList<Item, FirstTag>;
using Second = IntrusiveList<Item, SecondTag>;

std::vector<int> numbers(First& list) {
  std::vector<int> all;
  for (Item* at = list.front(); at; at = list.next(*at)) all.push_back(at->number);
  return all;
}
}  // namespace

TEST_CASE("an item can stand in two lists and leave either by itself", "[base]") {
  Item one(1), two(2), three(3);
  First first;
  Second second;
  CHECK(first.front() == nullptr);
  CHECK(first.pop_front() == nullptr);
  for (Item* item : {&one, &two, &three}) {
    first.push_back(*item);
    second.push_back(*item);
  }
  CHECK(numbers(first) == std::vector<int>{1, 2, 3});
  CHECK(second.front() == &one);
  two.ListLink<FirstTag>::unlink();
  two.ListLink<FirstTag>::unlink();  // again is fine
  CHECK_FALSE(two.ListLink<FirstTag>::linked());
  CHECK(two.ListLink<SecondTag>::linked());
  CHECK(numbers(first) == std::vector<int>{1, 3});
  CHECK(second.pop_front() == &one);
  CHECK(second.pop_front() == &two);
  CHECK(second.pop_front() == &three);
  CHECK(second.empty());
}

TEST_CASE("lists are joined whole", "[base]") {
  Item one(1), two(2), three(3), four(4);
  First a, b, empty;
  a.push_back(one);
  a.push_back(two);
  b.push_back(three);
  b.push_back(four);
  a.splice_back(b);
  a.splice_back(empty);
  CHECK(b.empty());
  CHECK(numbers(a) == std::vector<int>{1, 2, 3, 4});
  b.splice_back(a);
  CHECK(a.empty());
  CHECK(numbers(b) == std::vector<int>{1, 2, 3, 4});
}

}  // namespace mqttq
