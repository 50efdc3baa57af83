#include "acl/explain.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "acl/explainer.h"
#include "net/status.h"

namespace podwire {
namespace {

void AppendMatches(const std::vector<MatchTrace>& matches, bool matched, std::string& text) {
  for (const MatchTrace& m : matches) {
    if (m.matched != matched) continue;
    fmt::format_to(std::back_inserter(text), "    {} {} [{}]: {}\n", m.matched ? "matched" : "unmatched",
                   m.field, m.wants, m.why);
  }
}

std::string_view Did(RuleAction action) {
  switch (action) {
    case RuleAction::kAccept:
      return "accepted";
    case RuleAction::kDeny:
      return "denied";
    case RuleAction::kPass:
      return "passed on";
  }
  return "?";
}

void AppendRule(const ClusterRuleTrace& trace, Direction direction, std::string& text) {
  fmt::format_to(std::back_inserter(text), "  {} by {} {}\n", Did(trace.action), ToString(trace.policy),
                 RuleName(trace.policy, direction, trace.rule.rule));
  AppendMatches(trace.rule.peers, true, text);
  AppendMatches(trace.rule.ports, true, text);
}

std::optional<ClusterRuleTrace> TraceOf(const CompiledPolicy& compiled, const Model& model,
                                        const Explainer& explainer, Direction direction,
                                        const RuleRef& rule) {
  if (rule == kNoRule) return std::nullopt;
  const PolicyInfo& info = compiled.PolicyOf(rule);
  const auto policy = model.cluster_policies.find(info.key.name);
  // What is compiled may be older than the model.
  if (info.tier == Tier::kNetworkPolicy || policy == model.cluster_policies.end()) return std::nullopt;
  if (rule.rule >= policy->second.Rules(direction).size()) return std::nullopt;
  return ClusterRuleTrace{info, compiled.ActionOf(direction, rule),
                          explainer.ClusterRule(policy->second, rule.rule)};
}

/// Those that were asked before something decided, without those that did or passed on.
std::vector<PolicyInfo> Silent(const Explainer& explainer, const PolicyExplanation& e) {
  std::vector<PolicyInfo> silent;
  const auto add = [&](Tier tier, const std::optional<ClusterRuleTrace>& until) {
    for (PolicyInfo& p : explainer.Selecting(tier)) {
      if (until && until->policy.tier == tier && !(p < until->policy)) break;
      silent.push_back(std::move(p));
    }
  };
  const bool by_admin = e.decided_by && e.decided_by->policy.tier == Tier::kAdmin;
  add(Tier::kAdmin, e.passed_by ? e.passed_by : e.decided_by);
  if (!by_admin && !e.verdict.isolated) add(Tier::kBaseline, e.decided_by);
  return silent;
}

}  // namespace

std::string PolicyExplanation::Text() const {
  const std::string_view preposition = query.direction == Direction::kIngress ? "from" : "to";
  std::string text = fmt::format("{} of pod {} {} {} ({}), {}: {}\n", ToString(query.direction),
                                 ToString(query.pod), preposition, ToString(query.peer), peer,
                                 PacketName(query), verdict.allowed ? "allowed" : "denied");
  const auto out = std::back_inserter(text);
  for (const PolicyInfo& p : silent) fmt::format_to(out, "  no rule of {} matches\n", ToString(p));
  if (passed_by) AppendRule(*passed_by, query.direction, text);
  if (!verdict.isolated && !(decided_by && decided_by->policy.tier == Tier::kAdmin))
    fmt::format_to(out, "  no NetworkPolicy selects the pod for {}\n", ToString(query.direction));
  if (decided_by) AppendRule(*decided_by, query.direction, text);
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
  if (decided_by) {
    return fmt::format("would not be denied by {} without its {}", ToString(decided_by->policy),
                       RuleName(decided_by->policy, query.direction, decided_by->rule.rule));
  }
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
  if (out.verdict.isolated && out.verdict.rule != kNoRule)
    out.allowed_by = compiled.PolicyOf(out.verdict.rule).key;
  out.passed_by = TraceOf(compiled, model, explainer, query.direction, out.verdict.passed_by);
  out.decided_by = TraceOf(compiled, model, explainer, query.direction, out.verdict.rule);
  out.silent = Silent(explainer, out);
  return out;
}

}  // namespace podwire
