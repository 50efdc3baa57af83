#include "acl/names.h"
#include "acl/parse_internal.h"
#include "net/status.h"

namespace podwire {
namespace {

absl::StatusOr<LabelRequirement> ParseRequirement(const JsonNode& node) {
  using Operator = LabelRequirement::Operator;
  RETURN_IF_ERROR(node.CheckFields({"key", "operator", "values"}));
  LabelRequirement r;
  const JsonNode key = node.Field("key");
  const JsonNode op = node.Field("operator");
  const JsonNode values = node.Field("values");
  ASSIGN_OR_RETURN(r.key, key.RequiredString("a label key"));
  if (auto s = CheckLabelKey(r.key); !s.ok()) return key.Refuse(s);
  ASSIGN_OR_RETURN(const auto op_text, op.RequiredString("In, NotIn, Exists or DoesNotExist"));
  if (op_text == "In") {
    r.op = Operator::kIn;
  } else if (op_text == "NotIn") {
    r.op = Operator::kNotIn;
  } else if (op_text == "Exists") {
    r.op = Operator::kExists;
  } else if (op_text == "DoesNotExist") {
    r.op = Operator::kDoesNotExist;
  } else {
    return op.Refuse(
        fmt::format("\"{}\" is not an operator, expected In, NotIn, Exists or DoesNotExist", op_text));
  }
  ASSIGN_OR_RETURN(const auto items, values.Items());
  const bool wants_values = r.op == Operator::kIn || r.op == Operator::kNotIn;
  if (wants_values == items.empty()) {
    return values.Refuse(
        fmt::format("{} {}", op_text, wants_values ? "needs at least one value" : "takes no values"));
  }
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(auto value, item.RequiredString("a label value"));
    if (auto s = CheckLabelValue(value); !s.ok()) return item.Refuse(s);
    r.values.push_back(std::move(value));
  }
  return r;
}

}  // namespace

absl::StatusOr<LabelSelector> ParseSelector(const JsonNode& node) {
  RETURN_IF_ERROR(node.CheckFields({"matchLabels", "matchExpressions"}));
  LabelSelector selector;
  ASSIGN_OR_RETURN(selector.match_labels, ParseLabels(node.Field("matchLabels")));
  ASSIGN_OR_RETURN(const auto items, node.Field("matchExpressions").Items());
  for (const JsonNode& item : items) {
    ASSIGN_OR_RETURN(auto requirement, ParseRequirement(item));
    selector.expressions.push_back(std::move(requirement));
  }
  return selector;
}

absl::StatusOr<std::optional<LabelSelector>> ParseOptionalSelector(const JsonNode& node) {
  if (node.absent()) return std::optional<LabelSelector>();
  ASSIGN_OR_RETURN(auto selector, ParseSelector(node));
  return std::optional(std::move(selector));
}

absl::StatusOr<IpPrefix> ParseCidr(const JsonNode& node) {
  ASSIGN_OR_RETURN(const auto text, node.RequiredString("a CIDR (like 10.0.0.0/24)"));
  const auto prefix = ParsePrefix(text);
  if (!prefix.ok()) return node.Refuse(prefix.status());
  return *prefix;
}

}  // namespace podwire
