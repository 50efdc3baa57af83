#include "pmd/xsk_queue.h"

#include <linux/if_link.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include <rte_memcpy.h>

#include "net/status.h"
#include "pmd/offload.h"

namespace podwire {
namespace {

/// The kernel shows that frames are filled before it shows that it has taken them, so one may be in the ring
/// twice for a moment.
constexpr uint32_t kFillSize = 2 * XskQueue::kFrames;
constexpr size_t kAreaSize = size_t{2} * XskQueue::kFrames * XskQueue::kFrameSize;
constexpr int kFlushTries = 64;  // the kernel sends up to 32 frames a call when it copies

}  // namespace

void XskQueue::Unmap::operator()(char* area) const noexcept { munmap(area, kAreaSize); }

XskQueue::~XskQueue() = default;

absl::StatusOr<std::unique_ptr<XskQueue>> XskQueue::Open(const std::string& interface, uint32_t queue) {
  std::unique_ptr<XskQueue> q(new XskQueue);
  void* area =
      mmap(nullptr, kAreaSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (area == MAP_FAILED) return ErrnoError(errno, "memory for frames");
  q->area_.reset(static_cast<char*>(area));
  const xsk_umem_config config = {.fill_size = kFillSize,
                                  .comp_size = kFrames,
                                  .frame_size = kFrameSize,
                                  .frame_headroom = 0,
                                  .flags = 0};
  xsk_umem* umem = nullptr;
  const int error = xsk_umem__create(&umem, area, kAreaSize, &q->fill_, &q->completed_, &config);
  if (error != 0) {
    return ErrnoError(-error,
                      "AF_XDP socket (needs CAP_NET_RAW, memory that may be locked, and a kernel with "
                      "CONFIG_XDP_SOCKETS)");
  }
  q->umem_.reset(umem);
  RETURN_IF_ERROR(q->CreateSocket(interface, queue));
  q->FillAll();
  return q;
}

absl::Status XskQueue::CreateSocket(const std::string& interface, uint32_t queue) {
  xsk_socket_config config = {};
  config.rx_size = config.tx_size = kFrames;
  config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
  config.bind_flags = XDP_USE_NEED_WAKEUP;  // zero-copy if the driver can
  xsk_socket* socket = nullptr;
  const int error = xsk_socket__create(&socket, interface.c_str(), queue, umem_.get(), &rx_, &tx_, &config);
  if (error == -EBUSY) {
    return Error(absl::StatusCode::kFailedPrecondition, "another AF_XDP socket has its queue {} already",
                 queue);
  }
  if (error != 0) return ErrnoError(-error, "AF_XDP socket on queue {}", queue);
  socket_.reset(socket);
  xdp_options options = {};
  socklen_t len = sizeof options;
  zero_copy_ = getsockopt(fd(), SOL_XDP, XDP_OPTIONS, &options, &len) == 0 &&
               (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
  return absl::OkStatus();
}

/// The first half of the memory is to receive into, the other to send from.
void XskQueue::FillAll() noexcept {
  empty_.reserve(kFrames);
  for (uint32_t i = 0; i < kFrames; ++i) empty_.push_back(uint64_t{i} * kFrameSize);
  Refill();
  free_.reserve(kFrames);
  for (uint32_t i = 0; i < kFrames; ++i) free_.push_back(uint64_t{kFrames + i} * kFrameSize);
}

/// Gives the kernel the empty frames, as far as there is room; the others wait for the next time.
void XskQueue::Refill() noexcept {
  const auto wanted = static_cast<uint32_t>(empty_.size());
  const uint32_t n = std::min(wanted, xsk_prod_nb_free(&fill_, wanted));
  uint32_t at = 0;
  if (n == 0 || xsk_ring_prod__reserve(&fill_, n, &at) != n) return;
  for (uint32_t i = 0; i < n; ++i) {
    *xsk_ring_prod__fill_addr(&fill_, at + i) = empty_.back();
    empty_.pop_back();
  }
  xsk_ring_prod__submit(&fill_, n);
}

int XskQueue::fd() const { return xsk_socket__fd(socket_.get()); }

absl::Status XskQueue::Register(int sockets_map) {
  const int error = xsk_socket__update_xskmap(socket_.get(), sockets_map);
  return error == 0 ? absl::OkStatus() : ErrnoError(-error, "put the AF_XDP socket into the program's map");
}

rte_mbuf* XskQueue::Copy(const MbufPools& pools, const xdp_desc& frame) const noexcept {
  rte_mempool& pool = frame.len <= kSmallRoom ? pools.small() : pools.big();
  rte_mbuf* m = rte_pktmbuf_alloc(&pool);
  if (m == nullptr) return nullptr;
  char* to = rte_pktmbuf_append(m, static_cast<uint16_t>(frame.len));
  rte_memcpy(to, area_.get() + frame.addr, frame.len);
  OffloadOf(*m) = {};
  return m;
}

uint16_t XskQueue::Receive(const MbufPools& pools, rte_mbuf** mbufs, uint16_t n, uint16_t& lost) noexcept {
  uint32_t from = 0;
  const uint32_t got = xsk_ring_cons__peek(&rx_, n, &from);
  uint16_t count = 0;
  for (uint32_t i = 0; i < got; ++i) {
    const xdp_desc& frame = *xsk_ring_cons__rx_desc(&rx_, from + i);
    mbufs[count] = Copy(pools, frame);
    count = static_cast<uint16_t>(count + (mbufs[count] != nullptr ? 1 : 0));
    empty_.push_back(frame.addr & ~uint64_t{kFrameSize - 1});
  }
  if (got != 0) xsk_ring_cons__release(&rx_, got);
  Refill();
  if (xsk_ring_prod__needs_wakeup(&fill_) != 0) recvfrom(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
  lost = static_cast<uint16_t>(got - count);
  return count;
}

bool XskQueue::Put(const rte_mbuf& m) noexcept {
  uint32_t at = 0;
  if (free_.empty() || xsk_ring_prod__reserve(&tx_, 1, &at) == 0) return false;
  const uint64_t frame = free_.back();
  free_.pop_back();
  char* to = area_.get() + frame;
  for (const rte_mbuf* part = &m; part != nullptr; part = part->next) {
    rte_memcpy(to, rte_pktmbuf_mtod(part, const void*), part->data_len);
    to += part->data_len;
  }
  *xsk_ring_prod__tx_desc(&tx_, at) = {.addr = frame, .len = m.pkt_len, .options = 0};
  xsk_ring_prod__submit(&tx_, 1);
  return true;
}

void XskQueue::Reclaim() noexcept {
  uint32_t from = 0;
  const uint32_t done = xsk_ring_cons__peek(&completed_, kFrames, &from);
  for (uint32_t i = 0; i < done; ++i) free_.push_back(*xsk_ring_cons__comp_addr(&completed_, from + i));
  if (done != 0) xsk_ring_cons__release(&completed_, done);
}

void XskQueue::Flush() noexcept {
  down_ = false;
  bool handed = xsk_ring_prod__needs_wakeup(&tx_) == 0;
  for (int i = 0; !handed && !down_ && i < kFlushTries; ++i) {
    handed = sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0) >= 0;
    if (handed) break;
    down_ = errno == ENETDOWN || errno == ENXIO;
    if (!down_ && errno != EAGAIN && errno != EBUSY && errno != ENOBUFS && errno != EINTR) break;
    Reclaim();
  }
  unsent_.store(!handed && !down_, std::memory_order_relaxed);
  Reclaim();
}

uint64_t XskQueue::missed() const noexcept {
  xdp_statistics stats = {};
  socklen_t len = sizeof stats;
  if (getsockopt(fd(), SOL_XDP, XDP_STATISTICS, &stats, &len) != 0) return 0;
  return stats.rx_dropped + stats.rx_ring_full + stats.rx_invalid_descs;
}

}  // namespace podwire
