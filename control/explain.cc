#include "control/explain.h"

#include <netinet/in.h>

#include <sstream>

#include "net/status.h"

namespace podwire {
namespace {

/// The addresses that `name` stands for.
absl::StatusOr<std::vector<IpAddress>> Resolve(const ControlState& state, const std::string& field,
                                               const std::string& name,
                                               const std::string& default_namespace) {
  if (name.empty()) return InvalidArgument("{}: expected namespace/name, name or address", field);
  if (const auto ip = ParseIp(name); ip.ok()) return std::vector<IpAddress>{*ip};
  const size_t slash = name.find('/');
  const ObjectKey key = slash == std::string::npos ? ObjectKey{default_namespace, name}
                                                   : ObjectKey{name.substr(0, slash), name.substr(slash + 1)};
  const auto pod = state.desired.model().pods.find(key);
  if (pod == state.desired.model().pods.end()) {
    return Error(absl::StatusCode::kNotFound, "{}: there is no pod {}", field, ToString(key));
  }
  if (pod->second.addresses.empty()) {
    return Error(absl::StatusCode::kFailedPrecondition, "{}: pod {} has no address: it is not attached",
                 field, ToString(key));
  }
  return pod->second.addresses;
}

/// The first pair of one family.
absl::Status ChooseAddresses(const std::vector<IpAddress>& from, const std::vector<IpAddress>& to,
                             Headers& h) {
  for (const IpAddress& src : from) {
    for (const IpAddress& dst : to) {
      if (src.family() != dst.family()) continue;
      h.src = src;
      h.dst = dst;
      return absl::OkStatus();
    }
  }
  return InvalidArgument("from has {} and to has {}: they have no address family in common",
                         ToString(from.front()), ToString(to.front()));
}

/// Where a packet from this source would come in.
void SetOrigin(const Tables& t, Headers& h) {
  if (const Endpoint* e = t.EndpointOf(h.src); e != nullptr) {
    h.in_port = e->port;
    return;
  }
  for (const IpAddress& gateway : t.local.gateways) {
    if (gateway == h.src) return;  // the switch's own
  }
  h.in_port = t.local.underlay_port;
  const FibEntry* route = t.fib.Find(h.src);
  if (route == nullptr || route->kind != RouteKind::kForward) return;
  const NextHop& hop = t.adjacencies[route->next_hop.value()].hop;
  h.tunnelled = hop.kind != NextHop::Kind::kDirect;
  h.tunnel_src = hop.remote;
}

void AddDetails(Trace& steps, const std::string& stage, const PolicyExplanation& e) {
  for (TraceStep& step : steps) {
    if (step.stage != stage) continue;
    std::istringstream lines(e.Text());
    for (std::string line; std::getline(lines, line);) step.details.push_back(line);
  }
}

std::optional<DecidingRule> DecidingOf(const Tables& t, Direction direction, const RuleRef& rule) {
  if (rule == kNoRule) return std::nullopt;
  const PolicyInfo& policy = t.policy->PolicyOf(rule);
  DecidingRule out{.policy = policy, .rule = rule.rule, .action = t.policy->ActionOf(direction, rule)};
  const auto& rules = policy.rules[static_cast<size_t>(direction)];
  if (rule.rule < rules.size()) out.name = rules[rule.rule].name;
  return out;
}

/// What the policies of one local end say.
void ExplainEnd(const ControlState& state, const Tables& t, Direction direction, ExplainResult& r) {
  const bool egress = direction == Direction::kEgress;
  const Headers& h = r.headers;
  const Endpoint* e = t.EndpointOf(egress ? h.src : h.dst);
  if (e == nullptr || h.src == h.dst) return;
  const PolicyVerdict& v = egress ? r.decision.policy.egress : r.decision.policy.ingress;
  if (!v.isolated && v.rule == kNoRule && v.passed_by == kNoRule) return;
  const auto explanation = ExplainPolicy(*t.policy, state.desired.model(),
                                         {.direction = direction,
                                          .pod = e->pod,
                                          .peer = egress ? h.dst : h.src,
                                          .ip_proto = h.proto,
                                          .port = h.dst_port});
  if (!explanation.ok()) return;
  AddDetails(r.steps, egress ? "egress policy" : "ingress policy", *explanation);
  (egress ? r.egress : r.ingress) = DecidingOf(t, direction, v.rule);
  if (v.allowed) return;
  for (const PolicyTrace& p : explanation->isolating) r.isolating.push_back(ToString(p.policy));
}

}  // namespace

absl::StatusOr<ExplainResult> Explain(const ControlState& state, const Tables& tables,
                                      const ExplainQuery& query) {
  const std::string ns = query.default_namespace.empty() ? "default" : query.default_namespace;
  ExplainResult r;
  ASSIGN_OR_RETURN(const std::vector<IpAddress> from, Resolve(state, "from", query.from, ns));
  ASSIGN_OR_RETURN(const std::vector<IpAddress> to, Resolve(state, "to", query.to, ns));
  RETURN_IF_ERROR(ChooseAddresses(from, to, r.headers));
  const bool icmpv6 = query.proto == IPPROTO_ICMP && r.headers.src.is_v6();
  r.headers.proto = icmpv6 ? static_cast<uint8_t>(IPPROTO_ICMPV6) : query.proto;
  r.headers.dst_port = query.port;
  r.headers.src_port = query.src_port;
  SetOrigin(tables, r.headers);
  r.decision = Decide(tables, r.headers, &r.steps);
  ExplainEnd(state, tables, Direction::kEgress, r);
  ExplainEnd(state, tables, Direction::kIngress, r);
  return r;
}

std::vector<std::string> IsolatingPolicies(const Model& model, const ObjectKey& pod, Direction direction) {
  std::vector<std::string> names;
  const auto labels = model.pods.find(pod);
  for (auto it = model.policies.lower_bound({pod.ns, ""});
       it != model.policies.end() && it->first.ns == pod.ns; ++it) {
    const NetworkPolicy& p = it->second;
    const bool selects =
        p.pod_selector.Matches(labels == model.pods.end() ? Labels() : labels->second.labels);
    if (selects && p.Isolates(direction)) names.push_back(ToString(p.key));
  }
  return names;
}

}  // namespace podwire
