#pragma once

#include <cstdint>
#include <vector>

#include "acl/model.h"

namespace podwire::bench {

/// A cluster, and how many of its pods are this node's: the first `local_each` of the first
/// `local_namespaces`.
struct ClusterShape {
  const char* name;
  uint32_t namespaces, pods_each, policies_each, local_each, local_namespaces;
};

inline constexpr ClusterShape kNoPolicy = {"0", 10, 10000, 0, 50, 10};
inline constexpr ClusterShape kTenPolicies = {"10", 1, 100, 10, 100, 1};
/// 100,000 peers, 10,000 policies; a thousand of them in each local pod's namespace.
inline constexpr ClusterShape kTenThousandPolicies = {"10k", 10, 10000, 1000, 50, 10};

/// Pods from 10.0.0.1 on, namespace after namespace; each policy has four kinds of peers, single ports, a
/// range and a named port, both ways, and selects a tenth of its namespace or all of it.
Model MakeModel(const ClusterShape& shape);

std::vector<ObjectKey> LocalPods(const ClusterShape& shape);

}  // namespace podwire::bench
