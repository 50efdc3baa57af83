#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <absl/status/statusor.h>

#include "control/event_names.h"
#include "control/policy_log.h"

namespace podwire {

/// Which drops and cuts a watcher wants; what is set must all hold.
struct EventFilter {
  std::string pod;  ///< ns/name, at either end
  std::string ns;   ///< a pod of it at either end
  std::optional<DropReason> reason;
  std::optional<IpPrefix> prefix;  ///< either end
  uint16_t port = 0;               ///< either end
  std::optional<uint8_t> proto;

  bool Matches(const NamedEvent& e) const;
};

/// What has happened at a watcher since it was last asked.
struct WatchBatch {
  std::vector<NamedEvent> events;
  uint64_t lost = 0;      ///< that this watcher was too slow for
  uint64_t left_out = 0;  ///< drops, of the filter's reason, that were counted only: there were too many
  bool closed = false;    ///< there will be no more
};

/// What the feed is fed from; the switch, but in tests.
struct EventSource {
  std::function<void(const std::function<void(const EventRecord&)>&)> take;
  std::function<std::shared_ptr<const Tables>()> tables;
  std::function<CounterTotals()> counters;
  std::function<uint64_t()> verdicts_left_out;
  std::function<void(bool)> watch;
};
EventSource EventSourceOf(Switch& sw);

/// Takes events from the workers, names them, and gives them to those that watch and to the policy log. Any
/// thread.
class EventFeed {
 public:
  static constexpr std::chrono::milliseconds kPeriod{50};
  static constexpr size_t kQueue = 1024;  ///< events that wait for a watcher
  static constexpr size_t kMaxWatchers = 64;
  static constexpr size_t kMaxDenials = 8192, kMaxCuts = 1024;

  /// Does not begin by itself.
  EventFeed(const Controller& controller, EventSource source, PolicyLog& log);
  ~EventFeed();
  /// Begins a thread that takes a round every kPeriod.
  void Start();
  /// Takes what there is. One thread at a time: not after Start.
  void Round();
  /// Ends the watchers' waiting, and takes no more.
  void Close();

  class Watcher;
  /// ResourceExhausted: there are kMaxWatchers. The watcher must go before the feed does.
  absl::StatusOr<std::unique_ptr<Watcher>> Watch(EventFilter filter);

  /// The last denial of a pod for a reason.
  std::optional<NamedEvent> LastDenial(const std::string& pod, DropReason reason) const;
  /// Connections cut, by the names of the policies ("dev/a, dev/b"; empty: not known).
  std::map<std::string, uint64_t> Cuts() const;

 private:
  void Take(const EventRecord& record, const Tables& t);
  void Remember(const NamedEvent& e);
  void CountLeftOut(const CounterTotals& totals);

  EventNames names_;
  const EventSource source_;
  PolicyLog& log_;
  uint64_t verdicts_left_out_ = 0;  // the thread's, of this round
  DropCounts seen_{};               // the thread's: drops that left an event
  DropCounts left_out_{};           // the thread's: those that did not, so far

  mutable std::mutex mutex_;  // what follows
  std::condition_variable changed_;
  bool closed_ = false;
  std::set<Watcher*> watchers_;
  std::map<std::pair<std::string, DropReason>, NamedEvent> denials_;
  std::map<std::string, uint64_t> cuts_;  // by policies that are known
  uint64_t cuts_counted_ = 0;
  std::thread thread_;
};

/// One that watches. One thread.
class EventFeed::Watcher {
 public:
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  /// What there is; waits for it, but no longer than that.
  WatchBatch Wait(std::chrono::milliseconds limit);

 private:
  friend class EventFeed;
  Watcher(EventFeed& feed, EventFilter filter) : feed_(feed), filter_(std::move(filter)) {}

  EventFeed& feed_;
  const EventFilter filter_;
  // Under the feed's mutex:
  std::deque<NamedEvent> queue_;
  uint64_t lost_ = 0, left_out_ = 0;
};

}  // namespace podwire
