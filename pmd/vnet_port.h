#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "pmd/fd.h"
#include "pmd/port.h"
#include "pmd/port_counters.h"
#include "pmd/vnet_header.h"

namespace podwire {

class BurstCoalescer;
class Segmenter;
struct TunnelBundle;

/// Room for one incoming frame: its header, a small mbuf, and a big one for what does not fit there. What a
/// read did not use stays for the next, so a read that finds nothing costs no allocation.
class VnetRxSlot {
 public:
  VnetRxSlot() = default;
  VnetRxSlot(const VnetRxSlot&) = delete;
  VnetRxSlot& operator=(const VnetRxSlot&) = delete;
  ~VnetRxSlot();

  /// Gets mbufs and points iov() at them. Without a big one only short frames fit; false: no mbuf at all.
  bool Arm(const MbufPools& pools) noexcept;
  std::span<iovec> iov() { return {iov_.data(), iov_count_}; }
  /// The frame of which `len` bytes, header included, were read; the caller's. Null: cut off or malformed.
  rte_mbuf* Take(size_t len) noexcept;

 private:
  VnetHeader header_{};
  rte_mbuf* small_ = nullptr;
  rte_mbuf* big_ = nullptr;
  size_t iov_count_ = 0;
  std::array<iovec, 3> iov_{};
};

/// A port over a descriptor that carries frames behind a virtio-net header, so that TCP super-packets and
/// partial checksums pass whole both ways. TxBurst is thread-safe: the kernel's own locking suffices,
/// counters are a worker's own.
///
/// When the device vanishes, the descriptor (its number stays) is replaced by one that is never readable:
/// epoll forgets the old one and has nothing to report, link_up() is false, and sent frames count as errors.
class VnetPort : public Port {
 public:
  ~VnetPort() override = default;

  uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override;
  int rx_fd() const override { return fd_.get(); }
  PortStats Stats() const override;

 protected:
  VnetPort(const PortConfig& config, const PortContext& context, Fd fd);

  /// Hands the frames to the device in order. How many it took, or a negative errno that the first one met.
  virtual int Write(std::span<mmsghdr> frames) noexcept = 0;
  /// Whether this errno, met by a read or a write, says that there is no device any more.
  virtual bool MeansGone(int error) const noexcept = 0;

  /// Counts a received frame, null for a bad one, and appends it to mbufs[count].
  void Received(rte_mbuf* m, rte_mbuf** mbufs, uint16_t& count) noexcept;
  /// After a read failed with `error`.
  void ReadFailed(int error) noexcept;
  void MarkGone() noexcept;
  bool gone() const { return gone_.load(std::memory_order_relaxed); }
  int fd() const { return fd_.get(); }
  const MbufPools& pools() const { return pools_; }

  /// The device's kernel side completes a partial checksum wherever it is; else only that of untunnelled
  /// frames.
  bool completes_any_checksum_ = false;
  /// Sends TCP segments that follow each other in a burst as super-packets. The counters do not show it:
  /// they are of the packets that the switch handed over.
  bool coalesces_ = false;
  /// Sends the segments of tunnelled super-packets as UDP super-packets, until the kernel refuses the first.
  std::atomic<bool> takes_bundles_{false};

 private:
  class Batch;

  enum class Bundled : uint8_t { kSent, kLost, kNotTaken };

  bool NeedsSegmenting(const rte_mbuf& m) const noexcept;
  bool Prepare(rte_mbuf& m) const noexcept;
  uint32_t Send(Batch& batch) noexcept;
  uint16_t Flush(Batch& batch, rte_mbuf** mbufs, TxCounters& counters) noexcept;
  void SendAlone(rte_mbuf& m, TxCounters& counters) noexcept;
  bool SendSegmented(rte_mbuf& m, TxCounters& counters) noexcept;
  Bundled SendBundles(Segmenter& segmenter, TxCounters& counters) noexcept;
  int SendBundle(const TunnelBundle& bundle) noexcept;
  uint16_t SendBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n, const BurstCoalescer* coalescer) noexcept;

  const MbufPools& pools_;
  Fd fd_;
  std::atomic<bool> gone_{false};
  std::atomic<bool> bundles_taken_{false};
  RxCounters rx_;
  std::vector<TxCounters> tx_;  ///< one a worker
};

}  // namespace podwire
