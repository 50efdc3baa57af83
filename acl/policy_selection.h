#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "acl/model.h"
#include "acl/peer_table.h"
#include "acl/policy_info.h"
#include "acl/selector_index.h"

namespace podwire {

using PolicyList = std::vector<uint32_t>;  ///< numbers of policies

using Names = std::set<std::string, std::less<>>;

/// A policy of either kind as the selection knows it.
struct SelectedPolicy {
  std::shared_ptr<const PolicyInfo> info;
  PolicyPeer subject;           ///< NetworkPolicy: its podSelector alone
  std::array<bool, 2> rules{};  ///< by Direction: whether it says something of it
};

/// Which policies of a model select which local pods: kept up with the changes that it is told of, so that
/// an update looks at namespaces and pods of which something may be different.
class PolicySelection {
 public:
  struct LocalPod {
    const ObjectKey* key;
    const Pod* pod;  ///< nullptr: not in the model
    /// By Direction and Tier, by precedence. None of Baseline where NetworkPolicies isolate.
    std::array<std::array<PolicyList, kTiers>, 2> policies;
    uint64_t selected_at = 0;  ///< the epoch of the lists
    uint64_t used_at = 0;      ///< the last epoch in which it was local
  };

  // What is to be looked at again in the next update.
  void ChangePod(const ObjectKey& key) { changed_pods_.insert(key); }
  void ChangeNamespace(const std::string& name) { changed_namespaces_.insert(name); }
  void ChangePolicy(const ObjectKey& key) { changed_policies_.insert(key); }
  void ChangeClusterPolicy(const std::string& name) { changed_cluster_policies_.insert(name); }

  /// `epoch` counts up with each call.
  void Update(const Model& model, std::span<const ObjectKey> local_pods, uint64_t epoch);
  /// The local pods of the last update.
  const std::vector<LocalPod*>& pods() const { return pods_; }
  /// By the numbers in the lists. A number may be given to another policy when its own is gone.
  const std::vector<SelectedPolicy>& policies() const { return policies_; }
  /// Policies that the last update found anew or with other contents.
  const std::vector<uint32_t>& changed() const { return changed_; }

 private:
  /// The policies of a namespace by their podSelector.
  struct NamespacePolicies {
    SelectorIndex selectors;
    std::vector<PolicyList> by_selector;
    PeerTable::NamespaceMatch subjects;  // of ClusterNetworkPolicies
    std::map<std::string, uint32_t, std::less<>> numbers;
    uint64_t changed_at = 0;
    uint64_t used_at = 0;
  };
  void UpdateClusterPolicies(const Model& model);
  void UpdatePolicies(const Model& model);
  void BuildNamespace(const Model& model, const std::string& ns, NamespacePolicies& out);
  /// Whether only the rules of a policy have changed.
  bool TakeRules(uint32_t number, SelectedPolicy now);
  uint32_t Add(SelectedPolicy policy);
  void Remove(uint32_t number);
  PolicyList CandidatesOf(const NamespacePolicies& policies, const Labels& labels) const;
  void Select(LocalPod& pod, const NamespacePolicies& policies) const;

  std::set<ObjectKey> changed_pods_, changed_policies_;
  Names changed_namespaces_, changed_cluster_policies_;
  uint64_t epoch_ = 0;
  std::vector<SelectedPolicy> policies_;
  std::vector<uint32_t> free_, changed_;
  std::map<std::string, NamespacePolicies, std::less<>> namespaces_;  // of local pods
  std::map<std::string, uint32_t, std::less<>> cluster_numbers_;
  PeerTable subjects_;                                          // of ClusterNetworkPolicies
  std::array<std::vector<PolicyList>, kPeerKinds> by_subject_;  // by kind and number
  uint64_t subjects_changed_at_ = 0;
  std::map<ObjectKey, LocalPod> known_;
  std::vector<LocalPod*> pods_;
};

}  // namespace podwire
