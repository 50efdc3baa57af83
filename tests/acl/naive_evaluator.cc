#include "naive_evaluator.h"

namespace podwire {
namespace {

/// "A label selector is a label query over a set of resources. The result of matchLabels and matchExpressions
/// are ANDed. An empty label selector matches all objects."
bool Selects(const LabelSelector& selector, const Labels& labels) {
  for (const auto& want : selector.match_labels) {
    bool found = false;
    for (const auto& have : labels) found = found || have == want;
    if (!found) return false;
  }
  for (const LabelRequirement& r : selector.expressions) {
    const std::string* value = nullptr;
    for (const auto& have : labels) {
      if (have.first == r.key) value = &have.second;
    }
    bool listed = false;
    for (const std::string& v : r.values) listed = listed || (value != nullptr && v == *value);
    bool holds = false;
    if (r.op == LabelRequirement::Operator::kIn) holds = listed;
    if (r.op == LabelRequirement::Operator::kNotIn) holds = !listed;
    if (r.op == LabelRequirement::Operator::kExists) holds = value != nullptr;
    if (r.op == LabelRequirement::Operator::kDoesNotExist) holds = value == nullptr;
    if (!holds) return false;
  }
  return true;
}

bool InPrefix(const IpPrefix& prefix, const IpAddress& a) {
  if (prefix.address.family() != a.family()) return false;
  for (unsigned bit = 0; bit < prefix.length; ++bit) {
    const uint8_t mask = static_cast<uint8_t>(0x80u >> (bit % 8));
    if ((prefix.address.bytes()[bit / 8] & mask) != (a.bytes()[bit / 8] & mask)) return false;
  }
  return true;
}

/// The pods that an address stands for: not those in the host's network, not finished ones.
std::vector<const Pod*> PodsAt(const Model& model, const IpAddress& a) {
  std::vector<const Pod*> pods;
  for (const auto& [key, pod] : model.pods) {
    if (pod.host_network || pod.finished) continue;
    for (const IpAddress& own : pod.addresses) {
      if (own == a) {
        pods.push_back(&pod);
        break;
      }
    }
  }
  return pods;
}

Labels LabelsOfNamespace(const Model& model, const std::string& name) {
  Labels labels;
  for (const auto& [key, ns] : model.namespaces) {
    if (key == name) labels = ns.labels;
  }
  labels["kubernetes.io/metadata.name"] = name;
  return labels;
}

/// `ns`: the policy's; empty for a ClusterNetworkPolicy.
bool PeerIsPod(const Model& model, const std::string& ns, const PolicyPeer& peer, const Pod& pod) {
  if (peer.namespace_selector) {
    if (!Selects(*peer.namespace_selector, LabelsOfNamespace(model, pod.key.ns))) return false;
  } else if (pod.key.ns != ns) {
    return false;
  }
  return !peer.pod_selector || Selects(*peer.pod_selector, pod.labels);
}

bool IsAddressOf(const ClusterNode& node, const IpAddress& a) {
  for (const IpAddress& own : node.addresses) {
    if (own == a) return true;
  }
  return false;
}

/// `one`: it is enough that one of several pods that claim the address matches.
bool PeerMatches(const Model& model, const std::string& ns, const PolicyPeer& peer, const IpAddress& a,
                 bool one) {
  for (const IpBlock& network : peer.networks) {
    if (InPrefix(network.cidr, a)) return true;
  }
  if (!peer.networks.empty()) return false;
  if (peer.node_selector) {
    for (const auto& [name, node] : model.nodes) {
      if (Selects(*peer.node_selector, node.labels) && IsAddressOf(node, a)) return true;
    }
    return false;
  }
  if (peer.ip_block) {
    if (!InPrefix(peer.ip_block->cidr, a)) return false;
    for (const IpPrefix& except : peer.ip_block->except) {
      if (InPrefix(except, a)) return false;
    }
    return true;
  }
  if (!peer.pod_selector && !peer.namespace_selector) return false;
  const auto pods = PodsAt(model, a);
  size_t matching = 0;
  for (const Pod* pod : pods) matching += PeerIsPod(model, ns, peer, *pod) ? 1 : 0;
  return matching > 0 && (one || matching == pods.size());
}

bool Serves(const Pod& pod, const std::string& name, L4Protocol protocol, uint16_t number) {
  for (const ContainerPort& p : pod.ports) {
    if (p.name == name && p.protocol == protocol && p.number == number) return true;
  }
  return false;
}

bool PortMatches(const PolicyPort& port, const std::vector<const Pod*>& destinations, uint8_t ip_proto,
                 uint16_t number) {
  if (port.any_protocol) {
    if (ip_proto != 6 && ip_proto != 17 && ip_proto != 132) return false;
  } else if (static_cast<uint8_t>(port.protocol) != ip_proto) {
    return false;
  }
  if (!port.name.empty()) {
    for (const Pod* pod : destinations) {
      if (!Serves(*pod, port.name, static_cast<L4Protocol>(ip_proto), number)) return false;
    }
    return !destinations.empty();
  }
  if (port.first == 0) return true;
  return number >= port.first && number <= port.last;
}

bool RuleMatches(const Model& model, const std::string& ns, const PolicyRule& rule, const IpAddress& peer,
                 const std::vector<const Pod*>& destinations, uint8_t ip_proto, uint16_t port) {
  bool peer_ok = rule.peers.empty();
  for (const PolicyPeer& p : rule.peers)
    peer_ok = peer_ok || PeerMatches(model, ns, p, peer, rule.action == RuleAction::kDeny);
  bool port_ok = rule.ports.empty();
  for (const PolicyPort& p : rule.ports) port_ok = port_ok || PortMatches(p, destinations, ip_proto, port);
  return peer_ok && port_ok;
}

/// "Policies with lower priority values have higher precedence"; of equals the one with the smaller name
/// here.
std::vector<const ClusterNetworkPolicy*> InOrder(const Model& model, Tier tier) {
  std::vector<const ClusterNetworkPolicy*> ordered;
  for (int priority = 0; priority <= 1000; ++priority) {
    for (const auto& [name, policy] : model.cluster_policies) {  // by name
      if (policy.tier == tier && policy.priority == priority) ordered.push_back(&policy);
    }
  }
  return ordered;
}

}  // namespace

NaiveVerdict NaiveCheck(const Model& model, const ObjectKey& key, Direction direction, const IpAddress& peer,
                        uint8_t ip_proto, uint16_t port) {
  const Pod& pod = model.pods.at(key);
  if (pod.host_network) return {};
  const bool ingress = direction == Direction::kIngress;
  const auto destinations = ingress ? std::vector<const Pod*>{&pod} : PodsAt(model, peer);

  /// What the first rule of the tier that matches does; kPass when none does.
  const auto ask = [&](Tier tier) {
    for (const ClusterNetworkPolicy* policy : InOrder(model, tier)) {
      if (!PeerIsPod(model, "", policy->subject, pod)) continue;
      for (const PolicyRule& rule : ingress ? policy->ingress : policy->egress) {
        if (RuleMatches(model, "", rule, peer, destinations, ip_proto, port)) return rule.action;
      }
    }
    return RuleAction::kPass;
  };

  const RuleAction admin = ask(Tier::kAdmin);
  if (admin != RuleAction::kPass) return {.isolated = false, .allowed = admin == RuleAction::kAccept};
  NaiveVerdict verdict;
  bool matched = false;
  for (const auto& [name, policy] : model.policies) {
    if (policy.key.ns != key.ns || !Selects(policy.pod_selector, pod.labels)) continue;
    if (ingress ? !policy.isolates_ingress : !policy.isolates_egress) continue;
    verdict.isolated = true;
    for (const PolicyRule& rule : ingress ? policy.ingress : policy.egress) {
      matched = matched || RuleMatches(model, policy.key.ns, rule, peer, destinations, ip_proto, port);
    }
  }
  if (verdict.isolated) {
    verdict.allowed = matched;
  } else {
    verdict.allowed = ask(Tier::kBaseline) != RuleAction::kDeny;
  }
  return verdict;
}

}  // namespace podwire
