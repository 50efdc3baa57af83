// The manager's rules: from a fast flow to a rule that is installed, decided again, and taken out.
#include <algorithm>
#include <map>
#include <utility>

#include "net/status.h"
#include "switch/offload_manager.h"
#include "switch/worker_context.h"

namespace podwire {
namespace {

constexpr uint64_t kLaterMs = 10'000;         // before a NIC that took no rule just now is asked again
constexpr uint64_t kUntranslatableMs = 5000;  // before it is tried again with a flow that makes no rule
constexpr uint32_t kMaxBlindLooks = 6;        // doublings
constexpr double kEvictionFactor = 2;         // so much faster must a flow be to take another's place

// A NIC's packets make no worker ask for a neighbour again: it is done for them, before its MAC is in doubt,
// and an answer may take as long as software would wait for one.
constexpr uint32_t kAskAfterMs = 20'000, kDoubtMs = 5000;
constexpr uint64_t kAskIntervalMs = 1000;

FlowCapability Needed(const DropDraft& d) {
  if (d.match.tunnel) return FlowCapability::kDropInner;
  return d.match.src.is_v4() ? FlowCapability::kDrop : FlowCapability::kDropV6;
}

}  // namespace

bool OffloadManager::Install(const FastFlow& flow, uint64_t now_ms) {
  const FlowVisit& v = flow.visit;
  const auto port = ports_.find(v.id.in_port);
  if (port == ports_.end() || !port->second.probed || !v.found || !v.current || rules_.contains(v.id))
    return false;
  if (now_ms < port->second.not_before_ms) return false;
  Rule rule{.worker = v.worker, .queried_ms = now_ms, .installed_ms = now_ms, .fast_ms = now_ms};
  rule.pps = flow.pps;
  rule.rate_ms = now_ms;
  const std::shared_ptr<const Tables> t = tables_();
  const std::optional<FlowRule> translated = Translate(*t, v, port->second, rule);
  if (!translated || port->second.refused.contains(translated->Shape())) {
    untranslatable_[v.id] = now_ms + kUntranslatableMs;
    return false;
  }
  auto evicted = rules_.end();
  if (rules_.size() >= options_.max_rules) {
    evicted = Slowest();
    if (evicted->second.pps * kEvictionFactor > flow.pps) return false;
  }
  auto installed = port->second.engine->Install(*translated);
  if (!installed.ok()) {
    Refuse(port->second, *translated, installed.status(), now_ms);
    return false;
  }
  rule.installed = *std::move(installed);
  rule.text = translated->Text();
  if (const auto blind = blind_.find(v.id); blind != blind_.end())
    blind->second.looks = std::min(blind->second.looks + 1, kMaxBlindLooks);
  rules_.emplace(v.id, std::move(rule));
  ++totals_.installed;
  if (evicted != rules_.end()) {
    Remove(evicted);
    ++totals_.evicted;
  }
  return true;
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
  const auto forward = v.id.src.is_v4() ? FlowCapability::kForward : FlowCapability::kForwardV6;
  if (!options_.forward || !port.Can(forward) || !port.Can(FlowCapability::kCount)) return std::nullopt;
  if (!v.connected || !v.established) return std::nullopt;
  rule.input = {.flow = v.id,
                .original = v.original,
                .tunnel_src_port = v.tunnel_src_port,
                .neighbor = [this](const IpAddress& a) {
                  const auto it = neighbors_.find(a);
                  return it == neighbors_.end() ? MacAddr{} : it->second.mac;
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

OffloadManager::RuleMap::iterator OffloadManager::Slowest() {
  return std::ranges::min_element(rules_, {}, [](const auto& entry) { return entry.second.pps; });
}

/// What a NIC does not take it is not asked for again; one that cannot now is, later.
void OffloadManager::Refuse(PortState& port, const FlowRule& rule, const absl::Status& status,
                            uint64_t now_ms) {
  if (!absl::IsUnimplemented(status)) {
    port.not_before_ms = now_ms + kLaterMs;
    return Tell(port, Message(status));
  }
  port.refused[rule.Shape()] = Message(status);
  ++totals_.refused;
  Tell(port, Message(status));
}

void OffloadManager::Tell(PortState& port, const std::string& trouble) {
  if (port.last_trouble == trouble) return;
  port.last_trouble = trouble;
  if (options_.refused) options_.refused(port.port->name(), trouble);
}

/// Moves `it` on to the next.
void OffloadManager::Remove(RuleMap::iterator& it) {
  const PortId id = it->first.in_port;
  const FlowVisit last = TakeCount(it->first, it->second);
  if (last.packets != 0) last_counts_.push_back(last);
  const absl::Status removed = it->second.installed->Remove();
  const auto port = ports_.find(id);
  if (!removed.ok() && port != ports_.end()) GiveUp(id, port->second, it, Message(removed));
  it = Forget(it);
}

/// Of a rule that is in force no more.
OffloadManager::RuleMap::iterator OffloadManager::Forget(RuleMap::iterator it) {
  access_.shared().offload_marks.Remove(access_.HashOf(it->first));
  ++totals_.removed;
  return rules_.erase(it);
}

/// A NIC that keeps a rule that it was to take out must not go on by it: all its rules go. `kept` is left to
/// the caller.
void OffloadManager::GiveUp(PortId id, PortState& port, const RuleMap::iterator& kept,
                            const std::string& why) {
  std::vector<RuleMap::iterator> others;
  for (auto it = rules_.begin(); it != rules_.end(); ++it) {
    if (it->first.in_port != id || it == kept) continue;
    const FlowVisit last = TakeCount(it->first, it->second);
    if (last.packets != 0) last_counts_.push_back(last);
    others.push_back(it);
  }
  port.broken = true;
  port.capabilities.clear();
  const absl::Status flushed = port.engine->Flush();
  for (const auto& it : others) Forget(it);
  Tell(port, "a rule could not be taken out: " + why + "; " +
                 (flushed.ok() ? "all rules of the port are flushed"
                               : "nor could all (" + Message(flushed) + "): some may be in force still") +
                 ". It offloads nothing until it is opened again");
}

/// Under mutex_.
void OffloadManager::ReadNeighbors() {
  neighbors_.clear();
  if (!options_.forward || ports_.empty()) return;
  const NeighborTable& table = access_.shared().neighbors;
  for (const NeighborTable::Entry& e : table.Snapshot(access_.shared().NowMs())) {
    const bool permanent = e.state == NeighborState::kPermanent;
    const bool good = e.state == NeighborState::kReachable ||
                      (e.state == NeighborState::kStale && e.age_ms < NeighborTable::kReachableMs + kDoubtMs);
    if (permanent || good)
      neighbors_.emplace(e.address, Neighbor{.mac = e.mac, .due = !permanent && e.age_ms >= kAskAfterMs});
  }
}

/// Those that rules send to.
void OffloadManager::AskNeighbors(uint64_t now_ms) {
  std::erase_if(asked_, [&](const auto& entry) { return now_ms - entry.second >= kAskIntervalMs; });
  std::map<IpAddress, MacAddr> due;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, rule] : rules_) {
      if (!rule.forward || rule.forward->neighbor.empty() || asked_.contains(rule.forward->neighbor))
        continue;
      const auto it = neighbors_.find(rule.forward->neighbor);
      if (it != neighbors_.end() && it->second.due) due[it->first] = it->second.mac;
    }
  }
  for (const auto& [address, mac] : due) {
    asked_[address] = now_ms;
    access_.AskNeighbor(address, mac);
  }
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
