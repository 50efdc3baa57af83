#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <absl/status/status.h>

namespace podwire {

/// One step of the control plane's work. The functions run on the strand's thread, in this order.
struct Change {
  /// Validates and records; may take long, may not edit. An error ends the change.
  std::function<absl::Status()> prepare;
  /// Edits the state in memory; cannot fail.
  std::function<void()> commit;
  /// Whether the switch must learn of it before Run returns.
  bool publish = true;
  /// After the publication: frees what no worker uses any more.
  std::function<void()> after;
};

/// Runs changes one after another on a thread of its own. Those that wait at the same time share one
/// publication: a storm of them costs as many compilations as fit into its time, not as many as there are
/// changes.
class Strand {
 public:
  /// `edit` wraps each commit (to take a lock); `publish` puts the state in force and returns when it is.
  Strand(std::function<void(const std::function<void()>&)> edit, std::function<void()> publish);
  /// Refuses what still waits (Cancelled).
  ~Strand();

  /// Blocks until the change is in force. Any thread but the strand's own.
  absl::Status Run(Change change);
  /// Publications so far.
  uint64_t publications() const;

 private:
  struct Job {
    Change change;
    absl::Status status;
    bool done = false;
  };
  void Loop();
  void RunBatch(const std::vector<Job*>& batch);
  void Finish(const std::vector<Job*>& jobs);

  const std::function<void(const std::function<void()>&)> edit_;
  const std::function<void()> publish_;
  mutable std::mutex mutex_;
  std::condition_variable work_, done_;
  std::vector<Job*> queue_;    // under mutex_
  bool stopping_ = false;      // under mutex_
  uint64_t publications_ = 0;  // under mutex_
  std::thread thread_;
};

}  // namespace podwire
