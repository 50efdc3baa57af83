#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <rte_mbuf.h>

#include "pmd/coalesce.h"

namespace podwire {

/// Finds what of a burst can leave as super-packets: frames of one TCP connection in stream order, others in
/// between or not. A connection's packets keep their order; a corrupt segment, and whatever the rules of
/// TcpCoalescer do not allow, goes by itself. The mbufs are only read.
class BurstCoalescer {
 public:
  /// Rearranges the burst so that those of one super-packet are neighbours. Only the first kMaxBurst frames
  /// are looked at.
  void Plan(std::span<rte_mbuf*> mbufs) noexcept;
  /// The super-packet of the segments() mbufs from `index` on; null: that one goes as it is. Any index but
  /// those behind the first of a super-packet.
  const TcpCoalescer* At(uint16_t index) const noexcept {
    return index < planned_ && starts_[index] != kNone ? &groups_[starts_[index]].segments : nullptr;
  }

  static constexpr uint16_t kMaxBurst = 64;

 private:
  static constexpr uint8_t kNone = UINT8_MAX;
  static constexpr uint8_t kMaxOpen = 8;  ///< connections that a segment may continue, as in Linux

  struct Group {
    TcpCoalescer segments;
    uint8_t last = 0;  ///< index in the burst
    bool checked = false;
  };

  void Place(const rte_mbuf& m, uint8_t index) noexcept;
  bool Join(Group& group, const rte_mbuf& m, const TcpSegment& segment, uint8_t index) noexcept;
  void CloseConnectionOf(const uint8_t* ip, uint32_t contiguous) noexcept;
  void Open(const TcpSegment& segment, uint8_t index) noexcept;
  void Close(uint8_t slot) noexcept { open_[slot] = open_[--open_count_]; }

  uint16_t planned_ = 0;
  uint8_t group_count_ = 0;
  uint8_t open_count_ = 0;
  rte_mbuf** mbufs_ = nullptr;
  std::array<uint8_t, kMaxOpen> open_;       ///< groups
  std::array<uint8_t, kMaxBurst> next_;      ///< by index: who follows it in its super-packet
  std::array<uint8_t, kMaxBurst> group_of_;  ///< by index: the group that it is the first of
  std::array<bool, kMaxBurst> follows_;      ///< by index: not the first of its super-packet
  std::array<uint8_t, kMaxBurst> starts_;    ///< by index in the rearranged burst: a group of more than one
  std::array<Group, kMaxBurst> groups_;
};

}  // namespace podwire
