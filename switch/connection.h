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
struct Translation4 {
  Ipv4 dst, src;
  uint16_t dst_port_be = 0, src_port_be = 0;
  uint32_t flags = 0;
};

/// A tracked connection, shared by all workers. Written under its shard's lock, but for the atomics, which
/// any worker writes (relaxed). 128 bytes; with two 64-byte flow entries 256 in all. IPv6 will be another
/// instantiation of Key.
template <class Key>
struct alignas(64) Connection {
  Key key;                          ///< original direction; in_port is not part of its identity
  std::atomic<uint32_t> serial{0};  ///< odd: in use; counts up at insert and at removal
  std::atomic<uint32_t> last_seen_ms{0};
  std::atomic<ConnState> state{ConnState::kNone};
  std::atomic<DropReason> denied{DropReason::kNone};  ///< kNone: the policies allow it
  uint16_t shard = 0;
  uint32_t next = 0;  ///< hash chain or free list (the table's)
  // The policy decision, of the original direction; re-decided under the shard lock when a version is out of
  // date.
  std::atomic<uint32_t> src_version{0}, dst_version{0};
  EndpointId src_endpoint = kNoEndpoint, dst_endpoint = kNoEndpoint;
  RuleRef egress_rule, ingress_rule;
  Translation4 translation;
};

/// What a TCP segment does to its connection's state (RFC 9293 3.3.2, without window tracking; usual
/// middlebox simplification). `reply`: seen in the reply direction. Returns the next state, or kNone if no
/// state allows it. A connection picked up in the middle (first packet is no SYN) becomes kEstablished.
ConnState NextTcpState(ConnState state, uint8_t tcp_flags, bool reply) noexcept;

/// Idle milliseconds after which a connection of this protocol in this state is forgotten.
uint32_t IdleLimitMs(const Timeouts& t, uint8_t proto, ConnState state) noexcept;

}  // namespace podwire
