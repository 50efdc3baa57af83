#pragma once

#include <cstdint>

#include <rte_mbuf.h>

#include "pmd/mempool.h"
#include "pmd/port.h"

namespace podwire {

/// A received UDP super-packet (GsoType::kUdp): many datagrams of one length, the last one perhaps
/// shorter, behind one header. All of it is a stranger's.
struct UdpSuperPacket {
  uint16_t header_len = 0;    ///< Ethernet, IP and UDP, bytes
  uint16_t datagram_len = 0;  ///< payload of each but the last, bytes
  uint32_t len = 0;           ///< of all, header_len included
  bool v6 = false;

  /// What `m` is. False when its headers, its lengths and its offload do not fit together.
  static bool Find(const rte_mbuf& m, UdpSuperPacket& super) noexcept;
};

/// Makes one tunnelled TCP super-packet out of a UDP super-packet that is to the tunnel and whose datagrams
/// are the successive segments of one connection (TcpCoalescer), every checksum right. In place: the outer
/// lengths are the whole's, the outer UDP checksum 0. False, and nothing changed, when it is anything else.
bool JoinTunnel(rte_mbuf& m, const UdpSuperPacket& super, const UdpTunnel& tunnel) noexcept;

/// Cuts a UDP super-packet into frames of its datagrams: new mbufs with a partial UDP checksum, IPv4 ids
/// counting up.
class UdpSplitter {
 public:
  UdpSplitter() = default;
  UdpSplitter(const UdpSplitter&) = delete;
  UdpSplitter& operator=(const UdpSplitter&) = delete;
  ~UdpSplitter() { rte_pktmbuf_free(packet_); }

  /// Takes the mbuf. Not while busy.
  void Start(rte_mbuf* m, const UdpSuperPacket& super) noexcept;
  bool busy() const { return packet_ != nullptr; }
  /// The next frame, the caller's. Null: no mbuf for it, and it is left out. Only while busy.
  rte_mbuf* Next(const MbufPools& pools) noexcept;

 private:
  void WriteHeader(rte_mbuf& frame, uint16_t datagram_len) const noexcept;

  rte_mbuf* packet_ = nullptr;
  UdpSuperPacket super_;
  uint32_t offset_ = 0;  ///< of the next datagram
  uint16_t index_ = 0;
};

}  // namespace podwire
