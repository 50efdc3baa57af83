#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/switch_views.h"
#include "flows.grpc.pb.h"
#include "net/address.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

struct FlowOptions {
  v1::FlowFilter filter;
  std::string pod;
  std::string default_namespace = "default";
  double watch_seconds = 0;
};

void SetPod(FlowOptions& options) {
  if (options.pod.empty()) return;
  const PodRef pod = ParsePodRef(options.pod, options.default_namespace);
  options.filter.set_pod_namespace(pod.pod_namespace);
  options.filter.set_pod_name(pod.name);
}

template <class Item, class Method>
absl::StatusOr<Exit> ListAndShow(Session& session, const FlowOptions& options, Method method,
                                 const View<Item>& view) {
  return Repeat(options.watch_seconds, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<Item> items, session.List<v1::Flows>(method, options.filter));
    Print(Render(view, items, session.options().format, /*single=*/false));
    return absl::OkStatus();
  });
}

template <class T>
auto Setter(v1::FlowFilter& filter, void (v1::FlowFilter::*set)(T)) {
  return [&filter, set](const T& value) { (filter.*set)(value); };
}

/// Filters that flows and connections share; those that are set must all hold.
std::shared_ptr<FlowOptions> AddFilters(CLI::App& command) {
  auto options = std::make_shared<FlowOptions>();
  auto& filter = options->filter;
  command.add_option("--pod", options->pod, "Of this pod, at either end")->type_name("[NS/]NAME");
  command.add_option("-n,--namespace", options->default_namespace,
                     "Namespace of a --pod without one (default)");
  command
      .add_option_function<std::string>(
          "--address", [&](const std::string& v) { filter.set_address(v); }, "Address or CIDR, at either end")
      ->type_name("CIDR")
      ->check(ValidatePrefix);
  command
      .add_option_function<uint32_t>("--port", Setter<uint32_t>(filter, &v1::FlowFilter::set_port),
                                     "Port, at either end")
      ->check(CLI::Range(1u, 65535u))
      ->type_name("N");
  command.add_option_function<std::string>(
      "--proto", [&](const std::string& v) { filter.set_protocol(v); },
      "tcp, udp, sctp, icmp, icmpv6 or a number");
  command
      .add_option_function<std::string>(
          "--verdict", [&](const std::string& v) { filter.set_verdict(v); }, "allowed or denied")
      ->check(CLI::IsMember({"allowed", "denied"}));
  command
      .add_option_function<uint32_t>("--limit", Setter<uint32_t>(filter, &v1::FlowFilter::set_limit),
                                     "At most so many")
      ->type_name("N");
  AddWatchOption(command, options->watch_seconds);
  return options;
}

}  // namespace

void AddFlowCommands(CLI::App& app, Context& context) {
  auto* flows =
      app.add_subcommand("flows", "What the workers have cached: a line for each direction of a connection");
  auto flow_options = AddFilters(*flows);
  flows->callback([&context, flow_options] {
    SetPod(*flow_options);
    context.run = [flow_options](Session& session) {
      return ListAndShow(session, *flow_options, &v1::Flows::Stub::ListFlows, FlowView());
    };
  });
  auto* connections =
      app.add_subcommand("connections", "Connections that are tracked, with their state and verdict");
  auto connection_options = AddFilters(*connections);
  connections->callback([&context, connection_options] {
    SetPod(*connection_options);
    context.run = [connection_options](Session& session) {
      return ListAndShow(session, *connection_options, &v1::Flows::Stub::ListConnections, ConnectionView());
    };
  });
}

}  // namespace podwire::cli
