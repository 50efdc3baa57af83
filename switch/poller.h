#pragma once

#include <cstdint>
#include <vector>

#include <rte_mbuf.h>

#include "net/id.h"
#include "switch/tables.h"

namespace podwire {

/// Which ports a worker receives from, and how it waits for them. Ports with a descriptor are watched by
/// epoll and read only when something waits there, so idle pods cost nothing; others are polled in turn. A
/// queue belongs to one worker, by port number plus queue number, so a multi-queue port is spread over all.
class Poller {
 public:
  Poller(uint16_t worker, uint16_t workers);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// Takes over the tables' ports. Not on the packet path. Must see every change of a port slot
  /// (Switch::Publish waits for that), for a descriptor's number may come back as another port's.
  void Rebuild(const Tables& t);

  /// Up to `n` packets with the port each came in on, from several ports.
  uint16_t Receive(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept;

  /// Sleeps until a watched port has packets, Wake() is called, or `timeout_us` have passed.
  void Wait(uint32_t timeout_us) noexcept;
  /// Any thread.
  void Wake() const noexcept;

  /// Some port has no descriptor: sleeping delays its packets.
  bool has_polled() const { return !polled_.empty(); }

 private:
  struct Watched {
    Port* port = nullptr;
    int fd = -1;
    bool ready = false;
  };
  struct Polled {
    Port* port;
    PortId id;
    uint16_t queue;
  };
  void Watch(PortId id, Port* port);
  void Collect(uint32_t timeout_us) noexcept;
  uint16_t ReceiveWatched(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept;
  uint16_t ReceivePolled(rte_mbuf** mbufs, PortId* in_ports, uint16_t n) noexcept;

  const uint16_t worker_, workers_;
  int epoll_ = -1;
  int wake_ = -1;
  std::vector<Watched> watched_;  // by PortId
  std::vector<Polled> polled_;
  std::vector<PortId> ready_;  // those of watched_ with packets, each once
  uint32_t next_polled_ = 0;
  uint32_t calls_ = 0;
};

}  // namespace podwire
