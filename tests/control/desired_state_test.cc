#include "control/desired_state.h"

#include <gtest/gtest.h>

#include "control/node_subnets.h"
#include "documents.h"
#include "net/status.h"

namespace podwire {
namespace {

std::string PodJson(const std::string& name, const std::string& node, const std::string& ip) {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name +
         R"(","namespace":"dev","labels":{"app":"web"}},"spec":{"nodeName":")" + node +
         R"("},"status":{"podIP":")" + ip + R"("}})";
}

LiveAttachment Attached(const std::string& container, const std::string& pod, const std::string& address) {
  LiveAttachment a;
  a.record.key = {container, "eth0"};
  a.record.pod = {"dev", pod};
  a.record.addresses = {*ParseInterfaceAddress(address)};
  a.slot = EndpointId(0);
  a.port = PortId(1);
  return a;
}

TEST(DesiredStateTest, AnAttachedPodHasItsAttachmentsAddress) {
  DesiredState s("node-a", std::nullopt);
  s.PutAttachment(Attached("c1", "web", "10.244.1.7/24"));
  const ObjectKey key{"dev", "web"};
  ASSERT_TRUE(s.model().pods.contains(key)) << "known by its attachment alone";
  EXPECT_TRUE(s.model().pods.at(key).labels.empty());
  s.Put(One(PodJson("web", "node-a", "10.244.1.99")));
  EXPECT_EQ(s.model().pods.at(key).labels.at("app"), "web");
  ASSERT_EQ(s.model().pods.at(key).addresses.size(), 1u);
  EXPECT_EQ(ToString(s.model().pods.at(key).addresses[0]), "10.244.1.7") << "not the manifest's stale one";
  s.RemoveAttachment({"c1", "eth0"});
  EXPECT_TRUE(s.model().pods.at(key).addresses.empty());
  EXPECT_TRUE(s.LocalPods().empty());
  s.Remove({"Pod", "dev", "web"});
  EXPECT_TRUE(s.model().pods.empty());
}

TEST(DesiredStateTest, TheNodesOwnStackIsNoPeerOfSelectors) {
  DesiredState s("node-a", std::nullopt);
  LiveAttachment host = Attached("c1", "stack", "192.168.50.10/32");
  host.record.host = true;
  s.PutAttachment(host);
  EXPECT_FALSE(s.model().pods.at({"dev", "stack"}).IsPeer());
  s.Put(One(PodJson("stack", "node-a", "192.168.50.10")));
  EXPECT_FALSE(s.model().pods.at({"dev", "stack"}).IsPeer()) << "nor with a pod's manifest of that name";
}

TEST(DesiredStateTest, AnotherNodesPodHasItsStatusAddress) {
  DesiredState s("node-a", std::nullopt);
  s.Put(One(PodJson("far", "node-b", "10.244.2.7")));
  s.PutAttachment(Attached("c1", "far", "10.244.1.7/24"));
  const Pod& pod = s.model().pods.at({"dev", "far"});
  ASSERT_EQ(pod.addresses.size(), 1u);
  EXPECT_EQ(ToString(pod.addresses[0]), "10.244.2.7");
}

TEST(DesiredStateTest, AnAttachmentOutsideTheSwitchIsNoLocalPod) {
  DesiredState s("node-a", std::nullopt);
  LiveAttachment a = Attached("c1", "web", "10.244.1.7/24");
  a.port = kNoPort;
  s.PutAttachment(a);
  EXPECT_TRUE(s.LocalPods().empty());
  EXPECT_TRUE(s.model().pods.empty());
  EXPECT_EQ(s.attachments().size(), 1u);
}

