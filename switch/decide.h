#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/address.h"
#include "switch/action.h"
#include "switch/drop_reasons.h"
#include "switch/tables.h"

namespace podwire {

/// One packet's headers, of either family. Ports in host order; 0 for protocols without.
struct Headers {
  IpAddress src, dst;
  uint8_t proto = 0;
  uint16_t src_port = 0;
  uint16_t dst_port = 0;
  PortId in_port = kNoPort;
  bool tunnelled = false;
  IpAddress tunnel_src;
};

/// Where a packet goes, policy aside.
struct Forwarding {
  Action action = Action::kDrop;
  DropReason reason = DropReason::kNone;
  NextHopId next_hop = kNoNextHop;
  IpAddress neighbor;  ///< kForward: the underlay address whose MAC is needed
};

/// What the policies of the two ends, as far as they are this node's, say of a new connection.
struct PolicyDecision {
  bool allowed = true;
  DropReason reason = DropReason::kNone;
  EndpointId src_endpoint = kNoEndpoint, dst_endpoint = kNoEndpoint;  ///< local ends
  uint32_t src_version = 0, dst_version = 0;                          ///< of these ends, when decided
  PolicyVerdict egress, ingress;                                      ///< meaningful for local ends
};

struct Decision {
  Forwarding forwarding;
  PolicyDecision policy;
  /// The outcome: forwarding.action, or kDrop with the reason of whichever said so first.
  Action action = Action::kDrop;
  DropReason reason = DropReason::kNone;
};

/// One line of what decide looked at, for `podwire explain`.
struct TraceStep {
  std::string stage;    ///< source, egress policy, route, ingress policy, output
  std::string outcome;  ///< pass, allow, deny, drop
  std::string text;
  std::vector<std::string> details;
};
using Trace = std::vector<TraceStep>;

/// What the tables know of a packet's two addresses: looked up once for all that ask.
struct Ends {
  const Endpoint* src = nullptr;  ///< pods of this node
  const Endpoint* dst = nullptr;
  bool src_is_own = false, dst_is_own = false;  ///< the switch's gateway or underlay address
  /// As a packet in the other direction has them.
  Ends Reversed() const { return {dst, src, dst_is_own, src_is_own}; }
};
Ends EndsOf(const Tables& t, const Headers& h);

/// Checks that a packet may come in where it did: a pod sends from its own address only, nobody outside from
/// a pod's of this node, tunnels come from known nodes. kNone if so.
DropReason CheckSource(const Tables& t, const Headers& h, const Ends& ends);
inline DropReason CheckSource(const Tables& t, const Headers& h) { return CheckSource(t, h, EndsOf(t, h)); }

/// The way to h.dst. Pure; no allocation.
Forwarding DecideForwarding(const Tables& t, const Headers& h, const Ends& ends);
inline Forwarding DecideForwarding(const Tables& t, const Headers& h) {
  return DecideForwarding(t, h, EndsOf(t, h));
}

/// What policies say of a new connection whose first packet is h. Pure; no allocation.
PolicyDecision DecidePolicy(const Tables& t, const Headers& h, const Ends& ends);
inline PolicyDecision DecidePolicy(const Tables& t, const Headers& h) {
  return DecidePolicy(t, h, EndsOf(t, h));
}

/// The whole fate of the first packet of a connection: source check, egress policy, route, ingress policy.
/// Pure, any thread, no port needed. With `trace`, also tells each step (slow; allocates).
Decision Decide(const Tables& t, const Headers& h, Trace* trace = nullptr);

}  // namespace podwire
