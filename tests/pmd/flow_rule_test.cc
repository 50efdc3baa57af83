// Cached decisions as rte_flow rules, and their texts in testpmd's syntax: by what the vendors' NIC guides of
// DPDK 22.11 (package dpdk-doc) say that their drivers take.
#include "pmd/flow_rule.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include <gtest/gtest.h>

#include "pmd/flow_engine.h"

namespace podwire {
namespace flow_rule_test {

MacAddr Mac(const char* text) { return *ParseMac(text); }

FlowMatch Tuple(const char* src, const char* dst, uint8_t proto = IPPROTO_UDP, uint16_t src_port = 40000,
                uint16_t dst_port = 53) {
  return {.src = *ParseIp(src),
          .dst = *ParseIp(dst),
          .proto = proto,
          .has_ports = true,
          .src_port = src_port,
          .dst_port = dst_port};
}

FlowMatch Tunnelled(FlowMatch m, const char* src, const char* dst) {
  m.tunnel = {.src = *ParseIp(src), .dst = *ParseIp(dst), .udp_port = 8472, .vni = Vni{1}};
  return m;
}

/// As from a pod's port: first hop, so a TTL of 64 to 127.
FlowMatch FromPod(FlowMatch m) {
  m.plain = {.src_mac = Mac("02:00:00:00:00:0a"),
             .dst_mac = Mac("02:00:00:00:00:01"),
             .ttl = 0x40,
             .ttl_mask = 0xc0};
  return m;
}

FlowAction Forward(uint16_t ethdev) {
  return {.kind = FlowAction::Kind::kForward,
          .ethdev = ethdev,
          .src_mac = Mac("02:00:00:00:00:01"),
          .dst_mac = Mac("02:00:00:00:00:0b")};
}

FlowAction Encapsulate(uint16_t ethdev, const char* src, const char* dst) {
  FlowAction a = Forward(ethdev);
  a.encap = {.src_mac = Mac("02:00:00:00:01:01"),
             .dst_mac = Mac("02:00:00:00:01:09"),
             .src = ParseIp(src)->v4(),
             .dst = ParseIp(dst)->v4(),
             .udp_src = 50123,
             .udp_dst = 8472,
             .vni = Vni{1}};
  return a;
}

std::string TextOf(const FlowMatch& m, const FlowAction& a) { return FlowRule(3, m, a).Text(); }

// nics/mlx5: "Minimal SW/HW versions for rte_flow offloads" (Drop and Count with NIC, ConnectX-5), "Notes for
// flow counters".
TEST(FlowRuleTest, DropWithCountIsAnIngressRuleForMlx5) {
  EXPECT_EQ(TextOf(Tuple("10.0.0.1", "10.0.0.2"), {}),
            "ingress pattern eth / ipv4 src is 10.0.0.1 dst is 10.0.0.2 / udp src is 40000 dst is 53 / end "
            "actions count / drop / end");
  EXPECT_EQ(TextOf(Tuple("fd44::1", "fd44::2", IPPROTO_TCP, 1, 65535), {}),
            "ingress pattern eth / ipv6 src is fd44::1 dst is fd44::2 / tcp src is 1 dst is 65535 / end "
            "actions count / drop / end");
}

// nics/i40e and nics/tap ("Supported actions": DROP, no COUNT): the drop without a counter.
TEST(FlowRuleTest, DropWithoutCountForI40eAndTap) {
  EXPECT_EQ(TextOf(Tuple("10.0.0.1", "10.0.0.2", IPPROTO_TCP, 1000, 80), {.count = false}),
            "ingress pattern eth / ipv4 src is 10.0.0.1 dst is 10.0.0.2 / tcp src is 1000 dst is 80 / end "
            "actions drop / end");
  EXPECT_EQ(TextOf(Tuple("10.0.0.1", "10.0.0.2", IPPROTO_SCTP, 1000, 80), {.count = false}),
            "ingress pattern eth / ipv4 src is 10.0.0.1 dst is 10.0.0.2 / sctp src is 1000 dst is 80 / end "
            "actions drop / end");
}

TEST(FlowRuleTest, ThreeTupleNamesTheProtocol) {
  const FlowMatch gre{.src = *ParseIp("10.0.0.1"), .dst = *ParseIp("10.0.0.2"), .proto = 47};
  EXPECT_EQ(
      TextOf(gre, {.count = false}),
      "ingress pattern eth / ipv4 src is 10.0.0.1 dst is 10.0.0.2 proto is 47 / end actions drop / end");
  const FlowMatch gre6{.src = *ParseIp("fd44::1"), .dst = *ParseIp("fd44::2"), .proto = 47};
  EXPECT_EQ(TextOf(gre6, {.count = false}),
            "ingress pattern eth / ipv6 src is fd44::1 dst is fd44::2 proto is 47 / end actions drop / end");
}

// nics/ice, "Generic Flow Support" (tunnel patterns with inner tuples); nics/mlx5, "Limitations": match on
// VXLAN supports the VNI; the UDP port is in the pattern, for 8472 is not the one that it would assume.
TEST(FlowRuleTest, InnerTupleOfVxlanForMlx5AndIce) {
  EXPECT_EQ(
      TextOf(Tunnelled(Tuple("10.244.2.7", "10.244.1.2"), "192.0.2.9", "192.0.2.1"), {}),
      "ingress pattern eth / ipv4 src is 192.0.2.9 dst is 192.0.2.1 / udp dst is 8472 / vxlan vni is 1 / "
      "eth / ipv4 src is 10.244.2.7 dst is 10.244.1.2 / udp src is 40000 dst is 53 / end actions count / "
      "drop / end");
  EXPECT_EQ(
      TextOf(Tunnelled(Tuple("fd44::1", "fd44::2"), "2001:db8::9", "2001:db8::1"), {.count = false}),
      "ingress pattern eth / ipv6 src is 2001:db8::9 dst is 2001:db8::1 / udp dst is 8472 / vxlan vni is "
      "1 / eth / ipv6 src is fd44::1 dst is fd44::2 / udp src is 40000 dst is 53 / end actions drop / "
      "end");
}

// nics/mlx5: "Minimal SW/HW versions" with E-Switch: header rewrite (set_mac_src, set_mac_dst, dec_ttl),
// "Matching on represented port"; testpmd guide: represented_port is the traffic that enters by that port.
TEST(FlowRuleTest, ForwardIsATransferRuleForMlx5) {
  EXPECT_EQ(
      TextOf(FromPod(Tuple("10.244.1.2", "10.244.1.3", IPPROTO_TCP, 40000, 80)), Forward(4)),
      "transfer pattern represented_port ethdev_port_id is 3 / eth src is 02:00:00:00:00:0a dst is "
      "02:00:00:00:00:01 type is 2048 has_vlan is 0 / ipv4 src is 10.244.1.2 dst is 10.244.1.3 version_ihl "
      "is 69 fragment_offset "
      "spec 0x0 fragment_offset mask 0x3fff ttl spec 0x40 ttl mask 0xc0 / tcp src is 40000 dst is 80 "
      "flags spec 0x0 flags mask 0x7 / end actions set_mac_src mac_addr 02:00:00:00:00:01 / set_mac_dst "
      "mac_addr 02:00:00:00:00:0b / dec_ttl / count / represented_port ethdev_port_id 4 / end");
  EXPECT_EQ(TextOf(FromPod(Tuple("fd44::1", "fd44::2")), Forward(4)),
            "transfer pattern represented_port ethdev_port_id is 3 / eth src is 02:00:00:00:00:0a dst is "
            "02:00:00:00:00:01 type is 34525 has_vlan is 0 / ipv6 src is fd44::1 dst is fd44::2 proto is 17 "
            "hop spec 0x40 hop mask 0xc0 has_frag_ext is 0 / udp src is "
            "40000 dst is 53 / end actions set_mac_src mac_addr 02:00:00:00:00:01 / set_mac_dst mac_addr "
            "02:00:00:00:00:0b / dec_ttl / count / represented_port ethdev_port_id 4 / end");
}

// nics/mlx5: Encapsulation (VXLAN / NVGRE / RAW) with E-Switch; testpmd guide, "Sample VXLAN encapsulation
// rule": what to encapsulate with is a command before. ECN is none: the outer header would have to follow.
TEST(FlowRuleTest, EncapsulationForMlx5) {
  EXPECT_EQ(
      TextOf(FromPod(Tuple("10.244.1.2", "10.244.2.7")), Encapsulate(0, "192.0.2.1", "192.0.2.9")),
      "set vxlan-tos-ttl ip-version ipv4 vni 1 udp-src 50123 udp-dst 8472 ip-tos 0 ip-ttl 64 ip-src "
      "192.0.2.1 ip-dst 192.0.2.9 eth-src 02:00:00:00:01:01 eth-dst 02:00:00:00:01:09\n"
      "transfer pattern represented_port ethdev_port_id is 3 / eth src is 02:00:00:00:00:0a dst is "
      "02:00:00:00:00:01 type is 2048 has_vlan is 0 / ipv4 src is 10.244.1.2 dst is 10.244.2.7 version_ihl "
      "is 69 fragment_offset "
      "spec 0x0 fragment_offset mask 0x3fff ttl spec 0x40 ttl mask 0xc0 tos spec 0x0 tos mask 0x3 / udp "
      "src is 40000 dst is 53 / end actions set_mac_src mac_addr 02:00:00:00:00:01 / set_mac_dst "
      "mac_addr 02:00:00:00:00:0b / dec_ttl / vxlan_encap / count / represented_port ethdev_port_id 0 / "
      "end");
}

// nics/mlx5: Decapsulation with E-Switch (vxlan_decap), before the rewrite.
TEST(FlowRuleTest, DecapsulationForMlx5) {
  FlowMatch m = Tunnelled(Tuple("10.244.2.7", "10.244.1.2"), "192.0.2.9", "192.0.2.1");
  m.tunnel->dst_mac = Mac("02:00:00:00:01:01");
  m.plain = {.src_mac = {}, .dst_mac = Mac("02:00:00:00:02:01"), .ttl = 0x20, .ttl_mask = 0xe0};
  EXPECT_EQ(
      TextOf(m, Forward(5)),
      "transfer pattern represented_port ethdev_port_id is 3 / eth dst is 02:00:00:00:01:01 type is "
      "2048 has_vlan is 0 / ipv4 src is 192.0.2.9 dst is 192.0.2.1 version_ihl is 69 fragment_offset spec "
      "0x0 fragment_offset mask 0x3fff / udp dst is 8472 / vxlan vni is 1 / eth dst is 02:00:00:00:02:01 "
      "type is 2048 has_vlan is 0 / "
      "ipv4 src is 10.244.2.7 dst is 10.244.1.2 version_ihl is 69 fragment_offset spec 0x0 "
      "fragment_offset mask 0x3fff ttl spec 0x20 ttl mask 0xe0 tos spec 0x0 tos mask 0x3 / udp src is "
      "40000 dst is 53 / end actions vxlan_decap / set_mac_src mac_addr 02:00:00:00:00:01 / set_mac_dst "
      "mac_addr 02:00:00:00:00:0b / dec_ttl / count / represented_port ethdev_port_id 5 / end");
}

// rte_flow_item_ipv6: testpmd has no words for the other extension headers.
TEST(FlowRuleTest, ForwardMatchesNoExtensionHeaderAndNoTag) {
  FlowMatch m = Tunnelled(FromPod(Tuple("fd44::1", "fd44::2")), "2001:db8::9", "2001:db8::1");
  const FlowRule rule(3, m, Forward(5));
  int eths = 0, ips = 0;
  for (const rte_flow_item* i = rule.pattern(); i->type != RTE_FLOW_ITEM_TYPE_END; ++i) {
    if (i->type == RTE_FLOW_ITEM_TYPE_ETH) {
      const auto &spec = *static_cast<const rte_flow_item_eth*>(i->spec),
                 &mask = *static_cast<const rte_flow_item_eth*>(i->mask);
      EXPECT_EQ(spec.type, RTE_BE16(0x86dd));
      EXPECT_EQ(mask.type, 0xffff);
      EXPECT_EQ(spec.has_vlan, 0u);
      EXPECT_EQ(mask.has_vlan, 1u);
      ++eths;
    } else if (i->type == RTE_FLOW_ITEM_TYPE_IPV6) {
      const auto &spec = *static_cast<const rte_flow_item_ipv6*>(i->spec),
                 &mask = *static_cast<const rte_flow_item_ipv6*>(i->mask);
      EXPECT_EQ(spec.hdr.proto, IPPROTO_UDP);
      EXPECT_EQ(mask.hdr.proto, 0xff);
      EXPECT_TRUE(mask.has_hop_ext && mask.has_route_ext && mask.has_frag_ext && mask.has_auth_ext &&
                  mask.has_esp_ext && mask.has_dest_ext && mask.has_mobil_ext && mask.has_hip_ext &&
                  mask.has_shim6_ext);
      EXPECT_FALSE(spec.has_hop_ext || spec.has_route_ext || spec.has_frag_ext || spec.has_auth_ext ||
                   spec.has_esp_ext || spec.has_dest_ext || spec.has_mobil_ext || spec.has_hip_ext ||
                   spec.has_shim6_ext);
      EXPECT_EQ(mask.reserved, 0u);
      ++ips;
    }
  }
  EXPECT_EQ(eths, 2);
  EXPECT_EQ(ips, 2);
}

TEST(FlowRuleTest, ShapeIsWhatNicsTellApart) {
  const FlowMatch tuple = Tuple("10.0.0.1", "10.0.0.2");
  EXPECT_EQ(FlowRule(0, tuple, {}).Shape(), "drop ipv4 udp count");
  EXPECT_EQ(FlowRule(7, Tuple("10.9.9.9", "10.0.0.2", IPPROTO_UDP, 5, 6), {}).Shape(), "drop ipv4 udp count");
  EXPECT_EQ(FlowRule(0, tuple, {.count = false}).Shape(), "drop ipv4 udp");
  EXPECT_EQ(FlowRule(0, Tunnelled(tuple, "192.0.2.9", "192.0.2.1"), {}).Shape(),
            "drop ipv4 udp vxlan-ipv4 count");
  EXPECT_EQ(FlowRule(0, FromPod(tuple), Encapsulate(0, "192.0.2.1", "192.0.2.9")).Shape(),
            "forward ipv4 udp encap-ipv4 count");
}

// testpmd's own parser takes the texts: net_null, which has no rte_flow, then says that it has none.
TEST(FlowRuleTest, TestpmdParsesTheTexts) {
  if (std::system("command -v dpdk-testpmd >/dev/null") != 0) GTEST_SKIP() << "no dpdk-testpmd";
  const FlowMatch gre{.src = *ParseIp("10.1.0.1"), .dst = *ParseIp("10.1.0.2"), .proto = 47};
  FlowMatch inner = Tunnelled(gre, "192.0.2.9", "192.0.2.1");
  FlowMatch outer = Tuple("10.244.1.2", "10.244.2.7");
  // Without MACs, or the line would be too long for testpmd, as that of a tunnel to be left is anyway.
  outer.plain = {.src_mac = {}, .dst_mac = {}, .ttl = 0x20, .ttl_mask = 0xe0};
  std::string input;
  const std::pair<FlowMatch, FlowAction> rules[] = {
      {Tuple("10.0.0.1", "10.0.0.2"), {}},
      {Tuple("fd44::1", "fd44::2", IPPROTO_SCTP), {.count = false}},
      {{.src = *ParseIp("fd44::1"), .dst = *ParseIp("fd44::2"), .proto = 47}, {}},
      {Tunnelled(Tuple("fd44::1", "fd44::2"), "2001:db8::9", "2001:db8::1"), {}},
      {FromPod(Tuple("10.244.1.2", "10.244.1.3", IPPROTO_TCP)), Forward(4)},
      {FromPod(Tuple("fd44::1", "fd44::2")), Forward(4)},
      {outer, Encapsulate(0, "192.0.2.1", "192.0.2.9")},
      {inner, {}},
  };
  for (const auto& [match, action] : rules) {
    const std::string text = FlowRule(0, match, action).Text();
    const size_t rule = text.rfind('\n') + 1;  // behind `set vxlan`
    input += text.substr(0, rule) + "flow validate 0 " + text.substr(rule) + "\n";
    ASSERT_LT(text.size() - rule, 495u) << "longer than testpmd's line";
  }
  const std::string file = ::testing::TempDir() + "flow_rule_test_commands";
  std::ofstream(file) << input << "quit\n";
  const std::string command =
      "dpdk-testpmd --lcores 0@0,1@0 --no-huge -m 128 --no-pci --no-telemetry "
      "--file-prefix=flow-rule-test-$$ "
      "--vdev=net_null0 -- --total-num-mbufs=2048 -i <" +
      file + " 2>&1; status=$?; rm -rf /run/dpdk/flow-rule-test-$$; exit $status";  // it leaves its directory
  std::FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  for (int c = 0; (c = std::fgetc(pipe)) != EOF;) said += static_cast<char>(c);
  EXPECT_EQ(pclose(pipe), 0);
  size_t understood = 0;
  for (size_t at = 0; (at = said.find("port_flow_complain", at)) != std::string::npos; ++at) ++understood;
  EXPECT_EQ(understood, std::size(rules)) << said;
  EXPECT_EQ(said.find("Bad arguments"), std::string::npos) << said;
}

TEST(FlowEngineTest, OnlyWhatADriverCannotDoIsRefusedForGood) {
  for (const int number : {ENOTSUP, EINVAL, ENOSYS})
    EXPECT_TRUE(absl::IsUnimplemented(FlowRefusal(number, "no"))) << number;
  for (const int number : {ENOSPC, ENOMEM, EBUSY, EAGAIN})
    EXPECT_TRUE(absl::IsResourceExhausted(FlowRefusal(number, "no"))) << number;
  for (const int number : {EIO, ETIMEDOUT, EINTR, ENODEV})
    EXPECT_TRUE(absl::IsUnavailable(FlowRefusal(number, "no"))) << number;
}

TEST(FlowEngineTest, CountsThatTheDriverDidNotFillInAreNone) {
  rte_flow_query_count count{};
  count.hits = 7;
  count.bytes = 700;
  EXPECT_TRUE(absl::IsUnavailable(FlowCountOf(count).status()));
  count.hits_set = 1;
  EXPECT_EQ(FlowCountOf(count)->packets, 7u);
  EXPECT_EQ(FlowCountOf(count)->bytes, 0u);
  count.bytes_set = 1;
  EXPECT_EQ(FlowCountOf(count)->bytes, 700u);
}

// All that a rule points to goes with it.
TEST(FlowRuleTest, StaysGoodWhenMoved) {
  FlowRule first(1, FromPod(Tuple("10.244.1.2", "10.244.2.7")), Encapsulate(0, "192.0.2.1", "192.0.2.9"));
  const std::string text = first.Text();
  FlowRule second(std::move(first));
  EXPECT_EQ(second.Text(), text);
  FlowRule third(9, Tuple("10.0.0.1", "10.0.0.2"), {});
  third = std::move(second);
  EXPECT_EQ(third.Text(), text);
  EXPECT_EQ(third.ethdev(), 1);
}

}  // namespace flow_rule_test
}  // namespace podwire
