#include "acl/pod_groups.h"

#include <algorithm>
#include <functional>

#include "acl/stable_hash.h"

namespace podwire {
namespace {

bool IsPeer(const Pod* pod) { return pod != nullptr && pod->IsPeer() && !pod->addresses.empty(); }

}  // namespace

void PodGroups::Change(const Pod* before, const Pod* after) {
  const bool was = IsPeer(before), is = IsPeer(after);
  if (was && is && before->addresses == after->addresses && before->labels == after->labels &&
      before->ports == after->ports && before->key.ns == after->key.ns)
    return;
  if (is) {  // first, so that an address which stays does not lose its group in between
    auto& [pod, claims] =
        *templates_.try_emplace(PodTemplate{after->key.ns, after->labels, after->ports}).first;
    claims += static_cast<uint32_t>(after->addresses.size());
    for (const IpAddress& a : after->addresses) Claim(a, &pod, true);
  }
  if (was) {
    const auto it = templates_.find(PodTemplate{before->key.ns, before->labels, before->ports});
    for (const IpAddress& a : before->addresses) Claim(a, &it->first, false);
    it->second -= static_cast<uint32_t>(before->addresses.size());
    if (it->second == 0) templates_.erase(it);
  }
}

void PodGroups::Claim(const IpAddress& a, const PodTemplate* pod, bool begins) {
  const PodGroupId before = addresses_.Find(a);
  Templates claims;
  if (const auto it = disputed_.find(a); it != disputed_.end()) {
    claims = it->second;
  } else if (before != kNoPodGroup) {
    claims = group(before).pods;
  }
  if (begins) {
    claims.push_back(pod);
  } else {
    claims.erase(std::find(claims.begin(), claims.end(), pod));
  }
  if (claims.size() > 1) {
    disputed_.insert_or_assign(a, claims);
  } else {
    disputed_.erase(a);
  }
  const PodGroupId after = claims.empty() ? kNoPodGroup : GroupOf(std::move(claims));
  if (after == before) return;
  moves_.try_emplace(a, before);
  if (after != kNoPodGroup) {
    Join(after, a, 1);
    addresses_.Set(a, after);
  } else {
    addresses_.Erase(a);
  }
  if (before == kNoPodGroup) return;
  Join(before, a, ~uint64_t{0});  // minus once
  if (group(before).addresses == 0) Free(before);
}

void PodGroups::Join(PodGroupId id, const IpAddress& a, uint64_t sign) {
  PodGroup& g = groups_[id.value()];
  const uint64_t hash = HashAddress(a);
  g.members += sign * hash;
  for (auto& [port, sum] : g.serving) sum += sign * CombineHash(hash, port);
  g.addresses += static_cast<uint32_t>(sign);
  touched_.insert(id);
}

PodGroupId PodGroups::GroupOf(Templates pods) {
  std::sort(pods.begin(), pods.end(), std::less<>());
  pods.erase(std::unique(pods.begin(), pods.end()), pods.end());
  const auto [it, added] = ids_.try_emplace(pods);
  if (!added) return it->second;
  if (free_.empty()) {
    free_.emplace_back(static_cast<uint32_t>(groups_.size()));
    groups_.emplace_back();
  }
  const PodGroupId id = it->second = free_.back();
  free_.pop_back();
  PodGroup& g = groups_[id.value()];
  std::vector<PortKey> keys;
  for (const PodTemplate* pod : pods) {
    by_namespace_[pod->ns].insert(id);
    for (const ContainerPort& p : pod->ports) {
      if (!p.name.empty()) keys.push_back(MakePortKey(static_cast<uint8_t>(p.protocol), p.number));
    }
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  for (const PortKey key : keys) g.serving.emplace_back(key, 0);
  g.pods = std::move(pods);
  return id;
}

void PodGroups::Free(PodGroupId id) {
  PodGroup& g = groups_[id.value()];
  ids_.erase(g.pods);
  for (const PodTemplate* pod : g.pods) {
    const auto it = by_namespace_.find(pod->ns);
    if (it == by_namespace_.end()) continue;  // another pod of the namespace was before
    it->second.erase(id);
    if (it->second.empty()) by_namespace_.erase(it);
  }
  g = {};
  free_.push_back(id);
}

}  // namespace podwire
