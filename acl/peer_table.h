#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/container/node_hash_map.h>

#include "acl/model.h"
#include "acl/rule_set.h"
#include "acl/selector_index.h"

namespace podwire {

using PeerSet = std::vector<uint32_t>;  ///< numbers of peers of one kind, ascending

/// A peer that selects pods: its kind and its number, counted from 0 in the kind.
struct PodPeer {
  PeerKind kind;
  uint32_t number;
  auto operator<=>(const PodPeer&) const = default;
};

/// Whom an address stands for that several live pods claim.
enum class Claim : uint8_t {
  kAll,  ///< it is a peer if all of them are: it must not inherit what is allowed
  kAny,  ///< it is if one is: nor escape what is denied
};

/// Distinct peers that select pods, each held once however many policies name it, and which of them match a
/// pod.
class PeerTable {
 public:
  /// `peer` has a selector; `policy_namespace` is that of the policy which names it.
  /// `claim` is kAll for peers without namespace_selector.
  PodPeer Intern(const std::string& policy_namespace, const PolicyPeer& peer, Claim claim = Claim::kAll);
  size_t count(PeerKind kind) const { return peers_[static_cast<size_t>(kind)].size(); }
  Claim ClaimOf(PeerKind kind, uint32_t number) const {
    return peers_[static_cast<size_t>(kind)][number].claim;
  }
  /// Grows whenever MatchNamespace may find more.
  size_t namespace_version() const { return namespaces_.size() + count(PeerKind::kNamespace); }

  /// The pods of a namespace: what they have in common.
  struct NamespaceMatch {
    PeerSet peers;                  ///< of kind kNamespace
    std::vector<uint32_t> matched;  ///< namespace selectors, ascending
    const std::string* name = nullptr;
  };
  NamespaceMatch MatchNamespace(const std::string& name, const Labels& labels) const;
  PeerSet MatchOwn(const NamespaceMatch& ns, const Labels& pod_labels) const;
  PeerSet MatchCross(const NamespaceMatch& ns, const Labels& pod_labels) const;

  // A single peer of kind kOwn or kCross; together what the above find for all of them at once.
  bool IsIn(PodPeer peer, const NamespaceMatch& ns) const;
  bool Selects(PodPeer peer, const Labels& pod_labels) const;
  /// Of a peer of kind kOwn: where it is looked for.
  const std::string& OwnNamespace(uint32_t number) const {
    return *peers_[static_cast<size_t>(PeerKind::kOwn)][number].ns;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct OwnPeers {
    SelectorIndex selectors;
    std::vector<uint32_t> numbers;  // by selector
  };
  using Numbers = std::array<uint32_t, 2>;  // by Claim; kNone: not used so
  /// A peer of kind kNamespace needs none of the selectors.
  struct Peer {
    Claim claim;
    const std::string* ns = nullptr;  // kOwn
    uint32_t namespace_selector = 0;  // kCross
    uint32_t pod_selector = 0;        // kOwn: of its namespace's, kCross: of cross_pods_
  };
  uint32_t Number(PeerKind kind, Numbers& numbers, const Peer& peer);
  uint32_t Next(PeerKind kind, const Peer& peer);
  uint32_t InternNamespaceSelector(const LabelSelector& selector);
  PodPeer InternNamespacePeer(const LabelSelector& selector, Claim claim);
  PodPeer InternOwn(const std::string& ns, const LabelSelector& pods);
  PodPeer InternCross(const LabelSelector& namespaces, const LabelSelector& pods, Claim claim);

  std::array<std::vector<Peer>, kPeerKinds> peers_;  // by number
  SelectorIndex namespaces_;
  std::vector<Numbers> namespace_numbers_;  // by namespace selector
  absl::node_hash_map<std::string, OwnPeers> own_;
  SelectorIndex cross_pods_;
  std::vector<absl::flat_hash_map<uint32_t, Numbers>>
      cross_;  // by pod selector: namespace selector -> numbers
};

}  // namespace podwire
