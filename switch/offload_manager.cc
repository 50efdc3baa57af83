#include "switch/offload_manager.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "net/status.h"
#include "switch/worker_context.h"

namespace podwire {
namespace {

constexpr size_t kPlacesPerRound = 32768;  // of each worker's flow table: a few milliseconds a second
constexpr size_t kMaxCandidates = 4096;
constexpr size_t kMaxInstalls = 64;       // a round
constexpr uint64_t kLeastSampleMs = 100;  // between two looks at a flow's packets
constexpr uint64_t kRateMs = 2000;        // that a rule's rate is measured over

uint64_t SteadyMs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

}  // namespace

uint16_t OffloadManager::Rule::overhead() const { return drop ? drop->overhead : forward->overhead; }

OffloadManager::OffloadManager(WorkerAccess workers, TablesFn tables, const OffloadOptions& options)
    : access_(std::move(workers)), tables_(std::move(tables)), options_(options) {}

OffloadManager::~OffloadManager() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  for (auto it = rules_.begin(); it != rules_.end();) Remove(it);
}

void OffloadManager::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void OffloadManager::Loop() {
  pthread_setname_np(pthread_self(), "pw-offload");
  uint64_t next_round_ms = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    const auto period = rules_.empty() ? kPeriod : kWatchPeriod;
    if (stop_changed_.wait_for(lock, period, [this] { return stopping_; })) return;
    lock.unlock();
    CheckConnections();
    if (const uint64_t now = SteadyMs(); now >= next_round_ms) {
      Round(now);
      next_round_ms = now + kPeriod.count();
    }
    lock.lock();
  }
}

void OffloadManager::Round(uint64_t now_ms) {
  ProbePorts();
  std::vector<FlowVisit> visits;
  {
    const std::lock_guard books(books_mutex_);
    visits = ReadCounts(now_ms);
    access_.Visit(visits);
  }
  AskNeighbors(now_ms);
  RemoveUnfit(visits, now_ms);
  std::vector<FastFlow> fast = FindFast(now_ms);
  InstallFast(fast, now_ms);
}

/// New ports, and all whose NIC must learn of another tunnel port, are asked what they can do.
void OffloadManager::ProbePorts() {
  const std::shared_ptr<const Tables> t = tables_();
  const LocalNode& local = t->local;
  const uint16_t vxlan_port =
      local.tunnel_enabled && local.tunnel_is_vxlan ? rte_be_to_cpu_16(local.tunnel_port_be) : uint16_t{0};
  const std::lock_guard lock(mutex_);
  for (auto& [id, port] : ports_) {
    if (port.broken || (port.probed && port.vxlan_port == vxlan_port)) continue;
    if (port.vxlan_port != vxlan_port) port.engine->SetVxlanPort(vxlan_port);
    port.vxlan_port = vxlan_port;
    port.capabilities = ProbeCapabilities(*port.engine);
    port.refused.clear();
    port.probed = true;
  }
}

/// What the rule has carried since it was last asked, for the books.
FlowVisit OffloadManager::TakeCount(const FlowId& id, Rule& rule) {
  FlowVisit v;
  v.id = id;
  v.worker = rule.worker;
  // What does not count keeps its flow by being there. What counts does so by its packets: the entry's time
  // says when its connection was last looked after, by those that come to software.
  v.keep = !rule.counts;
  if (rule.drop) {
    v.dropped = rule.drop->reason;
    v.victim = rule.drop->victim;
  }
  if (!rule.counts) return v;
  const absl::StatusOr<FlowRuleCount> count = rule.installed->Query();
  if (!count.ok() || count->packets < rule.counted.packets) return v;
  v.packets = count->packets - rule.counted.packets;
  const uint64_t bytes = count->bytes - rule.counted.bytes;
  v.bytes = bytes - std::min(bytes, v.packets * rule.overhead());
  rule.counted = *count;
  return v;
}

std::vector<FlowVisit> OffloadManager::ReadCounts(uint64_t now_ms) {
  const std::shared_ptr<const Tables> t = tables_();
  const std::lock_guard lock(mutex_);
  ReadNeighbors();
  RevalidateRules(*t);
  std::vector<FlowVisit> visits = std::exchange(last_counts_, {});
  for (auto& [id, rule] : rules_) {
    visits.push_back(TakeCount(id, rule));
    const uint64_t elapsed = now_ms - rule.queried_ms;
    if (!rule.counts || elapsed < kLeastSampleMs) continue;
    const double pps = static_cast<double>(visits.back().packets) * 1000 / static_cast<double>(elapsed);
    rule.queried_ms = now_ms;
    if (pps >= options_.keep_pps) rule.fast_ms = now_ms;
    if (const uint64_t since = now_ms - rule.rate_ms; since >= kRateMs) {
      rule.pps =
          static_cast<double>(rule.counted.packets - rule.rate_packets) * 1000 / static_cast<double>(since);
      rule.rate_ms = now_ms;
      rule.rate_packets = rule.counted.packets;
    }
  }
  return visits;
}

