#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <vector>

#include "net/status.h"
#include "pmd/owned_counter.h"
#include "pmd/segment.h"
#include "pmd/shared_netdev.h"
#include "pmd/xsk_queue.h"

namespace podwire {
namespace {

constexpr int kSegmentTries = 64;
constexpr uint32_t kEmptyPolls = 1024;  // between two questions whether the interface is still there

/// An interface shared with the kernel, by AF_XDP sockets, one a receive queue. Checksums and segmentation
/// are done here: there is no way to ask the NIC for them.
class XdpPort final : public Port {
 public:
  XdpPort(const PortConfig& config, const PortContext& context, const NetdevInfo& netdev,
          std::unique_ptr<UplinkFilter> filter, std::vector<std::unique_ptr<XskQueue>> queues, bool native)
      : Port(config),
        pools_(context.pools),
        netdev_(netdev),
        filter_(std::move(filter)),
        queues_(std::move(queues)),
        native_(native),
        shared_tx_(context.workers > queues_.size()),
        control_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
        rx_(queues_.size()),
        tx_(context.workers) {
    set_mtu(netdev.mtu);
  }

  uint16_t RxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    uint16_t lost = 0;
    const uint16_t count = queues_[queue]->Receive(pools_, mbufs, n, lost);
    if (count + lost == 0) {
      // With one queue epoll has said that there is something: not a frame, then. Several are polled.
      if (queues_.size() == 1 || ++rx_[queue].empty % kEmptyPolls == 0) NoticeEnd(queue);
      return 0;
    }
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < count; ++i) bytes += mbufs[i]->pkt_len;
    Add(rx_[queue].packets, count);
    Add(rx_[queue].bytes, bytes);
    Add(rx_[queue].errors, lost);
    return count;
  }

  uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    XskQueue& q = *queues_[queue % queues_.size()];
    if (shared_tx_) q.Lock();
    uint16_t done = 0;
    while (done < n && Send(q, tx_[queue], *mbufs[done])) ++done;
    q.Flush();
    if (shared_tx_) q.Unlock();
    rte_pktmbuf_free_bulk(mbufs, done);
    return done;
  }

  int rx_fd() const override { return queues_.size() == 1 ? queues_[0]->fd() : -1; }
  int rx_interrupt_fd(uint16_t queue) const override { return queues_[queue]->fd(); }
  bool ArmRx(uint16_t) noexcept override { return true; }  // the socket always tells
  uint16_t rx_queues() const override { return static_cast<uint16_t>(queues_.size()); }
  bool tx_is_shared() const override { return shared_tx_; }
  MacAddr mac() const override { return netdev_.mac; }
  bool link_up() const override { return !gone() && HasLink(control_.get(), netdev_.ifindex); }
  std::string Vanished() const override { return VanishedNetdev(control_.get(), netdev_.ifindex); }
  void SetTunnel(const UdpTunnel& tunnel) override { filter_->SetTunnel(tunnel); }
  void SetPodSubnets(std::span<const IpPrefix> subnets) override { filter_->SetPodSubnets(subnets); }

  std::string how() const override {
    return fmt::format("af_xdp, {}, {}, {} {}", native_ ? "native" : "generic",
                       queues_[0]->zero_copy() ? "zero-copy" : "copy", queues_.size(),
                       queues_.size() == 1 ? "queue" : "queues");
  }

  PortStats Stats() const override {
    PortStats stats;
    for (const RxCounters& c : rx_) {
      stats.rx_packets += c.packets.load(std::memory_order_relaxed);
      stats.rx_bytes += c.bytes.load(std::memory_order_relaxed);
      stats.rx_errors += c.errors.load(std::memory_order_relaxed);
    }
    for (const TxCounters& c : tx_) {
      stats.tx_packets += c.packets.load(std::memory_order_relaxed);
      stats.tx_bytes += c.bytes.load(std::memory_order_relaxed);
      stats.tx_segments += c.segments.load(std::memory_order_relaxed);
      stats.tx_errors += c.errors.load(std::memory_order_relaxed);
    }
    for (const auto& queue : queues_) stats.rx_missed += gone() ? 0 : queue->missed();
    return stats;
  }

 private:
  struct alignas(RTE_CACHE_LINE_SIZE) RxCounters {
    std::atomic<uint64_t> packets{0}, bytes{0}, errors{0};
    uint32_t empty = 0;  ///< polls without a frame; the queue's thread's own
  };
  struct alignas(RTE_CACHE_LINE_SIZE) TxCounters {
    std::atomic<uint64_t> packets{0}, bytes{0}, segments{0}, errors{0};
  };

  bool gone() const { return gone_.load(std::memory_order_relaxed); }

  /// The kernel tells a socket once that its interface is removed.
  void NoticeEnd(uint16_t queue) noexcept {
    int error = 0;
    socklen_t len = sizeof error;
    const int result = getsockopt(queues_[queue]->fd(), SOL_SOCKET, SO_ERROR, &error, &len);
    if (result == 0 && error != 0) gone_.store(true, std::memory_order_relaxed);
  }

  /// True: done with, sent or counted as an error.
  bool Send(XskQueue& q, TxCounters& counters, rte_mbuf& m) noexcept {
    const Offload& offload = OffloadOf(m);
    if (offload.gso_size != 0) return SendSegments(q, counters, m);
    const bool good = !gone() && m.pkt_len <= netdev_.mtu + uint32_t{RTE_ETHER_HDR_LEN} &&
                      (!offload.needs_csum() || CompleteChecksum(m));
    if (!good) {
      Add(counters.errors, 1);
      return true;
    }
    if (!q.Put(m)) return false;
    Add(counters.packets, 1);
    Add(counters.bytes, m.pkt_len);
    return true;
  }

  bool SendSegments(XskQueue& q, TxCounters& counters, rte_mbuf& m) noexcept {
    std::array<rte_mbuf*, 32> frames;
    Segmenter segmenter;
    bool whole = !gone() && segmenter.Start(m);
    while (whole) {
      const uint16_t n = segmenter.Next(pools_, frames);
      if (n == 0) break;
      uint16_t sent = 0;
      for (int tries = 0; sent < n && tries < kSegmentTries;) {
        const bool fits = frames[sent]->pkt_len <= netdev_.mtu + uint32_t{RTE_ETHER_HDR_LEN};
        if (!fits) break;
        if (q.Put(*frames[sent])) {
          ++sent;
        } else {
          ++tries;
          q.Flush();
        }
      }
      rte_pktmbuf_free_bulk(frames.data(), n);
      Add(counters.segments, sent);
      whole = sent == n;
    }
    whole = whole && segmenter.remaining() == 0;
    Add(whole ? counters.packets : counters.errors, 1);
    Add(counters.bytes, whole ? m.pkt_len : 0);
    return true;
  }

  const MbufPools& pools_;
  const NetdevInfo netdev_;
  const std::unique_ptr<UplinkFilter> filter_;
  const std::vector<std::unique_ptr<XskQueue>> queues_;
  const bool native_;
  const bool shared_tx_;
  const Fd control_;  ///< to ask of the interface with
  std::atomic<bool> gone_{false};
  std::vector<RxCounters> rx_;
  std::vector<TxCounters> tx_;
};

}  // namespace

PortOr CreateXdpPort(const PortConfig& config, const PortContext& context, const NetdevInfo& netdev,
                     std::unique_ptr<UplinkFilter> filter, uint16_t queues, bool zero_copy_only) {
  std::vector<std::unique_ptr<XskQueue>> sockets;
  for (uint16_t i = 0; i < queues; ++i) {
    ASSIGN_OR_RETURN(auto socket, XskQueue::Open(netdev.name, i));
    if (zero_copy_only && !socket->zero_copy())
      return Error(absl::StatusCode::kUnimplemented, "the driver copies frames");
    RETURN_IF_ERROR(socket->Register(filter->sockets_map()));
    sockets.push_back(std::move(socket));
  }
  ASSIGN_OR_RETURN(const bool native, filter->AttachXdp());
  return std::make_unique<XdpPort>(config, context, netdev, std::move(filter), std::move(sockets), native);
}

}  // namespace podwire
