#pragma once

#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "net/address.h"
#include "net/id.h"

namespace podwire {

/// The tuple of one direction as it came in on one port: what the flow table looks up. 16 bytes, compared
/// whole. Ports are network order; ICMP queries carry their identifier in both; other protocols zero. in_port
/// is part of the key, so that a cached decision is never used by another pod that forges the tuple.
struct FlowKey4 {
  using Address = Ipv4;
  static constexpr uint8_t kIcmp = IPPROTO_ICMP;
  Ipv4 src;
  Ipv4 dst;
  uint16_t src_port_be = 0;
  uint16_t dst_port_be = 0;
  PortId in_port;
  uint8_t proto = 0;
  uint8_t icmp_reply = 0;  ///< 1: answers an ICMP query; the identifier does not tell who asked

  bool operator==(const FlowKey4& o) const noexcept {
    uint64_t a[2], b[2];
    std::memcpy(a, this, sizeof a);
    std::memcpy(b, &o, sizeof b);
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
  }
  /// The other direction's tuple, on the same port.
  FlowKey4 Reversed() const noexcept {
    FlowKey4 r = *this;
    r.src = dst;
    r.dst = src;
    r.src_port_be = dst_port_be;
    r.dst_port_be = src_port_be;
    if (proto == kIcmp) r.icmp_reply ^= 1;
    return r;
  }
};
static_assert(sizeof(FlowKey4) == 16 && std::has_unique_object_representations_v<FlowKey4>);

/// The same of IPv6: 40 bytes.
struct FlowKey6 {
  using Address = Ipv6;
  static constexpr uint8_t kIcmp = IPPROTO_ICMPV6;
  Ipv6 src;
  Ipv6 dst;
  uint16_t src_port_be = 0;
  uint16_t dst_port_be = 0;
  PortId in_port;
  uint8_t proto = 0;
  uint8_t icmp_reply = 0;

  using Words = std::array<uint64_t, 5>;
  Words words() const noexcept {
    Words w;
    std::memcpy(w.data(), this, sizeof w);
    return w;
  }
  bool operator==(const FlowKey6& o) const noexcept {
    const Words a = words(), b = o.words();
    return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4])) == 0;
  }
  FlowKey6 Reversed() const noexcept {
    FlowKey6 r = *this;
    r.src = dst;
    r.dst = src;
    r.src_port_be = dst_port_be;
    r.dst_port_be = src_port_be;
    if (proto == kIcmp) r.icmp_reply ^= 1;
    return r;
  }
};
static_assert(sizeof(FlowKey6) == 40 && std::has_unique_object_representations_v<FlowKey6>);

/// Keyed hash of the whole key, for the flow table. `seed` is random per start.
inline uint32_t FlowHash(const FlowKey4& key, uint64_t seed) noexcept {
  uint64_t w[2];
  std::memcpy(w, &key, sizeof w);
  const uint64_t a = (w[0] ^ seed) * 0x9e3779b97f4a7c15;
  const uint64_t b = (w[1] + (seed >> 32 | seed << 32)) * 0xd6e8feb86659fd93;
  const uint64_t m = (a ^ (a >> 32)) + (b ^ (b >> 29));
  return static_cast<uint32_t>((m * 0x9e3779b97f4a7c15) >> 32);
}

/// Hash of the tuple that is the same for both directions and every in_port (connection table, tunnel source
/// port).
inline uint32_t SymmetricHash(const FlowKey4& key, uint64_t seed) noexcept {
  const uint64_t a = static_cast<uint64_t>(key.src.be) << 16 | key.src_port_be;
  const uint64_t b = static_cast<uint64_t>(key.dst.be) << 16 | key.dst_port_be;
  const uint64_t lo = a < b ? a : b, hi = a < b ? b : a;
  const uint64_t x = (lo ^ seed) * 0x9e3779b97f4a7c15;
  const uint64_t y = (hi + (seed >> 32 | seed << 32) + key.proto) * 0xd6e8feb86659fd93;
  const uint64_t m = (x ^ (x >> 32)) + (y ^ (y >> 29));
  return static_cast<uint32_t>((m * 0x9e3779b97f4a7c15) >> 32);
}

/// Both halves of a 128-bit product, each bit of which depends on all of both factors.
inline uint64_t MultiplyFold(uint64_t a, uint64_t b) noexcept {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint32_t FlowHash(const FlowKey6& key, uint64_t seed) noexcept {
  const FlowKey6::Words w = key.words();
  const uint64_t other = (seed >> 32 | seed << 32) ^ 0xd6e8feb86659fd93;
  const uint64_t x = MultiplyFold(w[0] ^ seed, w[1] ^ other);
  const uint64_t y = MultiplyFold(w[2] ^ other, w[3] ^ seed ^ 0x9e3779b97f4a7c15);
  return static_cast<uint32_t>(MultiplyFold(x ^ w[4] ^ other, y ^ 0xa0761d6478bd642f) >> 16);
}

inline uint32_t SymmetricHash(const FlowKey6& key, uint64_t seed) noexcept {
  const FlowKey6::Words w = key.words();
  const uint64_t other = (seed >> 32 | seed << 32) ^ 0xd6e8feb86659fd93;
  const uint64_t a = MultiplyFold(w[0] ^ seed ^ key.src_port_be, w[1] ^ other);
  const uint64_t b = MultiplyFold(w[2] ^ seed ^ key.dst_port_be, w[3] ^ other);
  const uint64_t lo = a < b ? a : b, hi = a < b ? b : a;
  return static_cast<uint32_t>(MultiplyFold(lo ^ seed ^ 0x9e3779b97f4a7c15, hi ^ other ^ key.proto) >> 16);
}

}  // namespace podwire
