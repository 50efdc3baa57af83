#include "control/cli/document_builder.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace podwire::cli {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDepth = 100;
constexpr size_t kMaxWeight = 64u << 20;

/// Roughly the bytes of the value as text. Its depth is bounded by the builder.
size_t Weight(const Json& value) {
  size_t weight = 8;
  if (value.is_string()) weight += value.get_ref<const std::string&>().size();
  if (value.is_array()) {
    for (const Json& item : value) weight += Weight(item);
  }
  if (value.is_object()) {
    for (auto it = value.begin(); it != value.end(); ++it) weight += it.key().size() + Weight(*it);
  }
  return weight;
}

size_t Depth(const Json& value) {
  size_t depth = 0;
  if (value.is_structured()) {
    for (const Json& item : value) depth = std::max(depth, Depth(item));
    ++depth;
  }
  return depth;
}

}  // namespace

void DocumentBuilder::Start(int line, Json empty) {
  if (WantsKey()) throw DocumentFault(line, "a map or list cannot be a key");
  if (open_.size() >= kMaxDepth)
    throw DocumentFault(line, fmt::format("nested deeper than {} levels", kMaxDepth));
  if (open_.empty()) line_ = line;
  open_.push_back({.value = std::move(empty), .line = line});
}

const Json& DocumentBuilder::End() {
  Open last = std::move(open_.back());
  open_.pop_back();
  if (last.value.is_object()) AddMerges(last);
  return Put(last.line, std::move(last.value));
}

void DocumentBuilder::Key(int line, std::string text) {
  Open& map = open_.back();
  if (map.value.contains(text)) throw DocumentFault(line, fmt::format("key \"{}\" is given twice", text));
  weight_ += text.size();
  map.key = std::move(text);
  map.has_key = true;
}

void DocumentBuilder::MergeKey(int line) {
  Open& map = open_.back();
  if (!map.merges.empty()) throw DocumentFault(line, "key \"<<\" is given twice");
  map.has_key = true;
  map.merging = true;
}

void DocumentBuilder::Charge(int line, const Json& value) {
  weight_ += Weight(value);
  if (weight_ > kMaxWeight) {
    throw DocumentFault(line, fmt::format("larger than {} MB with its aliases expanded", kMaxWeight >> 20));
  }
}

void DocumentBuilder::Value(int line, Json value) {
  if (open_.empty()) line_ = line;
  Charge(line, value);
  if (value.is_structured() && open_.size() + Depth(value) > kMaxDepth) {
    throw DocumentFault(line, fmt::format("nested deeper than {} levels", kMaxDepth));
  }
  Put(line, std::move(value));
}

const Json& DocumentBuilder::Put(int line, Json value) {
  if (open_.empty()) {
    done_ = true;
    return root_ = std::move(value);
  }
  Open& parent = open_.back();
  if (parent.value.is_array()) {
    parent.value.push_back(std::move(value));
    return parent.value.back();
  }
  parent.has_key = false;
  if (!std::exchange(parent.merging, false)) return parent.value[parent.key] = std::move(value);
  if (!value.is_array()) value = Json::array({std::move(value)});
  for (const Json& map : value) {
    if (!map.is_object()) throw DocumentFault(line, "\"<<\" takes a map or a list of maps");
  }
  parent.merges.push_back(std::move(value));
  return parent.merges.back();
}

void DocumentBuilder::AddMerges(Open& map) {
  for (const Json& list : map.merges) {
    for (const Json& source : list) {
      for (auto it = source.begin(); it != source.end(); ++it) {
        if (!map.value.contains(it.key())) map.value[it.key()] = *it;
      }
    }
  }
}

}  // namespace podwire::cli
