#pragma once

#include <string>
#include <string_view>

#include "acl/compiled_policy.h"
#include "acl/explain.h"
#include "acl/model.h"

namespace podwire {

/// A small cluster written down in tests, and what its policies say. Everything must parse.
class Cluster {
 public:
  /// Labels as "app=web,tier=front"; the namespace default needs no call.
  Cluster& AddNamespace(const std::string& name, std::string_view labels = "");
  /// `name` is "pod" (namespace default) or "ns/pod"; a pod without address is only local.
  Pod& AddPod(std::string_view name, std::string_view labels, std::string_view address = "");
  /// A policy from its spec in JSON; names count up: default/p0, p1, ...
  Cluster& AddPolicy(std::string_view spec_json, const std::string& ns = "default");
  /// A ClusterNetworkPolicy; without a name c0, c1, ...
  Cluster& AddClusterPolicy(std::string_view spec_json, const std::string& name = "");

  /// Whether the connection may begin, as far as the pod `of` is concerned. `peer` is an address or a pod;
  /// `packet` is "tcp/80", "udp/53", "sctp/1" or "icmp".
  bool Ingress(std::string_view of, std::string_view peer, std::string_view packet = "tcp/80") const;
  bool Egress(std::string_view of, std::string_view peer, std::string_view packet = "tcp/80") const;
  bool Isolated(std::string_view of, Direction direction) const;
  PolicyExplanation Explain(Direction direction, std::string_view of, std::string_view peer,
                            std::string_view packet) const;

  Model model;
};

}  // namespace podwire
