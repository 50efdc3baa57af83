#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "pmd/flow_engine.h"
#include "switch/flow_access.h"
#include "switch/offload_rule.h"
#include "switch/tables.h"

namespace podwire {

struct OffloadOptions {
  bool forward = true;           ///< established connections too, not only denied floods
  uint32_t max_rules = 1024;     ///< of all ports
  uint32_t install_pps = 10000;  ///< a flow this fast gets a rule
  uint32_t keep_pps = 1000;      ///< one that has been slower for hold_ms loses it
  uint32_t hold_ms = 10'000;
  /// Rules of NICs that do not count are taken out for a look after so long, at first; twice as long each
  /// time the flow proves to go on, up to 64 times.
  uint32_t blind_ms = 2000;
  std::function<void(const std::string& port, const std::string& why)>
      refused;  ///< told of what NICs refuse, and of rules that do not go; may be empty
};

struct OffloadTotals {
  uint64_t installed = 0, removed = 0;  ///< rules
  uint64_t evicted = 0;                 ///< of `removed`: for a faster flow
  uint64_t invalidated = 0;             ///< of `removed`: the tables decide otherwise, or the port is gone
  uint64_t refused = 0;                 ///< by NICs, each shape of a port once
};

/// Keeps NICs' rules in step with what the switch decides: a rule is a cache of a decision that software made
/// and would make again. Fast flows that policies deny are dropped by the NIC that receives them, fast
/// connections forwarded by it, where it can. Rules follow the tables (Revalidate), the flow entries and
/// connections that they stand for, and the rate.
///
/// Start, Round and CheckConnections: one thread. All else: any.
class OffloadManager {
 public:
  static constexpr std::chrono::milliseconds kPeriod{250};
  static constexpr std::chrono::milliseconds kWatchPeriod{5};  ///< while there are rules

  using TablesFn = std::function<std::shared_ptr<const Tables>()>;
  OffloadManager(WorkerAccess workers, TablesFn tables, const OffloadOptions& options);
  /// Takes out all rules. The ports must be there until then, or have left the tables before.
  ~OffloadManager();

  /// Begins a thread that does all that is below but Revalidate.
  void Start();
  /// One look at flows and rules. `now_ms` is any steady clock's.
  void Round(uint64_t now_ms);
  /// Takes out rules that what has become of connections has ended, if workers tell of any: a drop rule whose
  /// tuple the other side has opened, a connection that has begun to end.
  void CheckConnections();

  /// Whoever has published `t` calls this before he says so: when it returns, no rule is in force that `t`
  /// would not give again, nor one of a port that is not in it.
  void Revalidate(const Tables& t);

  struct RuleView {
    FlowId flow;
    bool drop = false;
    std::string text;  ///< testpmd's syntax
    uint64_t packets = 0;
  };
  std::vector<RuleView> Rules() const;
  /// Those of Rules(), by flow.
  std::set<FlowId> Offloaded() const;
  /// What the port's NIC can do; empty: nothing, or not asked yet.
  std::vector<std::string> CapabilitiesOf(PortId port) const;
  /// Shapes of rules that the port's NIC has refused, with its words.
  std::map<std::string, std::string> RefusedBy(PortId port) const;
  OffloadTotals totals() const;

