// Reads the data files; codec_case.h says what they look like.
#include "codec_case.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "unit/hex.h"

namespace mqttq::conformance {

namespace {

ProtocolVersion version_of(const std::string& text) {
  if (text == "3.1") return ProtocolVersion::V31;
  if (text == "3.1.1") return ProtocolVersion::V311;
  if (text == "5") return ProtocolVersion::V5;
  throw std::invalid_argument("no such version: " + text);
}

ReasonCode reason_of(std::string text) {
  if (text == "ok") return ReasonCode::Success;
  for (char& c : text) {
    if (c == '-') c = ' ';
  }
  for (unsigned value = 0x80; value <= 0xFF; value += 1) {
    const auto code = static_cast<ReasonCode>(value);
    if (is_reason_code(static_cast<uint8_t>(value)) && to_text(code) == text) return code;
  }
  throw std::invalid_argument("no such reason: " + text);
}

// "2 4..6" is 2, 4, 5 and 6.
std::set<size_t> sizes_of(const std::string& text) {
  std::set<size_t> sizes;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const size_t dots = word.find("..");
    const size_t first = std::stoul(word);
    const size_t last = dots == word.npos ? first : std::stoul(word.substr(dots + 2));
    for (size_t size = first; size <= last; size += 1) sizes.insert(size);
  }
  return sizes;
}

struct Line {
  std::string key, value;
};

// One block's lines, those that go on joined to what they go on with.
CodecCase case_of(const std::vector<Line>& lines) {
  CodecCase result;
  bool has_expect = false, has_encodes = false;
  for (const auto& [key, value] : lines) {
    if (key == "title") {
      result.title = value;
    } else if (key == "version") {
      std::istringstream words(value);
      for (std::string word; words >> word;) result.versions.push_back(version_of(word));
    } else if (key == "bytes") {
      result.bytes = hex(value);
    } else if (key == "expect") {
      result.expected = reason_of(value);
      has_expect = true;
    } else if (key == "field") {
      result.fields.push_back(value);
    } else if (key == "encodes") {
      result.encodes = hex(value);
      has_encodes = true;
    } else if (key == "shorter") {
      result.shorter = sizes_of(value);
    } else if (key == "longer" && value == "yes") {
      result.longer = true;
    } else if (key == "length" && value == "lies") {
      result.length_lies = true;
    } else if (key != "proves") {
      throw std::invalid_argument("not understood: " + key + ": " + value);
    }
  }
  if (result.title.empty() || result.versions.empty() || !has_expect) {
    throw std::invalid_argument("title, version and expect are needed");
  }
  if (!has_encodes) result.encodes = result.bytes;
  return result;
}

}  // namespace

std::vector<CodecCase> read_codec_cases(const std::string& name) {
  const std::string path = std::string(MQTTQ_TESTS_DIR) + "/conformance/" + name;
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<CodecCase> cases;
  std::vector<Line> block;
  int number = 0, first = 0;
  const auto finish = [&] {
    if (block.empty()) return;
    try {
      cases.push_back(case_of(block));
    } catch (const std::exception& error) {
      throw std::runtime_error(name + ":" + std::to_string(first) + ": " + error.what());
    }
    cases.back().file = name;
    cases.back().line = first;
    block.clear();
  };
  for (std::string line; std::getline(file, line);) {
    number += 1;
    if (line.empty()) {
      finish();
    } else if (line.front() == '#') {
      continue;
    } else if (line.front() == ' ' && !block.empty()) {
      block.back().value += line;
    } else {
      const size_t colon = line.find(':');
      if (colon == line.npos) throw std::runtime_error(name + ":" + std::to_string(number) + ": a line without a key");
      const size_t begin = std::min(line.find_first_not_of(' ', colon + 1), line.size());
      if (block.empty()) first = number;
      block.push_back({line.substr(0, colon), line.substr(begin)});
    }
  }
  finish();
  return cases;
}

}  // namespace mqttq::conformance
