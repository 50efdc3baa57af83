#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "net/address.h"

namespace podwire {

/// A next hop of the pod and the MAC address that the pod finds it at, for ever: it never asks.
struct PodGateway {
  IpAddress address;
  MacAddr mac;
};

/// What a pod's network namespace is to look like once the interface itself exists.
struct PodInterface {
  std::string netns;  ///< path; empty: this process's own namespace
  std::string ifname;
  MacAddr mac;
  uint16_t mtu = 1500;                      ///< bytes of L3
  std::vector<InterfaceAddress> addresses;  ///< normally /32 and /128
  std::vector<PodGateway> gateways;         ///< at most one a family
  /// Destinations reached through their family's gateway. Empty: everything, by every gateway.
  std::vector<IpPrefix> routes;
};

/// The routes through gateways that `pod` asks for: its own, else a default route for each gateway's family.
std::vector<IpPrefix> GatewayRoutes(const PodInterface& pod);

/// Brings the interface and lo up with MAC, MTU, addresses, a link route to each gateway, routes through them
/// (onlink) and permanent neighbour entries. IPv6: no autoconfiguration, no duplicate address detection, and
/// off altogether in a pod without an IPv6 address. What already is as asked stays, so it may be called
/// again. On failure what this call added is taken back (lo stays up). NotFound: no such namespace or
/// interface.
absl::Status SetUpPodInterface(const PodInterface& pod);

/// OK, or FailedPrecondition that names each thing that differs: namespace or interface missing, down, MAC,
/// MTU, address, route, neighbour.
absl::Status CheckPodInterface(const PodInterface& pod);

/// Whether the namespace has an interface of this name; NotFound when the namespace is gone.
absl::StatusOr<bool> InterfaceExists(const std::string& netns, const std::string& ifname);

/// What a tap's interface is called besides its name, so that it is known again: another pod's, or one that
/// is not podwire's at all, may have the same name by now.
std::string InterfaceAlias(const std::string& port);

/// Removes the interface of the tap `port`. OK when it, or its whole namespace, is gone already, or when
/// something else has its name now: that stays.
absl::Status RemoveInterface(const std::string& netns, const std::string& ifname, const std::string& port);

/// InvalidArgument unless the kernel takes `name` for an interface (1-15 bytes, no '/', ':', '%' or white
/// space).
absl::Status CheckInterfaceName(const std::string& name);

}  // namespace podwire
