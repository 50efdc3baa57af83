#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/proto_json.h"
#include "control/cli/switch_views.h"
#include "inspect.grpc.pb.h"
#include "net/address.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

struct DropOptions {
  std::string pod;
  std::string default_namespace = "default";
  bool all = false;
  bool watch = false;
  v1::WatchDropsRequest filter;
};

std::string JsonText(const google::protobuf::Message& message, int indent) {
  using Json = nlohmann::ordered_json;
  return ToJson(message).dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string DropsText(const v1::Drops& drops, const DropOptions& options, Format format) {
  std::vector<v1::DropCount> reasons = ToVector(drops.reasons());
  if (!options.all) std::erase_if(reasons, [](const v1::DropCount& d) { return d.packets() == 0; });
  std::string text = reasons.empty() ? "No drops\n" : Render(DropView(), reasons, format, false);
  if (drops.pods_size() > 0) text += "\n" + Render(PodDropView(), ToVector(drops.pods()), format, false);
  if (drops.cuts_size() > 0) text += "\n" + Render(CutView(), ToVector(drops.cuts()), format, false);
  return text;
}

absl::StatusOr<Exit> Show(Session& session, const DropOptions& options) {
  v1::DropsRequest request;
  if (!options.pod.empty()) {
    const PodRef pod = ParsePodRef(options.pod, options.default_namespace);
    request.set_pod_namespace(pod.pod_namespace);
    request.set_pod_name(pod.name);
  }
  v1::Drops drops;
  RETURN_IF_ERROR(session.Call<v1::Inspect>(&v1::Inspect::Stub::GetDrops, request, &drops));
  const Format format = session.options().format;
  Print(format == Format::kJson ? JsonText(drops, 2) : DropsText(drops, options, format));
  return Exit::kOk;
}

/// "dev/web (10.244.1.2:80)"
std::string EndText(const std::string& pod, const std::string& address, uint32_t port) {
  const std::string text = AddressAndPort(address, port);
  return pod.empty() ? text : fmt::format("{} ({})", pod, text);
}

std::string Join(const google::protobuf::RepeatedPtrField<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string MissedText(const v1::DropRecord& r) {
  std::string text;
  if (r.lost() != 0)
    text += fmt::format("# {} records lost: they came faster than they were read\n", r.lost());
  if (r.left_out() != 0) text += fmt::format("# {} more drops, counted only\n", r.left_out());
  return text;
}

std::string RecordText(const v1::DropRecord& r) {
  if (r.kind() == "missed") return MissedText(r);
  std::string text = fmt::format("{} {}{}", r.time(), r.kind() == "cut" ? "cut " : "", r.reason());
  if (!r.src().empty()) {
    text += fmt::format(" {} {} > {}", r.protocol(), EndText(r.src_pod(), r.src(), r.src_port()),
                        EndText(r.dst_pod(), r.dst(), r.dst_port()));
  }
  if (!r.pod().empty()) text += fmt::format(", {} of {}", r.direction(), r.pod());
  if (!r.in_port().empty()) text += ", from port " + r.in_port();
  text += r.reply() ? ", a reply\n" : "\n";
  if (r.policies_size() != 0) text += fmt::format("    isolated by {}\n", Join(r.policies()));
  if (!r.hint().empty()) text += fmt::format("    {}\n", r.hint());
  return text;
}

absl::StatusOr<Exit> Watch(Session& session, DropOptions& options) {
  v1::WatchDropsRequest& filter = options.filter;
  if (!options.pod.empty()) {
    const PodRef pod = ParsePodRef(options.pod, options.default_namespace);
    filter.set_pod_namespace(pod.pod_namespace);
    filter.set_pod_name(pod.name);
  }
  const bool json = session.options().format == Format::kJson;
  const OnInterrupt interrupt([&session] { session.Cancel(); });
  RETURN_IF_ERROR(session.Watch<v1::Inspect>(&v1::Inspect::Stub::WatchDrops, filter, std::function([json] {
    return json || Print("# watching drops, until Ctrl-C\n");
  }),
                                             std::function([json](const v1::DropRecord& r) {
                                               return Print(json ? JsonText(r, -1) : RecordText(r));
                                             })));
  return Exit::kOk;
}

void AddFilters(CLI::App& command, CLI::Option* watch, v1::WatchDropsRequest& filter) {
  const auto text = [&](const char* name, void (*set)(v1::WatchDropsRequest&, const std::string&),
                        const char* help) {
    return command
        .add_option_function<std::string>(
            name, [&filter, set](const std::string& value) { set(filter, value); }, help)
        ->needs(watch);
  };
  text(
      "--reason", [](v1::WatchDropsRequest& f, const std::string& v) { f.set_reason(v); },
      "With --watch: for this reason only")
      ->type_name("REASON");
  text(
      "--address", [](v1::WatchDropsRequest& f, const std::string& v) { f.set_address(v); },
      "With --watch: address or CIDR, at either end")
      ->type_name("CIDR")
      ->check(ValidatePrefix);
  text(
      "--proto", [](v1::WatchDropsRequest& f, const std::string& v) { f.set_protocol(v); },
      "With --watch: tcp, udp, sctp, icmp or a number");
  command
      .add_option_function<uint32_t>(
          "--port", [&filter](uint32_t v) { filter.set_port(v); }, "With --watch: port, at either end")
      ->check(CLI::Range(1u, 65535u))
      ->type_name("N")
      ->needs(watch);
}

}  // namespace

void AddDropsCommand(CLI::App& app, Context& context) {
  auto* drops =
      app.add_subcommand("drops", "Dropped packets by reason and by pod, and which policies denied them");
  auto options = std::make_shared<DropOptions>();
  drops->add_option("--pod", options->pod, "Of this pod only")->type_name("[NS/]NAME");
  drops->add_option("-n,--namespace", options->default_namespace,
                    "Namespace of a --pod without one (default)");
  drops->add_flag("--all", options->all, "Reasons without drops as well");
  auto* watch =
      drops->add_flag("--watch,-w", options->watch, "Each dropped packet as it happens, until Ctrl-C");
  AddFilters(*drops, watch, options->filter);
  drops->callback([&context, options] {
    context.run = [options](Session& session) {
      return options->watch ? Watch(session, *options) : Show(session, *options);
    };
  });
}

}  // namespace podwire::cli
