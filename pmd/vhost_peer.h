#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include <absl/status/statusor.h>
#include <rte_ethdev.h>

namespace podwire {

/// What the peer of a vhost-user port has negotiated (virtio 1.1, 5.1.3) and which queues it has enabled,
/// kept up as peers come and go. Guests and virtio-user pods differ, and the next on the same socket may be
/// another.
class VhostPeer {
 public:
  /// Keeps `tx_offloads` (RTE_ETH_TX_OFFLOAD_*) at what the peer takes, and `tx_queues` at the number of
  /// queues that it receives from, 1 to `max_queues`. Both must outlive the result; workers read them.
  /// Control thread, before the device is configured.
  static absl::StatusOr<std::unique_ptr<VhostPeer>> Watch(uint16_t port, uint16_t max_queues,
                                                          std::atomic<uint64_t>& tx_offloads,
                                                          std::atomic<uint16_t>& tx_queues);
  /// Once the device is started: a peer may have come before its queues were there. Control thread.
  void Refresh();
  ~VhostPeer();
  VhostPeer(const VhostPeer&) = delete;
  VhostPeer& operator=(const VhostPeer&) = delete;

 private:
  VhostPeer(uint16_t port, uint16_t max_queues, std::atomic<uint64_t>& tx_offloads,
            std::atomic<uint16_t>& tx_queues)
      : port_(port), max_queues_(max_queues), tx_offloads_(tx_offloads), tx_queues_(tx_queues) {}
  static int OnEvent(uint16_t port, rte_eth_event_type type, void* self, void* unused);
  void LinkChanged();
  void QueuesChanged();

  const uint16_t port_;
  const uint16_t max_queues_;
  std::atomic<uint64_t>& tx_offloads_;
  std::atomic<uint16_t>& tx_queues_;
  std::mutex mutex_;      ///< librte_vhost's thread and control: what follows, and writes of the above
  uint64_t enabled_ = 0;  ///< a bit for each transmit queue
};

}  // namespace podwire
