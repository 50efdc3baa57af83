#include "switch/output.h"

#include <array>
#include <span>

#include <rte_ip.h>

#include "pmd/offload.h"
#include "switch/arp.h"
#include "switch/parse.h"
#include "switch/rewrite.h"

namespace podwire {
namespace {

EndpointId EndpointOfPort(const Tables& t, PortId port) noexcept {
  return port.value() < t.ports.size() ? t.ports[port.value()].endpoint : kNoEndpoint;
}

/// To whom a drop happened: the pod whose ingress policy said so, else the sender, else the receiver.
EndpointId VictimOf(const Tables& t, const Packet& p, DropReason reason) noexcept {
  const EndpointId sender = EndpointOfPort(t, p.key.in_port);
  if (reason != DropReason::kPolicyDeniedIngress && sender != kNoEndpoint) return sender;
  const Endpoint* receiver = t.EndpointOf(p.key.dst);
  return receiver == nullptr ? sender : receiver->id;
}

/// The underlay address that a stripped packet goes to next. Not by its key: an ICMP error's is the quoted
/// tuple.
IpAddress NeighborOf(const Adjacency& a, const Packet& p) noexcept {
  if (!a.hop.neighbor.empty()) return a.hop.neighbor;
  return Ipv4{rte_pktmbuf_mtod_offset(p.mbuf, const rte_ipv4_hdr*, p.l3_offset)->dst_addr};
}

/// The header in front, and into the port's tx buffer.
void Finish(WorkerContext& w, Packet& p, const Adjacency& a, const MacAddr& mac) noexcept {
  const DropReason reason = PrependHeader(p, a, mac, w.outer_ip_id);
  if (reason != DropReason::kNone) return DropPacket(w, p, reason);
  if (!a.to_endpoint && a.hop.kind != NextHop::Kind::kDirect) w.counters.Add(Counter::kEncapsulated);
  if (OffloadOf(*p.mbuf).gso_size != 0) w.counters.Add(Counter::kSuperPackets);
  w.tx.Add(*w.tables, w.counters, a.port, p.mbuf);
}

void QueueForNeighbor(WorkerContext& w, Packet& p, NextHopId next_hop, NeighborId neighbor) noexcept {
  const DropReason reason = w.pending.Push(p, next_hop, w.tables->generation, neighbor, w.now_ms);
  if (reason != DropReason::kNone) return DropPacket(w, p, reason);
  w.counters.Add(Counter::kQueued);
  w.adjacencies.Void();  // or plain packets of the same flow would pass this one
}

/// A stripped packet that fits: resolves the next hop's MAC, or waits for it.
void Transmit(WorkerContext& w, Packet& p, Path path) noexcept {
  const Adjacency& a = w.tables->adjacencies[path.next_hop.value()];
  if (a.to_endpoint) {
    w.adjacencies.Learn(path.next_hop, a, kNoNeighbor, {});
    return Finish(w, p, a, {});
  }
  NeighborTable::Result r = w.shared.neighbors.Use(path.neighbor, w.now_ms);
  if (r.expired) {
    path.neighbor = w.shared.neighbors.SlotFor(NeighborOf(a, p), w.now_ms);
    r = w.shared.neighbors.Use(path.neighbor, w.now_ms);
  }
  if (r.probe) SendArpRequest(w, path.neighbor, r.usable ? r.mac : MacAddr{});
  if (!r.usable) return QueueForNeighbor(w, p, path.next_hop, path.neighbor);
  const bool none_waits = w.pending.Release(path.neighbor, [&](PendingPacket& waiting) {
    w.counters.Subtract(Counter::kQueued);
    ResumePacket(w, waiting, r.mac);
  });
  if (none_waits) w.adjacencies.Learn(path.next_hop, a, path.neighbor, r.mac);
  Finish(w, p, a, r.mac);
}

/// A stripped packet without DF that is larger than the MTU.
void TransmitFragments(WorkerContext& w, Packet& p, const Path& path, uint16_t mtu) noexcept {
  std::array<rte_mbuf*, kMaxFragments> fragments;
  DropReason reason = DropReason::kNone;
  const uint16_t n = Fragment(p, mtu, *w.shared.pools, fragments, reason);
  if (n == 0) return DropPacket(w, p, reason);
  w.counters.Add(Counter::kConsumed);
  w.counters.Add(Counter::kGenerated, n);
  for (rte_mbuf* m : std::span(fragments).first(n)) {
    Packet fragment = FragmentPacket(p, m);
    Transmit(w, fragment, path);
  }
  rte_pktmbuf_free(p.mbuf);
}

}  // namespace

Path PathOf(WorkerContext& w, const Forwarding& f) noexcept {
  if (f.neighbor.empty()) return {.next_hop = f.next_hop};
  const ResolvedAdjacency& known = w.adjacencies.At(f.next_hop);  // saves the table's lock
  if (w.adjacencies.IsGood(known)) return {.next_hop = f.next_hop, .neighbor = known.neighbor};
  return {.next_hop = f.next_hop, .neighbor = w.shared.neighbors.SlotFor(f.neighbor, w.now_ms)};
}

void DropPacket(WorkerContext& w, Packet& p, DropReason reason) noexcept {
  w.counters.AddDrop(reason, VictimOf(*w.tables, p, reason));
  rte_pktmbuf_free(p.mbuf);
}

void SendArpRequest(WorkerContext& w, NeighborId neighbor, const MacAddr& known) noexcept {
  const IpAddress target = w.shared.neighbors.AddressOf(neighbor);
  const LocalNode& local = w.tables->local;
  if (!target.is_v4() || !local.underlay_address.is_v4() || local.underlay_port == kNoPort) return;
  rte_mbuf* m = BuildArpRequest(w.shared.pools->small(), local.underlay_mac, local.underlay_address.v4(),
                                target.v4(), known);
  if (m == nullptr) return;
  w.counters.Add(Counter::kGenerated);
  w.counters.Add(Counter::kArpRequests);
  w.tx.Add(*w.tables, w.counters, local.underlay_port, m);
}

void ReportError(WorkerContext& w, const Packet& p, IcmpError error, uint16_t mtu) noexcept {
  if (!MayReport(p) || !w.icmp_limiter.Take(w.now_ms)) return;
  Packet out;
  if (BuildIcmpError(w.shared.pools->small(), p, error, mtu, OwnAddress(*w.tables), out) == nullptr) return;
  w.counters.Add(Counter::kGenerated);
  w.counters.Add(Counter::kIcmpErrors);
  EmitOwn(w, out);
}

void ForwardPacket(WorkerContext& w, Packet& p, const Path& path) noexcept {
  if (p.ttl <= 1) {
    ReportError(w, p, IcmpError::kTimeExceeded, 0);
    return DropPacket(w, p, DropReason::kTtlExceeded);
  }
  const uint16_t mtu = w.tables->adjacencies[path.next_hop.value()].hop.mtu;
  const bool too_big = ExceedsMtu(p, mtu);
  if (too_big && p.dont_fragment) {
    ReportError(w, p, IcmpError::kFragmentationNeeded, mtu);
    return DropPacket(w, p, DropReason::kTooBig);
  }
  DecrementTtl(p);
  if (p.tunnelled) w.counters.Add(Counter::kDecapsulated);
  const DropReason reason = StripHeaders(p);
  if (reason != DropReason::kNone) return DropPacket(w, p, reason);
  if (too_big && !ShrinkSegments(p, mtu)) return TransmitFragments(w, p, path, mtu);
  Transmit(w, p, path);
}

void ResumePacket(WorkerContext& w, PendingPacket& waiting, const MacAddr& mac) noexcept {
  if (waiting.generation != w.tables->generation) return EmitOwn(w, waiting.packet);
  Finish(w, waiting.packet, w.tables->adjacencies[waiting.next_hop.value()], mac);
}

void EmitOwn(WorkerContext& w, Packet& p) noexcept {
  p.key.in_port = kNoPort;
  const Forwarding f = DecideForwarding(*w.tables, HeadersOf(p));
  switch (f.action) {
    case Action::kDrop:
      return DropPacket(w, p, f.reason);
    case Action::kLocal:
      return DropPacket(w, p, DropReason::kNotOurAddress);
    case Action::kDeliver:
    case Action::kForward:
      break;
  }
  const Path path = PathOf(w, f);
  const uint16_t mtu = w.tables->adjacencies[path.next_hop.value()].hop.mtu;
  if (!ExceedsMtu(p, mtu)) return Transmit(w, p, path);
  TransmitFragments(w, p, path, mtu);
}

}  // namespace podwire
