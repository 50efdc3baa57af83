#include "acl/port_names.h"

#include <algorithm>

#include "acl/stable_hash.h"

namespace podwire {

PortKey PortNameTable::Intern(const std::string& name, L4Protocol protocol) {
  const auto next = kFirstPortName + static_cast<PortKey>(hashes_.size());
  const auto [it, added] = keys_.try_emplace({name, protocol}, next);
  if (added) hashes_.push_back(CombineHash(HashText(name), static_cast<uint64_t>(protocol)));
  return it->second;
}

PortNames PortNameTable::NamesOf(const std::vector<ContainerPort>& ports) const {
  PortNames names;
  if (empty()) return names;
  for (const ContainerPort& p : ports) {
    const auto it = keys_.find(std::pair(p.name, p.protocol));
    if (it == keys_.end()) continue;
    names.emplace_back(MakePortKey(static_cast<uint8_t>(p.protocol), p.number), it->second);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

void PortNameMembers::Finish() {
  if (added_.empty()) return;
  std::sort(added_.begin(), added_.end());
  std::vector<std::pair<IpAddress, uint64_t>> merged;
  merged.reserve(members_.size() + added_.size());
  uint64_t sum_of_members = 0, sum_of_added = 0;
  auto m = members_.begin();
  for (auto a = added_.begin(); m != members_.end() || a != added_.end();) {
    const IpAddress& next =
        a == added_.end() || (m != members_.end() && m->first < a->first) ? m->first : a->first;
    const uint64_t before = sum_of_members + sum_of_added;
    merged.emplace_back(next, 0);
    if (m != members_.end() && m->first == merged.back().first) sum_of_members = (m++)->second;
    for (; a != added_.end() && a->first == merged.back().first; ++a) sum_of_added += a->second;
    merged.back().second = sum_of_members + sum_of_added;
    if (merged.back().second == before) merged.pop_back();  // it adds nothing any more
  }
  members_ = std::move(merged);
  added_.clear();
}

uint64_t PortNameMembers::Within(const IpPrefix& prefix) const {
  const auto begin = std::partition_point(members_.begin(), members_.end(),
                                          [&](const auto& m) { return m.first < prefix.address; });
  const auto end =
      std::partition_point(begin, members_.end(), [&](const auto& m) { return prefix.Contains(m.first); });
  if (begin == end) return 0;
  return std::prev(end)->second - (begin == members_.begin() ? 0 : std::prev(begin)->second);
}

}  // namespace podwire
