#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <rte_mbuf.h>

namespace podwire {

using Bytes = std::vector<uint8_t>;

/// Plain functions over bytes, written from the RFCs and not from the code under test.
uint16_t Get16(const Bytes& b, size_t at);
uint32_t Get32(const Bytes& b, size_t at);
void Put16(Bytes& b, size_t at, uint32_t value);
void Put32(Bytes& b, size_t at, uint32_t value);
/// RFC 1071, byte by byte; not complemented.
uint16_t NaiveSum(const Bytes& b, size_t from, size_t to, uint32_t start = 0);
/// Sum of the pseudo header of an IP header at `l3` for `l4_len` bytes of `protocol` (RFC 793, RFC 8200 8.1).
uint16_t PseudoSum(const Bytes& b, size_t l3, uint8_t protocol, size_t l4_len);

enum class Tunnel { kNone, kVxlan, kUdp };

/// A TCP packet to segment: its bytes (partial checksum set) and where its headers are.
struct SuperPacket {
  Tunnel tunnel = Tunnel::kNone;
  bool outer_v6 = false;
  bool v6 = false;
  bool vlan = false;
  uint8_t ip_options = 0;   ///< bytes, a multiple of 4; v4 only
  uint8_t tcp_options = 0;  ///< bytes, a multiple of 4
  uint8_t tcp_flags = 0x10;
  uint16_t gso_size = 1448;
  uint32_t sequence = 1;
  uint16_t id = 1;
  Bytes payload;

  // Set by Build.
  Bytes bytes;
  size_t outer_l3 = 0;
  size_t outer_l4 = 0;
  size_t l3 = 0;
  size_t l4 = 0;
  size_t header = 0;

  void Build();
  /// The packet as the switch would hand it to a port: the first `first_len` bytes (at least the headers) in
  /// a small mbuf, the rest in big ones of up to `part_len`; lengths, flags and Offload set.
  rte_mbuf* ToMbuf(size_t first_len, size_t part_len = 60000) const;
  std::string Describe() const;
};

/// The bytes of a packet, chained mbufs joined.
Bytes ToBytes(const rte_mbuf& m);
/// `bytes` in chained mbufs: the first `first_len` in a small one, the rest in big ones of up to `part_len`.
rte_mbuf* ChainMbufs(const Bytes& bytes, size_t first_len, size_t part_len);

}  // namespace podwire
