#include "acl/address_classes.h"

#include <algorithm>
#include <iterator>

#include "acl/stable_hash.h"

namespace podwire {
namespace {

/// Distinct sets, each with a number; 0 is the empty one.
template <class Set>
class SetPool {
 public:
  SetPool() { Intern({}); }
  uint32_t Intern(Set set) {
    const auto [it, added] = ids_.try_emplace(std::move(set), static_cast<uint32_t>(sets_.size()));
    if (added) sets_.push_back(it->first);
    return it->second;
  }
  /// What both hold, and what one does for which `one_is_enough`.
  template <class OneIsEnough>
  uint32_t Merge(uint32_t a, uint32_t b, OneIsEnough one_is_enough) {
    if (a == b) return a;
    Set both, one;
    std::set_intersection(sets_[a].begin(), sets_[a].end(), sets_[b].begin(), sets_[b].end(),
                          std::back_inserter(both));
    std::set_symmetric_difference(sets_[a].begin(), sets_[a].end(), sets_[b].begin(), sets_[b].end(),
                                  std::back_inserter(one));
    std::copy_if(one.begin(), one.end(), std::back_inserter(both), one_is_enough);
    std::sort(both.begin(), both.end());
    return Intern(std::move(both));
  }
  std::vector<Set>& sets() { return sets_; }

 private:
  std::vector<Set> sets_;
  absl::flat_hash_map<Set, uint32_t> ids_;
};

class PodClassifier {
 public:
  PodClassifier(const PeerTable& peers, const PortNameTable& names) : peers_(peers), names_(names) {}

  AddressClasses Run(const Model& model) {
    PeerTable::NamespaceMatch ns;
    ClassId ns_class;
    for (const auto& [key, pod] : model.pods) {
      if (!pod.IsPeer() || pod.addresses.empty()) continue;
      if (ns.name == nullptr || *ns.name != key.ns) {
        ns = peers_.MatchNamespace(key.ns, model.NamespaceLabels(key.ns));
        ns_class = Class(PeerKind::kNamespace, ns.peers);
      }
      AddressClass c;
      c.of_kind = {ns_class, Class(PeerKind::kOwn, peers_.MatchOwn(ns, pod.labels)),
                   Class(PeerKind::kCross, peers_.MatchCross(ns, pod.labels))};
      c.port_names = port_names_.Intern(names_.NamesOf(pod.ports));
      for (const IpAddress& a : pod.addresses) Claim(a, c);
    }
    absl::erase_if(out_.pods, [](const auto& entry) {
      return entry.second.of_kind == AddressClass{}.of_kind && entry.second.port_names == 0;
    });
    out_.port_names = std::move(port_names_.sets());
    ListClasses();
    SumMembers();
    return std::move(out_);
  }

 private:
  ClassId Class(PeerKind kind, PeerSet peers) {
    return ClassId(classes_[static_cast<size_t>(kind)].Intern(std::move(peers)));
  }

  /// The first claim stands as it is; any other leaves what both pods are, and adds what claims of one are
  /// for.
  void Claim(const IpAddress& a, const AddressClass& c) {
    const auto [it, added] = out_.pods.try_emplace(a, c);
    if (added) return;
    AddressClass& held = it->second;
    for (size_t kind = 0; kind < kPeerKinds; ++kind) {
      const auto one_is_enough = [&](uint32_t number) {
        return peers_.ClaimOf(static_cast<PeerKind>(kind), number) == Claim::kAny;
      };
      held.of_kind[kind] =
          ClassId(classes_[kind].Merge(held.of_kind[kind].value(), c.of_kind[kind].value(), one_is_enough));
    }
    held.port_names = port_names_.Merge(held.port_names, c.port_names, [](const auto&) { return false; });
  }

  void ListClasses() {
    for (size_t kind = 0; kind < kPeerKinds; ++kind) {
      auto& classes_of = out_.classes_of[kind];
      classes_of.resize(peers_.count(static_cast<PeerKind>(kind)));
      const auto& sets = classes_[kind].sets();
      for (uint32_t id = 0; id < sets.size(); ++id) {
        for (const uint32_t peer : sets[id]) classes_of[peer].push_back(ClassId(id));
      }
      out_.members[kind].resize(sets.size());
    }
  }

  void SumMembers() {
    for (const auto& [address, c] : out_.pods) {
      const uint64_t hash = HashAddress(address);
      for (size_t kind = 0; kind < kPeerKinds; ++kind) out_.members[kind][c.of_kind[kind].value()] += hash;
      for (const auto& [port, name] : out_.port_names[c.port_names]) {
        const uint64_t serving = CombineHash(hash, port);
        out_.serving.Add(name, address, serving);
        for (size_t kind = 0; kind < kPeerKinds; ++kind) {
          out_.serving_members[{static_cast<PeerKind>(kind), c.of_kind[kind], name}] += serving;
        }
      }
    }
    out_.serving.Finish();
  }

  const PeerTable& peers_;
  const PortNameTable& names_;
  AddressClasses out_;
  std::array<SetPool<PeerSet>, kPeerKinds> classes_;
  SetPool<PortNames> port_names_;
};

}  // namespace

AddressClasses ClassifyPods(const Model& model, const PeerTable& peers, const PortNameTable& names) {
  return PodClassifier(peers, names).Run(model);
}

}  // namespace podwire
