#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include <rte_rcu_qsbr.h>

namespace podwire {

/// Grace periods (DPDK's quiescent-state RCU) for what workers read without locks. Memory is plain, so tests
/// need no EAL.
class Qsbr {
 public:
  explicit Qsbr(uint32_t max_threads) {
    const size_t size = rte_rcu_qsbr_get_memsize(max_threads);
    v_.reset(static_cast<rte_rcu_qsbr*>(std::aligned_alloc(64, (size + 63) / 64 * 64)));
    if (v_ == nullptr || rte_rcu_qsbr_init(v_.get(), max_threads) != 0) throw std::bad_alloc();
  }
  rte_rcu_qsbr* get() const noexcept { return v_.get(); }

  /// Readers: between Register and Unregister, each thread with a number of its own.
  void Register(uint32_t thread) noexcept {
    rte_rcu_qsbr_thread_register(v_.get(), thread);
    Online(thread);
  }
  void Unregister(uint32_t thread) noexcept {
    Offline(thread);
    rte_rcu_qsbr_thread_unregister(v_.get(), thread);
  }
  void Online(uint32_t thread) noexcept { rte_rcu_qsbr_thread_online(v_.get(), thread); }
  void Offline(uint32_t thread) noexcept { rte_rcu_qsbr_thread_offline(v_.get(), thread); }
  void Quiescent(uint32_t thread) noexcept { rte_rcu_qsbr_quiescent(v_.get(), thread); }

  /// Waits until every reader has passed a quiescent state or is offline. Control threads.
  void Synchronize() noexcept { rte_rcu_qsbr_synchronize(v_.get(), RTE_QSBR_THRID_INVALID); }

 private:
  struct Free {
    void operator()(rte_rcu_qsbr* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<rte_rcu_qsbr, Free> v_;
};

}  // namespace podwire