uint64_t OffloadManager::BlindMs(const FlowId& id) const {
  const auto it = blind_.find(id);
  return uint64_t{options_.blind_ms} << (it == blind_.end() ? 0 : it->second.looks);
}

/// What has become of its connection does not speak against the rule.
bool OffloadManager::Suits(const Rule& rule, const FlowVisit& v) {
  return rule.drop ? !v.connected && !v.reply : v.connected && v.established;
}

bool OffloadManager::IsUnfit(const FlowId& id, const Rule& rule, const FlowVisit& v, uint64_t now_ms) const {
  if (!v.found || !Suits(rule, v)) return true;
  if (rule.counts) return now_ms - rule.fast_ms > options_.hold_ms;
  return now_ms - rule.installed_ms >= BlindMs(id);
}

void OffloadManager::RemoveUnfit(std::span<const FlowVisit> visits, uint64_t now_ms) {
  const std::lock_guard lock(mutex_);
  for (const FlowVisit& v : visits) {
    auto it = rules_.find(v.id);
    if (it == rules_.end() || !IsUnfit(v.id, it->second, v, now_ms)) continue;
    if (!it->second.counts) blind_[v.id].removed_ms = now_ms;
    Remove(it);
  }
  // Who has not come back by then was no flood any more.
  std::erase_if(blind_, [&](const auto& entry) {
    return !rules_.contains(entry.first) && now_ms - entry.second.removed_ms > options_.hold_ms;
  });
}

/// Flows of ports whose NIC can do something, of a size that a fast one has in no time.
FlowFilter OffloadManager::Filter(uint64_t now_ms) const {
  FlowFilter filter{.ports = {}, .min_packets = std::max<uint64_t>(1, options_.install_pps / 10)};
  const std::lock_guard lock(mutex_);
  for (const auto& [id, port] : ports_) {
    const bool inner = port.Can(FlowCapability::kDropInner),
               forward = options_.forward && port.Can(FlowCapability::kCount);
    uint8_t kinds = 0;
    if (inner || port.Can(FlowCapability::kDrop)) kinds |= FlowFilter::kDrop4;
    if (inner || port.Can(FlowCapability::kDropV6)) kinds |= FlowFilter::kDrop6;
    if (forward && port.Can(FlowCapability::kForward)) kinds |= FlowFilter::kForward4;
    if (forward && port.Can(FlowCapability::kForwardV6)) kinds |= FlowFilter::kForward6;
    if (kinds == 0 || now_ms < port.not_before_ms) continue;
    filter.ports.resize(std::max<size_t>(filter.ports.size(), id.value() + size_t{1}));
    filter.ports[id.value()] = kinds;
  }
  return filter;
}

bool OffloadManager::IsUntranslatable(const FlowId& id, uint64_t now_ms) const {
  const std::lock_guard lock(mutex_);
  const auto it = untranslatable_.find(id);
  return it != untranslatable_.end() && now_ms < it->second;
}

bool OffloadManager::HasRule(const FlowId& id) const {
  const std::lock_guard lock(mutex_);
  return rules_.contains(id);
}

/// Two looks at a flow give its rate: the scan's, and one of a later round.
std::vector<OffloadManager::FastFlow> OffloadManager::FindFast(uint64_t now_ms) {
  std::vector<FastFlow> fast;
  const FlowFilter filter = Filter(now_ms);
  if (filter.ports.empty()) return fast;
  std::vector<FlowVisit> visits;
  for (const auto& [id, c] : candidates_) {
    if (now_ms - c.since_ms < kLeastSampleMs) continue;
    FlowVisit v;
    v.id = id;
    v.worker = c.worker;
    visits.push_back(v);
  }
  access_.Visit(visits);
  for (const FlowVisit& v : visits) {
    const auto it = candidates_.find(v.id);
    const Candidate c = it->second;
    candidates_.erase(it);
    if (!v.found || v.entry_packets < c.packets) continue;
    const double pps =
        static_cast<double>(v.entry_packets - c.packets) * 1000 / static_cast<double>(now_ms - c.since_ms);
    if (pps >= options_.install_pps) fast.push_back({v, pps});
  }
  std::vector<FlowVisit> seen;
  access_.Scan(filter, kPlacesPerRound, seen);
  for (const FlowVisit& v : seen) {
    if (candidates_.size() >= kMaxCandidates) break;
    if (HasRule(v.id) || IsUntranslatable(v.id, now_ms)) continue;
    candidates_.try_emplace(v.id, Candidate{v.worker, v.entry_packets, now_ms});
  }
  std::ranges::sort(fast, std::greater{}, &FastFlow::pps);
  return fast;
}

