#pragma once

#include <atomic>
#include <memory>
#include <string>

struct rte_device;

namespace podwire {

/// Knows when the machine wants a device back: the kernel asks by vfio before it removes one (sriov_numvfs,
/// unbind, hot-unplug) and waits until it is closed. Made and destroyed on a control thread.
class DeviceWatch {
 public:
  explicit DeviceWatch(const rte_device& device);
  ~DeviceWatch();
  DeviceWatch(const DeviceWatch&) = delete;
  DeviceWatch& operator=(const DeviceWatch&) = delete;

  /// Any thread.
  bool removed() const { return removed_.load(std::memory_order_relaxed); }

 private:
  std::string device_;
  std::atomic<bool> removed_{false};  ///< written by DPDK's interrupt thread
};

}  // namespace podwire
