#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>
#include <nlohmann/json.hpp>

namespace podwire {

/// A JSON value with the path to it, so that every refusal says where it stands. null counts as absent. The
/// document must outlive it.
class JsonNode {
 public:
  JsonNode(const nlohmann::json* value, std::string path) : value_(value), path_(std::move(path)) {}

  bool absent() const { return value_ == nullptr; }
  const std::string& path() const { return path_; }
  const nlohmann::json& json() const { return *value_; }

  /// "path: message", InvalidArgument.
  absl::Status Refuse(std::string_view message) const;
  /// `status` with the path before its message.
  absl::Status Refuse(const absl::Status& status) const;
  /// Refuses with the JSON type that is there: "is a string, expected an object".
  absl::Status WrongType(std::string_view expected) const;

  /// OK when absent or an object.
  absl::Status CheckObject() const;
  /// Refuses fields other than these (and values that are no objects).
  absl::Status CheckFields(std::initializer_list<const char*> known) const;
  /// The field `name`; absent when it is missing or null, or when this is. This must be an object or absent.
  JsonNode Field(std::string_view name) const;
  /// The items of a list; none when absent. An item that is null is refused.
  absl::StatusOr<std::vector<JsonNode>> Items() const;

  /// The value, nullopt when absent.
  absl::StatusOr<std::optional<std::string>> String() const;
  absl::StatusOr<std::optional<bool>> Bool() const;
  /// A string; refused when absent too, with `expected` (like "a CIDR") in the message.
  absl::StatusOr<std::string> RequiredString(std::string_view expected) const;
  /// An integer 1..65535.
  absl::StatusOr<std::optional<uint16_t>> PortNumber() const;

 private:
  const nlohmann::json* value_;  // nullptr: absent
  std::string path_;
};

}  // namespace podwire
