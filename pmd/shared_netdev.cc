#include "pmd/shared_netdev.h"

#include <sys/socket.h>

#include <cerrno>

#include "net/status.h"
#include "pmd/bpf/uplink_rules.h"
#include "pmd/xsk_queue.h"

namespace podwire {
namespace {

/// A frame on a queue without a socket would be lost, so there is one for each.
absl::StatusOr<QueueCounts> QueuesToOpen(int socket, const NetdevInfo& netdev, uint16_t wanted) {
  ASSIGN_OR_RETURN(const QueueCounts queues, CountQueues(socket, netdev.ifindex));
  const bool good = queues.rx >= 1 && queues.rx <= UPLINK_MAX_QUEUES && (wanted == 0 || wanted == queues.rx);
  if (good) return queues;
  return Error(absl::StatusCode::kFailedPrecondition,
               "{} has {} receive queues, and AF_XDP needs a socket on each: ethtool -L {} combined {}, "
               "\"queues\": {}, or mode af_packet",
               netdev.name, queues.rx, netdev.name, wanted == 0 ? UPLINK_MAX_QUEUES : wanted, queues.rx);
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
  ASSIGN_OR_RETURN(const QueueCounts queues, QueuesToOpen(socket, netdev, options.queues));
  ASSIGN_OR_RETURN(auto filter, UplinkFilter::Load(netdev, UplinkFilter::Way::kXdp));
  return CreateXdpPort(config, context, netdev, std::move(filter), queues, options.mode == SharedMode::kAuto);
}

PortOr OpenPacket(const PortConfig& config, const PortContext& context, const NetdevInfo& netdev,
                  std::string reason) {
  ASSIGN_OR_RETURN(auto filter, UplinkFilter::Load(netdev, UplinkFilter::Way::kPacket));
  RETURN_IF_ERROR(filter->DropAtIngress());
  return CreatePacketPort(config, context, netdev.name, std::move(filter), std::move(reason));
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
  std::string reason;
  if (options.mode != SharedMode::kAfPacket) {
    PortOr port = OpenXdp(config, options, context, fd.get(), netdev);
    if (port.ok() || options.mode == SharedMode::kAfXdp) return Annotated(std::move(port), netdev, "af_xdp");
    reason = "af_xdp: " + Message(port.status());
  }
  return Annotated(OpenPacket(config, context, netdev, std::move(reason)), netdev, "af_packet");
}

}  // namespace podwire
