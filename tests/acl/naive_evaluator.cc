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

bool PeerIsPod(const Model& model, const NetworkPolicy& policy, const PolicyPeer& peer, const Pod& pod) {
  if (peer.namespace_selector) {
    if (!Selects(*peer.namespace_selector, LabelsOfNamespace(model, pod.key.ns))) return false;
  } else if (pod.key.ns != policy.key.ns) {
    return false;
  }
  return !peer.pod_selector || Selects(*peer.pod_selector, pod.labels);
}

bool PeerMatches(const Model& model, const NetworkPolicy& policy, const PolicyPeer& peer,
                 const IpAddress& a) {
  if (peer.ip_block) {
    if (!InPrefix(peer.ip_block->cidr, a)) return false;
    for (const IpPrefix& except : peer.ip_block->except) {
      if (InPrefix(except, a)) return false;
    }
    return true;
  }
  if (!peer.pod_selector && !peer.namespace_selector) return false;
  const auto pods = PodsAt(model, a);
  for (const Pod* pod : pods) {
    if (!PeerIsPod(model, policy, peer, *pod)) return false;
  }
  return !pods.empty();
}

bool Serves(const Pod& pod, const std::string& name, L4Protocol protocol, uint16_t number) {
  for (const ContainerPort& p : pod.ports) {
    if (p.name == name && p.protocol == protocol && p.number == number) return true;
  }
  return false;
}

bool PortMatches(const PolicyPort& port, const std::vector<const Pod*>& destinations, uint8_t ip_proto,
                 uint16_t number) {
  if (static_cast<uint8_t>(port.protocol) != ip_proto) return false;
  if (!port.name.empty()) {
    for (const Pod* pod : destinations) {
      if (!Serves(*pod, port.name, port.protocol, number)) return false;
    }
    return !destinations.empty();
  }
  if (port.first == 0) return true;
  return number >= port.first && number <= port.last;
}

bool RuleMatches(const Model& model, const NetworkPolicy& policy, const PolicyRule& rule,
                 const IpAddress& peer, const std::vector<const Pod*>& destinations, uint8_t ip_proto,
                 uint16_t port) {
  bool peer_ok = rule.peers.empty();
  for (const PolicyPeer& p : rule.peers) peer_ok = peer_ok || PeerMatches(model, policy, p, peer);
  bool port_ok = rule.ports.empty();
  for (const PolicyPort& p : rule.ports) port_ok = port_ok || PortMatches(p, destinations, ip_proto, port);
  return peer_ok && port_ok;
}

}  // namespace

NaiveVerdict NaiveCheck(const Model& model, const ObjectKey& key, Direction direction, const IpAddress& peer,
                        uint8_t ip_proto, uint16_t port) {
  const Pod& pod = model.pods.at(key);
  if (pod.host_network) return {};
  const bool ingress = direction == Direction::kIngress;
  const auto destinations = ingress ? std::vector<const Pod*>{&pod} : PodsAt(model, peer);
  NaiveVerdict verdict;
  bool matched = false;
  for (const auto& [name, policy] : model.policies) {
    if (policy.key.ns != key.ns || !Selects(policy.pod_selector, pod.labels)) continue;
    if (ingress ? !policy.isolates_ingress : !policy.isolates_egress) continue;
    verdict.isolated = true;
    for (const PolicyRule& rule : ingress ? policy.ingress : policy.egress) {
      matched = matched || RuleMatches(model, policy, rule, peer, destinations, ip_proto, port);
    }
  }
  verdict.allowed = !verdict.isolated || matched;
  return verdict;
}

}  // namespace podwire
