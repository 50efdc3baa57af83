#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "control/doctor/checks.h"

namespace podwire::doctor {
namespace {

using nlohmann::json;

const std::string kConfigurations = "/etc/cni/net.d";
const std::string kPlugin = "/opt/cni/bin/podwire";

/// The plugins that a configuration file names; none if it is not one.
std::vector<std::string> PluginTypes(const Machine& machine, const std::string& file) {
  const json document = json::parse(machine.Read(file).value_or(""), nullptr, /*allow_exceptions=*/false);
  std::vector<std::string> types;
  const auto add = [&](const json& plugin) {
    if (!plugin.is_object()) return;
    const auto type = plugin.find("type");
    if (type != plugin.end() && type->is_string()) types.push_back(*type);
  };
  add(document);
  if (document.is_object() && document.contains("plugins") && document["plugins"].is_array()) {
    for (const json& plugin : document["plugins"]) add(plugin);
  }
  return types;
}

bool IsConfiguration(const std::string& name) {
  return name.ends_with(".conf") || name.ends_with(".conflist") || name.ends_with(".json");
}

/// Runtimes take the first file; what comes after is Multus' or nobody's.
Finding CheckConfigurations(const Machine& machine) {
  constexpr std::string_view kCheck = "CNI configuration";
  std::string first, first_type;
  bool named = false;
  for (const std::string& name : machine.List(kConfigurations)) {
    if (!IsConfiguration(name)) continue;
    const std::vector<std::string> types = PluginTypes(machine, kConfigurations + "/" + name);
    const bool ours = std::ranges::find(types, "podwire") != types.end();
    named = named || ours;
    if (!first.empty() || types.empty()) continue;
    first = name;
    first_type = ours ? "podwire" : types.front();
  }
  if (!named) {
    return Warn(std::string(kCheck),
                first.empty() ? fmt::format("none in {}: nobody attaches pods", kConfigurations)
                              : fmt::format("{} ({}) attaches pods, not podwire", first, first_type),
                fmt::format("write {}/05-podwire.conflist (docs/cni.md)", kConfigurations));
  }
  if (first_type != "podwire" && first_type != "multus") {
    return Fail(std::string(kCheck),
                fmt::format("runtimes take {} ({}), which comes before podwire's", first, first_type),
                fmt::format("mv {0}/{1} {0}/{1}.off", kConfigurations, first));
  }
  return Pass(std::string(kCheck), fmt::format("{} ({})", first, first_type));
}

/// Interfaces that tell of another network plugin on this node.
struct Leaving {
  std::string_view interface;  ///< a name, or with '*' at its end how one begins
  std::string_view owner;
  std::string_view cure;
};
constexpr std::array kLeavings = {
    Leaving{"flannel.1", "flannel", "take this node out of flannel's DaemonSet, then ip link del flannel.1"},
    Leaving{"flannel-v6.1", "flannel",
            "take this node out of flannel's DaemonSet, then ip link del flannel-v6.1"},
    Leaving{"flannel0", "flannel", "take this node out of flannel's DaemonSet"},
    Leaving{"cni0", "the bridge plugin", "restart its pods under podwire, then ip link del cni0"},
    Leaving{"cali*", "Calico",
            "restart its pods under podwire, and take this node out of calico-node's DaemonSet"},
    Leaving{"vxlan.calico", "Calico",
            "take this node out of calico-node's DaemonSet, then ip link del vxlan.calico"},
    Leaving{"cilium_host", "Cilium",
            "take this node out of Cilium's DaemonSet, then ip link del cilium_host"},
    Leaving{"weave", "Weave", "take this node out of Weave's DaemonSet, then weave reset"},
    Leaving{"antrea-gw0", "Antrea", "take this node out of Antrea's DaemonSet"},
    Leaving{"ovn-k8s-mp0", "OVN-Kubernetes", "take this node out of OVN-Kubernetes' DaemonSet"},
};

bool Matches(const Leaving& leaving, std::string_view interface) {
  if (!leaving.interface.ends_with('*')) return interface == leaving.interface;
  return interface.starts_with(leaving.interface.substr(0, leaving.interface.size() - 1));
}

Findings CheckLeavings(const Machine& machine) {
  Findings findings;
  const std::vector<std::string> interfaces = machine.List("/sys/class/net");
  for (const Leaving& leaving : kLeavings) {
    std::vector<std::string> found;
    std::ranges::copy_if(interfaces, std::back_inserter(found),
                         [&](const std::string& i) { return Matches(leaving, i); });
    if (found.empty()) continue;
    const std::string more = found.size() > 1 ? fmt::format(" and {} more", found.size() - 1) : "";
    findings.push_back(Warn("other CNI",
                            fmt::format("{} has {}{} here: pods of two switches, whose policies do not meet",
                                        leaving.owner, found.front(), more),
                            std::string(leaving.cure)));
  }
  if (findings.empty()) findings.push_back(Pass("other CNI", "no interface of another plugin"));
  return findings;
}

}  // namespace

Findings CheckCni(const Machine& machine, const Config&) {
  Findings findings;
  if (machine.IsProgram(kPlugin)) {
    findings.push_back(Pass("CNI plugin", kPlugin));
  } else {
    findings.push_back(Warn("CNI plugin", fmt::format("no program {}", kPlugin),
                            fmt::format("install -D build/podwire-cni {}", kPlugin)));
  }
  findings.push_back(CheckConfigurations(machine));
  Findings leavings = CheckLeavings(machine);
  std::ranges::move(leavings, std::back_inserter(findings));
  return findings;
}

}  // namespace podwire::doctor
