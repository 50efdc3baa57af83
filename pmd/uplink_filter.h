#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "net/address.h"
#include "pmd/fd.h"
#include "pmd/netdev_info.h"
#include "pmd/netns.h"
#include "pmd/port.h"

struct bpf_object;

namespace podwire {

/// Which frames of an interface that the kernel keeps are podwire's (bpf/uplink_filter.bpf.c says which), by
/// one of two ways: an XDP program that hands them to AF_XDP sockets, or the filter of an AF_PACKET socket
/// with one at the kernel's ingress (tc) that has the kernel drop them. Nothing is taken before SetTunnel or
/// SetPodSubnets.
///
/// What is attached outlives a killed process: the host's frames go on to the kernel, podwire's are dropped,
/// and the next Load replaces it. Destruction removes it. All methods: control thread.
class UplinkFilter {
 public:
  enum class Way : uint8_t { kXdp, kPacket };

  /// Of the calling thread's network namespace. Attaches and removes nothing yet. FailedPrecondition: another
  /// podwired has the interface, somebody else's XDP program is on it (kXdp), or the kernel cannot do it.
  static absl::StatusOr<std::unique_ptr<UplinkFilter>> Load(const NetdevInfo& netdev, Way way);
  ~UplinkFilter();
  /// Removes from an interface that is not shared what a killed process has left. Not while another podwired
  /// shares it.
  static void RemoveLeftovers(const NetdevInfo& netdev);
  UplinkFilter(const UplinkFilter&) = delete;
  UplinkFilter& operator=(const UplinkFilter&) = delete;

  void SetTunnel(const UdpTunnel& tunnel);
  void SetPodSubnets(std::span<const IpPrefix> subnets);

  /// kXdp: begins to take frames, into the sockets of sockets_map(), and removes what a killed process has
  /// left of the other way. True: in the driver; false: generic XDP.
  absl::StatusOr<bool> AttachXdp();
  /// kXdp: the map of AF_XDP sockets by receive queue.
  int sockets_map() const;
  /// kPacket: the socket gets podwire's frames only.
  absl::Status FilterSocket(int socket);
  /// kPacket: the kernel's own stack gets the others only. Removes what a killed process has left of the
  /// other way.
  absl::Status DropAtIngress();

  /// Ends to take frames: all are the kernel's. Once more does no harm.
  void Detach() const { Remove(way_); }

  /// For tests: a program by its function's name.
  int ProgramFd(const char* function) const;

 private:
  struct CloseObject {
    void operator()(bpf_object* object) const noexcept;
  };
  UplinkFilter(const NetdevInfo& netdev, Way way, NetnsFd netns, Fd claim)
      : netdev_(netdev), way_(way), netns_(std::move(netns)), claim_(std::move(claim)) {}
  absl::Status LoadObject();
  absl::Status WriteRules(const UdpTunnel& tunnel);
  static void RemoveFrom(int ifindex, Way way);
  void Remove(Way way) const;
  int MapFd(const char* name) const;
  void SetPrefix(const IpPrefix& prefix, bool present);

  const NetdevInfo netdev_;
  const Way way_;
  const NetnsFd netns_;
  const Fd claim_;  ///< an address that only one process can have
  std::unique_ptr<bpf_object, CloseObject> object_;
  std::vector<IpPrefix> subnets_;
};

}  // namespace podwire
