#pragma once

#include "acl/model.h"

namespace podwire {

/// NetworkPolicy v1 and ClusterNetworkPolicy v1alpha2 read from the API's text and nothing else: scans every
/// policy, rule, peer and pod. Shares only the model's types with acl/.
struct NaiveVerdict {
  bool isolated = false;  ///< NetworkPolicies decided
  bool allowed = true;
};

/// For a connection between `pod` (in the model) and `peer`: source for ingress, destination for egress.
NaiveVerdict NaiveCheck(const Model& model, const ObjectKey& pod, Direction direction, const IpAddress& peer,
                        uint8_t ip_proto, uint16_t port);

}  // namespace podwire
