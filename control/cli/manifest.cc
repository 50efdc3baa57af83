#include "control/cli/manifest.h"

#include <cctype>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "control/cli/document_builder.h"
#include "control/cli/yaml_reader.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

using Json = nlohmann::json;

/// Where a JSON text has been read to.
struct Position {
  const char* at;
  int line = 1;
};

/// Tells `Position` how far the JSON parser has read: its own iterator is a copy.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, Position* position) : at_(at), position_(position) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    if (*at_ == '\n') ++position_->line;
    position_->at = ++at_;
    return *this;
  }
  void operator++(int) { ++*this; }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  Position* position_;
};

/// nlohmann's SAX interface, passed on to the builder.
class JsonEvents {
 public:
  JsonEvents(DocumentBuilder& builder, const Position& position) : builder_(builder), position_(position) {}
  bool null() { return Put(nullptr); }
  bool boolean(bool value) { return Put(value); }
  bool number_integer(int64_t value) { return Put(value); }
  bool number_unsigned(uint64_t value) { return Put(value); }
  bool number_float(double value, const std::string&) { return Put(value); }
  bool string(std::string& value) { return Put(value); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(size_t) {
    builder_.StartMap(position_.line);
    return true;
  }
  bool key(std::string& text) {
    builder_.Key(position_.line, text);
    return true;
  }
  bool end_object() {
    builder_.End();
    return true;
  }
  bool start_array(size_t) {
    builder_.StartList(position_.line);
    return true;
  }
  bool end_array() { return end_object(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ...": the line is said
    // by us.
    std::string what = e.what();
    const auto colon = what.find(": ");
    throw DocumentFault(position_.line,
                        "not valid JSON: " + (colon == std::string::npos ? what : what.substr(colon + 2)));
  }

 private:
  bool Put(Json value) {
    builder_.Value(position_.line, std::move(value));
    return true;
  }
  DocumentBuilder& builder_;
  const Position& position_;
};

/// Skips space and `---` lines between documents.
void SkipSeparators(Position& position, const char* end) {
  while (position.at != end) {
    if (std::isspace(static_cast<unsigned char>(*position.at))) {
      if (*position.at++ == '\n') ++position.line;
    } else if (std::string_view(position.at, end).starts_with("---")) {
      position.at += 3;
    } else {
      return;
    }
  }
}

std::vector<Document> ReadJson(std::string_view text) {
  std::vector<Document> documents;
  const char* end = text.data() + text.size();
  Position position{text.data()};
  for (SkipSeparators(position, end); position.at != end; SkipSeparators(position, end)) {
    DocumentBuilder builder;
    JsonEvents events(builder, position);
    const int line = position.line;
    Json::sax_parse(CountingIterator(position.at, &position), CountingIterator(end, &position), &events,
                    Json::input_format_t::json, /*strict=*/false);
    documents.push_back({line, builder.Take()});
  }
  return documents;
}

/// As kubectl does it: what starts with a brace is JSON.
bool LooksLikeJson(std::string_view text) {
  for (const char c : text) {
    if (!std::isspace(static_cast<unsigned char>(c))) return c == '{';
  }
  return false;
}

std::string StringAt(const Json& object, std::initializer_list<const char*> path) {
  const Json* value = &object;
  for (const char* key : path) {
    if (!value->is_object() || !value->contains(key)) return "";
    value = &(*value)[key];
  }
  return value->is_string() ? value->get<std::string>() : "";
}

/// A List's items have no kind of their own when they come from the API: a PodList's are Pods.
void InheritKind(const Json& list, Json& item) {
  const std::string kind = StringAt(list, {"kind"});
  if (!item.is_object() || item.contains("kind") || kind == "List") return;
  item["kind"] = kind.substr(0, kind.size() - std::string_view("List").size());
  if (!item.contains("apiVersion") && list.contains("apiVersion")) item["apiVersion"] = list["apiVersion"];
}

absl::Status Add(Manifest manifest, std::vector<Manifest>& out) {
  if (!manifest.json.is_object()) return InvalidArgument("{}: not a Kubernetes object", manifest.Where());
  const std::string kind = manifest.kind();
  if (kind.empty())
    return InvalidArgument("{}: kind: missing; a Kubernetes object names its kind", manifest.Where());
  if (!kind.ends_with("List")) {
    out.push_back(std::move(manifest));
    return absl::OkStatus();
  }
  if (!manifest.json.contains("items")) return absl::OkStatus();
  Json& items = manifest.json["items"];
  if (items.is_null()) return absl::OkStatus();
  if (!items.is_array()) return InvalidArgument("{}: {}: items: must be a list", manifest.Where(), kind);
  for (size_t i = 0; i < items.size(); ++i) {
    InheritKind(manifest.json, items[i]);
    const std::string item = fmt::format("{}{}items[{}]", manifest.item, manifest.item.empty() ? "" : ".", i);
    RETURN_IF_ERROR(Add({manifest.file, manifest.line, item, std::move(items[i])}, out));
  }
  return absl::OkStatus();
}

}  // namespace

std::string Manifest::Where() const {
  return fmt::format("{}:{}{}{}", file, line, item.empty() ? "" : ": ", item);
}
std::string Manifest::kind() const { return StringAt(json, {"kind"}); }
std::string Manifest::name() const { return StringAt(json, {"metadata", "name"}); }
std::string Manifest::object_namespace() const { return StringAt(json, {"metadata", "namespace"}); }

absl::StatusOr<std::vector<Manifest>> ParseManifests(std::string_view text, const std::string& file) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<Manifest> manifests;
  try {
    for (Document& document : LooksLikeJson(text) ? ReadJson(text) : ReadYaml(text)) {
      if (document.json.is_null()) continue;
      RETURN_IF_ERROR(Add({file, document.line, "", std::move(document.json)}, manifests));
    }
  } catch (const DocumentFault& fault) {
    return InvalidArgument("{}:{}: {}", file, fault.line, fault.what());
  }
  return manifests;
}

}  // namespace podwire::cli
