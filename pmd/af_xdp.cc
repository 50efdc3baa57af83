#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "net/status.h"
#include "pmd/owned_counter.h"
#include "pmd/port_counters.h"
#include "pmd/segment.h"
#include "pmd/shared_netdev.h"
#include "pmd/xsk_queue.h"

namespace podwire {
namespace {

constexpr int kSegmentTries = 64;
constexpr std::chrono::milliseconds kQueueGetsFree(500);

/// An interface shared with the kernel, by AF_XDP sockets, one a receive queue. Checksums and segmentation
/// are done here: there is no way to ask the NIC for them.
class XdpPort final : public Port {
 public:
  XdpPort(const PortConfig& config, const PortContext& context, const NetdevInfo& netdev,
          const QueueCounts& counts, std::unique_ptr<UplinkFilter> filter,
          std::vector<std::unique_ptr<XskQueue>> queues, bool native)
      : Port(config),
        pools_(context.pools),
        netdev_(netdev),
        counts_(counts),
        filter_(std::move(filter)),
        queues_(std::move(queues)),
        native_(native),
        senders_(std::clamp<uint32_t>(counts.tx, 1, counts.rx)),
        control_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
        rx_(queues_.size()),
        tx_(context.workers) {
    set_mtu(netdev.mtu);
  }
  /// Takes no frames before it ends to have sockets for them.
  ~XdpPort() override { filter_->Detach(); }

  uint16_t RxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    uint16_t lost = 0;
    const uint16_t count = queues_[queue]->Receive(pools_, mbufs, n, lost);
    if (queues_[queue]->unsent()) SendRest(*queues_[queue]);
    if (count + lost == 0) return 0;
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < count; ++i) bytes += mbufs[i]->pkt_len;
    Add(rx_[queue].packets, count);
    Add(rx_[queue].bytes, bytes);
    Add(rx_[queue].errors, lost);
    return count;
  }

  uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    XskQueue& q = *queues_[queue % senders_];
    Sent sent;
    q.Lock();
    if (q.down()) q.Flush();  // it may be up again
    uint16_t done = 0;
    while (done < n && Send(q, sent, *mbufs[done])) ++done;
    if (!q.down()) q.Flush();
    if (q.down()) sent = {.errors = sent.packets + sent.errors};
    q.Unlock();
    Add(tx_[queue].packets, sent.packets);
    Add(tx_[queue].bytes, sent.bytes);
    Add(tx_[queue].segments, sent.segments);
    Add(tx_[queue].errors, sent.errors);
    rte_pktmbuf_free_bulk(mbufs, done);
    return done;
  }

  int rx_fd() const override { return queues_.size() == 1 ? queues_[0]->fd() : -1; }
  int rx_interrupt_fd(uint16_t queue) const override { return queues_[queue]->fd(); }
  bool ArmRx(uint16_t) noexcept override { return true; }  // the socket always tells
  uint16_t rx_queues() const override { return static_cast<uint16_t>(queues_.size()); }
  bool tx_is_shared() const override { return tx_.size() > senders_; }
  MacAddr mac() const override { return netdev_.mac; }
  bool link_up() const override { return HasLink(control_.get(), netdev_.ifindex); }
  std::string Vanished() const override {
    std::string why = VanishedShared(control_.get(), netdev_);
    if (!why.empty()) return why;
    const auto counts = CountQueues(control_.get(), netdev_.ifindex);
    return !counts.ok() || *counts == counts_ ? "" : "its interface has another number of queues";
  }
  void SetTunnel(const UdpTunnel& tunnel) override { filter_->SetTunnel(tunnel); }
  void SetPodSubnets(std::span<const IpPrefix> subnets) override { filter_->SetPodSubnets(subnets); }

  std::string how() const override {
    return fmt::format("af_xdp, {}, {}, {} {}", native_ ? "native" : "generic",
                       queues_[0]->zero_copy() ? "zero-copy" : "copy", queues_.size(),
                       queues_.size() == 1 ? "queue" : "queues");
  }

  PortStats Stats() const override {
    PortStats stats;
    for (const RxCounters& c : rx_) c.AddTo(stats);
    for (const TxCounters& c : tx_) c.AddTo(stats);
    for (const auto& queue : queues_) stats.rx_missed += queue->missed();
    return stats;
  }

 private:
  /// What a burst adds to its TxCounters.
  struct Sent {
    uint64_t packets = 0, bytes = 0, segments = 0, errors = 0;
  };

  /// What the kernel had no time for at the last burst, and no other may come.
  static void SendRest(XskQueue& q) noexcept {
    q.Lock();
    q.Flush();
    q.Unlock();
  }

  /// True: done with, sent or counted as an error.
  bool Send(XskQueue& q, Sent& sent, rte_mbuf& m) noexcept {
    const Offload& offload = OffloadOf(m);
    if (offload.gso_size != 0) return SendSegments(q, sent, m);
    const bool good = !q.down() && m.pkt_len <= netdev_.mtu + uint32_t{RTE_ETHER_HDR_LEN} &&
                      (!offload.needs_csum() || CompleteChecksum(m));
    if (!good) {
      ++sent.errors;
      return true;
    }
    if (!q.Put(m)) return false;
    ++sent.packets;
    sent.bytes += m.pkt_len;
    return true;
  }

  bool SendSegments(XskQueue& q, Sent& sent, rte_mbuf& m) noexcept {
    std::array<rte_mbuf*, 32> frames;
    Segmenter segmenter;
    bool whole = !q.down() && segmenter.Start(m);
    while (whole) {
      const uint16_t n = segmenter.Next(pools_, frames);
      if (n == 0) break;
      uint16_t done = 0;
      for (int tries = 0; done < n && tries < kSegmentTries && !q.down();) {
        const bool fits = frames[done]->pkt_len <= netdev_.mtu + uint32_t{RTE_ETHER_HDR_LEN};
        if (!fits) break;
        if (q.Put(*frames[done])) {
          ++done;
        } else {
          ++tries;
          q.Flush();
        }
      }
      rte_pktmbuf_free_bulk(frames.data(), n);
      sent.segments += done;
      whole = done == n;
    }
    whole = whole && segmenter.remaining() == 0;
    ++(whole ? sent.packets : sent.errors);
    sent.bytes += whole ? m.pkt_len : 0;
    return true;
  }

  const MbufPools& pools_;
  const NetdevInfo netdev_;
  const QueueCounts counts_;  ///< when it was opened
  const std::unique_ptr<UplinkFilter> filter_;
  const std::vector<std::unique_ptr<XskQueue>> queues_;
  const bool native_;
  const uint32_t senders_;  ///< sockets to send by, the first ones: the kernel has as many transmit queues
  const Fd control_;        ///< to ask of the interface with
  std::vector<RxCounters> rx_;
  std::vector<TxCounters> tx_;
};

/// The kernel gives a queue free some time after its socket was closed, also that of a killed process.
absl::StatusOr<std::unique_ptr<XskQueue>> OpenWhenFree(const std::string& interface, uint32_t queue) {
  const auto until = std::chrono::steady_clock::now() + kQueueGetsFree;
  while (true) {
    auto socket = XskQueue::Open(interface, queue);
    const bool busy = absl::IsFailedPrecondition(socket.status());
    if (!busy || std::chrono::steady_clock::now() > until) return socket;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

PortOr CreateXdpPort(const PortConfig& config, const PortContext& context, const NetdevInfo& netdev,
                     std::unique_ptr<UplinkFilter> filter, const QueueCounts& queues, bool zero_copy_only) {
  std::vector<std::unique_ptr<XskQueue>> sockets;
  for (uint32_t i = 0; i < queues.rx; ++i) {
    ASSIGN_OR_RETURN(auto socket, OpenWhenFree(netdev.name, i));
    if (zero_copy_only && !socket->zero_copy())
      return Error(absl::StatusCode::kUnimplemented, "the driver copies frames");
    RETURN_IF_ERROR(socket->Register(filter->sockets_map()));
    sockets.push_back(std::move(socket));
  }
  ASSIGN_OR_RETURN(const bool native, filter->AttachXdp());
  if (zero_copy_only && !native)
    return Error(absl::StatusCode::kUnimplemented, "the driver has no native XDP now");
  return std::make_unique<XdpPort>(config, context, netdev, queues, std::move(filter), std::move(sockets),
                                   native);
}

}  // namespace podwire
