#pragma once

#include <cstdint>
#include <vector>

#include "pmd/fd.h"
#include "pmd/netns_identity.h"
#include "pmd/port.h"
#include "pmd/port_counters.h"

namespace podwire {

/// A pod's share of a port that carries many pods (a trunk): what is sent here leaves by the trunk, with the
/// member's VLAN tag if it has one. It receives nothing itself: whoever receives from the trunk tells whose a
/// frame is (switch/trunk_members) and counts it here.
class TrunkMember final : public Port {
 public:
  /// `workers`: threads that transmit. FailedPrecondition: the trunk cannot carry the MTU; NotFound: no such
  /// namespace.
  static absl::StatusOr<std::unique_ptr<TrunkMember>> Create(const PortConfig& config,
                                                             const TrunkMemberOptions& options,
                                                             uint16_t workers);

  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override;
  uint16_t rx_queues() const override { return 0; }
  bool tx_is_shared() const override { return trunk_.tx_is_shared(); }
  MacAddr mac() const override { return trunk_.mac(); }
  bool link_up() const override { return netns_.InUse() && trunk_.link_up(); }
  std::string Vanished() const override;
  PortStats Stats() const override;

  /// A frame of `bytes` came in by the trunk's receive queue `queue`. The thread that has the queue.
  void CountReceived(uint16_t queue, uint32_t bytes) noexcept;

 private:
  TrunkMember(const PortConfig& config, const TrunkMemberOptions& options, uint16_t workers,
              NetnsIdentity netns, Fd socket);
  uint16_t Tag(rte_mbuf** mbufs, uint16_t n, TxCounters& counters) noexcept;

  Port& trunk_;
  const uint16_t vlan_;
  const std::string ifname_;
  const NetnsIdentity netns_;
  const Fd socket_;             ///< of the namespace, which lives as long
  std::vector<RxCounters> rx_;  ///< one a queue of the trunk
  std::vector<TxCounters> tx_;  ///< one a worker
};

}  // namespace podwire
