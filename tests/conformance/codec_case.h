// The blocks of the data files in tests/conformance/, which codec_conformance_test.cc plays.
//
// A file holds blocks, parted by empty lines; a line that begins with '#' is a comment. The lines of a block:
//
//   title:    a sentence that states the behaviour
//   version:  3.1, 3.1.1 and 5, one or more: the same bytes are played for each
//   proves:   [MQTT-...] tags of the statements that the block shows; may be missing
//   bytes:    one packet as unit/hex.h reads it; goes on in further lines that begin with a space
//   expect:   ok, or the reason code's text with '-' for ' '
//   field:    something that codec_describe.h has to say of the decoded packet; any number of them
//   encodes:  what the decoded packet encodes to, if that is not `bytes`
//   shorter:  body sizes, "2 4..6", at which the packet cut off, its Remaining Length corrected, is one as well
//   longer:   yes, if so is the packet with a byte of 0 more
//   length:   lies, if the Remaining Length is wrong on purpose
#pragma once

#include <set>
#include <string>
#include <vector>

#include "message/qos.h"
#include "message/reason_code.h"

namespace mqttq::conformance {

struct CodecCase {
  std::string title;
  std::vector<ProtocolVersion> versions;
  std::vector<std::byte> bytes;
  ReasonCode expected = ReasonCode::Success;
  std::vector<std::string> fields;
  std::vector<std::byte> encodes;  // `bytes` if the block does not say
  std::set<size_t> shorter;        // bytes behind the fixed header
  bool longer = false;
  bool length_lies = false;
  std::string file;
  int line = 0;  // of the block's first line
};

// All blocks of the file of this name. Throws what is wrong with it, and where.
std::vector<CodecCase> read_codec_cases(const std::string& name);

}  // namespace mqttq::conformance
