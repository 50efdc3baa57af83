#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/address_classes.h"
#include "acl/model.h"
#include "acl/peer_table.h"
#include "acl/port_names.h"
#include "acl/port_set.h"
#include "acl/rule_set.h"

namespace podwire {

/// One rule of a policy with its peers looked up. References to rules in `ports` are without the policy's
/// place, which differs between rule sets.
struct CompiledRule {
  uint32_t number = 0;
  RuleAction action = RuleAction::kAccept;
  bool any_peer = false;
  std::vector<PodPeer> pod_peers;
  std::vector<IpBlock> blocks;
  PortRanges ports;                                           ///< numbers; for egress names too
  std::vector<std::pair<std::string, L4Protocol>> own_names;  ///< ingress: ports that the selected pod names
};

/// A rule as one rule set has it: own_names resolved into `ports`, which refer to `ref`.
struct RuleUse {
  const CompiledRule* rule;
  RuleRef ref;
  PortRanges ports;
  /// What a rule's place means for verdicts: rules that follow one another with the same action share a
  /// level, which tells the action too. 0 in NetworkPolicies: all rules are equal.
  uint32_t level = 0;
};

/// Builds rule sets over one state of the classes. Port sets go into `pool`.
class RuleSetBuilder {
 public:
  RuleSetBuilder(AddressClasses& classes, const PortNameTable& names, PortSetPool& pool)
      : classes_(classes), names_(names), pool_(pool) {
    nothing_.port_sets.emplace_back();
    nothing_.held.push_back(std::make_shared<const PortRanges>());
  }

  /// `rules` by ref, ascending. What is missing in it: RuleSet::policies.
  RuleSet Build(std::vector<RuleUse> rules);
  /// What Build makes of the same rules, from what it made when there were only `seen` classes of each kind.
  RuleSet Extend(const RuleSet& before, std::vector<RuleUse> rules, const ClassCounts& seen);
  /// Names whose servers anywhere the last one's fingerprint depends on; may repeat.
  const std::vector<PortKey>& names_asked() const { return names_asked_; }

 private:
  using RuleList = std::vector<uint32_t>;  // indexes of rules_, ascending
  void Begin(std::vector<RuleUse> rules, const RuleSet& start);
  PortSetId PortsOf(const RuleList& list);
  bool AllowsEverybodyEverything() const;
  void AddClasses(const ClassCounts& seen);
  void AddPrefixes();

  /// What a port set means, whatever rules it comes from.
  struct Meaning {
    struct Name {
      PortKey key;
      uint64_t hash;
    };
    uint64_t hash = 0;  // 0: nothing
    std::vector<Name> names;
  };
  uint32_t LevelOf(const RuleRef& ref) const;
  const Meaning& MeaningOf(PortSetId id);
  const PortNameMembers& ServingAll(PortKey name);
  uint64_t Fingerprint();
  uint64_t PrefixFingerprint();

  AddressClasses& classes_;
  const PortNameTable& names_;
  PortSetPool& pool_;
  RuleSet nothing_;                                          // with kNoPorts
  absl::flat_hash_map<PortSetPool::Ptr, Meaning> meanings_;  // the same in all sets without levels
  // Of the set being built:
  RuleSet out_;
  bool levelled_ = false;
  std::vector<RuleUse> rules_;
  absl::flat_hash_map<RuleList, PortSetId> ports_of_;
  absl::flat_hash_map<const PortRanges*, PortSetId> ids_;
  std::vector<std::pair<IpPrefix, PortSetId>> prefixes_;  // as in by_prefix, sorted
  std::vector<PortKey> names_asked_;
};

}  // namespace podwire
