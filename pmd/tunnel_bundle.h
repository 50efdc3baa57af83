#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>

namespace podwire {

/// Frames of one tunnel, each with headers of its own from the tunnel's on, back to back behind one outer
/// Ethernet, IP and UDP header: a UDP super-packet (virtio's UDP_L4, Linux's UDP_SEGMENT). Who segments it,
/// a NIC or the receiver's kernel, gets the frames. All but the last are of one length; the outer UDP
/// checksum is partial. About 20 KB, meant for the stack.
struct TunnelBundle {
  static constexpr uint16_t kMaxFrames = 64;  ///< what Linux itself puts into one
  static constexpr uint16_t kMaxParts = 256;
  static constexpr uint16_t kMaxHeader = 256;

  uint16_t frames = 0;
  uint16_t frame_len = 0;   ///< UDP payload of all frames but the last, bytes
  uint16_t csum_start = 0;  ///< of the outer UDP header
  uint16_t part_count = 0;
  uint32_t len = 0;  ///< of all parts, bytes
  std::array<iovec, kMaxParts> parts;
  std::array<std::array<uint8_t, kMaxHeader>, kMaxFrames> headers;

  // Leaves the arrays as they are.
  TunnelBundle() noexcept {}  // NOLINT(modernize-use-equals-default): a default one would zero them

  void Clear() noexcept {
    frames = part_count = 0;
    len = 0;
  }
  void AddPart(const void* data, uint32_t part_len) noexcept {
    parts[part_count++] = {.iov_base = const_cast<void*>(data), .iov_len = part_len};
    len += part_len;
  }
  /// Bytes of the longest Ethernet frame that this becomes.
  uint32_t longest_frame() const { return frames < 2 ? len : uint32_t{csum_start} + 8 + frame_len; }
  std::span<const iovec> span() const { return {parts.data(), part_count}; }
};

}  // namespace podwire
