#include "pmd/vnet_port.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include <rte_ether.h>

#include "pmd/burst_coalescer.h"
#include "pmd/owned_counter.h"
#include "pmd/segment.h"

namespace podwire {
namespace {

/// A datagram socket without a peer: never readable, and writes to it fail.
int IdleSocket() {
  static const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd;
}

}  // namespace

VnetRxSlot::~VnetRxSlot() {
  rte_pktmbuf_free(small_);
  rte_pktmbuf_free(big_);
}

bool VnetRxSlot::Arm(const MbufPools& pools) noexcept {
  if (small_ == nullptr) {
    small_ = rte_pktmbuf_alloc(&pools.small());
    if (small_ == nullptr) return false;
    iov_[0] = {.iov_base = &header_, .iov_len = sizeof header_};
    iov_[1] = {.iov_base = rte_pktmbuf_mtod(small_, void*), .iov_len = rte_pktmbuf_tailroom(small_)};
  }
  if (big_ == nullptr) {
    big_ = rte_pktmbuf_alloc(&pools.big());
    if (big_ != nullptr) {
      iov_[2] = {.iov_base = rte_pktmbuf_mtod(big_, void*), .iov_len = rte_pktmbuf_tailroom(big_)};
    }
  }
  iov_count_ = big_ == nullptr ? 2 : 3;
  return true;
}

rte_mbuf* VnetRxSlot::Take(size_t len) noexcept {
  size_t room = 0;
  for (const iovec& part : iov()) room += part.iov_len;
  // As long as all the room: its end was cut off (the kernel says so only for sockets).
  if (len <= sizeof header_ || len >= room) return nullptr;
  const size_t frame_len = len - sizeof header_;
  const size_t first_len = std::min(frame_len, iov_[1].iov_len);
  rte_mbuf* m = small_;
  m->data_len = static_cast<uint16_t>(first_len);
  m->pkt_len = static_cast<uint32_t>(frame_len);
  if (!ReadVnetHeader(header_, *m)) return nullptr;
  if (frame_len > first_len) {
    big_->data_len = static_cast<uint16_t>(frame_len - first_len);
    m->next = big_;
    m->nb_segs = 2;
    big_ = nullptr;
  }
  small_ = nullptr;
  return m;
}

/// Frames on their way to Write: headers and pieces, for a burst at most.
class VnetPort::Batch {
 public:
  static constexpr uint32_t kFrames = 32;
  static constexpr uint32_t kPieces = 4 * kFrames;

  /// False when there is no room: send first, and if it is empty then the frame has too many pieces.
  bool Add(rte_mbuf& m) noexcept {
    if (count_ == kFrames || pieces_ + 1 + m.nb_segs > kPieces) return false;
    if (!WriteVnetHeader(m, headers_[count_])) return false;
    Begin(1);
    for (const rte_mbuf* part = &m; part != nullptr; part = part->next) {
      AddPiece(rte_pktmbuf_mtod(part, void*), part->data_len);
    }
    return true;
  }

  /// Single frames as one super-packet: a header of our own and their payloads. False when there is no room,
  /// which an empty batch always has.
  bool Add(rte_mbuf* const* mbufs, const TcpCoalescer& super) noexcept {
    const uint16_t n = super.segments();
    if (count_ == kFrames || pieces_ + 2 + n > kPieces) return false;
    const auto header_len = static_cast<uint16_t>(sizeof(rte_ether_hdr) + super.header_len());
    uint8_t* header = coalesced_[count_];
    std::memcpy(header, rte_pktmbuf_mtod(mbufs[0], const void*), sizeof(rte_ether_hdr));
    super.WriteHeader(header + sizeof(rte_ether_hdr));
    headers_[count_] = SuperPacketHeader(super.OffloadAt(sizeof(rte_ether_hdr)), header_len);
    Begin(n);
    AddPiece(header, header_len);
    for (uint16_t i = 0; i < n; ++i) {
      AddPiece(rte_pktmbuf_mtod_offset(mbufs[i], void*, header_len), mbufs[i]->data_len - size_t{header_len});
    }
    return true;
  }
  std::span<mmsghdr> frames() { return {frames_, count_}; }
  /// How many of the burst's packets the frame is.
  uint32_t packets_of(uint32_t frame) const { return packets_[frame]; }
  void Clear() noexcept { count_ = pieces_ = refused_ = 0; }

  void Refuse(uint32_t frame) noexcept { refused_ |= 1u << frame; }
  bool refused(uint32_t frame) const { return (refused_ >> frame & 1) != 0; }
  uint32_t refused_count() const { return static_cast<uint32_t>(std::popcount(refused_)); }

