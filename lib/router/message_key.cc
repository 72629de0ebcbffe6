#include "router/message_key.h"

#include <charconv>

#include "codec/packets.h"
#include "message/topic.h"
#ifdef MQTTQ_WITH_JSON
#include <simdjson.h>
#endif

namespace mqttq {

namespace {

struct Word {
  std::string_view word;
  MessageKey::Kind kind;
  bool operand;
};
constexpr Word kWords[] = {
    {"client_id", MessageKey::Kind::ClientId, false},
    {"topic", MessageKey::Kind::Topic, false},
    {"topic_level", MessageKey::Kind::TopicLevel, true},
    {"user_property", MessageKey::Kind::UserProperty, true},
    {"json", MessageKey::Kind::Json, true},
};

// "/a/b~1c", with ~0 and ~1 alone behind a tilde.
bool is_json_pointer(std::string_view text) noexcept {
  if (text.empty() || text.front() != '/' || !is_valid_utf8(text)) return false;
  for (size_t at = text.find('~'); at != text.npos; at = text.find('~', at + 1)) {
    if (at + 1 == text.size() || (text[at + 1] != '0' && text[at + 1] != '1')) return false;
  }
  return true;
}

// A text and a value of JSON that read the same are two keys.
constexpr uint64_t kOfText = 0, kOfValue = 1;

#ifdef MQTTQ_WITH_JSON
// Texts without their escapes; numbers by what they are, so that 1 and 1.0 are one key, and "1" another.
template <class Take>
bool json_value(Bytes payload, std::string_view pointer, Take&& take) noexcept try {
  const simdjson::padded_string padded(reinterpret_cast<const char*>(payload.data()), payload.size());
  simdjson::dom::parser parser;
  simdjson::dom::element document, value;
  if (parser.parse(padded).get(document) || document.at_pointer(pointer).get(value)) return false;
  if (std::string_view text; !value.get_string().get(text)) return take(text, kOfText);
  char digits[32];
  char* end = digits;
  if (bool truth; !value.get_bool().get(truth)) {
    *end++ = truth ? 't' : 'f';
  } else if (int64_t whole; !value.get_int64().get(whole)) {
    end = std::to_chars(digits, std::end(digits), whole).ptr;
  } else if (uint64_t large; !value.get_uint64().get(large)) {
    end = std::to_chars(digits, std::end(digits), large).ptr;
  } else if (double number; !value.get_double().get(number)) {
    end = std::to_chars(digits, std::end(digits), number).ptr;
  } else {
    return false;
  }
  return take({digits, static_cast<size_t>(end - digits)}, kOfValue);
} catch (const std::exception&) {
  return false;
}
#endif

}  // namespace

Status MessageKey::parse(std::string_view expression, MessageKey& out) noexcept {
  MessageKey parsed;
  const size_t colon = expression.find(':');
  if (!expression.empty()) {
    for (const Word& word : kWords) {
      if (word.word == expression.substr(0, colon) && word.operand == (colon != expression.npos))
        parsed.kind_ = word.kind;
    }
    if (!parsed.on() || expression.size() > UINT16_MAX) return Status::Invalid;
  }
  if (!parsed.expression_.set(expression)) return Status::NoMemory;
  if (colon != expression.npos) parsed.operand_at_ = static_cast<uint32_t>(colon + 1);
  const std::string_view operand = parsed.operand();
  switch (parsed.kind_) {
    case Kind::TopicLevel: {
      const auto [end, error] = std::from_chars(operand.data(), operand.data() + operand.size(), parsed.level_);
      if (error != std::errc() || end != operand.data() + operand.size() || parsed.level_ == 0) return Status::Invalid;
      break;
    }
    case Kind::UserProperty:
      if (operand.empty() || !is_valid_utf8(operand)) return Status::Invalid;
      break;
    case Kind::Json:
      if (!is_json_pointer(operand)) return Status::Invalid;
#ifndef MQTTQ_WITH_JSON
      return Status::Unsupported;
#endif
      break;
    default: break;
  }
  out = std::move(parsed);
  return Status::Ok;
}

template <class Take>
bool MessageKey::find(const MessageView& message, Take&& take) const noexcept {
  switch (kind_) {
    case Kind::None:
    case Kind::ClientId: return false;
    case Kind::Topic: return take(message.topic_name, kOfText);
    case Kind::TopicLevel: {
      std::string_view rest = message.topic_name;
      for (uint32_t level = 1; rest.data(); ++level) {
        const std::string_view text = cut_level(rest);
        if (level == level_) return take(text, kOfText);
      }
      return false;
    }
    case Kind::UserProperty: {
      codec::PropertyReader reader(message.properties);
      for (std::string_view name, value; reader.next_user(name, value);) {
        if (name == operand()) return take(value, kOfText);
      }
      return false;
    }
    case Kind::Json:
#ifdef MQTTQ_WITH_JSON
      return json_value(message.payload, operand(), take);
#else
      return false;
#endif
  }
  return false;
}

bool MessageKey::of(const MessageView& message, uint64_t seed, TextKey& key) const noexcept {
  if (kind_ == Kind::ClientId) {
    key = {message.publisher, 0};
    return message.publisher != 0;
  }
  return find(message, [&](std::string_view text, uint64_t kind) noexcept {
    key = text_key(kGlobalNamespace, text, seed + kind);
    return true;
  });
}

bool MessageKey::text_of(const MessageView& message, Array<char>& text) const noexcept {
  text.clear();
  if (kind_ == Kind::ClientId) {
    if (!message.publisher || !text.reserve(16)) return false;
    for (int shift = 60; shift >= 0; shift -= 4) {
      static_cast<void>(text.push_back("0123456789abcdef"[message.publisher >> shift & 15]));  // there is room
    }
    return true;
  }
  return find(message,
              [&](std::string_view found, uint64_t) noexcept { return text.append({found.data(), found.size()}); });
}

}  // namespace mqttq
