#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

namespace podwire {

/// Distinct sets (sorted vectors), each with a number; 0 is the empty one.
template <class Set>
class SetPool {
 public:
  SetPool() { Intern({}); }
  uint32_t Intern(Set set) {
    const auto [it, added] = ids_.try_emplace(std::move(set), static_cast<uint32_t>(sets_.size()));
    if (added) sets_.push_back(it->first);
    return it->second;
  }
  const Set& operator[](uint32_t id) const { return sets_[id]; }
  const std::vector<Set>& sets() const { return sets_; }
  size_t size() const { return sets_.size(); }

 private:
  std::vector<Set> sets_;
  absl::flat_hash_map<Set, uint32_t> ids_;
};

/// What both hold, and what one does for which `one_is_enough`.
template <class Set, class OneIsEnough>
Set Merge(const Set& a, const Set& b, OneIsEnough one_is_enough) {
  Set both, one;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(one));
  std::copy_if(one.begin(), one.end(), std::back_inserter(both), one_is_enough);
  std::sort(both.begin(), both.end());
  return both;
}

}  // namespace podwire
