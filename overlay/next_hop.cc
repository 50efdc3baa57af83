#include "overlay/next_hop.h"

#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

namespace podwire {
namespace {

constexpr size_t kIp = sizeof(rte_ether_hdr);
constexpr size_t kUdp = kIp + sizeof(rte_ipv4_hdr);
constexpr size_t kVxlan = kUdp + sizeof(rte_udp_hdr);
constexpr size_t kInner = kVxlan + sizeof(rte_vxlan_hdr);
static_assert(kInner + sizeof(rte_ether_hdr) == kVxlanHeaderLen && kVxlan == kUdpHeaderLen &&
              kVxlanHeaderLen <= kMaxHeader);

void PutEthernet(uint8_t* at, const MacAddr& src, const MacAddr& dst) {
  auto* eth = reinterpret_cast<rte_ether_hdr*>(at);
  std::memcpy(eth->dst_addr.addr_bytes, dst.bytes.data(), 6);
  std::memcpy(eth->src_addr.addr_bytes, src.bytes.data(), 6);
  eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
}

void PutIpv4(uint8_t* at, const HeaderAddresses& a) {
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(at);
  ip->version_ihl = RTE_IPV4_VHL_DEF;
  ip->time_to_live = 64;
  ip->next_proto_id = IPPROTO_UDP;
  ip->src_addr = a.src.be;
  ip->dst_addr = a.dst.be;
  ip->hdr_checksum = rte_ipv4_cksum(ip);
}

}  // namespace

void BuildHeader(NextHop& hop, const HeaderAddresses& a) {
  hop.header = {};
  uint8_t* at = hop.header.data();
  PutEthernet(at, a.src_mac, a.dst_mac);
  hop.header_len = kDirectHeaderLen;
  if (hop.kind == NextHop::Kind::kDirect) return;
  PutIpv4(at + kIp, a);
  reinterpret_cast<rte_udp_hdr*>(at + kUdp)->dst_port = rte_cpu_to_be_16(a.udp_port);
  hop.header_len = kUdpHeaderLen;
  if (hop.kind == NextHop::Kind::kUdp) return;
  auto* vxlan = reinterpret_cast<rte_vxlan_hdr*>(at + kVxlan);
  vxlan->vx_flags = RTE_BE32(0x08000000);
  vxlan->vx_vni = rte_cpu_to_be_32(a.vni.value() << 8);
  PutEthernet(at + kInner, a.inner_src_mac, a.inner_dst_mac);
  hop.header_len = kVxlanHeaderLen;
}

}  // namespace podwire
