// Controller's part for applied objects.

#include <algorithm>
#include <set>

#include "control/controller.h"
#include "control/node_subnets.h"
#include "net/status.h"

namespace podwire {
namespace {

/// The nodes and the network as they would be.
struct Projection {
  std::map<std::string, Node> nodes;
  const NetConf* network;
};

Projection Project(const DesiredState& desired, const std::vector<ParsedObject>& objects) {
  Projection p{desired.nodes(), desired.network()};
  for (const ParsedObject& o : objects) {
    if (const auto* node = std::get_if<Node>(&o.value)) p.nodes.insert_or_assign(o.id.name, *node);
    if (const auto* conf = std::get_if<NetConf>(&o.value)) p.network = conf;
  }
  return p;
}

/// This node's planned subnets, if pods have addresses of them: they cannot change under them.
DesiredState::PlannedSubnets Pinned(const DesiredState& desired) {
  const auto it = desired.planned_subnets().find(desired.node());
  if (it == desired.planned_subnets().end()) return {};
  for (const auto& [key, a] : desired.attachments()) {
    for (const InterfaceAddress& address : a.record.addresses) {
      const auto& subnet = it->second.Of(address.address.family());
      if (subnet && subnet->Contains(address.address)) return {*it};
    }
  }
  return {};
}

absl::Status Refusal(const std::vector<ObjectProblem>& problems) {
  std::string text;
  for (const ObjectProblem& p : problems) {
    if (!text.empty()) text += '\n';
    text += ToString(p);
  }
  return absl::InvalidArgumentError(text);
}

bool TouchesNodes(const std::vector<ParsedObject>& objects) {
  return std::ranges::any_of(objects, [](const ParsedObject& o) {
    return std::holds_alternative<Node>(o.value) || std::holds_alternative<NetConf>(o.value);
  });
}

/// The document that gave `node`, to blame.
ObjectProblem Blame(const std::vector<ParsedObject>& objects, const NodeProblem& p) {
  for (const ParsedObject& o : objects) {
    if (o.id.kind == "Node" && o.id.name == p.node) return {o.document, o.id, p.field, p.message};
  }
  for (const ParsedObject& o : objects) {
    if (std::holds_alternative<NetConf>(o.value)) {
      return {o.document, o.id, "data.net-conf.json",
              fmt::format("node {}: {}: {}", p.node, p.field, p.message)};
    }
  }
  return {0, {"Node", "", p.node}, p.field, p.message};
}

}  // namespace

absl::Status Controller::Prepare(ParsedObjects& parsed, DesiredState::PlannedSubnets& planned, bool dry_run) {
  const DesiredState& desired = state_.desired;
  planned = desired.planned_subnets();
  if (TouchesNodes(parsed.objects)) {
    const Projection p = Project(desired, parsed.objects);
    for (const NodeProblem& problem : CheckPodCidrs(p.nodes, p.network, Pinned(desired))) {
      parsed.problems.push_back(Blame(parsed.objects, problem));
    }
    if (!parsed.problems.empty()) return Refusal(parsed.problems);
    std::vector<std::string> wanted;
    for (const auto& [name, node] : p.nodes) wanted.push_back(name);
    if (planned.contains(desired.node())) wanted.push_back(desired.node());
    if (p.network != nullptr) {
      ASSIGN_OR_RETURN(planned, PlanSubnets(p.nodes, wanted, *p.network, planned));
    }
  }
  if (dry_run) return absl::OkStatus();
  ObjectEdit edit{.planned_subnets = planned == desired.planned_subnets() ? nullptr : &planned};
  for (const ParsedObject& o : parsed.objects) edit.put.push_back({o.id, o.json});
  return store_.WriteObjects(edit);
}

absl::StatusOr<std::vector<ObjectResult>> Controller::Apply(ParsedObjects& parsed, bool dry_run) {
  if (!parsed.problems.empty()) return Refusal(parsed.problems);
  std::vector<ObjectResult> results;
  DesiredState::PlannedSubnets planned;
  const auto compare = [&] {
    std::set<ObjectId> seen;
    for (const ParsedObject& o : parsed.objects) {
      const auto before = state_.desired.objects().find(o.id);
      const bool exists = before != state_.desired.objects().end();
      const bool again = !seen.insert(o.id).second;
      const bool same = !again && exists && before->second == o.json;
      const auto outcome = same              ? ObjectOutcome::kUnchanged
                           : exists || again ? ObjectOutcome::kReplaced
                                             : ObjectOutcome::kCreated;
      results.push_back({o.id, outcome, o.warnings});
    }
  };
  const auto changes = [&] {
    return std::ranges::any_of(results, [](const auto& r) { return r.outcome != ObjectOutcome::kUnchanged; });
  };
  const auto prepare = [&]() -> absl::Status {
    compare();
    return changes() || dry_run ? Prepare(parsed, planned, dry_run) : absl::OkStatus();
  };
  const auto commit = [&] {
    if (dry_run || !changes()) return;
    for (const ParsedObject& o : parsed.objects) state_.desired.Put(o);
    state_.desired.SetPlannedSubnets(std::move(planned));
  };
  RETURN_IF_ERROR(Run({.prepare = prepare, .commit = commit, .publish = !dry_run}));
  return results;
}

absl::StatusOr<std::vector<ObjectResult>> Controller::Delete(const std::vector<ObjectId>& ids) {
  std::vector<ObjectResult> results;
  std::vector<ObjectId> doomed;
  std::set<ObjectId> seen;
  DesiredState::PlannedSubnets planned;
  const auto prepare = [&]() -> absl::Status {
    planned = state_.desired.planned_subnets();
    for (const ObjectId& id : ids) {
      const std::vector<ObjectId> all = state_.desired.WhatGoesWith(id);
      if (all.empty()) results.push_back({id, ObjectOutcome::kUnchanged, {}});
      for (const ObjectId& one : all) {
        if (!seen.insert(one).second) continue;
        doomed.push_back(one);
        results.push_back({one, ObjectOutcome::kDeleted, {}});
        if (one.kind == "Node" && one.name != state_.desired.node()) planned.erase(one.name);
      }
    }
    return doomed.empty() ? absl::OkStatus()
                          : store_.WriteObjects({.remove = doomed, .planned_subnets = &planned});
  };
  const auto commit = [&] {
    for (const ObjectId& id : doomed) state_.desired.Remove(id);
    state_.desired.SetPlannedSubnets(std::move(planned));
  };
  RETURN_IF_ERROR(Run({.prepare = prepare, .commit = commit}));
  return results;
}

}  // namespace podwire
