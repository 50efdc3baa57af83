#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <absl/status/statusor.h>

namespace podwire {

enum class IpFamily : uint8_t { kNone = 0, kV4 = 4, kV6 = 6 };

/// An IPv4 address, network order always.
struct Ipv4 {
  uint32_t be = 0;
  auto operator<=>(const Ipv4&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const Ipv4& a) {
    return H::combine(std::move(h), a.be);
  }
};

/// An IPv6 address, network order always.
struct Ipv6 {
  std::array<uint8_t, 16> bytes{};
  auto operator<=>(const Ipv6&) const = default;
};

/// An address of either family, for tables and control; the packet path keeps its keys per family.
/// Ordered by family, then numerically. Default: no address (family kNone).
class IpAddress {
 public:
  constexpr IpAddress() = default;
  IpAddress(Ipv4 a) : family_(IpFamily::kV4) { std::memcpy(bytes_.data(), &a.be, 4); }
  IpAddress(const Ipv6& a) : family_(IpFamily::kV6), bytes_(a.bytes) {}

  IpFamily family() const { return family_; }
  bool is_v4() const { return family_ == IpFamily::kV4; }
  bool is_v6() const { return family_ == IpFamily::kV6; }
  bool empty() const { return family_ == IpFamily::kNone; }
  /// Valid for v4 only.
  Ipv4 v4() const {
    Ipv4 a;
    std::memcpy(&a.be, bytes_.data(), 4);
    return a;
  }
  /// Valid for v6 only.
  Ipv6 v6() const { return Ipv6{bytes_}; }
  /// 32 or 128.
  uint8_t bits() const { return is_v4() ? 32 : is_v6() ? 128 : 0; }
  /// Network order; the first 4 (v4) or 16 (v6) count, the rest is zero.
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  auto operator<=>(const IpAddress&) const = default;
  bool operator==(const IpAddress& o) const {
    const Words a = words(), b = o.words();
    return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0 && family_ == o.family_;
  }
  template <class H>
  friend H AbslHashValue(H h, const IpAddress& a) {
    const Words w = a.words();
    return H::combine(std::move(h), w[0] ^ static_cast<uint8_t>(a.family_), w[1]);
  }

 private:
  friend struct IpPrefix;
  using Words = std::array<uint64_t, 2>;  ///< the bytes: two words are compared and hashed faster
  Words words() const {
    Words w;
    std::memcpy(w.data(), bytes_.data(), sizeof w);
    return w;
  }

  IpFamily family_ = IpFamily::kNone;
  std::array<uint8_t, 16> bytes_{};
};

/// CIDR prefix. Built by Parse or Make, so host bits are always zero.
struct IpPrefix {
  IpAddress address;
  uint8_t length = 0;
  /// Masks host bits off; `length` is cut to the family's bits.
  static IpPrefix Make(const IpAddress& address, uint8_t length);
  bool Contains(const IpAddress& a) const;
  bool Contains(const IpPrefix& p) const { return p.length >= length && Contains(p.address); }
  bool Overlaps(const IpPrefix& p) const { return Contains(p) || p.Contains(*this); }
  auto operator<=>(const IpPrefix&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const IpPrefix& p) {
    return H::combine(std::move(h), p.address, p.length);
  }
};

inline bool IsLinkLocal(Ipv4) { return false; }  // 169.254.0.0/16 is nothing special to us
/// fe80::/10
inline bool IsLinkLocal(const Ipv6& a) { return a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0x80; }
inline bool IsLinkLocal(const IpAddress& a) { return a.is_v6() && IsLinkLocal(a.v6()); }

struct MacAddr {
  std::array<uint8_t, 6> bytes{};
  bool empty() const { return bytes == std::array<uint8_t, 6>{}; }
  auto operator<=>(const MacAddr&) const = default;
  template <class H>
  friend H AbslHashValue(H h, const MacAddr& m) {
    return H::combine(std::move(h), m.bytes);
  }
};
static_assert(sizeof(MacAddr) == 6);

/// An address with the length of its on-link prefix, host bits kept: "10.0.0.1/24".
struct InterfaceAddress {
  IpAddress address;
  uint8_t length = 0;
  IpPrefix prefix() const { return IpPrefix::Make(address, length); }
  auto operator<=>(const InterfaceAddress&) const = default;
};

/// InvalidArgument with the text quoted when it is not an address (prefix, MAC) in the usual notation.
/// IPv4 octets with leading zeros are refused, as Go's parser (and so Kubernetes) refuses them.
absl::StatusOr<IpAddress> ParseIp(std::string_view text);
absl::StatusOr<IpPrefix> ParsePrefix(std::string_view text);
absl::StatusOr<InterfaceAddress> ParseInterfaceAddress(std::string_view text);
absl::StatusOr<MacAddr> ParseMac(std::string_view text);

std::string ToString(const IpAddress& a);
std::string ToString(Ipv4 a);
std::string ToString(const IpPrefix& p);
std::string ToString(const InterfaceAddress& a);
std::string ToString(const MacAddr& m);

/// The address `offset` after `a` (v4: modulo 2^32; v6: in the low 64 bits, carried).
IpAddress Offset(const IpAddress& a, uint64_t offset);

/// The link-local address that an interface with this MAC has by itself (RFC 4291 appendix A).
Ipv6 LinkLocalOf(const MacAddr& mac);

/// A locally administered unicast MAC derived from `seed`: the same seed gives the same address.
MacAddr DeriveMac(std::string_view seed);

}  // namespace podwire
