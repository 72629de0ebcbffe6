// Brokers with several shards and the committer on threads of their own, over loopback: run under the thread sanitizer.
#include "broker/broker.h"

#include <catch2/catch_test_macros.hpp>
#include <exception>
#include <map>
#include <set>

#include "client.h"

namespace mqttq {
namespace {

using test::Client;

struct Running {
  explicit Running(uint32_t shards, uint32_t mailbox_capacity = 64) : Running(setup(shards, mailbox_capacity)) {}
  explicit Running(const BrokerSetup& setup) : broker(setup) {
    broker.start();
    address = broker.open_listener("127.0.0.1:0", ListenerInfo()).address;
  }
  static BrokerSetup setup(uint32_t shards, uint32_t mailbox_capacity) {
    BrokerSetup setup;
    setup.shard_count = shards;
    setup.mailbox_capacity = mailbox_capacity;
    return setup;
  }
  Broker broker;
  std::string address;
};

// Runs each piece of work on a thread of its own; what one of them throws is thrown here.
void together(const std::vector<std::function<void()>>& pieces) {
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> failures(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        pieces[i]();
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

std::string numbered(const char* name, int number) { return name + std::to_string(number); }

}  // namespace

TEST_CASE("messages cross shards once and in order, at every QoS", "[threads][MQTT-4.6.0-5][MQTT-4.3.3-7]") {
  for (const uint32_t capacity : {1u, 64u}) {
    Running running(3, capacity);
    constexpr int kPublishers = 3, kSubscribers = 4, kMessages = 150;
    std::vector<std::unique_ptr<Client>> subscribers;
    for (int i = 0; i < kSubscribers; ++i) {
      subscribers.push_back(std::make_unique<Client>(running.address));
      // Live and durable sessions, on whatever shard their names lead to.
      subscribers.back()->connect(numbered("subscriber", i), true, i % 2 ? 60 : 0);
      subscribers.back()->subscribe("data/#", Qos::ExactlyOnce);
      subscribers.back()->subscribe("data/+/2", Qos::AtLeastOnce);
    }
    std::vector<std::function<void()>> work;
    for (int p = 0; p < kPublishers; ++p) {
      work.push_back([&, p] {
        Client client(running.address);
        client.connect(numbered("publisher", p));
        for (int i = 0; i < kMessages; ++i) {
          const int qos = i % 3;
          client.publish("data/" + std::to_string(p) + "/" + std::to_string(qos), std::to_string(i),
                         static_cast<Qos>(qos));
        }
        client.publish("data/end", "end", Qos::ExactlyOnce);
        client.disconnect();
      });
    }
    std::vector<std::map<std::string, std::vector<int>>> got(kSubscribers);
    for (int s = 0; s < kSubscribers; ++s) {
      work.push_back([&, s] {
        for (int ends = 0; ends < kPublishers; ++ends) {
          for (const auto& message : subscribers[static_cast<size_t>(s)]->receive_until("end")) {
            got[static_cast<size_t>(s)][message.topic_name].push_back(std::stoi(message.payload));
          }
        }
      });
    }
    together(work);
    for (const auto& topics : got) {
      for (int p = 0; p < kPublishers; ++p) {
        for (int qos = 1; qos <= 2; ++qos) {  // what came before "end" on the same path and with the same promise
          const auto at = topics.find("data/" + std::to_string(p) + "/" + std::to_string(qos));
          REQUIRE(at != topics.end());
          std::vector<int> wanted;
          for (int i = qos; i < kMessages; i += 3) wanted.push_back(i);
          CHECK(at->second == wanted);
        }
      }
    }
  }
}

TEST_CASE("clients that come, go, subscribe and take over do not disturb others", "[threads][MQTT-3.1.4-3]") {
  Running running(3);
  std::vector<std::function<void()>> work;
  for (int i = 0; i < 4; ++i) {
    work.push_back([&, i] {
      for (int round = 0; round < 40; ++round) {
        Client client(running.address);
        client.connect(numbered("restless", (i + round) % 5), round % 3 == 0, round % 2 ? 30 : 0);
        try {
          client.subscribe(numbered("noise/", round % 7) + "/#", Qos::AtLeastOnce);
          client.subscribe("$share/group/noise/+", Qos::AtLeastOnce);
          client.publish(numbered("noise/", round % 7), "x", Qos::AtLeastOnce, round % 4 == 0);
          client.unsubscribe(numbered("noise/", round % 7) + "/#");
          if (round % 2) client.disconnect();
        } catch (const std::runtime_error&) {
          // Another thread took this session over: that is the point.
        }
      }
    });
  }
  for (int i = 0; i < 2; ++i) {
    work.push_back([&, i] {
      Client reader(running.address), writer(running.address);
      reader.connect(numbered("calm-reader", i));
      writer.connect(numbered("calm-writer", i));
      reader.subscribe(numbered("calm/", i), Qos::ExactlyOnce);
      for (int round = 0; round < 200; ++round) {
        writer.publish(numbered("calm/", i), std::to_string(round), static_cast<Qos>(1 + round % 2));
        if (reader.receive().payload != std::to_string(round)) throw std::runtime_error("a message is missing");
      }
    });
  }
  CHECK_NOTHROW(together(work));
}

TEST_CASE("a session is found again by its own shard, with all that came meanwhile", "[threads][MQTT-3.1.2-5]") {
  Running running(3);
  for (int i = 0; i < 12; ++i) {  // names that lead to every shard
    const std::string name = numbered("sleeper", i);
    {
      Client sleeper(running.address);
      CHECK_FALSE(sleeper.connect(name, true, 60));
      sleeper.subscribe("wake/" + name, Qos::AtLeastOnce);
      sleeper.disconnect();
    }
    Client caller(running.address);
    caller.connect(numbered("caller", i));
    for (int k = 0; k < 20; ++k) caller.publish("wake/" + name, std::to_string(k), Qos::AtLeastOnce);
    caller.publish("wake/" + name, "end", Qos::AtLeastOnce);
    Client sleeper(running.address);
    CHECK(sleeper.connect(name, false, 60));
    CHECK(sleeper.receive_until("end").size() == 20);
  }
}

TEST_CASE("figures of all shards are read while they run, and clients are told of in order", "[threads]") {
  BrokerSetup setup = Running::setup(3, 4);
  setup.policy.sys_interval_s = 1;
  setup.policy.client_events = true;
  Running running(setup);
  Client watch(running.address);
  watch.connect("watch");
  watch.subscribe("$SYS/broker/clients/+/+", Qos::AtMostOnce);
  watch.subscribe("$SYS/broker/clients/maximum", Qos::AtMostOnce);
  constexpr int kClients = 3, kTimes = 40;
  std::vector<std::function<void()>> work;
  for (int c = 0; c < kClients; ++c) {
    work.push_back([&, c] {
      for (int i = 0; i < kTimes; ++i) {
        Client client(running.address);
        client.connect(numbered("client", c), i % 2 == 0, 60);
        client.publish("a", std::string(100, 'x'), static_cast<Qos>(i % 3), i % 5 == 0);
        if (i % 3) client.disconnect();
      }
    });
  }
  together(work);
  std::map<std::string, std::vector<std::string>> told;
  for (int left = 2 * kClients * kTimes; left > 0;) {
    const std::string topic = watch.receive().topic_name;
    const size_t to = topic.rfind('/'), from = topic.rfind('/', to - 1) + 1;
    // Its own coming may have waited behind the first figures, for mailboxes as small as these.
    if (topic.substr(to) == "/maximum" || topic.substr(from, to - from) == "watch") continue;
    told[topic.substr(from, to - from)].push_back(topic.substr(to + 1));
    --left;
  }
  CHECK(told.size() == kClients);
  for (const auto& [client_id, events] : told) {
    REQUIRE(events.size() == 2 * kTimes);
    for (size_t i = 0; i < events.size(); ++i) CHECK(events[i] == (i % 2 ? "disconnected" : "connected"));
  }
  Client later(running.address);
  later.connect("later");
  later.subscribe("$SYS/broker/clients/total", Qos::AtMostOnce);
  for (std::string total; total != "5";) total = later.receive().payload;  // three are kept
}

TEST_CASE("a broker that stops tells every client", "[threads]") {
  Running running(2);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<Client>(running.address));
    clients.back()->connect(numbered("client", i));
  }
  std::thread stopping([&] { running.broker.stop(); });
  for (const auto& client : clients) CHECK(client->wait_for_disconnect() == ReasonCode::ServerShuttingDown);
  clients.clear();
  stopping.join();
}

}  // namespace mqttq
