#include "overlay/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "net/status.h"

namespace podwire {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

Json Annotated(const Json& annotations) {
  return {{"kind", "Node"},
          {"metadata", {{"name", "n1"}, {"annotations", annotations}}},
          {"spec", {{"podCIDR", "10.244.0.0/24"}}}};
}

// As flannel 0.28.9 leaves it (Kubernetes subnet manager, vxlan).
TEST(Node, FlannelsAnnotations) {
  const auto node = ParseNode(
      Annotated({{"flannel.alpha.coreos.com/backend-data", R"({"VNI":1,"VtepMAC":"0e:b6:c8:f6:23:20"})"},
                 {"flannel.alpha.coreos.com/backend-type", "vxlan"},
                 {"flannel.alpha.coreos.com/kube-subnet-manager", "true"},
                 {"flannel.alpha.coreos.com/public-ip", "10.99.0.1"},
                 {"node.alpha.kubernetes.io/ttl", "0"}}));
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->name, "n1");
  EXPECT_EQ(node->backend_type, "vxlan");
  EXPECT_EQ(ToString(node->vtep_mac), "0e:b6:c8:f6:23:20");
  EXPECT_EQ(node->vni, Vni{1});
  EXPECT_EQ(ToString(node->public_ip), "10.99.0.1");
  EXPECT_EQ(ToString(node->pod_cidrs.at(0)), "10.244.0.0/24");
}

TEST(Node, HostGwsBackendDataIsTheStringNull) {
  const auto node = ParseNode(Annotated({{"flannel.alpha.coreos.com/backend-data", "null"},
                                         {"flannel.alpha.coreos.com/backend-type", "host-gw"}}));
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_TRUE(node->vtep_mac.empty());
}

TEST(Node, OldWritersLeaveTheVniOut) {
  const auto node =
      ParseNode(Annotated({{"flannel.alpha.coreos.com/backend-data", R"({"VtepMAC":"0e:b6:c8:f6:23:20"})"}}));
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_FALSE(node->vni.has_value());
}

TEST(Node, PublicIpOverwriteWinsAndInternalIpIsTheFallback) {
  Json object = Annotated({{"flannel.alpha.coreos.com/public-ip", "10.99.0.1"},
                           {"flannel.alpha.coreos.com/public-ip-overwrite", "10.98.0.1"}});
  EXPECT_EQ(ToString(ParseNode(object)->public_ip), "10.98.0.1");
  object = {
      {"metadata", {{"name", "n"}}},
      {"status",
       {{"addresses",
         {{{"type", "Hostname"}, {"address", "n"}}, {{"type", "InternalIP"}, {"address", "10.97.0.1"}}}}}}};
  EXPECT_EQ(ToString(ParseNode(object)->public_ip), "10.97.0.1");
}

TEST(Node, DualStackCidrs) {
  const auto node =
      ParseNode({{"metadata", {{"name", "n"}}},
                 {"spec", {{"podCIDR", "10.1.0.0/24"}, {"podCIDRs", {"10.1.0.0/24", "fd44::/64"}}}}});
  ASSERT_TRUE(node.ok()) << node.status();
  ASSERT_EQ(node->pod_cidrs.size(), 2u);
  EXPECT_EQ(ToString(node->pod_cidrs[1]), "fd44::/64");
}

// As flannel leaves it in dual stack.
TEST(Node, FlannelsDualStackAnnotations) {
  Json object =
      Annotated({{"flannel.alpha.coreos.com/backend-data", R"({"VNI":1,"VtepMAC":"0e:b6:c8:f6:23:20"})"},
                 {"flannel.alpha.coreos.com/backend-type", "vxlan"},
                 {"flannel.alpha.coreos.com/backend-v6-data", R"({"VNI":1,"VtepMAC":"4a:11:22:33:44:55"})"},
                 {"flannel.alpha.coreos.com/public-ip", "10.99.0.1"},
                 {"flannel.alpha.coreos.com/public-ipv6", "2001:db8::1"}});
  auto node = ParseNode(object);
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(ToString(node->vtep_mac), "0e:b6:c8:f6:23:20");
  EXPECT_EQ(ToString(node->vtep_mac6), "4a:11:22:33:44:55");
  EXPECT_EQ(ToString(node->public_ip), "10.99.0.1");
  EXPECT_EQ(ToString(node->public_ip6), "2001:db8::1");
  object["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ipv6-overwrite"] = "2001:db8::f";
  node = ParseNode(object);
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(ToString(node->public_ip6), "2001:db8::f");
  EXPECT_EQ(ToString(node->public_ip), "10.99.0.1");
}

TEST(Node, InternalIpsAreTheFallbackOfEachFamily) {
  const auto node = ParseNode({{"metadata", {{"name", "n"}}},
                               {"status",
                                {{"addresses",
                                  {{{"type", "InternalIP"}, {"address", "10.97.0.1"}},
                                   {{"type", "InternalIP"}, {"address", "2001:db8::1"}},
                                   {{"type", "InternalIP"}, {"address", "2001:db8::2"}}}}}}});
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(ToString(node->public_ip), "10.97.0.1");
  EXPECT_EQ(ToString(node->public_ip6), "2001:db8::1");
}

