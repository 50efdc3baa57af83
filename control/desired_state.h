#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "acl/compiled_policy.h"
#include "acl/model.h"
#include "acl/policy_compiler.h"
#include "control/attachment.h"
#include "control/objects.h"
#include "control/store.h"
#include "net/id.h"
#include "overlay/net_conf.h"
#include "overlay/node.h"
#include "overlay/subnet_plan.h"

namespace podwire {

/// An attachment with what it has in this run of podwired.
struct LiveAttachment {
  Attachment record;
  EndpointId slot = kNoEndpoint;  ///< its endpoint's, kept until its connections are forgotten
  PortId port = kNoPort;          ///< kNoPort: not (or no longer) in the switch
  std::string trouble;            ///< why it does not work; empty: it does
};

/// The node's pod subnets: the first of its podCIDRs of each family.
PodSubnets PodCidrsOf(const Node& node);

/// What the switch is to enforce and forward: objects as applied, attachments as recorded, and the policy
/// model that follows from both. Plain data; the owner serializes edits.
class DesiredState {
 public:
  using PlannedSubnets = std::map<std::string, PodSubnets>;

  /// `network`: the configuration file's, which an applied ConfigMap overrides.
  DesiredState(std::string node, std::optional<NetConf> network)
      : node_(std::move(node)), file_network_(std::move(network)) {}

  const std::string& node() const { return node_; }
  const Model& model() const { return model_; }
  const std::map<std::string, Node>& nodes() const { return nodes_; }
  /// Every applied object's JSON text.
  const std::map<ObjectId, std::string>& objects() const { return objects_; }
  const std::map<AttachmentKey, LiveAttachment>& attachments() const { return attachments_; }
  const PlannedSubnets& planned_subnets() const { return planned_; }
  /// nullptr: none yet.
  const NetConf* network() const;
  /// This node's Node object; nullptr: none applied.
  const Node* self() const;
  /// Of each family that the network has the podCIDR, else the planned subnet.
  PodSubnets SubnetsOf(const std::string& node) const;
  const LiveAttachment* FindAttachment(const AttachmentKey& key) const;
  /// Counts up whenever the policy model or the set of local pods changes.
  uint64_t policy_revision() const { return policy_revision_; }
  /// What the policy model says of LocalPods; at the cost of what has changed since the last call. The rest
  /// of the state may be read meanwhile.
  CompiledPolicy CompilePolicy() { return compiler_->Compile(model_, LocalPods()); }
  /// Pods attached here and in the switch, each once.
  std::vector<ObjectKey> LocalPods() const;

  /// Of a namespace.
  PolicyLogLevel PolicyLogOf(const std::string& ns) const;

  void Put(const ParsedObject& object);
  void Remove(const ObjectId& id);
  /// What goes when `id` does: itself (if it exists) and, with a namespace, its pods and policies.
  std::vector<ObjectId> WhatGoesWith(const ObjectId& id) const;
  void SetPlannedSubnets(PlannedSubnets planned) { planned_ = std::move(planned); }
  void PutAttachment(LiveAttachment a);
  void RemoveAttachment(const AttachmentKey& key);

 private:
  void RefreshPod(const ObjectKey& key);
  /// nullopt: there is none.
  void SetPod(const ObjectKey& key, std::optional<Pod> pod);
  void SetNode(const std::string& name, std::optional<ClusterNode> node);

  std::string node_;
  std::optional<NetConf> file_network_, applied_network_;
  std::map<ObjectId, std::string> objects_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, PolicyLogLevel> policy_logs_;  // by namespace; those that are not kOff
  std::map<ObjectKey, Pod> manifests_;  // pods as applied; the model's have their attachments' addresses
  std::map<AttachmentKey, LiveAttachment> attachments_;
  std::map<ObjectKey, std::set<AttachmentKey>> attachments_of_;
  PlannedSubnets planned_;
  Model model_;
  std::unique_ptr<PolicyCompiler> compiler_ =
      std::make_unique<PolicyCompiler>();  // told of each change of it
  uint64_t policy_revision_ = 1;
};

}  // namespace podwire
