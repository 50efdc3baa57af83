#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/container/node_hash_map.h>

#include "acl/address_classes.h"
#include "acl/compiled_policy.h"
#include "acl/model.h"
#include "acl/peer_table.h"
#include "acl/pod_groups.h"
#include "acl/policy_selection.h"
#include "acl/port_names.h"
#include "acl/port_set.h"
#include "acl/rule_set_builder.h"

namespace podwire {

/// Compiles a model again and again, each time only what the changes since the last time touch: it is told of
/// every change of the model, keeps the pods by what policies see of them, the peers that policies name (each
/// once), and the rule sets, which consecutive compilations share. A compilation is a value of its own, as if
/// made from nothing. One thread.
class PolicyCompiler {
 public:
  PolicyCompiler();

  // Each after or before the model changes. A change is one of the key's object: new, other contents, gone.
  void ChangePod(const Pod* before, const Pod* after);
  void ChangeNamespace(const std::string& name);
  void ChangePolicy(const ObjectKey& key) { selection_.ChangePolicy(key); }
  void ChangeClusterPolicy(const std::string& name) { selection_.ChangeClusterPolicy(name); }
  void ChangeNodes() { nodes_changed_ = true; }

  /// As the function Compile.
  CompiledPolicy Compile(const Model& model, std::span<const ObjectKey> local_pods);
  /// Rule sets that the last compilation built or extended, as opposed to those it found.
  size_t built() const { return built_count_; }
  /// What is kept of peers and of classes of pods, those included that nobody asks for any more.
  size_t entries() const;

 private:
  struct Policy {
    bool compiled = false;
    bool names_nodes = false;
    uint64_t compiled_at = 0;                        // the epoch
    std::array<std::vector<CompiledRule>, 2> rules;  // by Direction
  };
  /// What makes two pods' rule sets differ: the policies, and what their own port names stand for.
  using RuleSetKey = std::pair<PolicyList, PortRanges>;
  struct BuiltSet {
    std::shared_ptr<const RuleSet> set;
    uint64_t built_at = 0, used_at = 0;  // epochs
    ClassCounts classes{};               // that there were
    std::vector<PodPeer> peers;          // of its rules
    std::vector<PortKey> names;          // on whose servers its fingerprint depends
  };

  void StartAgain();
  void CompileRules(const Model& model);
  void CompileRules(const Model& model, uint32_t number);
  CompiledRule CompileRule(const Model& model, const std::string& ns, const PolicyRule& rule, Direction d,
                           bool& names_nodes);
  std::vector<RuleUse> UsesOf(Direction d, const PolicyList& policies, const Pod* pod) const;
  RuleSetKey KeyOf(Direction d, const PolicyList& policies, const Pod* pod) const;
  bool HasOtherRules(const BuiltSet& built, const PolicyList& policies) const;
  bool HasOtherPeers(const BuiltSet& built) const;
  void Build(RuleSetBuilder& builder, BuiltSet& built, Direction d, const PolicyList& policies,
             const Pod* pod);
  void Extend(RuleSetBuilder& builder, BuiltSet& built, Direction d, const PolicyList& policies,
              const Pod* pod);
  void Take(RuleSetBuilder& builder, BuiltSet& built, RuleSet set);
  const BuiltSet& SetOf(RuleSetBuilder& builder, Direction d, const PolicyList& policies, const Pod* pod);
  RuleSetId TiersOf(RuleSetBuilder& builder, const PolicySelection::LocalPod& pod, Direction d,
                    uint64_t& fingerprint);
  void BuildRuleSets();

  uint64_t epoch_ = 0;
  size_t entries_at_start_ = 0;
  size_t built_count_ = 0;
  bool nodes_changed_ = false;
  Names changed_namespaces_;
  PodGroups groups_;
  PolicySelection selection_;
  PeerTable peers_;
  PortNameTable names_;
  std::unique_ptr<AddressClasses> classes_;
  PortSetPool port_sets_;
  std::vector<Policy> policies_;  // by number
  std::array<absl::node_hash_map<RuleSetKey, BuiltSet>, 2> built_;
  // Of the compilation being made:
  CompiledPolicy out_;
  std::array<absl::flat_hash_map<CompiledPolicy::TieredRules, RuleSetId>, 2> tiered_;
};

}  // namespace podwire
