#include "acl/explainer.h"

#include <algorithm>

#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include "acl/port_set.h"

namespace podwire {
namespace {

std::string ProtocolName(uint8_t ip_proto) {
  switch (ip_proto) {
    case 1:
      return "ICMP";
    case 6:
      return "TCP";
    case 17:
      return "UDP";
    case 58:
      return "ICMPv6";
    case 132:
      return "SCTP";
    default:
      return fmt::format("IP protocol {}", ip_proto);
  }
}

bool HasPorts(uint8_t ip_proto) { return MakePortKey(ip_proto, 0) < kOtherProtocols; }

std::string PortName(const PolicyPort& port) {
  const std::string_view protocol = port.any_protocol ? "any protocol's" : ToString(port.protocol);
  if (port.is_named()) return fmt::format("{} {}", protocol, port.name);
  if (port.is_whole_protocol()) return fmt::format("{}, any port", protocol);
  if (port.first == port.last) return fmt::format("{} {}", protocol, port.first);
  return fmt::format("{} {}-{}", protocol, port.first, port.last);
}

// Distances: a label that differs is near, where somebody lives or which address is farther away.
constexpr uint32_t kLabelAway = 1, kPortAway = 1, kNamespaceAway = 4, kProtocolAway = 4, kAddressAway = 16;

/// The first thing in `selector` that the labels of `owner` lack, and how many there are; or nothing.
Mismatch WhyNot(const std::string& owner, const LabelSelector& selector, const Labels& labels) {
  const auto value_of = [&](const std::string& key) {
    const auto it = labels.find(key);
    return it == labels.end() ? fmt::format("no label {}", key) : fmt::format("label {}={}", key, it->second);
  };
  Mismatch m;
  const auto add = [&](const std::string& key, const std::string& wanted, std::string_view verb) {
    if (m.why.empty()) m.why = fmt::format("{} has {}, wanted {}", owner, value_of(key), wanted);
    m.need += m.need.empty() ? fmt::format("{} {} {}", owner, verb, wanted) : " and " + wanted;
    m.distance += kLabelAway;
  };
  for (const auto& [key, value] : selector.match_labels) {
    const auto it = labels.find(key);
    if (it == labels.end() || it->second != value)
      add(key, fmt::format("{}={}", key, value), "had the label");
  }
  for (const LabelRequirement& r : selector.expressions) {
    if (!r.Matches(labels)) add(r.key, ToString(r), "matched");
  }
  return m;
}

void SetMatched(MatchTrace& m, std::string why) {
  m.matched = true;
  m.why = std::move(why);
  m.need.clear();
  m.distance = 0;
}

std::string Names(const std::vector<const Pod*>& pods) {
  std::vector<std::string> names;
  names.reserve(pods.size());
  for (const Pod* pod : pods) names.push_back(ToString(pod->key));
  return absl::StrJoin(names, ", ");
}

}  // namespace

std::string PacketName(const PolicyQuery& q) {
  return HasPorts(q.ip_proto) ? fmt::format("{} {}", ProtocolName(q.ip_proto), q.port)
                              : ProtocolName(q.ip_proto);
}

Explainer::Explainer(const Model& model, const PolicyQuery& query) : model_(model), query_(query) {
  for (const auto& [key, pod] : model.pods) {
    if (std::find(pod.addresses.begin(), pod.addresses.end(), query.peer) == pod.addresses.end()) continue;
    (pod.IsPeer() ? peers_ : bystanders_).push_back(&pod);
  }
  if (const auto it = model.pods.find(query.pod); it != model.pods.end()) self_ = &it->second;
}

std::string Explainer::Peer() const {
  if (peers_.size() == 1) return "pod " + ToString(peers_[0]->key);
  if (!peers_.empty())
    return fmt::format("pods {} all claim it: a selector must match each (to deny: one)", Names(peers_));
  for (const Pod* pod : bystanders_) {
    if (pod->host_network) {
      return fmt::format("a node's address (pod {} is in the host's network): no selector matches it",
                         ToString(pod->key));
    }
  }
  if (!bystanders_.empty())
    return fmt::format("no live pod ({} has finished)", ToString(bystanders_[0]->key));
  return "no known pod";
}

std::vector<PolicyTrace> Explainer::Isolating() const {
  std::vector<PolicyTrace> traces;
  for (auto it = model_.policies.lower_bound({query_.pod.ns, ""}); it != model_.policies.end(); ++it) {
    const NetworkPolicy& policy = it->second;
    if (policy.key.ns != query_.pod.ns) break;
    if (!policy.Isolates(query_.direction) || !policy.pod_selector.Matches(OwnLabels())) continue;
    PolicyTrace trace{.policy = policy.key, .rules = {}};
    for (const PolicyRule& rule : policy.Rules(query_.direction)) {
      trace.rules.push_back(Rule(policy.key.ns, rule, static_cast<uint32_t>(trace.rules.size()), "ports"));
    }
    traces.push_back(std::move(trace));
  }
  return traces;
}

RuleTrace Explainer::ClusterRule(const ClusterNetworkPolicy& policy, uint32_t number) const {
  return Rule("", policy.Rules(query_.direction)[number], number, "protocols");
}

std::vector<PolicyInfo> Explainer::Selecting(Tier tier) const {
  std::vector<PolicyInfo> found;
  for (const auto& [name, policy] : model_.cluster_policies) {
    if (policy.tier != tier || policy.Rules(query_.direction).empty()) continue;
    const PolicyPeer& subject = policy.subject;
    if (!subject.namespace_selector->Matches(model_.NamespaceLabels(query_.pod.ns))) continue;
    if (subject.pod_selector && !subject.pod_selector->Matches(OwnLabels())) continue;
    found.push_back({.tier = tier, .priority = policy.priority, .key = {"", name}, .rules = {}});
  }
  std::sort(found.begin(), found.end());
  return found;
}

const Labels& Explainer::OwnLabels() const {
  static const Labels none;
  return self_ == nullptr ? none : self_->labels;
}

RuleTrace Explainer::Rule(const std::string& ns, const PolicyRule& rule, uint32_t number,
                          std::string_view ports) const {
  const bool ingress = query_.direction == Direction::kIngress;
  const std::string field = fmt::format("{}[{}]", ToString(query_.direction), number);
  const std::string_view list = ingress ? "from" : "to";
  RuleTrace trace{.rule = number};
  if (rule.peers.empty())
    trace.peers.push_back({fmt::format("{}.{}", field, list), "any peer", true, "there is no such list"});
  for (size_t i = 0; i < rule.peers.size(); ++i) {
    trace.peers.push_back(PeerMatch(ns, rule.peers[i], rule.action));
    trace.peers.back().field = fmt::format("{}.{}[{}]", field, list, i);
  }
  if (rule.ports.empty()) {
    trace.ports.push_back(
        {fmt::format("{}.{}", field, ports), "any protocol and port", true, "there is no such list"});
  }
  for (size_t i = 0; i < rule.ports.size(); ++i) {
    trace.ports.push_back(PortMatch(rule.ports[i]));
    trace.ports.back().field = fmt::format("{}.{}[{}]", field, ports, i);
  }
  const auto matched = [](const MatchTrace& m) { return m.matched; };
  trace.peer_matched = std::any_of(trace.peers.begin(), trace.peers.end(), matched);
  trace.port_matched = std::any_of(trace.ports.begin(), trace.ports.end(), matched);
  return trace;
}

/// Of several pods that claim the address each must match; one is enough to deny.
MatchTrace Explainer::PeerMatch(const std::string& ns, const PolicyPeer& peer, RuleAction action) const {
  if (peer.ip_block) return BlockMatch(*peer.ip_block);
  if (!peer.networks.empty()) return NetworksMatch(peer.networks);
  if (peer.node_selector) return NodesMatch(*peer.node_selector);
  if (!peer.pod_selector && !peer.namespace_selector)
    return {"", "{}", false, "an empty peer matches nothing", "", kHopeless};
  MatchTrace m;
  const std::string pods = peer.pod_selector ? ToString(*peer.pod_selector) : "everything";
  m.wants = peer.namespace_selector
                ? fmt::format("pods: {}; in namespaces: {}", pods, ToString(*peer.namespace_selector))
                : fmt::format("pods: {}; in namespace {}", pods, ns);
  if (peers_.empty()) {
    m.why = fmt::format("{} is {}", ToString(query_.peer), Peer());
    m.need = fmt::format("{} were a pod's address", ToString(query_.peer));
    m.distance = kAddressAway;
  }
  std::vector<const Pod*> matching;
  for (const Pod* pod : peers_) {
    Mismatch mismatch = WhyNotPod(ns, peer, *pod);
    if (mismatch.why.empty()) {
      matching.push_back(pod);
    } else if (m.why.empty()) {
      m.why = std::move(mismatch.why);
      m.need = std::move(mismatch.need);
      m.distance = mismatch.distance;
    }
  }
  if (!matching.empty() && (action == RuleAction::kDeny || matching.size() == peers_.size()))
    SetMatched(m, fmt::format("{} matches", Names(matching)));
  return m;
}

Mismatch Explainer::WhyNotPod(const std::string& ns, const PolicyPeer& peer, const Pod& pod) const {
  const std::string name = "pod " + ToString(pod.key);
  Mismatch away, labels;
  if (!peer.namespace_selector && pod.key.ns != ns) {
    away = {fmt::format("{} is not in namespace {}", name, ns),
            fmt::format("{} were in namespace {}", name, ns), kNamespaceAway};
  }
  if (peer.namespace_selector) {
    away = WhyNot("namespace " + pod.key.ns, *peer.namespace_selector, model_.NamespaceLabels(pod.key.ns));
    away.distance *= kNamespaceAway;
  }
  if (peer.pod_selector) labels = WhyNot(name, *peer.pod_selector, pod.labels);
  if (away.why.empty()) return labels;
  if (!labels.why.empty()) away.need += " and " + labels.need;
  away.distance += labels.distance;
  return away;
}

MatchTrace Explainer::BlockMatch(const IpBlock& block) const {
  const std::string address = ToString(query_.peer);
  std::vector<std::string> holes;
  for (const IpPrefix& p : block.except) holes.push_back(ToString(p));
  MatchTrace m{"", "addresses in " + ToString(block.cidr), block.Contains(query_.peer), ""};
  if (!holes.empty()) m.wants += " except " + absl::StrJoin(holes, ", ");
  if (!m.matched) {
    m.need = fmt::format("{} were in {}", address, m.wants.substr(m.wants.find("in ") + 3));
    m.distance = kAddressAway;
  }
  if (m.matched) {
    m.why = address + " is inside";
  } else if (block.cidr.Contains(query_.peer)) {
    const auto hole = std::find_if(block.except.begin(), block.except.end(),
                                   [&](const IpPrefix& p) { return p.Contains(query_.peer); });
    m.why = fmt::format("{} is in the except {}", address, ToString(*hole));
  } else {
    m.why = address + " is outside";
  }
  return m;
}

MatchTrace Explainer::NetworksMatch(const std::vector<IpBlock>& networks) const {
  std::vector<std::string> all;
  for (const IpBlock& network : networks) all.push_back(ToString(network.cidr));
  const std::string address = ToString(query_.peer), list = absl::StrJoin(all, ", ");
  MatchTrace m{
      "", "addresses in " + list, false, address + " is outside", address + " were in " + list, kAddressAway};
  const auto inside = std::find_if(networks.begin(), networks.end(),
                                   [&](const IpBlock& network) { return network.Contains(query_.peer); });
  if (inside != networks.end())
    SetMatched(m, fmt::format("{} is inside {}", address, ToString(inside->cidr)));
  return m;
}

MatchTrace Explainer::NodesMatch(const LabelSelector& selector) const {
  const std::string address = ToString(query_.peer);
  MatchTrace m{"",
               "nodes: " + ToString(selector),
               false,
               address + " is no node's address",
               address + " were a node's address",
               kAddressAway};
  for (const auto& [name, node] : model_.nodes) {
    if (std::find(node.addresses.begin(), node.addresses.end(), query_.peer) == node.addresses.end())
      continue;
    const Mismatch mismatch = WhyNot("node " + name, selector, node.labels);
    if (mismatch.why.empty()) {
      SetMatched(m, fmt::format("node {} matches", name));
      break;
    }
    m.why = mismatch.why;
    m.need = mismatch.need;
    m.distance = mismatch.distance;
  }
  return m;
}

MatchTrace Explainer::PortMatch(const PolicyPort& port) const {
  MatchTrace m{"", PortName(port), false, "the packet is " + PacketName(query_)};
  const bool other_protocol = !port.any_protocol && static_cast<uint8_t>(port.protocol) != query_.ip_proto;
  m.need = fmt::format("it were {}", m.wants);
  m.distance = other_protocol ? kProtocolAway : kPortAway;
  if (other_protocol) return m;
  if (!port.is_named()) {
    if (port.is_whole_protocol() || (port.first <= query_.port && query_.port <= port.last))
      SetMatched(m, std::move(m.why));
    return m;
  }
  const bool own = query_.direction == Direction::kIngress;
  const auto servers = !own ? peers_ : self_ == nullptr ? std::vector<const Pod*>{} : std::vector{self_};
  if (servers.empty()) {
    m.why = fmt::format("the destination is no known pod: nothing says which port {} is", port.name);
    return m;
  }
  for (const Pod* pod : servers) {
    if (m.why = WhyNotServing(*pod, port); !m.why.empty()) return m;
  }
  SetMatched(m, fmt::format("{} serves {} at {} {}", Names(servers), port.name, ProtocolName(query_.ip_proto),
                            query_.port));
  return m;
}

std::string Explainer::WhyNotServing(const Pod& pod, const PolicyPort& port) const {
  std::vector<uint16_t> numbers;
  for (const ContainerPort& p : pod.ports) {
    if (p.name == port.name && static_cast<uint8_t>(p.protocol) == query_.ip_proto)
      numbers.push_back(p.number);
  }
  if (std::find(numbers.begin(), numbers.end(), query_.port) != numbers.end()) return {};
  const std::string name = ToString(pod.key);
  if (numbers.empty())
    return fmt::format("pod {} has no {} port named {}", name, ProtocolName(query_.ip_proto), port.name);
  return fmt::format("pod {} serves {} at {}, the packet is {}", name, port.name,
                     absl::StrJoin(numbers, ", "), PacketName(query_));
}

}  // namespace podwire
