// Random network configurations, CNI_ARGS and prevResults: never a crash, and what is accepted keeps its
// promises.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/cni/config.h"
#include "control/cni/environment.h"
#include "control/cni/error.h"
#include "control/cni/result.h"
#include "control/cni/version.h"

namespace podwire::cni {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

/// A refusal has one of the specification's codes and prints as JSON.
void CheckRefusal(const absl::Status& status) {
  const int code = CodeOf(status);
  Require(code == 1 || code == 4 || code == 6 || code == 7);
  Require(nlohmann::json::accept(Dump(ErrorJson("1.1.0", status))));
}

/// Written in any version and read again, a result is the same.
void CheckResult(const nlohmann::json& json) {
  const auto result = ParseResult(json, "prevResult");
  if (!result.ok()) return CheckRefusal(result.status());
  for (const auto version : kVersions) {
    const auto written = ToJson(*result, version);
    const auto read = ParseResult(nlohmann::json::parse(Dump(written)), "result");
    Require(read.ok());
    Require(Dump(ToJson(*read, version)) == Dump(written));
  }
}

void CheckConfig(std::string_view text) {
  (void)PeekVersion(text);
  const auto conf = ParseNetConf(text);
  if (!conf.ok()) return CheckRefusal(conf.status());
  Require(VersionRank(conf->cni_version) >= 0);
  Require(conf->mtu == 0 || (conf->mtu >= 576 && conf->mtu <= 65535));
  Require(conf->attach == "tap" || conf->attach == "vhost-user");
  Require(conf->ipam_type.find('/') == std::string::npos);
  if (!conf->prev_result.is_null()) CheckResult(conf->prev_result);
}

void CheckEnvironment(const std::string& text) {
  const auto env = ReadEnvironment([&](const char* name) -> const char* {
    const std::string_view variable = name;
    if (variable == "CNI_COMMAND") return "ADD";
    return variable == "CNI_PATH" ? nullptr : text.c_str();
  });
  if (!env.ok()) return CheckRefusal(env.status());
  Require(IsIdentifier(env->container_id) && env->ifname.size() < 16);
}

}  // namespace
}  // namespace podwire::cni

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  podwire::cni::CheckConfig(text);
  podwire::cni::CheckEnvironment(text);
  return 0;
}
