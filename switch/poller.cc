#include "switch/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>
#include <system_error>

namespace podwire {
namespace {

constexpr uint32_t kWakeEvent = UINT32_MAX, kInterruptEvent = UINT32_MAX - 1;
constexpr uint16_t kBurst = 32;       // from one port before the next gets its turn
constexpr uint32_t kEpollPeriod = 8;  // bursts between two looks at epoll while known ports keep us busy

}  // namespace

Poller::Poller(uint16_t worker) : worker_(worker) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{.events = EPOLLIN, .data = {.u32 = kWakeEvent}};
  if (epoll_ < 0 || wake_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0) {
    throw std::system_error(errno, std::system_category(), "epoll");
  }
}

Poller::~Poller() {
  close(wake_);
  close(epoll_);
}

void Poller::Watch(PortId id, Port* port, QueueCounter* counter) {
  Watched& w = watched_[id.value()];
  const int fd = port == nullptr ? -1 : port->rx_fd();
  if (w.port == port && w.fd == fd) return;
  watched_count_ += (fd >= 0 ? 1 : 0) - (w.fd >= 0 ? 1 : 0);
  // The descriptor may be closed by now, and so gone from epoll by itself.
  if (w.fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, w.fd, nullptr);
  if (w.ready) std::erase(ready_, id);
  w = {.port = port, .counter = counter, .fd = fd};
  if (fd < 0) return;
  epoll_event event{.events = EPOLLIN, .data = {.u32 = id.value()}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
    w.fd = -1;
    --watched_count_;
    return;
  }
  // Its last worker may have left frames that the port has read: the descriptor does not tell of these.
  w.ready = true;
  ready_.push_back(id);
}

void Poller::Poll(const PortSlot& slot, QueueCounter* counter, PortId id, uint16_t queue) {
  int fd = slot.port->rx_interrupt_fd(queue);
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u32 = kInterruptEvent}};
  // A device may have one for all of its queues.
  if (fd >= 0 && epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EEXIST) fd = -1;
  polled_.push_back({slot.port, counter, slot.members.get(), id, queue, fd});
  silent_ += fd < 0 ? 1 : 0;
}

void Poller::Rebuild(const Tables& t, const PollPlan& plan) {
  Disarm();
  for (const Polled& p : polled_) {
    if (p.interrupt_fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, p.interrupt_fd, nullptr);
  }
  polled_.clear();
  silent_ = 0;
  if (watched_.size() < t.ports.size()) watched_.resize(t.ports.size());
  ready_.reserve(watched_.size());  // so that Collect never allocates
  for (size_t i = 0; i < watched_.size(); ++i) {
    const PortId id{static_cast<uint16_t>(i)};
    Port* port = i < t.ports.size() ? t.ports[i].port : nullptr;
    const bool planned = port != nullptr && i < plan.ports.size() && plan.ports[i].port == port;
    const auto queues = planned ? std::span(plan.ports[i].queues) : std::span<const PollPlan::Queue>();
    const bool by_fd = planned && port->rx_fd() >= 0;
    const bool watched = by_fd && queues[0].worker == worker_;
    Watch(id, watched ? port : nullptr, watched ? queues[0].counter.get() : nullptr);
    watched_[i].members = watched ? t.ports[i].members.get() : nullptr;
    if (by_fd) continue;
    for (uint16_t q = 0; q < queues.size(); ++q) {
      if (queues[q].worker == worker_) Poll(t.ports[i], queues[q].counter.get(), id, q);
    }
  }
}

/// False: nothing came.
bool Poller::Collect(uint32_t timeout_us) noexcept {
  std::array<epoll_event, 64> events;
  const timespec timeout{.tv_sec = timeout_us / 1000000, .tv_nsec = (timeout_us % 1000000) * 1000L};
  const int n = epoll_pwait2(epoll_, events.data(), events.size(), &timeout, nullptr);
  for (int i = 0; i < n; ++i) {
    const uint32_t id = events[i].data.u32;
    if (id == kWakeEvent) {
      uint64_t count;
      [[maybe_unused]] const ssize_t r = read(wake_, &count, sizeof count);
    } else if (id == kInterruptEvent) {
      interrupted_ = true;
    } else if (id < watched_.size() && watched_[id].port != nullptr && !watched_[id].ready) {
      watched_[id].ready = true;
      ready_.push_back(PortId{static_cast<uint16_t>(id)});
    }
  }
  return n > 0;
}

uint16_t Poller::Receive(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept {
  // In turns, so that neither kind can take every place.
  const bool polled_first = (++calls_ & 1) != 0;
  uint16_t count = polled_first ? ReceivePolled(mbufs, in_ports, n) : 0;
  count += ReceiveWatched(mbufs + count, in_ports + count, n - count);
  if (!polled_first) count += ReceivePolled(mbufs + count, in_ports + count, n - count);
  return count;
}

uint16_t Poller::ReceiveWatched(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept {
  if (n == 0) return 0;
  const bool due = ready_.empty() || calls_ % kEpollPeriod == 0;
  if (watched_count_ != 0 && due && !collected_) Collect(0);
  collected_ = false;
  uint16_t count = 0;
  size_t kept = 0;
  for (size_t i = 0; i < ready_.size(); ++i) {
    const PortId id = ready_[i];
    const uint16_t want = std::min<uint16_t>(kBurst, n - count);
    Watched& w = watched_[id.value()];
    const uint16_t got = want == 0 ? 0 : w.port->RxBurst(0, mbufs + count, want);
    std::fill_n(in_ports + count, got, id);
    if (w.members != nullptr) w.members->Assign(0, mbufs + count, in_ports + count, got);
    count += got;
    if (got != 0) w.counter->Add(got);
    // Less than asked for: empty for now, and epoll will tell.
    w.ready = got == want;
    if (got == want) ready_[kept++] = id;
  }
  ready_.resize(kept);
  // Those that had no room this time come first the next.
  if (count == n && kept > 1) std::rotate(ready_.begin(), ready_.begin() + 1, ready_.end());
  return count;
}

uint16_t Poller::ReceivePolled(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept {
  uint16_t count = 0;
  interrupted_ = false;
  for (size_t i = 0; i < polled_.size() && count < n; ++i) {
    if (next_polled_ >= polled_.size()) next_polled_ = 0;
    const Polled& p = polled_[next_polled_++];
    const uint16_t got = p.port->RxBurst(p.queue, mbufs + count, std::min<uint16_t>(kBurst, n - count));
    if (got == 0) continue;
    std::fill_n(in_ports + count, got, p.id);
    if (p.members != nullptr) p.members->Assign(p.queue, mbufs + count, in_ports + count, got);
    count += got;
    p.counter->Add(got);
  }
  return count;
}

bool Poller::Arm() noexcept {
  if (armed_ && !rearm_) return false;
  armed_ = true;
  rearm_ = false;
  silent_ = 0;
  for (const Polled& p : polled_) {
    if (p.interrupt_fd < 0 || !p.port->ArmRx(p.queue)) ++silent_;
  }
  return silent_ < polled_.size();
}

void Poller::SwitchOff() noexcept {
  armed_ = rearm_ = false;
  for (const Polled& p : polled_) {
    if (p.interrupt_fd >= 0) p.port->DisarmRx(p.queue);
  }
}

void Poller::Wait(uint32_t timeout_us) noexcept {
  if (!ready_.empty() || interrupted_) return;
  const bool came = Collect(timeout_us);
  collected_ = true;
  rearm_ = !came && silent_ == 0 && !polled_.empty();
}

void Poller::Wake() const noexcept {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t r = write(wake_, &one, sizeof one);
}

}  // namespace podwire
