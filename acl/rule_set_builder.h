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

/// One rule of a policy with its peers looked up.
struct CompiledRule {
  RuleRef ref;
  RuleAction action = RuleAction::kAccept;
  bool any_peer = false;
  std::vector<PodPeer> pod_peers;
  std::vector<const IpBlock*> blocks;
  PortRanges ports;                                           ///< numbers; for egress names too
  std::vector<std::pair<std::string, L4Protocol>> own_names;  ///< ingress: ports that the selected pod names
};

/// A rule as one rule set has it: own_names resolved into `ports`.
struct RuleUse {
  const CompiledRule* rule;
  PortRanges ports;
  /// What a rule's place means for verdicts: rules that follow one another with the same action share a
  /// level, which tells the action too. 0 in NetworkPolicies: all rules are equal.
  uint32_t level = 0;
};

/// Builds rule sets over one classification of addresses. Port sets go into `pool`.
class RuleSetBuilder {
 public:
  RuleSetBuilder(const AddressClasses& classes, const PortNameTable& names, PortSetPool& pool)
      : classes_(classes), names_(names), pool_(pool) {}

  /// `rules` by ref, ascending.
  RuleSet Build(std::vector<RuleUse> rules);

 private:
  using RuleList = std::vector<uint32_t>;  // indexes of rules_, ascending
  PortSetId PortsOf(const RuleList& list);
  void AddClasses(RuleSet& out);
  void AddPrefixes(RuleSet& out);

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
  uint64_t Fingerprint(const RuleSet& set);
  uint64_t PrefixFingerprint();

  const AddressClasses& classes_;
  const PortNameTable& names_;
  PortSetPool& pool_;
  absl::flat_hash_map<PortSetId, Meaning> meanings_;  // the same in all sets without levels
  bool levelled_ = false;                             // the set being built has levels
  std::vector<RuleUse> rules_;                        // of the set being built
  absl::flat_hash_map<RuleList, PortSetId> ports_of_;
  std::vector<std::pair<IpPrefix, PortSetId>> prefixes_;  // of the set being built, as in by_prefix, sorted
};

}  // namespace podwire
