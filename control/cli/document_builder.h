#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace podwire::cli {

/// A fault of a document; thrown by the builder through the parsers' callbacks, caught by ParseManifests.
struct DocumentFault : std::runtime_error {
  DocumentFault(int at, const std::string& what) : std::runtime_error(what), line(at) {}
  int line;  // from 1
};

/// Puts one JSON value together from a parser's events; YAML and JSON texts share it, and so its rules: no
/// key twice, at most 100 levels, at most 64 MB (aliases count as often as they are used), YAML's merge key.
class DocumentBuilder {
 public:
  void StartMap(int line) { Start(line, nlohmann::json::object()); }
  void StartList(int line) { Start(line, nlohmann::json::array()); }
  /// Ends the innermost map or list and returns it as it now is in the document.
  const nlohmann::json& End();
  /// The next value's key in the innermost map.
  void Key(int line, std::string text);
  /// The next value is merged into the innermost map ("<<"): a map, or a list of maps; keys given otherwise
  /// win.
  void MergeKey(int line);
  void Value(int line, nlohmann::json value);
  /// Counts a copy of `value` that somebody keeps (an anchor's) as part of the document.
  void Charge(int line, const nlohmann::json& value);

  /// Whether the innermost map waits for a key.
  bool WantsKey() const { return !open_.empty() && open_.back().value.is_object() && !open_.back().has_key; }
  bool done() const { return done_; }
  /// The line where the document's value starts.
  int line() const { return line_; }
  nlohmann::json Take() { return std::move(root_); }

 private:
  struct Open {
    nlohmann::json value;
    std::string key;
    bool has_key = false;
    bool merging = false;  // the key is "<<"
    int line = 0;
    std::vector<nlohmann::json> merges;
  };
  void Start(int line, nlohmann::json empty);
  const nlohmann::json& Put(int line, nlohmann::json value);
  static void AddMerges(Open& map);

  std::vector<Open> open_;
  nlohmann::json root_;
  bool done_ = false;
  int line_ = 0;
  size_t weight_ = 0;  // bytes, roughly
};

}  // namespace podwire::cli
