#include "config_doc.h"

#include <fmt/format.h>

#include "config_keys.h"

namespace mqttq::server {

namespace {

std::string value_text(const Key& key) {
  if (const auto* choice = std::get_if<Choice>(&key.value)) {
    std::string text;
    for (const std::string_view name : choice->names) text += fmt::format("{}`\"{}\"`", text.empty() ? "" : ", ", name);
    return text;
  }
  if (std::holds_alternative<Switch>(key.value)) return "`true`, `false`";
  if (std::holds_alternative<Url>(key.value)) return "string";
  if (const auto* plain = std::get_if<Text>(&key.value)) {
    return fmt::format("string, {} to {} bytes", plain->size_min, plain->size_max);
  }
  if (const auto* array = std::get_if<Array>(&key.value)) {
    return fmt::format("array{}{}", array->count_min ? ", not empty" : "",
                       array->count_max == UINT32_MAX ? "" : fmt::format(", at most {}", array->count_max));
  }
  const auto range = [&](uint64_t min, uint64_t max) {
    return fmt::format("{} to {}{}{}", min, max, key.unit.empty() ? "" : " ", key.unit);
  };
  if (const auto* large = std::get_if<Large>(&key.value)) return range(large->min, large->max);
  const auto& whole = std::get<Whole>(key.value);
  return range(whole.min, whole.max);
}

// What the schema says of a key, without the braces around it. The texts of the table have no quotes and no
// backslashes, so that they stand in JSON as they are.
std::string schema_of(const Key& key) {
  std::string text = fmt::format("\"description\": \"{}{}{}\"", key.text, key.unit.empty() ? "" : ", in ", key.unit);
  if (const auto* whole = std::get_if<Whole>(&key.value)) {
    text += fmt::format(", \"type\": \"integer\", \"minimum\": {}, \"maximum\": {}", whole->min, whole->max);
  } else if (const auto* large = std::get_if<Large>(&key.value)) {
    text += fmt::format(", \"type\": \"integer\", \"minimum\": {}, \"maximum\": {}", large->min, large->max);
  } else if (const auto* choice = std::get_if<Choice>(&key.value)) {
    text += ", \"enum\": [";
    for (const std::string_view name : choice->names) {
      text += fmt::format("{}\"{}\"", name == choice->names.front() ? "" : ", ", name);
    }
    text += ']';
  } else if (std::holds_alternative<Switch>(key.value)) {
    text += ", \"type\": \"boolean\"";
  } else if (const auto* plain = std::get_if<Text>(&key.value)) {  // its sizes are bytes, those of a schema characters
    text +=
        fmt::format(", \"type\": \"string\", \"minLength\": {}, \"maxLength\": {}", plain->size_min, plain->size_max);
  } else if (const auto* array = std::get_if<Array>(&key.value)) {
    text += fmt::format(", \"type\": \"array\", \"minItems\": {}", array->count_min);
    if (array->count_max != UINT32_MAX) text += fmt::format(", \"maxItems\": {}", array->count_max);
  } else {
    text += ", \"type\": \"string\", \"pattern\": \"^(tcp|ws|unix)://\"";
  }
  if (!key.default_json.empty()) text += fmt::format(", \"default\": {}", key.default_json);
  return text;
}

// The members of the object whose keys begin with `path`, from "properties" on.
std::string members_of(std::string_view path, size_t depth) {
  const std::string margin(depth * 2, ' ');
  std::string text = fmt::format("{}\"type\": \"object\",\n{}\"additionalProperties\": false,\n", margin, margin);
  std::string required, properties;
  for (const Child& child : children_of(path)) {
    if (!properties.empty()) properties += ",\n";
    properties += fmt::format("{}  \"{}\": ", margin, child.name);
    switch (child.kind) {
      case Child::Kind::Leaf:
        properties += fmt::format("{{ {} }}", schema_of(*child.key));
        if (child.key->required) required += fmt::format("{}\"{}\"", required.empty() ? "" : ", ", child.name);
        break;
      case Child::Kind::Object:
        properties += fmt::format("{{\n{}{}  }}", members_of(child.path, depth + 2), margin);
        break;
      case Child::Kind::Array:
        properties += fmt::format("{{\n{0}    {1},\n{0}    \"items\": {{\n{2}{0}    }}\n{0}  }}", margin,
                                  schema_of(*child.key), members_of(child.path, depth + 3));
        break;
    }
  }
  if (!required.empty()) text += fmt::format("{}\"required\": [{}],\n", margin, required);
  return text + fmt::format("{}\"properties\": {{\n{}\n{}}}\n", margin, properties, margin);
}

}  // namespace

std::string config_keys_markdown() {
  std::string text = "| key | value | default | at SIGHUP | meaning |\n|---|---|---|---|---|\n";
  for (const Key& key : config_keys()) {
    text += fmt::format("| `{}` | {} | {} | {} | {} |\n", key.path, value_text(key),
                        key.default_json.empty() ? std::string(key.required ? "to be given" : "that of `limits`")
                                                 : fmt::format("`{}`", key.default_json),
                        key.reloads ? "yes" : "no", key.text);
  }
  return text;
}

std::string config_schema() {
  return fmt::format(
      "{{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
      "  \"title\": \"Configuration of mqttq-server\",\n{}}}\n",
      members_of("", 1));
}

}  // namespace mqttq::server
