#include "switch/track.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <rte_byteorder.h>

#include "switch/events.h"
#include "switch/parse.h"

namespace podwire {
namespace {

/// May the first packet seen of a flow make a connection? ICMP replies answer something, errors have their
/// own way, and a later fragment's first has not been here.
template <class Key>
bool MayOpen(const BasicPacket<Key>& p) noexcept {
  if (p.kind == PacketKind::kLaterFragment) return false;
  if (p.key.proto != Key::kIcmp) return true;
  if constexpr (Key::kIcmp == IPPROTO_ICMPV6) return p.icmp_type == ICMP6_ECHO_REQUEST;
  return p.icmp_type == ICMP_ECHO || p.icmp_type == ICMP_TIMESTAMP || p.icmp_type == ICMP_INFO_REQUEST ||
         p.icmp_type == ICMP_ADDRESS;
}

/// The state after a packet; kNone: not allowed in this state.
template <class Key>
ConnState NextState(ConnState state, const BasicPacket<Key>& p, bool reply) noexcept {
  if (p.key.proto == IPPROTO_TCP) {
    return p.kind == PacketKind::kLaterFragment ? state : NextTcpState(state, p.tcp_flags, reply);
  }
  return reply || state == ConnState::kReply ? ConnState::kReply : ConnState::kNew;
}

/// A SYN against the direction of a connection that is over begins another.
template <class Key>
bool BeginsAnother(const BasicPacket<Key>& p, ConnState state) noexcept {
  constexpr uint8_t kSyn = 0x02, kAck = 0x10;
  const bool over = state == ConnState::kClose || state == ConnState::kTimeWait;
  return over && p.key.proto == IPPROTO_TCP && (p.tcp_flags & (kSyn | kAck)) == kSyn;
}

/// Established TCP needs to see flags only, others nothing but the time.
template <class Key>
bool IsUnsettled(const BasicPacket<Key>& p, ConnState state) noexcept {
  return p.key.proto == IPPROTO_TCP && state != ConnState::kEstablished;
}

/// The headers that the connection's first packet had, as far as policy looks at them.
template <class Key>
Headers OriginalHeaders(const Connection<Key>& c) noexcept {
  return {.src = c.key.src,
          .dst = c.key.dst,
          .proto = c.key.proto,
          .src_port = rte_be_to_cpu_16(c.key.src_port_be),
          .dst_port = rte_be_to_cpu_16(c.key.dst_port_be)};
}

/// The endpoints are the entry's for life and set before others see it. Versions are stored last: who reads a
/// version reads its verdict too.
template <class Key>
void StorePolicy(Connection<Key>& c, const PolicyDecision& d) noexcept {
  c.egress_rule = d.egress.rule;
  c.ingress_rule = d.ingress.rule;
  c.denied.store(d.reason, std::memory_order_relaxed);
  c.src_version.store(d.src_version, std::memory_order_release);
  c.dst_version.store(d.dst_version, std::memory_order_release);
}

enum class Currency : uint8_t { kCurrent, kOutdated, kOtherOwner };

/// Versions count up. A later one is another worker's, who has taken over the next tables already: its
/// verdict stands, or the two would undo each other's.
bool IsCurrent(const Endpoint* e, const std::atomic<uint32_t>& version) noexcept {
  return e == nullptr || static_cast<int32_t>(version.load(std::memory_order_acquire) - e->version) >= 0;
}

/// Whether the connection was decided by the policies in force, for the pods that now have its addresses.
/// `ends`: of the original direction.
template <class Key>
Currency CurrencyOf(const Connection<Key>& c, const Ends& ends) noexcept {
  const Endpoint* src = ends.src;
  const Endpoint* dst = ends.dst;
  if ((src == nullptr ? kNoEndpoint : src->id) != c.src_endpoint) return Currency::kOtherOwner;
  if ((dst == nullptr ? kNoEndpoint : dst->id) != c.dst_endpoint) return Currency::kOtherOwner;
  const bool current = IsCurrent(src, c.src_version) && IsCurrent(dst, c.dst_version);
  return current ? Currency::kCurrent : Currency::kOutdated;
}

/// Re-decides the policy of a connection that was decided under older tables.
template <class Key>
void Redecide(WorkerContext& w, uint32_t index, uint32_t serial, const Ends& ends) noexcept {
  w.shared.ConnectionsOf<Key>().UpdateLocked(index, serial, [&](Connection<Key>& c) {
    if (CurrencyOf(c, ends) != Currency::kOutdated) return;  // another worker was faster
    const bool was_allowed = c.denied.load(std::memory_order_relaxed) == DropReason::kNone;
    const PolicyDecision d = DecidePolicy(*w.tables, OriginalHeaders(c), ends);
    if (was_allowed && !d.allowed) {
      w.counters.Add(Counter::kConnectionsCut);
      const bool egress = d.reason == DropReason::kPolicyDeniedEgress;
      RecordCut(w, c.key, d.reason, egress ? d.src_endpoint : d.dst_endpoint);
    }
    StorePolicy(c, d);
  });
}

/// A packet of a connection in `fate`, between `ends`: re-decides it if need be, tells it. False: take the
/// packet as a new one's first.
template <class Key>
bool Existing(WorkerContext& w, const BasicPacket<Key>& p, const Ends& ends, Fate& fate) noexcept {
  const Connection<Key>& c = w.shared.ConnectionsOf<Key>().At(fate.connection);
  const Ends original = fate.reply ? ends.Reversed() : ends;
  const Currency currency = CurrencyOf(c, original);
  if (currency == Currency::kOtherOwner)
    return false;  // an address changed hands: nobody inherits a connection
  if (currency == Currency::kOutdated) Redecide<Key>(w, fate.connection, fate.serial, original);
  fate.reason = c.denied.load(std::memory_order_relaxed);
  fate.cacheable = true;
  if (fate.reason != DropReason::kNone) return true;
  const Touch touch = TouchConnection(w, p, fate.connection, fate.serial, fate.reply);
  if (touch == Touch::kGone) return false;
  fate.unsettled = touch == Touch::kUnsettled;
  if (touch != Touch::kInvalid) return true;
  fate.reason = DropReason::kInvalidState;
  fate.cacheable = false;
  return true;
}

/// The flow table fills up with flows of one packet, it seems: what comes again can still be entered then,
/// and what came once puts nobody out.
template <class Key>
bool IsCrowded(const FlowTable<Key>& flows) noexcept {
  return flows.size() > flows.capacity() / 4 * 3;
}

/// Whether the first packet of a connection that may not be is worth an entry. A flow that goes on gets one
/// soon.
template <class Key>
bool IsWorthCaching(WorkerContext& w) noexcept {
  constexpr uint32_t kOneIn = 8;
  return !IsCrowded(w.FlowsOf<Key>()) || ++w.denied_when_crowded % kOneIn == 0;
}

template <class Key>
void Open(WorkerContext& w, const BasicPacket<Key>& p, const Headers& h, const Ends& ends, uint32_t hash,
          Fate& fate) noexcept {
  if (!MayOpen(p)) {
    fate.reason =
        p.kind == PacketKind::kLaterFragment ? DropReason::kFragmentNoFirst : DropReason::kNoConnection;
    return;
  }
  const ConnState state = NextState(ConnState::kNone, p, false);
  if (state == ConnState::kNone) {
    fate.reason = DropReason::kNoConnection;
    return;
  }
  const PolicyDecision d = DecidePolicy(*w.tables, h, ends);
  if (!d.allowed) {
    fate.reason = d.reason;
    fate.cacheable = IsWorthCaching<Key>(w);
    return;
  }
  const auto inserted = w.shared.ConnectionsOf<Key>().Insert(p.key, hash, w.now_ms, [&](Connection<Key>& c) {
    c.state.store(state, std::memory_order_relaxed);
    c.src_endpoint = d.src_endpoint;
    c.dst_endpoint = d.dst_endpoint;
    StorePolicy(c, d);
  });
  fate.reason = inserted.reason;
  if (inserted.reason != DropReason::kNone) return;
  fate.connection = inserted.index;
  fate.serial = inserted.serial;
  fate.reply = inserted.reply;
  fate.displaced = inserted.displaced;
  if (inserted.existed) {  // another worker was faster
    if (!Existing(w, p, ends, fate)) fate.reason = DropReason::kNoConnection;
    return;
  }
  w.counters.Add(Counter::kConnectionsCreated);
  if (w.shared.offload_marks.Contains(hash)) w.shared.offload_marks.NoteChange();
  fate.opened = true;
  fate.unsettled = IsUnsettled(p, state);
  fate.cacheable = !IsCrowded(w.FlowsOf<Key>());
}

/// Joins the packet with its connection, made if it may be.
template <class Key>
void Track(WorkerContext& w, const BasicPacket<Key>& p, const Headers& h, const Ends& ends,
           Fate& fate) noexcept {
  const uint32_t hash = SymmetricHash(p.key, w.shared.hash_seed);
  const auto found = w.shared.ConnectionsOf<Key>().Find(p.key, hash);
  if (found.index != 0) {
    fate.connection = found.index;
    fate.serial = found.serial;
    fate.reply = found.reply;
    if (Existing(w, p, ends, fate)) return;
    w.shared.ConnectionsOf<Key>().Remove(found.index, found.serial);
    fate = {};
  }
  Open(w, p, h, ends, hash, fate);
}

}  // namespace

template <class Key>
Fate DecideFate(WorkerContext& w, const BasicPacket<Key>& p) noexcept {
  const Tables& t = *w.tables;
  const Headers h = HeadersOf(p);
  const Ends ends = EndsOf(t, h);
  Fate fate;
  fate.reason = CheckSource(t, h, ends);
  if (fate.reason != DropReason::kNone) return fate;
  const Forwarding f = DecideForwarding(t, h, ends);
  if (f.action == Action::kLocal) {
    fate.action = Action::kLocal;
    return fate;
  }
  if (f.action == Action::kDrop) {
    const DropReason policy = DecidePolicy(t, h, ends).reason;  // egress policy speaks before the route
    fate.reason = policy == DropReason::kPolicyDeniedEgress ? policy : f.reason;
    return fate;
  }
  Track(w, p, h, ends, fate);
  if (fate.reason != DropReason::kNone) return fate;
  fate.action = f.action;
  fate.path = PathOf(w, f);
  return fate;
}

template <class Key>
Touch TouchConnection(WorkerContext& w, const BasicPacket<Key>& p, uint32_t connection, uint32_t serial,
                      bool reply) noexcept {
  Connection<Key>& c = w.shared.ConnectionsOf<Key>().At(connection);
  if (c.serial.load(std::memory_order_acquire) != serial) return Touch::kGone;
  const ConnState state = c.state.load(std::memory_order_relaxed);
  const ConnState next = NextState(state, p, reply);
  if (next == ConnState::kNone) {
    if (!BeginsAnother(p, state)) return Touch::kInvalid;
    w.shared.ConnectionsOf<Key>().Remove(connection, serial);
    return Touch::kGone;
  }
  if (next != state) {
    c.state.store(next, std::memory_order_relaxed);
    if (w.shared.offload_marks.Contains(c.hash)) w.shared.offload_marks.NoteChange();
  }
  if (IsAnswered(state, next, reply)) w.shared.ConnectionsOf<Key>().Confirm(connection);
  if (c.last_seen_ms.load(std::memory_order_relaxed) != w.now_ms)
    c.last_seen_ms.store(w.now_ms, std::memory_order_relaxed);
  return IsUnsettled(p, next) ? Touch::kUnsettled : Touch::kSettled;
}

template <class Key>
bool IsStillDenied(const WorkerContext& w, const BasicPacket<Key>& p, uint32_t connection,
                   uint32_t serial) noexcept {
  const auto found = w.shared.ConnectionsOf<Key>().Find(p.key, SymmetricHash(p.key, w.shared.hash_seed));
  return found.index == connection && (connection == 0 || found.serial == serial);
}

template <class Key>
bool IsRelated(WorkerContext& w, const BasicPacket<Key>& p) noexcept {
  const auto found = w.shared.ConnectionsOf<Key>().Find(p.key, SymmetricHash(p.key, w.shared.hash_seed));
  if (found.index == 0) return false;
  const Connection<Key>& c = w.shared.ConnectionsOf<Key>().At(found.index);
  const Ends ends = EndsOf(*w.tables, OriginalHeaders(c));
  const Currency currency = CurrencyOf(c, ends);
  if (currency == Currency::kOtherOwner) return false;
  if (currency == Currency::kOutdated) Redecide<Key>(w, found.index, found.serial, ends);
  return c.denied.load(std::memory_order_relaxed) == DropReason::kNone;
}

#define PODWIRE_INSTANTIATE(P)                                                                 \
  template Fate DecideFate(WorkerContext&, const P&) noexcept;                                 \
  template Touch TouchConnection(WorkerContext&, const P&, uint32_t, uint32_t, bool) noexcept; \
  template bool IsStillDenied(const WorkerContext&, const P&, uint32_t, uint32_t) noexcept;    \
  template bool IsRelated(WorkerContext&, const P&) noexcept;
PODWIRE_INSTANTIATE(Packet)
PODWIRE_INSTANTIATE(Packet6)
#undef PODWIRE_INSTANTIATE

}  // namespace podwire
