#include "pmd/flow_rule.h"

#include <netinet/in.h>

#include <array>
#include <cstring>

#include <fmt/format.h>

#include "pmd/flow_text.h"

namespace podwire {
namespace {

constexpr size_t kMaxItems = 12, kMaxActions = 10;
constexpr uint8_t kVersionAndLength = 0x45;  // no options
constexpr uint8_t kFinSynRst = 0x07;         // TCP flags
constexpr uint16_t kFragmentBits = 0x3fff;   // more fragments, offset
constexpr uint8_t kEcnBits = 0x03;
constexpr uint8_t kVxlanFlags = 0x08;
constexpr uint8_t kOuterTtl = 64;

/// Room for one header of each kind, spec and mask.
struct Headers {
  rte_flow_item_eth eth{}, eth_mask{};
  rte_flow_item_ipv4 ipv4{}, ipv4_mask{};
  rte_flow_item_ipv6 ipv6{}, ipv6_mask{};
};

void PutMac(const MacAddr& mac, rte_ether_addr& spec, rte_ether_addr& mask) {
  std::memcpy(spec.addr_bytes, mac.bytes.data(), mac.bytes.size());
  if (!mac.empty()) std::memset(mask.addr_bytes, 0xff, sizeof mask.addr_bytes);
}

void PutVni(Vni vni, uint8_t* bytes) {
  bytes[0] = static_cast<uint8_t>(vni.value() >> 16);
  bytes[1] = static_cast<uint8_t>(vni.value() >> 8);
  bytes[2] = static_cast<uint8_t>(vni.value());
}

const char* FamilyName(const IpAddress& a) { return a.is_v4() ? "ipv4" : "ipv6"; }

std::string ProtocolWord(uint8_t proto) {
  switch (proto) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_SCTP:
      return "sctp";
    default:
      return "other";
  }
}

}  // namespace

struct FlowRule::Arrays {
  Arrays(uint16_t ethdev, const FlowMatch& match, const FlowAction& action) {
    const bool forward = action.kind == FlowAction::Kind::kForward;
    attributes.ingress = forward ? 0 : 1;
    attributes.transfer = forward ? 1 : 0;
    if (forward) {
      ingress.port_id = ethdev;
      ingress_mask.port_id = UINT16_MAX;
      Item(RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT, &ingress, &ingress_mask);
    }
    if (match.tunnel) PutTunnel(*match.tunnel, match.plain.has_value());
    PutInner(match, action);
    Item(RTE_FLOW_ITEM_TYPE_END, nullptr, nullptr);
    PutActions(match, action);
    Action(RTE_FLOW_ACTION_TYPE_END, nullptr);
  }
  Arrays(const Arrays&) = delete;  // its arrays point into itself
  Arrays& operator=(const Arrays&) = delete;

  void Item(rte_flow_item_type type, const void* spec, const void* mask) {
    items[item_count++] = {.type = type, .spec = spec, .last = nullptr, .mask = mask};
  }
  void Action(rte_flow_action_type type, const void* conf) {
    actions[action_count++] = {.type = type, .conf = conf};
  }

  /// An Ethernet item, without spec where nothing of it matters: drivers take such one for any frame, mlx5
  /// also for one with a VLAN tag. Where that is not to pass both of type and has_vlan are asked for, for
  /// drivers differ in which of them they look at.
  void PutEthernet(Headers& h, bool v4, const FlowMatch::Plain* plain) {
    if (plain == nullptr) return Item(RTE_FLOW_ITEM_TYPE_ETH, nullptr, nullptr);
    PutMac(plain->dst_mac, h.eth.dst, h.eth_mask.dst);
    PutMac(plain->src_mac, h.eth.src, h.eth_mask.src);
    h.eth.type = rte_cpu_to_be_16(v4 ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6);
    h.eth_mask.type = UINT16_MAX;
    h.eth_mask.has_vlan = 1;
    Item(RTE_FLOW_ITEM_TYPE_ETH, &h.eth, &h.eth_mask);
  }

