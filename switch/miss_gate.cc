#include "switch/miss_gate.h"

#include <netinet/in.h>

#include <bit>
#include <cstring>

#include <rte_tcp.h>

#include "switch/output.h"
#include "switch/pipeline.h"

namespace podwire {
namespace {

constexpr uint32_t kHalf = MissLimiter::kSources / 2;

template <class Key>
bool IsBareSyn(const BasicPacket<Key>& p) noexcept {
  constexpr uint8_t kFlags = RTE_TCP_FIN_FLAG | RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG;
  return p.key.proto == IPPROTO_TCP && (p.tcp_flags & kFlags) == RTE_TCP_SYN_FLAG;
}

template <class Key>
bool NeedsNoLookup(const BasicPacket<Key>& p) noexcept {
  return p.kind == PacketKind::kIcmpError || (p.kind == PacketKind::kFlow && IsBareSyn(p));
}

/// Whether the packet's connection speaks for it: answered, or this is the answer.
template <class Key>
bool IsKnown(const WorkerContext& w, const BasicPacket<Key>& p, uint32_t hash) noexcept {
  const auto& connections = w.shared.ConnectionsOf<Key>();
  const auto found = connections.Find(p.key, hash);
  if (found.index == 0) return false;
  return found.reply || !connections.At(found.index).embryonic.load(std::memory_order_relaxed);
}

/// Of IPv6 the network: whoever has one has all its addresses.
uint64_t NetworkOf(Ipv4 a) noexcept { return a.be; }
uint64_t NetworkOf(const Ipv6& a) noexcept {
  uint64_t network;
  std::memcpy(&network, a.bytes.data(), sizeof network);
  return network;
}

template <class Fn>
void ForEachBit(uint64_t bits, Fn&& fn) noexcept {
  for (; bits != 0; bits &= bits - 1) fn(static_cast<uint32_t>(std::countr_zero(bits)), bits & -bits);
}

}  // namespace

// A pod is its port, whatever addresses it forges. Those who send through the underlay are told by their
// addresses, and kept apart from the pods.
template <class Key>
uint32_t SourceOf(const WorkerContext& w, const BasicPacket<Key>& p) noexcept {
  const PortId port = p.key.in_port;
  if (w.tables->ports[port.value()].role == PortRole::kPod) return port.value() % kHalf;
  const uint64_t mixed = (NetworkOf(p.key.src) ^ w.shared.hash_seed) * 0x9e3779b97f4a7c15;
  return kHalf + static_cast<uint32_t>(mixed >> 32) % kHalf;
}

template <class Key>
Admitted AdmitMisses(WorkerContext& w, BasicPacket<Key>* packets, uint64_t misses) noexcept {
  const bool limiting = w.misses.Begin(w.now_ms, w.counters.Get(Counter::kFlowHits));
  Admitted admitted{.all = misses};
  const auto refuse = [&](uint32_t i, uint64_t bit) {
    if (w.misses.Admit(SourceOf(w, packets[i]))) {
      admitted.counted |= bit;
      return;
    }
    admitted.all &= ~bit;
    DropPacket(w, packets[i], DropReason::kOverload);
  };
  if (limiting) {
    ForEachBit(misses, [&](uint32_t i, uint64_t bit) {
      if (NeedsNoLookup(packets[i])) refuse(i, bit);
    });
  }
  const ConnTable<Key>& connections = w.shared.ConnectionsOf<Key>();
  uint32_t hash[kMaxBurst];
  ForEachBit(admitted.all, [&](uint32_t i, uint64_t) {
    hash[i] = SymmetricHash(packets[i].key, w.shared.hash_seed);
    connections.PrefetchHead(hash[i]);
  });
  ForEachBit(admitted.all, [&](uint32_t i, uint64_t) { connections.PrefetchFirst(hash[i]); });
  if (!limiting) return admitted;
  ForEachBit(admitted.all & ~admitted.counted, [&](uint32_t i, uint64_t bit) {
    if (packets[i].kind == PacketKind::kFlow && !IsKnown(w, packets[i], hash[i])) refuse(i, bit);
  });
  return admitted;
}

template uint32_t SourceOf(const WorkerContext&, const Packet&) noexcept;
template uint32_t SourceOf(const WorkerContext&, const Packet6&) noexcept;
template Admitted AdmitMisses(WorkerContext&, Packet*, uint64_t) noexcept;
template Admitted AdmitMisses(WorkerContext&, Packet6*, uint64_t) noexcept;

}  // namespace podwire
