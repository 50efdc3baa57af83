#include "control/desired_state.h"

#include <algorithm>

namespace podwire {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;  // clang 14 does not deduce aggregates

ObjectKey KeyOf(const ObjectId& id) { return {id.ns, id.name}; }

}  // namespace

PodSubnets PodCidrsOf(const Node& node) {
  PodSubnets subnets;
  for (const IpPrefix& p : node.pod_cidrs) {
    std::optional<IpPrefix>& own = subnets.Of(p.address.family());
    if (!own) own = p;
  }
  return subnets;
}

const NetConf* DesiredState::network() const {
  if (applied_network_) return &*applied_network_;
  return file_network_ ? &*file_network_ : nullptr;
}

const Node* DesiredState::self() const {
  const auto it = nodes_.find(node_);
  return it == nodes_.end() ? nullptr : &it->second;
}

PodSubnets DesiredState::SubnetsOf(const std::string& node) const {
  PodSubnets subnets;
  if (const auto it = nodes_.find(node); it != nodes_.end()) subnets = PodCidrsOf(it->second);
  if (const auto it = planned_.find(node); it != planned_.end()) {
    if (!subnets.v4) subnets.v4 = it->second.v4;
    if (!subnets.v6) subnets.v6 = it->second.v6;
  }
  if (const NetConf* conf = network(); conf != nullptr) {
    if (!conf->v4) subnets.v4.reset();
    if (!conf->v6) subnets.v6.reset();
  }
  return subnets;
}

const LiveAttachment* DesiredState::FindAttachment(const AttachmentKey& key) const {
  const auto it = attachments_.find(key);
  return it == attachments_.end() ? nullptr : &it->second;
}

PolicyLogLevel DesiredState::PolicyLogOf(const std::string& ns) const {
  const auto it = policy_logs_.find(ns);
  return it == policy_logs_.end() ? PolicyLogLevel::kOff : it->second;
}

std::vector<ObjectKey> DesiredState::LocalPods() const {
  std::vector<ObjectKey> pods;
  for (const auto& [pod, keys] : attachments_of_) {
    const bool in_switch =
        std::ranges::any_of(keys, [&](const auto& k) { return attachments_.at(k).port != kNoPort; });
    if (in_switch) pods.push_back(pod);
  }
  return pods;
}

void DesiredState::Put(const ParsedObject& object) {
  objects_.insert_or_assign(object.id, object.json);
  std::visit(Overloaded{
                 [&](const Node& n) {
                   SetNode(object.id.name, ClusterNode{n.labels, n.addresses});
                   nodes_.insert_or_assign(object.id.name, n);
                 },
                 [&](const Namespace& n) {
                   model_.namespaces.insert_or_assign(object.id.name, n);
                   compiler_->ChangeNamespace(object.id.name);
                   policy_logs_.erase(object.id.name);
                   if (object.policy_log != PolicyLogLevel::kOff)
                     policy_logs_.emplace(object.id.name, object.policy_log);
                 },
                 [&](const Pod& p) {
                   manifests_.insert_or_assign(p.key, p);
                   RefreshPod(p.key);
                 },
                 [&](const NetworkPolicy& p) {
                   model_.policies.insert_or_assign(p.key, p);
                   compiler_->ChangePolicy(p.key);
                 },
                 [&](const ClusterNetworkPolicy& p) {
                   model_.cluster_policies.insert_or_assign(p.name, p);
                   compiler_->ChangeClusterPolicy(p.name);
                 },
                 [&](const NetConf& c) { applied_network_ = c; },
             },
             object.value);
  ++policy_revision_;
}