  /// `named`: no item behind says the protocol.
  void PutIp(Headers& h, const IpAddress& src, const IpAddress& dst, uint8_t proto, bool named,
             const FlowMatch::Plain* plain, bool no_ecn) {
    if (src.is_v4()) {
      PutIpv4(h, src.v4(), dst.v4(), named ? proto : -1);
      if (plain != nullptr) PutPlainIpv4(h, *plain, no_ecn);
      return Item(RTE_FLOW_ITEM_TYPE_IPV4, &h.ipv4, &h.ipv4_mask);
    }
    std::memcpy(h.ipv6.hdr.src_addr, src.bytes().data(), 16);
    std::memcpy(h.ipv6.hdr.dst_addr, dst.bytes().data(), 16);
    std::memset(h.ipv6_mask.hdr.src_addr, 0xff, 16);
    std::memset(h.ipv6_mask.hdr.dst_addr, 0xff, 16);
    if (named || plain != nullptr) {
      h.ipv6.hdr.proto = proto;
      h.ipv6_mask.hdr.proto = 0xff;
    }
    if (plain != nullptr) {
      // A NIC may skip extension headers before it compares `proto`.
      rte_flow_item_ipv6& m = h.ipv6_mask;
      m.has_hop_ext = m.has_route_ext = m.has_frag_ext = m.has_auth_ext = m.has_esp_ext = 1;
      m.has_dest_ext = m.has_mobil_ext = m.has_hip_ext = m.has_shim6_ext = 1;
      h.ipv6.hdr.hop_limits = plain->ttl;
      h.ipv6_mask.hdr.hop_limits = plain->ttl_mask;
      if (no_ecn) h.ipv6_mask.hdr.vtc_flow = rte_cpu_to_be_32(uint32_t{kEcnBits} << RTE_IPV6_HDR_TC_SHIFT);
    }
    Item(RTE_FLOW_ITEM_TYPE_IPV6, &h.ipv6, &h.ipv6_mask);
  }

  static void PutIpv4(Headers& h, Ipv4 src, Ipv4 dst, int proto) {
    h.ipv4.hdr.src_addr = src.be;
    h.ipv4.hdr.dst_addr = dst.be;
    h.ipv4_mask.hdr.src_addr = h.ipv4_mask.hdr.dst_addr = UINT32_MAX;
    if (proto < 0) return;
    h.ipv4.hdr.next_proto_id = static_cast<uint8_t>(proto);
    h.ipv4_mask.hdr.next_proto_id = 0xff;
  }

  static void PutPlainIpv4(Headers& h, const FlowMatch::Plain& plain, bool no_ecn) {
    h.ipv4.hdr.version_ihl = kVersionAndLength;
    h.ipv4_mask.hdr.version_ihl = 0xff;
    h.ipv4_mask.hdr.fragment_offset = rte_cpu_to_be_16(kFragmentBits);
    h.ipv4.hdr.time_to_live = plain.ttl;
    h.ipv4_mask.hdr.time_to_live = plain.ttl_mask;
    if (no_ecn) h.ipv4_mask.hdr.type_of_service = kEcnBits;
  }

  /// `whole`: what is in it is to be forwarded. Its own TTL and ECN end here: PutInner looks at those inside.
  void PutTunnel(const FlowMatch::Tunnel& t, bool whole) {
    const FlowMatch::Plain to{.src_mac = {}, .dst_mac = t.dst_mac};
    const FlowMatch::Plain* plain = whole ? &to : nullptr;
    PutEthernet(outer, t.src.is_v4(), plain);
    PutIp(outer, t.src, t.dst, IPPROTO_UDP, false, plain, false);
    outer_udp.hdr.dst_port = rte_cpu_to_be_16(t.udp_port);
    outer_udp_mask.hdr.dst_port = UINT16_MAX;
    Item(RTE_FLOW_ITEM_TYPE_UDP, &outer_udp, &outer_udp_mask);
    PutVni(t.vni, vxlan.vni);
    std::memset(vxlan_mask.vni, 0xff, sizeof vxlan_mask.vni);
    Item(RTE_FLOW_ITEM_TYPE_VXLAN, &vxlan, &vxlan_mask);
  }

