#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "acl/model.h"

namespace podwire {

/// Random clusters over a universe so small that matches, overlaps and near misses are common.
class RandomModel {
 public:
  explicit RandomModel(uint64_t seed) : rng_(seed) {}

  Model Make();
  /// One change such as a watch delivers: an object added, changed or removed. Says what it did.
  std::string Change(Model& model);
  /// The address of a pod of the model or one near it.
  IpAddress Address(const Model& model);
  uint8_t Protocol();
  uint16_t Port();
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(rng_() % n); }

 private:
  bool Chance(unsigned percent) { return Below(100) < percent; }
  std::string NamespaceName() { return std::string(1, static_cast<char>('a' + Below(3))); }
  std::string PodName() { return fmt::format("p{}", Below(8)); }
  Labels SomeLabels();
  LabelSelector Selector();
  IpAddress AnyAddress();
  IpPrefix Prefix(const IpAddress& near, uint8_t min_length);
  Pod MakePod(const ObjectKey& key);
  PolicyPeer Peer();
  PolicyPort MakePort();
  PolicyRule Rule();
  NetworkPolicy MakePolicy(const ObjectKey& key);
  PolicyPeer ClusterPeer(bool egress);
  PolicyRule ClusterRule(bool egress);
  ClusterNetworkPolicy MakeClusterPolicy(const std::string& name);
  ClusterNode MakeNode();

  std::mt19937_64 rng_;
};

/// PODWIRE_SEED from the environment, else a random one; printed, so that a failure can be repeated.
uint64_t TestSeed();

}  // namespace podwire
