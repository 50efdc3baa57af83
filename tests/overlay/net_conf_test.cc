#include "overlay/net_conf.h"

#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "net/status.h"

namespace podwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

NetConf Good(std::string_view text) {
  auto conf = ParseNetConfText(text);
  EXPECT_TRUE(conf.ok()) << conf.status();
  return conf.ok() ? *conf : NetConf{};
}

std::string ErrorOf(std::string_view text) {
  const auto conf = ParseNetConfText(text);
  EXPECT_FALSE(conf.ok()) << text;
  return Message(conf.status());
}

std::string Layout(const SubnetLayout& l) {
  return ToString(l.network) + " /" + std::to_string(l.subnet_length) + " " + ToString(l.subnet_min) + "-" +
         ToString(l.subnet_max);
}

TEST(NetConf, DefaultsAreFlannels) {
  const NetConf conf = Good(R"({"Network": "10.244.0.0/16"})");
  EXPECT_EQ(Layout(*conf.v4), "10.244.0.0/16 /24 10.244.1.0-10.244.255.0");
  EXPECT_EQ(conf.backend, BackendType::kUdp) << "flannel's default backend";
  EXPECT_EQ(conf.port, 8285);
  EXPECT_FALSE(conf.v6.has_value());
}

TEST(NetConf, SubnetLengthFollowsTheNetworks) {
  EXPECT_EQ(Layout(*Good(R"({"Network": "10.0.0.0/22"})").v4), "10.0.0.0/22 /24 10.0.1.0-10.0.3.0");
  EXPECT_EQ(Layout(*Good(R"({"Network": "10.0.0.0/23"})").v4), "10.0.0.0/23 /25 10.0.0.128-10.0.1.128");
  EXPECT_EQ(Layout(*Good(R"({"Network": "10.0.0.0/28"})").v4), "10.0.0.0/28 /30 10.0.0.4-10.0.0.12");
  EXPECT_EQ(Layout(*Good(R"({"Network": "10.1.2.3/16", "SubnetLen": 30})").v4),
            "10.1.0.0/16 /30 10.1.0.4-10.1.255.252");
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/29"})"), HasSubstr("Network: 10.0.0.0/29 is too small"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "SubnetLen": 31})"),
              HasSubstr("SubnetLen: must be at most 30"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "SubnetLen": 17})"),
              HasSubstr("SubnetLen: must be at least 18"));
}

TEST(NetConf, BoundsLieInTheNetworkOnASubnetsBoundary) {
  const NetConf conf =
      Good(R"({"Network": "10.244.0.0/16", "SubnetMin": "10.244.10.0", "SubnetMax": "10.244.100.0"})");
  EXPECT_EQ(Layout(*conf.v4), "10.244.0.0/16 /24 10.244.10.0-10.244.100.0");
  EXPECT_THAT(ErrorOf(R"({"Network": "10.244.0.0/16", "SubnetMin": "10.245.1.0"})"),
              HasSubstr("SubnetMin: 10.245.1.0 is not in the network"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.244.0.0/16", "SubnetMax": "10.244.9.8"})"),
              HasSubstr("SubnetMax: 10.244.9.8 is not on a SubnetLen boundary"));
  EXPECT_THAT(
      ErrorOf(R"({"Network": "10.244.0.0/16", "SubnetMin": "10.244.9.0", "SubnetMax": "10.244.8.0"})"),
      HasSubstr("SubnetMax: 10.244.8.0 is before SubnetMin"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.244.0.0/16", "SubnetMin": "x"})"),
              HasSubstr("SubnetMin: \"x\" is not an IP address"));
}

TEST(NetConf, IPv6HasTheSameRulesWithItsOwnNumbers) {
  const NetConf conf = Good(R"({"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd44::/48"})");
  EXPECT_FALSE(conf.v4.has_value());
  EXPECT_EQ(Layout(*conf.v6), "fd44::/48 /64 fd44:0:0:1::-fd44:0:0:ffff::");
  EXPECT_EQ(Layout(*Good(R"({"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd44::/124"})").v6),
            "fd44::/124 /126 fd44::4-fd44::c");
  EXPECT_THAT(ErrorOf(R"({"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd44::/125"})"),
              HasSubstr("IPv6Network"));
  EXPECT_THAT(
      ErrorOf(
          R"({"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd44::/48", "IPv6SubnetLen": 127})"),
      HasSubstr("IPv6SubnetLen: must be at most 126"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "EnableIPv6": true})"),
              HasSubstr("IPv6Network: missing"));
  EXPECT_THAT(ErrorOf(R"({"EnableIPv4": false})"), HasSubstr("EnableIPv4 and EnableIPv6"));
}

TEST(NetConf, KeysMatchWhateverTheirCase) {
  const NetConf conf = Good(
      R"({"network": "10.244.0.0/16", "BACKEND": {"type": "vxlan", "Directrouting": true, "vni": 7, "PORT": 4789}})");
  EXPECT_EQ(conf.backend, BackendType::kVxlan);
  EXPECT_TRUE(conf.direct_routing);
  EXPECT_EQ(conf.vni, Vni{7});
  EXPECT_EQ(conf.port, 4789);
}