 private:
  struct PortState {
    Port* port = nullptr;
    FlowEngine* engine = nullptr;
    bool probed = false;
    uint16_t vxlan_port = 0;  // that it was told
    std::set<FlowCapability> capabilities;
    std::map<std::string, std::string> refused;  // by shape
    uint64_t not_before_ms = 0;                  // for a rule to be tried
    std::string last_trouble;                    // that was told of
    bool broken = false;                         // a rule could not be taken out: no more of them
    bool Can(FlowCapability c) const { return capabilities.contains(c); }
  };
  struct Rule {
    std::optional<DropDraft> drop;  // one of the two
    std::optional<ForwardDraft> forward;
    ForwardInput input;  // that `forward` was made from
    std::string text;
    std::unique_ptr<InstalledRule> installed;
    uint16_t worker = 0;
    bool counts = false;
    FlowRuleCount counted;  // so far
    uint64_t queried_ms = 0, installed_ms = 0, fast_ms = 0;
    // The rate, over so long that NICs that read their counters once a second show it.
    double pps = 0;
    uint64_t rate_ms = 0, rate_packets = 0;
    /// Bytes of a matched frame that are no flow's: in front of its (inner) IP header.
    uint16_t overhead() const;
  };
  using RuleMap = std::map<FlowId, Rule>;
  struct Candidate {
    uint16_t worker = 0;
    uint64_t packets = 0, since_ms = 0;
  };
  /// Of rules that do not count.
  struct Blind {
    uint32_t looks = 0;  // in a row at which the flow was still fast
    uint64_t removed_ms = 0;
  };
  struct FastFlow {
    FlowVisit visit;
    double pps = 0;
  };

  void Loop();
  void ProbePorts();
  void ReadNeighbors();
  void AskNeighbors(uint64_t now_ms);
  std::vector<FlowVisit> ReadCounts(uint64_t now_ms);
  void RemoveUnfit(std::span<const FlowVisit> visits, uint64_t now_ms);
  std::vector<FastFlow> FindFast(uint64_t now_ms);
  void InstallFast(std::vector<FastFlow>& fast, uint64_t now_ms);
  size_t InstallSome(std::span<FastFlow> fast, uint64_t now_ms);  // how many
  FlowFilter Filter(uint64_t now_ms) const;
  uint64_t BlindMs(const FlowId& id) const;
  // Under mutex_:
  void RevalidateRules(const Tables& t);
  void Redecide(const Tables& t, RuleMap::iterator& it);
  static bool Suits(const Rule& rule, const FlowVisit& v);
  bool IsUnfit(const FlowId& id, const Rule& rule, const FlowVisit& v, uint64_t now_ms) const;
  bool Install(const FastFlow& flow, uint64_t now_ms);
  bool IsUntranslatable(const FlowId& id, uint64_t now_ms) const;
  std::optional<FlowRule> Translate(const Tables& t, const FlowVisit& v, const PortState& port, Rule& rule);
  std::optional<FlowRule> TranslateForward(const Tables& t, const FlowVisit& v, const PortState& port,
                                           Rule& rule);
  RuleMap::iterator Slowest();
  void Refuse(PortState& port, const FlowRule& rule, const absl::Status& status, uint64_t now_ms);
  void Tell(PortState& port, const std::string& trouble);
  void Remove(RuleMap::iterator& it);
  RuleMap::iterator Forget(RuleMap::iterator it);
  void GiveUp(PortId id, PortState& port, const RuleMap::iterator& kept, const std::string& why);
  FlowVisit TakeCount(const FlowId& id, Rule& rule);
  bool HasRule(const FlowId& id) const;

  FlowAccess access_;
  const TablesFn tables_;
  const OffloadOptions options_;
  std::map<FlowId, Candidate> candidates_;  // Round's
  std::map<FlowId, Blind> blind_;           // Round's
  std::map<IpAddress, uint64_t> asked_;     // Round's: neighbours, when
  uint32_t changes_ = 0;                    // CheckConnections

  std::mutex books_mutex_;    // before mutex_: from reading counts to having them in the books
  mutable std::mutex mutex_;  // what follows
  std::map<PortId, PortState> ports_;
  RuleMap rules_;
  struct Neighbor {
    MacAddr mac;
    bool due = false;  // soon no longer confirmed
  };
  absl::flat_hash_map<IpAddress, Neighbor> neighbors_;  // that answer, as of the last round
  std::map<FlowId, uint64_t> untranslatable_;  // until when not to look at them again; fewer than candidates
  std::vector<FlowVisit> last_counts_;         // of rules that are gone, not yet in the books
  OffloadTotals totals_;
  std::condition_variable stop_changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace podwire
