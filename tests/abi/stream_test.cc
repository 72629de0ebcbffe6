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

namespace {

// All that a stream has, as lines.
std::string export_all(const Host& host, std::string_view name) {
  std::string all;
  Reader reader(host, name, "earliest");
  for (uint64_t left = figures(host, name).messages; left;) {
    mqttq_stream_messages* messages = nullptr;
    REQUIRE(mqttq_stream_read(reader.get(), 0, kTimeout_ms, &messages, nullptr) == MQTTQ_OK);
    mqttq_bytes lines{};
    REQUIRE(mqttq_stream_messages_ndjson(messages, &lines, nullptr) == MQTTQ_OK);
    all += text(lines);
    REQUIRE(mqttq_stream_messages_count(messages) > 0);
    left -= mqttq_stream_messages_count(messages);
    mqttq_stream_messages_free(messages);
  }
  return all;
}

mqttq_status import(const Host& host, std::string_view name, std::string_view lines, uint64_t* imported,
                    std::string* problem = nullptr) {
  auto error = make_error();
  const mqttq_status status = mqttq_stream_import(host.get(), nullptr, bytes(name), bytes(lines), imported, &error);
  if (problem) *problem = error.text;
  return status;
}

}  // namespace

TEST_CASE("a stream that is exported and imported is the same", "[stream]") {
  Host host(GENERATE(1u, 3u)), other(2);
  std::string lines;
  host.start();
  other.start();
  for (Host* one : {&host, &other}) REQUIRE(declare(*one, "s", stream_config("t/#")) == MQTTQ_OK);
  auto config = make(mqttq_message_config_init);
  const mqttq_user_property properties[] = {
      {bytes("n"), bytes("1")}, {bytes("n"), bytes("\"2\"\n")}, {bytes(""), bytes("")}};
  const std::string binary("\0\xff\x80 and more", 12);
  int count = 0;
  for (const uint8_t qos : {0, 1, 2}) {
    for (const std::string_view payload :
         {std::string_view("pl\\ain \"text\"\t\x1f"), std::string_view(), std::string_view(binary)}) {
      config.topic = bytes(qos == 1 ? "t/\xc3\xa4" : "t/a");
      config.payload = bytes(payload);
      config.qos = qos;
      config.retain = qos == 2;
      config.payload_is_text = payload.empty();
      config.content_type = bytes("text/plain");
      config.response_topic = bytes(qos ? "answer/here" : "");
      config.correlation_data = bytes(payload);
      config.has_message_expiry = qos == 1;
      config.message_expiry_s = 1000;
      config.user_properties = properties;
      config.user_property_count = static_cast<size_t>(count % 4);
      mqttq_message* message = nullptr;
      REQUIRE(mqttq_message_create(&config, &message, nullptr) == MQTTQ_OK);
      REQUIRE(mqttq_publish(host.get(), message, nullptr) == MQTTQ_OK);
      mqttq_message_release(message);
      ++count;
    }
  }
  while (figures(host, "s").next_position < static_cast<uint64_t>(count)) host.settle();
  lines = export_all(host, "s");
  mqttq_events* events = other.open_events();
  other.subscribe("#", events);
  uint64_t imported = 0;
  REQUIRE(import(other, "s", lines, &imported) == MQTTQ_OK);
  CHECK(imported == static_cast<uint64_t>(count));
  CHECK(export_all(other, "s") == lines);
  CHECK(is_empty(events));  // it is the stream's alone
  CHECK(figures(other, "s").last_us == figures(host, "s").last_us);
  REQUIRE(import(other, "s", lines, &imported) == MQTTQ_OK);  // again: behind them
  CHECK(figures(other, "s").next_position == 2 * imported);
  Reader reader(other, "s", "earliest");
  CHECK(reader.take(2 * imported).size() == 2 * imported);  // times do not go back
  // What is taken live is not before it.
  other.publish("t/live", "x", 1);
  while (figures(other, "s").next_position == 2 * imported) other.settle();
  CHECK(reader.take(1).size() == 1);
}

