#pragma once

#include <cstdint>
#include <vector>

#include <rte_mbuf.h>

#include "net/id.h"
#include "switch/poll_plan.h"
#include "switch/tables.h"

namespace podwire {

/// Which ports a worker receives from, and how it waits for them. Ports with a descriptor are watched by
/// epoll and read only when something waits there, so idle pods cost nothing; others are polled in turn, and
/// wake us by interrupts where they have some.
/// Which queues are this worker's is the poll plan's to say.
class Poller {
 public:
  explicit Poller(uint16_t worker);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// Takes over the tables' ports as far as the plan gives them to this worker. Not on the packet path. Must
  /// see every change of a port slot (Switch::Publish waits for that), for a descriptor's number may come
  /// back as another port's. The ports and the plan's counters are used until the next Rebuild: both must
  /// outlive it.
  void Rebuild(const Tables& t, const PollPlan& plan);

  /// Up to `n` packets with the port each came in on, from several ports.
  uint16_t Receive(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept;

  /// Before a Wait: switches interrupts on. True: they were not, so Receive must look once more, for they
  /// tell of what comes from now on only.
  bool Arm() noexcept;
  /// When packets come again.
  void Disarm() noexcept {
    if (armed_) SwitchOff();
  }
  /// Sleeps until a watched port has packets, an armed one gets some, Wake() is called, or `timeout_us` have
  /// passed.
  void Wait(uint32_t timeout_us) noexcept;
  /// Any thread.
  void Wake() const noexcept;

  /// Some port has neither a descriptor nor, since Arm, interrupts: sleeping delays its packets.
  bool must_poll() const { return silent_ != 0; }

 private:
  struct Watched {
    Port* port = nullptr;
    QueueCounter* counter = nullptr;
    const TrunkMembers* members = nullptr;
    int fd = -1;
    bool ready = false;
  };
  struct Polled {
    Port* port;
    QueueCounter* counter;
    const TrunkMembers* members;
    PortId id;
    uint16_t queue;
    int interrupt_fd;  // -1: none
  };
  void Poll(const PortSlot& slot, QueueCounter* counter, PortId id, uint16_t queue);
  void SwitchOff() noexcept;
  void Watch(PortId id, Port* port, QueueCounter* counter);
  bool Collect(uint32_t timeout_us) noexcept;
  uint16_t ReceiveWatched(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept;
  uint16_t ReceivePolled(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept;

  const uint16_t worker_;
  int epoll_ = -1;
  int wake_ = -1;
  std::vector<Watched> watched_;  // by PortId
  std::vector<Polled> polled_;
  std::vector<PortId> ready_;  // those of watched_ with packets, each once
  uint32_t watched_count_ = 0;
  uint32_t next_polled_ = 0;
  uint32_t calls_ = 0;
  uint32_t silent_ = 0;       // of polled_, those that nothing tells of
  bool collected_ = false;    // by Wait, since the last Receive
  bool armed_ = false;        // interrupts are on
  bool rearm_ = false;        // though they are: the device may be another by now (a vhost-user peer)
  bool interrupted_ = false;  // since the last look at the polled ports
};

}  // namespace podwire
