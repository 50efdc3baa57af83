#pragma once

#include <optional>
#include <string>
#include <vector>

#include <absl/status/statusor.h>

#include "acl/explain.h"
#include "control/controller.h"
#include "switch/decide.h"

namespace podwire {

struct ExplainQuery {
  std::string from;  ///< namespace/name, name, or address
  std::string to;
  uint8_t proto = 6;  ///< ICMP means ICMPv6 between IPv6 addresses
  uint16_t port = 0;
  uint16_t src_port = 0;
  std::string default_namespace = "default";
};

/// The rule that decided at one end.
struct DecidingRule {
  PolicyInfo policy;
  uint32_t rule = 0;
  std::string name;  ///< may be empty
  RuleAction action = RuleAction::kAccept;
};

struct ExplainResult {
  Headers headers;
  Decision decision;
  Trace steps;  ///< policy steps carry the traces of acl/explain.h as details
  std::optional<DecidingRule> egress, ingress;
  std::vector<std::string> isolating;  ///< ns/name of the NetworkPolicies that denied
};

/// Runs a made-up first packet of a connection through decide(), from where it would come in; between two
/// pods of both families by IPv4. NotFound names a pod that does not exist, FailedPrecondition one without an
/// address.
absl::StatusOr<ExplainResult> Explain(const ControlState& state, const Tables& tables,
                                      const ExplainQuery& query);

/// The names of the policies that isolate a pod.
std::vector<std::string> IsolatingPolicies(const Model& model, const ObjectKey& pod, Direction direction);

}  // namespace podwire
