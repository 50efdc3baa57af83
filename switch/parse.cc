#include "switch/parse.h"

#include <cstring>

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_prefetch.h>
#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include "pmd/offload.h"
#include "pmd/segment.h"
#include "switch/decide.h"
#include "switch/plain_parser.h"
#include "switch/tables.h"

namespace podwire {
namespace {

constexpr uint32_t kEthernet = sizeof(rte_ether_hdr);
constexpr uint8_t kVxlanFlags =
    0x08;                          // a VNI and nothing else: other bits change the format (GPE, group policy)
constexpr uint32_t kQuotedL4 = 8;  // RFC 792: what an ICMP error quotes at least

constexpr uint8_t kOptionEnd = 0, kOptionNop = 1, kOptionLooseRoute = 131, kOptionStrictRoute = 137;

bool Same(const rte_ether_addr& a, const MacAddr& b) { return std::memcmp(&a, b.bytes.data(), 6) == 0; }

bool IsIcmpQuery(uint8_t type) {  // with an identifier: echo, timestamp, information, address mask
  return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

void SetIcmpQuery(FlowKey4& key, const rte_icmp_hdr& icmp) {
  key.src_port_be = key.dst_port_be = icmp.icmp_ident;
  key.icmp_reply = icmp.icmp_type != 8 && icmp.icmp_type % 2 == 0;  // requests but echo's are odd
}

bool IsIcmpError(uint8_t type) {  // unreachable, quench, redirect, time exceeded, parameter problem
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

bool HasPorts(uint8_t proto) { return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP; }

DropReason CheckOptions(const uint8_t* options, uint32_t len) {
  for (uint32_t i = 0; i < len;) {
    const uint8_t type = options[i];
    if (type == kOptionEnd) break;
    if (type == kOptionNop) {
      ++i;
      continue;
    }
    if (i + 1 >= len || options[i + 1] < 2 || i + options[i + 1] > len) return DropReason::kMalformed;
    if (type == kOptionLooseRoute || type == kOptionStrictRoute) return DropReason::kIpOptions;
    i += options[i + 1];
  }
  return DropReason::kNone;
}

/// One burst's parser: what does not change between its packets.
class Parser {
 public:
  Parser(const Tables& tables, uint64_t seed)
      : tables_(tables), local_(tables.local), seed_(seed), plain_(tables) {
    tunnel_address_ =
        local_.tunnel_enabled && local_.underlay_address.is_v4() ? local_.underlay_address.v4() : Ipv4{};
  }

  void Parse(Packet& p, rte_mbuf* m, PortId in_port) noexcept {
    if (plain_.Parse(p, m, in_port)) {
      p.hash = FlowHash(p.key, seed_);
    } else {
      ParseGenerally(p, m, in_port);
    }
  }

  void ParseGenerally(Packet& p, rte_mbuf* m, PortId in_port) noexcept {
    p = Packet{};
    p.mbuf = m;
    p.key.in_port = in_port;
    p.reason = Frame(p);
    if (p.reason != DropReason::kNone) {
      p.kind = PacketKind::kDrop;
    } else if (p.kind != PacketKind::kArp) {
      p.hash = FlowHash(p.key, seed_);
    }
  }

 private:
  /// An IPv4 header that has been checked, and the bytes of its payload: [l4, end).
  struct Ip {
    const rte_ipv4_hdr* header = nullptr;
    uint32_t l4 = 0, end = 0;
    bool later_fragment = false;
    bool fragment = false;
  };

  template <class T>
  static const T* At(const Packet& p, uint32_t offset) {
    return rte_pktmbuf_mtod_offset(p.mbuf, const T*, offset);
  }
  /// Whether [offset, offset + len) lies before `end` and in the first segment.
  static bool Holds(const Packet& p, uint32_t offset, uint32_t len, uint32_t end) {
    return offset + len <= end && offset + len <= p.mbuf->data_len;
  }

  DropReason Frame(Packet& p) noexcept;
  static DropReason CheckMacs(const PortSlot& slot, const rte_ether_hdr& eth) noexcept;
  static DropReason CheckIp(const Packet& p, uint32_t offset, uint32_t end, bool checksum_good,
                            Ip& ip) noexcept;
  DropReason Ipv4Packet(Packet& p, const PortSlot& slot) noexcept;
  bool IsTunnel(const Packet& p, const PortSlot& slot, const Ip& ip) const noexcept;
  DropReason Tunnel(Packet& p, const Ip& outer, Ip& inner) const noexcept;
  DropReason InnerOffset(const Packet& p, uint32_t payload, uint32_t end, uint32_t& inner) const noexcept;
  static DropReason Describe(Packet& p, uint32_t l3, const Ip& ip) noexcept;
  static DropReason Transport(Packet& p, const Ip& ip) noexcept;
  static DropReason Tcp(Packet& p, const Ip& ip) noexcept;
  static DropReason Icmp(Packet& p, const Ip& ip) noexcept;
  static DropReason Quoted(Packet& p, uint32_t offset, uint32_t end) noexcept;
  static DropReason CheckOffload(Packet& p, const Ip& ip, uint32_t outer_l4) noexcept;
  static DropReason CheckSegments(const Packet& p, const Ip& ip, Offload& offload) noexcept;

  const Tables& tables_;
  const LocalNode& local_;
  uint64_t seed_;
  Ipv4 tunnel_address_;  // zero: no tunnels
  PlainParser plain_;
};

DropReason Parser::CheckMacs(const PortSlot& slot, const rte_ether_hdr& eth) noexcept {
  if (slot.role == PortRole::kPod && !Same(eth.src_addr, slot.peer_mac)) return DropReason::kSpoofedMac;
  if (Same(eth.dst_addr, slot.own_mac)) return DropReason::kNone;
  if (!rte_is_multicast_ether_addr(&eth.dst_addr)) return DropReason::kNotForUs;
  const bool arp = eth.ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP);
  return arp ? DropReason::kNone : DropReason::kMulticast;
}

DropReason Parser::Frame(Packet& p) noexcept {
  const uint16_t port = p.key.in_port.value();
  if (port >= tables_.ports.size() || tables_.ports[port].role == PortRole::kNone)
    return DropReason::kUnknownPort;
  const PortSlot& slot = tables_.ports[port];
  if (p.mbuf->data_len < kEthernet) return DropReason::kMalformed;
  const auto* eth = At<rte_ether_hdr>(p, 0);
  if (const DropReason r = CheckMacs(slot, *eth); r != DropReason::kNone) return r;
  p.l3_offset = kEthernet;
  if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4)) return Ipv4Packet(p, slot);
  if (eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_ARP)) return DropReason::kUnsupportedEthertype;
  if (p.mbuf->data_len < kEthernet + sizeof(rte_arp_hdr)) return DropReason::kMalformed;
  p.kind = PacketKind::kArp;
  return DropReason::kNone;
}

