#include "acl/selector_index.h"

#include <algorithm>

namespace podwire {

uint32_t SelectorIndex::Intern(const LabelSelector& selector) {
  LabelSelector normal = selector.Normalized();
  const auto [it, added] = ids_.try_emplace(std::move(normal), static_cast<uint32_t>(selectors_.size()));
  if (added) {
    selectors_.push_back(it->first);
    File(it->second, it->first);
  }
  return it->second;
}

void SelectorIndex::File(uint32_t id, const LabelSelector& selector) {
  using Operator = LabelRequirement::Operator;
  if (!selector.match_labels.empty()) {
    const auto& [key, value] = *selector.match_labels.begin();
    by_key_[key].by_value[value].push_back(id);
    return;
  }
  const auto file_under = [&](Operator op) {
    const auto it = std::find_if(selector.expressions.begin(), selector.expressions.end(),
                                 [&](const LabelRequirement& r) { return r.op == op; });
    return it == selector.expressions.end() ? nullptr : &*it;
  };
  if (const LabelRequirement* in = file_under(Operator::kIn)) {
    for (const std::string& value : in->values) by_key_[in->key].by_value[value].push_back(id);
  } else if (const LabelRequirement* exists = file_under(Operator::kExists)) {
    by_key_[exists->key].any_value.push_back(id);
  } else {
    anywhere_.push_back(id);
  }
}

std::vector<uint32_t> SelectorIndex::Match(const Labels& labels) const {
  std::vector<uint32_t> matching;
  const auto test = [&](const std::vector<uint32_t>& candidates) {
    for (const uint32_t id : candidates) {
      if (selectors_[id].Matches(labels)) matching.push_back(id);
    }
  };
  test(anywhere_);
  for (const auto& [key, value] : labels) {
    const auto filed = by_key_.find(key);
    if (filed == by_key_.end()) continue;
    test(filed->second.any_value);
    const auto with_value = filed->second.by_value.find(value);
    if (with_value != filed->second.by_value.end()) test(with_value->second);
  }
  std::sort(matching.begin(), matching.end());
  return matching;
}

}  // namespace podwire
