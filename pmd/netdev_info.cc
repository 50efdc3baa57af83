#include "pmd/netdev_info.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/status.h"
#include "pmd/netlink.h"

namespace podwire {

absl::StatusOr<NetdevInfo> FindNetdev(int socket, const std::string& interface) {
  ifreq request = {};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  NetdevInfo netdev{.name = interface, .mac = {}};
  if (ioctl(socket, SIOCGIFINDEX, &request) < 0) return ErrnoError(errno, "interface {}", interface);
  netdev.ifindex = request.ifr_ifindex;
  if (ioctl(socket, SIOCGIFFLAGS, &request) < 0) return ErrnoError(errno, "interface {}", interface);
  if ((request.ifr_flags & IFF_UP) == 0) {
    return Error(absl::StatusCode::kFailedPrecondition, "interface {0} is down: ip link set {0} up",
                 interface);
  }
  if (ioctl(socket, SIOCGIFHWADDR, &request) < 0) return ErrnoError(errno, "interface {}", interface);
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return InvalidArgument("interface {} is not Ethernet", interface);
  }
  std::memcpy(netdev.mac.bytes.data(), request.ifr_hwaddr.sa_data, sizeof(MacAddr));
  if (ioctl(socket, SIOCGIFMTU, &request) < 0) return ErrnoError(errno, "interface {}", interface);
  netdev.mtu = static_cast<uint16_t>(std::min(request.ifr_mtu, 65535));
  return netdev;
}

absl::StatusOr<QueueCounts> CountQueues(int socket, int ifindex) {
  ifreq request = {};
  request.ifr_ifindex = ifindex;
  if (ioctl(socket, SIOCGIFNAME, &request) < 0) return ErrnoError(errno, "the interface's name");
  const std::string name(request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ));
  ethtool_channels channels = {};
  channels.cmd = ETHTOOL_GCHANNELS;
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (ioctl(socket, SIOCETHTOOL, &request) == 0) {
    return QueueCounts{.rx = channels.rx_count + channels.combined_count,
                       .tx = channels.tx_count + channels.combined_count};
  }
  ASSIGN_OR_RETURN(const NlSocket netlink, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(netlink.get(), name));
  return QueueCounts{.rx = rtnl_link_get_num_rx_queues(link.get()),
                     .tx = rtnl_link_get_num_tx_queues(link.get())};
}

bool HasLink(int socket, int ifindex) {
  ifreq request = {};
  request.ifr_ifindex = ifindex;
  if (ioctl(socket, SIOCGIFNAME, &request) < 0) return false;
  // Not IFF_RUNNING, which follows the carrier up to a second later.
  ethtool_value carrier = {.cmd = ETHTOOL_GLINK, .data = 0};
  request.ifr_data = reinterpret_cast<char*>(&carrier);
  return ioctl(socket, SIOCETHTOOL, &request) == 0 && carrier.data != 0;
}

std::string VanishedNetdev(int socket, int ifindex) {
  ifreq request = {};
  request.ifr_ifindex = ifindex;
  const bool there = ioctl(socket, SIOCGIFNAME, &request) == 0 || errno != ENODEV;
  return there ? "" : "its interface was removed";
}

std::string VanishedShared(int socket, const NetdevInfo& netdev) {
  std::string why = VanishedNetdev(socket, netdev.ifindex);
  if (!why.empty()) return why;
  ifreq request = {};
  request.ifr_ifindex = netdev.ifindex;
  if (ioctl(socket, SIOCGIFNAME, &request) < 0 || ioctl(socket, SIOCGIFHWADDR, &request) < 0) return "";
  const bool same =
      std::memcmp(netdev.mac.bytes.data(), request.ifr_hwaddr.sa_data, netdev.mac.bytes.size()) == 0;
  return same ? "" : "its interface has another MAC";
}

}  // namespace podwire
