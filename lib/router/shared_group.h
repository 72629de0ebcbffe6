// Shared subscriptions (MQTT5 4.8.2): each message goes to one member of a group.
//
// A group lives on its home shard, where it is a sink like any other; its members are sessions of any shard. Round
// robin over the members that are connected; while none is, what is above QoS 0 waits for one, as an outbox does.
#pragma once

#include "base/hash_table.h"
#include "base/ring.h"
#include "router/fan_out.h"
#include "router/mail.h"

namespace mqttq {

// A member joins, leaves, or says whether it is connected.
struct GroupChange final : MailPayload {
  ~GroupChange() override { release(text); }
  NamespaceId namespace_id = kGlobalNamespace;
  char* text = nullptr;  // "$share/group/filter", owned
  uint16_t text_size = 0;
  Qos qos = Qos::AtMostOnce;
  uint32_t identifier = 0;
  bool retain_as_published = false;
  bool durable = false;  // the session outlives its connection
  std::string_view shared_filter() const noexcept { return {text, text_size}; }
};

// How a group reaches its members. Implemented by the shard.
class GroupCourier {
 public:
  // False when the member cannot take it now: another is asked.
  virtual bool hand_to_member(uint32_t shard, SlabHandle session, const MessageRef& message, Qos qos, bool retain,
                              uint32_t identifier, uint32_t group, Instant now) noexcept = 0;
  virtual void count_dropped() noexcept = 0;

 protected:
  ~GroupCourier() = default;
};

// All groups whose home is one shard.
class SharedGroups {
 public:
  SharedGroups(FanOut& fan_out, GroupCourier& courier, uint32_t waiting_max, uint64_t seed) noexcept
      : fan_out_(fan_out), courier_(courier), waiting_max_(waiting_max), seed_(seed) {}
  ~SharedGroups();

  // A session becomes a member, or changes how it is one. token: set to the group's. Errors: NoMemory.
  Status join(const GroupChange& change, uint32_t shard, SlabHandle session, Instant now, uint32_t& token) noexcept;
  void leave(const GroupChange& change, uint32_t shard, SlabHandle session) noexcept;
  void set_connected(const GroupChange& change, uint32_t shard, SlabHandle session, bool connected,
                     Instant now) noexcept;
  // A member could not take it after all.
  void give_back(uint32_t group, const MessageRef& message, uint32_t shard, SlabHandle session, Instant now) noexcept;
  uint32_t count() const noexcept { return groups_.count(); }

 private:
  struct Member {
    SlabHandle session;
    uint32_t identifier;
    uint8_t shard;
    Qos qos;
    bool retain_as_published;
    bool connected;
    bool durable;
  };
  struct Group final : Sink, HashLink<Group> {
    SharedGroups* home = nullptr;
    NamespaceId namespace_id = kGlobalNamespace;
    uint32_t token = 0;
    uint32_t next = 0;  // member to be asked first
    Array<Member> members;
    Ring<MessageRef> waiting;
    Subscription subscription;
    uint16_t text_size = 0;
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(this + 1), text_size}; }
    void deliver(const Delivery& delivery, Instant now) noexcept override;
    bool offer(const MessageRef& message, Qos qos, Instant now) noexcept;
    void keep_waiting(const MessageRef& message) noexcept;
    void flush(Instant now) noexcept;
    Member* find(uint32_t shard, SlabHandle session) noexcept;
  };

  Group* find(NamespaceId namespace_id, std::string_view text) noexcept;
  uint64_t key(NamespaceId namespace_id, std::string_view text) const noexcept;
  void end(Group& group) noexcept;

  FanOut& fan_out_;
  GroupCourier& courier_;
  const uint32_t waiting_max_;
  const uint64_t seed_;
  uint32_t next_token_ = 1;
  HashTable<Group> groups_;
};

}  // namespace mqttq
