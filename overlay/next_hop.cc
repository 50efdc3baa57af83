#include "overlay/next_hop.h"

#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

namespace podwire {
namespace {

constexpr size_t kIp = sizeof(rte_ether_hdr);
static_assert(kIp + sizeof(rte_ipv4_hdr) + sizeof(rte_udp_hdr) == kUdpHeaderLen &&
              kUdpHeaderLen + sizeof(rte_vxlan_hdr) + kIp == kVxlanHeaderLen &&
              kVxlanHeaderLen + sizeof(rte_ipv6_hdr) - sizeof(rte_ipv4_hdr) == kVxlanHeaderLen6 &&
              kVxlanHeaderLen6 <= kMaxHeader);

/// Each Put function returns where the next header goes.
uint8_t* PutEthernet(uint8_t* at, const MacAddr& src, const MacAddr& dst, IpFamily carries) {
  auto* eth = reinterpret_cast<rte_ether_hdr*>(at);
  std::memcpy(eth->dst_addr.addr_bytes, dst.bytes.data(), 6);
  std::memcpy(eth->src_addr.addr_bytes, src.bytes.data(), 6);
  eth->ether_type = carries == IpFamily::kV6 ? RTE_BE16(RTE_ETHER_TYPE_IPV6) : RTE_BE16(RTE_ETHER_TYPE_IPV4);
  return at + sizeof *eth;
}

uint8_t* PutIpv4(uint8_t* at, const HeaderAddresses& a) {
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(at);
  ip->version_ihl = RTE_IPV4_VHL_DEF;
  ip->time_to_live = 64;
  ip->next_proto_id = IPPROTO_UDP;
  ip->src_addr = a.src.v4().be;
  ip->dst_addr = a.dst.v4().be;
  ip->hdr_checksum = rte_ipv4_cksum(ip);
  return at + sizeof *ip;
}

uint8_t* PutIpv6(uint8_t* at, const HeaderAddresses& a) {
  auto* ip = reinterpret_cast<rte_ipv6_hdr*>(at);
  ip->vtc_flow = RTE_BE32(6u << 28);
  ip->proto = IPPROTO_UDP;
  ip->hop_limits = 64;
  std::memcpy(ip->src_addr, a.src.bytes().data(), sizeof ip->src_addr);
  std::memcpy(ip->dst_addr, a.dst.bytes().data(), sizeof ip->dst_addr);
  return at + sizeof *ip;
}

uint8_t* PutUdp(uint8_t* at, const HeaderAddresses& a) {
  auto* udp = reinterpret_cast<rte_udp_hdr*>(at);
  udp->dst_port = rte_cpu_to_be_16(a.udp_port);
  return at + sizeof *udp;
}

uint8_t* PutVxlan(uint8_t* at, const HeaderAddresses& a) {
  auto* vxlan = reinterpret_cast<rte_vxlan_hdr*>(at);
  vxlan->vx_flags = RTE_BE32(0x08000000);
  vxlan->vx_vni = rte_cpu_to_be_32(a.vni.value() << 8);
  return at + sizeof *vxlan;
}

}  // namespace

void BuildHeader(NextHop& hop, const HeaderAddresses& a) {
  hop.header = {};
  uint8_t* at = hop.header.data();
  const bool direct = hop.kind == NextHop::Kind::kDirect;
  at = PutEthernet(at, a.src_mac, a.dst_mac, direct ? a.carries : a.dst.family());
  if (!direct) at = PutUdp(a.dst.is_v6() ? PutIpv6(at, a) : PutIpv4(at, a), a);
  if (hop.kind == NextHop::Kind::kVxlan)
    at = PutEthernet(PutVxlan(at, a), a.inner_src_mac, a.inner_dst_mac, a.carries);
  hop.header_len = static_cast<uint8_t>(at - hop.header.data());
}

}  // namespace podwire
