#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/container/node_hash_map.h>

#include "acl/model.h"
#include "acl/peer_table.h"
#include "acl/pod_groups.h"
#include "acl/port_names.h"
#include "acl/rule_set.h"
#include "acl/set_pool.h"

namespace podwire {

using ClassCounts = std::array<uint32_t, kPeerKinds>;

/// The class of every group of pods, and what rule sets need to know of classes: kept up with the peers that
/// are asked for and the pods that there are, as far as they change. Numbers of classes are never given to
/// another class.
class AddressClasses {
 public:
  /// The three must live as long.
  AddressClasses(PodGroups& groups, const PeerTable& peers, const PortNameTable& names)
      : groups_(groups), peers_(peers), names_(names) {}

  /// Takes up what has changed since the last call: groups, peers, port names, and the labels of
  /// `namespaces`. `epoch` counts up with each call.
  void Update(const Model& model, const std::set<std::string, std::less<>>& namespaces, uint64_t epoch);

  /// Numbers of classes are below.
  ClassCounts counts() const {
    ClassCounts counts{};
    for (size_t kind = 0; kind < kPeerKinds; ++kind)
      counts[kind] = static_cast<uint32_t>(classes_[kind].size());
    return counts;
  }
  /// Classes that hold the peer, ascending.
  std::span<const ClassId> ClassesOf(PodPeer peer) const {
    return classes_of_[static_cast<size_t>(peer.kind)][peer.number];
  }
  /// The epoch in which the peer got other classes, or a class that holds it another member.
  uint64_t ChangedAt(PodPeer peer) const {
    return peer_changed_[static_cast<size_t>(peer.kind)][peer.number];
  }
  /// The epoch in which another pod served the name, or one at another port.
  uint64_t ChangedAt(PortKey name) const;

  // For fingerprints: hashes of the addresses that belong to something, summed, so that a class which is
  // split because of somebody else's peers weighs as much as its parts.
  uint64_t MembersOf(PeerKind kind, ClassId c) const {
    return members_[static_cast<size_t>(kind)][c.value()];
  }
  /// Of a class, with a port of that name.
  uint64_t ServingOf(PeerKind kind, ClassId c, PortKey name) const;
  /// Of all pods.
  const PortNameMembers& ServingAll(PortKey name);

  /// For look-ups: by PodGroupId, and what AddressClass::port_names counts. What is returned never changes.
  std::shared_ptr<const std::vector<AddressClass>> ShareGroups();
  std::shared_ptr<const std::vector<PortNames>> SharePortNames();
  /// Classes, port names of pods: what grows with what has been.
  size_t entries() const;

 private:
  struct NamedPort {
    PeerKind kind;
    ClassId of;
    PortKey name;
    auto operator<=>(const NamedPort&) const = default;
    template <class H>
    friend H AbslHashValue(H h, const NamedPort& n) {
      return H::combine(std::move(h), n.kind, n.of, n.name);
    }
  };
  /// What a group was counted with.
  struct Counted {
    uint64_t members = 0;
    uint32_t addresses = 0;
    std::vector<std::pair<PortKey, uint64_t>> serving;
  };

  void MatchNamespaces(const Model& model, const std::set<std::string, std::less<>>& changed,
                       PodGroups::Ids& groups);
  void MatchNewPeers(PodGroups::Ids& groups);
  void MatchNewPeer(PodPeer peer, PodGroups::Ids& groups) const;
  ClassId Class(PeerKind kind, PeerSet peers);
  AddressClass Classify(const PodGroup& group);
  PeerSet PeersOf(PeerKind kind, const PodTemplate& pod) const;
  void Count(PodGroupId id, uint64_t sign);
  void Reclassify(PodGroupId id);
  void ForgetServing(uint32_t names_before, uint32_t names_after);
  void AddServing(const IpAddress& a, PodGroupId group, uint64_t sign);

  PodGroups& groups_;
  const PeerTable& peers_;
  const PortNameTable& names_;
  uint64_t epoch_ = 0;
  struct MatchedNamespace {
    PeerTable::NamespaceMatch match;  // refers to the key
    size_t version = 0;               // of the peers that it was matched with
  };
  absl::node_hash_map<std::string, MatchedNamespace> namespaces_;
  std::array<uint32_t, kPeerKinds> seen_peers_{};  // how many the groups were matched with
  size_t seen_names_ = 0;
  std::array<SetPool<PeerSet>, kPeerKinds> classes_;
  SetPool<PortNames> port_names_;
  std::vector<AddressClass> of_group_;  // as counted
  std::vector<Counted> counted_;
  std::array<std::vector<std::vector<ClassId>>, kPeerKinds> classes_of_;  // by peer number
  std::array<std::vector<uint64_t>, kPeerKinds> peer_changed_;            // by peer number
  std::array<std::vector<uint64_t>, kPeerKinds> members_;                 // by class
  absl::flat_hash_map<NamedPort, uint64_t> serving_;
  absl::flat_hash_map<PortKey, uint64_t> name_changed_;
  absl::flat_hash_map<PortKey, PortNameMembers> serving_all_;  // those that were asked for
  std::shared_ptr<const std::vector<AddressClass>> shared_groups_;
  std::shared_ptr<const std::vector<PortNames>> shared_port_names_;
};

}  // namespace podwire