 private:
  static_assert(BurstCoalescer::kMaxBurst + 2 <= kPieces);

  void Begin(uint16_t packets) noexcept {
    frames_[count_] = {};
    frames_[count_].msg_hdr.msg_iov = &iov_[pieces_];
    packets_[count_] = packets;
    ++count_;
    AddPiece(&headers_[count_ - 1], sizeof(VnetHeader));
  }
  void AddPiece(void* data, size_t len) noexcept {
    iov_[pieces_++] = {.iov_base = data, .iov_len = len};
    ++frames_[count_ - 1].msg_hdr.msg_iovlen;
  }

  uint32_t count_ = 0;
  uint32_t refused_ = 0;  ///< a bit for each frame that the device would not have
  uint32_t pieces_ = 0;
  uint16_t packets_[kFrames];
  mmsghdr frames_[kFrames];
  iovec iov_[kPieces];
  VnetHeader headers_[kFrames];
  uint8_t coalesced_[kFrames][sizeof(rte_ether_hdr) + TcpCoalescer::kMaxHeader];
};

VnetPort::VnetPort(const PortConfig& config, const PortContext& context, Fd fd)
    : Port(config), pools_(context.pools), fd_(std::move(fd)), tx_(std::max<uint16_t>(context.workers, 1)) {
  IdleSocket();  // made while descriptors are to be had
}

bool VnetPort::NeedsSegmenting(const rte_mbuf& m) const noexcept {
  const Offload& offload = OffloadOf(m);
  if (offload.gso_size == 0) return false;
  return (m.ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK) != 0 || offload.csum_start > kMaxPlainCsumStart;
}

/// Completes a checksum that the device would not. False: the packet is malformed.
bool VnetPort::Prepare(rte_mbuf& m) const noexcept {
  const Offload& offload = OffloadOf(m);
  if (!offload.needs_csum() || completes_any_checksum_) return true;
  const bool plain =
      (m.ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK) == 0 && offload.csum_start <= kMaxPlainCsumStart;
  return plain || CompleteChecksum(m);
}

/// Sends the batch's frames and returns how many are done with, refused ones included: fewer than all when
/// the device is full for now.
uint32_t VnetPort::Send(Batch& batch) noexcept {
  const std::span<mmsghdr> frames = batch.frames();
  uint32_t done = 0;
  while (done < frames.size()) {
    const int sent = Write(frames.subspan(done));
    if (sent > 0) {
      done += static_cast<uint32_t>(sent);
      continue;
    }
    if (sent == -EAGAIN) break;
    if (sent == -EINTR) continue;
    if (MeansGone(-sent)) MarkGone();
    batch.Refuse(done++);
  }
  return done;
}

/// Sends one bundle: 0, or a negative errno.
int VnetPort::SendBundle(const TunnelBundle& bundle) noexcept {
  VnetHeader header = UdpSuperPacketHeader(bundle);
  std::array<iovec, TunnelBundle::kMaxParts + 1> parts;
  parts[0] = {.iov_base = &header, .iov_len = sizeof header};
  std::ranges::copy(bundle.span(), parts.begin() + 1);
  mmsghdr message = {};
  message.msg_hdr.msg_iov = parts.data();
  message.msg_hdr.msg_iovlen = bundle.span().size() + 1;
  int sent = 0;
  do sent = Write({&message, 1});
  while (sent == -EINTR);
  if (sent < 0 && MeansGone(-sent)) MarkGone();
  return sent < 0 ? sent : 0;
}

/// Sends the frames of a tunnel back to back in UDP super-packets: a system call for all in place of a way
/// through the kernel for each. kNotTaken: nothing was sent, frames must do.
VnetPort::Bundled VnetPort::SendBundles(Segmenter& segmenter, TxCounters& counters) noexcept {
  TunnelBundle bundle;
  bool any = false;
  while (const uint16_t n = segmenter.NextBundle(bundle)) {
    if (bundle.longest_frame() > mtu() + sizeof(rte_ether_hdr)) return Bundled::kNotTaken;
    const int error = SendBundle(bundle);
    if (error == -EINVAL && !any) {
      // Before Linux 6.2 there are none. Later refusals are of a packet, not of all.
      if (!bundles_taken_.load(std::memory_order_relaxed)) takes_bundles_ = false;
      return Bundled::kNotTaken;
    }
    if (error != 0) return Bundled::kLost;
    any = true;
    bundles_taken_.store(true, std::memory_order_relaxed);
    Add(counters.segments, n);
  }
  if (segmenter.remaining() == 0) return Bundled::kSent;
  return any ? Bundled::kLost : Bundled::kNotTaken;
}

/// False when not all of it could be sent: a super-packet cannot be half the caller's.
bool VnetPort::SendSegmented(rte_mbuf& m, TxCounters& counters) noexcept {
  Segmenter segmenter;
  if (!segmenter.Start(m)) return false;
  if (takes_bundles_.load(std::memory_order_relaxed)) {
    const Bundled result = SendBundles(segmenter, counters);
    if (result != Bundled::kNotTaken) return result == Bundled::kSent;
    segmenter.Start(m);
  }
  rte_mbuf* frames[Batch::kFrames];
  Batch batch;
  bool whole = true;
  while (const uint16_t n = segmenter.Next(pools_, frames)) {
    for (uint16_t i = 0; i < n; ++i) batch.Add(*frames[i]);
    const uint32_t sent = Send(batch) - batch.refused_count();
    batch.Clear();
    Add(counters.segments, sent);
    whole &= sent == n;
    rte_pktmbuf_free_bulk(frames, n);
  }
  return whole && segmenter.remaining() == 0;
}

/// Sends the batch, which holds mbufs[0] and on, and frees those done with; returns their number.
uint16_t VnetPort::Flush(Batch& batch, rte_mbuf** mbufs, TxCounters& counters) noexcept {
  const uint32_t frames = Send(batch);
  uint64_t bytes = 0;
  uint32_t done = 0, refused = 0;
  for (uint32_t i = 0; i < frames; ++i) {
    for (const uint32_t end = done + batch.packets_of(i); done < end; ++done) {
      bytes += batch.refused(i) ? 0 : mbufs[done]->pkt_len;
      refused += batch.refused(i) ? 1 : 0;
    }
  }
  Add(counters.bytes, bytes);
  Add(counters.packets, done - refused);
  Add(counters.errors, refused);
  rte_pktmbuf_free_bulk(mbufs, done);
  batch.Clear();
  return static_cast<uint16_t>(done);
}

/// Sends by itself what does not go into a batch: what must be segmented, and what is malformed.
void VnetPort::SendAlone(rte_mbuf& m, TxCounters& counters) noexcept {
  const bool sent = NeedsSegmenting(m) && SendSegmented(m, counters);
  Add(counters.bytes, sent ? m.pkt_len : 0);
  Add(sent ? counters.packets : counters.errors, 1);
  rte_pktmbuf_free(&m);
}

uint16_t VnetPort::TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept {
  if (!coalesces_ || n == 1) return SendBurst(queue, mbufs, n, nullptr);
  BurstCoalescer coalescer;
  coalescer.Plan({mbufs, n});
  return SendBurst(queue, mbufs, n, &coalescer);
}

uint16_t VnetPort::SendBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n,
                             const BurstCoalescer* coalescer) noexcept {
  TxCounters& counters = tx_[queue];
  Batch batch;
  uint16_t done = 0;  // from mbufs[done] to mbufs[i]: in the batch
  for (uint16_t i = 0; i < n;) {
    rte_mbuf& m = *mbufs[i];
    const TcpCoalescer* super = coalescer == nullptr ? nullptr : coalescer->At(i);
    const bool batched = super != nullptr || (!NeedsSegmenting(m) && Prepare(m));
    const auto add = [&] { return super != nullptr ? batch.Add(mbufs + i, *super) : batch.Add(m); };
    const auto next = static_cast<uint16_t>(i + (super == nullptr ? 1 : super->segments()));
    if (!batched || !add()) {
      done = static_cast<uint16_t>(done + Flush(batch, mbufs + done, counters));
      if (done != i) return done;
      if (!batched || !add()) {
        SendAlone(m, counters);
        ++done;
      }
    }
    i = next;
  }
  return static_cast<uint16_t>(done + Flush(batch, mbufs + done, counters));
}

void VnetPort::Received(rte_mbuf* m, rte_mbuf** mbufs, uint16_t& count) noexcept {
  if (m == nullptr) {
    Add(rx_.errors, 1);
    return;
  }
  Add(rx_.packets, 1);
  Add(rx_.bytes, m->pkt_len);
  mbufs[count++] = m;
}

void VnetPort::ReadFailed(int error) noexcept {
  if (error == EAGAIN || error == EINTR) return;
  if (MeansGone(error)) {
    MarkGone();
  } else {
    Add(rx_.errors, 1);
  }
}

void VnetPort::MarkGone() noexcept {
  if (!gone_.exchange(true)) dup3(IdleSocket(), fd_.get(), O_CLOEXEC);
}

PortStats VnetPort::Stats() const {
  PortStats stats;
  rx_.AddTo(stats);
  for (const TxCounters& c : tx_) c.AddTo(stats);
  return stats;
}

}  // namespace podwire
