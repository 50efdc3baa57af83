#include "acl/json_fields.h"

#include <algorithm>

#include <absl/strings/str_join.h>

#include "net/status.h"

namespace podwire {
namespace {

/// With an article, for messages.
std::string_view TypeName(const nlohmann::json& value) {
  using Type = nlohmann::json::value_t;
  switch (value.type()) {
    case Type::null:
      return "null";
    case Type::object:
      return "an object";
    case Type::array:
      return "a list";
    case Type::string:
      return "a string";
    case Type::boolean:
      return "a boolean";
    case Type::number_integer:
    case Type::number_unsigned:
    case Type::number_float:
      return "a number";
    case Type::binary:
    case Type::discarded:
      return "no JSON";
  }
  return "no JSON";
}

}  // namespace

absl::Status JsonNode::Refuse(std::string_view message) const {
  return path_.empty() ? InvalidArgument("{}", message) : InvalidArgument("{}: {}", path_, message);
}

absl::Status JsonNode::Refuse(const absl::Status& status) const { return Refuse(Message(status)); }

absl::Status JsonNode::WrongType(std::string_view expected) const {
  return Refuse(fmt::format("is {}, expected {}", absent() ? "missing" : TypeName(*value_), expected));
}

absl::Status JsonNode::CheckObject() const {
  return absent() || value_->is_object() ? absl::OkStatus() : WrongType("an object");
}

absl::Status JsonNode::CheckFields(std::initializer_list<const char*> known) const {
  RETURN_IF_ERROR(CheckObject());
  if (absent()) return absl::OkStatus();
  for (const auto& item : value_->items()) {
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      return JsonNode(&item.value(), path_.empty() ? item.key() : path_ + "." + item.key())
          .Refuse(fmt::format("unknown field, expected one of {}", absl::StrJoin(known, ", ")));
    }
  }
  return absl::OkStatus();
}

JsonNode JsonNode::Field(std::string_view name) const {
  const nlohmann::json* found = nullptr;
  if (!absent()) {
    const auto it = value_->find(name);
    if (it != value_->end() && !it->is_null()) found = &*it;
  }
  return {found, path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name)};
}

absl::StatusOr<std::vector<JsonNode>> JsonNode::Items() const {
  std::vector<JsonNode> items;
  if (absent()) return items;
  if (!value_->is_array()) return WrongType("a list");
  items.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    items.emplace_back(&(*value_)[i], fmt::format("{}[{}]", path_, i));
    if (items.back().json().is_null()) return items.back().Refuse("is null, expected a value");
  }
  return items;
}

absl::StatusOr<std::optional<std::string>> JsonNode::String() const {
  if (absent()) return std::optional<std::string>();
  if (!value_->is_string()) return WrongType("a string");
  return std::optional(value_->get<std::string>());
}

absl::StatusOr<std::string> JsonNode::RequiredString(std::string_view expected) const {
  if (absent() || !value_->is_string()) return WrongType(expected);
  return value_->get<std::string>();
}

absl::StatusOr<std::optional<bool>> JsonNode::Bool() const {
  if (absent()) return std::optional<bool>();
  if (!value_->is_boolean()) return WrongType("true or false");
  return std::optional(value_->get<bool>());
}

absl::StatusOr<std::optional<uint16_t>> JsonNode::PortNumber() const {
  if (absent()) return std::optional<uint16_t>();
  if (!value_->is_number_integer()) return WrongType("an integer 1..65535");
  // Unsigned values beyond int64 would turn negative: compare them as what they are.
  const bool fits = value_->is_number_unsigned() ? value_->get<uint64_t>() <= UINT16_MAX
                                                 : value_->get<int64_t>() <= UINT16_MAX;
  if (!fits || value_->get<int64_t>() < 1) {
    return Refuse(fmt::format("{} is not a port, expected 1..65535", value_->dump()));
  }
  return std::optional(value_->get<uint16_t>());
}

}  // namespace podwire
