#include "overlay/routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace podwire {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

NetConf Conf(const char* backend) {
  return *ParseNetConfText(std::string(R"({"Network": "10.244.0.0/16", "Backend": )") + backend + "}");
}

LocalUnderlay Self() {
  return {.node = "a",
          .address = *ParseInterfaceAddress("192.0.2.1/24"),
          .gateway = *ParseIp("192.0.2.254"),
          .mtu = 1500,
          .mac = *ParseMac("02:00:00:00:00:0a"),
          .vtep_mac = *ParseMac("02:00:00:00:00:1a")};
}

Node Peer(const char* name, const char* cidr, const char* ip) {
  return {.name = name,
          .pod_cidrs = {*ParsePrefix(cidr)},
          .public_ip = *ParseIp(ip),
          .backend_type = "",
          .vtep_mac = *ParseMac("02:00:00:00:00:2b")};
}

std::vector<Node> Two() {
  return {Peer("b", "10.244.2.0/24", "192.0.2.2"), Peer("c", "10.244.3.0/24", "198.51.100.3"),
          Peer("a", "10.244.1.0/24", "192.0.2.1")};
}

std::vector<std::string> Print(const RoutePlan& plan) {
  std::vector<std::string> lines;
  for (const Route& r : plan.routes) {
    const NextHop& h = plan.next_hops[r.next_hop];
    const char* kind = h.kind == NextHop::Kind::kDirect  ? "direct"
                       : h.kind == NextHop::Kind::kVxlan ? "vxlan"
                                                         : "udp";
    lines.push_back(ToString(r.prefix) + " " + kind + " via " + ToString(h.neighbor) + " to " +
                    ToString(h.remote) + " mtu " + std::to_string(h.mtu));
  }
  return lines;
}

const std::string kDefault = "0.0.0.0/0 direct via 192.0.2.254 to none mtu 1500";
const std::string kConnected = "192.0.2.0/24 direct via none to none mtu 1500";

TEST(Routes, Vxlan) {
  const auto plan = BuildRoutes(Self(), Conf(R"({"Type": "vxlan"})"), Two());
  EXPECT_THAT(Print(plan),
              ElementsAre(kDefault, "10.244.2.0/24 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450",
                          "10.244.3.0/24 vxlan via 192.0.2.254 to 198.51.100.3 mtu 1450", kConnected));
  EXPECT_THAT(plan.vteps, ElementsAre(*ParseIp("192.0.2.2"), *ParseIp("198.51.100.3")));
  EXPECT_THAT(plan.warnings, IsEmpty());
}

TEST(Routes, ByTheKernelsRoutesWithoutAGateway) {
  const UnderlayRoute kernel[] = {{*ParsePrefix("0.0.0.0/0"), *ParseIp("192.0.2.254")},
                                  {*ParsePrefix("10.244.3.0/24"), *ParseIp("192.0.2.66")},
                                  {*ParsePrefix("198.51.100.0/24"), *ParseIp("192.0.2.253")},
                                  {*ParsePrefix("::/0"), *ParseIp("fe80::1")}};
  LocalUnderlay self = Self();
  self.gateway.reset();
  self.routes = kernel;
  const auto plan = BuildRoutes(self, Conf(R"({"Type": "vxlan"})"), Two());
  EXPECT_THAT(Print(plan), ElementsAre(kDefault, "10.244.2.0/24 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450",
                                       "10.244.3.0/24 vxlan via 192.0.2.253 to 198.51.100.3 mtu 1450",
                                       kConnected, "198.51.100.0/24 direct via 192.0.2.253 to none mtu 1500"))
      << "the most specific one to the node; none of the kernel's to pods, nor of a family without an "
         "address";
  self.gateway = *ParseIp("192.0.2.254");
  EXPECT_THAT(Print(BuildRoutes(self, Conf(R"({"Type": "vxlan"})"), Two())),
              ElementsAre(kDefault, "10.244.2.0/24 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450",
                          "10.244.3.0/24 vxlan via 192.0.2.254 to 198.51.100.3 mtu 1450", kConnected))
      << "a configured gateway is for everything";
  self.gateway.reset();
  self.routes = {};
  EXPECT_THAT(BuildRoutes(self, Conf(R"({"Type": "vxlan"})"), Two()).warnings,
              ElementsAre(HasSubstr("node c: 198.51.100.3 is beyond the underlay subnet")));
}

