#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "acl/model.h"
#include "control/store.h"
#include "overlay/net_conf.h"
#include "overlay/node.h"
#include "switch/tables.h"

namespace podwire {

/// "Pod" for any name that kubectl takes: pod, pods, po, Pod. nullopt for kinds that podwire does not know.
std::optional<std::string> CanonicalKind(std::string_view name);
/// Whether objects of this canonical kind live in a namespace.
bool IsNamespaced(std::string_view kind);

/// On a Namespace: which verdicts on new connections of its pods are logged, "denied" or "all".
inline constexpr std::string_view kPolicyLogAnnotation = "podwire.io/policy-log";

/// An object of an Apply request, as values and as text.
struct ParsedObject {
  size_t document = 0;  ///< index in the request
  ObjectId id;
  std::string json;  ///< whole, its namespace filled in
  std::variant<Node, Namespace, Pod, NetworkPolicy, ClusterNetworkPolicy, NetConf> value;
  PolicyLogLevel policy_log = PolicyLogLevel::kOff;  ///< of a Namespace: its annotation's
  std::vector<std::string> warnings;
};

/// Why a document was refused.
struct ObjectProblem {
  size_t document = 0;
  ObjectId id;          ///< as far as it could be read
  std::string field;    ///< spec.ingress[0].from[1].ipBlock.cidr; may be empty
  std::string message;  ///< without the field
};
/// "document 2: NetworkPolicy dev/web: spec.podSelector: ..."
std::string ToString(const ObjectProblem& p);

struct ParsedObjects {
  std::vector<ParsedObject> objects;  ///< in the request's order, Lists opened
  std::vector<ObjectProblem> problems;
};

/// Parses every document (JSON text of an object or a List) and collects all problems: the caller applies
/// everything or nothing.
ParsedObjects ParseObjects(std::span<const std::string> documents, std::string_view default_namespace);

}  // namespace podwire
