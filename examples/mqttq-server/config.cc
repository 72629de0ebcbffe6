#include "config.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <simdjson.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "config_keys.h"
#include "text.h"
#include "url.h"

namespace mqttq::server {

namespace {

namespace ondemand = simdjson::ondemand;

constexpr size_t kFileSizeMax = 16 * 1024 * 1024;  // bytes; a configuration is some kilobytes

std::string read_file(const std::string& path) {
  const auto fail = [&](int number) {
    return OptionError(fmt::format("{}: cannot be read: {}", path, system_text(number)));
  };
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw fail(errno);
  std::string text;
  char piece[16 * 1024];
  ssize_t got;
  while ((got = ::read(descriptor, piece, sizeof piece)) > 0 && text.size() <= kFileSizeMax) {
    text.append(piece, static_cast<size_t>(got));
  }
  const int number = errno;
  ::close(descriptor);
  if (got < 0) throw fail(number);
  if (text.size() > kFileSizeMax) throw OptionError(fmt::format("{}: longer than {} bytes", path, kFileSizeMax));
  return text;
}

// One reading of one file. The text keeps its length and its lines while comments become blanks, so that a pointer into
// it is a place in the file.
class Reading {
 public:
  Reading(const std::string& path, Options& options) : path_(path), options_(options), text_(read_file(path)) {}

  void run() {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.replace(0, 3, 3, ' ');
    check_utf8();
    blank_comments();
    text_.reserve(text_.size() + simdjson::SIMDJSON_PADDING);
    at_ = counted_ = text_.data();
    ondemand::parser parser;
    ondemand::document document;
    if (const auto error = parser.iterate(text_.data(), text_.size(), text_.capacity()).get(document)) {
      fail(at_, "", fmt::format("not JSON: {}", simdjson::error_message(error)));
    }
    try {
      at_ = document.raw_json_token().value().data();
      read_object(document.get_object().value(), "", "", 0);
    } catch (const simdjson::simdjson_error& failure) {
      fail_syntax(failure.error(), document);
    }
  }

 private:
  // place: into text_. shown: the key, empty if the text is about the file.
  [[noreturn]] void fail(const char* place, std::string_view shown, std::string_view text) const {
    throw OptionError(fmt::format("{}:{}: {}{}{}", path_, line_of(place), shown, shown.empty() ? "" : ": ", text));
  }

  ptrdiff_t line_of(const char* place) const {
    const char* begin = text_.data();
    return 1 + std::count(begin, std::clamp(place, begin, begin + text_.size()), '\n');
  }

  // Strings and brackets are known to be closed; what is left is wrong between two tokens.
  [[noreturn]] void fail_syntax(simdjson::error_code error, ondemand::document& document) const {
    const char* place = at_;
    const char* reached = nullptr;
    if (document.current_location().get(reached) == simdjson::SUCCESS && reached > place) place = reached;
    switch (error) {
      case simdjson::STRING_ERROR: fail(at_, "", "not JSON: a string with a bad escape");
      case simdjson::TAPE_ERROR:
      case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
      case simdjson::INCORRECT_TYPE:
        fail(place, "", "not JSON: a key in quotes, a colon, a value or a comma is missing here, or is one too many");
      default: fail(place, "", fmt::format("not JSON: {}", simdjson::error_message(error)));
    }
  }

  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

  // Makes comments blank, and judges what has a better place here than in the parser, which learns of a missing end
  // only at the end: strings and brackets that are not closed, and what stands outside the one object.
  void blank_comments() {
    std::vector<const char*> open;
    bool began = false;
    for (size_t i = 0; i < text_.size(); ++i) {
      const char c = text_[i];
      const char* place = text_.data() + i;
      if (c == '/') {
        if (text_.compare(i, 2, "//") != 0) fail(place, "", "not JSON: a comment begins with //");
        const size_t end = std::min(text_.find('\n', i), text_.size());
        std::fill(text_.begin() + static_cast<ptrdiff_t>(i), text_.begin() + static_cast<ptrdiff_t>(end), ' ');
        i = end - 1;
        continue;
      }
      if (is_blank(c)) continue;
      if (open.empty() && (began || c != '{')) {
        fail(place, "", began ? "expected the end of the file" : "expected an object in braces");
      }
      began = true;
      if (c == '"') {
        i = end_of_string(i);
      } else if (c == '{' || c == '[') {
        open.push_back(place);
      } else if (c == '}' || c == ']') {
        const char* partner = open.back();
        if (*partner != (c == '}' ? '{' : '[')) {
          fail(place, "", fmt::format("not JSON: {} does not close the {} of line {}", c, *partner, line_of(partner)));
        }
        open.pop_back();
      }
    }
    if (!began) fail(text_.data(), "", "expected an object in braces, found nothing");
    if (!open.empty()) fail(open.back(), "", fmt::format("not JSON: this {} is not closed", *open.back()));
  }