TEST(Routes, VxlanWithDirectRouting) {
  const auto plan = BuildRoutes(Self(), Conf(R"({"Type": "vxlan", "DirectRouting": true})"), Two());
  EXPECT_THAT(Print(plan),
              ElementsAre(kDefault, "10.244.2.0/24 direct via 192.0.2.2 to none mtu 1500",
                          "10.244.3.0/24 vxlan via 192.0.2.254 to 198.51.100.3 mtu 1450", kConnected));
}

TEST(Routes, HostGwReachesItsOwnSubnetOnly) {
  const auto plan = BuildRoutes(Self(), Conf(R"({"Type": "host-gw"})"), Two());
  EXPECT_THAT(Print(plan),
              ElementsAre(kDefault, "10.244.2.0/24 direct via 192.0.2.2 to none mtu 1500", kConnected));
  EXPECT_THAT(plan.warnings,
              ElementsAre(HasSubstr("node c: host-gw needs it on the underlay's own subnet 192.0.2.0/24")));
  EXPECT_THAT(plan.vteps, IsEmpty()) << "host-gw takes no tunnels";
}

TEST(Routes, Udp) {
  const auto plan = BuildRoutes(Self(), Conf(R"({"Type": "udp"})"), Two());
  EXPECT_THAT(Print(plan), Contains("10.244.2.0/24 udp via 192.0.2.2 to 192.0.2.2 mtu 1472"));
  const auto& h = plan.next_hops[0].header;
  EXPECT_EQ(h[36] << 8 | h[37], 8285);
}

TEST(Routes, PeersThatCannotBeReachedAreNamed) {
  auto nodes = Two();
  nodes[0].vtep_mac = {};
  nodes[1].backend_type = "host-gw";
  nodes.push_back(Peer("d", "10.244.4.0/24", "192.0.2.4"));
  nodes.back().public_ip = {};
  nodes.push_back(Peer("e", "10.244.5.0/24", "192.0.2.5"));
  nodes.back().vni = Vni{9};
  nodes.push_back(Peer("f", "10.244.6.0/24", "192.0.2.6"));
  nodes.back().public_ip = {};
  nodes.back().public_ip6 = *ParseIp("fd00::6");
  const auto plan = BuildRoutes(Self(), Conf(R"({"Type": "vxlan"})"), nodes);
  EXPECT_THAT(Print(plan), ElementsAre(kDefault, kConnected));
  EXPECT_THAT(plan.warnings,
              ElementsAre(HasSubstr("node b: it has no VtepMAC"), HasSubstr("node c: its backend is host-gw"),
                          HasSubstr("node d: its address is not known"), HasSubstr("node e: its VNI is 9"),
                          HasSubstr("node f: it has no IPv4 address on the underlay")));
}

TEST(Routes, WithoutAGatewayOnlyTheSubnetIsReached) {
  LocalUnderlay self = Self();
  self.gateway.reset();
  const auto plan = BuildRoutes(self, Conf(R"({"Type": "vxlan"})"), Two());
  EXPECT_THAT(Print(plan),
              ElementsAre("10.244.2.0/24 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450", kConnected));
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("node c: 198.51.100.3 is beyond the underlay subnet")));
}

NetConf DualConf(const char* backend) {
  return *ParseNetConfText(
      std::string(
          R"({"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd44::/48", "Backend": )") +
      backend + "}");
}

LocalUnderlay DualSelf() {
  LocalUnderlay self = Self();
  self.address6 = *ParseInterfaceAddress("2001:db8::1/64");
  self.gateway6 = *ParseIp("fe80::1");
  return self;
}

LocalUnderlay SixSelf() {
  LocalUnderlay self = DualSelf();
  self.address = {};
  self.gateway.reset();
  return self;
}

Node DualPeer(const char* name, const char* cidr, const char* cidr6, const char* ip, const char* ip6) {
  Node node = Peer(name, cidr, ip);
  node.pod_cidrs.push_back(*ParsePrefix(cidr6));
  node.public_ip6 = *ParseIp(ip6);
  node.vtep_mac6 = *ParseMac("02:00:00:00:00:6b");
  return node;
}

std::vector<Node> DualTwo() {
  return {DualPeer("b", "10.244.2.0/24", "fd44:0:0:2::/64", "192.0.2.2", "2001:db8::2"),
          DualPeer("c", "10.244.3.0/24", "fd44:0:0:3::/64", "198.51.100.3", "2001:db8:1::3")};
}

