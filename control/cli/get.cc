#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/kinds.h"
#include "control/cli/object_views.h"
#include "control/cli/switch_views.h"
#include "endpoints.grpc.pb.h"
#include "flows.grpc.pb.h"
#include "inspect.grpc.pb.h"
#include "net/status.h"
#include "objects.grpc.pb.h"
#include "ports.grpc.pb.h"

namespace podwire::cli {
namespace {

using Json = nlohmann::ordered_json;

struct GetOptions {
  std::string kind;
  std::string name;
  std::string in_namespace = "default";
  bool all_namespaces = false;
  std::string Namespace() const { return all_namespaces ? "" : in_namespace; }
};

template <class Item>
absl::StatusOr<Exit> Show(const Session& session, const GetOptions& options, const View<Item>& view,
                          const std::vector<Item>& items) {
  if (items.empty() && !options.name.empty()) {
    return Error(absl::StatusCode::kNotFound, "{} \"{}\" not found", options.kind, options.name);
  }
  const Format format = session.options().format;
  if (items.empty() && (format == Format::kTable || format == Format::kWide)) {
    const KindInfo* info = FindKind(options.kind);
    const bool one_namespace = info != nullptr && info->namespaced && !options.all_namespaces;
    fmt::print(stderr, "No {} found{}\n", info == nullptr ? options.kind : info->plural,
               one_namespace ? fmt::format(" in namespace {}", options.in_namespace) : "");
    return Exit::kOk;
  }
  Print(Render(view, items, format, !options.name.empty()));
  return Exit::kOk;
}

absl::StatusOr<std::vector<Json>> ListObjects(Session& session, const GetOptions& options,
                                              const KindInfo& info) {
  v1::ListObjectsRequest request;
  request.set_kind(info.kind);
  if (info.namespaced) request.set_namespace_(options.Namespace());
  request.set_name(options.name);
  ASSIGN_OR_RETURN(const auto objects, session.List<v1::Objects>(&v1::Objects::Stub::List, request));
  std::vector<Json> parsed;
  for (const v1::Object& object : objects) {
    Json json = Json::parse(object.json(), nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded())
      return Error(absl::StatusCode::kDataLoss, "podwired sent an object that is no JSON");
    parsed.push_back(std::move(json));
  }
  return parsed;
}

absl::StatusOr<std::vector<v1::Endpoint>> ListEndpoints(Session& session, const GetOptions& options) {
  v1::ListEndpointsRequest request;
  request.set_pod_namespace(options.Namespace());
  request.set_pod_name(options.name);
  return session.List<v1::Endpoints>(&v1::Endpoints::Stub::List, request);
}

/// Manifests and attachments, by namespace and name; a pod may have either or both.
absl::StatusOr<std::vector<PodRow>> ListPods(Session& session, const GetOptions& options) {
  std::map<std::pair<std::string, std::string>, PodRow> pods;
  auto objects = ListObjects(session, options, *FindKind("pods"));
  if (!objects.ok() && objects.status().code() != absl::StatusCode::kNotFound) return objects.status();
  if (objects.ok()) {
    for (Json& object : *objects) {
      auto key = std::make_pair(Text(object, {"metadata", "namespace"}), Text(object, {"metadata", "name"}));
      pods[std::move(key)].object = std::move(object);
    }
  }
  ASSIGN_OR_RETURN(auto endpoints, ListEndpoints(session, options));
  for (v1::Endpoint& endpoint : endpoints) {
    if (endpoint.host()) continue;
    PodRow& pod = pods[{endpoint.pod_namespace(), endpoint.pod_name()}];
    if (pod.object.is_null()) pod.object = PodFromEndpoint(endpoint);
    pod.endpoint = std::move(endpoint);
  }
  std::vector<PodRow> rows;
  for (auto& [key, pod] : pods) rows.push_back(std::move(pod));
  return rows;
}

template <class Message, class Name>
std::vector<Message> Named(std::vector<Message> items, const std::string& wanted, Name name) {
  if (!wanted.empty()) std::erase_if(items, [&](const Message& item) { return name(item) != wanted; });
  return items;
}

absl::StatusOr<Exit> GetObjects(Session& session, const GetOptions& options, const KindInfo& info) {
  if (info.kind == "Pod") {
    ASSIGN_OR_RETURN(const auto pods, ListPods(session, options));
    return Show(session, options, PodView(options.all_namespaces), pods);
  }
  ASSIGN_OR_RETURN(const auto objects, ListObjects(session, options, info));
  View<Json> view = info.kind == "NetworkPolicy"          ? PolicyView(options.all_namespaces)
                    : info.kind == "ClusterNetworkPolicy" ? ClusterPolicyView()
                    : info.kind == "ConfigMap"            ? ConfigMapView(options.all_namespaces)
                    : info.kind == "Namespace"            ? NamespaceView()
                                                          : NodeView();
  return Show(session, options, view, objects);
}

absl::StatusOr<Exit> GetPorts(Session& session, const GetOptions& options) {
  v1::ListPortsRequest request;
  request.set_name(options.name);
  ASSIGN_OR_RETURN(auto ports, session.List<v1::Ports>(&v1::Ports::Stub::List, request));
  return Show(session, options, PortView(),
              Named(std::move(ports), options.name, [](const v1::Port& p) { return p.name(); }));
}

absl::StatusOr<Exit> GetDevices(Session& session, const GetOptions& options) {
  ASSIGN_OR_RETURN(auto devices,
                   session.List<v1::Ports>(&v1::Ports::Stub::ListDevices, v1::ListDevicesRequest()));
  return Show(session, options, DeviceView(),
              Named(std::move(devices), options.name, [](const v1::Device& d) { return d.address(); }));
}

absl::StatusOr<Exit> GetRoutes(Session& session, const GetOptions& options) {
  ASSIGN_OR_RETURN(auto routes,
                   session.List<v1::Inspect>(&v1::Inspect::Stub::ListRoutes, v1::RoutesRequest()));
  return Show(session, options, RouteView(),
              Named(std::move(routes), options.name, [](const v1::RouteEntry& r) { return r.prefix(); }));
}

absl::StatusOr<Exit> Get(Session& session, const GetOptions& options) {
  const KindInfo& info = *FindKind(options.kind);
  if (info.object) return GetObjects(session, options, info);
  if (info.plural == "ports") return GetPorts(session, options);
  if (info.plural == "devices") return GetDevices(session, options);
  if (info.plural == "routes") return GetRoutes(session, options);
  if (info.plural == "endpoints") {
    ASSIGN_OR_RETURN(const auto endpoints, ListEndpoints(session, options));
    return Show(session, options, EndpointView(), endpoints);
  }
  if (info.plural == "flows") {
    ASSIGN_OR_RETURN(const auto flows,
                     session.List<v1::Flows>(&v1::Flows::Stub::ListFlows, v1::FlowFilter()));
    return Show(session, options, FlowView(), flows);
  }
  ASSIGN_OR_RETURN(const auto connections,
                   session.List<v1::Flows>(&v1::Flows::Stub::ListConnections, v1::FlowFilter()));
  return Show(session, options, ConnectionView(), connections);
}

std::string KindHelp() {
  std::string text = "One of: ";
  for (const KindInfo& info : AllKinds()) {
    if (!text.ends_with(' ')) text += ", ";
    text += info.plural;
    if (!info.aliases.empty()) text += fmt::format(" ({})", info.aliases[0]);
  }
  return text;
}

std::string ValidateKind(const std::string& name) {
  return FindKind(name) != nullptr ? "" : fmt::format("\"{}\" is not known. {}", name, KindHelp());
}

}  // namespace

void AddGetCommand(CLI::App& app, Context& context) {
  auto* get = app.add_subcommand("get", "Show objects, as last applied, and what the switch made of them");
  auto options = std::make_shared<GetOptions>();
  get->add_option("KIND", options->kind, KindHelp())->required()->check(ValidateKind);
  get->add_option(
      "NAME", options->name,
      "One by its name (a route's is its prefix, an endpoint's its pod's, a device's its PCI address)");
  get->add_option("-n,--namespace", options->in_namespace, "Namespace (default)");
  get->add_flag("-A,--all-namespaces", options->all_namespaces, "All namespaces");
  get->callback([&context, options] {
    const KindInfo& info = *FindKind(options->kind);
    if (!options->name.empty() && (info.plural == "flows" || info.plural == "connections")) {
      throw CLI::ValidationError("NAME",
                                 fmt::format("{0} have no names; `podwire {0}` has filters", info.plural));
    }
    context.run = [options](Session& session) { return Get(session, *options); };
  });
}

}  // namespace podwire::cli