DropReason Parser::CheckIp(const Packet& p, uint32_t offset, uint32_t end, bool checksum_good,
                           Ip& ip) noexcept {
  if (!Holds(p, offset, sizeof(rte_ipv4_hdr), end)) return DropReason::kMalformed;
  const auto* h = At<rte_ipv4_hdr>(p, offset);
  const uint32_t header_len = rte_ipv4_hdr_len(h);
  const uint32_t total = rte_be_to_cpu_16(h->total_length);
  if (h->version != 4 || header_len < sizeof(rte_ipv4_hdr) || total < header_len || offset + total > end ||
      offset + header_len > p.mbuf->data_len) {
    return DropReason::kMalformed;
  }
  if (!checksum_good && rte_raw_cksum(h, header_len) != 0xffff) return DropReason::kBadChecksum;
  ip = {.header = h, .l4 = offset + header_len, .end = offset + total};
  const uint16_t fragment = rte_be_to_cpu_16(h->fragment_offset);
  ip.later_fragment = (fragment & RTE_IPV4_HDR_OFFSET_MASK) != 0;
  ip.fragment = ip.later_fragment || (fragment & RTE_IPV4_HDR_MF_FLAG) != 0;
  // RFC 3128: a second fragment that overwrites the first one's TCP flags.
  if ((fragment & RTE_IPV4_HDR_OFFSET_MASK) == 1 && h->next_proto_id == IPPROTO_TCP)
    return DropReason::kMalformed;
  if (header_len == sizeof(rte_ipv4_hdr)) return DropReason::kNone;
  return CheckOptions(reinterpret_cast<const uint8_t*>(h + 1), header_len - sizeof(rte_ipv4_hdr));
}

