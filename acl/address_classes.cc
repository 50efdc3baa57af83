#include "acl/address_classes.h"

#include <algorithm>
#include <iterator>

#include "acl/stable_hash.h"

namespace podwire {
namespace {

/// More new peers than that are matched all at once with every group.
constexpr uint32_t kFewPeers = 16;

}  // namespace

void AddressClasses::Update(const Model& model, const std::set<std::string, std::less<>>& namespaces,
                            uint64_t epoch) {
  epoch_ = epoch;
  for (size_t kind = 0; kind < kPeerKinds; ++kind) {
    const size_t count = peers_.count(static_cast<PeerKind>(kind));
    classes_of_[kind].resize(count);
    peer_changed_[kind].resize(count, epoch_);
    members_[kind].resize(classes_[kind].size());
  }
  of_group_.resize(groups_.size());
  counted_.resize(groups_.size());
  PodGroups::Ids changed = groups_.TakeTouched();
  const PodGroups::Moves moves = groups_.TakeMoves();
  for (const auto& [address, before] : moves) AddServing(address, before, ~uint64_t{0});  // minus once
  MatchNamespaces(model, namespaces, changed);
  MatchNewPeers(changed);
  if (names_.size() != seen_names_) {
    for (uint32_t id = 0; id < groups_.size(); ++id) {
      if (!groups_.group(PodGroupId(id)).serving.empty()) changed.insert(PodGroupId(id));
    }
  }
  seen_names_ = names_.size();
  for (const PodGroupId id : changed) Reclassify(id);
  for (const auto& [address, before] : moves) AddServing(address, groups_.addresses().Find(address), 1);
}

void AddressClasses::MatchNamespaces(const Model& model, const std::set<std::string, std::less<>>& changed,
                                     PodGroups::Ids& groups) {
  for (const std::string& ns : changed) namespaces_.erase(ns);
  const size_t version = peers_.namespace_version();
  for (const auto& [ns, ids] : groups_.by_namespace()) {
    const auto [it, added] = namespaces_.try_emplace(ns);
    MatchedNamespace& held = it->second;
    if (!added && held.version == version) continue;
    const PeerSet before = std::move(held.match.peers);
    held = {peers_.MatchNamespace(it->first, model.NamespaceLabels(ns)), version};
    if (added || held.match.peers != before) groups.insert(ids.begin(), ids.end());
  }
}

void AddressClasses::MatchNewPeers(PodGroups::Ids& groups) {
  for (const PeerKind kind : {PeerKind::kOwn, PeerKind::kCross}) {
    uint32_t& seen = seen_peers_[static_cast<size_t>(kind)];
    const auto count = static_cast<uint32_t>(peers_.count(kind));
    if (count - seen > kFewPeers) {
      for (const auto& [ns, ids] : groups_.by_namespace()) groups.insert(ids.begin(), ids.end());
      seen = count;
    }
    for (; seen != count; ++seen) MatchNewPeer({kind, seen}, groups);
  }
}

void AddressClasses::MatchNewPeer(PodPeer peer, PodGroups::Ids& groups) const {
  const auto match = [&](const std::string& ns, const PodGroups::Ids& ids) {
    const PeerTable::NamespaceMatch& ns_match = namespaces_.at(ns).match;
    if (!peers_.IsIn(peer, ns_match)) return;
    for (const PodGroupId id : ids) {
      for (const PodTemplate* pod : groups_.group(id).pods) {
        if (pod->ns == ns && peers_.Selects(peer, pod->labels)) groups.insert(id);
      }
    }
  };
  if (peer.kind == PeerKind::kOwn) {
    const auto it = groups_.by_namespace().find(peers_.OwnNamespace(peer.number));
    if (it != groups_.by_namespace().end()) match(it->first, it->second);
    return;
  }
  for (const auto& [ns, ids] : groups_.by_namespace()) match(ns, ids);
}

PeerSet AddressClasses::PeersOf(PeerKind kind, const PodTemplate& pod) const {
  const PeerTable::NamespaceMatch& ns = namespaces_.at(pod.ns).match;
  switch (kind) {
    case PeerKind::kNamespace:
      return ns.peers;
    case PeerKind::kOwn:
      return peers_.MatchOwn(ns, pod.labels);
    case PeerKind::kCross:
      return peers_.MatchCross(ns, pod.labels);
  }
  return {};
}

ClassId AddressClasses::Class(PeerKind kind, PeerSet peers) {
  const auto at = static_cast<size_t>(kind);
  const ClassId id(classes_[at].Intern(std::move(peers)));
  if (id.value() < members_[at].size()) return id;
  members_[at].push_back(0);
  for (const uint32_t peer : classes_[at][id.value()]) {
    classes_of_[at][peer].push_back(id);
    peer_changed_[at][peer] = epoch_;
  }
  return id;
}

/// Of several pods, what all of them are, and what claims of one are for.
AddressClass AddressClasses::Classify(const PodGroup& group) {
  AddressClass out;
  if (group.pods.empty()) return out;
  for (const PeerKind kind : {PeerKind::kNamespace, PeerKind::kOwn, PeerKind::kCross}) {
    const auto one_is_enough = [&](uint32_t number) { return peers_.ClaimOf(kind, number) == Claim::kAny; };
    PeerSet peers = PeersOf(kind, *group.pods[0]);
    for (size_t i = 1; i < group.pods.size(); ++i)
      peers = Merge(peers, PeersOf(kind, *group.pods[i]), one_is_enough);
    out.of_kind[static_cast<size_t>(kind)] = Class(kind, std::move(peers));
  }
  PortNames names = names_.NamesOf(group.pods[0]->ports);
  for (size_t i = 1; i < group.pods.size(); ++i)
    names = Merge(names, names_.NamesOf(group.pods[i]->ports), [](const auto&) { return false; });
  out.port_names = port_names_.Intern(std::move(names));
  return out;
}

void AddressClasses::Reclassify(PodGroupId id) {
  const PodGroup& group = groups_.group(id);
  const AddressClass after = Classify(group);
  AddressClass& held = of_group_[id.value()];
  Counted& counted = counted_[id.value()];
  if (after == held && group.members == counted.members && group.serving == counted.serving) return;
  Count(id, ~uint64_t{0});  // minus once
  if (after != held) {
    shared_groups_ = nullptr;
    if (after.port_names != held.port_names && counted.addresses != 0 && group.addresses != 0)
      ForgetServing(held.port_names, after.port_names);
    held = after;
  }
  counted = {group.members, group.addresses, group.serving};
  Count(id, 1);
}

void AddressClasses::Count(PodGroupId id, uint64_t sign) {
  const AddressClass& c = of_group_[id.value()];
  const Counted& counted = counted_[id.value()];
  for (size_t kind = 0; kind < kPeerKinds; ++kind) {
    members_[kind][c.of_kind[kind].value()] += sign * counted.members;
    for (const uint32_t peer : classes_[kind][c.of_kind[kind].value()]) peer_changed_[kind][peer] = epoch_;
  }
  for (const auto& [port, name] : port_names_[c.port_names]) {
    const auto served = std::find_if(counted.serving.begin(), counted.serving.end(),
                                     [port = port](const auto& s) { return s.first == port; });
    if (served == counted.serving.end()) continue;
    name_changed_[name] = epoch_;
    for (size_t kind = 0; kind < kPeerKinds; ++kind)
      serving_[{static_cast<PeerKind>(kind), c.of_kind[kind], name}] += sign * served->second;
  }
}

/// Those who stay in a group serve other names now: who serves those is to be found out again.
void AddressClasses::ForgetServing(uint32_t names_before, uint32_t names_after) {
  PortNames changed;
  std::ranges::set_symmetric_difference(port_names_[names_before], port_names_[names_after],
                                        std::back_inserter(changed));
  for (const auto& [port, name] : changed) serving_all_.erase(name);
}

/// Those who come to a group serve what it does, and no longer what the one did that they leave.
void AddressClasses::AddServing(const IpAddress& a, PodGroupId group, uint64_t sign) {
  if (group == kNoPodGroup || serving_all_.empty()) return;
  for (const auto& [port, name] : port_names_[of_group_[group.value()].port_names]) {
    const auto it = serving_all_.find(name);
    if (it != serving_all_.end()) it->second.Add(a, sign * CombineHash(HashAddress(a), port));
  }
}

uint64_t AddressClasses::ChangedAt(PortKey name) const {
  const auto it = name_changed_.find(name);
  return it == name_changed_.end() ? 0 : it->second;
}

uint64_t AddressClasses::ServingOf(PeerKind kind, ClassId c, PortKey name) const {
  const auto it = serving_.find({kind, c, name});
  return it == serving_.end() ? 0 : it->second;
}

const PortNameMembers& AddressClasses::ServingAll(PortKey name) {
  const auto [it, added] = serving_all_.try_emplace(name);
  PortNameMembers& members = it->second;
  if (added) {
    groups_.addresses().ForEach([&](const IpAddress& a, PodGroupId id) {
      for (const auto& [port, served] : port_names_[of_group_[id.value()].port_names]) {
        if (served == name) members.Add(a, CombineHash(HashAddress(a), port));
      }
    });
  }
  members.Finish();
  return members;
}

std::shared_ptr<const std::vector<AddressClass>> AddressClasses::ShareGroups() {
  if (shared_groups_ == nullptr || shared_groups_->size() != of_group_.size())
    shared_groups_ = std::make_shared<const std::vector<AddressClass>>(of_group_);
  return shared_groups_;
}

std::shared_ptr<const std::vector<PortNames>> AddressClasses::SharePortNames() {
  if (shared_port_names_ == nullptr || shared_port_names_->size() != port_names_.size())
    shared_port_names_ = std::make_shared<const std::vector<PortNames>>(port_names_.sets());
  return shared_port_names_;
}

size_t AddressClasses::entries() const {
  size_t sum = port_names_.size() + serving_.size();
  for (const auto& classes : classes_) sum += classes.size();
  return sum;
}

}  // namespace podwire
