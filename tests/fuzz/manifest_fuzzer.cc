// Random manifests: YAML and JSON to objects, and those to the policy model. Never a crash; what is accepted
// is JSON that can be written and read again.

#include <cstdint>
#include <cstdlib>
#include <string>

#include <nlohmann/json.hpp>

#include "acl/parse.h"
#include "control/cli/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto manifests = podwire::cli::ParseManifests(text, "fuzz");
  if (!manifests.ok()) return 0;
  for (const auto& manifest : *manifests) {
    if (manifest.kind().empty()) std::abort();
    if (!nlohmann::json::accept(manifest.json.dump())) std::abort();
    (void)podwire::ParseNetworkPolicy(manifest.json, "default");
    (void)podwire::ParseClusterNetworkPolicy(manifest.json);
    (void)podwire::ParsePod(manifest.json, "default");
    (void)podwire::ParseNamespace(manifest.json);
  }
  return 0;
}