void DesiredState::Remove(const ObjectId& id) {
  if (objects_.erase(id) == 0) return;
  if (id.kind == "Node") {
    nodes_.erase(id.name);
    SetNode(id.name, std::nullopt);
  } else if (id.kind == "Namespace") {
    model_.namespaces.erase(id.name);
    compiler_->ChangeNamespace(id.name);
    policy_logs_.erase(id.name);
  } else if (id.kind == "Pod") {
    manifests_.erase(KeyOf(id));
    RefreshPod(KeyOf(id));
  } else if (id.kind == "NetworkPolicy") {
    model_.policies.erase(KeyOf(id));
    compiler_->ChangePolicy(KeyOf(id));
  } else if (id.kind == "ClusterNetworkPolicy") {
    model_.cluster_policies.erase(id.name);
    compiler_->ChangeClusterPolicy(id.name);
  } else {
    applied_network_.reset();
  }
  ++policy_revision_;
}

void DesiredState::SetPod(const ObjectKey& key, std::optional<Pod> pod) {
  const auto it = model_.pods.find(key);
  compiler_->ChangePod(it == model_.pods.end() ? nullptr : &it->second, pod ? &*pod : nullptr);
  if (!pod) {
    model_.pods.erase(key);
  } else if (it == model_.pods.end()) {
    model_.pods.emplace(key, *std::move(pod));
  } else {
    it->second = *std::move(pod);
  }
}

void DesiredState::SetNode(const std::string& name, std::optional<ClusterNode> node) {
  const auto it = model_.nodes.find(name);
  if (it != model_.nodes.end() && node && it->second == *node) return;
  compiler_->ChangeNodes();
  if (node) {
    model_.nodes.insert_or_assign(name, *std::move(node));
  } else {
    model_.nodes.erase(name);
  }
}

std::vector<ObjectId> DesiredState::WhatGoesWith(const ObjectId& id) const {
  std::vector<ObjectId> ids;
  if (id.kind == "Namespace" && objects_.contains(id)) {
    for (const char* kind : {"Pod", "NetworkPolicy"}) {
      for (auto it = objects_.lower_bound({kind, id.name, ""});
           it != objects_.end() && it->first.kind == kind && it->first.ns == id.name; ++it) {
        ids.push_back(it->first);
      }
    }
  }
  if (objects_.contains(id)) ids.push_back(id);
  return ids;
}

void DesiredState::PutAttachment(LiveAttachment a) {
  const ObjectKey pod = a.record.pod;
  attachments_of_[pod].insert(a.record.key);
  const AttachmentKey key = a.record.key;
  attachments_.insert_or_assign(key, std::move(a));
  RefreshPod(pod);
}

void DesiredState::RemoveAttachment(const AttachmentKey& key) {
  const auto it = attachments_.find(key);
  if (it == attachments_.end()) return;
  const ObjectKey pod = it->second.record.pod;
  attachments_.erase(it);
  const auto keys = attachments_of_.find(pod);
  keys->second.erase(key);
  if (keys->second.empty()) attachments_of_.erase(keys);
  RefreshPod(pod);
}

/// A pod of this node has the addresses of its attachments, whatever its manifest's status says: the manifest
/// may be older than the attachment, and its old address may be another pod's by now.
void DesiredState::RefreshPod(const ObjectKey& key) {
  ++policy_revision_;
  const auto manifest = manifests_.find(key);
  std::vector<IpAddress> attached;
  bool host = false;
  if (const auto keys = attachments_of_.find(key); keys != attachments_of_.end()) {
    for (const AttachmentKey& k : keys->second) {
      const LiveAttachment& a = attachments_.at(k);
      host = host || a.record.host;
      if (a.port == kNoPort) continue;
      for (const InterfaceAddress& address : a.record.addresses) attached.push_back(address.address);
    }
  }
  if (manifest == manifests_.end()) {
    if (attached.empty()) return SetPod(key, std::nullopt);
    return SetPod(
        key, Pod{.key = key, .addresses = std::move(attached), .node_name = node_, .host_network = host});
  }
  Pod pod = manifest->second;
  pod.host_network = pod.host_network || host;
  const bool elsewhere = !pod.node_name.empty() && pod.node_name != node_;
  const bool here = pod.node_name == node_;
  if (!elsewhere && !pod.host_network && (here || !attached.empty())) pod.addresses = std::move(attached);
  SetPod(key, std::move(pod));
}

}  // namespace podwire
