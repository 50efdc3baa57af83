#include "cluster.h"

#include <charconv>
#include <stdexcept>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "acl/parse.h"
#include "naive_evaluator.h"
#include "net/status.h"

namespace podwire {
namespace {

ObjectKey KeyOf(std::string_view name) {
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos) return {"default", std::string(name)};
  return {std::string(name.substr(0, slash)), std::string(name.substr(slash + 1))};
}

Labels LabelsOf(std::string_view text) {
  Labels labels;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    labels.emplace(item.substr(0, item.find('=')), item.substr(item.find('=') + 1));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
  }
  return labels;
}

PolicyQuery QueryOf(const Model& model, Direction direction, std::string_view of, std::string_view peer,
                    std::string_view packet) {
  PolicyQuery q{.direction = direction, .pod = KeyOf(of)};
  const auto address = ParseIp(peer);
  q.peer = address.ok() ? *address : model.pods.at(KeyOf(peer)).addresses.at(0);
  const std::string_view protocol = packet.substr(0, packet.find('/'));
  q.ip_proto = protocol == "tcp" ? 6 : protocol == "udp" ? 17 : protocol == "sctp" ? 132 : 1;
  if (q.ip_proto != 1) {
    const std::string_view digits = packet.substr(protocol.size() + 1);
    std::from_chars(digits.data(), digits.data() + digits.size(), q.port);
  }
  return q;
}

}  // namespace

Cluster& Cluster::AddNamespace(const std::string& name, std::string_view labels) {
  model.namespaces[name] = {name, LabelsOf(labels)};
  return *this;
}

Pod& Cluster::AddPod(std::string_view name, std::string_view labels, std::string_view address) {
  Pod pod{.key = KeyOf(name), .labels = LabelsOf(labels)};
  if (!address.empty()) pod.addresses.push_back(*ParseIp(address));
  return model.pods[pod.key] = pod;
}

Cluster& Cluster::AddPolicy(std::string_view spec_json, const std::string& ns) {
  nlohmann::json document;
  document["metadata"]["name"] = fmt::format("p{}", model.policies.size());
  document["spec"] = nlohmann::json::parse(spec_json);
  const auto policy = ParseNetworkPolicy(document, ns);
  if (!policy.ok()) throw std::invalid_argument(Message(policy.status()));
  model.policies[policy->key] = *policy;
  return *this;
}

Cluster& Cluster::AddClusterPolicy(std::string_view spec_json, const std::string& name) {
  nlohmann::json document;
  document["metadata"]["name"] = name.empty() ? fmt::format("c{}", model.cluster_policies.size()) : name;
  document["spec"] = nlohmann::json::parse(spec_json);
  const auto policy = ParseClusterNetworkPolicy(document);
  if (!policy.ok()) throw std::invalid_argument(Message(policy.status()));
  model.cluster_policies[policy->name] = *policy;
  return *this;
}

PolicyExplanation Cluster::Explain(Direction direction, std::string_view of, std::string_view peer,
                                   std::string_view packet) const {
  const PolicyQuery q = QueryOf(model, direction, of, peer, packet);
  const auto explanation = ExplainPolicy(Compile(model, {{q.pod}}), model, q);
  const NaiveVerdict naive = NaiveCheck(model, q.pod, direction, q.peer, q.ip_proto, q.port);
  EXPECT_EQ(explanation->verdict.allowed, naive.allowed) << explanation->Text();
  EXPECT_EQ(explanation->verdict.isolated, naive.isolated) << explanation->Text();
  return *explanation;
}

bool Cluster::Ingress(std::string_view of, std::string_view peer, std::string_view packet) const {
  return Explain(Direction::kIngress, of, peer, packet).verdict.allowed;
}

bool Cluster::Egress(std::string_view of, std::string_view peer, std::string_view packet) const {
  return Explain(Direction::kEgress, of, peer, packet).verdict.allowed;
}

bool Cluster::Isolated(std::string_view of, Direction direction) const {
  return Explain(direction, of, "192.0.2.1", "icmp").verdict.isolated;
}

}  // namespace podwire
