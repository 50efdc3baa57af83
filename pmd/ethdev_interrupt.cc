// Receive interrupts: how a worker sleeps on a DPDK device.
#include <atomic>

#include <rte_ethdev.h>

#include "pmd/eal_log.h"
#include "pmd/ethdev_port.h"

namespace podwire {

/// Tries them: a driver may have descriptors and no way to switch them on.
void EthdevPort::FindInterrupts() noexcept {
  const EalLogCapture capture;  // that there are none is no error
  for (uint16_t q = 0; q < rx_queues_; ++q) {
    const int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(device_.port(), q);
    if (fd < 0 || rte_eth_dev_rx_intr_enable(device_.port(), q) != 0) continue;
    rte_eth_dev_rx_intr_disable(device_.port(), q);
    rx_[q].interrupt_fd = fd;
  }
}

bool EthdevPort::ArmRx(uint16_t queue) noexcept {
  if (rx_[queue].interrupt_fd < 0) return false;
  rte_spinlock_lock(&interrupt_lock_);
  const bool armed = rte_eth_dev_rx_intr_enable(device_.port(), queue) == 0;
  rte_spinlock_unlock(&interrupt_lock_);
  // The caller's look at the queue comes after the device can know.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return armed;
}

void EthdevPort::DisarmRx(uint16_t queue) noexcept {
  rte_spinlock_lock(&interrupt_lock_);
  rte_eth_dev_rx_intr_disable(device_.port(), queue);
  rte_spinlock_unlock(&interrupt_lock_);
}

}  // namespace podwire
