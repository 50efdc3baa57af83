#include "acl/compiled_policy.h"

#include <algorithm>

namespace podwire {

const EndpointPolicy* CompiledPolicy::Find(const ObjectKey& pod) const {
  const auto it = endpoints_.find(pod);
  return it == endpoints_.end() ? nullptr : &it->second;
}

PolicyVerdict CompiledPolicy::Check(Direction direction, RuleSetId rule_set, const IpAddress& peer,
                                    uint8_t ip_proto, uint16_t port) const noexcept {
  PolicyVerdict verdict;
  if (rule_set == kNotIsolated) return verdict;
  verdict = {.allowed = false, .isolated = true};
  const auto& sets = rule_sets_[static_cast<size_t>(direction)];
  if (rule_set.value() >= sets.size()) return verdict;
  const RuleSet& rules = sets[rule_set.value()];

  const auto pod = pods_.find(peer);
  const bool is_pod = pod != pods_.end();
  const PortKey key = MakePortKey(ip_proto, port);
  // The names of this port at the destination: few, however many policies there are.
  const PortNames& names = port_names_[is_pod ? pod->second.port_names : 0];
  const auto first_name = std::lower_bound(names.begin(), names.end(), std::pair(key, PortKey{0}));
  const auto consult = [&](PortSetId ports) {
    verdict.rule = std::min(verdict.rule, port_sets_.Find(ports, key));
    if (direction != Direction::kEgress) return;
    for (auto it = first_name; it != names.end() && it->first == key; ++it) {
      verdict.rule = std::min(verdict.rule, port_sets_.Find(ports, it->second));
    }
  };

  consult(rules.any_peer);
  for (size_t kind = 0; is_pod && kind < kPeerKinds; ++kind) {
    const ClassId c = pod->second.of_kind[kind];
    if (c == kNoClass) continue;
    if (const auto it = rules.by_class[kind].find(c); it != rules.by_class[kind].end()) consult(it->second);
  }
  if (const PortSetId* ports = rules.by_prefix.Find(peer)) consult(*ports);
  verdict.allowed = verdict.rule != kNoRule;
  return verdict;
}

CompiledPolicy::Size CompiledPolicy::size() const {
  Size size{.policies = policies_.size(), .addresses = pods_.size(), .port_sets = port_sets_.size()};
  for (const auto& sets : rule_sets_) {
    size.rule_sets += sets.size();
    for (const RuleSet& set : sets) {
      for (const auto& classes : set.by_class) size.entries += classes.size();
      set.by_prefix.ForEach([&](const IpPrefix&, PortSetId) { ++size.entries; });
    }
  }
  return size;
}

}  // namespace podwire
