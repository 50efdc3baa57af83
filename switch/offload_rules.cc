// The manager's rules: from a fast flow to a rule that is installed, decided again, and taken out.
#include <algorithm>
#include <utility>

#include "net/status.h"
#include "switch/offload_manager.h"
#include "switch/worker_context.h"

namespace podwire {
namespace {

constexpr uint64_t kFullMs = 10'000;    // before a NIC without room is asked again
constexpr uint32_t kMaxBlindLooks = 6;  // doublings
constexpr double kEvictionFactor = 2;   // so much faster must a flow be to take another's place

FlowCapability Needed(const DropDraft& d) {
  if (d.match.tunnel) return FlowCapability::kDropInner;
  return d.match.src.is_v4() ? FlowCapability::kDrop : FlowCapability::kDropV6;
}

}  // namespace

void OffloadManager::Install(const FastFlow& flow, uint64_t now_ms) {
  const FlowVisit& v = flow.visit;
  const auto port = ports_.find(v.id.in_port);
  if (port == ports_.end() || !port->second.probed || !v.found || !v.current || rules_.contains(v.id)) return;
  if (now_ms < port->second.full_until_ms) return;
  Rule rule{.worker = v.worker, .queried_ms = now_ms, .installed_ms = now_ms, .fast_ms = now_ms};
  rule.pps = flow.pps;
  const std::shared_ptr<const Tables> t = tables_();
  const std::optional<FlowRule> translated = Translate(*t, v, port->second, rule);
  if (!translated || port->second.refused.contains(translated->Shape())) return;
  if (!TakeRoom(flow.pps)) return;
  auto installed = port->second.engine->Install(*translated);
  if (!installed.ok()) return Refuse(port->second, *translated, installed.status(), now_ms);
  rule.installed = *std::move(installed);
  rule.text = translated->Text();
  if (const auto blind = blind_.find(v.id); blind != blind_.end())
    blind->second.looks = std::min(blind->second.looks + 1, kMaxBlindLooks);
  rules_.emplace(v.id, std::move(rule));
  ++totals_.installed;
}

std::optional<FlowRule> OffloadManager::Translate(const Tables& t, const FlowVisit& v, const PortState& port,
                                                  Rule& rule) {
  if (v.action != Action::kDrop) return TranslateForward(t, v, port, rule);
  // A connection's reply is judged by the other direction, which the tables alone know nothing of.
  if (v.connected || v.reply) return std::nullopt;
  rule.drop = DraftDrop(t, v.id);
  if (!rule.drop || rule.drop->reason != v.reason || !port.Can(Needed(*rule.drop))) return std::nullopt;
  rule.counts = port.Can(FlowCapability::kCount);
  return FlowRule(port.engine->ethdev(), rule.drop->match, {.count = rule.counts});
}

std::optional<FlowRule> OffloadManager::TranslateForward(const Tables& t, const FlowVisit& v,
                                                         const PortState& port, Rule& rule) {
  // Without counters nobody would know that the connection lives.
  if (!options_.forward || !port.Can(FlowCapability::kForward) || !port.Can(FlowCapability::kCount))
    return std::nullopt;
  if (!v.connected || !v.established) return std::nullopt;
  rule.input = {.flow = v.id,
                .original = v.original,
                .tunnel_src_port = v.tunnel_src_port,
                .neighbor = [this](const IpAddress& a) {
                  const auto it = neighbors_.find(a);
                  return it == neighbors_.end() ? MacAddr{} : it->second;
                }};
  rule.forward = DraftForward(t, rule.input);
  if (!rule.forward) return std::nullopt;
  const auto out = ports_.find(rule.forward->out_port);
  const auto domain = port.engine->switch_domain();
  if (out == ports_.end() || !domain || out->second.engine->switch_domain() != domain) return std::nullopt;
  if (rule.forward->match.tunnel && !port.Can(FlowCapability::kVxlanDecap)) return std::nullopt;
  if (rule.forward->action.encap && !port.Can(FlowCapability::kVxlanEncap)) return std::nullopt;
  rule.counts = true;
  FlowAction action = rule.forward->action;
  action.ethdev = out->second.engine->ethdev();
  return FlowRule(port.engine->ethdev(), rule.forward->match, action);
}

/// Room for one more, of the slowest if need be.
bool OffloadManager::TakeRoom(double pps) {
  if (rules_.size() < options_.max_rules) return true;
  auto slowest = std::ranges::min_element(rules_, {}, [](const auto& entry) { return entry.second.pps; });
  if (slowest == rules_.end() || slowest->second.pps * kEvictionFactor > pps) return false;
  Remove(slowest);
  ++totals_.evicted;
  return true;
}

/// What a NIC does not take it is not asked for again; one that is full is, later.
void OffloadManager::Refuse(PortState& port, const FlowRule& rule, const absl::Status& status,
                            uint64_t now_ms) {
  if (absl::IsResourceExhausted(status)) {
    port.full_until_ms = now_ms + kFullMs;
    return;
  }
  port.refused[rule.Shape()] = Message(status);
  ++totals_.refused;
  if (options_.refused) options_.refused(port.port->name(), Message(status));
}

/// Moves `it` on to the next.
void OffloadManager::Remove(RuleMap::iterator& it) {
  const FlowVisit last = TakeCount(it->first, it->second);
  if (last.packets != 0) last_counts_.push_back(last);
  it->second.installed.reset();
  access_.shared().offload_marks.Remove(access_.HashOf(it->first));
  it = rules_.erase(it);
  ++totals_.removed;
}

/// Leaves `it` at the next rule.
void OffloadManager::Redecide(const Tables& t, RuleMap::iterator& it) {
  Rule& rule = it->second;
  bool same = ports_.contains(it->first.in_port);
  if (rule.drop) {
    same = same && DraftDrop(t, it->first) == rule.drop;
  } else {
    same = same && ports_.contains(rule.forward->out_port) && DraftForward(t, rule.input) == rule.forward;
  }
  if (same) {
    ++it;
    return;
  }
  Remove(it);
  ++totals_.invalidated;
}

void OffloadManager::RevalidateRules(const Tables& t) {
  for (auto it = rules_.begin(); it != rules_.end();) Redecide(t, it);
}

}  // namespace podwire
