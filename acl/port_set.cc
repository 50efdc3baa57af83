#include "acl/port_set.h"

#include <algorithm>
#include <queue>

namespace podwire {

PortKey MakePortKey(uint8_t ip_proto, uint16_t port) noexcept {
  switch (static_cast<L4Protocol>(ip_proto)) {
    case L4Protocol::kTcp:
      return port;
    case L4Protocol::kUdp:
      return 1u << 16 | port;
    case L4Protocol::kSctp:
      return 2u << 16 | port;
  }
  return kOtherProtocols;
}

PortRanges Disjoint(PortRanges ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const PortRange& a, const PortRange& b) { return a.first < b.first; });
  std::vector<uint64_t> starts;  // where the winning rule may change; 64 bits, for last + 1
  for (const PortRange& r : ranges) {
    starts.push_back(r.first);
    starts.push_back(uint64_t{r.last} + 1);
  }
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());

  const auto later = [](const PortRange& a, const PortRange& b) { return a.rule > b.rule; };
  std::priority_queue<PortRange, std::vector<PortRange>, decltype(later)> open(
      later);  // smallest rule on top
  PortRanges out;
  auto next = ranges.begin();
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    while (next != ranges.end() && next->first <= starts[i]) open.push(*next++);
    while (!open.empty() && open.top().last < starts[i]) open.pop();
    if (open.empty()) continue;
    const PortRange piece{static_cast<PortKey>(starts[i]), static_cast<PortKey>(starts[i + 1] - 1),
                          open.top().rule};
    if (!out.empty() && out.back().rule == piece.rule && out.back().last + 1 == piece.first) {
      out.back().last = piece.last;
    } else {
      out.push_back(piece);
    }
  }
  return out;
}

PortRanges WithoutRules(std::span<const PortRange> ranges) {
  PortRanges out;
  for (const PortRange& r : ranges) {
    if (!out.empty() && out.back().last + 1 == r.first) {
      out.back().last = r.last;
    } else {
      out.push_back({r.first, r.last, kNoRule});
    }
  }
  return out;
}

RuleRef FindRule(std::span<const PortRange> set, PortKey key) noexcept {
  const auto it = std::upper_bound(set.begin(), set.end(), key,
                                   [](PortKey k, const PortRange& r) { return k < r.first; });
  if (it == set.begin() || std::prev(it)->last < key) return kNoRule;
  return std::prev(it)->rule;
}

PortSetPool::Ptr PortSetPool::Intern(PortRanges ranges) {
  if (const auto it = sets_.find(ranges); it != sets_.end()) return *it;
  ranges.shrink_to_fit();
  return *sets_.insert(std::make_shared<const PortRanges>(std::move(ranges))).first;
}

void PortSetPool::Purge() {
  absl::erase_if(sets_, [](const Ptr& p) { return p.use_count() == 1; });
}

}  // namespace podwire
