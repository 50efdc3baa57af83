#include <algorithm>

#include <fmt/format.h>

#include "control/doctor/checks.h"
#include "overlay/routes.h"

namespace podwire::doctor {
namespace {

constexpr uint16_t kMinIpv6Mtu = 1280;  // RFC 8200 section 5

const PortConfig* FindPort(const Config& config, const std::string& name) {
  const auto found = std::ranges::find(config.ports, name, &PortConfig::name);
  return found == config.ports.end() ? nullptr : &*found;
}

std::string InterfaceFile(const std::string& interface, const std::string& file) {
  return "/sys/class/net/" + interface + "/" + file;
}

bool IsUp(const Machine& machine, const std::string& interface) {
  const std::string state = machine.Read(InterfaceFile(interface, "operstate")).value_or("");
  return state == "up" ||
         (state == "unknown" && machine.ReadNumber(InterfaceFile(interface, "carrier")) == 1);
}

/// Addresses that the kernel answers for on an interface that is the switch's.
Findings CheckAddresses(const Machine& machine, const std::string& check, const std::string& interface) {
  Findings findings;
  for (const KernelAddress& a : machine.addresses()) {
    if (a.interface != interface || IsLinkLocal(a.address)) continue;
    findings.push_back(Fail(
        check,
        fmt::format("the kernel has {} on {}: it answers what is podwire's", ToString(a.address), interface),
        fmt::format("ip addr flush dev {}, or share it: \"shared\": true (docs/ports.md)", interface)));
  }
  return findings;
}

/// Of an interface that podwire shares, the kernel must have the underlay's addresses.
Findings CheckSharedAddresses(const Machine& machine, const Config& config, const std::string& check,
                              const std::string& interface) {
  std::vector<IpAddress> there;
  for (const KernelAddress& a : machine.addresses()) {
    if (a.interface == interface && !IsLinkLocal(a.address)) there.push_back(a.address);
  }
  if (there.empty()) {
    return {Fail(check, fmt::format("{} is shared with the kernel, which has no address on it", interface),
                 fmt::format("ip addr add ADDRESS/LENGTH dev {}", interface))};
  }
  Findings findings;
  for (const IpAddress& own : {config.underlay->address.address, config.underlay->address6.address}) {
    if (own.empty() || std::ranges::find(there, own) != there.end()) continue;
    findings.push_back(Fail(
        check,
        fmt::format("\"underlay.address\" has {}, which the kernel has not on {}", ToString(own), interface),
        "leave \"underlay.address\" out, or give an address of the interface's"));
  }
  return findings;
}

Findings CheckNetdev(const Machine& machine, const Config& config, const PortConfig& port,
                     const std::string& interface) {
  const std::string check = "port " + port.name;
  if (!machine.Exists("/sys/class/net/" + interface)) {
    return {Fail(check, fmt::format("there is no interface {}", interface),
                 "ip link shows those that are there")};
  }
  if (!IsUp(machine, interface)) {
    return {Fail(check,
                 fmt::format("{} is {}", interface,
                             machine.Read(InterfaceFile(interface, "operstate")).value_or("down")),
                 fmt::format("ip link set {} up; a cable, or the other end", interface))};
  }
  const bool is_underlay = config.underlay && config.underlay->port == port.name;
  Findings findings;
  if (is_underlay && config.underlay->shared)
    findings = CheckSharedAddresses(machine, config, check, interface);
  if (is_underlay && !config.underlay->shared) findings = CheckAddresses(machine, check, interface);
  if (findings.empty()) findings.push_back(Pass(check, fmt::format("{} is up", interface)));
  return findings;
}

/// The L3 bytes that the underlay really takes: a netdev has its own.
uint16_t UnderlayMtu(const Machine& machine, const PortConfig& port) {
  const auto* netdev = std::get_if<NetdevOptions>(&port.options);
  if (netdev == nullptr) return port.mtu;
  const auto mtu = machine.ReadNumber(InterfaceFile(netdev->interface, "mtu"));
  return mtu ? static_cast<uint16_t>(std::min<uint64_t>(*mtu, kMaxMtu)) : port.mtu;
}

Finding CheckMtu(const Machine& machine, const Config& config, const PortConfig& port) {
  const uint16_t port_mtu = UnderlayMtu(machine, port);
  const uint16_t wanted = config.underlay->mtu;
  if (wanted > port_mtu) {
    const auto* netdev = std::get_if<NetdevOptions>(&port.options);
    return Fail("MTU", fmt::format("\"underlay.mtu\" is {}, port {} takes {}", wanted, port.name, port_mtu),
                netdev != nullptr
                    ? fmt::format("ip link set {} mtu {}, or lower it", netdev->interface, wanted)
                    : "raise the port's \"mtu\", or lower it");
  }
  const uint16_t underlay_mtu = wanted != 0 ? wanted : port_mtu;
  if (!config.network) return Pass("MTU", fmt::format("underlay {}", underlay_mtu));
  const bool over_ipv6 = TunnelsOverIpv6(*config.network, !config.underlay->address.address.empty(),
                                         !config.underlay->address6.address.empty());
  const uint16_t pods = PodMtu(*config.network, underlay_mtu, over_ipv6);
  const std::string found = fmt::format("underlay {}, pods {}", underlay_mtu, pods);
  if (config.network->v6 && pods < kMinIpv6Mtu) {
    return Fail("MTU", fmt::format("{}: IPv6 needs {}", found, kMinIpv6Mtu),
                fmt::format("an underlay MTU of {} at least", kMinIpv6Mtu + underlay_mtu - pods));
  }
  return Pass("MTU", found);
}

}  // namespace

Findings CheckNetwork(const Machine& machine, const Config& config) {
  Findings findings;
  for (const PortConfig& port : config.ports) {
    const auto* netdev = std::get_if<NetdevOptions>(&port.options);
    if (netdev == nullptr) continue;
    Findings found = CheckNetdev(machine, config, port, netdev->interface);
    std::ranges::move(found, std::back_inserter(findings));
  }
  if (!config.underlay) return findings;
  if (const PortConfig* port = FindPort(config, config.underlay->port))
    findings.push_back(CheckMtu(machine, config, *port));
  return findings;
}

}  // namespace podwire::doctor