DropReason Parser::Ipv4Packet(Packet& p, const PortSlot& slot) noexcept {
  Ip ip;
  const bool good = (p.mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  DropReason r = CheckIp(p, kEthernet, p.mbuf->pkt_len, good, ip);
  if (r != DropReason::kNone) return r;
  uint32_t l3 = kEthernet, outer_l4 = 0;
  if (IsTunnel(p, slot, ip)) {
    const Ip outer = ip;
    if (r = Tunnel(p, outer, ip); r != DropReason::kNone) return r;
    outer_l4 = outer.l4;
    l3 = static_cast<uint32_t>(reinterpret_cast<const uint8_t*>(ip.header) - At<uint8_t>(p, 0));
  }
  if (const uint32_t excess = p.mbuf->pkt_len - ip.end; excess != 0) {
    // Fails when more than the last segment is in excess; that is no padding.
    if (excess > UINT16_MAX || rte_pktmbuf_trim(p.mbuf, static_cast<uint16_t>(excess)) != 0) {
      return DropReason::kMalformed;
    }
  }
  if (r = Describe(p, l3, ip); r != DropReason::kNone) return r;
  return CheckOffload(p, ip, outer_l4);
}

bool Parser::IsTunnel(const Packet& p, const PortSlot& slot, const Ip& ip) const noexcept {
  if (slot.role != PortRole::kUnderlay || ip.header->next_proto_id != IPPROTO_UDP || ip.later_fragment ||
      tunnel_address_.be == 0 || ip.header->dst_addr != tunnel_address_.be) {
    return false;
  }
  return Holds(p, ip.l4, sizeof(rte_udp_hdr), ip.end) &&
         At<rte_udp_hdr>(p, ip.l4)->dst_port == local_.tunnel_port_be;
}

DropReason Parser::InnerOffset(const Packet& p, uint32_t payload, uint32_t end,
                               uint32_t& inner) const noexcept {
  inner = payload;
  if (local_.tunnel_is_vxlan) {
    inner += sizeof(rte_vxlan_hdr) + kEthernet;
    if (!Holds(p, payload, sizeof(rte_vxlan_hdr) + kEthernet, end)) return DropReason::kMalformed;
    const auto* vxlan = At<rte_vxlan_hdr>(p, payload);
    if (*At<uint8_t>(p, payload) != kVxlanFlags ||
        rte_be_to_cpu_32(vxlan->vx_vni) >> 8 != local_.vni.value()) {
      return DropReason::kUnknownVni;
    }
    const auto* eth = At<rte_ether_hdr>(p, payload + sizeof(rte_vxlan_hdr));
    if (!Same(eth->dst_addr, local_.vtep_mac) || eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4)) {
      return DropReason::kWrongTunnel;
    }
  } else if (Holds(p, payload, 1, end) && *At<uint8_t>(p, payload) >> 4 != 4) {
    return DropReason::kWrongTunnel;
  }
  return DropReason::kNone;
}

DropReason Parser::Tunnel(Packet& p, const Ip& outer, Ip& inner) const noexcept {
  if (outer.fragment) return DropReason::kWrongTunnel;
  const uint32_t udp_len = rte_be_to_cpu_16(At<rte_udp_hdr>(p, outer.l4)->dgram_len);
  const uint32_t end = outer.l4 + udp_len;
  if (udp_len < sizeof(rte_udp_hdr) || end > outer.end) return DropReason::kMalformed;
  const Ipv4 source{outer.header->src_addr};
  if (!tables_.vteps.Contains(source)) return DropReason::kUnknownVtep;
  uint32_t offset = 0;
  const DropReason r = InnerOffset(p, outer.l4 + sizeof(rte_udp_hdr), end, offset);
  if (r != DropReason::kNone) return r;
  p.tunnelled = true;
  p.tunnel_src = source;
  p.outer_tos = outer.header->type_of_service;
  // The mbuf's word on checksums is of the outer header.
  return CheckIp(p, offset, end, false, inner);
}

DropReason Parser::Describe(Packet& p, uint32_t l3, const Ip& ip) noexcept {
  const rte_ipv4_hdr& h = *ip.header;
  p.l3_offset = static_cast<uint16_t>(l3);
  p.l4_offset = static_cast<uint16_t>(ip.l4);
  p.l3_len = static_cast<uint16_t>(ip.end - l3);
  p.frag_id_be = h.packet_id;
  p.ttl = h.time_to_live;
  p.tos = h.type_of_service;
  p.dont_fragment = (h.fragment_offset & RTE_BE16(RTE_IPV4_HDR_DF_FLAG)) != 0;
  p.first_fragment = ip.fragment && !ip.later_fragment;
  p.key.src.be = h.src_addr;
  p.key.dst.be = h.dst_addr;
  p.key.proto = h.next_proto_id;
  const uint8_t top = static_cast<uint8_t>(rte_be_to_cpu_32(h.dst_addr) >> 24);
  if ((top & 0xf0) == 0xe0 || h.dst_addr == UINT32_MAX) return DropReason::kMulticast;
  if (ip.later_fragment) {
    p.kind = PacketKind::kLaterFragment;
    return DropReason::kNone;
  }
  p.kind = PacketKind::kFlow;
  return Transport(p, ip);
}