TEST(DesiredStateTest, ANamespaceTakesItsObjectsAlong) {
  DesiredState s("node-a", std::nullopt);
  s.Put(One(R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"dev"}})"));
  s.Put(One(PodJson("web", "node-b", "10.244.2.7")));
  s.Put(One(
      R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p","namespace":"dev"},
             "spec":{"podSelector":{}}})"));
  s.Put(One(
      R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p","namespace":"dev2"},
             "spec":{"podSelector":{}}})"));
  const auto doomed = s.WhatGoesWith({"Namespace", "", "dev"});
  EXPECT_EQ(doomed.size(), 3u);
  for (const ObjectId& id : doomed) s.Remove(id);
  EXPECT_EQ(s.objects().size(), 1u);
  EXPECT_TRUE(s.model().pods.empty());
  EXPECT_EQ(s.model().policies.size(), 1u);
  EXPECT_TRUE(s.WhatGoesWith({"Namespace", "", "dev"}).empty());
}

TEST(DesiredStateTest, ClusterPoliciesAndNodesLabelsAreOfTheModel) {
  DesiredState s("node-a", std::nullopt);
  s.Put(One(
      R"({"apiVersion":"policy.networking.k8s.io/v1alpha2","kind":"ClusterNetworkPolicy","metadata":{"name":"p"},
             "spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}})"));
  s.Put(One(R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n","labels":{"zone":"a"}},
             "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}})"));
  EXPECT_TRUE(s.model().cluster_policies.contains("p"));
  EXPECT_EQ(s.model().nodes.at("n").labels.at("zone"), "a");
  EXPECT_EQ(s.model().nodes.at("n").addresses.size(), 1u);
  const uint64_t revision = s.policy_revision();
  s.Remove({"ClusterNetworkPolicy", "", "p"});
  s.Remove({"Node", "", "n"});
  EXPECT_TRUE(s.model().cluster_policies.empty());
  EXPECT_TRUE(s.model().nodes.empty());
  EXPECT_GT(s.policy_revision(), revision);
}

TEST(DesiredStateTest, WhatIsCompiledFollowsEveryEdit) {
  DesiredState s("node-a", std::nullopt);
  const ObjectKey web{"dev", "web"};
  const auto policy = [](const char* from) {
    return One(
        std::string(
            R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p","namespace":"dev"},"spec":{"podSelector":{},"ingress":[{"from":[)") +
        from + "]}]}}");
  };
  const char* team = R"({"namespaceSelector":{"matchLabels":{"team":"x"}}})";
  const auto allows = [&](const char* peer) {
    const CompiledPolicy compiled = s.CompilePolicy(), anew = Compile(s.model(), s.LocalPods());
    EXPECT_EQ(compiled.Find(web)->fingerprint, anew.Find(web)->fingerprint);
    return compiled.Check(Direction::kIngress, compiled.Find(web)->ingress, *ParseIp(peer), 6, 80).allowed;
  };
  s.PutAttachment(Attached("c1", "web", "10.244.1.7/24"));
  EXPECT_TRUE(allows("10.244.2.7")) << "no policy";
  s.Put(policy(team));
  s.Put(One(PodJson("far", "node-b", "10.244.2.7")));
  EXPECT_FALSE(allows("10.244.2.7"));
  const char* ns =
      R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"dev","labels":{"team":"x"}}})";
  s.Put(One(ns));
  EXPECT_TRUE(allows("10.244.2.7"));
  s.Put(One(PodJson("far", "node-b", "10.244.2.8")));
  EXPECT_FALSE(allows("10.244.2.7"));
  EXPECT_TRUE(allows("10.244.2.8"));
  s.Remove({"Namespace", "", "dev"});
  EXPECT_FALSE(allows("10.244.2.8"));
  s.Put(policy(R"({"podSelector":{"matchLabels":{"app":"web"}}})"));
  EXPECT_TRUE(allows("10.244.2.8"));
  s.Remove({"Pod", "dev", "far"});
  EXPECT_FALSE(allows("10.244.2.8"));
  s.Remove({"NetworkPolicy", "dev", "p"});
  EXPECT_TRUE(allows("10.244.2.8"));
  s.Put(One(
      R"({"apiVersion":"policy.networking.k8s.io/v1alpha2","kind":"ClusterNetworkPolicy","metadata":{"name":"c"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}},"ingress":[{"action":"Deny","from":[{"namespaces":{}}]}]}})"));
  s.Put(One(PodJson("far", "node-b", "10.244.2.8")));
  EXPECT_FALSE(allows("10.244.2.8"));
  s.Remove({"ClusterNetworkPolicy", "", "c"});
  EXPECT_TRUE(allows("10.244.2.8"));
}

