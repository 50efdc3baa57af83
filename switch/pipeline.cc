#include "switch/pipeline.h"

#include <netinet/in.h>

#include <bit>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_prefetch.h>

#include "overlay/next_hop.h"
#include "switch/arp.h"
#include "switch/events.h"
#include "switch/fast_forward.h"
#include "switch/icmp6.h"
#include "switch/miss_gate.h"
#include "switch/nd.h"
#include "switch/output.h"
#include "switch/parse.h"
#include "switch/rewrite.h"
#include "switch/track.h"

namespace podwire {
namespace {

constexpr uint8_t kTcpStateFlags = 0x01 | 0x02 | 0x04;  // FIN, SYN, RST
constexpr uint32_t kTouchMs = 1000;                     // how old a connection's last-seen time may be

/// Link-local addresses have no route: the answer leaves as the question came.
template <class Key>
void ReturnToSender(WorkerContext& w, BasicPacket<Key>& p) noexcept {
  auto* eth = rte_pktmbuf_mtod(p.mbuf, rte_ether_hdr*);
  std::swap(eth->src_addr, eth->dst_addr);
  w.tx.Add(*w.tables, w.counters, p.key.in_port, p.mbuf);
}

/// Traffic to the switch itself.
template <class Key>
void HandleLocal(WorkerContext& w, BasicPacket<Key>& p) noexcept {
  if (p.kind != PacketKind::kFlow || !MakeEchoReply(p)) {
    if (p.kind == PacketKind::kFlow && p.key.proto == IPPROTO_UDP)
      ReportError(w, p, IcmpError::kPortUnreachable, 0);
    return DropPacket(w, p, DropReason::kNotOurAddress);
  }
  const bool on_link = IsLinkLocal(p.key.dst);
  const DropReason reason = on_link ? DropReason::kNone : StripHeaders(p);
  if (reason != DropReason::kNone) return DropPacket(w, p, reason);
  w.counters.Add(Counter::kConsumed);
  w.counters.Add(Counter::kGenerated);
  if (on_link) return ReturnToSender(w, p);
  EmitOwn(w, p);
}

template <class Key>
void Fill(const WorkerContext& w, const Fate& fate, FlowEntry<Key>& e) noexcept {
  e.generation = w.tables->generation;
  e.last_seen_ms = w.now_ms;
  e.conn = fate.connection;
  e.conn_serial = fate.serial;
  e.action = fate.action;
  e.reason = fate.reason;
  e.next_hop = fate.path.next_hop;
  e.neighbor = fate.path.neighbor.value();
  e.tunnel_src_port_be = rte_cpu_to_be_16(UdpSourcePort(SymmetricHash(e.key, 0)));
  e.flags = static_cast<uint8_t>((fate.reply ? e.kReply : 0) | (fate.unsettled ? e.kUnsettled : 0));
  e.SetPlain();
}

template <class Key>
void Count(FlowEntry<Key>& e, const PacketBase& p) noexcept {
  ++e.packets;
  e.bytes += p.l3_len;
}

template <class Key>
void Act(WorkerContext& w, BasicPacket<Key>& p, Action action, DropReason reason, const Path& path) noexcept {
  switch (action) {
    case Action::kDeliver:
    case Action::kForward:
      return ForwardPacket(w, p, path);
    case Action::kLocal:
      return HandleLocal(w, p);
    case Action::kDrop:
      break;
  }
  const bool from_pod = w.tables->ports[p.key.in_port.value()].role == PortRole::kPod;
  if (reason == DropReason::kNoRoute && from_pod) ReportError(w, p, IcmpError::kNetUnreachable, 0);
  DropPacket(w, p, reason);
}

/// No cached decision, or a void one (`stale`): decide, remember, act. Returns whether it was fruitless: a
/// drop, for the switch itself, or a connection in the place of another.
template <class Key>
bool Miss(WorkerContext& w, BasicPacket<Key>& p, FlowEntry<Key>* stale) noexcept {
  w.counters.Add(stale == nullptr ? Counter::kFlowMisses : Counter::kRevalidated);
  const Fate fate = DecideFate(w, p);
  if (w.tables->logs_policy) RecordVerdict(w, p, fate);
  if (fate.cacheable) {
    FlowEntry<Key>* e = stale != nullptr ? stale : w.FlowsOf<Key>().Add(p.key, p.hash, w.now_ms);
    if (e != nullptr) {
      Fill(w, fate, *e);
      Count(*e, p);
    }
  } else if (stale != nullptr) {
    w.FlowsOf<Key>().Erase(p.key, p.hash);
  }
  Act(w, p, fate.action, fate.reason, fate.path);
  return fate.reason != DropReason::kNone || fate.displaced || fate.action == Action::kLocal;
}

/// Acts on a cached decision. False, with nothing done: it is void, by newer tables or by what has become of
/// the connection.
template <class Key>
bool Hit(WorkerContext& w, BasicPacket<Key>& p, FlowEntry<Key>& e) noexcept {
  if (e.generation != w.tables->generation) return false;
  DropReason reason = e.reason;
  if (reason != DropReason::kNone && !IsStillDenied(w, p, e.conn, e.conn_serial)) return false;
  const bool due = w.now_ms - e.last_seen_ms >= kTouchMs;
  if (due || (e.flags & e.kUnsettled) != 0 || (p.tcp_flags & kTcpStateFlags) != 0) {
    if (e.conn != 0 && reason == DropReason::kNone) {
      const Touch touch = TouchConnection(w, p, e.conn, e.conn_serial, (e.flags & e.kReply) != 0);
      if (touch == Touch::kGone) return false;
      if (touch == Touch::kInvalid) reason = DropReason::kInvalidState;
      e.flags =
          static_cast<uint8_t>((e.flags & ~e.kUnsettled) | (touch == Touch::kSettled ? 0 : e.kUnsettled));
      e.SetPlain();
    }
    e.last_seen_ms = w.now_ms;
  }
  w.counters.Add(Counter::kFlowHits);
  Count(e, p);
  const Action action = reason == DropReason::kNone ? e.action : Action::kDrop;
  Act(w, p, action, reason, {.next_hop = e.next_hop, .neighbor = NeighborId{e.neighbor}});
  return true;
}

template <class Key>
FragmentKey<typename Key::Address> KeyOf(const BasicPacket<Key>& p) noexcept {
  constexpr bool kIpv4 = std::is_same_v<Key, FlowKey4>;
  return {.src = p.key.src,
          .dst = p.key.dst,
          .id_be = p.frag_id_be,
          .in_port = p.key.in_port,
          .proto = kIpv4 ? p.key.proto : uint8_t{0}};
}

template <class Key>
void LearnFragment(WorkerContext& w, const BasicPacket<Key>& p) noexcept {
  const Key& key = p.key;
  w.FragmentsOf<Key>().Learn(KeyOf(p),
                             {.src_be = key.src_port_be,
                              .dst_be = key.dst_port_be,
                              .icmp_reply = key.icmp_reply,
                              .proto = key.proto,
                              .first_bytes = p.frag_bytes},
                             w.now_ms);
}

/// RFC 5722: a fragment that has something else to say of what the first one said. IPv4's parser knows the
/// one that does harm.
bool Overlaps(const Packet&, const FragmentPorts&) noexcept { return false; }
bool Overlaps(const Packet6& p, const FragmentPorts& first) noexcept {
  return p.frag_bytes < first.first_bytes;
}

/// A packet of the miss stage. An earlier one of the burst may have made an entry for it. Returns what Miss
/// does.
template <class Key>
bool HandleFlow(WorkerContext& w, BasicPacket<Key>& p) noexcept {
  if (p.first_fragment) LearnFragment(w, p);
  FlowEntry<Key>* e = w.FlowsOf<Key>().Find(p.key, p.hash);
  if (e != nullptr && Hit(w, p, *e)) return false;
  return Miss(w, p, e);
}

template <class Key>
void HandleLaterFragment(WorkerContext& w, BasicPacket<Key>& p) noexcept {
  const auto ports = w.FragmentsOf<Key>().Find(KeyOf(p), w.now_ms);
  if (!ports) return DropPacket(w, p, DropReason::kFragmentNoFirst);
  if (Overlaps(p, *ports)) return DropPacket(w, p, DropReason::kMalformed);
  p.key.proto = ports->proto;
  p.key.src_port_be = ports->src_be;
  p.key.dst_port_be = ports->dst_be;
  p.key.icmp_reply = ports->icmp_reply;
  p.hash = FlowHash(p.key, w.shared.hash_seed);
  FlowEntry<Key>* e = w.FlowsOf<Key>().Find(p.key, p.hash);
  if (e != nullptr && Hit(w, p, *e)) return;
  if (w.misses.limiting() && !w.misses.Admit(SourceOf(w, p))) return DropPacket(w, p, DropReason::kOverload);
  Miss(w, p, e);
}

/// An ICMP error passes if the packet that it quotes belongs to an allowed connection (RFC 5508 and every
/// conntrack). kNone with the way that it goes if so.
template <class Key>
DropReason DecideIcmpError(WorkerContext& w, const BasicPacket<Key>& p, Forwarding& f) noexcept {
  const Headers h = HeadersOf(p);
  const Ends ends = EndsOf(*w.tables, h);
  const DropReason source = CheckSource(*w.tables, h, ends);
  if (source != DropReason::kNone) return source;
  f = DecideForwarding(*w.tables, h, ends);
  if (f.action == Action::kDrop) return f.reason;
  // About a packet of our own (an echo reply...): nothing to do.
  if (f.action == Action::kLocal) return DropReason::kNotOurAddress;
  // To the sender of what it quotes and nobody else, or it would carry anything past the policies.
  const bool related = h.dst == IpAddress(p.key.src) && IsRelated(w, p);
  return related ? DropReason::kNone : DropReason::kNoConnection;
}

template <class Key>
bool HandleIcmpError(WorkerContext& w, BasicPacket<Key>& p) noexcept {
  Forwarding f;
  const DropReason reason = DecideIcmpError(w, p, f);
  if (reason == DropReason::kNone) {
    ForwardPacket(w, p, PathOf(w, f));
  } else {
    DropPacket(w, p, reason);
  }
  return reason != DropReason::kNone;
}

/// The link's own messages: ARP or neighbour discovery.
void HandleLink(WorkerContext& w, Packet& p) noexcept {
  const ArpResult result = HandleArp(*w.tables, p, w.shared.neighbors, w.now_ms);
  switch (result.action) {
    case ArpAction::kDrop:
      return DropPacket(w, p, result.reason);
    case ArpAction::kConsumed:
      w.counters.Add(Counter::kConsumed);
      return rte_pktmbuf_free(p.mbuf);
    case ArpAction::kReply:
      break;
  }
  w.counters.Add(Counter::kConsumed);
  w.counters.Add(Counter::kGenerated);
  w.counters.Add(Counter::kArpReplies);
  w.tx.Add(*w.tables, w.counters, p.key.in_port, p.mbuf);
}

void HandleLink(WorkerContext& w, Packet6& p) noexcept {
  const NdResult result = HandleNd(*w.tables, p, w.shared.neighbors, w.shared.pools->small(), w.now_ms);
  if (result.reason != DropReason::kNone) return DropPacket(w, p, result.reason);
  w.counters.Add(Counter::kConsumed);
  if (result.answer != nullptr) {
    w.counters.Add(Counter::kGenerated);
    w.counters.Add(result.counter);
    w.tx.Add(*w.tables, w.counters, p.key.in_port, result.answer);
  }
  rte_pktmbuf_free(p.mbuf);
}

/// Returns whether the packet was a fruitless miss.
template <class Key>
bool Dispatch(WorkerContext& w, BasicPacket<Key>& p) noexcept {
  switch (p.kind) {
    case PacketKind::kFlow:
      return HandleFlow(w, p);
    case PacketKind::kIcmpError:
      return HandleIcmpError(w, p);
    case PacketKind::kLaterFragment:
      HandleLaterFragment(w, p);
      return false;
    case PacketKind::kArp:
    case PacketKind::kNd:
      HandleLink(w, p);
      return false;
    case PacketKind::kDrop:
      DropPacket(w, p, p.reason);
      return false;
  }
  return false;
}

/// Takes its turn if it is neither a miss nor, being no flow's, comes `after` one, which it may belong to.
template <class Key>
bool HandleInTurn(WorkerContext& w, BasicPacket<Key>& p, FlowEntry<Key>* e, bool after) noexcept {
  if (p.kind == PacketKind::kFlow) {
    if (e == nullptr || !e->in_use || !(e->key == p.key)) return false;
    if (p.first_fragment) LearnFragment(w, p);
    return Hit(w, p, *e);
  }
  if (after || p.kind == PacketKind::kIcmpError) return false;
  Dispatch(w, p);
  return true;
}

/// The miss stage: what a burst has left over, bits of `packets`, in its order.
template <class Key>
void RunMisses(WorkerContext& w, BasicPacket<Key>* packets, uint64_t misses) noexcept {
  const Admitted admitted = AdmitMisses(w, packets, misses);
  // Refusing is not measured: it must be done in any case, and must not use up what others may have.
  const uint64_t begin = admitted.counted != 0 ? rte_rdtsc() : 0;
  for (uint64_t left = admitted.all; left != 0; left &= left - 1) {
    const auto i = static_cast<uint32_t>(std::countr_zero(left));
    const bool counted = (admitted.counted >> i & 1) != 0;
    const uint32_t source = counted ? SourceOf(w, packets[i]) : 0;  // before the packet is gone
    const bool fruitless = Dispatch(w, packets[i]);
    if (counted) w.misses.Account(source, fruitless);
  }
  if (admitted.counted != 0)
    w.misses.End(rte_rdtsc() - begin, static_cast<uint32_t>(std::popcount(admitted.all)));
}

/// What a burst's plain hits add to the worker's counters.
struct PlainCounts {
  uint32_t hits = 0, encapsulated = 0, decapsulated = 0;
};

/// A packet of a settled flow, decided by the tables in force, that needs nothing but a new header.
template <class Key>
bool IsPlainHit(const WorkerContext& w, const BasicPacket<Key>& p, const FlowEntry<Key>* e) noexcept {
  return e != nullptr && p.plain && e->in_use && (e->flags & e->kPlain) != 0 &&
         e->generation == w.tables->generation && w.now_ms - e->last_seen_ms < kTouchMs;
}

void PrefetchAdjacency(const WorkerContext& w, NextHopId next_hop) noexcept {
  const ResolvedAdjacency& a = w.adjacencies.At(next_hop);
  rte_prefetch0(&a);
  rte_prefetch0(&a.header);
}

/// Most packets' way. False: `p` must go the long one (an entry found before may have been taken out by an
/// earlier packet of the burst).
template <class Key>
bool ForwardPlainHit(WorkerContext& w, BasicPacket<Key>& p, FlowEntry<Key>* e, PlainCounts& counts) noexcept {
  if (!IsPlainHit(w, p, e)) return false;
  const ResolvedAdjacency& a = w.adjacencies.At(e->next_hop);
  if (!w.adjacencies.IsGood(a) || !FitsPlain(p, a)) return false;
  Count(*e, p);
  ++counts.hits;
  counts.encapsulated += a.tunnel;
  counts.decapsulated += p.tunnelled;
  ForwardPlain(p, a, e->tunnel_src_port_be, w.outer_ip_id);
  w.tx.Add(*w.tables, w.counters, a.port, p.mbuf);
  return true;
}

/// A burst's packets of one family.
template <class Key>
void RunFamily(WorkerContext& w, BasicPacket<Key>* packets, uint16_t n) noexcept {
  FlowEntry<Key>* entries[kMaxBurst];
  w.FlowsOf<Key>().LookupBulk(packets, n, entries);
  for (uint16_t i = 0; i < n; ++i) {
    if (IsPlainHit(w, packets[i], entries[i])) PrefetchAdjacency(w, entries[i]->next_hop);
  }
  PlainCounts counts;
  uint64_t misses = 0;
  for (uint16_t i = 0; i < n; ++i) {
    if (ForwardPlainHit(w, packets[i], entries[i], counts)) continue;
    if (!HandleInTurn(w, packets[i], entries[i], misses != 0)) misses |= uint64_t{1} << i;
  }
  w.counters.Add(Counter::kFlowHits, counts.hits);
  w.counters.Add(Counter::kEncapsulated, counts.encapsulated);
  w.counters.Add(Counter::kDecapsulated, counts.decapsulated);
  if (misses != 0) RunMisses(w, packets, misses);
}

}  // namespace

void RunBurst(WorkerContext& w, rte_mbuf** mbufs, const PortId* in_ports, uint16_t n) noexcept {
  w.counters.Add(Counter::kReceived, n);
  w.adjacencies.Tick(w.tables->generation, w.shared.neighbors.changes(), w.now_ms);
  const BurstCounts counts = Parse(*w.tables, std::span(mbufs, n), in_ports, w.shared.hash_seed,
                                   w.packets.data(), w.packets6.data());
  if (counts.v4 != 0) RunFamily(w, w.packets.data(), counts.v4);
  if (counts.v6 != 0) RunFamily(w, w.packets6.data(), counts.v6);
}

void FlushPending(WorkerContext& w) noexcept {
  w.pending.Flush(
      w.now_ms, w.shared.neighbors,
      [&w](PendingPacket& waiting, const MacAddr& mac) {
        w.counters.Subtract(Counter::kQueued);
        ResumePacket(w, waiting, mac);
      },
      [&w](NeighborId neighbor) { AskNeighbor(w, neighbor, {}); },
      [&w](PendingPacket& waiting) {
        w.counters.Subtract(Counter::kQueued);
        std::visit(
            [&w](auto& p) {
              if (p.key.in_port != kNoPort) ReportError(w, p, IcmpError::kHostUnreachable, 0);
              DropPacket(w, p, DropReason::kNeighborUnresolved);
            },
            waiting.packet);
      });
}

void DropPending(WorkerContext& w) noexcept {
  w.pending.Clear([&w](PendingPacket& waiting) {
    w.counters.Subtract(Counter::kQueued);
    std::visit([&w](auto& p) { DropPacket(w, p, DropReason::kShutdown); }, waiting.packet);
  });
}

}  // namespace podwire