const std::string kDefault6 = "::/0 direct via fe80::1 to none mtu 1500";
const std::string kConnected6 = "2001:db8::/64 direct via none to none mtu 1500";

TEST(Routes, DualStackVxlanIsByFamily) {
  const auto plan = BuildRoutes(DualSelf(), DualConf(R"({"Type": "vxlan"})"), DualTwo());
  EXPECT_THAT(Print(plan), ElementsAre(kDefault, "10.244.2.0/24 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450",
                                       "10.244.3.0/24 vxlan via 192.0.2.254 to 198.51.100.3 mtu 1450",
                                       kConnected, kDefault6, kConnected6,
                                       "fd44:0:0:2::/64 vxlan via 2001:db8::2 to 2001:db8::2 mtu 1430",
                                       "fd44:0:0:3::/64 vxlan via fe80::1 to 2001:db8:1::3 mtu 1430"));
  EXPECT_THAT(plan.vteps, ElementsAre(*ParseIp("192.0.2.2"), *ParseIp("2001:db8::2"),
                                      *ParseIp("198.51.100.3"), *ParseIp("2001:db8:1::3")));
  EXPECT_THAT(plan.warnings, IsEmpty());
  const NextHop& hop = plan.next_hops[plan.routes[6].next_hop];
  EXPECT_EQ(hop.header_len, kVxlanHeaderLen6);
  EXPECT_EQ(hop.header[70 + 5], 0x6b) << "the VtepMAC of backend-v6-data";
}

TEST(Routes, DualStackDirectRoutingIsByFamily) {
  auto nodes = DualTwo();
  nodes[0].public_ip = *ParseIp("203.0.113.2");
  const auto plan = BuildRoutes(DualSelf(), DualConf(R"({"Type": "vxlan", "DirectRouting": true})"), nodes);
  EXPECT_THAT(Print(plan), Contains("10.244.2.0/24 vxlan via 192.0.2.254 to 203.0.113.2 mtu 1450"));
  EXPECT_THAT(Print(plan), Contains("fd44:0:0:2::/64 direct via 2001:db8::2 to none mtu 1500"));
  EXPECT_THAT(Print(plan), Contains("fd44:0:0:3::/64 vxlan via fe80::1 to 2001:db8:1::3 mtu 1430"));
}

TEST(Routes, DualStackHostGwIsByFamily) {
  auto nodes = DualTwo();
  nodes[0].public_ip = {};
  const auto plan = BuildRoutes(DualSelf(), DualConf(R"({"Type": "host-gw"})"), nodes);
  EXPECT_THAT(Print(plan), ElementsAre(kDefault, kConnected, kDefault6, kConnected6,
                                       "fd44:0:0:2::/64 direct via 2001:db8::2 to none mtu 1500"));
  EXPECT_THAT(plan.warnings,
              ElementsAre(HasSubstr("the IPv4 pods of node b: it has no IPv4 address"),
                          HasSubstr("the IPv4 pods of node c: host-gw needs it on the underlay's own subnet "
                                    "192.0.2.0/24"),
                          HasSubstr("the IPv6 pods of node c: host-gw needs it on the underlay's own subnet "
                                    "2001:db8::/64, but it is at 2001:db8:1::3")));
}

TEST(Routes, VxlanCarriesBothFamiliesOverTheUnderlaysOnlyOne) {
  const auto four = BuildRoutes(Self(), DualConf(R"({"Type": "vxlan"})"), DualTwo());
  EXPECT_THAT(Print(four), Contains("10.244.2.0/24 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450"));
  EXPECT_THAT(Print(four), Contains("fd44:0:0:2::/64 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450"));
  EXPECT_THAT(four.vteps, ElementsAre(*ParseIp("192.0.2.2"), *ParseIp("198.51.100.3")));
  EXPECT_EQ(four.routes.back().why, "node c by vxlan over IPv4");
  const auto six = BuildRoutes(SixSelf(), DualConf(R"({"Type": "vxlan"})"), DualTwo());
  EXPECT_THAT(Print(six),
              ElementsAre("10.244.2.0/24 vxlan via 2001:db8::2 to 2001:db8::2 mtu 1430",
                          "10.244.3.0/24 vxlan via fe80::1 to 2001:db8:1::3 mtu 1430", kDefault6, kConnected6,
                          "fd44:0:0:2::/64 vxlan via 2001:db8::2 to 2001:db8::2 mtu 1430",
                          "fd44:0:0:3::/64 vxlan via fe80::1 to 2001:db8:1::3 mtu 1430"));
  EXPECT_THAT(six.vteps, ElementsAre(*ParseIp("2001:db8::2"), *ParseIp("2001:db8:1::3")));
  EXPECT_THAT(six.warnings, IsEmpty());
}

