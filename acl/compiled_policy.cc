#include "acl/compiled_policy.h"

#include <algorithm>

#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>

namespace podwire {

const EndpointPolicy* CompiledPolicy::Find(const ObjectKey& pod) const {
  const auto it = endpoints_.find(pod);
  return it == endpoints_.end() ? nullptr : &it->second;
}

/// What a look-up asks of every rule set.
struct CompiledPolicy::Packet {
  const IpAddress& peer;
  const AddressClass* pod;  // nullptr: no pod
  PortKey key;
  // The names of this port at the destination: few, however many policies there are.
  std::span<const std::pair<PortKey, PortKey>> names;
};

/// The smallest rule that matches: the first by precedence. Inlined at each tier.
[[gnu::always_inline]] inline RuleRef CompiledPolicy::FirstMatch(const RuleSet& rules,
                                                                 const Packet& packet) const noexcept {
  RuleRef first;
  const auto consult = [&](PortSetId id) {
    const std::span<const PortRange> ports = rules.port_sets[id.value()];
    first = std::min(first, FindRule(ports, packet.key));
    for (const auto& [key, name] : packet.names) first = std::min(first, FindRule(ports, name));
  };
  consult(rules.any_peer);
  for (size_t kind = 0; packet.pod != nullptr && kind < kPeerKinds; ++kind) {
    const ClassId c = packet.pod->of_kind[kind];
    if (c == kNoClass) continue;
    if (const auto it = rules.by_class[kind].find(c); it != rules.by_class[kind].end()) consult(it->second);
  }
  if (const PortSetId* ports = rules.by_prefix.Find(packet.peer)) consult(*ports);
  if (first != kNoRule) first.policy = rules.policies[first.policy];
  return first;
}

PolicyVerdict CompiledPolicy::Check(Direction direction, RuleSetId rule_set, const IpAddress& peer,
                                    uint8_t ip_proto, uint16_t port) const noexcept {
  PolicyVerdict verdict;
  if (rule_set == kNotIsolated) return verdict;
  const auto at = static_cast<size_t>(direction);
  if (rule_set.value() >= tiered_rules_[at].size()) return {.allowed = false, .isolated = true};
  const TieredRules& tiers = tiered_rules_[at][rule_set.value()];

  const PodGroupId group = pods_.Find(peer);
  Packet packet{.peer = peer,
                .pod = group == kNoPodGroup ? nullptr : &(*groups_)[group.value()],
                .key = MakePortKey(ip_proto, port),
                .names = {}};
  if (direction == Direction::kEgress && packet.pod != nullptr) {
    const PortNames& names = (*port_names_)[packet.pod->port_names];
    const auto first = std::lower_bound(names.begin(), names.end(), std::pair(packet.key, PortKey{0}));
    auto last = first;
    while (last != names.end() && last->first == packet.key) ++last;
    packet.names = {first, last};
  }

  if (const RuleSet* admin = tiers.Of(Tier::kAdmin); admin != nullptr) {
    verdict.rule = FirstMatch(*admin, packet);
    if (verdict.rule != kNoRule) {
      const RuleAction action = ActionOf(direction, verdict.rule);
      verdict.allowed = action != RuleAction::kDeny;
      if (action != RuleAction::kPass) return verdict;
      verdict.passed_by = std::exchange(verdict.rule, kNoRule);
    }
  }
  if (const RuleSet* own = tiers.Of(Tier::kNetworkPolicy); own != nullptr) {
    verdict.rule = FirstMatch(*own, packet);
    verdict.isolated = true;
    verdict.allowed = verdict.rule != kNoRule;
  } else if (const RuleSet* baseline = tiers.Of(Tier::kBaseline); baseline != nullptr) {
    verdict.rule = FirstMatch(*baseline, packet);
    verdict.allowed = verdict.rule == kNoRule || ActionOf(direction, verdict.rule) != RuleAction::kDeny;
  }
  return verdict;
}

RuleAction CompiledPolicy::ActionOf(Direction direction, const RuleRef& rule) const noexcept {
  const PolicyInfo& policy = PolicyOf(rule);
  return policy.tier == Tier::kNetworkPolicy ? RuleAction::kAccept
                                             : policy.rules[static_cast<size_t>(direction)][rule.rule].action;
}

std::string CompiledPolicy::NameOf(Direction direction, const RuleRef& rule) const {
  const PolicyInfo& policy = PolicyOf(rule);
  return fmt::format("{} {}", ToString(policy), RuleName(policy, direction, rule.rule));
}

CompiledPolicy::Size CompiledPolicy::size() const {
  Size size{.policies = policies_.size() - static_cast<size_t>(std::ranges::count(policies_, nullptr)),
            .rule_sets = rule_sets_.size(),
            .addresses = pods_.size()};
  absl::flat_hash_set<const PortRanges*> port_sets;
  for (const auto& set : rule_sets_) {
    for (const auto& classes : set->by_class) size.entries += classes.size();
    set->by_prefix.ForEach([&](const IpPrefix&, PortSetId) { ++size.entries; });
    for (size_t i = 1; i < set->held.size(); ++i) port_sets.insert(set->held[i].get());
  }
  size.port_sets = port_sets.size();
  return size;
}

}  // namespace podwire
