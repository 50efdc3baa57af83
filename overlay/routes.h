#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/address.h"
#include "overlay/net_conf.h"
#include "overlay/next_hop.h"
#include "overlay/node.h"

namespace podwire {

/// A route of the kernel's by the underlay's interface.
struct UnderlayRoute {
  IpPrefix prefix;
  IpAddress gateway;
  bool operator==(const UnderlayRoute&) const = default;
};

/// This node's place on the underlay.
struct LocalUnderlay {
  std::string node;
  InterfaceAddress address;          ///< "192.0.2.1/24"; empty: no IPv4
  std::optional<IpAddress> gateway;  ///< on-link; peers elsewhere are behind it
  uint16_t mtu = 1500;               ///< L3 bytes
  MacAddr mac;                       ///< of the underlay port
  MacAddr vtep_mac;
  InterfaceAddress address6{};  ///< "2001:db8::1/64"; empty: no IPv6
  std::optional<IpAddress> gateway6{};
  /// What is beyond the underlay's subnets, by families that have no gateway above.
  std::span<const UnderlayRoute> routes{};
};

struct Route {
  IpPrefix prefix;
  size_t next_hop = 0;  ///< index into RoutePlan::next_hops
  std::string why;      ///< "node node-b by vxlan"
};

struct RoutePlan {
  std::vector<NextHop> next_hops;
  std::vector<Route> routes;          ///< sorted by prefix
  std::vector<IpAddress> vteps;       ///< outer sources from which tunnel packets are accepted
  std::vector<std::string> warnings;  ///< peers without a route, each with the cure
};

/// L3 bytes that a pod may send, by flannel's arithmetic: the underlay's MTU (or Backend.MTU) less the
/// encapsulation. `over_ipv6`: some tunnels are over IPv6 (TunnelsOverIpv6), whose headers are longer.
uint16_t PodMtu(const NetConf& conf, uint16_t underlay_mtu, bool over_ipv6 = false);

/// Whether VXLAN packets may have an outer IPv6 header on an underlay of these families.
bool TunnelsOverIpv6(const NetConf& conf, bool underlay_has_v4, bool underlay_has_v6);

/// Routes to the other nodes' subnets by the backend's rules: vxlan (with DirectRouting: peers on the
/// underlay's own subnet directly), host-gw (peers on that subnet only), udp (IPv4 only); also the underlay's
/// connected routes and default routes, so that pods reach hosts beyond the cluster (not translated).
///
/// A subnet is reached over the underlay's own family: IPv6 pods by the peer's public-ipv6 and the VtepMAC of
/// its backend-v6-data, as flannel does in dual stack. Where this node or the peer has no such address,
/// vxlan carries the subnet over the other family. Pure; the order of `nodes` does not matter.
RoutePlan BuildRoutes(const LocalUnderlay& self, const NetConf& conf, std::span<const Node> nodes);

}  // namespace podwire