  void PutInner(const FlowMatch& m, const FlowAction& a) {
    const FlowMatch::Plain* plain = m.plain ? &*m.plain : nullptr;
    const bool no_ecn = a.encap || (m.tunnel && a.kind == FlowAction::Kind::kForward);
    PutEthernet(inner, m.src.is_v4(), plain);
    PutIp(inner, m.src, m.dst, m.proto, !m.has_ports, plain, no_ecn);
    if (!m.has_ports) return;
    const rte_be16_t src = rte_cpu_to_be_16(m.src_port), dst = rte_cpu_to_be_16(m.dst_port);
    switch (m.proto) {
      case IPPROTO_TCP:
        tcp.hdr.src_port = src;
        tcp.hdr.dst_port = dst;
        tcp_mask.hdr.src_port = tcp_mask.hdr.dst_port = UINT16_MAX;
        if (plain != nullptr) tcp_mask.hdr.tcp_flags = kFinSynRst;
        return Item(RTE_FLOW_ITEM_TYPE_TCP, &tcp, &tcp_mask);
      case IPPROTO_SCTP:
        sctp.hdr.src_port = src;
        sctp.hdr.dst_port = dst;
        sctp_mask.hdr.src_port = sctp_mask.hdr.dst_port = UINT16_MAX;
        return Item(RTE_FLOW_ITEM_TYPE_SCTP, &sctp, &sctp_mask);
      default:
        udp.hdr.src_port = src;
        udp.hdr.dst_port = dst;
        udp_mask.hdr.src_port = udp_mask.hdr.dst_port = UINT16_MAX;
        return Item(RTE_FLOW_ITEM_TYPE_UDP, &udp, &udp_mask);
    }
  }

  void PutActions(const FlowMatch& m, const FlowAction& a) {
    if (a.kind == FlowAction::Kind::kDrop) {
      if (a.count) Action(RTE_FLOW_ACTION_TYPE_COUNT, &count);
      return Action(RTE_FLOW_ACTION_TYPE_DROP, nullptr);
    }
    if (m.tunnel) Action(RTE_FLOW_ACTION_TYPE_VXLAN_DECAP, nullptr);
    std::memcpy(set_src.mac_addr, a.src_mac.bytes.data(), sizeof set_src.mac_addr);
    std::memcpy(set_dst.mac_addr, a.dst_mac.bytes.data(), sizeof set_dst.mac_addr);
    Action(RTE_FLOW_ACTION_TYPE_SET_MAC_SRC, &set_src);
    Action(RTE_FLOW_ACTION_TYPE_SET_MAC_DST, &set_dst);
    Action(RTE_FLOW_ACTION_TYPE_DEC_TTL, nullptr);
    if (a.encap) PutEncap(*a.encap);
    if (a.count) Action(RTE_FLOW_ACTION_TYPE_COUNT, &count);
    egress.port_id = a.ethdev;
    Action(RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT, &egress);
  }

