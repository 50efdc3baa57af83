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

}  // namespace podwire
