#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "control/objects.h"

namespace podwire {

inline constexpr const char* kNamespace =
    R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"dev"}})";

/// A Node document; an empty `cidr`: without a pod subnet.
inline std::string NodeJson(const std::string& name, const std::string& cidr) {
  const std::string spec = cidr.empty() ? "{}" : R"({"podCIDR":")" + cidr + R"("})";
  return R"({"apiVersion":"v1","kind":"Node","metadata":{"name":")" + name + R"("},"spec":)" + spec + "}";
}

/// The object of one good document.
inline ParsedObject One(const std::string& json) {
  const std::vector<std::string> documents{json};
  ParsedObjects parsed = ParseObjects(documents, "default");
  EXPECT_TRUE(parsed.problems.empty()) << (parsed.problems.empty() ? "" : ToString(parsed.problems[0]));
  return parsed.objects.at(0);
}

}  // namespace podwire
