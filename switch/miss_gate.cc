#include "switch/miss_gate.h"

#include <netinet/in.h>

#include <bit>

#include <rte_tcp.h>

#include "switch/output.h"
#include "switch/pipeline.h"

namespace podwire {
namespace {

constexpr uint32_t kHalf = MissLimiter::kSources / 2;

bool IsBareSyn(const Packet& p) noexcept {
  constexpr uint8_t kFlags = RTE_TCP_FIN_FLAG | RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG;
  return p.key.proto == IPPROTO_TCP && (p.tcp_flags & kFlags) == RTE_TCP_SYN_FLAG;
}

bool NeedsNoLookup(const Packet& p) noexcept {
  return p.kind == PacketKind::kIcmpError || (p.kind == PacketKind::kFlow && IsBareSyn(p));
}

/// Whether the packet's connection speaks for it: answered, or this is the answer.
bool IsKnown(const WorkerContext& w, const Packet& p, uint32_t hash) noexcept {
  const auto found = w.shared.connections->Find(p.key, hash);
  if (found.index == 0) return false;
  return found.reply || !w.shared.connections->At(found.index).embryonic.load(std::memory_order_relaxed);
}

template <class Fn>
void ForEachBit(uint64_t bits, Fn&& fn) noexcept {
  for (; bits != 0; bits &= bits - 1) fn(static_cast<uint32_t>(std::countr_zero(bits)), bits & -bits);
}

}  // namespace

// A pod is its port, whatever addresses it forges. Those who send through the underlay are told by their
// addresses, and kept apart from the pods.
uint32_t SourceOf(const WorkerContext& w, const Packet& p) noexcept {
  const PortId port = p.key.in_port;
  if (w.tables->ports[port.value()].role == PortRole::kPod) return port.value() % kHalf;
  const uint64_t mixed = (p.key.src.be ^ w.shared.hash_seed) * 0x9e3779b97f4a7c15;
  return kHalf + static_cast<uint32_t>(mixed >> 32) % kHalf;
}

Admitted AdmitMisses(WorkerContext& w, Packet* packets, uint64_t misses) noexcept {
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
  const ConnTable<FlowKey4>& connections = *w.shared.connections;
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

}  // namespace podwire
