#include "switch/output.h"

#include <array>
#include <span>
#include <variant>

#include "pmd/offload.h"
#include "switch/arp.h"
#include "switch/events.h"
#include "switch/icmp6.h"
#include "switch/ip_header.h"
#include "switch/nd.h"
#include "switch/parse.h"
#include "switch/rewrite.h"

namespace podwire {
namespace {

EndpointId EndpointOfPort(const Tables& t, PortId port) noexcept {
  return port.value() < t.ports.size() ? t.ports[port.value()].endpoint : kNoEndpoint;
}

/// To whom a drop happened: the pod whose ingress policy said so, else the sender, else the receiver.
template <class Key>
EndpointId VictimOf(const Tables& t, const BasicPacket<Key>& p, DropReason reason) noexcept {
  const EndpointId sender = EndpointOfPort(t, p.key.in_port);
  if (reason != DropReason::kPolicyDeniedIngress && sender != kNoEndpoint) return sender;
  const Endpoint* receiver = t.EndpointOf(p.key.dst);
  return receiver == nullptr ? sender : receiver->id;
}

/// The underlay address that a stripped packet goes to next. Not by its key: an ICMP error's is the quoted
/// tuple.
template <class Key>
IpAddress NeighborOf(const Adjacency& a, const BasicPacket<Key>& p) noexcept {
  if (!a.hop.neighbor.empty()) return a.hop.neighbor;
  return DestinationIn(p);
}

/// The header in front, and into the port's tx buffer.
template <class Key>
void Finish(WorkerContext& w, BasicPacket<Key>& p, const Adjacency& a, const MacAddr& mac) noexcept {
  const DropReason reason = PrependHeader(p, a, mac, w.outer_ip_id);
  if (reason != DropReason::kNone) return DropPacket(w, p, reason);
  if (!a.to_endpoint && a.hop.kind != NextHop::Kind::kDirect) w.counters.Add(Counter::kEncapsulated);
  if (OffloadOf(*p.mbuf).gso_size != 0) w.counters.Add(Counter::kSuperPackets);
  w.tx.Add(*w.tables, w.counters, a.port, p.mbuf);
}

template <class Key>
void QueueForNeighbor(WorkerContext& w, BasicPacket<Key>& p, NextHopId next_hop,
                      NeighborId neighbor) noexcept {
  const DropReason reason = w.pending.Push(p, next_hop, w.tables->generation, neighbor, w.now_ms);
  if (reason != DropReason::kNone) return DropPacket(w, p, reason);
  w.counters.Add(Counter::kQueued);
  w.adjacencies.Void();  // or plain packets of the same flow would pass this one
}

/// A stripped packet that fits: resolves the next hop's MAC, or waits for it.
template <class Key>
void Transmit(WorkerContext& w, BasicPacket<Key>& p, Path path) noexcept {
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
  if (r.probe) AskNeighbor(w, path.neighbor, r.usable ? r.mac : MacAddr{});
  if (!r.usable) return QueueForNeighbor(w, p, path.next_hop, path.neighbor);
  const bool none_waits = w.pending.Release(path.neighbor, [&](PendingPacket& waiting) {
    w.counters.Subtract(Counter::kQueued);
    ResumePacket(w, waiting, r.mac);
  });
  if (none_waits) w.adjacencies.Learn(path.next_hop, a, path.neighbor, r.mac);
  Finish(w, p, a, r.mac);
}

/// A stripped packet without DF that is larger than the MTU.
void TransmitFragments(WorkerContext& w, Packet6& p, const Path&, uint16_t) noexcept {
  DropPacket(w, p, DropReason::kTooBig);  // IPv6's all have it
}
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

template <class Key>
void DropPacket(WorkerContext& w, BasicPacket<Key>& p, DropReason reason) noexcept {
  const EndpointId victim = VictimOf(*w.tables, p, reason);
  w.counters.AddDrop(reason, victim);
  if (w.events.WantsDrop(victim, reason)) RecordDrop(w, p, reason, victim);
  rte_pktmbuf_free(p.mbuf);
}

void AskNeighbor(WorkerContext& w, NeighborId neighbor, const MacAddr& known) noexcept {
  const LocalNode& local = w.tables->local;
  if (local.underlay_port == kNoPort) return;
  if (local.underlay_is_shared) return w.shared.neighbor_requests.Add(neighbor);
  const IpAddress target = w.shared.neighbors.AddressOf(neighbor);
  rte_mempool& pool = w.shared.pools->small();
  rte_mbuf* m = nullptr;
  if (target.is_v4() && local.underlay_address.is_v4()) {
    m = BuildArpRequest(pool, local.underlay_mac, local.underlay_address.v4(), target.v4(), known);
  } else if (target.is_v6() && local.underlay_address6.is_v6()) {
    m = BuildNeighborSolicitation(pool, local.underlay_mac, local.underlay_address6.v6(), target.v6(), known);
  }
  if (m == nullptr) return;
  w.counters.Add(Counter::kGenerated);
  w.counters.Add(target.is_v4() ? Counter::kArpRequests : Counter::kNdSolicitations);
  w.tx.Add(*w.tables, w.counters, local.underlay_port, m);
}

void AnnounceUnderlay(WorkerContext& w) noexcept {
  const LocalNode& local = w.tables->local;
  if (local.underlay_port == kNoPort || local.underlay_is_shared) return;
  rte_mempool& pool = w.shared.pools->small();
  const auto send = [&](rte_mbuf* m) {
    if (m == nullptr) return;
    w.counters.Add(Counter::kGenerated);
    w.tx.Add(*w.tables, w.counters, local.underlay_port, m);
  };
  if (local.underlay_address.is_v4())
    send(BuildArpAnnouncement(pool, local.underlay_mac, local.underlay_address.v4()));
  if (local.underlay_address6.is_v6())
    send(BuildNeighborAnnouncement(pool, local.underlay_mac, local.underlay_address6.v6()));
}

template <class Key>
void ReportError(WorkerContext& w, const BasicPacket<Key>& p, IcmpError error, uint16_t mtu) noexcept {
  if (!MayReport(p) || !w.icmp_limiter.Take(w.now_ms)) return;
  BasicPacket<Key> out;
  const auto source = OwnAddress<typename Key::Address>(*w.tables);
  if (BuildIcmpError(w.shared.pools->small(), p, error, mtu, source, out) == nullptr) return;
  w.counters.Add(Counter::kGenerated);
  w.counters.Add(Counter::kIcmpErrors);
  EmitOwn(w, out);
}

template <class Key>
void ForwardPacket(WorkerContext& w, BasicPacket<Key>& p, const Path& path) noexcept {
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
  std::visit(
      [&](auto& packet) {
        if (waiting.generation != w.tables->generation) return EmitOwn(w, packet);
        Finish(w, packet, w.tables->adjacencies[waiting.next_hop.value()], mac);
      },
      waiting.packet);
}

template <class Key>
void EmitOwn(WorkerContext& w, BasicPacket<Key>& p) noexcept {
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

#define PODWIRE_INSTANTIATE(P)                                           \
  template void DropPacket(WorkerContext&, P&, DropReason) noexcept;     \
  template void ForwardPacket(WorkerContext&, P&, const Path&) noexcept; \
  template void EmitOwn(WorkerContext&, P&) noexcept;                    \
  template void ReportError(WorkerContext&, const P&, IcmpError, uint16_t) noexcept;
PODWIRE_INSTANTIATE(Packet)
PODWIRE_INSTANTIATE(Packet6)
#undef PODWIRE_INSTANTIATE

}  // namespace podwire
