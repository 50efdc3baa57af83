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

  /// Control threads. `wake` brings a sleeping worker round. False, and `fn` was not run, when the mailbox is
  /// closed.
  template <class Wake>
  bool Run(Function fn, Wake&& wake) {
    const std::lock_guard lock(mutex_);
    done_.store(false, std::memory_order_relaxed);
    pending_.store(&fn, std::memory_order_seq_cst);
    // Either this sees that it is closed, or Close sees the function.
    if (closed_.load(std::memory_order_seq_cst) && pending_.exchange(nullptr) != nullptr) return false;
    wake();
    done_.wait(false, std::memory_order_acquire);
    return true;
  }

  /// The worker, once a loop.
  void Poll(Context& context) {
    if (pending_.load(std::memory_order_relaxed) == nullptr) return;
    const Function* fn = pending_.exchange(nullptr, std::memory_order_seq_cst);
    if (fn == nullptr) return;
    (*fn)(context);
    done_.store(true, std::memory_order_release);
    done_.notify_one();
  }

  /// When the worker has polled for the last time: who waits gets a turn, who comes later is refused.
  void Close(Context& context) {
    closed_.store(true, std::memory_order_seq_cst);
    if (pending_.load(std::memory_order_seq_cst) != nullptr) Poll(context);
  }

 private:
  std::mutex mutex_;
  std::atomic<const Function*> pending_{nullptr};
  std::atomic<bool> done_{true};
  std::atomic<bool> closed_{false};
};

}  // namespace podwire
