#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace podwire {

// Every reason once: enumerator, name in counters and CLI, help. The dictionary in docs/troubleshooting.md is
// checked against this list by a test.
#define PODWIRE_DROP_REASONS(X)                                                                            \
  X(kMalformed, "malformed", "a header is cut short or its lengths contradict each other")                 \
  X(kBadChecksum, "bad_checksum",                                                                          \
    "the checksum of the IPv4 header, or of an IPv6 neighbour message, is wrong")                          \
  X(kUnsupportedEthertype, "unsupported_ethertype", "neither IPv4, IPv6 nor ARP")                          \
  X(kIpOptions, "ip_options", "source-route option in the IPv4 header")                                    \
  X(kExtensionHeader, "extension_header", "IPv6 source routing, or too many extension headers")            \
  X(kInvalidNd, "invalid_nd",                                                                              \
    "neighbour discovery that is not as RFC 4861 has it, or is not a pod's to send")                       \
  X(kLinkLocal, "link_local", "from or to an IPv6 link-local address, which is not forwarded")             \
  X(kNotForUs, "not_for_us", "the frame's destination MAC is not the switch's")                            \
  X(kNotOurAddress, "not_our_address",                                                                     \
    "sent to the switch's own gateway or underlay address, which answers pings only")                      \
  X(kSpoofedMac, "spoofed_mac", "a pod sent from a MAC that is not its own")                               \
  X(kSpoofedAddress, "spoofed_address",                                                                    \
    "a pod sent from an address that is not its own, or one of this node's pod addresses came in from "    \
    "outside")                                                                                             \
  X(kUnknownPort, "unknown_port", "came in on a port that no pod or underlay uses")                        \
  X(kUnknownVtep, "unknown_vtep", "a tunnel packet from an address that is no known node's")               \
  X(kUnknownVni, "unknown_vni", "a VXLAN packet of another VNI, or with invalid flags")                    \
  X(kWrongTunnel, "wrong_tunnel",                                                                          \
    "a tunnel packet whose inner destination MAC is not this VTEP's, that holds no IP or is a fragment")   \
  X(kEcnCongested, "ecn_congested",                                                                        \
    "congestion was marked on the outer header of a packet that cannot carry the mark (RFC 6040)")         \
  X(kPolicyDeniedEgress, "policy_denied_egress", "policies of the source pod do not allow it")             \
  X(kPolicyDeniedIngress, "policy_denied_ingress", "policies of the destination pod do not allow it")      \
  X(kNoRoute, "no_route", "no pod, node or gateway has the destination address")                           \
  X(kEndpointDown, "endpoint_down", "the destination pod's port is gone")                                  \
  X(kTtlExceeded, "ttl_exceeded", "the TTL ran out here (answered by ICMP time exceeded)")                 \
  X(kTooBig, "too_big",                                                                                    \
    "larger than the next hop's MTU and not to be fragmented (answered by ICMP fragmentation needed)")     \
  X(kNoConnection, "no_connection", "a reply or ICMP error that belongs to no tracked connection")         \
  X(kInvalidState, "invalid_state", "a TCP packet that no state of its connection allows")                 \
  X(kConnectionTableFull, "connection_table_full", "no room for another connection")                       \
  X(kConnectionQuota, "connection_quota", "the pod has as many connections as it may have")                \
  X(kOverload, "overload",                                                                                 \
    "no established connection, while the worker had more packets than time: those go first")              \
  X(kFragmentNoFirst, "fragment_no_first", "a later fragment whose first fragment was not seen")           \
  X(kNeighborUnresolved, "neighbor_unresolved", "the underlay next hop does not answer ARP or ND")         \
  X(kNeighborQueueFull, "neighbor_queue_full", "too many packets wait for the underlay next hop's answer") \
  X(kNoHeadroom, "no_headroom", "no room in front of the packet for the tunnel header")                    \
  X(kNoMbuf, "no_mbuf", "packet memory is exhausted")                                                      \
  X(kTxFull, "tx_full", "the output port's queue is full")                                                 \
  X(kMulticast, "multicast", "multicast or broadcast, which is not forwarded")                             \
  X(kShutdown, "shutdown", "was waiting when its worker or port went away")

enum class DropReason : uint8_t {
  kNone,
#define PODWIRE_X(id, name, help) id,
  PODWIRE_DROP_REASONS(PODWIRE_X)
#undef PODWIRE_X
      kCount,
};

inline constexpr size_t kDropReasonCount = static_cast<size_t>(DropReason::kCount);

struct DropReasonInfo {
  std::string_view name, help;
};

inline constexpr std::array<DropReasonInfo, kDropReasonCount> kDropReasonInfo{{{"none", "not dropped"},
#define PODWIRE_X(id, name, help) {name, help},
                                                                               PODWIRE_DROP_REASONS(PODWIRE_X)
#undef PODWIRE_X
}};

constexpr const DropReasonInfo& InfoOf(DropReason r) { return kDropReasonInfo[static_cast<size_t>(r)]; }

}  // namespace podwire
