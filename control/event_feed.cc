#include "control/event_feed.h"

#include <pthread.h>

#include <iterator>
#include <numeric>

#include <absl/strings/str_join.h>

#include "net/status.h"

namespace podwire {

bool EventFilter::Matches(const NamedEvent& e) const {
  const auto in_ns = [&](const std::string& name) {
    return name.size() > ns.size() && name.starts_with(ns) && name[ns.size()] == '/';
  };
  if (!pod.empty() && e.src_pod != pod && e.dst_pod != pod && e.pod != pod) return false;
  if (!ns.empty() && !in_ns(e.src_pod) && !in_ns(e.dst_pod) && !in_ns(e.pod)) return false;
  if (reason && e.reason != *reason) return false;
  if (prefix && !prefix->Contains(e.tuple.src) && !prefix->Contains(e.tuple.dst)) return false;
  if (port != 0 && e.tuple.src_port != port && e.tuple.dst_port != port) return false;
  return !proto || e.tuple.proto == *proto;
}

EventSource EventSourceOf(Switch& sw) {
  return {.take = [&sw](const auto& fn) { sw.TakeEvents(fn); },
          .tables = [&sw] { return sw.tables(); },
          .counters = [&sw] { return sw.ReadCounters(); },
          .verdicts_left_out = [&sw] { return sw.verdicts_left_out(); },
          .watch = [&sw](bool watched) { sw.WatchDrops(watched); }};
}

EventFeed::EventFeed(const Controller& controller, EventSource source, PolicyLog& log)
    : names_(controller), source_(std::move(source)), log_(log) {}

EventFeed::~EventFeed() { Close(); }

void EventFeed::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "pw-events");
    std::unique_lock lock(mutex_);
    while (!closed_) {
      lock.unlock();
      Round();
      lock.lock();
      changed_.wait_for(lock, kPeriod, [this] { return closed_; });
    }
  });
}

void EventFeed::Close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void EventFeed::Round() {
  names_.Refill();
  const std::shared_ptr<const Tables> tables = source_.tables();
  verdicts_left_out_ = source_.verdicts_left_out();
  const CounterTotals totals = source_.counters();
  source_.take([&](const EventRecord& record) { Take(record, *tables); });
  log_.Flush();
  CountLeftOut(totals);
  changed_.notify_all();
}

void EventFeed::Take(const EventRecord& record, const Tables& t) {
  const NamedEvent named = names_.Name(record, t);
  switch (named.kind) {
    case EventKind::kVerdict:
      return log_.Write(named, verdicts_left_out_);
    case EventKind::kDrop:
      ++seen_[static_cast<size_t>(named.reason)];
      break;
    case EventKind::kCut:
      break;
  }
  const std::lock_guard lock(mutex_);
  Remember(named);
  for (Watcher* w : watchers_) {
    if (!w->filter_.Matches(named)) continue;
    if (w->queue_.size() == kQueue) {
      ++w->lost_;
    } else {
      w->queue_.push_back(named);
    }
  }
}

void EventFeed::Remember(const NamedEvent& e) {
  if (e.kind == EventKind::kCut) {
    const std::string policies = absl::StrJoin(e.denial().isolating, ", ");
    const bool known = !policies.empty() && (cuts_.contains(policies) || cuts_.size() < kMaxCuts);
    if (known) ++cuts_[policies];
  } else if (e.is_policy() && !e.pod.empty()) {
    if (denials_.size() >= kMaxDenials) denials_.clear();
    denials_.insert_or_assign({e.pod, e.reason}, e);
  }
}

/// The counters know of all. A worker counts before it tells, so what was counted before this round's events
/// were taken, and is not among them, left none; but for what lies between the two, which the next round
/// sees.
void EventFeed::CountLeftOut(const CounterTotals& totals) {
  DropCounts more{};
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    const uint64_t left_out = totals.drops[i] > seen_[i] ? totals.drops[i] - seen_[i] : 0;
    more[i] = left_out > left_out_[i] ? left_out - left_out_[i] : 0;
    left_out_[i] += more[i];
  }
  const std::lock_guard lock(mutex_);
  cuts_counted_ = totals.Get(Counter::kConnectionsCut);
  for (Watcher* w : watchers_) {
    w->left_out_ += w->filter_.reason ? more[static_cast<size_t>(*w->filter_.reason)]
                                      : std::accumulate(more.begin(), more.end(), uint64_t{0});
  }
}

absl::StatusOr<std::unique_ptr<EventFeed::Watcher>> EventFeed::Watch(EventFilter filter) {
  std::unique_ptr<Watcher> watcher(new Watcher(*this, std::move(filter)));
  const std::lock_guard lock(mutex_);
  if (watchers_.size() >= kMaxWatchers) {
    return Error(absl::StatusCode::kResourceExhausted, "{} watch drops already, as many as may",
                 kMaxWatchers);
  }
  watchers_.insert(watcher.get());
  source_.watch(true);
  return watcher;
}

std::optional<NamedEvent> EventFeed::LastDenial(const std::string& pod, DropReason reason) const {
  const std::lock_guard lock(mutex_);
  const auto it = denials_.find({pod, reason});
  return it == denials_.end() ? std::nullopt : std::optional(it->second);
}

std::map<std::string, uint64_t> EventFeed::Cuts() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, uint64_t> cuts = cuts_;
  uint64_t known = 0;
  for (const auto& [policies, connections] : cuts_) known += connections;
  if (cuts_counted_ > known) cuts[""] = cuts_counted_ - known;
  return cuts;
}

EventFeed::Watcher::~Watcher() {
  const std::lock_guard lock(feed_.mutex_);
  feed_.watchers_.erase(this);
  if (feed_.watchers_.empty()) feed_.source_.watch(false);
}

WatchBatch EventFeed::Watcher::Wait(std::chrono::milliseconds limit) {
  std::unique_lock lock(feed_.mutex_);
  feed_.changed_.wait_for(lock, limit, [this] { return feed_.closed_ || !queue_.empty(); });
  WatchBatch batch{.events = {std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.end())},
                   .lost = std::exchange(lost_, 0),
                   .left_out = std::exchange(left_out_, 0),
                   .closed = feed_.closed_};
  queue_.clear();
  return batch;
}

}  // namespace podwire
