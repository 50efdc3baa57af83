#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace podwire {

/// Which connections' tuples a NIC has rules for, roughly: so many bits by SymmetricHash. A worker that opens
/// a connection or changes its state looks here, for the rule's reason may be gone by that. Add and Remove
/// are one thread's at a time; any reads.
class OffloadMarks {
 public:
  /// Workers, once a new connection or state.
  bool Contains(uint32_t hash) const noexcept {
    return (words_[WordOf(hash)].load(std::memory_order_relaxed) & BitOf(hash)) != 0;
  }
  /// Workers: a connection whose tuple may be in here was opened, or its state has changed. Rare.
  void NoteChange() noexcept { changes_.fetch_add(1, std::memory_order_release); }
  uint32_t changes() const noexcept { return changes_.load(std::memory_order_acquire); }

  void Add(uint32_t hash) noexcept {
    if (counts_[hash % kBits]++ == 0) words_[WordOf(hash)].fetch_or(BitOf(hash), std::memory_order_seq_cst);
  }
  void Remove(uint32_t hash) noexcept {
    if (--counts_[hash % kBits] == 0) words_[WordOf(hash)].fetch_and(~BitOf(hash), std::memory_order_relaxed);
  }

 private:
  static constexpr uint32_t kBits = 1 << 16;
  static uint32_t WordOf(uint32_t hash) noexcept { return hash % kBits / 64; }
  static uint64_t BitOf(uint32_t hash) noexcept { return uint64_t{1} << hash % 64; }

  std::array<std::atomic<uint64_t>, kBits / 64> words_{};
  std::array<uint32_t, kBits> counts_{};  // of who adds
  std::atomic<uint32_t> changes_{0};
};

}  // namespace podwire
