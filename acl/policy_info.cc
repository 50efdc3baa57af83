#include "acl/policy_info.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

namespace podwire {

bool PolicyInfo::operator<(const PolicyInfo& other) const {
  return std::tie(tier, priority, key) < std::tie(other.tier, other.priority, other.key);
}

std::string ToString(const PolicyInfo& policy) {
  if (policy.tier == Tier::kNetworkPolicy) return "NetworkPolicy " + ToString(policy.key);
  return fmt::format("ClusterNetworkPolicy {} ({}, priority {})", policy.key.name, ToString(policy.tier),
                     policy.priority);
}

std::string RuleName(const PolicyInfo& policy, Direction direction, uint32_t rule) {
  if (policy.tier == Tier::kNetworkPolicy) return fmt::format("{}[{}]", ToString(direction), rule);
  const auto& rules = policy.rules[static_cast<size_t>(direction)];
  if (rule >= rules.size() || rules[rule].name.empty()) return fmt::format("rule {}", rule);
  std::string name = rules[rule].name;  // any text: nothing that moves a terminal's cursor
  std::replace_if(
      name.begin(), name.end(), [](char c) { return static_cast<uint8_t>(c) < 0x20 || c == 0x7f; }, '?');
  return fmt::format("rule '{}'", name);
}

}  // namespace podwire
