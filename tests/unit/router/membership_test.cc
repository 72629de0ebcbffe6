// What homes and members say of one another.
#include "router/membership.h"

#include <catch2/catch_test_macros.hpp>

#include "heap.h"

namespace mqttq {

TEST_CASE("what a home knows of a member travels in one number", "[router]") {
  for (const int priority : {-128, -1, 0, 1, 127}) {
    for (const uint16_t window : {uint16_t{0}, uint16_t{1}, uint16_t{65535}}) {
      for (unsigned flags = 0; flags < 8; ++flags) {
        const MemberState state{window, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0,
                                static_cast<int8_t>(priority)};
        const MemberState read = MemberState::unpack(state.pack());
        CHECK(read.window == window);
        CHECK(read.connected == state.connected);
        CHECK(read.durable == state.durable);
        CHECK(read.acknowledges == state.acknowledges);
        CHECK(read.priority == priority);
      }
    }
  }
}

TEST_CASE("a member's name is its handle", "[router]") {
  const SlabHandle handle{0x7FFF'FFFF, 0xFFFF'FFFF};
  CHECK(handle_of(member_id(handle)) == handle);
  CHECK(member_id({0, 0}) == 0);
}

TEST_CASE("who wants to become a member says of what, or is nothing without memory", "[router]") {
  const int64_t before = heap_blocks();
  {
    const std::unique_ptr<GroupJoin, Destroy> join(GroupJoin::create_for(3, "orders", "o/#"));
    REQUIRE(join);
    CHECK(join->namespace_id == 3);
    CHECK(join->name.view() == "orders");
    CHECK(join->topic_filter.view() == "o/#");
    CHECK(join->kind == GroupJoin::Kind::Group);
  }
  for (int64_t after = 0; after < 3; ++after) {
    FailingHeap some(after);
    CHECK_FALSE(GroupJoin::create_for(3, "orders", "o/#"));
  }
  CHECK(heap_blocks() == before);
}

}  // namespace mqttq
