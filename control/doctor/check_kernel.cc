#include <sys/socket.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "control/doctor/checks.h"

namespace podwire::doctor {
namespace {

/// "6.1.0-18-amd64" as {6, 1}; {0, 0} for what is no release.
std::pair<unsigned, unsigned> ParseRelease(std::string_view text) {
  std::pair<unsigned, unsigned> release;
  const char* end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, release.first);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return {0, 0};
  if (std::from_chars(major.ptr + 1, end, release.second).ec != std::errc()) return {0, 0};
  return release;
}

bool HasNetdev(const Config& config) {
  return std::ranges::any_of(config.ports, [](const PortConfig& p) { return p.kind() == PortKind::kNetdev; });
}

Finding CheckRelease(const Machine& machine, const Config& config) {
  const std::string release = machine.Read("/proc/sys/kernel/osrelease").value_or("unknown");
  constexpr std::pair<unsigned, unsigned> kUdpGsoOnPacketSockets{6, 2};
  const bool tunnels = config.network && config.network->backend != BackendType::kHostGw;
  if (HasNetdev(config) && tunnels && ParseRelease(release) < kUdpGsoOnPacketSockets) {
    return Warn("kernel", release + ": tunnel packets go to a netdev port one by one, which is slower",
                "Linux 6.2 or later (Debian 12: apt install -t bookworm-backports linux-image-amd64)");
  }
  return Pass("kernel", release);
}

Finding CheckIpv6(const Machine& machine) {
  if (!machine.Exists("/proc/net/if_inet6")) {
    return Fail("IPv6", "the network has it, this kernel has not", "boot without ipv6.disable=1");
  }
  if (machine.ReadNumber("/proc/sys/net/ipv6/conf/default/disable_ipv6") == 1) {
    return Warn("IPv6", "off on new interfaces, also those of the node itself",
                "sysctl net.ipv6.conf.default.disable_ipv6=0");
  }
  return Pass("IPv6", "on");
}

}  // namespace

Findings CheckKernel(const Machine& machine, const Config& config) {
  Findings findings;
  if (!machine.is_root) {
    findings.push_back(Warn("user", "not root: podwired must be, and not all can be seen", "run it as root"));
  }
  findings.push_back(CheckRelease(machine, config));
  if (machine.Exists("/dev/net/tun")) {
    findings.push_back(Pass("tun", "/dev/net/tun is there: pods can have interfaces"));
  } else {
    findings.push_back(Fail("tun", "no /dev/net/tun: pods cannot have interfaces", "modprobe tun"));
  }
  if (HasNetdev(config) && machine.is_root && !machine.has_socket_family(AF_PACKET)) {
    findings.push_back(
        Fail("AF_PACKET", "this kernel has none, which netdev ports need", "modprobe af_packet"));
  }
  if (config.network && config.network->v6) findings.push_back(CheckIpv6(machine));
  return findings;
}

}  // namespace podwire::doctor
