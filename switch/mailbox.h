#pragma once

#include <atomic>
#include <functional>
#include <mutex>

namespace podwire {

/// Lets a control thread run a short function on a worker between two bursts, and wait for it.
template <class Context>
class Mailbox {
 public:
  using Function = std::function<void(Context&)>;

  /// Control threads. `wake` brings a sleeping worker round. The worker must be running.
  template <class Wake>
  void Run(Function fn, Wake&& wake) {
    const std::lock_guard lock(mutex_);
    done_.store(false, std::memory_order_relaxed);
    pending_.store(&fn, std::memory_order_release);
    wake();
    done_.wait(false, std::memory_order_acquire);
  }

  /// The worker, once a loop.
  void Poll(Context& context) {
    if (pending_.load(std::memory_order_relaxed) == nullptr) return;
    const Function* fn = pending_.exchange(nullptr, std::memory_order_acquire);
    (*fn)(context);
    done_.store(true, std::memory_order_release);
    done_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::atomic<const Function*> pending_{nullptr};
  std::atomic<bool> done_{true};
};

}  // namespace podwire
