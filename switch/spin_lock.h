#pragma once

#include <rte_spinlock.h>

namespace podwire {

/// rte_spinlock as a C++ Lockable, for std::lock_guard.
class SpinLock {
 public:
  void lock() noexcept { rte_spinlock_lock(&lock_); }
  bool try_lock() noexcept { return rte_spinlock_trylock(&lock_) == 1; }
  void unlock() noexcept { rte_spinlock_unlock(&lock_); }

 private:
  rte_spinlock_t lock_ = RTE_SPINLOCK_INITIALIZER;
};

}  // namespace podwire
