#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "acl/compiled_policy.h"
#include "acl/model.h"
#include "net/address.h"
#include "net/id.h"
#include "net/prefix_map.h"
#include "overlay/next_hop.h"
#include "pmd/port.h"
#include "switch/trunk_members.h"
#include "switch/vtep_set.h"

namespace podwire {

/// Which verdicts on new connections of a pod go into the policy log.
enum class PolicyLogLevel : uint8_t { kOff, kDenied, kAll };

/// A pod's attachment on this node. The slot (EndpointId) is the attachment's for life and not given to
/// another before its connections are gone.
struct Endpoint {
  EndpointId id = kNoEndpoint;
  /// Counts up whenever some verdict of this endpoint may have changed (acl fingerprint) or the slot got a
  /// new owner: connections decided under another version are decided anew at their next packet.
  uint32_t version = 0;
  PortId port = kNoPort;
  MacAddr mac;
  std::vector<IpAddress> addresses;
  NextHopId adjacency = kNoNextHop;  ///< delivers to it
  EndpointPolicy policy;
  ObjectKey pod;         ///< namespace and name
  bool is_host = false;  ///< no pod: the node's own network stack
  PolicyLogLevel policy_log = PolicyLogLevel::kOff;
  bool in_use() const { return port != kNoPort; }
};

/// kTrunk: its frames are its members', each a kPod; kUnderlay's port can be a trunk beside.
enum class PortRole : uint8_t { kNone, kPod, kUnderlay, kTrunk };

/// A port as the workers see it. Parse checks each frame's MACs against it.
struct PortSlot {
  Port* port =
      nullptr;  ///< nullptr: free slot. Owned by control, destroyed a grace period after it left the tables.
  PortRole role = PortRole::kNone;
  EndpointId endpoint = kNoEndpoint;  ///< kPod
  MacAddr
      own_mac;  ///< destination MAC of frames for the switch: pods' gateway MAC, or the underlay port's MAC
  MacAddr peer_mac;  ///< kPod: the only source MAC allowed
  std::string name;
  std::shared_ptr<const TrunkMembers> members;  ///< of a trunk that has some; else null
};

/// Where packets go: the next hop with the port it leaves by. header (Ethernet, or Ethernet to inner
/// Ethernet) is copied in front of the IPv4 packet in one go; the outer destination MAC comes from the
/// neighbour table when `neighbor` says so.
struct Adjacency {
  NextHop hop;
  PortId port = kNoPort;
  bool to_endpoint = false;  ///< delivers to a local pod: header is complete, no neighbour
  EndpointId endpoint = kNoEndpoint;
};

enum class RouteKind : uint8_t { kForward, kSubnetLocal };

struct FibEntry {
  NextHopId next_hop = kNoNextHop;       ///< kForward
  RouteKind kind = RouteKind::kForward;  ///< kSubnetLocal: this node's pod subnet; an address without
                                         ///< endpoint has no route
  std::string why;                       ///< for people: "node node-b by vxlan"
};

/// What the switch knows of itself.
struct LocalNode {
  std::string name;
  std::vector<IpAddress> gateways;  ///< answered to pods: ARP, ICMP echo
  std::vector<IpPrefix> pod_subnets;
  MacAddr gateway_mac;         ///< the same on every pod port
  IpAddress underlay_address;  ///< VTEP; empty: no underlay
  uint8_t underlay_length = 0;
  IpAddress underlay_address6;  ///< IPv6 VTEP; empty: no IPv6 underlay
  uint8_t underlay_length6 = 0;
  PortId underlay_port = kNoPort;
  /// The kernel has the underlay's addresses and answers for them; it also resolves neighbours.
  bool underlay_is_shared = false;
  MacAddr underlay_mac;
  MacAddr vtep_mac;
  Vni vni{1};
  uint16_t tunnel_port_be = 0;  ///< UDP destination port of tunnel packets
  bool tunnel_is_vxlan = true;  ///< else flannel's udp backend
  bool tunnel_enabled = false;
  uint16_t pod_mtu = 1500;
};

/// Everything that decide() works from: an immutable value, built by control, published by one pointer.
struct Tables {
  uint32_t generation = 0;  ///< never 0 once published; counts up
  LocalNode local;
  std::vector<PortSlot> ports;         ///< by PortId
  std::vector<Endpoint> endpoints;     ///< by EndpointId
  std::vector<Adjacency> adjacencies;  ///< by NextHopId
  absl::flat_hash_map<IpAddress, EndpointId> endpoint_by_address;
  PrefixMap<FibEntry> fib;
  VtepSet vteps;                                 ///< outer sources from which tunnel packets are accepted
  std::shared_ptr<const CompiledPolicy> policy;  ///< never null
  bool logs_policy = false;                      ///< some endpoint's policy_log is not kOff

  const Endpoint* EndpointAt(EndpointId id) const {
    return id.value() < endpoints.size() && endpoints[id.value()].in_use() ? &endpoints[id.value()] : nullptr;
  }
  const Endpoint* EndpointOf(const IpAddress& a) const {
    const auto it = endpoint_by_address.find(a);
    return it == endpoint_by_address.end() ? nullptr : EndpointAt(it->second);
  }
};

}  // namespace podwire
