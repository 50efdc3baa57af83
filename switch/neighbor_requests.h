#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "switch/neighbor.h"

namespace podwire {

/// Neighbours that workers want resolved by somebody else: by the kernel, where the underlay's interface is
/// the kernel's. A bit a slot of the neighbour table, set by workers and taken by one control thread, which a
/// descriptor wakes. No locks; a system call for a neighbour that has not been asked for since the last Take.
class NeighborRequests {
 public:
  NeighborRequests() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw std::system_error(errno, std::system_category(), "eventfd");
  }
  ~NeighborRequests() { close(fd_); }
  NeighborRequests(const NeighborRequests&) = delete;
  NeighborRequests& operator=(const NeighborRequests&) = delete;

  /// Workers.
  void Add(NeighborId id) noexcept {
    const uint16_t slot = NeighborTable::SlotOf(id);
    const uint64_t bit = uint64_t{1} << slot % 64;
    if ((wanted_[slot / 64].fetch_or(bit, std::memory_order_acq_rel) & bit) != 0) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(fd_, &one, sizeof one);
  }

  /// Readable when there is something to take.
  int fd() const { return fd_; }

  /// fn(slot) for each that was added since.
  template <class Fn>
  void Take(Fn&& fn) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = read(fd_, &count, sizeof count);
    for (size_t word = 0; word < wanted_.size(); ++word) {
      for (uint64_t bits = wanted_[word].exchange(0, std::memory_order_acq_rel); bits != 0;
           bits &= bits - 1) {
        fn(static_cast<uint16_t>(word * 64 + static_cast<size_t>(std::countr_zero(bits))));
      }
    }
  }

 private:
  const int fd_;
  std::array<std::atomic<uint64_t>, (NeighborTable::kCapacity + 64) / 64> wanted_{};
};

}  // namespace podwire
