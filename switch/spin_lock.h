#pragma once

#include <sched.h>

#include <cstdint>

#include <rte_pause.h>
#include <rte_spinlock.h>

namespace podwire {

/// rte_spinlock as a C++ Lockable, for std::lock_guard. Held for a few hundred instructions at most; a thread
/// that has waited for much longer gives its core away, in case the holder was put off the same core.
class SpinLock {
 public:
  void lock() noexcept {
    for (uint32_t waited = 0; !try_lock(); ++waited) {
      if (waited < kPatience) {
        rte_pause();
      } else {
        sched_yield();
      }
    }
  }
  bool try_lock() noexcept {
    return rte_spinlock_is_locked(&lock_) == 0 && rte_spinlock_trylock(&lock_) == 1;
  }
  void unlock() noexcept { rte_spinlock_unlock(&lock_); }

 private:
  static constexpr uint32_t kPatience = 1000;
  rte_spinlock_t lock_ = RTE_SPINLOCK_INITIALIZER;
};

}  // namespace podwire
