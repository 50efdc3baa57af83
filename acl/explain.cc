#include "acl/explain.h"

#include <algorithm>
#include <iterator>

#include <absl/strings/str_join.h>

#include "net/status.h"

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

/// What the query's packet is: "TCP 80", "ICMP".
std::string PacketName(const PolicyQuery& q) {
  return HasPorts(q.ip_proto) ? fmt::format("{} {}", ProtocolName(q.ip_proto), q.port)
                              : ProtocolName(q.ip_proto);
}

std::string PortName(const PolicyPort& port) {
  const std::string_view protocol = ToString(port.protocol);
  if (port.is_named()) return fmt::format("{} {}", protocol, port.name);
  if (port.is_whole_protocol()) return fmt::format("{}, any port", protocol);
  if (port.first == port.last) return fmt::format("{} {}", protocol, port.first);
  return fmt::format("{} {}-{}", protocol, port.first, port.last);
}

/// Why something does not match, and what would make it.
struct Mismatch {
  std::string why;  ///< empty: it does
  std::string need;
  uint32_t distance = 0;
};

// Distances: a label that differs is near, where somebody lives or which address is farther away.
constexpr uint32_t kLabelAway = 1, kPortAway = 1, kNamespaceAway = 4, kProtocolAway = 4, kAddressAway = 16,
                   kHopeless = 64;

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

class Explainer {
 public:
  Explainer(const Model& model, const PolicyQuery& query) : model_(model), query_(query) {
    for (const auto& [key, pod] : model.pods) {
      if (std::find(pod.addresses.begin(), pod.addresses.end(), query.peer) == pod.addresses.end()) continue;
      (pod.IsPeer() ? peers_ : bystanders_).push_back(&pod);
    }
    if (const auto it = model.pods.find(query.pod); it != model.pods.end()) self_ = &it->second;
  }

