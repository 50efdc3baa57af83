#include "control/cli/yaml_reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>

#include <absl/container/flat_hash_map.h>
#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "control/cli/document_builder.h"

namespace podwire::cli {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

template <class T>
std::optional<Json> Integer(std::string_view digits, int base) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c); });
}

/// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool IsFloat(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  const auto exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos) {
    std::string_view digits = text.substr(exponent + 1);
    if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
    if (!AllDigits(digits)) return false;
    text = text.substr(0, exponent);
  }
  const auto point = text.find('.');
  if (point == std::string_view::npos) return AllDigits(text);
  const std::string_view whole = text.substr(0, point), fraction = text.substr(point + 1);
  if (whole.empty()) return AllDigits(fraction);
  return AllDigits(whole) && (fraction.empty() || AllDigits(fraction));
}

std::optional<Json> Number(int line, std::string_view text) {
  if (text.starts_with("0x")) return Integer<uint64_t>(text.substr(2), 16);
  if (text.starts_with("0o")) return Integer<uint64_t>(text.substr(2), 8);
  if (!IsFloat(text)) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (auto value = text.starts_with('-') ? Integer<int64_t>(text, 10) : Integer<uint64_t>(text, 10))
    return value;
  const double value = std::strtod(std::string(text).c_str(), nullptr);
  if (!std::isfinite(value)) throw DocumentFault(line, fmt::format("{}: the number is too large", text));
  return value;
}

/// A plain scalar by YAML 1.2's core schema.
Json Resolve(int line, const std::string& text) {
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text == "null" || text == "Null" || text == "NULL" || text == "~" || text.empty()) return nullptr;
  if (auto number = Number(line, text)) return *std::move(number);
  std::string lower = text;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == ".nan" || lower == ".inf" || lower == "-.inf" || lower == "+.inf") {
    throw DocumentFault(line, fmt::format("{}: not a number that JSON has", text));
  }
  return text;
}

/// Whether `value` is of the type that an explicit tag (!!int) asks for. Unknown tags: none is.
bool HasType(const Json& value, std::string_view type) {
  if (type == "int") return value.is_number_integer();
  if (type == "float") return value.is_number();
  if (type == "bool") return value.is_boolean();
  return type == "null" && value.is_null();
}

Json Scalar(int line, const std::string& tag, const std::string& text) {
  if (tag == "?" || tag.empty()) return Resolve(line, text);
  if (tag == "!" || tag == "tag:yaml.org,2002:str") return text;
  if (tag.starts_with(kTagPrefix)) {
    Json value = Resolve(line, text);
    if (HasType(value, std::string_view(tag).substr(kTagPrefix.size()))) return value;
  }
  throw DocumentFault(line, fmt::format("tag {} does not fit \"{}\"", tag, text));
}

/// yaml-cpp hands bytes on as they are; JSON has UTF-8 only.
void CheckUtf8(int line, const std::string& text) {
  try {
    (void)Json(text).dump();
  } catch (const Json::type_error&) {
    throw DocumentFault(line, "not valid UTF-8");
  }
}

/// yaml-cpp's events, passed on to a builder; keeps what anchors name.
class YamlEvents : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    builder_ = DocumentBuilder();
    anchors_.clear();
    start_ = Line(mark);
    // yaml-cpp finds the same document again and again in some texts that are no YAML.
    if (mark.pos == position_) throw DocumentFault(start_, "not valid YAML: unexpected text");
    position_ = mark.pos;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { Put(mark, anchor, nullptr, "null"); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    CheckUtf8(Line(mark), text);
    if (builder_.WantsKey() && text == "<<" && tag == "?") return builder_.MergeKey(Line(mark));
    // A key is its text, whatever type it would have as a value.
    Put(mark, anchor, builder_.WantsKey() ? Json(text) : Scalar(Line(mark), tag, text), text);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw DocumentFault(Line(mark), "an alias within the value that it names");
    const Json& value = found->second;
    if (builder_.WantsKey() && !value.is_string())
      throw DocumentFault(Line(mark), "this alias cannot be a key");
    Put(mark, 0, value, builder_.WantsKey() ? value.get<std::string>() : "");
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    CheckTag(mark, tag, "seq");
    open_anchors_.push_back(anchor);
    builder_.StartList(Line(mark));
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    CheckTag(mark, tag, "map");
    open_anchors_.push_back(anchor);
    builder_.StartMap(Line(mark));
  }
  void OnMapEnd() override { End(); }

  Document Take() { return {builder_.done() ? builder_.line() : start_, builder_.Take()}; }

 private:
  static int Line(const YAML::Mark& mark) { return mark.line + 1; }
  static void CheckTag(const YAML::Mark& mark, const std::string& tag, std::string_view type) {
    if (tag.empty() || tag == "?" || tag == "!" || tag == std::string(kTagPrefix) + std::string(type)) return;
    throw DocumentFault(Line(mark), fmt::format("tag {} is not known", tag));
  }
  void Put(const YAML::Mark& mark, YAML::anchor_t anchor, Json value, const std::string& key) {
    Keep(Line(mark), anchor, value);
    if (builder_.WantsKey()) return builder_.Key(Line(mark), key);
    builder_.Value(Line(mark), std::move(value));
  }
  void End() {
    const Json& value = builder_.End();
    Keep(builder_.line(), open_anchors_.back(), value);
    open_anchors_.pop_back();
  }
  void Keep(int line, YAML::anchor_t anchor, const Json& value) {
    if (anchor == 0) return;
    builder_.Charge(line, value);
    anchors_[anchor] = value;
  }

  DocumentBuilder builder_;
  std::vector<YAML::anchor_t> open_anchors_;
  absl::flat_hash_map<YAML::anchor_t, Json> anchors_;
  int start_ = 1;
  int position_ = -1;  // of the document's start, in characters
};

}  // namespace

std::vector<Document> ReadYaml(std::string_view text) {
  std::vector<Document> documents;
  std::istringstream stream{std::string(text)};
  YamlEvents events;
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) documents.push_back(events.Take());
  } catch (const YAML::Exception& e) {
    throw DocumentFault(e.mark.line + 1, "not valid YAML: " + e.msg);
  }
  return documents;
}

}  // namespace podwire::cli
