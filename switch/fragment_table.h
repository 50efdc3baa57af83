#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "net/address.h"
#include "net/id.h"
#include "switch/elapsed.h"
#include "switch/page_array.h"

namespace podwire {

/// What a datagram's fragments have in common (RFC 791 section 3.2, RFC 8200 section 4.5), and the port they
/// come in on.
template <class Address>
struct FragmentKey {
  Address src, dst;
  uint32_t id_be = 0;  ///< the IPv4 header's 16-bit identification, or the IPv6 fragment header's
  PortId in_port;
  uint8_t proto = 0;  ///< IPv6: 0, since later fragments may not know it
  bool operator==(const FragmentKey&) const = default;
};

/// What the first fragment says of the others. L4 ports, network order; ICMP queries have their identifier in
/// both, and whether they are answers.
struct FragmentPorts {
  uint16_t src_be = 0, dst_be = 0;
  uint8_t icmp_reply = 0;
  uint8_t proto = 0;
  uint16_t first_bytes = 0;  ///< IPv6: that the first fragment holds; a later one that begins before overlaps
};

/// The ports that first fragments carried, for the later ones, which carry none. One worker's; one thread
/// only. Fixed size: a set of eight that is full gives up its oldest. Time is milliseconds modulo 2^32.
template <class Address>
class BasicFragmentTable {
 public:
  static constexpr uint32_t kLifetimeMs =
      30'000;  ///< after the first fragment; what Linux gives (ipfrag_time)
  static constexpr uint32_t kSets = 512;
  static constexpr uint32_t kWays = 8;

  /// `seed` keeps others from filling one set on purpose.
  explicit BasicFragmentTable(uint64_t seed) : seed_(seed), sets_(kSets) {}

  /// A first fragment was seen; replaces what was known.
  void Learn(const FragmentKey<Address>& key, FragmentPorts ports, uint32_t now_ms) noexcept;
  std::optional<FragmentPorts> Find(const FragmentKey<Address>& key, uint32_t now_ms) const noexcept;
  /// fn(key, ports, learned_ms) for all that Find would find.
  template <class Fn>
  void ForEach(uint32_t now_ms, Fn&& fn) const noexcept {
    for (uint32_t i = 0; i < kSets; ++i) {
      for (const Entry& e : sets_[i]) {
        if (e.in_use && ElapsedMs(now_ms, e.learned_ms) <= kLifetimeMs) fn(e.key, e.ports, e.learned_ms);
      }
    }
  }

 private:
  struct Entry {
    FragmentKey<Address> key;
    FragmentPorts ports;
    uint32_t learned_ms;
    bool in_use;
  };
  using Set = std::array<Entry, kWays>;
  Set& SetOf(const FragmentKey<Address>& key) const noexcept;

  uint64_t seed_;
  PageArray<Set> sets_;
};

using FragmentTable = BasicFragmentTable<Ipv4>;
using FragmentTable6 = BasicFragmentTable<Ipv6>;
extern template class BasicFragmentTable<Ipv4>;
extern template class BasicFragmentTable<Ipv6>;

}  // namespace podwire
