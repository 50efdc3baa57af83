#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "acl/compiled_policy.h"
#include "net/id.h"
#include "switch/drop_reasons.h"
#include "switch/flow_key.h"
#include "switch/timeouts.h"

namespace podwire {

enum class ConnState : uint8_t {
  kNone,
  kSynSent,
  kSynRecv,
  kEstablished,
  kFinWait,
  kCloseWait,
  kLastAck,
  kTimeWait,
  kClose,
  kNew,    ///< UDP, SCTP, ICMP and others: no reply yet
  kReply,  ///< these: both directions seen
};

std::string_view Name(ConnState s);  ///< "syn-sent", "established", "new"...

/// Room for a Service translation (later): where the original direction's destination and source are
/// rewritten to.
template <class Address>
struct Translation {
  Address dst, src;
  uint16_t dst_port_be = 0, src_port_be = 0;
  uint32_t flags = 0;
};

/// A tracked connection, shared by all workers: an entry of ConnTable. IPv4: 128 bytes; with two 64-byte flow
/// entries 256 in all. IPv6: 192; with two of 128 bytes 448.
///
/// Writers: any worker stores the atomics last_seen_ms and state (relaxed), and clears `embryonic` through
/// ConnTable::Confirm; all else is written under the shard's lock. Readers without the lock may read the
/// atomics, key and translation (the latter two are fixed while the serial is odd), after they have compared
/// the serial; the other fields under the lock only (UpdateLocked, ForEach).
template <class Key>
struct alignas(64) Connection {
  Key key;                          ///< original direction; in_port is not part of its identity and always 0
  std::atomic<uint32_t> serial{0};  ///< odd: in use; counts up at insert and at removal
  std::atomic<uint32_t> last_seen_ms{0};
  std::atomic<uint32_t> next{0};  ///< hash chain; the table's
  uint32_t link = 0;              ///< list of free or of retired entries; the table's
  uint32_t hash = 0;              ///< SymmetricHash of key; the table's
  std::atomic<ConnState> state{ConnState::kNone};
  std::atomic<DropReason> denied{DropReason::kNone};  ///< kNone: the policies allow it
  std::atomic<uint8_t> proto{0};                      ///< key.proto, for readers that hold no grace period
  /// Nobody has answered it yet: it counts against the embryonic budget. Cleared once, by who takes it out of
  /// the budget.
  std::atomic<bool> embryonic{false};
  // The policy decision, of the original direction; re-decided under the shard lock when a version is out of
  // date.
  std::atomic<uint32_t> src_version{0}, dst_version{0};
  EndpointId src_endpoint = kNoEndpoint, dst_endpoint = kNoEndpoint;
  RuleRef egress_rule, ingress_rule;
  EndpointId charged = kNoEndpoint;  ///< whose quota it counts against, for its life; the table's
  uint32_t slot = 0;                 ///< in the shard's ring of embryonic ones while it is one; the table's
  Translation<typename Key::Address> translation;
};

static_assert(sizeof(Connection<FlowKey4>) == 128);
static_assert(sizeof(Connection<FlowKey6>) == 192);

/// A consistent copy of a connection, for listing.
template <class Key>
struct ConnectionSnapshot {
  Key key;
  uint32_t index = 0, serial = 0, last_seen_ms = 0;
  ConnState state = ConnState::kNone;
  DropReason denied = DropReason::kNone;
  bool embryonic = false;
  uint32_t src_version = 0, dst_version = 0;
  EndpointId src_endpoint = kNoEndpoint, dst_endpoint = kNoEndpoint;
  RuleRef egress_rule, ingress_rule;
  Translation<typename Key::Address> translation;
};

/// What a TCP segment does to its connection's state (RFC 9293 3.3.2, without window tracking; usual
/// middlebox simplification). `reply`: seen in the reply direction. Returns the next state, or kNone if no
/// state allows it. The states are the original sender's: kFinWait, it has sent its FIN; kCloseWait, the
/// other side has; kLastAck, both. `state` kNone is a connection's first packet: SYN opens it; ACK, FIN and
/// RST pick it up in the middle (kEstablished, kFinWait, kClose); SYN with ACK is refused, since its sender
/// did not begin the connection. SYN re-opens a closed connection in the original direction only. In the
/// reply direction it would begin a connection that nobody has decided: kNone, and the caller may remove this
/// one and take the packet as the first of another.
ConnState NextTcpState(ConnState state, uint8_t tcp_flags, bool reply) noexcept;

/// Whether a packet of the direction `reply` that takes a connection from `before` to `next` shows that both
/// ends take part in it. TCP: the handshake is complete, or the other side goes on with a conversation that
/// was picked up in the middle. Others: the other side has answered.
bool IsAnswered(ConnState before, ConnState next, bool reply) noexcept;

/// Idle milliseconds after which a connection of this protocol in this state is forgotten; at most 2^31 - 1.
/// One that was picked up in the middle and is still `embryonic` has no longer than a SYN without an answer.
uint32_t IdleLimitMs(const Timeouts& t, uint8_t proto, ConnState state, bool embryonic) noexcept;

}  // namespace podwire
