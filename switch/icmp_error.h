#pragma once

#include <algorithm>
#include <cstring>

#include <rte_icmp.h>
#include <rte_mbuf.h>

#include "pmd/offload.h"
#include "switch/packet.h"

namespace podwire {

/// What ICMP errors of both families have in common; for icmp.cc and icmp6.cc.
template <class IpHeader>
struct IcmpErrorFrame {
  rte_mbuf* mbuf = nullptr;  ///< nullptr: there was none, or the packet cannot be quoted
  IpHeader* ip = nullptr;
  rte_icmp_hdr* icmp = nullptr;
  uint16_t len = 0;  ///< from the IP header on, bytes
};

/// Room for both headers, and behind them as much of `packet` as fits into `max_len`.
template <class IpHeader, class Key>
IcmpErrorFrame<IpHeader> QuoteInError(rte_mempool& pool, const BasicPacket<Key>& packet,
                                      uint16_t max_len) noexcept {
  constexpr uint16_t kHeaders = sizeof(IpHeader) + sizeof(rte_icmp_hdr);
  const uint16_t quoted = std::min<uint16_t>(packet.l3_len, static_cast<uint16_t>(max_len - kHeaders));
  IcmpErrorFrame<IpHeader> frame{.len = static_cast<uint16_t>(kHeaders + quoted)};
  rte_mbuf* m = rte_pktmbuf_alloc(&pool);
  if (m == nullptr) return frame;
  frame.ip = reinterpret_cast<IpHeader*>(rte_pktmbuf_append(m, frame.len));
  frame.icmp = reinterpret_cast<rte_icmp_hdr*>(frame.ip + 1);
  auto* quote = reinterpret_cast<uint8_t*>(frame.icmp + 1);
  const void* original =
      frame.ip == nullptr ? nullptr : rte_pktmbuf_read(packet.mbuf, packet.l3_offset, quoted, quote);
  if (original == nullptr) {
    rte_pktmbuf_free(m);
    return frame;
  }
  if (original != quote) std::memcpy(quote, original, quoted);
  OffloadOf(*m) = {};
  frame.mbuf = m;
  return frame;
}

/// The error that is written in `frame`, on `packet`.
template <class IpHeader, class Key>
BasicPacket<Key> DescribeError(const IcmpErrorFrame<IpHeader>& frame, const BasicPacket<Key>& packet,
                               uint8_t ttl) noexcept {
  BasicPacket<Key> error{};
  error.mbuf = frame.mbuf;
  error.kind = PacketKind::kIcmpError;
  error.key = packet.key;
  error.key.in_port = kNoPort;
  error.l4_offset = sizeof(IpHeader);
  error.l3_len = frame.len;
  error.ttl = ttl;
  error.icmp_type = frame.icmp->icmp_type;
  error.icmp_code = frame.icmp->icmp_code;
  error.dont_fragment = true;
  return error;
}

}  // namespace podwire
