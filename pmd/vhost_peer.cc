#include "pmd/vhost_peer.h"

#include <algorithm>
#include <bit>
#include <cerrno>

#include <rte_eth_vhost.h>
#include <rte_pause.h>

#include "net/status.h"

namespace podwire {
namespace {

// VIRTIO_NET_F_*: what the driver (the peer) can receive.
constexpr uint64_t kGuestCsum = 1u << 1;
constexpr uint64_t kGuestTso = 1u << 7 | 1u << 8;  // both families, or we segment for either

constexpr uint64_t kAlways = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
constexpr uint64_t kChecksums = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;

/// The link says that the peer went, the queue state that it enabled or disabled a ring.
constexpr rte_eth_event_type kEvents[] = {RTE_ETH_EVENT_INTR_LSC, RTE_ETH_EVENT_QUEUE_STATE};

uint64_t OffloadsOf(uint64_t features) {
  if ((features & kGuestCsum) == 0) return kAlways;
  if ((features & kGuestTso) != kGuestTso) return kAlways | kChecksums;
  return kAlways | kChecksums | RTE_ETH_TX_OFFLOAD_TCP_TSO;
}

bool IsUp(uint16_t port) {
  rte_eth_link link{};
  return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace

absl::StatusOr<std::unique_ptr<VhostPeer>> VhostPeer::Watch(uint16_t port, uint16_t max_queues,
                                                            std::atomic<uint64_t>& tx_offloads,
                                                            std::atomic<uint16_t>& tx_queues) {
  tx_offloads = kAlways;
  tx_queues = 1;
  auto peer = std::unique_ptr<VhostPeer>(new VhostPeer(port, max_queues, tx_offloads, tx_queues));
  for (const rte_eth_event_type event : kEvents) {
    if (const int rc = rte_eth_dev_callback_register(port, event, OnEvent, peer.get()); rc != 0)
      return ErrnoError(-rc, "rte_eth_dev_callback_register");
  }
  return peer;
}

VhostPeer::~VhostPeer() {
  for (const rte_eth_event_type event : kEvents) {
    // It runs in a thread of librte_vhost's and is soon over.
    while (rte_eth_dev_callback_unregister(port_, event, OnEvent, this) == -EAGAIN) rte_pause();
  }
}

int VhostPeer::OnEvent(uint16_t, rte_eth_event_type type, void* self, void*) {
  auto& peer = *static_cast<VhostPeer*>(self);
  if (type == RTE_ETH_EVENT_INTR_LSC) peer.LinkChanged();
  if (type == RTE_ETH_EVENT_QUEUE_STATE) peer.QueuesChanged();
  return 0;
}

/// One that is not there yet will be told of.
void VhostPeer::Refresh() {
  if (!IsUp(port_)) return;
  LinkChanged();
  QueuesChanged();
}

/// A peer has come, or gone: then nothing more than what each takes goes to the next until it has come.
void VhostPeer::LinkChanged() {
  const std::lock_guard lock(mutex_);
  uint64_t features = 0;
  if (IsUp(port_)) {
    rte_vhost_get_negotiated_features(rte_eth_vhost_get_vid_from_port_id(port_), &features);
  } else {
    enabled_ = 0;
    tx_queues_ = 1;
  }
  tx_offloads_ = OffloadsOf(features);
}

void VhostPeer::QueuesChanged() {
  const std::lock_guard lock(mutex_);
  rte_eth_vhost_queue_event event;
  while (rte_eth_vhost_get_queue_event(port_, &event) == 0) {
    if (event.rx || event.queue_id >= 64) continue;
    const uint64_t bit = uint64_t{1} << event.queue_id;
    enabled_ = event.enable ? enabled_ | bit : enabled_ & ~bit;
  }
  tx_queues_ = static_cast<uint16_t>(std::clamp<int>(std::countr_one(enabled_), 1, max_queues_));
}

}  // namespace podwire