DropReason Parser::Transport(Packet& p, const Ip& ip) noexcept {
  const uint8_t proto = p.key.proto;
  if (proto == IPPROTO_ICMP) return Icmp(p, ip);
  if (!HasPorts(proto)) return DropReason::kNone;
  const uint32_t header = proto == IPPROTO_TCP   ? sizeof(rte_tcp_hdr)
                          : proto == IPPROTO_UDP ? sizeof(rte_udp_hdr)
                                                 : sizeof(rte_sctp_hdr);
  // A first fragment too short for these is RFC 1858's tiny fragment.
  if (!Holds(p, ip.l4, header, ip.end)) return DropReason::kMalformed;
  const auto* ports = At<rte_udp_hdr>(p, ip.l4);
  p.key.src_port_be = ports->src_port;
  p.key.dst_port_be = ports->dst_port;
  if (proto == IPPROTO_TCP) return Tcp(p, ip);
  if (proto != IPPROTO_UDP) return DropReason::kNone;
  const uint32_t len = rte_be_to_cpu_16(ports->dgram_len);
  const bool fits = len >= sizeof(rte_udp_hdr) && (ip.fragment || ip.l4 + len <= ip.end);
  return fits ? DropReason::kNone : DropReason::kMalformed;
}

DropReason Parser::Tcp(Packet& p, const Ip& ip) noexcept {
  const auto* tcp = At<rte_tcp_hdr>(p, ip.l4);
  const uint32_t len = (tcp->data_off >> 4) * 4u;
  if (len < sizeof(rte_tcp_hdr) || !Holds(p, ip.l4, len, ip.end)) return DropReason::kMalformed;
  p.tcp_flags = tcp->tcp_flags;
  return DropReason::kNone;
}

DropReason Parser::Icmp(Packet& p, const Ip& ip) noexcept {
  if (!Holds(p, ip.l4, sizeof(rte_icmp_hdr), ip.end)) return DropReason::kMalformed;
  const auto* icmp = At<rte_icmp_hdr>(p, ip.l4);
  p.icmp_type = icmp->icmp_type;
  p.icmp_code = icmp->icmp_code;
  if (IsIcmpQuery(p.icmp_type)) {
    SetIcmpQuery(p.key, *icmp);
  } else if (IsIcmpError(p.icmp_type)) {
    p.kind = PacketKind::kIcmpError;
    return Quoted(p, ip.l4 + sizeof(rte_icmp_hdr), ip.end);
  }
  return DropReason::kNone;
}

/// The quoted packet is cut off somewhere and its checksum and total length mean nothing.
DropReason Parser::Quoted(Packet& p, uint32_t offset, uint32_t end) noexcept {
  if (!Holds(p, offset, sizeof(rte_ipv4_hdr), end)) return DropReason::kMalformed;
  const auto* h = At<rte_ipv4_hdr>(p, offset);
  const uint32_t l4 = offset + rte_ipv4_hdr_len(h);
  if (h->version != 4 || l4 < offset + sizeof(rte_ipv4_hdr) || !Holds(p, l4, kQuotedL4, end)) {
    return DropReason::kMalformed;
  }
  p.key.src.be = h->src_addr;
  p.key.dst.be = h->dst_addr;
  p.key.proto = h->next_proto_id;
  if ((h->fragment_offset & RTE_BE16(RTE_IPV4_HDR_OFFSET_MASK)) != 0) return DropReason::kNone;
  if (HasPorts(p.key.proto)) {
    const auto* ports = At<rte_udp_hdr>(p, l4);
    p.key.src_port_be = ports->src_port;
    p.key.dst_port_be = ports->dst_port;
  } else if (p.key.proto == IPPROTO_ICMP) {
    const auto* icmp = At<rte_icmp_hdr>(p, l4);
    // RFC 1122 3.2.2: there is no error about an error.
    if (!IsIcmpQuery(icmp->icmp_type)) return DropReason::kMalformed;
    SetIcmpQuery(p.key, *icmp);
  }
  return DropReason::kNone;
}

