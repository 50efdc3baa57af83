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
  for (auto& [name, members] : by_name_) {
    std::sort(members.begin(), members.end());
    for (size_t i = 1; i < members.size(); ++i) members[i].second += members[i - 1].second;
  }
}

uint64_t PortNameMembers::Total(PortKey name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? 0 : it->second.back().second;
}

uint64_t PortNameMembers::Within(PortKey name, const IpPrefix& prefix) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) return 0;
  const Members& members = it->second;
  const auto begin = std::partition_point(members.begin(), members.end(),
                                          [&](const auto& m) { return m.first < prefix.address; });
  const auto end =
      std::partition_point(begin, members.end(), [&](const auto& m) { return prefix.Contains(m.first); });
  if (begin == end) return 0;
  return std::prev(end)->second - (begin == members.begin() ? 0 : std::prev(begin)->second);
}

}  // namespace podwire
