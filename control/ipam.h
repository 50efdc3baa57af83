#pragma once

#include <array>

#include <absl/container/flat_hash_set.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "net/address.h"

namespace podwire {

/// Which addresses are given out, of the node's subnet and of others that a delegated IPAM plugin chose. In
/// memory; the caller records what it takes (Store::AddAttachment). One thread.
class Ipam {
 public:
  /// The next free address of `subnet` after the family's last one, so that an address rests as long as
  /// possible before it is another pod's; never the network address (in IPv6 the routers' anycast address),
  /// the gateway or the broadcast address. ResourceExhausted says how many are given out.
  absl::StatusOr<IpAddress> Allocate(const IpPrefix& subnet);
  /// Takes an address chosen elsewhere. AlreadyExists when it is given out.
  absl::Status Reserve(const IpAddress& a);
  void Release(const IpAddress& a) { used_.erase(a); }

  bool IsUsed(const IpAddress& a) const { return used_.contains(a); }
  /// Where Allocate goes on from, each empty or of its family: IPv4, IPv6. They survive restarts so that
  /// addresses are not reused at once.
  const std::array<IpAddress, 2>& cursors() const { return cursors_; }
  /// The cursor of `a`'s family.
  void set_cursor(const IpAddress& a) { CursorOf(a.family()) = a; }

 private:
  IpAddress& CursorOf(IpFamily family) { return cursors_[family == IpFamily::kV6 ? 1 : 0]; }

  absl::flat_hash_set<IpAddress> used_;
  std::array<IpAddress, 2> cursors_;  // given out last
};

}  // namespace podwire
