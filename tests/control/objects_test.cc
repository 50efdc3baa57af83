#include "control/objects.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "documents.h"
#include "net/status.h"

namespace podwire {
namespace {

ParsedObjects Parse(const std::vector<std::string>& documents, const std::string& ns = "default") {
  return ParseObjects(documents, ns);
}

std::string Problem(const std::string& document) {
  const ParsedObjects p = Parse({document});
  return p.problems.empty() ? "none" : ToString(p.problems[0]);
}

TEST(ObjectsTest, OpensListsAndFillsInTheNamespace) {
  const auto p =
      Parse({R"({"apiVersion":"v1","kind":"List","items":[
      {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}},
      {"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}]})",
             R"({"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"b","namespace":"x"}}]})"},
            "dev");
  ASSERT_TRUE(p.problems.empty()) << ToString(p.problems[0]);
  ASSERT_EQ(p.objects.size(), 3u);
  EXPECT_EQ(p.objects[0].id, (ObjectId{"Pod", "dev", "a"}));
  EXPECT_EQ(nlohmann::json::parse(p.objects[0].json)["metadata"]["namespace"], "dev");
  EXPECT_EQ(p.objects[1].id, (ObjectId{"Node", "", "n"}));
  EXPECT_EQ(p.objects[2].id, (ObjectId{"Pod", "x", "b"}));
  EXPECT_EQ(p.objects[2].document, 1u);
  EXPECT_EQ(nlohmann::json::parse(p.objects[2].json)["kind"], "Pod");
}

TEST(ObjectsTest, EveryProblemIsCollectedAndNamed) {
  const auto p =
      Parse({kNamespace,
             R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"web"},
                            "spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/99"}}]}]}})",
             R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"Bad_Name"}})", "{"},
            "dev");
  ASSERT_EQ(p.problems.size(), 3u);
  EXPECT_EQ(p.problems[0].document, 1u);
  EXPECT_EQ(p.problems[0].id, (ObjectId{"NetworkPolicy", "dev", "web"}));
  EXPECT_EQ(p.problems[0].field, "spec.ingress[0].from[0].ipBlock.cidr");
  EXPECT_NE(p.problems[0].message.find("10.0.0.0/99"), std::string::npos);
  EXPECT_EQ(p.problems[1].field, "metadata.name");
  EXPECT_EQ(p.problems[2].document, 3u);
}

TEST(ObjectsTest, ANamespacesAnnotationSaysWhatIsLogged) {
  const auto parse = [](const std::string& annotations) {
    return Parse({R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"dev","annotations":)" +
                  annotations + "}}"});
  };
  EXPECT_EQ(parse("{}").objects.at(0).policy_log, PolicyLogLevel::kOff);
  EXPECT_EQ(parse("null").objects.at(0).policy_log, PolicyLogLevel::kOff);
  EXPECT_EQ(parse(R"({"podwire.io/policy-log":"denied"})").objects.at(0).policy_log, PolicyLogLevel::kDenied);
  EXPECT_EQ(parse(R"({"podwire.io/policy-log":"all"})").objects.at(0).policy_log, PolicyLogLevel::kAll);
  const auto wrong = parse(R"({"podwire.io/policy-log":"some"})");
  ASSERT_TRUE(wrong.problems.empty()) << "the namespace itself is good";
  EXPECT_EQ(wrong.objects.at(0).policy_log, PolicyLogLevel::kOff);
  ASSERT_EQ(wrong.objects.at(0).warnings.size(), 1u);
  EXPECT_NE(wrong.objects.at(0).warnings[0].find("expected denied or all, not"), std::string::npos);
}

TEST(ObjectsTest, OtherKindsAndVersionsAreRefused) {
  EXPECT_NE(Problem(R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"}})")
                .find("kind: podwire takes"),
            std::string::npos);
  EXPECT_NE(
      Problem(R"({"apiVersion":"v2","kind":"Pod","metadata":{"name":"d"}})").find("apiVersion: expected v1"),
      std::string::npos);
  EXPECT_NE(Problem(R"({"kind":"Pod","metadata":{"name":"d"}})").find("apiVersion"), std::string::npos);
  EXPECT_NE(Problem(R"({"apiVersion":"v1","kind":"pods","metadata":{"name":"d"}})").find("kind"),
            std::string::npos);
  EXPECT_NE(Problem(R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other"},"data":{}})")
                .find("kube-flannel-cfg"),
            std::string::npos);
  EXPECT_NE(Problem(R"({"apiVersion":"v1","kind":"DeploymentList","items":[]})").find("DeploymentList"),
            std::string::npos);
  EXPECT_NE(Problem(R"({"apiVersion":"v1","kind":"List","items":{}})").find("items: expected an array"),
            std::string::npos);
  EXPECT_NE(Problem("[]").find("expected an object"), std::string::npos);
  EXPECT_NE(Problem(R"({"metadata":5})").find("kind: missing"), std::string::npos);
  EXPECT_NE(Problem(R"({"apiVersion":"v1","kind":"Pod","metadata":[]})"), "none");
}

