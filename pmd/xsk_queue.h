#pragma once

#include <xdp/xsk.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <absl/status/statusor.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "pmd/mempool.h"

namespace podwire {

/// One AF_XDP socket on one queue of an interface, with packet memory of its own (16 MB). Frames are copied
/// between that and mbufs. Receive is one thread's at a time, and so are the others between Lock and Unlock.
class XskQueue {
 public:
  static constexpr uint32_t kFrameSize = 4096;
  static constexpr uint32_t kFrames = 2048;  ///< each way
  /// The kernel keeps 256 bytes of a frame's memory for XDP programs.
  static constexpr uint32_t kMaxFrameLen = kFrameSize - 256;
  /// Less Ethernet and a VLAN tag, and what drivers want behind a frame (skb_shared_info, 320 bytes).
  static constexpr uint16_t kMaxMtu = kMaxFrameLen - 320 - RTE_ETHER_HDR_LEN - 4;

  /// FailedPrecondition: another process has the queue.
  static absl::StatusOr<std::unique_ptr<XskQueue>> Open(const std::string& interface, uint32_t queue);
  ~XskQueue();
  XskQueue(const XskQueue&) = delete;
  XskQueue& operator=(const XskQueue&) = delete;

  int fd() const;
  bool zero_copy() const { return zero_copy_; }
  /// Has the XDP program hand this queue's frames to the socket.
  absl::Status Register(int sockets_map);

  /// Up to `n` frames as mbufs; those for which there was no mbuf are lost and added to `lost`.
  uint16_t Receive(const MbufPools& pools, rte_mbuf** mbufs, uint16_t n, uint16_t& lost) noexcept;

  /// For threads that share the socket to send, and one that receives and sends what was left.
  void Lock() noexcept { rte_spinlock_lock(&tx_lock_); }
  void Unlock() noexcept { rte_spinlock_unlock(&tx_lock_); }
  /// Copies the frame, at most kMaxFrameLen bytes, to be sent by the next Flush. False: no room.
  bool Put(const rte_mbuf& m) noexcept;
  /// Hands what was Put to the kernel, and takes back the memory of frames that have gone. What it
  /// has no time for stays (unsent()) for the next call.
  void Flush() noexcept;
  /// Any thread.
  bool unsent() const noexcept { return unsent_.load(std::memory_order_relaxed); }
  /// The last Flush found the interface down or removed; between Lock and Unlock.
  bool down() const noexcept { return down_; }

  /// Frames lost in the kernel for want of room, since it is open.
  uint64_t missed() const noexcept;

 private:
  struct Unmap {
    void operator()(char* area) const noexcept;
  };
  struct DeleteUmem {
    void operator()(xsk_umem* umem) const noexcept { xsk_umem__delete(umem); }
  };
  struct DeleteSocket {
    void operator()(xsk_socket* socket) const noexcept { xsk_socket__delete(socket); }
  };
  XskQueue() = default;
  absl::Status CreateSocket(const std::string& interface, uint32_t queue);
  void FillAll() noexcept;
  void Refill() noexcept;
  void Reclaim() noexcept;
  rte_mbuf* Copy(const MbufPools& pools, const xdp_desc& frame) const noexcept;

  std::unique_ptr<char, Unmap> area_;
  xsk_ring_prod fill_ = {}, tx_ = {};
  xsk_ring_cons rx_ = {}, completed_ = {};
  std::unique_ptr<xsk_umem, DeleteUmem> umem_;
  std::unique_ptr<xsk_socket, DeleteSocket> socket_;
  bool zero_copy_ = false;
  std::vector<uint64_t> empty_;  ///< frames to receive into that the kernel does not have
  alignas(64) rte_spinlock_t tx_lock_ = RTE_SPINLOCK_INITIALIZER;
  std::vector<uint64_t> free_;  ///< frames to send with
  bool down_ = false;
  std::atomic<bool> unsent_{false};
};

}  // namespace podwire