TEST(DesiredStateTest, TheConfigMapOverridesTheFile) {
  const auto file = ParseNetConfText(R"({"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}})");
  ASSERT_TRUE(file.ok());
  DesiredState s("node-a", *file);
  EXPECT_EQ(ToString(s.network()->v4->network), "10.1.0.0/16");
  s.Put(One(
      R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kube-flannel-cfg","namespace":"kube-system"},
             "data":{"net-conf.json":"{\"Network\":\"10.244.0.0/16\",\"Backend\":{\"Type\":\"host-gw\"}}"}})"));
  EXPECT_EQ(ToString(s.network()->v4->network), "10.244.0.0/16");
  s.Remove({"ConfigMap", "kube-system", "kube-flannel-cfg"});
  EXPECT_EQ(ToString(s.network()->v4->network), "10.1.0.0/16");
}

std::map<std::string, Node> Nodes(const std::vector<std::pair<std::string, std::string>>& list) {
  std::map<std::string, Node> nodes;
  for (const auto& [name, cidr] : list) nodes[name] = std::get<Node>(One(NodeJson(name, cidr)).value);
  return nodes;
}

NetConf Network(const char* text) { return *ParseNetConfText(text); }

TEST(NodeSubnetsTest, NodesWithoutPodCidrGetOneOnceAndKeepIt) {
  const NetConf conf = Network(R"({"Network":"10.244.0.0/16"})");
  const auto nodes = Nodes({{"a", "10.244.1.0/24"}, {"b", ""}, {"c", ""}});
  auto planned = PlanSubnets(nodes, {"a", "b", "c"}, conf, {});
  ASSERT_TRUE(planned.ok());
  EXPECT_EQ(planned->size(), 2u);
  EXPECT_EQ(ToString(planned->at("b")), "10.244.2.0/24");
  EXPECT_EQ(ToString(planned->at("c")), "10.244.3.0/24");
  EXPECT_EQ(*PlanSubnets(nodes, {"c", "b"}, conf, *planned), *planned);
  const auto later = Nodes({{"a", "10.244.1.0/24"}, {"b", ""}, {"c", "10.244.2.0/24"}});
  auto moved = PlanSubnets(later, {"b"}, conf, *planned);
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(ToString(moved->at("b")), "10.244.3.0/24") << "a podCIDR goes before a plan";
}

std::string DualNodeJson(const std::string& name, const std::string& cidrs) {
  return R"({"apiVersion":"v1","kind":"Node","metadata":{"name":")" + name + R"("},"spec":{"podCIDRs":[)" +
         cidrs + "]}}";
}

constexpr const char* kDualVxlan =
    R"({"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"vxlan"}})";

TEST(NodeSubnetsTest, EachFamilyIsPlannedForItself) {
  const NetConf conf = Network(kDualVxlan);
  std::map<std::string, Node> nodes = Nodes({{"a", "10.244.1.0/24"}, {"b", ""}});
  nodes["c"] = std::get<Node>(One(DualNodeJson("c", R"("fd44:0:0:1::/64")")).value);
  const auto planned = PlanSubnets(nodes, {"a", "b", "c"}, conf, {});
  ASSERT_TRUE(planned.ok()) << Message(planned.status());
  EXPECT_EQ(ToString(planned->at("a")), "fd44:0:0:2::/64") << "it has an IPv4 podCIDR";
  EXPECT_EQ(ToString(planned->at("b")), "10.244.2.0/24,fd44:0:0:3::/64");
  EXPECT_EQ(ToString(planned->at("c")), "10.244.3.0/24") << "it has an IPv6 podCIDR";
  EXPECT_EQ(*PlanSubnets(nodes, {"c", "b", "a"}, conf, *planned), *planned);
  const NetConf six = Network(R"({"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd44::/48"})");
  EXPECT_EQ(ToString(PlanSubnets(nodes, {"b"}, six, {})->at("b")), "fd44:0:0:2::/64");
}

