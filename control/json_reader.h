#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <nlohmann/json.hpp>

namespace podwire {

/// Reads the keys of one JSON object strictly. The first problem is kept and what follows ignored, so callers
/// read everything and then ask Finish(). Messages begin with the path of the key: "ports[1].kind: ...".
class JsonReader {
 public:
  /// `value` must outlive the reader. `path` is the object's own, empty for the document.
  JsonReader(const nlohmann::json& value, std::string path);

  /// Each leaves `out` alone when the key is absent.
  void String(std::string_view key, std::string& out);
  void Bool(std::string_view key, bool& out);
  template <std::unsigned_integral T>
  void Number(std::string_view key, T& out, uint64_t min = 0, uint64_t max = std::numeric_limits<T>::max()) {
    uint64_t n = out;
    if (ReadNumber(key, n, min, max)) out = static_cast<T>(n);
  }
  /// A string that is one of `choices`.
  void Choice(std::string_view key, std::string& out, std::initializer_list<std::string_view> choices);
  /// The raw value, nullptr when absent.
  const nlohmann::json* Get(std::string_view key);
  /// The same, refused when absent.
  const nlohmann::json* Require(std::string_view key, std::string_view expected);
  /// Get, refused when not an array.
  const nlohmann::json* Array(std::string_view key, std::string_view expected);

  /// "path.key"
  std::string PathOf(std::string_view key) const;
  /// Records "path.key: message".
  void Fail(std::string_view key, std::string_view message);
  /// Records a status that names its path itself.
  void Fail(const absl::Status& status);
  bool ok() const { return status_.ok(); }
  /// The first problem; a key that nobody read is one.
  absl::Status Finish();

 private:
  bool ReadNumber(std::string_view key, uint64_t& out, uint64_t min, uint64_t max);

  const nlohmann::json* object_ = nullptr;
  std::string path_;
  std::set<std::string, std::less<>> known_;
  absl::Status status_;
};

/// Parses a JSON text of at most `max_depth` levels; InvalidArgument with line and column on bad syntax, and
/// with the key's name when an object has a key twice.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, int max_depth = 64);

/// A value as short text for messages.
std::string Brief(const nlohmann::json& value);

}  // namespace podwire
