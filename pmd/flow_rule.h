#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <rte_flow.h>

#include "net/address.h"
#include "net/id.h"

namespace podwire {

/// One direction of a connection, as a NIC can tell its packets from others. All of it is matched exactly.
struct FlowMatch {
  IpAddress src, dst;  ///< of one family; of tunnelled packets the inner ones
  uint8_t proto = 0;
  bool has_ports = false;  ///< TCP, UDP and SCTP: 5-tuple; else 3-tuple
  uint16_t src_port = 0, dst_port = 0;

  /// Outer headers of tunnelled packets: VXLAN (RFC 7348).
  struct Tunnel {
    IpAddress src, dst;     ///< VTEPs, of one family
    uint16_t udp_port = 0;  ///< destination
    Vni vni;
    MacAddr dst_mac{};  ///< of the outer Ethernet header; empty: any
    bool operator==(const Tunnel&) const = default;
  };
  std::optional<Tunnel> tunnel{};

  /// For rules that forward, which must leave to software what is not merely passed on: no VLAN tags, no
  /// fragments, no IPv4 options, no IPv6 extension headers, with a tunnel neither outside nor inside; no TCP
  /// segments with FIN, SYN or RST, none whose TTL may run out; and no ECN where a tunnel begins or ends, for
  /// its outer header would have to say the same (RFC 6040).
  struct Plain {
    MacAddr src_mac, dst_mac;  ///< of the (inner) Ethernet header; empty: any
    uint8_t ttl = 0, ttl_mask = 0;
    bool operator==(const Plain&) const = default;
  };
  std::optional<Plain> plain{};
  bool operator==(const FlowMatch&) const = default;
};

/// What the NIC does with them: a cached decision of the switch.
struct FlowAction {
  enum class Kind : uint8_t {
    kDrop,
    kForward,  ///< to another port of the same NIC, headers rewritten
  };
  Kind kind = Kind::kDrop;
  bool count = true;  ///< packets and bytes can be asked for

  // kForward:
  uint16_t ethdev = 0;       ///< DPDK's number of the port that it leaves by
  MacAddr src_mac, dst_mac;  ///< of the frame, with encap of the inner one; TTL loses one
  /// VXLAN over IPv4. Over IPv6 the outer UDP checksum would have to be right, and NICs put none there.
  struct Encap {
    MacAddr src_mac, dst_mac;
    Ipv4 src, dst;  ///< VTEPs
    uint16_t udp_src = 0, udp_dst = 0;
    Vni vni;
    bool operator==(const Encap&) const = default;
  };
  std::optional<Encap> encap{};  ///< decapsulation is by FlowMatch::tunnel
  bool operator==(const FlowAction&) const = default;
};

/// A rule in rte_flow's terms. It owns all that its arrays point to, and stays good when moved. kForward is a
/// transfer rule for packets that enter the NIC by `ingress_ethdev`; kDrop is an ingress rule of it.
class FlowRule {
 public:
  FlowRule(uint16_t ingress_ethdev, const FlowMatch& match, const FlowAction& action);
  FlowRule(FlowRule&&) noexcept;
  FlowRule& operator=(FlowRule&&) noexcept;
  ~FlowRule();

  uint16_t ethdev() const { return ethdev_; }
  const FlowMatch& match() const { return match_; }
  const FlowAction& action() const { return action_; }

  // Valid as long as the rule is.
  const rte_flow_attr& attributes() const;
  const rte_flow_item* pattern() const;
  const rte_flow_action* actions() const;

  /// What rules that a NIC accepts or refuses alike have in common: "drop ipv4 udp count",
  /// "forward ipv4 tcp encap-ipv4 count".
  std::string Shape() const;
  /// As dpdk-testpmd's `flow create PORT` takes it, made from the arrays: "ingress pattern eth / ipv4 src is
  /// 10.0.0.1 ... / end actions count / drop / end". Encapsulation is its `set vxlan` command, on a line of
  /// its own before. Of IPv6 extension headers testpmd has a word for the fragment's only.
  std::string Text() const;

 private:
  struct Arrays;
  uint16_t ethdev_;
  FlowMatch match_;
  FlowAction action_;
  std::unique_ptr<Arrays> arrays_;
};

}  // namespace podwire
