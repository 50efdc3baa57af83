#include "control/ipam.h"

#include <arpa/inet.h>
#include <endian.h>

#include <algorithm>
#include <cstring>

#include "net/status.h"

namespace podwire {
namespace {

constexpr unsigned kMostHostBits = 63;  // of IPv6 subnets; so many pods there are not

/// The address' last 64 bits (all of IPv4's), host order.
uint64_t Low(const IpAddress& a) {
  if (a.is_v4()) return ntohl(a.v4().be);
  uint64_t be;
  std::memcpy(&be, a.bytes().data() + 8, sizeof be);
  return be64toh(be);
}

}  // namespace

absl::StatusOr<IpAddress> Ipam::Allocate(const IpPrefix& subnet) {
  const unsigned host_bits = std::min<unsigned>(subnet.address.bits() - subnet.length, kMostHostBits);
  if (host_bits < 2) {
    return Error(absl::StatusCode::kFailedPrecondition, "subnet {} has no room for pods", ToString(subnet));
  }
  const bool v4 = subnet.address.is_v4();
  const uint64_t first = 2;                                          // behind the network and the gateway
  const uint64_t count = (uint64_t{1} << host_bits) - (v4 ? 3 : 2);  // nor IPv4's broadcast address
  IpAddress& cursor = CursorOf(subnet.address.family());
  uint64_t next = 0;
  if (subnet.Contains(cursor)) {
    const uint64_t last = Low(cursor) - Low(subnet.address);
    next = last + 1 < first ? 0 : (last + 1 - first) % count;
  }
  for (uint64_t i = 0; i < count; ++i) {
    const IpAddress a = Offset(subnet.address, first + (next + i) % count);
    if (!used_.insert(a).second) continue;
    cursor = a;
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
