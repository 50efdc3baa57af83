#include "control/cni/plugin.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <strings.h>
#include <sys/stat.h>

#include "control/cni/delegate.h"
#include "control/cni/device_info.h"
#include "control/cni/error.h"
#include "control/cni/log.h"
#include "control/cni/result.h"
#include "control/cni/switch_client.h"
#include "control/cni/version.h"
#include "net/address.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

constexpr std::string_view kDefaultV4 = "0.0.0.0/0";
constexpr std::string_view kDefaultV6 = "::/0";

bool IsV6(std::string_view address) { return address.find(':') != std::string_view::npos; }

/// A pod's namespace must not be the host's own: its eth0 would be taken for the pod's.
absl::Status RefuseHostNetns(const Environment& env) {
  struct stat given {
  }, own{};
  if (stat(env.netns.c_str(), &given) != 0 || stat("/proc/self/ns/net", &own) != 0) return absl::OkStatus();
  if (given.st_ino != own.st_ino || given.st_dev != own.st_dev) return absl::OkStatus();
  return Failure(
      Code::kInvalidNetns,
      fmt::format("CNI_NETNS: {} is the network namespace of the host (of podwire-cni), not a pod's",
                  env.netns));
}

absl::StatusOr<std::optional<Delegate>> MakeDelegate(const NetConf& conf, const Environment& env) {
  if (conf.ipam_type.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(Delegate delegate, Delegate::Create(conf, env));
  return delegate;
}

v1::AttachRequest AttachRequestFor(const NetConf& conf, const Environment& env, const Result& ipam) {
  v1::AttachRequest request;
  request.mutable_key()->set_container_id(env.container_id);
  request.mutable_key()->set_ifname(env.ifname);
  request.set_netns(env.netns);
  request.set_network(conf.name);
  request.set_pod_namespace(env.pod_namespace);
  request.set_pod_name(env.pod_name);
  request.set_pod_uid(env.pod_uid);
  request.set_attach(conf.attach);
  request.set_vhost_client(conf.vhost_client);
  request.set_queues(conf.queues);
  request.set_port(conf.trunk);
  if (conf.attach == "vf") {
    request.set_resource_name(conf.resource_name);
    request.set_device_id(conf.device_id);
    request.set_vf_driver(conf.vf_driver);
  }
  request.set_mtu(conf.mtu);
  for (const auto& ip : ipam.ips) request.add_addresses(ip.address);
  for (const auto& route : ipam.routes) {
    // The switch is the default gateway in any case.
    if (route.dst == kDefaultV4 || route.dst == kDefaultV6) continue;
    auto& added = *request.add_routes();
    added.set_dst(route.dst);
    added.set_gw(route.gw);
  }
  return request;
}

std::string GatewayFor(const v1::Endpoint& endpoint, bool v6) {
  for (const auto& gateway : endpoint.gateways()) {
    if (IsV6(gateway) == v6) return gateway;
  }
  return "";
}

void AddRoutes(const v1::Endpoint& endpoint, Result& result) {
  for (const bool v6 : {false, true}) {
    const bool used = std::ranges::any_of(endpoint.addresses(), [&](const auto& a) { return IsV6(a) == v6; });
    if (used) result.routes.push_back({std::string(v6 ? kDefaultV6 : kDefaultV4), GatewayFor(endpoint, v6)});
  }
  for (const auto& route : endpoint.routes()) {
    if (route.dst() != kDefaultV4 && route.dst() != kDefaultV6)
      result.routes.push_back({route.dst(), route.gw()});
  }
}

/// `previous` is what plugins before us in the chain made; ours comes after it.
Result ResultFor(const NetConf& conf, const Environment& env, const v1::Endpoint& endpoint, Result previous,
                 const Result& ipam) {
  Result result = std::move(previous);
  const auto index = static_cast<uint32_t>(result.interfaces.size());
  result.interfaces.push_back({.name = env.ifname,
                               .mac = endpoint.mac(),
                               .sandbox = env.netns,
                               .mtu = endpoint.mtu(),
                               .socket_path = endpoint.socket(),
                               .pci_id = endpoint.vf().pci_address()});
  for (const auto& address : endpoint.addresses()) {
    result.ips.push_back({address, GatewayFor(endpoint, IsV6(address)), index});
  }
  AddRoutes(endpoint, result);
  if (conf.dns.is_object() && !conf.dns.empty()) {
    result.dns = conf.dns;
  } else if (!ipam.dns.is_null()) {
    result.dns = ipam.dns;
  }
  return result;
}

PciDevice DeviceOf(const v1::VirtualFunction& vf) {
  return {.address = vf.pci_address(),
          .physical_function = vf.pf_pci_address(),
          .files = {vf.device_files().begin(), vf.device_files().end()}};
}

absl::StatusOr<std::string> Add(const NetConf& conf, const Environment& env) {
  RETURN_IF_ERROR(RefuseHostNetns(env));
  Result previous;
  if (!conf.prev_result.is_null()) {
    ASSIGN_OR_RETURN(previous, ParseResult(conf.prev_result, "prevResult"));
  }
  // Before the delegate: no address is taken when there is no switch to use it.
  ASSIGN_OR_RETURN(SwitchClient client, SwitchClient::Create(conf, env.command));
  ASSIGN_OR_RETURN(const auto delegate, MakeDelegate(conf, env));
  Result ipam;
  if (delegate.has_value()) {
    ASSIGN_OR_RETURN(ipam, delegate->Add());
  }
  const auto endpoint = client.Attach(AttachRequestFor(conf, env, ipam));
  if (!endpoint.ok()) {
    // A duplicate ADD got the address that the first one has: not ours to give back.
    const bool duplicate = CodeOf(endpoint.status()) == static_cast<int>(Code::kAlreadyAttached);
    if (delegate.has_value() && !duplicate) {
      const absl::Status undone = delegate->Del({env.container_id, env.ifname}, env.netns);
      if (!undone.ok()) Log(conf, "ADD failed, and so did giving its address back: " + Message(undone));
    }
    return endpoint.status();
  }
  if (endpoint->has_vf()) {
    if (const absl::Status written =
            WriteDeviceInfo(conf, {env.container_id, env.ifname}, DeviceOf(endpoint->vf()));
        !written.ok()) {
      const absl::Status undone = client.Detach({env.container_id, env.ifname});
      if (!undone.ok()) Log(conf, "ADD failed, and so did undoing it: " + Message(undone));
      if (delegate.has_value()) delegate->Del({env.container_id, env.ifname}, env.netns).IgnoreError();
      return written;
    }
  }
  return Dump(ToJson(ResultFor(conf, env, *endpoint, std::move(previous), ipam), conf.cni_version));
}

/// The switch lets go of the address before the delegate may give it to somebody else. While podwired is not
/// there this fails, so that the runtime comes again and nothing is lost.
absl::StatusOr<std::string> Del(const NetConf& conf, const Environment& env) {
  ASSIGN_OR_RETURN(SwitchClient client, SwitchClient::Create(conf, env.command));
  const AttachmentId id{env.container_id, env.ifname};
  RETURN_IF_ERROR(client.Detach(id));
  RemoveDeviceInfo(conf, id);
  ASSIGN_OR_RETURN(const auto delegate, MakeDelegate(conf, env));
  if (delegate.has_value()) RETURN_IF_ERROR(delegate->Del(id, env.netns));
  return "";
}

/// Our interface in prevResult. Code 7 if it is not there.
absl::StatusOr<size_t> FindOurs(const Result& previous, const Environment& env) {
  for (size_t i = 0; i < previous.interfaces.size(); ++i) {
    if (previous.interfaces[i].name == env.ifname && previous.interfaces[i].sandbox == env.netns) return i;
  }
  return Failure(Code::kInvalidConfig,
                 fmt::format("prevResult: interfaces: none is {} in {}; CHECK needs the result of the ADD",
                             env.ifname, env.netns));
}

absl::Status Differs(const Environment& env, std::string_view what, std::string_view is,
                     std::string_view was) {
  return Failure(Code::kCheckFailed,
                 fmt::format("container {} interface {}: {} is {}, prevResult says {}", env.container_id,
                             env.ifname, what, is.empty() ? "none" : is, was));
}

absl::Status CompareWithPrevious(const Environment& env, const v1::Endpoint& endpoint, const Result& previous,
                                 size_t ours) {
  const std::string& mac = previous.interfaces[ours].mac;
  if (!mac.empty() && strcasecmp(mac.c_str(), endpoint.mac().c_str()) != 0) {
    return Differs(env, "the MAC address", endpoint.mac(), mac);
  }
  for (const auto& ip : previous.ips) {
    if (ip.interface != ours || ip.gateway.empty()) continue;
    const std::string gateway = GatewayFor(endpoint, IsV6(ip.address));
    if (ParseIp(gateway).value_or(IpAddress()) != ParseIp(ip.gateway).value_or(IpAddress())) {
      return Differs(env, "the gateway", gateway, ip.gateway);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Check(const NetConf& conf, const Environment& env) {
  if (conf.prev_result.is_null()) {
    return Failure(Code::kInvalidConfig,
                   "network configuration: prevResult: missing; CHECK needs the result of the ADD");
  }
  ASSIGN_OR_RETURN(const Result previous, ParseResult(conf.prev_result, "prevResult"));
  ASSIGN_OR_RETURN(const size_t ours, FindOurs(previous, env));
  std::vector<std::string> addresses;
  for (const auto& ip : previous.ips) {
    if (ip.interface == ours) addresses.push_back(ip.address);
  }
  ASSIGN_OR_RETURN(SwitchClient client, SwitchClient::Create(conf, env.command));
  RETURN_IF_ERROR(client.Check(env, addresses));
  ASSIGN_OR_RETURN(const v1::Endpoint endpoint, client.Get(env));
  RETURN_IF_ERROR(CompareWithPrevious(env, endpoint, previous, ours));
  ASSIGN_OR_RETURN(const auto delegate, MakeDelegate(conf, env));
  if (delegate.has_value()) RETURN_IF_ERROR(delegate->Check());
  return "";
}

/// Goes on after a failure, to collect as much as possible; returns the first.
absl::StatusOr<std::string> CollectGarbage(const NetConf& conf, const Environment& env) {
  if (!conf.valid_attachments.has_value()) return "";
  ASSIGN_OR_RETURN(SwitchClient client, SwitchClient::Create(conf, env.command));
  ASSIGN_OR_RETURN(const auto collected, client.Collect(conf.name, *conf.valid_attachments));
  for (const auto& id : collected) RemoveDeviceInfo(conf, id);
  ASSIGN_OR_RETURN(const auto delegate, MakeDelegate(conf, env));
  if (!delegate.has_value()) return "";
  absl::Status first;
  for (const auto& id : collected) first.Update(delegate->Del(id, ""));
  first.Update(delegate->CollectGarbage());
  RETURN_IF_ERROR(first);
  return "";
}

absl::StatusOr<std::string> Status(const NetConf& conf, const Environment& env) {
  ASSIGN_OR_RETURN(SwitchClient client, SwitchClient::Create(conf, env.command));
  RETURN_IF_ERROR(client.Ready());
  ASSIGN_OR_RETURN(const auto delegate, MakeDelegate(conf, env));
  if (delegate.has_value()) RETURN_IF_ERROR(delegate->Status());
  return "";
}

std::string Versions(const std::string& input) {
  const std::string asked = PeekVersion(input);
  const std::string answer = VersionRank(asked) >= 0 ? asked : std::string(kVersions.back());
  return Dump({{"cniVersion", answer}, {"supportedVersions", kVersions}});
}

absl::Status NeedVersion(const NetConf& conf, Command command) {
  std::string_view since = kVersions.front();
  if (command == Command::kCheck) since = "0.4.0";
  if (command == Command::kGc || command == Command::kStatus) since = "1.1.0";
  if (AtLeast(conf.cni_version, since)) return absl::OkStatus();
  return Failure(Code::kIncompatibleVersion,
                 fmt::format("the configuration's cniVersion {} has no {}; it came with {}", conf.cni_version,
                             ToString(command), since));
}

absl::StatusOr<std::string> Dispatch(const NetConf& conf, const Environment& env) {
  switch (env.command) {
    case Command::kAdd:
      return Add(conf, env);
    case Command::kDel:
      return Del(conf, env);
    case Command::kCheck:
      return Check(conf, env);
    case Command::kGc:
      return CollectGarbage(conf, env);
    case Command::kStatus:
      return Status(conf, env);
    case Command::kVersion:
      break;
  }
  return Versions("");
}

}  // namespace

absl::StatusOr<std::string> Execute(const Environment& env, const std::string& input) {
  if (env.command == Command::kVersion) return Versions(input);
  ASSIGN_OR_RETURN(const NetConf conf, ParseNetConf(input));
  RETURN_IF_ERROR(NeedVersion(conf, env.command));
  const CallLog log(conf, env);
  return log.Done(Dispatch(conf, env));
}

}  // namespace podwire::cni
