#pragma once

#include <absl/container/flat_hash_set.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "net/address.h"

namespace podwire {

/// Which addresses are given out, of the node's subnet and of others that a delegated IPAM plugin chose. In
/// memory; the caller records what it takes (Store::AddAttachment). One thread.
class Ipam {
 public:
  /// The next free address of the IPv4 `subnet` after the one given out last, so that an address rests as
  /// long as possible before it is another pod's; never the network address, the gateway or the broadcast
  /// address. ResourceExhausted says how many are given out.
  absl::StatusOr<IpAddress> Allocate(const IpPrefix& subnet);
  /// Takes an address chosen elsewhere. AlreadyExists when it is given out.
  absl::Status Reserve(const IpAddress& a);
  void Release(const IpAddress& a) { used_.erase(a); }

  bool IsUsed(const IpAddress& a) const { return used_.contains(a); }
  /// Where Allocate goes on from; survives restarts so that addresses are not reused at once.
  const IpAddress& cursor() const { return cursor_; }
  void set_cursor(const IpAddress& a) { cursor_ = a; }

 private:
  absl::flat_hash_set<IpAddress> used_;
  IpAddress cursor_;  // given out last
};

}  // namespace podwire