void OffloadManager::InstallFast(std::vector<FastFlow>& fast, uint64_t now_ms) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(untranslatable_, [&](const auto& entry) { return now_ms >= entry.second; });
  }
  size_t installed = 0;
  for (std::span<FastFlow> left = fast; !left.empty() && installed < kMaxInstalls;) {
    const size_t some = std::min(left.size(), kMaxInstalls - installed);
    installed += InstallSome(left.first(some), now_ms);
    left = left.subspan(some);
  }
}

size_t OffloadManager::InstallSome(std::span<FastFlow> fast, uint64_t now_ms) {
  OffloadMarks& marks = access_.shared().offload_marks;
  // Marked before it is looked whether somebody has opened a connection: who opens one later tells.
  std::vector<FlowVisit> visits;
  {
    const std::lock_guard lock(mutex_);
    for (const FastFlow& f : fast) marks.Add(access_.HashOf(f.visit.id));
  }
  for (const FastFlow& f : fast) {
    visits.push_back(f.visit);
    visits.back().connected = visits.back().reply = visits.back().found = false;
  }
  access_.Visit(visits);
  std::map<FlowId, FlowVisit> now;
  for (const FlowVisit& v : visits) now[v.id] = v;
  size_t installed = 0;
  for (FastFlow& f : fast) {
    f.visit = now[f.visit.id];
    const std::lock_guard lock(mutex_);
    if (Install(f, now_ms)) {
      ++installed;
    } else {
      marks.Remove(access_.HashOf(f.visit.id));
    }
  }
  return installed;
}

void OffloadManager::CheckConnections() {
  const uint32_t changes = access_.shared().offload_marks.changes();
  if (changes == changes_) return;
  changes_ = changes;
  std::vector<FlowVisit> visits;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, rule] : rules_) {
      FlowVisit v;
      v.id = id;
      v.worker = rule.worker;
      visits.push_back(v);
    }
  }
  access_.Visit(visits);
  const std::lock_guard lock(mutex_);
  for (const FlowVisit& v : visits) {
    if (auto it = rules_.find(v.id); it != rules_.end() && !Suits(it->second, v)) Remove(it);
  }
}

void OffloadManager::Revalidate(const Tables& t) {
  const std::lock_guard books(books_mutex_);
  std::unique_lock lock(mutex_);
  untranslatable_.clear();
  // A port that is gone, or another in its place, has no rules that are still good.
  std::set<PortId> changed;
  for (const auto& [id, port] : ports_) {
    if (id.value() >= t.ports.size() || t.ports[id.value()].port != port.port) changed.insert(id);
  }
  for (auto it = rules_.begin(); it != rules_.end();) {
    const bool gone = changed.contains(it->first.in_port) ||
                      (it->second.forward && changed.contains(it->second.forward->out_port));
    if (!gone) {
      ++it;
      continue;
    }
    Remove(it);
    ++totals_.invalidated;
  }
  for (const PortId id : changed) ports_.erase(id);
  for (size_t i = 0; i < t.ports.size(); ++i) {
    Port* port = t.ports[i].port;
    if (port == nullptr || port->flow_engine() == nullptr) continue;
    const PortId id{static_cast<uint16_t>(i)};
    if (!ports_.contains(id)) ports_[id] = {.port = port, .engine = port->flow_engine()};
  }
  RevalidateRules(t);
  // Before the endpoints that `t` no longer has are forgotten: their numbers are others' then.
  std::vector<FlowVisit> last = std::exchange(last_counts_, {});
  lock.unlock();
  access_.Visit(last);
}

std::vector<OffloadManager::RuleView> OffloadManager::Rules() const {
  const std::lock_guard lock(mutex_);
  std::vector<RuleView> views;
  for (const auto& [id, rule] : rules_) {
    views.push_back(
        {.flow = id, .drop = rule.drop.has_value(), .text = rule.text, .packets = rule.counted.packets});
  }
  return views;
}

std::set<FlowId> OffloadManager::Offloaded() const {
  const std::lock_guard lock(mutex_);
  std::set<FlowId> ids;
  for (const auto& [id, rule] : rules_) ids.insert(id);
  return ids;
}

std::vector<std::string> OffloadManager::CapabilitiesOf(PortId id) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  const auto it = ports_.find(id);
  if (it == ports_.end()) return names;
  for (const FlowCapability c : it->second.capabilities) names.emplace_back(Name(c));
  return names;
}

std::map<std::string, std::string> OffloadManager::RefusedBy(PortId id) const {
  const std::lock_guard lock(mutex_);
  const auto it = ports_.find(id);
  return it == ports_.end() ? std::map<std::string, std::string>{} : it->second.refused;
}

OffloadTotals OffloadManager::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace podwire
