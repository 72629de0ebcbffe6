// What ends a measurement early. A failed run prints no figure: a broker that loses or reorders has no speed.
#pragma once

#include <stdexcept>
#include <string>

namespace mqttq::bench {

// The broker broke the protocol, lost, repeated or reordered a message, or did not answer in time. Exit code 1.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The broker refused what the scenario needs (a SUBACK of 0x80 or more): a row without a figure. Exit code 4.
class Unsupported : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The command line does not make sense. Exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace mqttq::bench
