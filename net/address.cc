#include "net/address.h"

#include <arpa/inet.h>
#include <endian.h>

#include <charconv>

#include "net/status.h"

namespace podwire {
namespace {

absl::Status Bad(std::string_view what, std::string_view text) {
  return InvalidArgument("\"{}\" is not {}", text, what);
}

/// Digits of `base` only, all of `text`.
bool ParseNumber(std::string_view text, int base, uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc{} && end == text.data() + text.size();
}

bool HasLeadingZeroOctet(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts = i == 0 || text[i - 1] == '.';
    if (starts && text[i] == '0' && i + 1 < text.size() && text[i + 1] != '.') return true;
  }
  return false;
}

/// A word of an address with its first `bits` (up to 64) set.
uint64_t MaskOf(unsigned bits) {
  if (bits >= 64) return ~uint64_t{0};
  return htobe64(~(~uint64_t{0} >> bits));
}

}  // namespace

IpPrefix IpPrefix::Make(const IpAddress& address, uint8_t length) {
  IpPrefix p{.address = address, .length = std::min(length, address.bits())};
  IpAddress::Words w = address.words();
  w[0] &= MaskOf(p.length);
  w[1] &= MaskOf(p.length > 64 ? p.length - 64u : 0);
  std::memcpy(p.address.bytes_.data(), w.data(), sizeof w);
  return p;
}

bool IpPrefix::Contains(const IpAddress& a) const {
  return a.family() == address.family() && Make(a, length).address == address;
}

absl::StatusOr<IpAddress> ParseIp(std::string_view text) {
  const std::string z(text);
  if (z.size() != text.size() || z.find('\0') != std::string::npos) return Bad("an IP address", text);
  Ipv4 v4;
  if (inet_pton(AF_INET, z.c_str(), &v4.be) == 1 && !HasLeadingZeroOctet(text)) return IpAddress(v4);
  Ipv6 v6;
  if (inet_pton(AF_INET6, z.c_str(), v6.bytes.data()) == 1) return IpAddress(v6);
  return Bad("an IP address", text);
}

absl::StatusOr<InterfaceAddress> ParseInterfaceAddress(std::string_view text) {
  constexpr std::string_view kWhat = "an address with a prefix length (like 10.0.0.1/24)";
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return Bad(kWhat, text);
  const auto address = ParseIp(text.substr(0, slash));
  const std::string_view digits = text.substr(slash + 1);
  uint32_t length = 0;
  const bool padded = digits.size() > 1 && digits[0] == '0';
  if (!address.ok() || padded || !ParseNumber(digits, 10, length) || length > address->bits()) {
    return Bad(kWhat, text);
  }
  return InterfaceAddress{*address, static_cast<uint8_t>(length)};
}

absl::StatusOr<IpPrefix> ParsePrefix(std::string_view text) {
  const auto a = ParseInterfaceAddress(text);
  if (!a.ok()) return Bad("a CIDR (like 10.0.0.0/24)", text);
  return a->prefix();
}

absl::StatusOr<MacAddr> ParseMac(std::string_view text) {
  MacAddr mac;
  if (text.size() != 17) return Bad("a MAC address", text);
  for (size_t i = 0; i < 6; ++i) {
    uint32_t byte = 0;
    if (!ParseNumber(text.substr(i * 3, 2), 16, byte) || (i < 5 && text[i * 3 + 2] != ':')) {
      return Bad("a MAC address", text);
    }
    mac.bytes[i] = static_cast<uint8_t>(byte);
  }
  return mac;
}

std::string ToString(const IpAddress& a) {
  char buf[INET6_ADDRSTRLEN] = "none";
  if (!a.empty()) inet_ntop(a.is_v4() ? AF_INET : AF_INET6, a.bytes().data(), buf, sizeof buf);
  return buf;
}

std::string ToString(Ipv4 a) { return ToString(IpAddress(a)); }
std::string ToString(const IpPrefix& p) { return fmt::format("{}/{}", ToString(p.address), p.length); }
std::string ToString(const InterfaceAddress& a) {
  return fmt::format("{}/{}", ToString(a.address), a.length);
}

std::string ToString(const MacAddr& m) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m.bytes[0], m.bytes[1], m.bytes[2],
                     m.bytes[3], m.bytes[4], m.bytes[5]);
}

IpAddress Offset(const IpAddress& a, uint64_t offset) {
  if (a.is_v4()) return Ipv4{htonl(ntohl(a.v4().be) + static_cast<uint32_t>(offset))};
  Ipv6 v6 = a.v6();
  for (int i = 15; i >= 0 && offset != 0; --i) {
    offset += v6.bytes[i];
    v6.bytes[i] = static_cast<uint8_t>(offset);
    offset >>= 8;
  }
  return v6;
}

Ipv6 LinkLocalOf(const MacAddr& mac) {
  const auto& m = mac.bytes;
  return {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(m[0] ^ 0x02), m[1], m[2], 0xff, 0xfe, m[3],
           m[4], m[5]}};
}

MacAddr DeriveMac(std::string_view seed) {
  uint64_t h = 0xcbf29ce484222325;  // FNV-1a, then a finalizer: stable across builds, unlike absl::Hash
  for (const char c : seed) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccd;
  h ^= h >> 33;
  MacAddr mac;
  for (size_t i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(h >> (8 * i));
  mac.bytes[0] = static_cast<uint8_t>((mac.bytes[0] & 0xfc) | 0x02);
  return mac;
}

}  // namespace podwire
