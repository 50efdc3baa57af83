#include "switch/connection.h"

#include <netinet/in.h>

#include <algorithm>

namespace podwire {
namespace {

constexpr uint8_t kFinBit = 0x01, kSynBit = 0x02, kRstBit = 0x04, kAckBit = 0x10;

enum class Segment : uint8_t { kInvalid, kSyn, kSynAck, kAck, kFin, kRst };

// The flag combinations that RFC 9293 knows, by what they mean for the state; PSH, URG, ECE and CWR are no
// matter.
Segment Classify(uint8_t flags) noexcept {
  switch (flags & (kFinBit | kSynBit | kRstBit | kAckBit)) {
    case kSynBit:
      return Segment::kSyn;
    case kSynBit | kAckBit:
      return Segment::kSynAck;
    case kAckBit:
      return Segment::kAck;
    case kFinBit | kAckBit:
      return Segment::kFin;
    case kRstBit:
    case kRstBit | kAckBit:
      return Segment::kRst;
    default:
      return Segment::kInvalid;
  }
}

ConnState First(Segment s) noexcept {
  switch (s) {
    case Segment::kSyn:
      return ConnState::kSynSent;
    case Segment::kAck:
      return ConnState::kEstablished;
    case Segment::kFin:
      return ConnState::kFinWait;
    case Segment::kRst:
      return ConnState::kClose;
    case Segment::kSynAck:
    case Segment::kInvalid:
      break;
  }
  return ConnState::kNone;
}

ConnState AfterSyn(ConnState state, bool reply) noexcept {
  switch (state) {
    case ConnState::kSynSent:
      return reply ? ConnState::kSynRecv : ConnState::kSynSent;  // simultaneous open
    case ConnState::kSynRecv:
      return state;  // sent again
    case ConnState::kEstablished:
    case ConnState::kFinWait:
    case ConnState::kCloseWait:
      // One end has lost its memory; the other answers with a challenge ACK (RFC 9293 3.10.7.4), and the RST
      // that follows closes this connection.
      return reply ? ConnState::kNone : state;
    case ConnState::kLastAck:
    case ConnState::kTimeWait:
    case ConnState::kClose:
      return reply ? ConnState::kNone : ConnState::kSynSent;
    case ConnState::kNone:
    case ConnState::kNew:
    case ConnState::kReply:
      break;
  }
  return ConnState::kNone;
}

ConnState AfterAck(ConnState state, bool reply) noexcept {
  switch (state) {
    case ConnState::kSynSent:
      return reply ? state : ConnState::kNone;  // a challenge ACK, else nothing to acknowledge
    case ConnState::kSynRecv:
      return reply ? state : ConnState::kEstablished;
    case ConnState::kLastAck:
      return ConnState::kTimeWait;
    case ConnState::kEstablished:
    case ConnState::kFinWait:
    case ConnState::kCloseWait:
    case ConnState::kTimeWait:
    case ConnState::kClose:
      return state;
    case ConnState::kNone:
    case ConnState::kNew:
    case ConnState::kReply:
      break;
  }
  return ConnState::kNone;
}

ConnState AfterFin(ConnState state, bool reply) noexcept {
  switch (state) {
    case ConnState::kSynRecv:
    case ConnState::kEstablished:
      return reply ? ConnState::kCloseWait : ConnState::kFinWait;
    case ConnState::kFinWait:
      return reply ? ConnState::kLastAck : state;
    case ConnState::kCloseWait:
      return reply ? state : ConnState::kLastAck;
    case ConnState::kLastAck:
    case ConnState::kTimeWait:
    case ConnState::kClose:
      return state;
    case ConnState::kSynSent:
    case ConnState::kNone:
    case ConnState::kNew:
    case ConnState::kReply:
      break;
  }
  return ConnState::kNone;
}

uint32_t TcpLimitSeconds(const Timeouts& t, ConnState state) noexcept {
  switch (state) {
    case ConnState::kSynSent:
      return t.tcp_syn_sent;
    case ConnState::kSynRecv:
      return t.tcp_syn_recv;
    case ConnState::kEstablished:
      return t.tcp_established;
    case ConnState::kFinWait:
      return t.tcp_fin_wait;
    case ConnState::kCloseWait:
      return t.tcp_close_wait;
    case ConnState::kLastAck:
      return t.tcp_last_ack;
    case ConnState::kTimeWait:
      return t.tcp_time_wait;
    case ConnState::kNone:
    case ConnState::kNew:
    case ConnState::kReply:
    case ConnState::kClose:
      break;
  }
  return t.tcp_close;
}

uint32_t LimitSeconds(const Timeouts& t, uint8_t proto, ConnState state) noexcept {
  const bool replied = state == ConnState::kReply;
  switch (proto) {
    case IPPROTO_TCP:
      return TcpLimitSeconds(t, state);
    case IPPROTO_UDP:
      return replied ? t.udp_established : t.udp_new;
    case IPPROTO_SCTP:
      return replied ? t.sctp_established : t.sctp_new;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return t.icmp;
    default:
      return t.other;
  }
}

}  // namespace

std::string_view Name(ConnState s) {
  switch (s) {
    case ConnState::kNone:
      return "none";
    case ConnState::kSynSent:
      return "syn-sent";
    case ConnState::kSynRecv:
      return "syn-recv";
    case ConnState::kEstablished:
      return "established";
    case ConnState::kFinWait:
      return "fin-wait";
    case ConnState::kCloseWait:
      return "close-wait";
    case ConnState::kLastAck:
      return "last-ack";
    case ConnState::kTimeWait:
      return "time-wait";
    case ConnState::kClose:
      return "close";
    case ConnState::kNew:
      return "new";
    case ConnState::kReply:
      return "reply";
  }
  return "unknown";
}

ConnState NextTcpState(ConnState state, uint8_t tcp_flags, bool reply) noexcept {
  const Segment s = Classify(tcp_flags);
  if (state == ConnState::kNone) return First(s);
  if (state == ConnState::kNew || state == ConnState::kReply) return ConnState::kNone;
  switch (s) {
    case Segment::kSyn:
      return AfterSyn(state, reply);
    case Segment::kSynAck:
      // Answers a SYN, or is an answer sent again; from the beginner only in a simultaneous open.
      if (state == ConnState::kSynSent) return reply ? ConnState::kSynRecv : ConnState::kNone;
      return state;
    case Segment::kAck:
      return AfterAck(state, reply);
    case Segment::kFin:
      return AfterFin(state, reply);
    case Segment::kRst:
      return ConnState::kClose;
    case Segment::kInvalid:
      break;
  }
  return ConnState::kNone;
}

bool IsAnswered(ConnState before, ConnState next, bool reply) noexcept {
  switch (next) {
    case ConnState::kEstablished:
    case ConnState::kFinWait:
    case ConnState::kCloseWait:
    case ConnState::kLastAck:
    case ConnState::kTimeWait:
      return reply != (before == ConnState::kSynRecv);  // a handshake is completed by who began it
    case ConnState::kReply:
      return true;
    case ConnState::kNone:
    case ConnState::kSynSent:
    case ConnState::kSynRecv:
    case ConnState::kClose:
    case ConnState::kNew:
      break;
  }
  return false;
}

uint32_t IdleLimitMs(const Timeouts& t, uint8_t proto, ConnState state, bool embryonic) noexcept {
  uint64_t ms = uint64_t{LimitSeconds(t, proto, state)} * 1000;
  if (embryonic && proto == IPPROTO_TCP) ms = std::min<uint64_t>(ms, uint64_t{t.tcp_syn_sent} * 1000);
  return static_cast<uint32_t>(std::min<uint64_t>(ms, INT32_MAX));  // idle times are signed differences
}

}  // namespace podwire
