// What `$SYS/broker/...` says of given figures, and when it says it again.
#include "session/sys_topics.h"

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <set>
#include <string>

namespace mqttq {

namespace {

constexpr Instant kStart{1'000 * kSecond};
using Said = std::map<std::string, std::string>;

Said said(SysTopics& topics, const SysFigures& figures, int64_t after_ms) {
  Said said;
  for (const SysValue& one : topics.update(figures, kStart + after_ms * kMillisecond)) {
    CHECK(said.emplace(one.topic_name, one.value).second);  // each once
  }
  return said;
}

}  // namespace

TEST_CASE("all topics are said at first, each once, with its figure", "[session]") {
  SysTopics topics("1.2.3", kStart);
  SysFigures figures;
  uint64_t next = 101;  // a value of its own for each, so that no two are mixed up
  for (uint64_t* one : {&figures.clients_total,          &figures.clients_connected,  &figures.clients_disconnected,
                        &figures.clients_maximum,        &figures.clients_expired,    &figures.subscriptions,
                        &figures.shared_subscriptions,   &figures.retained_messages,  &figures.stored_messages,
                        &figures.stored_bytes,           &figures.inflight,           &figures.packets_received,
                        &figures.packets_sent,           &figures.bytes_received,     &figures.bytes_sent,
                        &figures.messages_received,      &figures.messages_sent,      &figures.messages_dropped,
                        &figures.message_bytes_received, &figures.message_bytes_sent, &figures.connections_opened,
                        &figures.connects_received}) {
    *one = next++;
  }
  const Said all = said(topics, figures, 0);
  CHECK(all.size() == SysTopics::kCount);
  Said expected{{"version", "libmqttq version 1.2.3"},
                {"uptime", "0 seconds"},
                {"clients/total", "101"},
                {"clients/connected", "102"},
                {"clients/active", "102"},
                {"clients/disconnected", "103"},
                {"clients/inactive", "103"},
                {"clients/maximum", "104"},
                {"clients/expired", "105"},
                {"subscriptions/count", "106"},
                {"shared_subscriptions/count", "107"},
                {"retained messages/count", "108"},
                {"messages/stored", "109"},
                {"store/messages/count", "109"},
                {"store/messages/bytes", "110"},
                {"messages/inflight", "111"},
                {"messages/received", "112"},
                {"messages/sent", "113"},
                {"bytes/received", "114"},
                {"bytes/sent", "115"},
                {"publish/messages/received", "116"},
                {"publish/messages/sent", "117"},
                {"publish/messages/dropped", "118"},
                {"publish/bytes/received", "119"},
                {"publish/bytes/sent", "120"}};
  for (const char* load : {"messages/received", "messages/sent", "publish/dropped", "publish/received", "publish/sent",
                           "bytes/received", "bytes/sent", "sockets", "connections"}) {
    for (const char* window : {"/1min", "/5min", "/15min"}) expected[std::string("load/") + load + window] = "0.00";
  }
  Said whole;
  for (const auto& [name, value] : expected) whole["$SYS/broker/" + name] = value;
  CHECK(all == whole);
  std::set<std::string> names;
  for (const std::string_view name : SysTopics::names()) names.emplace(name);
  for (const auto& [name, value] : all) CHECK(names.contains(name));
  CHECK(names.size() == all.size() + SysTopics::kStoreCount);
}

TEST_CASE("only a broker that keeps something speaks of a store", "[session]") {
  SysTopics topics("1.2.3", kStart);
  SysFigures figures;
  figures.store_bytes_used = 5;
  figures.store_alarm = "ok";
  CHECK(said(topics, figures, 0).size() == SysTopics::kCount);
  figures.keeps = true;
  const Said of_store{
      {"$SYS/broker/store/alarm", "ok"}, {"$SYS/broker/store/bytes/used", "5"}, {"$SYS/broker/store/bytes/limit", "0"}};
  CHECK(said(topics, figures, 0) == of_store);
  figures.store_alarm = "full";
  CHECK(said(topics, figures, 0) == Said{{"$SYS/broker/store/alarm", "full"}});
}

TEST_CASE("each load is of its own figure", "[session]") {
  const std::map<std::string, uint64_t SysFigures::*> loads{{"messages/received", &SysFigures::packets_received},
                                                            {"messages/sent", &SysFigures::packets_sent},
                                                            {"publish/dropped", &SysFigures::messages_dropped},
                                                            {"publish/received", &SysFigures::messages_received},
                                                            {"publish/sent", &SysFigures::messages_sent},
                                                            {"bytes/received", &SysFigures::bytes_received},
                                                            {"bytes/sent", &SysFigures::bytes_sent},
                                                            {"sockets", &SysFigures::connections_opened},
                                                            {"connections", &SysFigures::connects_received}};
  for (const auto& [load, figure] : loads) {
    SysTopics topics("1", kStart);
    SysFigures figures;
    said(topics, figures, 0);
    figures.*figure = 60;
    Said changed = said(topics, figures, 10'000);  // 360 a minute for 10 s
    INFO(load);
    CHECK(changed["$SYS/broker/load/" + load + "/1min"] == "55.27");
    CHECK(changed["$SYS/broker/load/" + load + "/5min"] == "11.80");
    CHECK(changed["$SYS/broker/load/" + load + "/15min"] == "3.98");
    CHECK(changed["$SYS/broker/uptime"] == "10 seconds");
    size_t count = 0;
    for (const auto& [name, value] : changed) count += name.find("/load/") != std::string::npos;
    CHECK(count == 3);
  }
}

TEST_CASE("only what changed is said again", "[session]") {
  SysTopics topics("1.2.3", kStart);
  SysFigures figures;
  figures.retained_messages = 5;
  said(topics, figures, 0);
  CHECK(said(topics, figures, 0).empty());
  CHECK(said(topics, figures, 999).empty());
  CHECK(said(topics, figures, 1'000) == Said{{"$SYS/broker/uptime", "1 seconds"}});
  figures.retained_messages = 4;
  figures.clients_connected = 1;
  CHECK(said(topics, figures, 1'000) == Said{{"$SYS/broker/retained messages/count", "4"},
                                             {"$SYS/broker/clients/connected", "1"},
                                             {"$SYS/broker/clients/active", "1"}});
  figures.retained_messages = 5;  // as it once was
  CHECK(said(topics, figures, 1'000) == Said{{"$SYS/broker/retained messages/count", "5"}});
}

// A load that no longer moves by a hundredth is not said.
TEST_CASE("loads fall silent when nothing happens", "[session]") {
  SysTopics topics("1", kStart);
  SysFigures figures;
  said(topics, figures, 0);
  figures.bytes_sent = 1000;
  CHECK(said(topics, figures, 10'000).contains("$SYS/broker/load/bytes/sent/1min"));
  Said last;
  for (int64_t ms = 20'000; ms < 4 * 3600 * 1000; ms += 10'000) {
    for (const auto& [name, value] : said(topics, figures, ms)) last[name] = value;
  }
  CHECK(last["$SYS/broker/load/bytes/sent/1min"] == "0.00");
  CHECK(last["$SYS/broker/load/bytes/sent/15min"] == "0.00");
  CHECK(said(topics, figures, 4 * 3600 * 1000) == Said{{"$SYS/broker/uptime", "14400 seconds"}});
}

TEST_CASE("all is said again when memory was refused to some of it", "[session]") {
  SysTopics topics("1", kStart);
  SysFigures figures;
  said(topics, figures, 0);
  figures.values_lost = 2;
  CHECK(said(topics, figures, 0).size() == SysTopics::kCount);
  CHECK(said(topics, figures, 0).empty());
}

TEST_CASE("the largest figures and the longest version fit", "[session]") {
  const std::string version(100, '9');
  SysTopics topics(version, kStart);
  SysFigures figures;
  said(topics, figures, 0);
  figures.bytes_received = UINT64_MAX;
  Said all = said(topics, figures, 1);
  CHECK(all["$SYS/broker/bytes/received"] == "18446744073709551615");
  CHECK(all["$SYS/broker/load/bytes/received/1min"].ends_with(".00"));
  SysTopics other(version, kStart);
  CHECK(said(other, figures, 0)["$SYS/broker/version"].size() == SysTopics::kValueSizeMax);
}

}  // namespace mqttq
