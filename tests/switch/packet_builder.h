#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <rte_mbuf.h>

#include "net/address.h"
#include "tests/switch/eal_environment.h"

namespace podwire::testing {

using Bytes = std::vector<uint8_t>;

/// "45 00 00 54" or "45000054"; white space is free.
Bytes Hex(std::string_view text);
std::string ToHex(std::span<const uint8_t> bytes);

/// One's complement sum of RFC 1071 by its plain definition; 0xffff over what holds a right checksum.
uint16_t Sum16(std::span<const uint8_t> bytes);
/// The sum over an IP packet's L4 with its pseudo header; 0xffff if the checksum in it is right. IPv6:
/// without extension headers.
uint16_t L4Sum(std::span<const uint8_t> ip_packet);

/// Big-endian 16 and 32 bits at `offset`.
uint16_t Be16(std::span<const uint8_t> bytes, size_t offset);
uint32_t Be32(std::span<const uint8_t> bytes, size_t offset);

MacAddr Mac(std::string_view text);
Ipv4 Ip(std::string_view text);
Ipv6 Ip6(std::string_view text);

/// In the test pool; the first segment is cut at `first_segment` bytes (a second one holds the rest).
MbufPtr ToMbuf(std::span<const uint8_t> bytes, size_t first_segment = SIZE_MAX);
/// All segments.
Bytes BytesOf(const rte_mbuf& m);

struct Ipv4Fields {
  uint8_t tos = 0, ttl = 64;
  uint16_t id = 0;
  bool df = false, mf = false;
  uint16_t fragment_offset = 0;  ///< bytes, a multiple of 8
  Bytes options{};               ///< a multiple of 4 bytes
  int proto = -1;                ///< -1: by the next layer
  int total_length = -1;         ///< -1: the right one
  bool bad_checksum = false;
};

struct Ipv6Fields {
  uint8_t traffic_class = 0, hop_limit = 64;
  uint32_t flow_label = 0;
  int next = -1;            ///< -1: by the next layer
  int payload_length = -1;  ///< -1: the right one
};

/// Builds a frame layer by layer, outermost first; lengths and checksums are right unless a test says
/// otherwise.
///   Frame().Eth(dst, src).Ip4("10.0.0.1", "10.0.0.2").Udp(5000, 53).Payload(100).Mbuf()
class Frame {
 public:
  Frame& Eth(const MacAddr& destination, const MacAddr& source,
             uint16_t ether_type = 0);  ///< 0: by the next layer
  Frame& Ip4(std::string_view source, std::string_view destination, const Ipv4Fields& fields = {});
  Frame& Ip6(std::string_view source, std::string_view destination, const Ipv6Fields& fields = {});
  /// An IPv6 extension header: its type and all but its first byte, which is by the next layer unless `next`.
  Frame& Ext6(uint8_t type, const Bytes& rest, int next = -1);
  /// An IPv6 fragment header; `offset` in bytes, a multiple of 8.
  Frame& Fragment6(uint16_t offset, bool more, uint32_t id, int next = -1);
  Frame& Udp(uint16_t source, uint16_t destination, int length = -1);
  Frame& Tcp(uint16_t source, uint16_t destination, uint8_t flags = 0x10, const Bytes& options = {});
  Frame& Sctp(uint16_t source, uint16_t destination);
  Frame& Icmp(uint8_t type, uint8_t code, uint16_t id = 0, uint16_t sequence = 0);
  Frame& Icmp6(uint8_t type, uint8_t code, uint16_t id = 0, uint16_t sequence = 0);
  Frame& Vxlan(uint32_t vni, uint8_t flags = 0x08);
  Frame& Arp(uint16_t opcode, const MacAddr& sender_mac, std::string_view sender, const MacAddr& target_mac,
             std::string_view target);
  Frame& Payload(size_t len);  ///< 0, 1, 2...
  Frame& Raw(const Bytes& bytes);

  Bytes Build() const;
  MbufPtr Mbuf() const { return ToMbuf(Build()); }

 private:
  enum class Kind { kEth, kIp4, kIp6, kExt6, kUdp, kTcp, kSctp, kIcmp, kIcmp6, kVxlan, kArp, kRaw };
  struct Layer {
    Kind kind;
    Bytes bytes;
    bool fixed = false;         // length (UDP), protocol or total length (IPv4), type (Ethernet) were given
    bool fixed_length = false;  // IPv4
    bool bad_checksum = false;
    bool whole = true;  // no fragment, so that the L4 checksum can be known
    uint8_t type = 0;   // of extension headers
  };
  static uint8_t ProtocolOf(const Layer& layer);
  static void Finish(const Layer& layer, const Layer* next, const Layer* ip, Bytes& bytes);

  std::vector<Layer> layers_;
};

}  // namespace podwire::testing