TEST_CASE("of what is imported all lines are good, or none is taken", "[stream]") {
  Host host;
  host.start();
  REQUIRE(declare(host, "s", stream_config("t/#")) == MQTTQ_OK);
  const std::string good = "{\"topic\":\"t/a\",\"payload\":\"x\"}\n";
  const std::pair<std::string_view, std::string_view> bad[] = {
      {"nothing", "line 2: no JSON"},
      {"[]", "line 2: no object"},
      {"{}", "line 2: topic: not a topic name"},
      {"{\"topic\":\"t/+\"}", "line 2: topic: not a topic name"},
      {"{\"topic\":\"t\",\"topic\":\"t\"}", "line 2: topic: twice"},
      {"{\"topic\":\"t\",\"qos\":3}", "line 2: qos: not what it may be"},
      {"{\"topic\":\"t\",\"qos\":-1}", "line 2: qos: not what it may be"},
      {"{\"topic\":\"t\",\"time_us\":9223372036854775808}", "line 2: time_us: not what it may be"},
      {"{\"topic\":\"t\",\"retain\":1}", "line 2: retain: not what it may be"},
      {"{\"topic\":\"t\",\"payload_base64\":\"a\"}", "line 2: payload_base64: not what it may be"},
      {"{\"topic\":\"t\",\"user_properties\":[[\"a\"]]}", "line 2: user_properties: not what it may be"},
      {"{\"topic\":\"t\",\"color\":1}", "line 2: color: there is no such field"},
      {"{\"topic\":\"$SYS/x\"}", "line 2: topic: $SYS"},
      {"{\"topic\":\"other\"}", "line 2: topic: the stream takes no message of this one"},
      {"{\"topic\":\"t\",\"payload\":\"x\",\"payload_base64\":\"eA==\"}", "line 2: payload: twice"},
      {"{\"topic\":\"t\"} {}", "line 2: no JSON"}};
  for (const auto& [line, said] : bad) {
    uint64_t imported = 7;
    std::string problem;
    CHECK(import(host, "s", good + std::string(line) + "\n" + good, &imported, &problem) == MQTTQ_EINVAL);
    INFO(problem);
    CHECK(problem.rfind(said, 0) == 0);
    CHECK(imported == 0);
  }
  CHECK(figures(host, "s").next_position == 0);
  CHECK(import(host, "none", good, nullptr) == MQTTQ_ENOTFOUND);
  CHECK(import(host, "s", "", nullptr) == MQTTQ_OK);
  uint64_t imported = 0;
  CHECK(import(host, "s", "\n" + good + "\r\n" + good.substr(0, good.size() - 1), &imported) == MQTTQ_OK);
  CHECK(imported == 2);
  auto small = stream_config("u");
  small.bytes_max = 10;
  REQUIRE(declare(host, "small", small) == MQTTQ_OK);
  CHECK(import(host, "small", "{\"topic\":\"u\",\"payload\":\"0123456789\"}\n", &imported) == MQTTQ_EFULL);
  CHECK(imported == 0);
}

TEST_CASE("a time in the future is now, and many lines are taken in their order", "[stream]") {
  Host host(GENERATE(1u, 3u));
  host.start();
  auto config = stream_config("t/#");
  config.age_max_s = MQTTQ_STREAM_FOREVER;
  REQUIRE(declare(host, "s", config) == MQTTQ_OK);
  std::string lines;
  for (int i = 0; i < 5000; ++i) {
    lines += "{\"topic\":\"t/a\",\"time_us\":" + std::to_string(i < 4999 ? 1000 + i : INT64_MAX) + ",\"payload\":\"" +
             std::to_string(i) + "\"}\n";
  }
  uint64_t imported = 0;
  REQUIRE(import(host, "s", lines, &imported) == MQTTQ_OK);
  CHECK(imported == 5000);
  Reader reader(host, "s", "2000");  // by its time
  CHECK(reader.take(4000) == numbered(1000, 4000));
  const mqttq_stream one = figures(host, "s");
  CHECK(one.first_us == 1000);
  CHECK(one.last_us > 1'700'000'000'000'000);
  CHECK(one.last_us < 10'000'000'000'000'000);
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
