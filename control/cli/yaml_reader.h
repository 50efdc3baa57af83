#pragma once

#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace podwire::cli {

struct Document {
  int line = 1;  // where its value starts
  nlohmann::json json;
};

/// All documents of a YAML text, empty ones as null. Throws DocumentFault.
std::vector<Document> ReadYaml(std::string_view text);

}  // namespace podwire::cli
