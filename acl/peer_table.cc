#include "acl/peer_table.h"

#include <algorithm>

namespace podwire {

PodPeer PeerTable::Intern(const std::string& policy_namespace, const PolicyPeer& peer) {
  const bool all_pods = !peer.pod_selector || peer.pod_selector->empty();
  if (peer.namespace_selector) {
    return all_pods ? InternNamespacePeer(*peer.namespace_selector)
                    : InternCross(*peer.namespace_selector, *peer.pod_selector);
  }
  if (!all_pods) return InternOwn(policy_namespace, *peer.pod_selector);
  return InternNamespacePeer({.match_labels = {{std::string(kNamespaceNameLabel), policy_namespace}}});
}

uint32_t PeerTable::InternNamespaceSelector(const LabelSelector& selector) {
  const uint32_t id = namespaces_.Intern(selector);
  if (id == namespace_numbers_.size()) namespace_numbers_.push_back(kNone);
  return id;
}

PodPeer PeerTable::InternNamespacePeer(const LabelSelector& selector) {
  uint32_t& number = namespace_numbers_[InternNamespaceSelector(selector)];
  if (number == kNone) number = Next(PeerKind::kNamespace);
  return {PeerKind::kNamespace, number};
}

PodPeer PeerTable::InternOwn(const std::string& ns, const LabelSelector& pods) {
  OwnPeers& own = own_[ns];
  const uint32_t id = own.selectors.Intern(pods);
  if (id == own.numbers.size()) own.numbers.push_back(Next(PeerKind::kOwn));
  return {PeerKind::kOwn, own.numbers[id]};
}

PodPeer PeerTable::InternCross(const LabelSelector& namespaces, const LabelSelector& pods) {
  const uint32_t ns = InternNamespaceSelector(namespaces);
  const uint32_t id = cross_pods_.Intern(pods);
  if (id == cross_.size()) cross_.emplace_back();
  const auto [it, added] = cross_[id].try_emplace(ns, 0);
  if (added) it->second = Next(PeerKind::kCross);
  return {PeerKind::kCross, it->second};
}

PeerTable::NamespaceMatch PeerTable::MatchNamespace(const std::string& name, const Labels& labels) const {
  NamespaceMatch match{.matched = namespaces_.Match(labels), .name = &name};
  for (const uint32_t id : match.matched) {
    if (namespace_numbers_[id] != kNone) match.peers.push_back(namespace_numbers_[id]);
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
      for (const auto& [selector, number] : by_namespace) {
        if (std::binary_search(ns.matched.begin(), ns.matched.end(), selector)) peers.push_back(number);
      }
    } else {
      for (const uint32_t selector : ns.matched) {
        if (const auto it = by_namespace.find(selector); it != by_namespace.end())
          peers.push_back(it->second);
      }
    }
  }
  std::sort(peers.begin(), peers.end());
  return peers;
}

}  // namespace podwire
