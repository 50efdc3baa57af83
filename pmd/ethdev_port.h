#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <rte_spinlock.h>

#include "pmd/device_watch.h"
#include "pmd/flow_engine.h"
#include "pmd/port.h"

struct rte_eth_conf;

namespace podwire {

class EalLogCapture;
class VhostPeer;

struct EthdevOptions {
  std::string devargs;              ///< what rte_dev_probe takes: a PCI address or a virtual device
  uint16_t rx_queues = 1;           ///< cut to what the device has; frames are spread by RSS
  uint16_t tx_queues = UINT16_MAX;  ///< cut to the workers, and to what the device has
  bool promiscuous = false;
  bool vlan_filter = false;  ///< only frames without a tag and those of SetVlan come in, where the device can
  std::optional<MacAddr> mac{};  ///< instead of the device's own
};

/// A probed DPDK device; destruction stops, closes and detaches it.
class EthdevDevice {
 public:
  /// InvalidArgument or FailedPrecondition in DPDK's words; AlreadyExists when the device is in use here.
  static absl::StatusOr<EthdevDevice> Probe(const std::string& devargs);
  EthdevDevice(EthdevDevice&& other) noexcept;
  EthdevDevice& operator=(EthdevDevice&&) = delete;
  ~EthdevDevice();

  uint16_t port() const { return port_; }

 private:
  explicit EthdevDevice(uint16_t port) : port_(port) {}
  uint16_t port_;
};

/// The Port of every DPDK ethdev: physical, virtual and vhost-user. Checksums and TCP segmentation of
/// untunnelled frames are the device's where it offers them; everything else is done in software. Receive
/// interrupts are used where the driver has them.
class EthdevPort final : public Port {
 public:
  static absl::StatusOr<std::unique_ptr<EthdevPort>> Create(const PortConfig& config,
                                                            const EthdevOptions& options,
                                                            const PortContext& context);
  ~EthdevPort() override;

  uint16_t RxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override;
  uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override;
  uint16_t rx_queues() const override { return rx_queues_; }
  int rx_interrupt_fd(uint16_t queue) const override { return rx_[queue].interrupt_fd; }
  bool ArmRx(uint16_t queue) noexcept override;
  void DisarmRx(uint16_t queue) noexcept override;
  bool tx_is_shared() const override { return tx_is_shared_; }
  MacAddr mac() const override;
  bool link_up() const override;
  std::string Vanished() const override;
  PortStats Stats() const override;
  /// Asks the driver at the first call.
  FlowEngine* flow_engine() override;
  absl::Status SetVlan(uint16_t vlan, bool on) override;

 private:
  /// Written by the thread that holds the queue, read by any.
  struct alignas(64) RxQueue {
    std::atomic<uint64_t> packets{0};
    std::atomic<uint64_t> bytes{0};
    int interrupt_fd = -1;  // fixed once the port is up
  };
  struct alignas(64) TxQueue {
    rte_spinlock_t lock = RTE_SPINLOCK_INITIALIZER;
    std::atomic<uint64_t> packets{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> segments{0};
    std::atomic<uint64_t> errors{0};
  };
  enum class Prepared : uint8_t { kReady, kSegment, kCopy, kBroken };

  EthdevPort(const PortConfig& config, EthdevDevice device, const MbufPools& pools);
  absl::Status Configure(const EthdevOptions& options, const PortContext& context);
  absl::Status Start(const rte_eth_conf& conf);
  absl::Status StartQueues(const EalLogCapture& capture);
  void FindInterrupts() noexcept;
  absl::Status SetMode(const EthdevOptions& options);
  absl::Status SetMac(const MacAddr& mac);

  Prepared Prepare(rte_mbuf& m) const noexcept;
  bool OffloadToDevice(rte_mbuf& m) const noexcept;
  Prepared PrepareSuperPacket(rte_mbuf& m) const noexcept;
  uint16_t SendReady(TxQueue& q, uint16_t queue, rte_mbuf** mbufs, uint16_t n, uint64_t bytes,
                     uint64_t requests) noexcept;
  void SendSegments(TxQueue& q, uint16_t queue, rte_mbuf* packet) noexcept;
  void SendCopy(TxQueue& q, uint16_t queue, rte_mbuf* packet) noexcept;
  void SendSpecial(TxQueue& q, uint16_t queue, rte_mbuf* packet, Prepared how) noexcept;
  uint16_t SendOwned(uint16_t queue, rte_mbuf** frames, uint16_t n) noexcept;
  uint16_t TxLocked(TxQueue& q, uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept;

  const MbufPools& pools_;
  std::unique_ptr<RxQueue[]> rx_;
  std::unique_ptr<TxQueue[]> tx_;
  rte_spinlock_t interrupt_lock_ = RTE_SPINLOCK_INITIALIZER;  ///< drivers share registers between queues
  /// RTE_ETH_TX_OFFLOAD_* in use; of vhost-user what the peer takes, then this and usable_tx_queues_ change.
  std::atomic<uint64_t> tx_offloads_{0};
  std::atomic<uint16_t> usable_tx_queues_{1};
  uint16_t rx_queues_ = 0;
  uint16_t tx_queues_ = 0;
  bool tx_is_shared_ = false;
  bool filters_vlans_ = false;
  std::optional<MacAddr> mac_;  ///< configured; net_pcap cannot be told
  bool is_vhost_ = false;  ///< its RX_L4_CKSUM_NONE means a partial checksum (virtio), not an unknown one
  EthdevDevice device_;
  std::unique_ptr<DeviceWatch> watch_;
  std::unique_ptr<FlowEngine> flow_engine_;  ///< of a driver that has rte_flow
  bool asked_for_flow_engine_ = false;
  std::unique_ptr<VhostPeer> peer_;  ///< of vhost-user; last: gone before its device is closed
};

}  // namespace podwire
