// What is written of a data directory: a summary, or lists of one line for each thing.
#pragma once

#include <string>

#include "inspect/directory.h"

namespace mqttq::inspect {

// Appended to `out`; as one object of JSON, or for people.
void put_summary(const Contents& contents, bool json, std::string& out);

// A list: the flag that asks for it, and what writes it.
struct List {
  std::string_view flag, what;
  void (*put)(const Contents& contents, bool json, std::string& out);
};
extern const List kLists[];
extern const size_t kListCount;

// The records of the log, which are not in `contents`: they are read once more, and written to stdout as they come.
void print_records(const Contents& contents, bool json);

// All of `out` to stdout; `out` is empty then.
void flush(std::string& out);

}  // namespace mqttq::inspect
