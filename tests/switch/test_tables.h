#pragma once

#include "switch/parse.h"
#include "switch/tables.h"
#include "tests/switch/packet_builder.h"

namespace podwire::testing {

inline constexpr PortId kPodPort{0}, kPodPortB{1}, kUnderlayPort{2}, kFreePort{3};

/// MAC addresses of the test node, its pods and its peer.
inline const MacAddr kGatewayMac = Mac("02:00:00:00:00:01");
inline const MacAddr kPodMac = Mac("02:00:00:00:00:0a");
inline const MacAddr kPodMacB = Mac("02:00:00:00:00:0b");
inline const MacAddr kUnderlayMac = Mac("02:00:00:00:01:01");
inline const MacAddr kVtepMac = Mac("02:00:00:00:02:01");
inline const MacAddr kPeerMac = Mac("02:00:00:00:01:09");
inline const MacAddr kPeerVtepMac = Mac("02:00:00:00:02:09");
inline const MacAddr kBroadcastMac = Mac("ff:ff:ff:ff:ff:ff");

/// A node 192.0.2.1/24 with the pods 10.244.1.2 (port 0) and 10.244.1.3 (port 1), gateway 10.244.1.1, VNI 1
/// on UDP port 8472, and one peer, 192.0.2.9. The same in IPv6: node 2001:db8::1/64, pods 2001:db8:1::2 and
/// ::3, gateway 2001:db8:1::1, peer 2001:db8::9.
Tables TestTables();

/// Parses one frame. The mbuf stays the caller's. Fails the test if the frame is of the other family.
Packet ParseOne(const Tables& tables, const MbufPtr& m, PortId in_port);
Packet ParseOne(const Tables& tables, rte_mbuf* m, PortId in_port);
Packet6 ParseOne6(const Tables& tables, const MbufPtr& m, PortId in_port);

/// A frame from the pod on kPodPort to the gateway's MAC.
inline Frame FromPod() { return Frame().Eth(kGatewayMac, kPodMac); }
/// A frame from the peer node to this one.
inline Frame FromPeer() { return Frame().Eth(kUnderlayMac, kPeerMac); }
/// The peer's VXLAN headers up to the inner Ethernet.
inline Frame FromTunnel(const Ipv4Fields& outer = {}) {
  return FromPeer()
      .Ip4("192.0.2.9", "192.0.2.1", outer)
      .Udp(50000, 8472)
      .Vxlan(1)
      .Eth(kVtepMac, kPeerVtepMac);
}

/// The same over IPv6.
inline Frame FromTunnel6(const Ipv6Fields& outer = {}) {
  return FromPeer()
      .Ip6("2001:db8::9", "2001:db8::1", outer)
      .Udp(50000, 8472)
      .Vxlan(1)
      .Eth(kVtepMac, kPeerVtepMac);
}

}  // namespace podwire::testing
