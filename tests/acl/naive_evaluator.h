#pragma once

#include "acl/model.h"

namespace podwire {

/// NetworkPolicy v1 read from the API text and nothing else: scans every policy, rule, peer and pod. Shares
/// only the model's types with acl/.
struct NaiveVerdict {
  bool isolated = false;
  bool allowed = true;
};

/// For a connection between `pod` (in the model) and `peer`: source for ingress, destination for egress.
NaiveVerdict NaiveCheck(const Model& model, const ObjectKey& pod, Direction direction, const IpAddress& peer,
                        uint8_t ip_proto, uint16_t port);

}  // namespace podwire
