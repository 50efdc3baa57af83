#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/model.h"

namespace podwire {

/// Distinct label selectors, and which of them match a set of labels. Each is filed under one label (or key)
/// that it cannot match without, so that a look-up tests few selectors however many there are.
class SelectorIndex {
 public:
  /// The selector's number, counted from 0; the same for equal selectors.
  uint32_t Intern(const LabelSelector& selector);
  /// The numbers of those that match, ascending.
  std::vector<uint32_t> Match(const Labels& labels) const;
  size_t size() const { return selectors_.size(); }
  const LabelSelector& operator[](uint32_t id) const { return selectors_[id]; }

 private:
  struct Filed {
    std::vector<uint32_t> any_value;
    absl::flat_hash_map<std::string, std::vector<uint32_t>> by_value;
  };
  void File(uint32_t id, const LabelSelector& selector);

  std::vector<LabelSelector> selectors_;
  absl::flat_hash_map<LabelSelector, uint32_t> ids_;
  absl::flat_hash_map<std::string, Filed> by_key_;
  std::vector<uint32_t> anywhere_;  // those that match objects without labels
};

}  // namespace podwire