/// Offload comes from a pod's kernel or from the pod itself: later stages and drivers must be able to trust
/// it.
DropReason Parser::CheckOffload(Packet& p, const Ip& ip, uint32_t outer_l4) noexcept {
  Offload& offload = OffloadOf(*p.mbuf);
  if (offload.gso_size == 0 && !offload.needs_csum()) {
    // In a tunnel the port's word is of the outer header.
    offload = {.flags = static_cast<uint8_t>(p.tunnelled ? 0 : offload.flags & Offload::kDataValid)};
    return DropReason::kNone;
  }
  if (!offload.needs_csum()) return DropReason::kMalformed;
  const uint8_t proto = ip.header->next_proto_id;
  const bool of_l4 = offload.csum_start == ip.l4 && !ip.fragment &&
                     ((proto == IPPROTO_TCP && offload.csum_offset == offsetof(rte_tcp_hdr, cksum)) ||
                      (proto == IPPROTO_UDP && offload.csum_offset == offsetof(rte_udp_hdr, dgram_cksum)));
  if (offload.gso_size != 0) return of_l4 ? CheckSegments(p, ip, offload) : DropReason::kMalformed;
  offload.gso_type = GsoType::kNone;
  if (of_l4) return DropReason::kNone;
  if (p.tunnelled && offload.csum_start == outer_l4) {  // the outer UDP checksum goes with its header
    offload = {};
    return DropReason::kNone;
  }
  // A checksum deeper in the payload (the pod's own tunnel): finished here, then it is nobody's business.
  if (ip.fragment || offload.csum_start < ip.l4 || !CompleteChecksum(*p.mbuf)) return DropReason::kMalformed;
  offload = {};
  return DropReason::kNone;
}

DropReason Parser::CheckSegments(const Packet& p, const Ip& ip, Offload& offload) noexcept {
  if (offload.gso_type != GsoType::kTcp4 || p.key.proto != IPPROTO_TCP || offload.gso_size < kMinGsoSize) {
    return DropReason::kMalformed;
  }
  const uint32_t header = (At<rte_tcp_hdr>(p, ip.l4)->data_off >> 4) * 4u;
  if (ip.end - ip.l4 - header <= offload.gso_size) {  // one segment only
    offload.gso_size = 0;
    offload.gso_type = GsoType::kNone;
  }
  return DropReason::kNone;
}

}  // namespace

void Parse(const Tables& tables, std::span<rte_mbuf* const> mbufs, const PortId* in_ports, uint64_t hash_seed,
           Packet* out) noexcept {
  constexpr size_t kAhead = 4;
  Parser parser(tables, hash_seed);
  for (size_t i = 0; i < mbufs.size() && i < kAhead; ++i) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
  for (size_t i = 0; i < mbufs.size(); ++i) {
    if (i + kAhead < mbufs.size()) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + kAhead], void*));
    parser.Parse(out[i], mbufs[i], in_ports[i]);
  }
}

void ParseGenerally(const Tables& tables, rte_mbuf* mbuf, PortId in_port, uint64_t hash_seed,
                    Packet& out) noexcept {
  Parser(tables, hash_seed).ParseGenerally(out, mbuf, in_port);
}

Headers HeadersOf(const Packet& packet) noexcept {
  Headers h{.src = packet.key.src,
            .dst = packet.key.dst,
            .proto = packet.key.proto,
            .src_port = rte_be_to_cpu_16(packet.key.src_port_be),
            .dst_port = rte_be_to_cpu_16(packet.key.dst_port_be),
            .in_port = packet.key.in_port,
            .tunnelled = packet.tunnelled,
            .tunnel_src = IpAddress{}};
  if (packet.tunnelled) h.tunnel_src = packet.tunnel_src;
  if (packet.kind == PacketKind::kIcmpError) {
    const auto* ip = rte_pktmbuf_mtod_offset(packet.mbuf, const rte_ipv4_hdr*, packet.l3_offset);
    h.src = Ipv4{ip->src_addr};
    h.dst = Ipv4{ip->dst_addr};
    h.proto = IPPROTO_ICMP;
    h.src_port = h.dst_port = 0;
  }
  return h;
}

}  // namespace podwire
