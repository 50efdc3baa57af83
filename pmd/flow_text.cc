#include "pmd/flow_text.h"

#include <cstring>

#include <fmt/format.h>

#include "net/address.h"

namespace podwire {
namespace {

std::string Mac(const uint8_t* bytes) {
  MacAddr mac;
  std::memcpy(mac.bytes.data(), bytes, mac.bytes.size());
  return ToString(mac);
}
std::string Address4(rte_be32_t be) { return ToString(Ipv4{be}); }
std::string Address6(const uint8_t* bytes) {
  Ipv6 a;
  std::memcpy(a.bytes.data(), bytes, a.bytes.size());
  return ToString(IpAddress(a));
}
uint32_t Vni24(const uint8_t* b) { return uint32_t{b[0]} << 16 | uint32_t{b[1]} << 8 | b[2]; }

/// " NAME is VALUE" if the mask has all bits, " NAME spec VALUE NAME mask MASK" if some.
template <class T>
std::string Field(const char* name, T spec, T mask) {
  if (mask == 0) return "";
  if (mask == static_cast<T>(~T{0})) return fmt::format(" {} is {}", name, spec);
  return fmt::format(" {0} spec {1:#x} {0} mask {2:#x}", name, spec, mask);
}
std::string Port(const char* name, rte_be16_t spec, rte_be16_t mask) {
  return Field(name, rte_be_to_cpu_16(spec), rte_be_to_cpu_16(mask));
}

std::string Text(const rte_flow_item_eth& spec, const rte_flow_item_eth& mask) {
  std::string text;
  if (mask.src.addr_bytes[0] != 0) text += " src is " + Mac(spec.src.addr_bytes);
  if (mask.dst.addr_bytes[0] != 0) text += " dst is " + Mac(spec.dst.addr_bytes);
  text += Port("type", spec.type, mask.type);
  if (mask.has_vlan != 0) text += fmt::format(" has_vlan is {}", static_cast<int>(spec.has_vlan));
  return text;
}

std::string Text(const rte_flow_item_ipv4& spec, const rte_flow_item_ipv4& mask) {
  const rte_ipv4_hdr &s = spec.hdr, &m = mask.hdr;
  std::string text = fmt::format(" src is {} dst is {}", Address4(s.src_addr), Address4(s.dst_addr));
  text += Field("proto", s.next_proto_id, m.next_proto_id);
  text += Field("version_ihl", s.version_ihl, m.version_ihl);
  text += Port("fragment_offset", s.fragment_offset, m.fragment_offset);
  text += Field("ttl", s.time_to_live, m.time_to_live);
  return text + Field("tos", s.type_of_service, m.type_of_service);
}

std::string Text(const rte_flow_item_ipv6& spec, const rte_flow_item_ipv6& mask) {
  const rte_ipv6_hdr &s = spec.hdr, &m = mask.hdr;
  const auto traffic_class = [](const rte_ipv6_hdr& h) {
    return static_cast<uint8_t>(rte_be_to_cpu_32(h.vtc_flow) >> RTE_IPV6_HDR_TC_SHIFT);
  };
  std::string text = fmt::format(" src is {} dst is {}", Address6(s.src_addr), Address6(s.dst_addr));
  text += Field("proto", s.proto, m.proto);
  text += Field("hop", s.hop_limits, m.hop_limits);
  if (mask.has_frag_ext != 0) text += fmt::format(" has_frag_ext is {}", static_cast<int>(spec.has_frag_ext));
  return text + Field("tc", traffic_class(s), traffic_class(m));
}

std::string ItemText(const rte_flow_item& item) {
  const auto fields = [&item]<class T>(const char* name, T*, auto&& text) {
    if (item.spec == nullptr) return std::string(name);
    return name + text(*static_cast<const T*>(item.spec), *static_cast<const T*>(item.mask));
  };
  const auto ports = [](const auto& s, const auto& m) {
    return Port("src", s.hdr.src_port, m.hdr.src_port) + Port("dst", s.hdr.dst_port, m.hdr.dst_port);
  };
  switch (item.type) {
    case RTE_FLOW_ITEM_TYPE_ETH:
      return fields("eth", static_cast<rte_flow_item_eth*>(nullptr),
                    [](const auto& s, const auto& m) { return Text(s, m); });
    case RTE_FLOW_ITEM_TYPE_IPV4:
      return fields("ipv4", static_cast<rte_flow_item_ipv4*>(nullptr),
                    [](const auto& s, const auto& m) { return Text(s, m); });
    case RTE_FLOW_ITEM_TYPE_IPV6:
      return fields("ipv6", static_cast<rte_flow_item_ipv6*>(nullptr),
                    [](const auto& s, const auto& m) { return Text(s, m); });
    case RTE_FLOW_ITEM_TYPE_UDP:
      return fields("udp", static_cast<rte_flow_item_udp*>(nullptr), ports);
    case RTE_FLOW_ITEM_TYPE_SCTP:
      return fields("sctp", static_cast<rte_flow_item_sctp*>(nullptr), ports);
    case RTE_FLOW_ITEM_TYPE_TCP:
      return fields("tcp", static_cast<rte_flow_item_tcp*>(nullptr), [&](const auto& s, const auto& m) {
        return ports(s, m) + Field("flags", s.hdr.tcp_flags, m.hdr.tcp_flags);
      });
    case RTE_FLOW_ITEM_TYPE_VXLAN:
      return fields("vxlan", static_cast<rte_flow_item_vxlan*>(nullptr),
                    [](const auto& s, const auto&) { return fmt::format(" vni is {}", Vni24(s.vni)); });
    case RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT:
      return fields(
          "represented_port", static_cast<rte_flow_item_ethdev*>(nullptr),
          [](const auto& s, const auto&) { return fmt::format(" ethdev_port_id is {}", s.port_id); });
    default:
      return fmt::format("item-{}", static_cast<int>(item.type));
  }
}

/// testpmd keeps what to encapsulate with apart from the rule.
std::string EncapText(const rte_flow_action_vxlan_encap& conf) {
  std::string macs, ip, udp;
  uint32_t vni = 0;
  for (const rte_flow_item* i = conf.definition; i->type != RTE_FLOW_ITEM_TYPE_END; ++i) {
    if (i->type == RTE_FLOW_ITEM_TYPE_ETH) {
      const auto& eth = *static_cast<const rte_flow_item_eth*>(i->spec);
      macs = fmt::format("eth-src {} eth-dst {}", Mac(eth.src.addr_bytes), Mac(eth.dst.addr_bytes));
    } else if (i->type == RTE_FLOW_ITEM_TYPE_IPV4) {
      const auto& h = static_cast<const rte_flow_item_ipv4*>(i->spec)->hdr;
      ip = fmt::format("ip-tos {} ip-ttl {} ip-src {} ip-dst {}", h.type_of_service, h.time_to_live,
                       Address4(h.src_addr), Address4(h.dst_addr));
    } else if (i->type == RTE_FLOW_ITEM_TYPE_UDP) {
      const auto& h = static_cast<const rte_flow_item_udp*>(i->spec)->hdr;
      udp = fmt::format("udp-src {} udp-dst {}", rte_be_to_cpu_16(h.src_port), rte_be_to_cpu_16(h.dst_port));
    } else {
      vni = Vni24(static_cast<const rte_flow_item_vxlan*>(i->spec)->vni);
    }
  }
  return fmt::format("set vxlan-tos-ttl ip-version ipv4 vni {} {} {} {}\n", vni, udp, ip, macs);
}

std::string ActionText(const rte_flow_action& action) {
  switch (action.type) {
    case RTE_FLOW_ACTION_TYPE_COUNT:
      return "count";
    case RTE_FLOW_ACTION_TYPE_DROP:
      return "drop";
    case RTE_FLOW_ACTION_TYPE_SET_MAC_SRC:
      return "set_mac_src mac_addr " +
             Mac(static_cast<const rte_flow_action_set_mac*>(action.conf)->mac_addr);
    case RTE_FLOW_ACTION_TYPE_SET_MAC_DST:
      return "set_mac_dst mac_addr " +
             Mac(static_cast<const rte_flow_action_set_mac*>(action.conf)->mac_addr);
    case RTE_FLOW_ACTION_TYPE_DEC_TTL:
      return "dec_ttl";
    case RTE_FLOW_ACTION_TYPE_VXLAN_DECAP:
      return "vxlan_decap";
    case RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP:
      return "vxlan_encap";
    case RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT:
      return fmt::format("represented_port ethdev_port_id {}",
                         static_cast<const rte_flow_action_ethdev*>(action.conf)->port_id);
    default:
      return fmt::format("action-{}", static_cast<int>(action.type));
  }
}

}  // namespace

std::string FlowText(const rte_flow_attr& attributes, const rte_flow_item* pattern,
                     const rte_flow_action* actions) {
  std::string before;
  std::string text = attributes.transfer != 0 ? "transfer pattern " : "ingress pattern ";
  for (const rte_flow_item* i = pattern; i->type != RTE_FLOW_ITEM_TYPE_END; ++i) text += ItemText(*i) + " / ";
  text += "end actions ";
  for (const rte_flow_action* a = actions; a->type != RTE_FLOW_ACTION_TYPE_END; ++a) {
    if (a->type == RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP)
      before = EncapText(*static_cast<const rte_flow_action_vxlan_encap*>(a->conf));
    text += ActionText(*a) + " / ";
  }
  return before + text + "end";
}

}  // namespace podwire
