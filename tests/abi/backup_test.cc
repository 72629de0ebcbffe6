// A backup of a broker inside its host, while it runs, and a broker made of it.
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <future>
#include <string>

#include "host.h"
#include "temporary_directory.h"

using namespace mqttq::abi;

namespace {

mqttq_broker_config config_of(const std::string& data_dir, const mqttq_limits& limits) {
  mqttq_broker_config config = broker_config();
  config.shards = 2;
  config.data_dir = data_dir.c_str();
  config.limits = &limits;
  return config;
}

mqttq_limits small_log() {
  mqttq_limits limits = make_limits();
  limits.log_segment_bytes = 1 << 20;
  return limits;
}

}  // namespace

TEST_CASE("a backup of a broker that runs is a data_dir like it", "[abi]") {
  const mqttq::TemporaryDirectory directory;
  const std::string data = directory / "data", copy = directory / "copy";
  const mqttq_limits limits = small_log();
  const mqttq_broker_config config = config_of(data, limits), copied = config_of(copy, limits);
  mqttq_error error = make_error();
  {
    Host host(config);
    mqttq_namespace* ns = host.open_namespace("tenant");
    host.start();
    WireClient sleeper(host.listen()), publisher(host.listen()), tenant(host.listen(ns));
    REQUIRE(sleeper.connect({.client_id = "sleeper", .session_expiry_s = 3600, .clean_start = false}) == 0);
    REQUIRE(sleeper.subscribe("t/#", 1) == 1);
    sleeper.vanish();
    REQUIRE(publisher.connect({.client_id = "publisher"}) == 0);
    REQUIRE(tenant.connect({.client_id = "publisher"}) == 0);
    publisher.send(publish_packet("t/1", "before", 1, 1));
    REQUIRE(static_cast<uint8_t>(publisher.read()[0]) == 0x40);
    tenant.send(publish_packet("t/1", "of the tenant", 1, 1, {}, true));
    REQUIRE(static_cast<uint8_t>(tenant.read()[0]) == 0x40);

    CHECK(mqttq_broker_backup(host.get(), copy.c_str(), &error) == MQTTQ_OK);
    CHECK(mqttq_broker_backup(host.get(), copy.c_str(), &error) == MQTTQ_EEXIST);
    CHECK(std::string(error.text).find(copy) != std::string::npos);
    publisher.send(publish_packet("t/1", "behind", 1, 2));
    REQUIRE(static_cast<uint8_t>(publisher.read()[0]) == 0x40);
  }
  // Beside the one that it was made of, to which nothing has happened.
  for (const bool from_copy : {true, false}) {
    Host host(from_copy ? copied : config);
    mqttq_namespace* ns = host.open_namespace("tenant");
    host.start();
    WireClient sleeper(host.listen()), tenant(host.listen(ns));
    REQUIRE(sleeper.connect({.client_id = "sleeper", .session_expiry_s = 3600, .clean_start = false}) == 0);
    CHECK(read_publish(sleeper.read()).payload == "before");
    if (!from_copy) CHECK(read_publish(sleeper.read()).payload == "behind");
    CHECK(sleeper.nothing_but_ping());
    REQUIRE(tenant.connect({.client_id = "reader"}) == 0);
    REQUIRE(tenant.subscribe("t/#", 1) == 1);
    CHECK(read_publish(tenant.read()).payload == "of the tenant");
  }
}

TEST_CASE("a broker can be backed up before it starts and after it has stopped", "[abi]") {
  const mqttq::TemporaryDirectory directory;
  const std::string data = directory / "data";
  const mqttq_limits limits = small_log();
  Host host(config_of(data, limits));
  CHECK(mqttq_broker_backup(host.get(), (directory / "1").c_str(), nullptr) == MQTTQ_OK);
  host.start();
  CHECK(mqttq_broker_backup(host.get(), (directory / "2").c_str(), nullptr) == MQTTQ_OK);
  mqttq_broker_stop(host.get());
  CHECK(mqttq_broker_backup(host.get(), (directory / "3").c_str(), nullptr) == MQTTQ_OK);
  host.end();
  CHECK(mqttq_data_dir_backup(data.c_str(), (directory / "4").c_str(), nullptr, nullptr, nullptr) == MQTTQ_OK);
  for (const char* name : {"1", "2", "3", "4"}) {
    const std::string copy = directory / name;
    Host restored(config_of(copy, limits));
    restored.start();
  }
}

TEST_CASE("what cannot be backed up is refused, and why", "[abi]") {
  const mqttq::TemporaryDirectory directory;
  const std::string data = directory / "data";
  const mqttq_limits limits = small_log();
  Host host(config_of(data, limits)), in_memory;
  mqttq_error error = make_error();
  const auto refused = [&](mqttq_status status, mqttq_status expected, const char* said) {
    CHECK(status == expected);
    CHECK(error.status == expected);
    INFO(error.text);
    CHECK(std::string(error.text).find(said) != std::string::npos);
  };
  const std::string copy = directory / "copy", within = data + "/copy", deep = directory / "none/copy";
  refused(mqttq_broker_backup(in_memory.get(), copy.c_str(), &error), MQTTQ_EUNSUPPORTED, "no data_dir");
  refused(mqttq_broker_backup(host.get(), nullptr, &error), MQTTQ_EINVAL, "directory");
  refused(mqttq_broker_backup(host.get(), "", &error), MQTTQ_EINVAL, "directory");
  refused(mqttq_broker_backup(host.get(), within.c_str(), &error), MQTTQ_EINVAL, "lies within");
  refused(mqttq_broker_backup(host.get(), deep.c_str(), &error), MQTTQ_ENOTFOUND, "No such file or directory");
  refused(mqttq_broker_backup(host.get(), directory.path.c_str(), &error), MQTTQ_EEXIST, "not empty");
  const auto of_directory = [&](const char* of, const char* to) {
    return mqttq_data_dir_backup(of, to, nullptr, nullptr, &error);
  };
  refused(of_directory(data.c_str(), copy.c_str()), MQTTQ_EINVAL, "this process has");
  refused(of_directory(copy.c_str(), copy.c_str()), MQTTQ_ENOTFOUND, "nothing to back up");
  refused(of_directory(nullptr, copy.c_str()), MQTTQ_EINVAL, "data_dir");
  refused(of_directory(data.c_str(), nullptr), MQTTQ_EINVAL, "directory");
  CHECK_FALSE(std::filesystem::exists(copy));
}

TEST_CASE("a callback on a shard's thread cannot wait for a backup", "[abi]") {
  const mqttq::TemporaryDirectory directory;
  const std::string data = directory / "data";
  const mqttq_limits limits = small_log();
  Host host(config_of(data, limits));
  struct Call {
    mqttq_broker* broker;
    std::string to;
    std::promise<mqttq_status> status;
  } call{host.get(), directory / "copy", {}};
  mqttq_events* events = host.open_events(
      MQTTQ_ON_SHARD,
      [](void* user, const mqttq_event*) {
        auto& made = *static_cast<Call*>(user);
        made.status.set_value(mqttq_broker_backup(made.broker, made.to.c_str(), nullptr));
      },
      &call);
  host.start();
  host.subscribe("t", events, 0);
  host.publish("t", "x");
  CHECK(call.status.get_future().get() == MQTTQ_ESTATE);
  CHECK_FALSE(std::filesystem::exists(directory / "copy"));
}
