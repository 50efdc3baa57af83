// The users' documents, as they are.

#include <charconv>

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>
#include <nlohmann/json.hpp>

#include "acl/parse.h"
#include "cluster.h"

namespace podwire {
namespace {

nlohmann::json ToJson(const YAML::Node& node) {
  nlohmann::json out;
  if (node.IsSequence()) {
    out = nlohmann::json::array();
    for (const auto& item : node) out.push_back(ToJson(item));
  } else if (node.IsMap()) {
    out = nlohmann::json::object();
    for (const auto& item : node) out[item.first.as<std::string>()] = ToJson(item.second);
  } else if (node.IsScalar()) {
    const auto text = node.as<std::string>();
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc{} && end == text.data() + text.size()) {
      out = number;
    } else {
      out = text;
    }
  }
  return out;
}

std::vector<nlohmann::json> Documents(const std::string& name) {
  std::vector<nlohmann::json> out;
  for (const auto& node : YAML::LoadAllFromFile(PODWIRE_MANIFESTS "/" + name)) out.push_back(ToJson(node));
  return out;
}

class ManifestTest : public ::testing::Test {
 protected:
  ManifestTest() {
    auto pod = ParsePod(Documents("pod-a.yaml").at(0), "default");
    pod->addresses = {*ParseIp("10.244.1.5")};
    c.model.pods[pod->key] = *pod;
    c.AddPod("client", "", "10.244.1.2");
    c.AddPod("other", "", "10.244.2.2");
  }
  void Apply(const std::string& name) {
    const auto policy = ParseNetworkPolicy(Documents(name).at(0), "default");
    ASSERT_TRUE(policy.ok()) << policy.status();
    c.model.policies[policy->key] = *policy;
  }
  Cluster c;
};

TEST_F(ManifestTest, PodAndNamespaces) {
  const Pod& pod = c.model.pods.at({"default", "pod1"});
  EXPECT_EQ(pod.labels.at("app"), "myapp");
  EXPECT_EQ(pod.ports.at(0).name, "http");
  EXPECT_EQ(pod.ports[0].number, 80);
  const auto documents = Documents("namespaces.yaml");
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(ParseNamespace(documents[0])->name, "dev");
  EXPECT_EQ(ParseNamespace(documents[1])->name, "prod");
}

TEST_F(ManifestTest, DenyAllIngressThenAllowAllIngressReplacesIt) {
  Apply("deny-all-ingress.yaml");
  EXPECT_FALSE(c.Ingress("pod1", "client"));
  EXPECT_FALSE(c.Ingress("client", "pod1", "icmp"));
  EXPECT_TRUE(c.Egress("pod1", "client"));
  Apply("allow-all-ingress.yaml");  // of the same name
  EXPECT_EQ(c.model.policies.size(), 1u);
  EXPECT_TRUE(c.Ingress("pod1", "client"));
  EXPECT_TRUE(c.Ingress("pod1", "192.0.2.1", "icmp"));
}

TEST_F(ManifestTest, DenyAllEgressThenAllowAllEgressReplacesIt) {
  Apply("deny-all-egress.yaml");
  EXPECT_FALSE(c.Egress("pod1", "client"));
  EXPECT_FALSE(c.Egress("pod1", "192.0.2.1", "udp/53"));
  EXPECT_TRUE(c.Ingress("pod1", "client"));
  Apply("allow-all-egress.yaml");
  EXPECT_EQ(c.model.policies.size(), 1u);
  EXPECT_TRUE(c.Egress("pod1", "192.0.2.1", "udp/53"));
}

TEST_F(ManifestTest, AllowNetpolDemo) {
  Apply("deny-all-ingress.yaml");
  Apply("allow-netpol-demo.yaml");
  EXPECT_TRUE(c.Ingress("pod1", "other", "tcp/80"));
  EXPECT_FALSE(c.Ingress("pod1", "client", "tcp/80"));  // 10.244.1.2, the except
  EXPECT_FALSE(c.Ingress("pod1", "other", "tcp/443"));
  EXPECT_FALSE(c.Ingress("pod1", "other", "icmp"));
  EXPECT_FALSE(c.Ingress("pod1", "192.168.0.1", "tcp/80"));
  EXPECT_FALSE(c.Ingress("other", "pod1", "tcp/80"));  // not selected by app=myapp
}

}  // namespace
}  // namespace podwire
