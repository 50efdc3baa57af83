#include "pmd/shared_netdev.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "net/status.h"
#include "pmd/bpf/uplink_rules.h"
#include "pmd/netlink.h"
#include "pmd/xsk_queue.h"

namespace podwire {
namespace {

/// Receive queues in use; what the kernel has made room for where the driver does not tell.
absl::StatusOr<uint32_t> ReceiveQueues(int socket, const NetdevInfo& netdev) {
  ethtool_channels channels = {};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request = {};
  netdev.name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (ioctl(socket, SIOCETHTOOL, &request) == 0) return channels.rx_count + channels.combined_count;
  ASSIGN_OR_RETURN(const NlSocket netlink, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(netlink.get(), netdev.name));
  return rtnl_link_get_num_rx_queues(link.get());
}

/// A frame on a queue without a socket would be lost, so there is one for each.
absl::StatusOr<uint16_t> QueuesToOpen(int socket, const NetdevInfo& netdev, uint16_t wanted) {
  ASSIGN_OR_RETURN(const uint32_t queues, ReceiveQueues(socket, netdev));
  const bool good = queues >= 1 && queues <= UPLINK_MAX_QUEUES && (wanted == 0 || wanted == queues);
  if (good) return static_cast<uint16_t>(queues);
  return Error(absl::StatusCode::kFailedPrecondition,
               "{} has {} receive queues, and AF_XDP needs a socket on each: ethtool -L {} combined {}, "
               "\"queues\": {}, or mode af_packet",
               netdev.name, queues, netdev.name, wanted == 0 ? UPLINK_MAX_QUEUES : wanted, queues);
}

absl::Status CheckMtu(const NetdevInfo& netdev) {
  if (netdev.mtu <= XskQueue::kMaxMtu) return absl::OkStatus();
  return Error(absl::StatusCode::kFailedPrecondition,
               "the MTU of {} is {}, and AF_XDP takes {} at most: mode af_packet, or ip link set {} mtu {}",
               netdev.name, netdev.mtu, XskQueue::kMaxMtu, netdev.name, XskQueue::kMaxMtu);
}

PortOr OpenXdp(const PortConfig& config, const NetdevOptions& options, const PortContext& context, int socket,
               const NetdevInfo& netdev) {
  RETURN_IF_ERROR(CheckMtu(netdev));
  ASSIGN_OR_RETURN(const uint16_t queues, QueuesToOpen(socket, netdev, options.queues));
  ASSIGN_OR_RETURN(auto filter, UplinkFilter::Load(netdev, UplinkFilter::Way::kXdp));
  return CreateXdpPort(config, context, netdev, std::move(filter), queues, options.mode == SharedMode::kAuto);
}

PortOr OpenPacket(const PortConfig& config, const PortContext& context, const NetdevInfo& netdev) {
  ASSIGN_OR_RETURN(auto filter, UplinkFilter::Load(netdev, UplinkFilter::Way::kPacket));
  RETURN_IF_ERROR(filter->DropAtIngress());
  return CreatePacketPort(config, context, netdev.name, std::move(filter));
}

PortOr Annotated(PortOr port, const NetdevInfo& netdev, const char* mode) {
  if (port.ok()) return port;
  return Annotate(port.status(), fmt::format("interface {}: {}", netdev.name, mode));
}

}  // namespace

PortOr CreateSharedNetdevPort(const PortConfig& config, const NetdevOptions& options,
                              const PortContext& context) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "socket");
  ASSIGN_OR_RETURN(const NetdevInfo netdev, FindNetdev(fd.get(), options.interface));
  if (options.mode != SharedMode::kAfPacket) {
    PortOr port = OpenXdp(config, options, context, fd.get(), netdev);
    if (port.ok() || options.mode == SharedMode::kAfXdp) return Annotated(std::move(port), netdev, "af_xdp");
  }
  return Annotated(OpenPacket(config, context, netdev), netdev, "af_packet");
}

}  // namespace podwire
