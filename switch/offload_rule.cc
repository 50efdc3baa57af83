#include "switch/offload_rule.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include <rte_ip.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include "switch/decide.h"

namespace podwire {
namespace {

bool HasPorts(uint8_t proto) { return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP; }

const PortSlot* SlotOf(const Tables& t, PortId id) {
  const bool known = id.value() < t.ports.size() && t.ports[id.value()].port != nullptr;
  return known ? &t.ports[id.value()] : nullptr;
}

Headers HeadersOf(const FlowId& f) {
  return {.src = f.src,
          .dst = f.dst,
          .proto = f.proto,
          .src_port = f.src_port,
          .dst_port = f.dst_port,
          .in_port = f.in_port};
}

FlowMatch MatchOf(const FlowId& f) {
  return {.src = f.src,
          .dst = f.dst,
          .proto = f.proto,
          .has_ports = HasPorts(f.proto),
          .src_port = f.src_port,
          .dst_port = f.dst_port};
}

MacAddr MacAt(const uint8_t* at) {
  MacAddr mac;
  std::memcpy(mac.bytes.data(), at, mac.bytes.size());
  return mac;
}

enum class Origin : uint8_t { kPlain, kTunnel, kUnknown };

/// By which way packets from there come: the one that packets to there go. Those that come by another match
/// no rule and go to software.
Origin PutOrigin(const Tables& t, Headers& h, FlowMatch& match) {
  const PortSlot* slot = SlotOf(t, h.in_port);
  if (slot == nullptr) return Origin::kUnknown;
  if (slot->role != PortRole::kUnderlay) return Origin::kPlain;
  const FibEntry* route = t.fib.Find(h.src);
  if (route == nullptr || route->kind != RouteKind::kForward) return Origin::kUnknown;
  const NextHop& hop = t.adjacencies[route->next_hop.value()].hop;
  if (hop.kind == NextHop::Kind::kDirect) return Origin::kPlain;
  if (hop.kind == NextHop::Kind::kUdp || !t.local.tunnel_enabled) return Origin::kUnknown;
  h.tunnelled = true;
  h.tunnel_src = hop.remote;
  match.tunnel = {.src = hop.remote,
                  .dst = hop.remote.is_v4() ? t.local.underlay_address : t.local.underlay_address6,
                  .udp_port = rte_be_to_cpu_16(t.local.tunnel_port_be),
                  .vni = t.local.vni,
                  .dst_mac = {}};
  return Origin::kTunnel;
}

/// The rewrite that a tunnel's ready-made header over IPv4 is.
FlowAction::Encap EncapOf(const NextHop& hop, const MacAddr& neighbor, uint16_t src_port) {
  const uint8_t* at = hop.header.data();
  FlowAction::Encap e{.src_mac = MacAt(at + 6), .dst_mac = neighbor, .udp_src = src_port, .vni = Vni{1}};
  const uint8_t* ip = at + kDirectHeaderLen;
  const auto* h = reinterpret_cast<const rte_ipv4_hdr*>(ip);
  e.src = Ipv4{h->src_addr};
  e.dst = Ipv4{h->dst_addr};
  const auto* udp = reinterpret_cast<const rte_udp_hdr*>(h + 1);
  e.udp_dst = rte_be_to_cpu_16(udp->dst_port);
  const uint8_t* vni = reinterpret_cast<const uint8_t*>(udp + 1) + 4;
  e.vni = Vni{uint32_t{vni[0]} << 16 | uint32_t{vni[1]} << 8 | vni[2]};
  return e;
}

uint16_t OverheadOf(const Headers& h) {
  if (!h.tunnelled) return kDirectHeaderLen;
  return h.tunnel_src.is_v4() ? kVxlanHeaderLen : kVxlanHeaderLen6;
}

/// Whose packets' TTL does not run out here: from a pod what begins with 64 as Linux's packets do, from the
/// underlay what has lost some of it. A mask's range, for rules know no other.
void PutTtl(FlowMatch::Plain& plain, bool from_pod) {
  plain.ttl = from_pod ? 0x40 : 0x20;
  plain.ttl_mask = from_pod ? 0xc0 : 0xe0;
}

/// As large as packets of this port can be, L3.
uint16_t LargestFrom(const Tables& t, const PortSlot& slot, bool tunnelled) {
  if (!tunnelled) return slot.port->mtu();
  const uint16_t overhead = t.local.underlay_address.is_v4() ? kVxlanOverhead : kVxlanOverhead6;
  return static_cast<uint16_t>(slot.port->mtu() - std::min(overhead, slot.port->mtu()));
}

}  // namespace

bool IsOffloadable(const FlowId& flow) {
  return flow.in_port != kNoPort && flow.proto != IPPROTO_ICMP && flow.proto != IPPROTO_ICMPV6;
}

std::optional<DropDraft> DraftDrop(const Tables& t, const FlowId& flow) {
  if (!IsOffloadable(flow)) return std::nullopt;
  DropDraft draft{.match = MatchOf(flow)};
  Headers h = HeadersOf(flow);
  if (PutOrigin(t, h, draft.match) == Origin::kUnknown) return std::nullopt;
  const Decision d = Decide(t, h);
  if (d.action != Action::kDrop) return std::nullopt;
  draft.reason = d.reason;
  draft.overhead = OverheadOf(h);
  const EndpointId sender = t.ports[flow.in_port.value()].endpoint;
  if (d.reason == DropReason::kPolicyDeniedEgress) {
    draft.victim = sender;
  } else if (d.reason == DropReason::kPolicyDeniedIngress) {
    draft.victim = d.policy.dst_endpoint != kNoEndpoint ? d.policy.dst_endpoint : sender;
  } else {
    return std::nullopt;
  }
  return draft;
}

std::optional<ForwardDraft> DraftForward(const Tables& t, const ForwardInput& in) {
  if (!IsOffloadable(in.flow)) return std::nullopt;
  ForwardDraft draft{.match = MatchOf(in.flow), .action = {.kind = FlowAction::Kind::kForward}};
  Headers h = HeadersOf(in.flow);
  const Origin origin = PutOrigin(t, h, draft.match);
  if (origin == Origin::kUnknown || CheckSource(t, h) != DropReason::kNone) return std::nullopt;
  const PolicyDecision policy = DecidePolicy(t, HeadersOf(in.original));
  if (!policy.allowed) return std::nullopt;
  const Forwarding f = DecideForwarding(t, h);
  if (f.action != Action::kDeliver && f.action != Action::kForward) return std::nullopt;
  const Adjacency& a = t.adjacencies[f.next_hop.value()];
  const PortSlot& from = t.ports[in.flow.in_port.value()];
  if (a.port == kNoPort || SlotOf(t, a.port) == nullptr || a.hop.kind == NextHop::Kind::kUdp)
    return std::nullopt;
  if (a.hop.kind == NextHop::Kind::kVxlan && a.hop.remote.is_v6()) return std::nullopt;
  if (LargestFrom(t, from, h.tunnelled) > a.hop.mtu) return std::nullopt;
  const MacAddr neighbor = a.to_endpoint ? MacAt(a.hop.header.data()) : in.neighbor(f.neighbor);
  if (neighbor.empty()) return std::nullopt;
  draft.out_port = a.port;
  if (!a.to_endpoint) draft.neighbor = f.neighbor;
  draft.src_endpoint = policy.src_endpoint;
  draft.dst_endpoint = policy.dst_endpoint;
  FlowMatch::Plain plain{.src_mac = from.peer_mac, .dst_mac = from.own_mac};
  if (h.tunnelled) {
    draft.match.tunnel->dst_mac = from.own_mac;
    plain = {.src_mac = {}, .dst_mac = t.local.vtep_mac};
  }
  PutTtl(plain, from.role == PortRole::kPod);
  draft.match.plain = plain;
  draft.overhead = OverheadOf(h);
  const uint8_t* header = a.hop.header.data();
  if (a.hop.kind == NextHop::Kind::kVxlan) {
    const uint8_t* inner = header + a.hop.header_len - kDirectHeaderLen;
    draft.action.dst_mac = MacAt(inner);
    draft.action.src_mac = MacAt(inner + 6);
    draft.action.encap = EncapOf(a.hop, neighbor, in.tunnel_src_port);
  } else {
    draft.action.dst_mac = neighbor;
    draft.action.src_mac = MacAt(header + 6);
  }
  return draft;
}

}  // namespace podwire
