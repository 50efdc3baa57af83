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
  nodes.push_back(Peer("f", "10.244.6.0/24", "fd00::6"));
  const auto plan = BuildRoutes(Self(), Conf(R"({"Type": "vxlan"})"), nodes);
  EXPECT_THAT(Print(plan), ElementsAre(kDefault, kConnected));
  EXPECT_THAT(plan.warnings,
              ElementsAre(HasSubstr("node b: it has no VtepMAC"), HasSubstr("node c: its backend is host-gw"),
                          HasSubstr("node d: its address is not known"), HasSubstr("node e: its VNI is 9"),
                          HasSubstr("node f: its underlay address fd00::6 is not IPv4")));
}

TEST(Routes, WithoutAGatewayOnlyTheSubnetIsReached) {
  LocalUnderlay self = Self();
  self.gateway.reset();
  const auto plan = BuildRoutes(self, Conf(R"({"Type": "vxlan"})"), Two());
  EXPECT_THAT(Print(plan),
              ElementsAre("10.244.2.0/24 vxlan via 192.0.2.2 to 192.0.2.2 mtu 1450", kConnected));
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("node c: 198.51.100.3 is beyond the underlay subnet")));
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