/// A document of another version may mean something else by the same fields: it is not half understood.
TEST(ObjectsTest, EveryKindNeedsItsVersion) {
  const std::pair<const char*, const char*> kinds[] = {
      {"Node", "v1"},
      {"Namespace", "v1"},
      {"Pod", "v1"},
      {"ConfigMap", "v1"},
      {"NetworkPolicy", "networking.k8s.io/v1"},
      {"ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"}};
  for (const auto& [kind, version] : kinds) {
    const std::string name = std::string(kind) + (IsNamespaced(kind) ? " dev/web: " : " web: ");
    const auto problem = [&, kind = kind](const std::string& api_version) {
      const auto p =
          Parse({R"({)" + api_version + R"("kind":")" + kind + R"(","metadata":{"name":"web"}})"}, "dev");
      EXPECT_TRUE(p.objects.empty()) << kind;
      return p.problems.empty() ? "none" : ToString(p.problems[0]);
    };
    const std::string head = "document 1: " + name + "apiVersion: ";
    EXPECT_EQ(problem(""), head + "missing, expected " + version);
    for (const char* wrong : {R"("v2")", R"("networking.k8s.io/v1beta1")", R"("")", "1", "null"}) {
      EXPECT_EQ(problem(std::string(R"("apiVersion":)") + wrong + ","),
                head + "expected " + version + ", not " + wrong);
    }
  }
}

TEST(ObjectsTest, ListsNeedTheirVersionAndItemsMayNotDiffer) {
  EXPECT_EQ(Problem(R"({"kind":"List","items":[]})"), "document 1: List: apiVersion: missing, expected v1");
  EXPECT_EQ(Problem(R"({"apiVersion":"v2","kind":"List","items":[]})"),
            R"(document 1: List: apiVersion: expected v1, not "v2")");
  EXPECT_EQ(Problem(R"({"kind":"PodList","items":[{"metadata":{"name":"a"}}]})"),
            "document 1: PodList: apiVersion: missing, expected v1");
  EXPECT_EQ(
      Problem(R"({"apiVersion":"policy.networking.k8s.io/v1alpha1","kind":"ClusterNetworkPolicyList","items":[
                {"metadata":{"name":"p"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}}]})"),
      "document 1: ClusterNetworkPolicyList: apiVersion: expected policy.networking.k8s.io/v1alpha2, "
      R"(not "policy.networking.k8s.io/v1alpha1")");
  const auto in_pod_list = [](const std::string& item) {
    return Problem(R"({"apiVersion":"v1","kind":"PodList","items":[)" + item + "]}");
  };
  EXPECT_EQ(in_pod_list(R"({"apiVersion":"v2","metadata":{"name":"a"}})"),
            R"(document 1: Pod default/a: apiVersion: expected v1, not "v2")");
  EXPECT_EQ(in_pod_list(R"({"kind":"NetworkPolicy","metadata":{"name":"a"},"spec":{"podSelector":{}}})"),
            "document 1: NetworkPolicy default/a: kind: a NetworkPolicy in a PodList");
  EXPECT_EQ(in_pod_list(R"({"kind":"","metadata":{"name":"a"}})"), "document 1: kind: missing");
  EXPECT_EQ(Problem(R"({"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","metadata":{"name":"a"}}]})"),
            "document 1: Pod default/a: apiVersion: missing, expected v1");
}

TEST(ObjectsTest, ClusterNetworkPoliciesHaveNoNamespace) {
  const auto p =
      Parse({R"({"apiVersion":"policy.networking.k8s.io/v1alpha2","kind":"ClusterNetworkPolicyList","items":[
      {"metadata":{"name":"p"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}}]})"},
            "dev");
  ASSERT_TRUE(p.problems.empty()) << ToString(p.problems[0]);
  EXPECT_EQ(p.objects.at(0).id, (ObjectId{"ClusterNetworkPolicy", "", "p"}));
  EXPECT_TRUE(std::holds_alternative<ClusterNetworkPolicy>(p.objects[0].value));
  EXPECT_EQ(
      Problem(
          R"({"apiVersion":"policy.networking.k8s.io/v1alpha2","kind":"ClusterNetworkPolicy","metadata":{"name":"p"},
      "spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}},"egress":[{"action":"Drop"}]}})"),
      "document 1: ClusterNetworkPolicy p: spec.egress[0].action: \"Drop\" is not an action, expected "
      "Accept, Deny "
      "or Pass");
}

TEST(ObjectsTest, GivenUpPolicyKindsAreRefusedWithWhatToWriteInstead) {
  EXPECT_NE(
      Problem(
          R"({"apiVersion":"policy.networking.k8s.io/v1alpha1","kind":"AdminNetworkPolicy","metadata":{"name":"a"}})")
          .find("podwire takes no AdminNetworkPolicy: write a ClusterNetworkPolicy "
                "(policy.networking.k8s.io/v1alpha2) with spec.tier Admin"),
      std::string::npos);
  EXPECT_NE(
      Problem(R"({"kind":"BaselineAdminNetworkPolicyList","items":[]})").find("with spec.tier Baseline"),
      std::string::npos);
}

TEST(ObjectsTest, KubectlsNamesOfKinds) {
  EXPECT_EQ(CanonicalKind("cnp"), "ClusterNetworkPolicy");
  EXPECT_EQ(CanonicalKind("ClusterNetworkPolicies"), "ClusterNetworkPolicy");
  EXPECT_FALSE(IsNamespaced("ClusterNetworkPolicy"));
  EXPECT_EQ(CanonicalKind("po"), "Pod");
  EXPECT_EQ(CanonicalKind("NetPol"), "NetworkPolicy");
  EXPECT_EQ(CanonicalKind("networkpolicies"), "NetworkPolicy");
  EXPECT_EQ(CanonicalKind("ns"), "Namespace");
  EXPECT_EQ(CanonicalKind("cm"), "ConfigMap");
  EXPECT_FALSE(CanonicalKind(""));
  EXPECT_FALSE(CanonicalKind("svc"));
  EXPECT_TRUE(IsNamespaced("Pod"));
  EXPECT_FALSE(IsNamespaced("Node"));
}

}  // namespace
}  // namespace podwire
