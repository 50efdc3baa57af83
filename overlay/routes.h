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

/// This node's place on the underlay.
struct LocalUnderlay {
  std::string node;
  InterfaceAddress address;          ///< "192.0.2.1/24"
  std::optional<IpAddress> gateway;  ///< on-link; peers elsewhere are behind it
  uint16_t mtu = 1500;               ///< L3 bytes
  MacAddr mac;                       ///< of the underlay port
  MacAddr vtep_mac;
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
/// encapsulation.
uint16_t PodMtu(const NetConf& conf, uint16_t underlay_mtu);

/// Routes to the other nodes' subnets by the backend's rules: vxlan (with DirectRouting: peers on the
/// underlay's own subnet directly), host-gw (peers on that subnet only), udp; also the underlay's connected
/// route and the default route, so that pods reach hosts beyond the cluster (not translated). Pure; the order
/// of `nodes` does not matter.
RoutePlan BuildRoutes(const LocalUnderlay& self, const NetConf& conf, std::span<const Node> nodes);

}  // namespace podwire
