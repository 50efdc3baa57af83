#include "control/cli/object_views.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "control/cli/kinds.h"

namespace podwire::cli {
namespace {

using Json = nlohmann::ordered_json;

/// The value at a path of keys; null if there is none.
const Json& At(const Json& object, std::initializer_list<const char*> path) {
  static const Json null;
  const Json* value = &object;
  for (const char* key : path) {
    if (!value->is_object()) return null;
    const auto it = value->find(key);
    if (it == value->end()) return null;
    value = &*it;
  }
  return *value;
}

void AppendList(std::string& list, std::string_view item) {
  if (item.empty()) return;
  if (!list.empty()) list += ',';
  list += item;
}

std::string Scalar(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

/// "app=web,tier=front".
std::string Labels(const Json& map) {
  std::string text;
  if (map.is_object()) {
    for (const auto& [key, value] : map.items()) AppendList(text, fmt::format("{}={}", key, Scalar(value)));
  }
  return text;
}

std::string JoinStrings(const Json& list) {
  std::string text;
  if (list.is_array()) {
    for (const Json& item : list) AppendList(text, Scalar(item));
  }
  return text;
}

/// A selector as kubectl shows it: "app=web,tier in (a,b),!old"; <none> for one that selects all.
std::string Selector(const Json& selector) {
  std::string text = Labels(At(selector, {"matchLabels"}));
  const Json& expressions = At(selector, {"matchExpressions"});
  if (expressions.is_array()) {
    for (const Json& expression : expressions) {
      const std::string key = Text(expression, {"key"}), op = Text(expression, {"operator"});
      const std::string values = JoinStrings(At(expression, {"values"}));
      if (op == "Exists") AppendList(text, key);
      if (op == "DoesNotExist") AppendList(text, "!" + key);
      if (op == "In") AppendList(text, fmt::format("{} in ({})", key, values));
      if (op == "NotIn") AppendList(text, fmt::format("{} notin ({})", key, values));
    }
  }
  return text.empty() ? "<none>" : text;
}

/// policyTypes as the API server would fill them in.
std::string PolicyTypes(const Json& policy) {
  std::string types = JoinStrings(At(policy, {"spec", "policyTypes"}));
  if (!types.empty()) return types;
  const Json& egress = At(policy, {"spec", "egress"});
  return egress.is_array() && !egress.empty() ? "Ingress,Egress" : "Ingress";
}

std::string Count(const Json& value) { return std::to_string(value.is_structured() ? value.size() : 0); }

std::string Name(const Json& object) { return Text(object, {"metadata", "name"}); }
std::string NamespaceOf(const Json& object) { return Text(object, {"metadata", "namespace"}); }
std::string Resource(const Json& object) { return ResourceName(Text(object, {"kind"}), Name(object)); }

View<Json> ObjectView(bool with_namespace) {
  View<Json> view;
  if (with_namespace) view.columns.push_back({"NAMESPACE", NamespaceOf});
  view.columns.push_back({"NAME", Name});
  view.json = [](const Json& object) { return object; };
  view.name = Resource;
  return view;
}

void AddRuleCounts(View<Json>& view) {
  view.columns.push_back({"INGRESS-RULES",
                          [](const Json& o) {
                            return Count(At(o, {"spec", "ingress"}));
                          },
                          true});
  view.columns.push_back({"EGRESS-RULES",
                          [](const Json& o) {
                            return Count(At(o, {"spec", "egress"}));
                          },
                          true});
}

/// The pods that a ClusterNetworkPolicy is for: "namespaces: team=a", "pods: app=web; namespaces: <none>".
std::string Subject(const Json& policy) {
  const Json& subject = At(policy, {"spec", "subject"});
  if (!At(subject, {"pods"}).is_object()) return "namespaces: " + Selector(At(subject, {"namespaces"}));
  return fmt::format("pods: {}; namespaces: {}", Selector(At(subject, {"pods", "podSelector"})),
                     Selector(At(subject, {"pods", "namespaceSelector"})));
}

std::string WithoutPrefixLength(const std::string& address) { return address.substr(0, address.find('/')); }

std::string PodAddresses(const PodRow& pod) {
  std::string text;
  if (pod.endpoint.has_value()) {
    for (const auto& address : pod.endpoint->addresses()) AppendList(text, WithoutPrefixLength(address));
    return text;
  }
  const Json& addresses = At(pod.object, {"status", "podIPs"});
  if (addresses.is_array()) {
    for (const Json& item : addresses) AppendList(text, Text(item, {"ip"}));
  }
  return text.empty() ? Text(pod.object, {"status", "podIP"}) : text;
}

std::string PodNode(const PodRow& pod) {
  const bool local = pod.endpoint.has_value() && !pod.endpoint->node().empty();
  return local ? pod.endpoint->node() : Text(pod.object, {"spec", "nodeName"});
}

/// What policies isolate a pod of this node for; of other nodes' pods nothing is known here.
std::string Isolation(const PodRow& pod) {
  if (!pod.endpoint.has_value()) return "";
  std::string text;
  if (pod.endpoint->policies_ingress_size() > 0) AppendList(text, "ingress");
  if (pod.endpoint->policies_egress_size() > 0) AppendList(text, "egress");
  return text.empty() ? "none" : text;
}

std::string Policies(const PodRow& pod) {
  std::string text;
  if (!pod.endpoint.has_value()) return text;
  for (const auto& policy : pod.endpoint->policies_ingress()) AppendList(text, policy + "(in)");
  for (const auto& policy : pod.endpoint->policies_egress()) AppendList(text, policy + "(out)");
  return text;
}

/// A column of what the attachment says.
View<PodRow>::Column Attached(std::string name, std::string (*get)(const v1::Endpoint&), bool wide = false) {
  const auto cell = [get](const PodRow& pod) {
    return pod.endpoint.has_value() ? get(*pod.endpoint) : std::string();
  };
  return {std::move(name), cell, wide};
}

std::string Annotation(const Json& node, const char* name) {
  return Text(node, {"metadata", "annotations", fmt::format("flannel.alpha.coreos.com/{}", name).c_str()});
}

}  // namespace

std::string Text(const Json& object, std::initializer_list<const char*> path) {
  const Json& value = At(object, path);
  return value.is_string() ? value.get<std::string>() : "";
}

View<PodRow> PodView(bool with_namespace) {
  View<PodRow> view;
  const auto of_object = [](std::string (*get)(const Json&)) {
    return [get](const PodRow& pod) { return get(pod.object); };
  };
  if (with_namespace) view.columns.push_back({"NAMESPACE", of_object(NamespaceOf)});
  view.columns.push_back({"NAME", of_object(Name)});
  view.columns.push_back({"ADDRESS", PodAddresses});
  view.columns.push_back({"NODE", PodNode});
  view.columns.push_back(Attached("ATTACH", [](const v1::Endpoint& e) { return e.attach(); }));
  view.columns.push_back(Attached("PORT", [](const v1::Endpoint& e) { return e.port(); }));
  view.columns.push_back(Attached("STATE", [](const v1::Endpoint& e) { return e.state(); }));
  view.columns.push_back({"ISOLATION", Isolation});
  view.columns.push_back({"POLICIES", Policies, true});
  view.columns.push_back(Attached(
      "MAC", [](const v1::Endpoint& e) { return e.mac(); }, true));
  view.columns.push_back({"LABELS",
                          [](const PodRow& pod) {
                            return Labels(At(pod.object, {"metadata", "labels"}));
                          },
                          true});
  view.json = [](const PodRow& pod) { return pod.object; };
  view.name = of_object(Resource);
  return view;
}

View<Json> ClusterPolicyView() {
  View<Json> view = ObjectView(false);
  view.columns.push_back({"TIER", [](const Json& o) { return Text(o, {"spec", "tier"}); }});
  view.columns.push_back({"PRIORITY", [](const Json& o) { return Scalar(At(o, {"spec", "priority"})); }});
  view.columns.push_back({"SUBJECT", Subject});
  AddRuleCounts(view);
  return view;
}

View<Json> PolicyView(bool with_namespace) {
  View<Json> view = ObjectView(with_namespace);
  view.columns.push_back({"POD-SELECTOR", [](const Json& o) {
                            return Selector(At(o, {"spec", "podSelector"}));
                          }});
  view.columns.push_back({"TYPES", PolicyTypes});
  AddRuleCounts(view);
  return view;
}

View<Json> ConfigMapView(bool with_namespace) {
  View<Json> view = ObjectView(with_namespace);
  view.columns.push_back({"DATA", [](const Json& o) { return Count(At(o, {"data"})); }});
  return view;
}

View<Json> NamespaceView() {
  View<Json> view = ObjectView(false);
  view.columns.push_back({"LABELS", [](const Json& o) { return Labels(At(o, {"metadata", "labels"})); }});
  return view;
}

View<Json> NodeView() {
  View<Json> view = ObjectView(false);
  view.columns.push_back({"POD-CIDR", [](const Json& o) {
                            const std::string all = JoinStrings(At(o, {"spec", "podCIDRs"}));
                            return all.empty() ? Text(o, {"spec", "podCIDR"}) : all;
                          }});
  view.columns.push_back({"PUBLIC-IP", [](const Json& o) {
                            std::string text = Annotation(o, "public-ip");
                            const std::string six = Annotation(o, "public-ipv6");
                            if (!six.empty()) AppendList(text, six);
                            return text;
                          }});
  view.columns.push_back({"BACKEND", [](const Json& o) { return Annotation(o, "backend-type"); }});
  view.columns.push_back({"BACKEND-DATA", [](const Json& o) { return Annotation(o, "backend-data"); }, true});
  view.columns.push_back({"LABELS",
                          [](const Json& o) {
                            return Labels(At(o, {"metadata", "labels"}));
                          },
                          true});
  return view;
}

Json PodFromEndpoint(const v1::Endpoint& endpoint) {
  Json pod{{"apiVersion", "v1"}, {"kind", "Pod"}};
  pod["metadata"] = {{"name", endpoint.pod_name()}, {"namespace", endpoint.pod_namespace()}};
  pod["spec"] = {{"nodeName", endpoint.node()}};
  pod["status"]["podIPs"] = Json::array();
  for (const auto& address : endpoint.addresses()) {
    pod["status"]["podIPs"].push_back({{"ip", WithoutPrefixLength(address)}});
  }
  if (endpoint.addresses_size() > 0) pod["status"]["podIP"] = WithoutPrefixLength(endpoint.addresses(0));
  return pod;
}

}  // namespace podwire::cli