  // at: of the opening quote. Returns the place of the closing one.
  size_t end_of_string(size_t at) const {
    for (size_t i = at + 1; i < text_.size() && text_[i] != '\n'; ++i) {
      if (text_[i] == '"') return i;
      if (static_cast<unsigned char>(text_[i]) < 0x20) {
        fail(text_.data() + i, "", "not JSON: a control character in a string");
      }
      if (text_[i] == '\\') ++i;
    }
    fail(text_.data() + at, "", "not JSON: a string is not closed on its line");
  }

  void check_utf8() const {
    for (size_t begin = 0; begin < text_.size();) {
      const size_t end = std::min(text_.find('\n', begin), text_.size());
      if (!simdjson::validate_utf8(text_.data() + begin, end - begin)) fail(text_.data() + begin, "", "not UTF-8");
      begin = end + 1;
    }
  }

  // path: of the table. shown: for people, with indices. index: as in Target.
  void read_object(ondemand::object object, const std::string& path, const std::string& shown, size_t index) {
    const char* opened = at_;
    const std::vector<Child> children = children_of(path);
    std::map<std::string, const char*, std::less<>> seen;
    for (auto member : object) {
      ondemand::field field = std::move(member).take_value();
      const char* key_place = at_ = field.key().raw();
      const std::string name(field.unescaped_key().value());
      const std::string name_shown = name.empty() ? "\"\"" : name;
      const std::string member_shown = shown.empty() ? name_shown : fmt::format("{}.{}", shown, name_shown);
      const auto child =
          std::find_if(children.begin(), children.end(), [&](const Child& one) { return one.name == name; });
      if (child == children.end()) fail(key_place, member_shown, unknown_text(name, children));
      if (const auto [before, first] = seen.emplace(name, key_place); !first) {
        fail(key_place, member_shown, fmt::format("given twice, first in line {}", line_of(before->second)));
      }
      read_member(field.value(), *child, member_shown, index);
    }
    for (const Child& child : children) {
      if (child.kind == Child::Kind::Leaf && child.key->required && !seen.contains(child.name)) {
        fail(opened, fmt::format("{}.{}", shown, child.name),
             fmt::format("expected {}, found nothing", expected_text(*child.key)));
      }
    }
  }

  static std::string unknown_text(std::string_view name, const std::vector<Child>& children) {
    std::vector<std::string_view> known;
    known.reserve(children.size());
    for (const Child& child : children) known.push_back(child.name);
    const std::string_view meant = nearest(name, known);
    if (!meant.empty()) return fmt::format("unknown key; did you mean \"{}\"?", meant);
    return fmt::format("unknown key; known are {}", fmt::join(known, ", "));
  }

  void read_member(ondemand::value value, const Child& child, const std::string& shown, size_t index) {
    const std::string_view token = token_of(value);
    at_ = token.data();
    remember(shown);
    const ondemand::json_type type = value.type();
    switch (child.kind) {
      case Child::Kind::Leaf: read_leaf(value, type, token, *child.key, shown, {options_, index}); return;
      case Child::Kind::Object:
        if (type != ondemand::json_type::object) fail_type("an object in braces", type, token, shown);
        read_object(value.get_object().value(), child.path, shown, index);
        return;
      case Child::Kind::Array:
        if (type != ondemand::json_type::array) fail_type(expected_text(*child.key), type, token, shown);
        read_array(value.get_array().value(), child, shown);
        return;
    }
  }

