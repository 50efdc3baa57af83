#include "acl/model.h"

#include <algorithm>

#include <absl/strings/str_join.h>
#include <fmt/format.h>

namespace podwire {

std::string ToString(const ObjectKey& key) {
  return key.ns.empty() ? key.name : fmt::format("{}/{}", key.ns, key.name);
}

bool LabelRequirement::Matches(const Labels& labels) const {
  const auto it = labels.find(key);
  const bool present = it != labels.end();
  const auto listed = [&] { return std::find(values.begin(), values.end(), it->second) != values.end(); };
  switch (op) {
    case Operator::kIn:
      return present && listed();
    case Operator::kNotIn:
      return !present || !listed();
    case Operator::kExists:
      return present;
    case Operator::kDoesNotExist:
      return !present;
  }
  return false;
}

bool LabelSelector::Matches(const Labels& labels) const {
  for (const auto& [key, value] : match_labels) {
    const auto it = labels.find(key);
    if (it == labels.end() || it->second != value) return false;
  }
  return std::all_of(expressions.begin(), expressions.end(),
                     [&](const LabelRequirement& r) { return r.Matches(labels); });
}

namespace {
template <class T>
void SortUnique(std::vector<T>& v) {
  std::sort(v.begin(), v.end());
  v.erase(std::unique(v.begin(), v.end()), v.end());
}
}  // namespace

LabelSelector LabelSelector::Normalized() const {
  LabelSelector n = *this;
  for (LabelRequirement& r : n.expressions) SortUnique(r.values);
  SortUnique(n.expressions);
  return n;
}

std::string ToString(const LabelRequirement& r) {
  switch (r.op) {
    case LabelRequirement::Operator::kIn:
      return fmt::format("{} in ({})", r.key, absl::StrJoin(r.values, ","));
    case LabelRequirement::Operator::kNotIn:
      return fmt::format("{} notin ({})", r.key, absl::StrJoin(r.values, ","));
    case LabelRequirement::Operator::kExists:
      return r.key;
    case LabelRequirement::Operator::kDoesNotExist:
      return "!" + r.key;
  }
  return {};
}

std::string ToString(const LabelSelector& selector) {
  if (selector.empty()) return "everything";
  std::vector<std::string> parts;
  for (const auto& [key, value] : selector.match_labels) parts.push_back(fmt::format("{}={}", key, value));
  for (const LabelRequirement& r : selector.expressions) parts.push_back(ToString(r));
  return absl::StrJoin(parts, ",");
}

std::string_view ToString(L4Protocol protocol) {
  switch (protocol) {
    case L4Protocol::kTcp:
      return "TCP";
    case L4Protocol::kUdp:
      return "UDP";
    case L4Protocol::kSctp:
      return "SCTP";
  }
  return "?";
}

std::string_view ToString(Direction direction) {
  return direction == Direction::kIngress ? "ingress" : "egress";
}

std::string_view ToString(RuleAction action) {
  switch (action) {
    case RuleAction::kAccept:
      return "Accept";
    case RuleAction::kDeny:
      return "Deny";
    case RuleAction::kPass:
      return "Pass";
  }
  return "?";
}

std::string_view ToString(Tier tier) {
  switch (tier) {
    case Tier::kAdmin:
      return "Admin";
    case Tier::kNetworkPolicy:
      return "NetworkPolicy";
    case Tier::kBaseline:
      return "Baseline";
  }
  return "?";
}

bool IpBlock::Contains(const IpAddress& a) const {
  return cidr.Contains(a) &&
         std::none_of(except.begin(), except.end(), [&](const IpPrefix& p) { return p.Contains(a); });
}

Labels Model::NamespaceLabels(std::string_view name) const {
  const auto it = namespaces.find(name);
  Labels labels = it == namespaces.end() ? Labels{} : it->second.labels;
  labels.insert_or_assign(std::string(kNamespaceNameLabel), std::string(name));
  return labels;
}

}  // namespace podwire
