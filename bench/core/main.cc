// bench_core: what the middle of the broker costs, without sockets, in bytes, nanoseconds and instructions.
//
//   bench_core memory [COUNT]      bytes of each kind of object, from COUNT of them (10 000)
//   bench_core sessions [COUNT]    COUNT sessions (1 000 000): memory, and the time to connect, match and disconnect
//   bench_core walk CASE [COUNT]   COUNT messages (10 000) of one case, for a profiler that counts instructions
//   bench_core stream [COUNT]      the index of a stream of COUNT messages (10 000 000; up to 100 000 000): bytes of
//                                  each, and the time to find one by its time, its number and its position
//   bench_core compiler            what it was built with
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#include "base/random.h"
#include "heap.h"
#include "stream/stream_index.h"
#include "transport/tcp.h"
#include "walks.h"
#include "world.h"

using namespace mqttq;
using namespace mqttq::bench;

namespace {

std::string name(const char* prefix, uint32_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%s%08u", prefix, number);
  return text;
}

// One figure: what `count` calls of `make` left behind.
void measure(const char* kind, uint32_t count, World& world, const std::function<void(uint32_t)>& make) {
  world.settle();
  const int64_t before = heap_bytes();
  for (uint32_t i = 0; i < count; ++i) {
    make(i);
    if (i % 1'000 == 999) world.settle();
  }
  world.settle();
  std::printf("kind=%s bytes=%.1f count=%u\n", kind, static_cast<double>(heap_bytes() - before) / count, count);
}

using Clients = std::vector<Client*>;

void add_clients(Clients& clients, World& world, const char* prefix, uint32_t count, uint32_t session_expiry_s = 0) {
  for (uint32_t i = 0; i < count; ++i) {
    clients.push_back(&world.connect(name(prefix, i), session_expiry_s));
    if (i % 1'000 == 999) world.settle();
  }
  world.settle();
}

void print_memory(uint32_t count) {
  std::printf(
      "kind=tcp_link bytes=%zu\nkind=connection bytes=%zu\nkind=session bytes=%zu\nkind=subscription bytes=%zu\n",
      sizeof(TcpLink), sizeof(Connection), sizeof(Session), sizeof(Subscription));
  {
    World world;
    Clients clients;
    clients.reserve(count);
    measure("client", count, world, [&](uint32_t i) { clients.push_back(&world.connect(name("client", i))); });
    measure("exact_subscription", count, world,
            [&](uint32_t i) { clients[i]->subscribe(name("t/", i), Qos::AtMostOnce); });
    measure("wildcard_subscription", count, world,
            [&](uint32_t i) { clients[i]->subscribe(name("site/", i) + "/+/state", Qos::AtMostOnce); });
    measure("subscriber_of_one_filter", count, world,
            [&](uint32_t i) { clients[i]->subscribe("all/#", Qos::AtMostOnce); });
  }
  {
    World world;
    Client& publisher = world.connect("publisher");
    measure("retained_message_of_64", count, world,
            [&](uint32_t i) { publisher.publish(name("retained/", i), Qos::AtMostOnce, 0, true); });
    measure("delayed_message_of_64", count, world,
            [&](uint32_t i) { publisher.publish("$delayed/1000/" + name("delayed/", i), Qos::AtMostOnce, 0); });
  }
  {
    World world;
    measure("queue", count, world,
            [&](uint32_t i) { world.declare_queue(name("queue", i), name("orders/", i) + "/#"); });
  }
  {
    World world;
    Clients clients;
    clients.reserve(count);
    measure("kept_session", count, world, [&](uint32_t i) {
      clients.push_back(&world.connect(name("client", i), 1000));
      clients.back()->drop();
    });
  }
  {
    Limits limits;
    limits.inflight_max = 65'535;
    World world(limits);
    Clients clients;
    add_clients(clients, world, "client", count / 10);
    Client& publisher = world.connect("publisher");
    for (uint32_t i = 0; i < count / 10; ++i) clients[i]->subscribe(name("one/", i), Qos::AtLeastOnce);
    for (Client* client : clients) client->subscribe("all", Qos::AtLeastOnce);
    measure("inflight_message_of_64", count / 10, world,
            [&](uint32_t i) { publisher.publish(name("one/", i), Qos::AtLeastOnce, static_cast<uint16_t>(i + 1)); });
    const int64_t before = heap_bytes();
    for (uint16_t i = 1; i <= 100; ++i) publisher.publish("all", Qos::AtLeastOnce, i);
    world.settle();
    std::printf("kind=inflight_entry bytes=%.1f count=%u\n",
                static_cast<double>(heap_bytes() - before) / (count / 10 * 100), count / 10 * 100);
  }
  {
    Limits limits;
    limits.outbox_messages_max = count;
    limits.outbox_bytes_max = UINT32_MAX;
    World world(limits);
    Client& away = world.connect("away", 1000);
    away.subscribe("queued", Qos::AtLeastOnce);
    world.settle();
    away.drop();
    world.settle();
    Client& publisher = world.connect("publisher");
    measure("queued_message_of_64", count, world,
            [&](uint32_t i) { publisher.publish("queued", Qos::AtLeastOnce, static_cast<uint16_t>(i % 65'535 + 1)); });
  }
}

class Watch {
 public:
  double ns_each(uint32_t count) const {
    const auto spent = std::chrono::steady_clock::now() - began_;
    return static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count()) / count;
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

void print_sessions(uint32_t count) {
  Limits limits;
  limits.connections_max = limits.sessions_max = count + 1;
  World world(limits);
  Clients clients;
  clients.reserve(count);
  const int64_t before = heap_bytes();
  {
    const Watch watch;
    for (uint32_t i = 0; i < count; ++i) {
      clients.push_back(&world.connect(name("client", i), 0, name("will/", i)));
      if (i % 1'000 == 999) world.settle();
    }
    world.settle();
    std::printf("sessions=%u connect_ns=%.0f bytes_each=%.1f\n", count, watch.ns_each(count),
                static_cast<double>(heap_bytes() - before) / count);
  }
  {
    const Watch watch;
    for (uint32_t i = 0; i < count; ++i) {
      clients[i]->subscribe(name("to/", i), Qos::AtMostOnce);
      if (i % 1'000 == 999) world.settle();
    }
    world.settle();
    std::printf("sessions=%u subscribe_ns=%.0f bytes_each=%.1f\n", count, watch.ns_each(count),
                static_cast<double>(heap_bytes() - before) / count);
  }
  {
    Client& publisher = world.connect("publisher");
    constexpr uint32_t kMessages = 200'000;
    const Watch watch;
    for (uint32_t i = 0; i < kMessages; ++i) {
      const auto to = static_cast<uint32_t>(uint64_t{i} * 2'654'435'761u % count);
      publisher.publish(name("to/", to), Qos::AtMostOnce, 0);
      if (i % 1'000 == 999) world.settle();
    }
    world.settle();
    std::printf("sessions=%u match_ns=%.0f\n", count, watch.ns_each(kMessages));
  }
  {
    const Watch watch;
    for (uint32_t i = 0; i < count; ++i) {
      clients[i]->drop();
      if (i % 1'000 == 999) world.settle();
    }
    world.settle();
    std::printf("sessions=%u disconnect_with_will_ns=%.0f bytes_left=%lld\n", count, watch.ns_each(count),
                static_cast<long long>(heap_bytes() - before));
  }
}

// One that a log shared with others would give: numbers with gaps, a few thousand messages a second in batches.
void print_stream(uint32_t count) {
  StreamChunkCache cache;
  StreamIndex index(cache);
  Random random(1);
  const int64_t before = heap_bytes();
  uint64_t number = 0;
  int64_t us = 1'700'000'000'000'000;
  for (uint32_t i = 0; i < count; ++i) {
    number += 1 + (random.below(8) == 0 ? random.below(20) : 0);
    if (random.below(10) == 0) us += static_cast<int64_t>(random.below(5'000));
    if (!index.append(i, number, us, 200, static_cast<uint32_t>(random.below(1'000)))) throw std::bad_alloc();
  }
  std::printf("messages=%u bytes_each=%.2f\n", count, static_cast<double>(heap_bytes() - before) / count);
  const int64_t first_us = index.at(0).us;
  const auto worst_of = [&](const char* what, const std::function<uint64_t()>& find) {
    std::vector<int64_t> spent;
    uint64_t found = 0;
    for (uint32_t i = 0; i < 100'000; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      found += find();
      spent.push_back(std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(spent.begin(), spent.end());
    std::printf("find=%s median_ns=%lld p99_ns=%lld p9999_ns=%lld sum=%llu\n", what,
                static_cast<long long>(spent[spent.size() / 2]), static_cast<long long>(spent[spent.size() / 100 * 99]),
                static_cast<long long>(spent[spent.size() / 10'000 * 9'999]), static_cast<unsigned long long>(found));
  };
  worst_of("time", [&] {
    return index.find_time(first_us + static_cast<int64_t>(random.below(static_cast<uint64_t>(us - first_us))));
  });
  worst_of("number", [&] { return index.find_number(1 + random.below(number)); });
  worst_of("position", [&] { return index.at(random.below(index.end())).number; });
}

uint32_t number_of(const char* text, uint32_t otherwise, uint32_t most = 10'000'000) {
  if (!text) return otherwise;
  const unsigned long value = std::strtoul(text, nullptr, 10);
  if (value < 10 || value > most) throw std::runtime_error("COUNT is a number from 10 to " + std::to_string(most));
  return static_cast<uint32_t>(value);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string command = argc > 1 ? argv[1] : "";
    if (command == "compiler" && argc == 2) {
      std::puts(BENCH_BUILD);
    } else if (command == "memory" && argc <= 3) {
      print_memory(number_of(argv[2], 10'000));
    } else if (command == "sessions" && argc <= 3) {
      print_sessions(number_of(argv[2], 1'000'000));
    } else if (command == "stream" && argc <= 3) {
      print_stream(number_of(argv[2], 10'000'000, 100'000'000));
    } else if (command == "walk" && (argc == 3 || argc == 4)) {
      walk(argv[2], number_of(argv[3], 10'000));
    } else {
      std::fprintf(stderr,
                   "bench_core memory [COUNT] | sessions [COUNT] | stream [COUNT] | walk CASE [COUNT]; cases: %s\n",
                   walk_names());
      return 2;
    }
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench_core: %s\n", failure.what());
    return 1;
  }
}
