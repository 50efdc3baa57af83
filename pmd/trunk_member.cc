#include "pmd/trunk_member.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include <rte_ether.h>

#include "net/status.h"
#include "pmd/netns.h"
#include "pmd/offload.h"
#include "pmd/owned_counter.h"
#include "pmd/port_kinds.h"

namespace podwire {
namespace {

/// Puts an 802.1Q tag into the frame itself, which every device can send. False: no room for it.
bool InsertTag(rte_mbuf*& m, uint16_t vlan) noexcept {
  m->vlan_tci = vlan;
  if (rte_vlan_insert(&m) != 0) return false;
  Offload& offload = OffloadOf(*m);
  if (offload.needs_csum()) offload.csum_start = static_cast<uint16_t>(offload.csum_start + RTE_VLAN_HLEN);
  return true;
}

}  // namespace

TrunkMember::TrunkMember(const PortConfig& config, const TrunkMemberOptions& options, uint16_t workers,
                         NetnsIdentity netns, Fd socket)
    : Port(config),
      trunk_(*options.trunk),
      vlan_(options.vlan),
      ifname_(options.ifname),
      netns_(std::move(netns)),
      socket_(std::move(socket)),
      rx_(options.trunk->rx_queues()),
      tx_(workers) {}

absl::StatusOr<std::unique_ptr<TrunkMember>> TrunkMember::Create(const PortConfig& config,
                                                                 const TrunkMemberOptions& options,
                                                                 uint16_t workers) {
  if (options.trunk == nullptr) return InvalidArgument("a trunk's member needs the trunk");
  if (options.vlan > kMaxVlan)
    return InvalidArgument("vlan: {} is not within 1 to {}", options.vlan, kMaxVlan);
  if (options.vlan == 0 && options.mac.empty())
    return InvalidArgument("a trunk's member needs a VLAN or a MAC address to be told by");
  if (config.mtu > options.trunk->mtu()) {
    return Error(absl::StatusCode::kFailedPrecondition, "mtu: the trunk {} carries at most {}, not {}",
                 options.trunk->name(), options.trunk->mtu(), config.mtu);
  }
  ASSIGN_OR_RETURN(const NetnsFd netns, OpenNetns(options.netns));
  ASSIGN_OR_RETURN(NetnsIdentity identity, NetnsIdentity::Of(netns, options.netns));
  Fd fd;
  RETURN_IF_ERROR(RunInNetns(netns, [&] {
    fd = Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return fd.valid() ? absl::OkStatus() : ErrnoError(errno, "socket in {}", options.netns);
  }));
  return std::unique_ptr<TrunkMember>(
      new TrunkMember(config, options, workers, std::move(identity), std::move(fd)));
}

/// Tags the frames and moves those that cannot be to the end, where they are freed. How many are left.
uint16_t TrunkMember::Tag(rte_mbuf** mbufs, uint16_t n, TxCounters& counters) noexcept {
  uint16_t tagged = 0;
  for (uint16_t i = 0; i < n; ++i) {
    if (InsertTag(mbufs[i], vlan_)) {
      mbufs[tagged++] = mbufs[i];
    } else {
      rte_pktmbuf_free(mbufs[i]);
      Add(counters.errors, 1);
    }
  }
  return tagged;
}

uint16_t TrunkMember::TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept {
  TxCounters& counters = tx_[queue];
  const uint16_t ready = vlan_ == 0 ? n : Tag(mbufs, n, counters);
  uint64_t bytes = 0;  // before the burst: the trunk owns the mbufs after it
  for (uint16_t i = 0; i < ready; ++i) bytes += mbufs[i]->pkt_len;
  const uint16_t sent = trunk_.TxBurst(queue, mbufs, ready);
  for (uint16_t i = sent; i < ready; ++i) bytes -= mbufs[i]->pkt_len;
  Add(counters.packets, sent);
  Add(counters.bytes, bytes);
  // Those freed come first in the count, for the caller keeps the last ones.
  const auto freed = static_cast<uint16_t>(n - ready);
  for (uint16_t i = ready; i > sent && freed != 0; --i) mbufs[i - 1 + freed] = mbufs[i - 1];
  return static_cast<uint16_t>(sent + freed);
}

std::string TrunkMember::Vanished() const {
  if (!netns_.InUse()) return "its network namespace is no more";
  ifreq request = {};
  ifname_.copy(request.ifr_name, IFNAMSIZ - 1);
  if (!ifname_.empty() && ioctl(socket_.get(), SIOCGIFINDEX, &request) != 0 && errno == ENODEV)
    return "its interface was removed";
  const std::string of_trunk = trunk_.Vanished();
  return of_trunk.empty() ? "" : fmt::format("its trunk {} is gone: {}", trunk_.name(), of_trunk);
}

void TrunkMember::CountReceived(uint16_t queue, uint32_t bytes) noexcept {
  Add(rx_[queue].packets, 1);
  Add(rx_[queue].bytes, bytes);
}

PortStats TrunkMember::Stats() const {
  PortStats stats;
  for (const RxCounters& c : rx_) c.AddTo(stats);
  for (const TxCounters& c : tx_) c.AddTo(stats);
  return stats;
}

PortOr CreateTrunkMember(const PortConfig& config, const TrunkMemberOptions& options,
                         const PortContext& context) {
  ASSIGN_OR_RETURN(auto port, TrunkMember::Create(config, options, context.workers));
  return port;
}

}  // namespace podwire