  std::string Peer() const {
    if (peers_.size() == 1) return "pod " + ToString(peers_[0]->key);
    if (!peers_.empty())
      return fmt::format("pods {} all claim it: a selector must match each", Names(peers_));
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

  std::vector<PolicyTrace> Isolating() const {
    std::vector<PolicyTrace> traces;
    const Labels no_labels;
    const Labels& labels = self_ == nullptr ? no_labels : self_->labels;
    for (auto it = model_.policies.lower_bound({query_.pod.ns, ""}); it != model_.policies.end(); ++it) {
      const NetworkPolicy& policy = it->second;
      if (policy.key.ns != query_.pod.ns) break;
      if (!policy.Isolates(query_.direction) || !policy.pod_selector.Matches(labels)) continue;
      PolicyTrace trace{.policy = policy.key, .rules = {}};
      for (const PolicyRule& rule : policy.Rules(query_.direction)) {
        trace.rules.push_back(Rule(policy, rule, static_cast<uint32_t>(trace.rules.size())));
      }
      traces.push_back(std::move(trace));
    }
    return traces;
  }

 private:
  static std::string Names(const std::vector<const Pod*>& pods) {
    std::vector<std::string> names;
    names.reserve(pods.size());
    for (const Pod* pod : pods) names.push_back(ToString(pod->key));
    return absl::StrJoin(names, ", ");
  }

  RuleTrace Rule(const NetworkPolicy& policy, const PolicyRule& rule, uint32_t number) const {
    const bool ingress = query_.direction == Direction::kIngress;
    const std::string field = fmt::format("{}[{}]", ToString(query_.direction), number);
    const std::string_view list = ingress ? "from" : "to";
    RuleTrace trace{.rule = number};
    if (rule.peers.empty())
      trace.peers.push_back({fmt::format("{}.{}", field, list), "any peer", true, "there is no such list"});
    for (size_t i = 0; i < rule.peers.size(); ++i) {
      trace.peers.push_back(PeerMatch(policy, rule.peers[i]));
      trace.peers.back().field = fmt::format("{}.{}[{}]", field, list, i);
    }
    if (rule.ports.empty()) {
      trace.ports.push_back({field + ".ports", "any protocol and port", true, "there is no such list"});
    }
    for (size_t i = 0; i < rule.ports.size(); ++i) {
      trace.ports.push_back(PortMatch(rule.ports[i]));
      trace.ports.back().field = fmt::format("{}.ports[{}]", field, i);
    }
    const auto matched = [](const MatchTrace& m) { return m.matched; };
    trace.peer_matched = std::any_of(trace.peers.begin(), trace.peers.end(), matched);
    trace.port_matched = std::any_of(trace.ports.begin(), trace.ports.end(), matched);
    return trace;
  }

  MatchTrace PeerMatch(const NetworkPolicy& policy, const PolicyPeer& peer) const {
    if (peer.ip_block) return BlockMatch(*peer.ip_block);
    if (!peer.pod_selector && !peer.namespace_selector)
      return {"", "{}", false, "an empty peer matches nothing", "", kHopeless};
    MatchTrace m;
    const std::string pods = peer.pod_selector ? ToString(*peer.pod_selector) : "everything";
    m.wants = peer.namespace_selector
                  ? fmt::format("pods: {}; in namespaces: {}", pods, ToString(*peer.namespace_selector))
                  : fmt::format("pods: {}; in namespace {}", pods, policy.key.ns);
    if (peers_.empty()) {
      m.why = fmt::format("{} is {}", ToString(query_.peer), Peer());
      m.need = fmt::format("{} were a pod's address", ToString(query_.peer));
      m.distance = kAddressAway;
    }
    for (const Pod* pod : peers_) {
      const Mismatch mismatch = WhyNotPod(policy, peer, *pod);
      if (mismatch.why.empty()) continue;
      m.why = mismatch.why;
      m.need = mismatch.need;
      m.distance = mismatch.distance;
      break;
    }
    m.matched = m.why.empty();
    if (m.matched) m.why = fmt::format("{} matches", Names(peers_));
    return m;
  }

  Mismatch WhyNotPod(const NetworkPolicy& policy, const PolicyPeer& peer, const Pod& pod) const {
    const std::string name = "pod " + ToString(pod.key);
    Mismatch ns, labels;
    if (!peer.namespace_selector && pod.key.ns != policy.key.ns) {
      ns = {fmt::format("{} is not in namespace {}", name, policy.key.ns),
            fmt::format("{} were in namespace {}", name, policy.key.ns), kNamespaceAway};
    }
    if (peer.namespace_selector) {
      ns = WhyNot("namespace " + pod.key.ns, *peer.namespace_selector, model_.NamespaceLabels(pod.key.ns));
      ns.distance *= kNamespaceAway;
    }
    if (peer.pod_selector) labels = WhyNot(name, *peer.pod_selector, pod.labels);
    if (ns.why.empty()) return labels;
    if (!labels.why.empty()) ns.need += " and " + labels.need;
    ns.distance += labels.distance;
    return ns;
  }

  MatchTrace BlockMatch(const IpBlock& block) const {
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

  MatchTrace PortMatch(const PolicyPort& port) const {
    MatchTrace m{"", PortName(port), false, "the packet is " + PacketName(query_)};
    const bool other_protocol = static_cast<uint8_t>(port.protocol) != query_.ip_proto;
    m.need = fmt::format("it were {}", m.wants);
    m.distance = other_protocol ? kProtocolAway : kPortAway;
    if (other_protocol) return m;
    if (!port.is_named()) {
      if (port.is_whole_protocol() || (port.first <= query_.port && query_.port <= port.last)) SetMatched(m);
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
    SetMatched(m);
    m.why =
        fmt::format("{} serves {} at {} {}", Names(servers), port.name, ToString(port.protocol), query_.port);
    return m;
  }

  static void SetMatched(MatchTrace& m) {
    m.matched = true;
    m.need.clear();
    m.distance = 0;
  }

  std::string WhyNotServing(const Pod& pod, const PolicyPort& port) const {
    std::vector<uint16_t> numbers;
    for (const ContainerPort& p : pod.ports) {
      if (p.name == port.name && p.protocol == port.protocol) numbers.push_back(p.number);
    }
    if (std::find(numbers.begin(), numbers.end(), query_.port) != numbers.end()) return {};
    const std::string name = ToString(pod.key);
    if (numbers.empty())
      return fmt::format("pod {} has no {} port named {}", name, ToString(port.protocol), port.name);
    return fmt::format("pod {} serves {} at {}, the packet is {}", name, port.name,
                       absl::StrJoin(numbers, ", "), PacketName(query_));
  }

  const Model& model_;
  const PolicyQuery& query_;
  const Pod* self_ = nullptr;
  std::vector<const Pod*> peers_, bystanders_;  // at the peer's address; bystanders stand for nobody
};

void AppendMatches(const std::vector<MatchTrace>& matches, bool matched, std::string& text) {
  for (const MatchTrace& m : matches) {
    if (m.matched != matched) continue;
    fmt::format_to(std::back_inserter(text), "    {} {} [{}]: {}\n", m.matched ? "matched" : "unmatched",
                   m.field, m.wants, m.why);
  }
}

}  // namespace

std::string PolicyExplanation::Text() const {
  const std::string_view preposition = query.direction == Direction::kIngress ? "from" : "to";
  std::string text = fmt::format("{} of pod {} {} {} ({}), {}: {}\n", ToString(query.direction),
                                 ToString(query.pod), preposition, ToString(query.peer), peer,
                                 PacketName(query), verdict.allowed ? "allowed" : "denied");
  const auto out = std::back_inserter(text);
  if (!verdict.isolated)
    fmt::format_to(out, "  no NetworkPolicy selects the pod for {}\n", ToString(query.direction));
  if (allowed_by) {
    fmt::format_to(out, "  by NetworkPolicy {}, {}[{}]\n", ToString(*allowed_by), ToString(query.direction),
                   verdict.rule.rule);
  }
  for (const PolicyTrace& p : isolating) {
    if (allowed_by && p.policy != *allowed_by) continue;
    if (!allowed_by) {
      fmt::format_to(out, "  isolated by NetworkPolicy {}{}\n", ToString(p.policy),
                     p.rules.empty() ? ", which has no rule that could allow it" : "");
    }
    for (const RuleTrace& r : p.rules) {
      if (allowed_by && r.rule != verdict.rule.rule) continue;
      AppendMatches(r.peers, r.peer_matched, text);
      AppendMatches(r.ports, r.port_matched, text);
    }
  }
  return text;
}

namespace {

/// What the items of a list, of which one must match, lack at least; nullptr if one does.
const MatchTrace* Nearest(const std::vector<MatchTrace>& matches) {
  const auto it = std::min_element(matches.begin(), matches.end(), [](const auto& a, const auto& b) {
    return (a.matched ? 0 : a.distance) < (b.matched ? 0 : b.distance);
  });
  return it == matches.end() || it->matched ? nullptr : &*it;
}

}  // namespace

std::string PolicyExplanation::Hint() const {
  if (verdict.allowed) return {};
  const std::string_view word = ToString(query.direction);
  std::string hint;
  uint32_t nearest = kHopeless;
  for (const PolicyTrace& p : isolating) {
    for (const RuleTrace& r : p.rules) {
      const MatchTrace* missing[] = {Nearest(r.peers), Nearest(r.ports)};
      uint32_t distance = 0;
      std::string need;
      for (const MatchTrace* m : missing) {
        if (m == nullptr) continue;
        distance += m->need.empty() ? kHopeless : m->distance;
        need += (need.empty() ? "" : " and ") + m->need;
      }
      if (distance >= nearest) continue;
      nearest = distance;
      hint = fmt::format("would pass {}[{}] of {} if {}", word, r.rule, ToString(p.policy), need);
    }
  }
  if (!hint.empty() || isolating.empty()) return hint;
  return fmt::format("would pass if a rule of {} or another NetworkPolicy allowed {} {} {}",
                     ToString(isolating.front().policy), PacketName(query),
                     query.direction == Direction::kIngress ? "from" : "to",
                     peer.starts_with("pod") ? peer : ToString(query.peer));
}

absl::StatusOr<PolicyExplanation> ExplainPolicy(const CompiledPolicy& compiled, const Model& model,
                                                const PolicyQuery& query) {
  const EndpointPolicy* endpoint = compiled.Find(query.pod);
  if (endpoint == nullptr) {
    return Error(absl::StatusCode::kNotFound, "pod {} is not attached to this node", ToString(query.pod));
  }
  PolicyExplanation out{.query = query};
  const RuleSetId rules = endpoint->Of(query.direction);
  out.verdict = compiled.Check(query.direction, rules, query.peer, query.ip_proto, query.port);
  const Explainer explainer(model, query);
  out.peer = explainer.Peer();
  if (out.verdict.isolated) out.isolating = explainer.Isolating();
  if (out.verdict.rule != kNoRule) out.allowed_by = compiled.policies()[out.verdict.rule.policy];
  return out;
}

}  // namespace podwire
