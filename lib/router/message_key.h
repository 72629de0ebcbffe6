// What a queue or stream goes by to tell which of its messages belong together: a part of each, named by an expression.
//
//   client_id               who published it
//   topic                   its topic name
//   topic_level:N           the Nth level of that, from 1
//   user_property:NAME      the value of its first user property of this name
//   json:POINTER            what stands at a JSON pointer (RFC 6901) in its payload; a text, a number, true or false
#pragma once

#include "base/array.h"
#include "base/owned_text.h"
#include "message/message.h"
#include "store/state.h"

namespace mqttq {

class MessageKey {
 public:
  enum class Kind : uint8_t { None, ClientId, Topic, TopicLevel, UserProperty, Json };

  // Of an expression; empty: Kind::None. Errors: Invalid (it is none), Unsupported (built without JSON), NoMemory.
  static Status parse(std::string_view expression, MessageKey& out) noexcept;

  Kind kind() const noexcept { return kind_; }
  bool on() const noexcept { return kind_ != Kind::None; }
  // As it was parsed.
  std::string_view expression() const noexcept { return expression_.view(); }

  // The key of a message, as two hashes under a secret seed. False: it has none, or there is no memory to find it.
  bool of(const MessageView& message, uint64_t seed, TextKey& key) const noexcept;
  // The same as a text, in place of what `text` held: of client_id a number of 16 digits that stands for it, of JSON
  // its value. False: it has none, or there is no memory.
  bool text_of(const MessageView& message, Array<char>& text) const noexcept;

 private:
  // Calls take(text, kind of value) -> bool for the key, if the message has one.
  template <class Take>
  bool find(const MessageView& message, Take&& take) const noexcept;
  std::string_view operand() const noexcept { return expression().substr(operand_at_); }

  OwnedText expression_;
  uint32_t operand_at_ = 0;
  uint32_t level_ = 0;
  Kind kind_ = Kind::None;
};

}  // namespace mqttq
