#pragma once

#include <cstdint>

namespace podwire {

/// The Internet checksum after one of the 16-bit words it covers changed from `before` to `after` (RFC 1624,
/// equation 3). All three in the same byte order, whichever that is.
constexpr uint16_t UpdateChecksum(uint16_t checksum, uint16_t before, uint16_t after) {
  uint32_t sum = static_cast<uint16_t>(~checksum);
  sum += static_cast<uint16_t>(~before);
  sum += after;
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~(sum + (sum >> 16)));
}

/// A sum of 16-bit words with its carries added in (RFC 1071); not complemented.
constexpr uint16_t FoldChecksum(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

/// The folded sum of bytes that begin at an odd offset of what they are part of.
constexpr uint16_t AtOddOffset(uint16_t sum) { return static_cast<uint16_t>(sum << 8 | sum >> 8); }

}  // namespace podwire
