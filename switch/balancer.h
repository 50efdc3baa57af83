#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "switch/poll_plan.h"

namespace podwire {

/// A queue with the share of its worker's time that its packets take.
struct QueueLoad {
  PortId port;
  uint16_t queue = 0;
  uint16_t worker = kNoWorker;
  double permille = 0;
  bool fixed = false;  ///< moved a short while ago: not again so soon
};

/// The move that takes most from the busiest worker, if it pays: the busiest and the idlest worker are
/// kMinGap apart, and the busier of the two has kMinGain less afterwards. Moves back and forth cannot pay.
struct BalanceLimits {
  double min_gap = 200;   ///< permille of a worker
  double min_gain = 100;  ///< permille of a worker
};
std::optional<QueueMove> BestMove(std::span<const QueueLoad> queues, std::span<const uint16_t> workers,
                                  BalanceLimits limits = {});

/// Measures the queues' load round by round and says which queue should move. One thread.
class Balancer {
 public:
  static constexpr uint32_t kHoldRounds = 5;  ///< a queue that moved stays for so many

  struct WorkerBusy {
    uint16_t worker = 0;
    double permille = 0;  ///< of the last round that went into packets
  };
  /// Once a round, of a second or so. Loads are averaged over about two rounds.
  std::optional<QueueMove> Round(const PollPlan& plan, std::span<const WorkerBusy> workers);

 private:
  struct Queue {
    std::shared_ptr<QueueCounter> counter;  // held, so that no other queue's gets its address
    uint64_t packets = 0;
    double permille = 0;
    uint16_t worker = kNoWorker;
    uint32_t hold = 0;
    bool measured = false;
  };
  using Key = std::pair<uint16_t, uint16_t>;  // port, queue
  void Measure(const PollPlan& plan, std::span<const WorkerBusy> workers);

  std::map<Key, Queue> queues_;
};

}  // namespace podwire
