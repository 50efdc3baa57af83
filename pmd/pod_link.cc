#include "pmd/pod_link.h"

#include <algorithm>

#include "net/status.h"
#include "pmd/netlink.h"

namespace podwire {
namespace {

/// Largest frame that the kernel may give us unsegmented: an encapsulation of up to 84 bytes around it still
/// has lengths of 16 bits.
constexpr uint32_t kGsoMaxSize = 65400;

/// Most segments of a super-packet: with 22 bytes more each (VXLAN and an inner Ethernet header) they fit
/// into one UDP super-packet (TunnelBundle), and need not go as a full one and a rest.
constexpr uint32_t MaxSegments(uint16_t mtu) { return std::max(1u, (65535u - 20 - 8) / (mtu + 22u)); }

}  // namespace

/// libnl 3.7 cannot set the GSO limits, so the message is made by hand.
absl::Status ConfigurePodLink(nl_sock* socket, const PodLink& link) {
  const NlMessage message(nlmsg_alloc_simple(RTM_NEWLINK, 0));
  const ifinfomsg info = {.ifi_family = AF_UNSPEC};
  bool fits = message != nullptr &&
              nlmsg_append(message.get(), const_cast<ifinfomsg*>(&info), sizeof info, NLMSG_ALIGNTO) == 0;
  const uint32_t segments = link.trunk ? UINT16_MAX : MaxSegments(link.mtu);
  fits = fits && nla_put_string(message.get(), IFLA_IFNAME, link.ifname.c_str()) == 0 &&
         nla_put(message.get(), IFLA_IFALIAS, static_cast<int>(link.alias.size()), link.alias.c_str()) == 0 &&
         nla_put_u32(message.get(), IFLA_MTU, link.mtu) == 0 &&
         nla_put_u32(message.get(), IFLA_GSO_MAX_SIZE, kGsoMaxSize) == 0 &&
         nla_put_u32(message.get(), IFLA_GSO_MAX_SEGS, segments) == 0;
  if (fits && !link.mac.empty())
    fits = nla_put(message.get(), IFLA_ADDRESS, sizeof(MacAddr), link.mac.bytes.data()) == 0;
  if (!fits) return Error(absl::StatusCode::kResourceExhausted, "netlink message: out of memory");
  nlmsg_hdr(message.get())->nlmsg_flags |= NLM_F_ACK;
  int result = nl_send_auto(socket, message.get());
  if (result >= 0) result = nl_wait_for_ack(socket);
  return NlStatus(result, fmt::format("set MAC, MTU {} and GSO limits of {}", link.mtu, link.ifname));
}

}  // namespace podwire