TEST(Node, ErrorsNameThePath) {
  const auto error = [](const Json& j) { return Message(ParseNode(j).status()); };
  EXPECT_THAT(error(Json::array()), HasSubstr("expected an object"));
  EXPECT_THAT(error(Json::object()), HasSubstr("metadata.name: missing"));
  EXPECT_THAT(error({{"metadata", {{"name", 1}}}}), HasSubstr("metadata.name: expected a string"));
  EXPECT_THAT(error({{"metadata", {{"name", "n"}}}, {"spec", {{"podCIDR", "10.1.0.0/99"}}}}),
              HasSubstr("spec.podCIDR: \"10.1.0.0/99\""));
  EXPECT_THAT(error({{"metadata", {{"name", "n"}}}, {"spec", {{"podCIDRs", {"10.1.0.0/24", "x"}}}}}),
              HasSubstr("spec.podCIDRs[1]: \"x\""));
  EXPECT_THAT(error({{"metadata", {{"name", "n"}}}, {"spec", {{"podCIDRs", "x"}}}}),
              HasSubstr("spec.podCIDRs: expected a list"));
  EXPECT_THAT(error(Annotated({{"flannel.alpha.coreos.com/public-ip", "x"}})),
              HasSubstr("metadata.annotations[flannel.alpha.coreos.com/public-ip]: \"x\""));
  EXPECT_THAT(error(Annotated({{"flannel.alpha.coreos.com/backend-data", "{"}})),
              HasSubstr("backend-data]: expected a JSON object or null"));
  EXPECT_THAT(error(Annotated({{"flannel.alpha.coreos.com/backend-data", R"({"VtepMAC":"zz"})"}})),
              HasSubstr("backend-data].VtepMAC: \"zz\""));
  EXPECT_THAT(error(Annotated({{"flannel.alpha.coreos.com/backend-data", R"({"VNI":-1})"}})),
              HasSubstr("backend-data].VNI"));
  EXPECT_THAT(error(Annotated({{"flannel.alpha.coreos.com/backend-v6-data", R"({"VtepMAC":"zz"})"}})),
              HasSubstr("backend-v6-data].VtepMAC: \"zz\""));
  EXPECT_THAT(error(Annotated({{"flannel.alpha.coreos.com/public-ipv6", "2001:"}})),
              HasSubstr("public-ipv6]: \"2001:\""));
}

TEST(Node, WhatWeAnnounceIsReadBack) {
  const NetConf conf =
      *ParseNetConfText(R"({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 5}})");
  const auto node = ParseNode(
      Annotated(OwnAnnotations(conf, {.v4 = *ParseIp("192.0.2.1")}, *ParseMac("02:00:00:00:00:01"))));
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->backend_type, "vxlan");
  EXPECT_EQ(node->vni, Vni{5});
  EXPECT_EQ(ToString(node->vtep_mac), "02:00:00:00:00:01");
  const NetConf gw = *ParseNetConfText(R"({"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}})");
  EXPECT_EQ(OwnAnnotations(gw, {.v4 = *ParseIp("192.0.2.1")}, {}).at("flannel.alpha.coreos.com/backend-data"),
            "null");
  const std::vector<InterfaceAddress> subnet{*ParseInterfaceAddress("10.244.34.1/24")};
  EXPECT_EQ(SubnetEnv(conf, subnet, 1450),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.34.1/"
            "24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n");
}

TEST(Node, WhatWeAnnounceInDualStack) {
  const NetConf conf = *ParseNetConfText(
      R"({"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd44::/48", "Backend": {"Type": "vxlan"}})");
  const auto node = ParseNode(Annotated(OwnAnnotations(
      conf, {.v4 = *ParseIp("192.0.2.1"), .v6 = *ParseIp("2001:db8::1")}, *ParseMac("02:00:00:00:00:01"))));
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(ToString(node->public_ip6), "2001:db8::1");
  EXPECT_EQ(ToString(node->vtep_mac6), "02:00:00:00:00:01");
  const auto six_only = OwnAnnotations(conf, {.v6 = *ParseIp("2001:db8::1")}, *ParseMac("02:00:00:00:00:01"));
  EXPECT_FALSE(six_only.contains("flannel.alpha.coreos.com/public-ip"));
  EXPECT_FALSE(six_only.contains("flannel.alpha.coreos.com/backend-data"));
  const std::vector<InterfaceAddress> subnets{*ParseInterfaceAddress("10.244.34.1/24"),
                                              *ParseInterfaceAddress("fd44:0:0:30::1/64")};
  EXPECT_EQ(SubnetEnv(conf, subnets, 1430),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.34.1/24\n"
            "FLANNEL_IPV6_NETWORK=fd44::/48\nFLANNEL_IPV6_SUBNET=fd44:0:0:30::1/64\n"
            "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n");
}

TEST(ParseNode, LabelsAndAddresses) {
  const auto node =
      ParseNode(Json::parse(R"({"metadata":{"name":"n","labels":{"zone":"a"}},"status":{"addresses":[
      {"type":"Hostname","address":"n"},{"type":"ExternalIP","address":"203.0.113.1"},
      {"type":"InternalIP","address":"192.0.2.1"},{"type":"InternalIP","address":"fd00::1"}]}})"));
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->labels.at("zone"), "a");
  ASSERT_EQ(node->addresses.size(), 3u);
  EXPECT_EQ(ToString(node->addresses[0]), "203.0.113.1");
  EXPECT_EQ(ToString(node->public_ip), "192.0.2.1");
  const auto bad = ParseNode(Json::parse(R"({"metadata":{"name":"n","labels":{"zone":1}}})"));
  EXPECT_EQ(Message(bad.status()), "metadata.labels[\"zone\"]: expected a string");
}

}  // namespace
}  // namespace podwire