  /// The headers to be put in front, as a pattern: checksum and lengths are the NIC's.
  void PutEncap(const FlowAction::Encap& e) {
    PutMac(e.dst_mac, encap.eth.dst, encap.eth_mask.dst);
    PutMac(e.src_mac, encap.eth.src, encap.eth_mask.src);
    encap.eth.type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
    encap.eth_mask.type = UINT16_MAX;
    definition[0] = {RTE_FLOW_ITEM_TYPE_ETH, &encap.eth, nullptr, &encap.eth_mask};
    PutIpv4(encap, e.src, e.dst, IPPROTO_UDP);
    encap.ipv4.hdr.version_ihl = kVersionAndLength;
    encap.ipv4.hdr.time_to_live = kOuterTtl;
    encap.ipv4_mask.hdr.version_ihl = encap.ipv4_mask.hdr.time_to_live = 0xff;
    definition[1] = {RTE_FLOW_ITEM_TYPE_IPV4, &encap.ipv4, nullptr, &encap.ipv4_mask};
    encap_udp.hdr.src_port = rte_cpu_to_be_16(e.udp_src);
    encap_udp.hdr.dst_port = rte_cpu_to_be_16(e.udp_dst);
    encap_udp_mask.hdr.src_port = encap_udp_mask.hdr.dst_port = UINT16_MAX;
    definition[2] = {RTE_FLOW_ITEM_TYPE_UDP, &encap_udp, nullptr, &encap_udp_mask};
    encap_vxlan.flags = kVxlanFlags;
    PutVni(e.vni, encap_vxlan.vni);
    encap_vxlan_mask.flags = 0xff;
    std::memset(encap_vxlan_mask.vni, 0xff, sizeof encap_vxlan_mask.vni);
    definition[3] = {RTE_FLOW_ITEM_TYPE_VXLAN, &encap_vxlan, nullptr, &encap_vxlan_mask};
    definition[4] = {RTE_FLOW_ITEM_TYPE_END, nullptr, nullptr, nullptr};
    encap_conf.definition = definition.data();
    Action(RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP, &encap_conf);
  }

  rte_flow_attr attributes{};
  std::array<rte_flow_item, kMaxItems> items{};
  std::array<rte_flow_action, kMaxActions> actions{};
  size_t item_count = 0, action_count = 0;

  Headers outer, inner, encap;
  rte_flow_item_ethdev ingress{}, ingress_mask{};
  rte_flow_item_udp outer_udp{}, outer_udp_mask{}, udp{}, udp_mask{}, encap_udp{}, encap_udp_mask{};
  rte_flow_item_tcp tcp{}, tcp_mask{};
  rte_flow_item_sctp sctp{}, sctp_mask{};
  rte_flow_item_vxlan vxlan{}, vxlan_mask{}, encap_vxlan{}, encap_vxlan_mask{};
  std::array<rte_flow_item, 5> definition{};
  rte_flow_action_vxlan_encap encap_conf{};
  rte_flow_action_set_mac set_src{}, set_dst{};
  rte_flow_action_count count{};
  rte_flow_action_ethdev egress{};
};

FlowRule::FlowRule(uint16_t ingress_ethdev, const FlowMatch& match, const FlowAction& action)
    : ethdev_(ingress_ethdev),
      match_(match),
      action_(action),
      arrays_(std::make_unique<Arrays>(ingress_ethdev, match_, action_)) {}
FlowRule::FlowRule(FlowRule&&) noexcept = default;
FlowRule& FlowRule::operator=(FlowRule&&) noexcept = default;
FlowRule::~FlowRule() = default;

const rte_flow_attr& FlowRule::attributes() const { return arrays_->attributes; }
const rte_flow_item* FlowRule::pattern() const { return arrays_->items.data(); }
const rte_flow_action* FlowRule::actions() const { return arrays_->actions.data(); }

std::string FlowRule::Shape() const {
  static constexpr const char* kKinds[] = {"drop", "forward"};
  std::string shape = fmt::format("{} {} {}", kKinds[static_cast<size_t>(action_.kind)],
                                  FamilyName(match_.src), ProtocolWord(match_.proto));
  if (match_.tunnel) shape += fmt::format(" vxlan-{}", FamilyName(match_.tunnel->src));
  if (action_.encap) shape += " encap-ipv4";
  if (action_.count) shape += " count";
  return shape;
}

std::string FlowRule::Text() const { return FlowText(attributes(), pattern(), actions()); }

}  // namespace podwire
