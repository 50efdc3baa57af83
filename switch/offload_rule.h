#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "pmd/flow_rule.h"
#include "switch/drop_reasons.h"
#include "switch/flow_access.h"
#include "switch/tables.h"

namespace podwire {

/// Whether a NIC can tell this flow's packets from all others: not ICMP, whose identifier is no part of
/// rules.
bool IsOffloadable(const FlowId& flow);

/// A denied flow as a rule, with whose drops its packets are.
struct DropDraft {
  FlowMatch match;
  DropReason reason = DropReason::kNone;
  EndpointId victim = kNoEndpoint;  ///< as the workers count it
  uint16_t overhead = 0;            ///< bytes of a matched frame in front of its (inner) IP header
  bool operator==(const DropDraft&) const = default;
};
/// What the tables alone say of a flow whose tuple no allowed connection has: nullopt unless policies deny
/// it. From a node behind VXLAN it is the tunnel's packets that are matched. Pure.
std::optional<DropDraft> DraftDrop(const Tables& t, const FlowId& flow);

/// An allowed flow as a rule.
struct ForwardDraft {
  FlowMatch match;
  FlowAction action;  ///< `ethdev` is not set: it is out_port's
  PortId out_port = kNoPort;
  IpAddress neighbor{};  ///< of the underlay, whose MAC is in it; empty: it goes to a pod
  EndpointId src_endpoint = kNoEndpoint, dst_endpoint = kNoEndpoint;  ///< of the connection
  uint16_t overhead = 0;                                              ///< as DropDraft's
  bool operator==(const ForwardDraft&) const = default;
};
struct ForwardInput {
  FlowId flow;
  FlowId original;  ///< of the connection: what policies are asked about; its in_port does not matter
  uint16_t tunnel_src_port = 0;  ///< of the flow, if it leaves by a tunnel
  /// The underlay neighbour's MAC, empty if it is not known for sure now.
  std::function<MacAddr(const IpAddress&)> neighbor;
};
/// nullopt where software must see the packets: denied, for the switch itself, too large for where they go,
/// flannel's udp backend, a tunnel over IPv6 to go into (its outer UDP checksum may not be zero, RFC
/// 8200 8.1, and is not a NIC's to make), a neighbour that does not answer. Pure but for `neighbor`.
std::optional<ForwardDraft> DraftForward(const Tables& t, const ForwardInput& in);

}  // namespace podwire