TEST(NetConf, WhatTheBackendDoesNotHaveIsNotInForce) {
  // Found by the fuzzer: "Type" misspelt, so udp, which has no DirectRouting.
  const NetConf udp =
      Good(R"({"Network": "10.0.0.0/16", "Backend": {"T(pe": "vxlan", "VNI": 7, "Directrouting": true}})");
  EXPECT_EQ(udp.backend, BackendType::kUdp);
  EXPECT_EQ(udp.vni, Vni{1});
  EXPECT_FALSE(udp.direct_routing);
  EXPECT_EQ(udp.port, 8285);
  const NetConf host_gw = Good(
      R"({"Network": "10.0.0.0/16", "Backend": {"Type": "host-gw", "VNI": 7, "Port": 9, "DirectRouting": true}})");
  EXPECT_EQ(host_gw.vni, Vni{1});
  EXPECT_FALSE(host_gw.direct_routing);
  EXPECT_EQ(host_gw.port, 8472);
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "Backend": {"Type": "udp", "DirectRouting": 1}})"),
              HasSubstr("Backend.DirectRouting"));
}

TEST(NetConf, UnknownKeysAreToldNotRefused) {
  const NetConf conf =
      Good(R"({"Network": "10.0.0.0/16", "Foo": 1, "Backend": {"Type": "host-gw", "Bar": 2}})");
  EXPECT_THAT(conf.unknown_keys, ElementsAre("Backend.Bar", "Foo"));
}

TEST(NetConf, OtherBackendsAreRefusedByName) {
  for (const char* type : {"wireguard", "ipip", "ipsec", "alloc", "extension", "VXLAN", ""}) {
    const nlohmann::json j{{"Network", "10.0.0.0/16"}, {"Backend", {{"Type", type}}}};
    EXPECT_THAT(ErrorOf(j.dump()), HasSubstr("no backend \"" + std::string(type) + "\"")) << type;
  }
}

TEST(NetConf, WrongTypesNameTheField) {
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(ErrorOf("{"), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("Network: missing"));
  EXPECT_THAT(ErrorOf(R"({"Network": 1})"), HasSubstr("Network: expected a string"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/33"})"), HasSubstr("Network: \"10.0.0.0/33\" is not a CIDR"));
  EXPECT_THAT(ErrorOf(R"({"Network": "fd00::/48"})"),
              HasSubstr("Network: fd00::/48 is of the other address family"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "SubnetLen": "24"})"),
              HasSubstr("SubnetLen: expected a number"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "SubnetLen": -1})"),
              HasSubstr("SubnetLen: expected a number"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "Backend": "vxlan"})"),
              HasSubstr("Backend: expected an object"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "Backend": {"Type": "vxlan", "VNI": 16777216}})"),
              HasSubstr("Backend.VNI"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "Backend": {"Type": "vxlan", "Port": 65536}})"),
              HasSubstr("Backend.Port"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": "yes"}})"),
              HasSubstr("Backend.DirectRouting"));
  EXPECT_THAT(ErrorOf(R"({"Network": "10.0.0.0/16", "Backend": {"Type": "vxlan", "MTU": 100}})"),
              HasSubstr("Backend.MTU"));
}

TEST(NetConf, PrintedAndReadAgainItIsTheSame) {
  for (
      const char* text :
      {R"({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 9, "DirectRouting": true, "MTU": 1400}})",
       R"({"Network": "10.0.0.0/20", "SubnetMin": "10.0.4.0", "Backend": {"Type": "host-gw"}})",
       R"({"Network": "10.0.0.0/20", "Backend": {"VNI": 7, "DirectRouting": true, "Port": 9}})",
       R"({"Network": "10.0.0.0/20", "Backend": {"Type": "host-gw", "VNI": 7, "DirectRouting": true, "Port": 9}})",
       R"({"Network": "10.0.0.0/20", "EnableIPv6": true, "IPv6Network": "fd44::/48"})",
       R"({"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd44::/48"})"}) {
    EXPECT_EQ(Good(text), Good(ToString(Good(text)))) << text;
  }
}

TEST(NetConf, UsersConfigMap) {
  std::ifstream file(PODWIRE_MANIFESTS "/kube-flannel-cfg.json");
  const auto conf = ParseNetConfConfigMap(nlohmann::json::parse(file));
  ASSERT_TRUE(conf.ok()) << conf.status();
  EXPECT_EQ(conf->backend, BackendType::kVxlan);
  EXPECT_TRUE(conf->direct_routing);
  EXPECT_EQ(Layout(*conf->v4), "10.244.0.0/16 /24 10.244.1.0-10.244.255.0");
  const auto bad =
      ParseNetConfConfigMap(nlohmann::json::parse(R"({"data": {"net-conf.json": "{\"Network\": \"x\"}"}})"));
  EXPECT_THAT(Message(bad.status()), HasSubstr("data.net-conf.json: Network: \"x\" is not a CIDR"));
  EXPECT_FALSE(ParseNetConfConfigMap(nlohmann::json::parse(R"({"data": {}})")).ok());
}

}  // namespace
}  // namespace podwire