TEST(NodeSubnetsTest, ImpossibleIpv6PodCidrsAreNamed) {
  const NetConf conf = Network(kDualVxlan);
  std::map<std::string, Node> nodes;
  nodes["a"] = std::get<Node>(One(DualNodeJson("a", R"("10.244.1.0/24","fd44:0:0:1::/64")")).value);
  nodes["b"] = std::get<Node>(One(DualNodeJson("b", R"("10.244.2.0/24","fd44:0:0:1::/64")")).value);
  nodes["c"] = std::get<Node>(One(DualNodeJson("c", R"("10.244.3.0/24","fd55::/64")")).value);
  const auto problems = CheckPodCidrs(nodes, &conf, {});
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].message, "fd44:0:0:1::/64 overlaps fd44:0:0:1::/64 of node a");
  EXPECT_EQ(problems[1].message, "fd55::/64 does not lie in the network fd44::/48");
}

TEST(DesiredStateTest, SubnetsAreOfTheNetworksFamilies) {
  DesiredState s("node-a", Network(kDualVxlan));
  s.Put(One(DualNodeJson("node-a", R"("10.244.1.0/24","fd44:0:0:1::/64","10.244.9.0/24")")));
  EXPECT_EQ(ToString(s.SubnetsOf("node-a")), "10.244.1.0/24,fd44:0:0:1::/64");
  s.SetPlannedSubnets({{"node-b", *ParsePodSubnets("10.244.2.0/24,fd44:0:0:2::/64")}});
  s.Put(One(NodeJson("node-b", "10.244.7.0/24")));
  EXPECT_EQ(ToString(s.SubnetsOf("node-b")), "10.244.7.0/24,fd44:0:0:2::/64");
  EXPECT_TRUE(s.SubnetsOf("node-c").empty());
  DesiredState four("node-a", Network(R"({"Network":"10.244.0.0/16"})"));
  four.Put(One(DualNodeJson("node-a", R"("10.244.1.0/24","fd44:0:0:1::/64")")));
  EXPECT_EQ(ToString(four.SubnetsOf("node-a")), "10.244.1.0/24");
}

TEST(NodeSubnetsTest, ExhaustionNamesTheNode) {
  const NetConf conf = Network(R"({"Network":"10.244.0.0/22","SubnetLen":24})");
  const auto full = PlanSubnets(Nodes({{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}, {"e", ""}}),
                                {"a", "b", "c", "d", "e"}, conf, {});
  EXPECT_EQ(full.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Message(full.status()).starts_with("node d")) << Message(full.status());
}

TEST(NodeSubnetsTest, ImpossiblePodCidrsAreNamed) {
  const NetConf conf = Network(R"({"Network":"10.244.0.0/16"})");
  EXPECT_TRUE(CheckPodCidrs(Nodes({{"a", "10.244.1.0/24"}, {"b", "10.244.2.0/24"}}), &conf, {}).empty());
  auto problems = CheckPodCidrs(Nodes({{"a", "10.244.1.0/24"}, {"b", "10.244.1.128/25"}}), nullptr, {});
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].node, "b");
  EXPECT_EQ(problems[0].field, "spec.podCIDR");
  EXPECT_EQ(CheckPodCidrs(Nodes({{"a", "10.9.1.0/24"}}), &conf, {}).size(), 1u);
  const DesiredState::PlannedSubnets pinned{{"me", *ParsePodSubnets("10.244.1.0/24")}};
  EXPECT_EQ(CheckPodCidrs(Nodes({{"a", "10.244.1.0/24"}}), &conf, pinned).size(), 1u);
  EXPECT_TRUE(CheckPodCidrs(Nodes({{"me", "10.244.1.0/24"}}), &conf, pinned).empty());
}

}  // namespace
}  // namespace podwire
