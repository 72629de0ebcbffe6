// What can still be read of a data directory, copied into a new one that a broker opens.
#pragma once

#include <string>

namespace mqttq::inspect {

enum class Salvaged : unsigned char {
  Whole,    // nothing was lost
  Partly,   // what was lost was told
  Nothing,  // and why was told; the new directory is none that a broker opens
};

// from: no broker may have it open, and nothing in it is written. to: is not there, or empty. Tells on stdout what was
// copied, and on stderr what was not. Throws std::bad_alloc.
Salvaged salvage(const std::string& from, const std::string& to);

}  // namespace mqttq::inspect