  void read_array(ondemand::array array, const Child& child, const std::string& shown) {
    const char* opened = at_;
    const auto& of = std::get<Array>(child.key->value);
    uint32_t count = 0;
    for (auto element : array) {
      ondemand::value value = element.value();
      const std::string element_shown = fmt::format("{}[{}]", shown, count);
      const std::string_view token = token_of(value);
      at_ = token.data();
      if (count == of.count_max) {
        fail(at_, element_shown, fmt::format("expected at most {} elements, found more", of.count_max));
      }
      if (const ondemand::json_type type = value.type(); type != ondemand::json_type::object) {
        fail_type("an object in braces", type, token, element_shown);
      }
      remember(element_shown);
      read_object(value.get_object().value(), child.path, element_shown, of.add(options_));
      ++count;
    }
    if (count < of.count_min) fail(opened, shown, "expected at least one element, found an empty array");
  }

  // Keys come in the order of the file, so that its lines are counted once.
  void remember(const std::string& shown) {
    line_ += std::count(counted_, at_, '\n');
    counted_ = at_;
    options_.places.emplace(shown, fmt::format("{}:{}", path_, line_));
  }

  static bool read_number(std::string_view token, uint64_t min, uint64_t max, uint64_t& number) {
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), number);
    const bool all = error == std::errc() && end == token.data() + token.size();
    const bool canonical = token.size() == 1 || token[0] != '0';  // JSON has no leading zeros
    return all && canonical && number >= min && number <= max;
  }

  void read_leaf(ondemand::value value, ondemand::json_type type, std::string_view token, const Key& key,
                 const std::string& shown, const Target& to) {
    const auto wrong = [&] { fail_type(expected_text(key), type, token, shown); };
    if (const auto* whole = std::get_if<Whole>(&key.value)) {
      uint64_t number = 0;
      if (!read_number(token, whole->min, whole->max, number)) wrong();
      whole->of(to) = number ? static_cast<uint32_t>(number) : whole->zero_is;
    } else if (const auto* large = std::get_if<Large>(&key.value)) {
      if (!read_number(token, large->min, large->max, large->of(to))) wrong();
    } else if (const auto* flag = std::get_if<Switch>(&key.value)) {
      if (token != "true" && token != "false") wrong();
      flag->of(to) = token == "true";
    } else {
      if (type != ondemand::json_type::string) wrong();
      const std::string_view text = value.get_string().value();
      if (const auto* choice = std::get_if<Choice>(&key.value)) {
        const auto name = std::find(choice->names.begin(), choice->names.end(), text);
        if (name == choice->names.end()) wrong();
        choice->of(to) = static_cast<uint8_t>(name - choice->names.begin());
      } else if (const auto* plain = std::get_if<Text>(&key.value)) {
        if (text.size() < plain->size_min || text.size() > plain->size_max) wrong();
        if (text.find('\0') != std::string_view::npos) fail_type("a string without U+0000", type, token, shown);
        plain->of(to) = text;
      } else {
        if (const std::string fault = url_fault(text); !fault.empty()) fail(token.data(), shown, fault);
        std::get<Url>(key.value).of(to) = text;
      }
    }
  }

  // The first token of a value, without the blanks behind it; into text_.
  static std::string_view token_of(ondemand::value& value) {
    std::string_view token = value.raw_json_token();
    while (!token.empty() && is_blank(token.back())) token.remove_suffix(1);
    return token;
  }

  [[noreturn]] void fail_type(std::string_view expected, ondemand::json_type type, std::string_view token,
                              std::string_view shown) const {
    constexpr size_t kShownSizeMax = 60;
    std::string found(token);
    if (type == ondemand::json_type::object) found = "an object";
    if (type == ondemand::json_type::array) found = "an array";
    if (found.size() > kShownSizeMax) {
      size_t size = kShownSizeMax;
      while (size && (static_cast<unsigned char>(found[size]) & 0xC0) == 0x80) --size;  // not inside a character
      found = found.substr(0, size) + "...";
    }
    fail(token.data(), shown, fmt::format("expected {}, found {}", expected, found));
  }

  const std::string& path_;
  Options& options_;
  std::string text_;
  const char* at_ = nullptr;       // where the reading has come to, into text_
  const char* counted_ = nullptr;  // how far lines are counted, into text_
  ptrdiff_t line_ = 1;             // of counted_
};

}  // namespace

void read_config(const std::string& path, Options& options) { Reading(path, options).run(); }

}  // namespace mqttq::server
