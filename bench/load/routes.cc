// The plain shapes of a flow: pairs, one to many, many to one, a shared group, and pairs on a schedule.
#include "load/flow.h"
#include "load/scenario.h"

namespace mqttq::bench {
namespace {

constexpr uint32_t kLatencyRate = 20'000;

std::string numbered(const char* prefix, uint32_t index) { return prefix + std::to_string(index); }

// The options with the scenario's own number where none was given, so that the printed line says what was run.
Options with_clients(Options options, uint32_t client_count) {
  if (options.client_count == 0) options.client_count = client_count;
  return options;
}

FlowPlan plan_pairs(const char* name, uint32_t count) {
  FlowPlan plan;
  plan.name = name;
  plan.paired = true;
  for (uint32_t i = 0; i < count; ++i) {
    plan.topics.push_back({numbered("bench/pair/", i)});
    plan.filters.push_back({numbered("bench/pair/", i)});
  }
  return plan;
}

}  // namespace

void run_pairs(const Options& given) {
  const Options options = with_clients(given, 10);
  const FlowPlan plan = plan_pairs("pairs", options.client_count);
  Flow(options, plan).run();
}

void run_latency(const Options& given) {
  Options options = with_clients(given, 50);
  if (options.rate == 0) options.rate = kLatencyRate;
  const FlowPlan plan = plan_pairs("latency", options.client_count);
  Flow(options, plan).run();
}

void run_fan_out(const Options& given) {
  const Options options = with_clients(given, 1000);
  FlowPlan plan;
  plan.name = "fanout";
  plan.topics.push_back({"bench/out"});
  plan.filters.assign(options.client_count, {"bench/out"});
  plan.delivery_count = options.client_count;
  Flow(options, plan).run();
}

void run_fan_in(const Options& given) {
  const Options options = with_clients(given, 100);
  FlowPlan plan;
  plan.name = "fanin";
  for (uint32_t i = 0; i < options.client_count; ++i) plan.topics.push_back({numbered("bench/in/", i)});
  plan.filters.push_back({"bench/in/#"});
  Flow(options, plan).run();
}

namespace {

// All publish to one topic, and each message goes to one of them.
void run_one_of_many(const Options& given, const char* name, const char* topic, const char* filter) {
  const Options options = with_clients(given, 10);
  FlowPlan plan;
  plan.name = name;
  plan.topics.assign(options.client_count, {topic});
  plan.filters.assign(options.client_count, {filter});
  plan.contiguous = false;
  Flow(options, plan).run();
}

}  // namespace

void run_shared(const Options& given) { run_one_of_many(given, "shared", "bench/shared", "$share/group/bench/shared"); }

// The queue is declared by the first of its consumers, and stays.
void run_queue(const Options& given) { run_one_of_many(given, "queue", "bench/queue", "$queue/bench/bench/queue"); }

}  // namespace mqttq::bench
