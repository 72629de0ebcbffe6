// See text_template.h.
#include "session/text_template.h"

#include <algorithm>
#include <stdexcept>

namespace mqttq {

TextTemplate::TextTemplate(std::string_view text, size_t capture_count) {
  const auto literal = [this](std::string_view more) {
    if (pieces_.empty() || pieces_.back().kind != Piece::Kind::Text) pieces_.push_back({Piece::Kind::Text, 0, {}});
    pieces_.back().text += more;
  };
  while (!text.empty()) {
    const size_t dollar = std::min(text.find('$'), text.size());
    if (dollar) literal(text.substr(0, dollar));
    text.remove_prefix(dollar);
    if (text.empty()) return;
    if (text.starts_with("${")) {
      const size_t end = text.find('}');
      const std::string_view name = text.substr(2, end == std::string_view::npos ? end : end - 2);
      if (end == std::string_view::npos || (name != "client_id" && name != "user_name")) {
        throw std::invalid_argument("${client_id} and ${user_name} are what can be filled in");
      }
      pieces_.push_back({name == "client_id" ? Piece::Kind::ClientId : Piece::Kind::UserName, 0, {}});
      text.remove_prefix(end + 1);
      continue;
    }
    size_t digits = 1;
    size_t number = 0;
    while (digits < text.size() && digits <= 2 && text[digits] >= '0' && text[digits] <= '9') {
      number = number * 10 + static_cast<size_t>(text[digits++] - '0');
    }
    if (digits == 1) {
      literal("$");
    } else if (number < 1 || number > capture_count) {
      throw std::invalid_argument("$" + std::to_string(number) + ", and " + std::to_string(capture_count) +
                                  (capture_count == 1 ? " wildcard" : " wildcards") + " to be named");
    } else {
      pieces_.push_back({Piece::Kind::Capture, static_cast<uint8_t>(number - 1), {}});
    }
    text.remove_prefix(digits);
  }
}

std::string_view TextTemplate::value_of(const Piece& piece, const TemplateValues& values) noexcept {
  switch (piece.kind) {
    case Piece::Kind::Text: return piece.text;
    case Piece::Kind::Capture: return values.captures[piece.capture];
    case Piece::Kind::ClientId: return values.client_id;
    case Piece::Kind::UserName: return values.user_name;
  }
  return {};
}

TextTemplate::Filled TextTemplate::fill(const TemplateValues& values, Array<char>& out) const noexcept {
  for (const Piece& piece : pieces_) {
    const std::string_view value = value_of(piece, values);
    const bool of_client = piece.kind == Piece::Kind::ClientId || piece.kind == Piece::Kind::UserName;
    if (of_client && (value.empty() || value.find_first_of("/+#") != std::string_view::npos)) return Filled::Unfit;
    // A '#' that matched the level above it caught no level at all.
    if (!value.data() && !out.empty() && out.back() == '/') out.pop_back();
    if (!out.append({value.data(), value.size()})) return Filled::NoMemory;
  }
  return Filled::Yes;
}

std::string TextTemplate::sample(std::string_view value) const {
  std::string text;
  for (const Piece& piece : pieces_) text += piece.kind == Piece::Kind::Text ? std::string_view(piece.text) : value;
  return text;
}

}  // namespace mqttq
