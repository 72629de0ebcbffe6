// Text with places that are filled in for one client: "clients/${client_id}/in".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/array.h"

namespace mqttq {

// What can be filled in. Borrowed.
struct TemplateValues {
  std::string_view client_id;
  std::string_view user_name;
  const std::string_view* captures = nullptr;  // of $1, $2, …; as many as the template was made for. One whose data()
                                               // is null is no level at all, and takes the '/' before it along
};

// Made before shards run, and only read then.
class TextTemplate {
 public:
  enum class Filled : uint8_t {
    Yes,
    Unfit,  // a client id or user name that is empty, or holds '/', '+' or '#': it would make another topic of this one
    NoMemory,
  };

  TextTemplate() = default;
  // capture_count: how many $n there are, at most 99. A '$' that neither '{' nor a digit follows is itself.
  // Throws std::invalid_argument with a text for people, std::bad_alloc.
  explicit TextTemplate(std::string_view text, size_t capture_count = 0);

  bool empty() const noexcept { return pieces_.empty(); }
  // Appends to `out`.
  Filled fill(const TemplateValues& values, Array<char>& out) const noexcept;
  // With `value` in every place: what judges the text around them.
  std::string sample(std::string_view value) const;

 private:
  struct Piece {
    enum class Kind : uint8_t { Text, Capture, ClientId, UserName } kind;
    uint8_t capture = 0;  // index
    std::string text;
  };
  static std::string_view value_of(const Piece& piece, const TemplateValues& values) noexcept;
  std::vector<Piece> pieces_;
};

}  // namespace mqttq
