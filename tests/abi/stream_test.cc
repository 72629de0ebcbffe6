// mqttq/stream.h: streams that are declared, listed, truncated and read in the process.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <thread>

#include "host.h"
#include "temporary_directory.h"

namespace mqttq::abi {

namespace {

constexpr uint32_t kTimeout_ms = 20'000;  // nothing waits that long unless something is wrong

mqttq_stream_config stream_config(std::string_view topic_filter) {
  auto config = make(mqttq_stream_config_init);
  config.topic_filter = bytes(topic_filter);
  return config;
}

mqttq_status declare(const Host& host, std::string_view name, const mqttq_stream_config& config) {
  return mqttq_stream_declare(host.get(), nullptr, bytes(name), &config, nullptr);
}

mqttq_stream figures(const Host& host, std::string_view name) {
  uint64_t cursor = 0;
  mqttq_streams* streams = nullptr;
  REQUIRE(mqttq_streams_list(host.get(), nullptr, bytes(name), &cursor, 0, &streams, nullptr) == MQTTQ_OK);
  REQUIRE(mqttq_streams_count(streams) == 1);
  const mqttq_stream one = mqttq_streams_get(streams, 0);
  CHECK(one.size == sizeof one);
  CHECK(text(one.name) == name);
  mqttq_streams_free(streams);
  return one;
}

// Payloads are numbers from `first` on; returns when the stream has them.
void fill(Host& host, std::string_view stream, std::string_view topic, int first, int count) {
  const uint64_t end = figures(host, stream).next_position + static_cast<uint64_t>(count);
  for (int i = first; i < first + count; ++i) host.publish(topic, std::to_string(i), 1);
  while (figures(host, stream).next_position < end) host.settle();
}

class Reader {
 public:
  Reader(const Host& host, std::string_view stream, std::string_view offset, std::string_view topic_filter = {},
         std::string_view cursor = {}) {
    auto config = make(mqttq_stream_reader_config_init);
    config.stream = bytes(stream);
    config.offset = bytes(offset);
    config.topic_filter = bytes(topic_filter);
    config.cursor = bytes(cursor);
    config.ahead = 7;
    REQUIRE(mqttq_stream_reader_open(host.get(), &config, &reader_, nullptr) == MQTTQ_OK);
  }
  ~Reader() { mqttq_stream_reader_close(reader_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  mqttq_stream_reader* get() const { return reader_; }

  // "position:payload" of so many, which come.
  std::vector<std::string> take(size_t count) {
    std::vector<std::string> taken;
    while (taken.size() < count) {
      mqttq_stream_messages* messages = nullptr;
      REQUIRE(mqttq_stream_read(reader_, count - taken.size(), kTimeout_ms, &messages, nullptr) == MQTTQ_OK);
      REQUIRE(mqttq_stream_messages_count(messages) > 0);
      for (size_t i = 0; i < mqttq_stream_messages_count(messages); ++i) {
        const mqttq_streamed one = mqttq_stream_messages_get(messages, i);
        CHECK(one.size == sizeof one);
        CHECK(one.time_us >= last_us);
        last_us = one.time_us;
        skipped += one.skipped;
        taken.push_back(std::to_string(one.position) + ":" + text(mqttq_message_payload(one.message)));
      }
      mqttq_stream_messages_free(messages);
    }
    return taken;
  }
  int64_t last_us = 1;
  uint64_t skipped = 0;

 private:
  mqttq_stream_reader* reader_ = nullptr;
};

std::vector<std::string> numbered(int first, int count) {
  std::vector<std::string> all;
  for (int i = first; i < first + count; ++i) all.push_back(std::to_string(i) + ":" + std::to_string(i));
  return all;
}

}  // namespace

TEST_CASE("a stream is read from an offset on, and what comes is waited for", "[stream]") {
  Host host(GENERATE(1u, 3u));
  host.start();
  REQUIRE(declare(host, "s", stream_config("t/#")) == MQTTQ_OK);
  fill(host, "s", "t/a", 0, 50);
  Reader reader(host, "s", "earliest");
  CHECK(reader.take(50) == numbered(0, 50));
  std::thread publisher([&] {
    for (int i = 50; i < 70; ++i) host.publish("t/b", std::to_string(i), 1);
  });
  CHECK(reader.take(20) == numbered(50, 20));
  publisher.join();
  CHECK(mqttq_stream_seek(reader.get(), bytes("@30"), nullptr) == MQTTQ_OK);
  reader.last_us = 0;
  CHECK(reader.take(40) == numbered(30, 40));
  CHECK(mqttq_stream_seek(reader.get(), bytes("soon"), nullptr) == MQTTQ_EINVAL);
  Reader narrow(host, "s", "earliest", "t/b");
  CHECK(narrow.take(20) == numbered(50, 20));
  mqttq_stream_messages* none = nullptr;
  REQUIRE(mqttq_stream_read(narrow.get(), 1, 0, &none, nullptr) == MQTTQ_OK);
  CHECK(mqttq_stream_messages_count(none) == 0);
  mqttq_stream_messages_free(none);
}

TEST_CASE("a stream says what it has, and who reads it", "[stream]") {
  Host host;
  host.start();
  auto config = stream_config("t/#");
  config.messages_max = 10;
  config.age_max_s = MQTTQ_STREAM_FOREVER;
  REQUIRE(declare(host, "s", config) == MQTTQ_OK);
  REQUIRE(declare(host, "s", config) == MQTTQ_OK);
  CHECK(declare(host, "s", stream_config("other")) == MQTTQ_EEXIST);
  CHECK(declare(host, "$s/u/#", stream_config("")) == MQTTQ_OK);
  CHECK(declare(host, "no name", stream_config("t")) == MQTTQ_EINVAL);
  CHECK(declare(host, "n", stream_config("$queue/x")) == MQTTQ_EINVAL);
  fill(host, "s", "t/a", 0, 25);
  Reader reader(host, "s", "@20");
  CHECK(reader.take(3) == numbered(20, 3));
  mqttq_stream one = figures(host, "s");
  CHECK(one.messages == 10);
  CHECK(one.first_position == 15);
  CHECK(one.next_position == 25);
  CHECK(one.bytes == 10 * 5);
  CHECK(one.entered == 25);
  CHECK(one.trimmed == 15);
  CHECK(one.last_minute == 10);
  CHECK(one.readers == 1);
  CHECK(one.first_us <= one.last_us);
  CHECK(one.config.age_max_s == MQTTQ_STREAM_FOREVER);
  CHECK(one.config.bytes_max == MQTTQ_STREAM_UNLIMITED);
  mqttq_stream_lags* lags = nullptr;
  REQUIRE(mqttq_stream_lags_list(host.get(), nullptr, bytes("s"), &lags, nullptr) == MQTTQ_OK);
  REQUIRE(mqttq_stream_lags_count(lags) == 1);
  CHECK(mqttq_stream_lags_get(lags, 0).connected == 1);
  CHECK(mqttq_stream_lags_get(lags, 0).messages <= 2);
  mqttq_stream_lags_free(lags);
  uint64_t dropped = 0;
  CHECK(mqttq_stream_truncate(host.get(), nullptr, bytes("s"), bytes("@18"), &dropped, nullptr) == MQTTQ_OK);
  CHECK(dropped == 3);
  CHECK(mqttq_stream_truncate(host.get(), nullptr, bytes("s"), bytes("x"), &dropped, nullptr) == MQTTQ_EINVAL);
  config.messages_max = 2;
  CHECK(mqttq_stream_change(host.get(), nullptr, bytes("s"), &config, nullptr) == MQTTQ_OK);
  CHECK(figures(host, "s").messages == 2);
  CHECK(mqttq_stream_delete(host.get(), nullptr, bytes("s"), nullptr) == MQTTQ_OK);
  CHECK(mqttq_stream_delete(host.get(), nullptr, bytes("s"), nullptr) == MQTTQ_ENOTFOUND);
  CHECK(mqttq_stream_seek(reader.get(), bytes("latest"), nullptr) == MQTTQ_ENOTFOUND);
}

TEST_CASE("streams and cursors outlive their broker, with positions and times", "[stream]") {
  const TemporaryDirectory folder;
  const std::string data = folder / "data";
  auto config = broker_config();
  config.data_dir = data.c_str();
  int64_t last_us = 0;
  for (int life = 0; life < 3; ++life) {
    Host host(config);
    host.start();
    REQUIRE(declare(host, "s", stream_config("t")) == MQTTQ_OK);
    fill(host, "s", "t", life * 10, 10);
    if (life == 1) REQUIRE(mqttq_stream_truncate(host.get(), nullptr, bytes("s"), bytes("@7"), nullptr, nullptr) == 0);
    const int first = life ? 7 : 0;
    Reader all(host, "s", "0");
    CHECK(all.take(static_cast<size_t>(life * 10 + 10 - first)) == numbered(first, life * 10 + 10 - first));
    CHECK(all.last_us > last_us);
    last_us = all.last_us;
    Reader named(host, "s", "earliest", {}, "c");
    CHECK(named.take(10) == numbered(life * 10, 10));
    CHECK(mqttq_stream_commit(named.get(), static_cast<uint64_t>(life * 10 + 9), nullptr) == MQTTQ_OK);
    CHECK(mqttq_stream_commit(all.get(), 3, nullptr) == MQTTQ_EINVAL);
    if (life < 2) continue;
    CHECK(mqttq_stream_cursor_delete(host.get(), nullptr, bytes("s"), bytes("c"), nullptr) == MQTTQ_OK);
    CHECK(mqttq_stream_cursor_delete(host.get(), nullptr, bytes("s"), bytes("c"), nullptr) == MQTTQ_ENOTFOUND);
    CHECK(mqttq_stream_commit(named.get(), 3, nullptr) == MQTTQ_ENOTFOUND);
  }
}

TEST_CASE("a reader that waits hears that its stream has ended", "[stream]") {
  Host host;
  host.start();
  REQUIRE(declare(host, "s", stream_config("t")) == MQTTQ_OK);
  Reader reader(host, "s", "latest");
  mqttq_status deleted = MQTTQ_ESTATE;
  std::thread deleter([&] { deleted = mqttq_stream_delete(host.get(), nullptr, bytes("s"), nullptr); });
  mqttq_stream_messages* none = nullptr;
  CHECK(mqttq_stream_read(reader.get(), 1, kTimeout_ms, &none, nullptr) == MQTTQ_ENOTFOUND);
  deleter.join();
  CHECK(deleted == MQTTQ_OK);
}

}  // namespace mqttq::abi