TEST(Routes, APeerOfOneFamilyGetsBothByIt) {
  auto nodes = DualTwo();
  nodes[0].public_ip6 = {};
  nodes[1].public_ip = {};
  const auto plan = BuildRoutes(DualSelf(), DualConf(R"({"Type": "vxlan"})"), nodes);
  EXPECT_THAT(Print(plan), Contains("fd44:0:0:2::/64 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450"));
  EXPECT_THAT(Print(plan), Contains("10.244.3.0/24 vxlan via fe80::1 to 2001:db8:1::3 mtu 1430"));
}

TEST(Routes, PeersWithoutTheFamilyAreNamedWithTheCure) {
  auto nodes = DualTwo();
  nodes[0].vtep_mac6 = {};
  const auto vxlan = BuildRoutes(DualSelf(), DualConf(R"({"Type": "vxlan"})"), nodes);
  EXPECT_THAT(vxlan.warnings,
              ElementsAre(HasSubstr("no route to the IPv6 pods of node b: it has no VtepMAC yet "
                                    "(annotation flannel.alpha.coreos.com/backend-v6-data)")));
  nodes[1].public_ip6 = {};
  const auto none = BuildRoutes(SixSelf(), DualConf(R"({"Type": "vxlan"})"), {&nodes[1], 1});
  EXPECT_THAT(none.warnings, ElementsAre(HasSubstr("IPv4 pods of node c: it has no IPv6 address"),
                                         HasSubstr("IPv6 pods of node c: it has no IPv6 address")));
  const auto gw = BuildRoutes(Self(), DualConf(R"({"Type": "host-gw"})"), {&nodes[0], 1});
  EXPECT_THAT(gw.warnings, ElementsAre(HasSubstr("IPv6 pods of node b: host-gw needs an IPv6 address of this "
                                                 "node on the underlay; add one to underlay.address")));
  const auto udp = BuildRoutes(DualSelf(), DualConf(R"({"Type": "udp"})"), {&nodes[0], 1});
  EXPECT_THAT(udp.warnings, ElementsAre(HasSubstr("the udp backend carries IPv4 only")));
}

TEST(Routes, PodMtuOverIpv6) {
  EXPECT_EQ(PodMtu(DualConf(R"({"Type": "vxlan"})"), 1500, true), 1430);
  EXPECT_EQ(PodMtu(DualConf(R"({"Type": "host-gw"})"), 1500, true), 1500);
  EXPECT_TRUE(TunnelsOverIpv6(DualConf(R"({"Type": "vxlan"})"), true, true));
  EXPECT_FALSE(TunnelsOverIpv6(DualConf(R"({"Type": "vxlan"})"), true, false));
  EXPECT_FALSE(TunnelsOverIpv6(Conf(R"({"Type": "vxlan"})"), true, true)) << "no IPv6 pods";
  EXPECT_TRUE(TunnelsOverIpv6(Conf(R"({"Type": "vxlan"})"), false, true));
  EXPECT_FALSE(TunnelsOverIpv6(DualConf(R"({"Type": "host-gw"})"), true, true));
}

TEST(Routes, PodMtuIsFlannels) {
  EXPECT_EQ(PodMtu(Conf(R"({"Type": "vxlan"})"), 1500), 1450);
  EXPECT_EQ(PodMtu(Conf(R"({"Type": "vxlan", "DirectRouting": true})"), 1500), 1450);
  EXPECT_EQ(PodMtu(Conf(R"({"Type": "host-gw"})"), 1500), 1500);
  EXPECT_EQ(PodMtu(Conf(R"({"Type": "udp"})"), 1500), 1472);
  EXPECT_EQ(PodMtu(Conf(R"({"Type": "vxlan", "MTU": 1400})"), 1500), 1350);
}

}  // namespace
}  // namespace podwire
