#include "control/ipam.h"

#include <arpa/inet.h>

#include "net/status.h"

namespace podwire {
namespace {

uint32_t HostOrder(const IpAddress& a) { return ntohl(a.v4().be); }

}  // namespace

absl::StatusOr<IpAddress> Ipam::Allocate(const IpPrefix& subnet) {
  if (!subnet.address.is_v4() || subnet.length > 30) {
    return Error(absl::StatusCode::kFailedPrecondition, "subnet {} has no room for pods", ToString(subnet));
  }
  const uint64_t size = uint64_t{1} << (32 - subnet.length);
  const uint64_t first = 2;         // behind the network address and the gateway
  const uint64_t count = size - 3;  // nor the broadcast address
  uint64_t next = 0;
  if (cursor_.is_v4() && subnet.Contains(cursor_)) {
    const uint64_t last = HostOrder(cursor_) - HostOrder(subnet.address);
    next = last + 1 < first ? 0 : (last + 1 - first) % count;
  }
  for (uint64_t i = 0; i < count; ++i) {
    const IpAddress a = Offset(subnet.address, first + (next + i) % count);
    if (!used_.insert(a).second) continue;
    cursor_ = a;
    return a;
  }
  return Error(
      absl::StatusCode::kResourceExhausted,
      "no address left in subnet {}: all {} are given out; delete pods, or give the node a larger subnet",
      ToString(subnet), count);
}

absl::Status Ipam::Reserve(const IpAddress& a) {
  if (used_.insert(a).second) return absl::OkStatus();
  return Error(absl::StatusCode::kAlreadyExists, "address {} is given out to another pod", ToString(a));
}

}  // namespace podwire
