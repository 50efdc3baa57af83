#include "control/json_reader.h"

#include <algorithm>
#include <vector>

#include "net/status.h"

namespace podwire {
namespace {

// Not fmt::join: GCC 12 warns inside fmt 9 about it.
template <class Range>
std::string Join(const Range& items) {
  std::string text;
  for (const auto& item : items) {
    if (!text.empty()) text += ", ";
    text += item;
  }
  return text;
}

}  // namespace

JsonReader::JsonReader(const nlohmann::json& value, std::string path) : path_(std::move(path)) {
  if (value.is_object()) {
    object_ = &value;
  } else {
    status_ =
        InvalidArgument("{}expected an object, not {}", path_.empty() ? "" : path_ + ": ", Brief(value));
  }
}

std::string JsonReader::PathOf(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void JsonReader::Fail(std::string_view key, std::string_view message) {
  if (status_.ok()) status_ = InvalidArgument("{}: {}", PathOf(key), message);
}

void JsonReader::Fail(const absl::Status& status) {
  if (status_.ok()) status_ = status;
}

const nlohmann::json* JsonReader::Get(std::string_view key) {
  known_.emplace(key);
  if (object_ == nullptr) return nullptr;
  const auto it = object_->find(std::string(key));
  return it == object_->end() ? nullptr : &*it;
}

const nlohmann::json* JsonReader::Require(std::string_view key, std::string_view expected) {
  const nlohmann::json* value = Get(key);
  if (value == nullptr) Fail(key, fmt::format("missing: expected {}", expected));
  return value;
}

const nlohmann::json* JsonReader::Array(std::string_view key, std::string_view expected) {
  const nlohmann::json* value = Get(key);
  if (value == nullptr || value->is_array()) return value;
  Fail(key, fmt::format("expected {}, not {}", expected, Brief(*value)));
  return nullptr;
}

void JsonReader::String(std::string_view key, std::string& out) {
  const nlohmann::json* value = Get(key);
  if (value == nullptr) return;
  if (!value->is_string()) return Fail(key, fmt::format("expected a string, not {}", Brief(*value)));
  out = value->get<std::string>();
}

void JsonReader::Bool(std::string_view key, bool& out) {
  const nlohmann::json* value = Get(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) return Fail(key, fmt::format("expected true or false, not {}", Brief(*value)));
  out = value->get<bool>();
}

bool JsonReader::ReadNumber(std::string_view key, uint64_t& out, uint64_t min, uint64_t max) {
  const nlohmann::json* value = Get(key);
  if (value == nullptr) return false;
  if (!value->is_number_unsigned() || value->get<uint64_t>() < min || value->get<uint64_t>() > max) {
    Fail(key, fmt::format("expected a whole number from {} to {}, not {}", min, max, Brief(*value)));
    return false;
  }
  out = value->get<uint64_t>();
  return true;
}

void JsonReader::Choice(std::string_view key, std::string& out,
                        std::initializer_list<std::string_view> choices) {
  const nlohmann::json* value = Get(key);
  if (value == nullptr) return;
  if (value->is_string() && std::ranges::find(choices, value->get<std::string>()) != choices.end()) {
    out = value->get<std::string>();
    return;
  }
  Fail(key, fmt::format("expected one of {}; not {}", Join(choices), Brief(*value)));
}

absl::Status JsonReader::Finish() {
  if (!status_.ok() || object_ == nullptr) return status_;
  for (const auto& [key, value] : object_->items()) {
    if (known_.contains(key)) continue;
    Fail(key, fmt::format("unknown key; expected one of {}", Join(known_)));
    break;
  }
  return status_;
}

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, int max_depth) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string problem;
  const auto check = [&](int depth, Event event, nlohmann::json& value) {
    if (depth > max_depth) throw std::length_error(fmt::format("nested deeper than {} levels", max_depth));
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second && problem.empty()) {
      problem = fmt::format("key \"{}\" is given twice in one object", value.get<std::string>());
    }
    return true;
  };
  try {
    nlohmann::json value = nlohmann::json::parse(text, check);
    if (!problem.empty()) return InvalidArgument("{}", problem);
    return value;
  } catch (const nlohmann::json::exception& e) {
    std::string_view what =
        e.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    if (const size_t end = what.find("] "); end != std::string_view::npos) what.remove_prefix(end + 2);
    return InvalidArgument("not JSON: {}", what);
  } catch (const std::length_error& e) {
    return InvalidArgument("{}", e.what());
  }
}

std::string Brief(const nlohmann::json& value) {
  constexpr size_t kLongest = 60;
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace podwire
