#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/cli/proto_json.h"
#include "control/cli/switch_views.h"
#include "inspect.grpc.pb.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CounterOptions {
  bool all = false;
  double watch_seconds = 0;
};

std::string JsonText(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// "name:   value" lines, values in one column.
std::string KeyValues(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string text;
  for (const auto& [key, value] : pairs)
    text += fmt::format("{:<14}{}\n", key + ":", value.empty() ? "-" : value);
  return text;
}

/// "IPv4 ...; IPv6 ..."
std::string ByFamily(const v1::Status& s, std::string (*describe)(const v1::ConnectionTable&)) {
  std::string text;
  for (const v1::ConnectionTable& table : s.connection_tables())
    text += fmt::format("{}{} {}", text.empty() ? "" : "; ", table.family(), describe(table));
  return text;
}

std::string StatusText(const v1::Status& s) {
  std::string text = KeyValues({
      {"Version", s.version()},
      {"Node", s.node()},
      {"Uptime", HumanSeconds(s.uptime_seconds())},
      {"Hugepages", s.hugepages()},
      {"Network", s.network().empty()
                      ? "none yet: apply kube-flannel-cfg, or set \"network\" in the configuration"
                      : s.network()},
      {"Backend", s.backend()},
      {"Pod subnet", s.pod_subnet()},
      {"Pod MTU", std::to_string(s.pod_mtu())},
      {"Underlay", s.underlay()},
      {"Endpoints", std::to_string(s.endpoints())},
      {"Objects", fmt::format("{} nodes, {} namespaces, {} pods, {} policies", s.nodes(), s.namespaces(),
                              s.pods(), s.policies())},
      {"Connections", ByFamily(s,
                               [](const v1::ConnectionTable& t) {
                                 return fmt::format("{} of {}, {} bytes each", t.connections(), t.capacity(),
                                                    t.connection_bytes());
                               })},
      {"Embryonic", ByFamily(s,
                             [](const v1::ConnectionTable& t) {
                               return fmt::format("{} of {}, {} connections evicted early", t.embryonic(),
                                                  t.embryonic_budget(), t.evicted());
                             })},
      {"Generation", std::to_string(s.generation())},
  });
  for (const auto& warning : s.warnings()) text += fmt::format("Warning:      {}\n", warning);
  return text + "\n" + Render(WorkerView(), ToVector(s.workers()), Format::kTable, false);
}

absl::StatusOr<Exit> ShowStatus(Session& session, double watch_seconds) {
  return Repeat(watch_seconds, [&]() -> absl::Status {
    v1::Status status;
    RETURN_IF_ERROR(session.Call<v1::Inspect>(&v1::Inspect::Stub::GetStatus, v1::StatusRequest(), &status));
    Print(session.options().format == Format::kJson ? JsonText(ToJson(status)) : StatusText(status));
    return absl::OkStatus();
  });
}

/// received + generated - (sent + dropped + consumed + queued): 0 when the books balance.
int64_t Difference(const v1::Counters& c) {
  return static_cast<int64_t>(c.received() + c.generated() - c.sent() - c.dropped() - c.consumed() -
                              c.queued());
}

std::string Books(const v1::Counters& c) {
  const int64_t difference = Difference(c);
  return fmt::format("received {} + generated {} = sent {} + dropped {} + consumed {} + queued {}: {}\n",
                     c.received(), c.generated(), c.sent(), c.dropped(), c.consumed(), c.queued(),
                     difference == 0 ? "BALANCED"
                                     : fmt::format("DIFFERENCE {:+} (packets on their way count so while "
                                                   "there is traffic)",
                                                   difference));
}

std::string CountersText(const v1::Counters& counters, const CounterOptions& options) {
  std::vector<v1::Counter> rows = ToVector(counters.counters());
  if (!options.all) std::erase_if(rows, [](const v1::Counter& c) { return c.value() == 0; });
  return Render(CounterView(), rows, Format::kTable, false) + "\n" + Books(counters);
}

Json CountersJson(const v1::Counters& counters) {
  Json json = ToJson(counters);
  json["difference"] = Difference(counters);
  json["balanced"] = Difference(counters) == 0;
  return json;
}

absl::StatusOr<Exit> ShowCounters(Session& session, const CounterOptions& options) {
  return Repeat(options.watch_seconds, [&]() -> absl::Status {
    v1::Counters counters;
    RETURN_IF_ERROR(
        session.Call<v1::Inspect>(&v1::Inspect::Stub::GetCounters, v1::CountersRequest(), &counters));
    Print(session.options().format == Format::kJson ? JsonText(CountersJson(counters))
                                                    : CountersText(counters, options));
    return absl::OkStatus();
  });
}

}  // namespace

void AddInspectCommands(CLI::App& app, Context& context) {
  auto* status = app.add_subcommand("status", "The daemon, its network, its workers");
  auto watch_seconds = std::make_shared<double>(0);
  AddWatchOption(*status, *watch_seconds);
  status->callback([&context, watch_seconds] {
    context.run = [watch_seconds](Session& session) { return ShowStatus(session, *watch_seconds); };
  });

  auto* counters =
      app.add_subcommand("counters", "All counters that are not zero, and whether the books balance");
  auto counter_options = std::make_shared<CounterOptions>();
  counters->add_flag("--all", counter_options->all, "Those that are zero as well");
  AddWatchOption(*counters, counter_options->watch_seconds);
  counters->callback([&context, counter_options] {
    context.run = [counter_options](Session& session) { return ShowCounters(session, *counter_options); };
  });
}

}  // namespace podwire::cli
