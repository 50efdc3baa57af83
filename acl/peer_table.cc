#include "acl/peer_table.h"

#include <algorithm>

namespace podwire {

namespace {

void Append(const std::array<uint32_t, 2>& numbers, uint32_t none, PeerSet& peers) {
  for (const uint32_t number : numbers) {
    if (number != none) peers.push_back(number);
  }
}

}  // namespace

PodPeer PeerTable::Intern(const std::string& policy_namespace, const PolicyPeer& peer, Claim claim) {
  const bool all_pods = !peer.pod_selector || peer.pod_selector->empty();
  if (peer.namespace_selector) {
    return all_pods ? InternNamespacePeer(*peer.namespace_selector, claim)
                    : InternCross(*peer.namespace_selector, *peer.pod_selector, claim);
  }
  if (!all_pods) return InternOwn(policy_namespace, *peer.pod_selector);
  return InternNamespacePeer({.match_labels = {{std::string(kNamespaceNameLabel), policy_namespace}}}, claim);
}

uint32_t PeerTable::Next(PeerKind kind, const Peer& peer) {
  auto& peers = peers_[static_cast<size_t>(kind)];
  peers.push_back(peer);
  return static_cast<uint32_t>(peers.size() - 1);
}

uint32_t PeerTable::Number(PeerKind kind, Numbers& numbers, const Peer& peer) {
  uint32_t& number = numbers[static_cast<size_t>(peer.claim)];
  if (number == kNone) number = Next(kind, peer);
  return number;
}

uint32_t PeerTable::InternNamespaceSelector(const LabelSelector& selector) {
  const uint32_t id = namespaces_.Intern(selector);
  if (id == namespace_numbers_.size()) namespace_numbers_.push_back({kNone, kNone});
  return id;
}

PodPeer PeerTable::InternNamespacePeer(const LabelSelector& selector, Claim claim) {
  const uint32_t id = InternNamespaceSelector(selector);
  return {PeerKind::kNamespace, Number(PeerKind::kNamespace, namespace_numbers_[id], {.claim = claim})};
}

PodPeer PeerTable::InternOwn(const std::string& ns, const LabelSelector& pods) {
  auto& [name, own] = *own_.try_emplace(ns).first;
  const uint32_t id = own.selectors.Intern(pods);
  if (id == own.numbers.size())
    own.numbers.push_back(Next(PeerKind::kOwn, {.claim = Claim::kAll, .ns = &name, .pod_selector = id}));
  return {PeerKind::kOwn, own.numbers[id]};
}

PodPeer PeerTable::InternCross(const LabelSelector& namespaces, const LabelSelector& pods, Claim claim) {
  const uint32_t ns = InternNamespaceSelector(namespaces);
  const uint32_t id = cross_pods_.Intern(pods);
  if (id == cross_.size()) cross_.emplace_back();
  Numbers& numbers = cross_[id].try_emplace(ns, Numbers{kNone, kNone}).first->second;
  const Peer peer{.claim = claim, .namespace_selector = ns, .pod_selector = id};
  return {PeerKind::kCross, Number(PeerKind::kCross, numbers, peer)};
}

PeerTable::NamespaceMatch PeerTable::MatchNamespace(const std::string& name, const Labels& labels) const {
  NamespaceMatch match{.matched = namespaces_.Match(labels), .name = &name};
  for (const uint32_t id : match.matched) {
    Append(namespace_numbers_[id], kNone, match.peers);
  }
  std::sort(match.peers.begin(), match.peers.end());
  return match;
}

PeerSet PeerTable::MatchOwn(const NamespaceMatch& ns, const Labels& pod_labels) const {
  PeerSet peers;
  const auto own = own_.find(*ns.name);
  if (own == own_.end()) return peers;
  for (const uint32_t id : own->second.selectors.Match(pod_labels)) peers.push_back(own->second.numbers[id]);
  std::sort(peers.begin(), peers.end());
  return peers;
}

PeerSet PeerTable::MatchCross(const NamespaceMatch& ns, const Labels& pod_labels) const {
  PeerSet peers;
  if (cross_.empty() || ns.matched.empty()) return peers;
  for (const uint32_t id : cross_pods_.Match(pod_labels)) {
    const auto& by_namespace = cross_[id];
    if (by_namespace.size() < ns.matched.size()) {
      for (const auto& [selector, numbers] : by_namespace) {
        if (std::binary_search(ns.matched.begin(), ns.matched.end(), selector)) Append(numbers, kNone, peers);
      }
    } else {
      for (const uint32_t selector : ns.matched) {
        if (const auto it = by_namespace.find(selector); it != by_namespace.end())
          Append(it->second, kNone, peers);
      }
    }
  }
  std::sort(peers.begin(), peers.end());
  return peers;
}

bool PeerTable::IsIn(PodPeer peer, const NamespaceMatch& ns) const {
  const Peer& p = peers_[static_cast<size_t>(peer.kind)][peer.number];
  if (peer.kind == PeerKind::kOwn) return *p.ns == *ns.name;
  return std::binary_search(ns.matched.begin(), ns.matched.end(), p.namespace_selector);
}

bool PeerTable::Selects(PodPeer peer, const Labels& pod_labels) const {
  const Peer& p = peers_[static_cast<size_t>(peer.kind)][peer.number];
  const SelectorIndex& selectors =
      peer.kind == PeerKind::kOwn ? own_.find(*p.ns)->second.selectors : cross_pods_;
  return selectors[p.pod_selector].Matches(pod_labels);
}

}  // namespace podwire
