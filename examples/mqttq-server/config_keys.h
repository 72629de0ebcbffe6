// The keys of the configuration: one table, from which come the parser, the schema and the page in docs/.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "options.h"

namespace mqttq::server {

inline constexpr uint32_t kShardsMax = 63;  // mqttq_broker_config.shards

// What a value is written into. index: of the array's element whose keys are read; 0 outside arrays.
struct Target {
  Options& options;
  size_t index;
};

struct Whole {
  uint32_t min, max;
  uint32_t& (*of)(const Target&);
  uint32_t zero_is = 0;  // what the C ABI calls the value that is 0 in the file
};
struct Large {  // as Whole, where 32 bits do not do
  uint64_t min, max;
  uint64_t& (*of)(const Target&);
};
struct Switch {
  bool& (*of)(const Target&);
};
struct Choice {
  std::span<const std::string_view> names;
  uint8_t& (*of)(const Target&);
};
struct Url {
  std::string& (*of)(const Target&);
};
struct Text {
  uint32_t size_min, size_max;  // bytes
  std::string& (*of)(const Target&);
};
struct Array {  // of objects, whose keys follow it in the table
  uint32_t count_min, count_max;
  size_t (*add)(Options&);  // an element; returns its index
  bool (*same)(const Options&, const Options&);
};

struct Key {
  std::string_view path;  // "limits.packet_size_max"; "listeners[].url" is a key of each element of `listeners`
  std::variant<Whole, Large, Switch, Choice, Url, Text, Array> value;
  std::string_view unit;          // of a number: "bytes", "ms"; may be empty
  std::string_view default_json;  // as one would write it; empty if there is none to write
  std::string_view text;          // a sentence without its full stop
  bool reloads = false;           // takes effect at SIGHUP
  bool required = false;
};

std::span<const Key> config_keys();

// What stands below a path of the table: "" has "listeners", "shards", "limits"; "listeners[]" has "url".
struct Child {
  enum class Kind { Leaf, Object, Array } kind;
  std::string_view name;
  std::string path;  // of a leaf the key's; of an object what its keys begin with; of an array the same of its elements
  const Key* key;    // of a leaf or an array
};
std::vector<Child> children_of(std::string_view path);

// "error, warning or notice".
std::string choices_text(const std::string_view* names, size_t count);

// What `key` expects: "a whole number from 1 to 63".
std::string expected_text(const Key& key);

// The keys in which two sets of options differ; an array stands for all its elements' keys.
std::vector<const Key*> changed_keys(Options one, Options other);

}  // namespace mqttq::server
