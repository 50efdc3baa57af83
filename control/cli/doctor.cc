#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/doctor/checks.h"
#include "inspect.grpc.pb.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

using doctor::Finding;
using doctor::Findings;
using doctor::Result;

constexpr const char* kDefaultFile = "/etc/podwire/podwired.json";

/// Whether podwired answers, and what itself warns of.
Findings CheckPodwired(Session& session, const std::string& file) {
  constexpr const char* kCheck = "podwired";
  v1::Status status;
  const absl::Status answer =
      session.Call<v1::Inspect>(&v1::Inspect::Stub::GetStatus, v1::StatusRequest(), &status);
  if (!answer.ok())
    return {doctor::Warn(kCheck, Message(answer), fmt::format("podwired --config {}; or --server", file))};
  Findings findings;
  if (status.version() != PODWIRE_VERSION) {
    findings.push_back(doctor::Warn(
        kCheck, fmt::format("is of version {}, this client of " PODWIRE_VERSION, status.version()),
        "replace the older of the two"));
  }
  for (const std::string& warning : status.warnings())
    findings.push_back(doctor::Warn(kCheck, warning, "podwire status"));
  if (findings.empty()) findings.push_back(doctor::Pass(kCheck, fmt::format("serves {}", status.node())));
  return findings;
}

nlohmann::ordered_json FindingJson(const Finding& f) {
  nlohmann::ordered_json json{{"check", f.check}, {"result", doctor::ToString(f.result)}, {"found", f.found}};
  if (!f.cure.empty()) json["cure"] = f.cure;
  return json;
}

View<Finding> FindingView() {
  return {.columns = {{"RESULT", [](const Finding& f) { return std::string(doctor::ToString(f.result)); }},
                      {"CHECK", [](const Finding& f) { return f.check; }},
                      {"FOUND", [](const Finding& f) { return f.found; }}},
          .json = FindingJson,
          .name = [](const Finding& f) { return f.check; }};
}

/// What is to be done, in the order of the checks.
std::string Cures(const Findings& findings) {
  std::string text;
  for (const Finding& f : findings) {
    if (f.cure.empty()) continue;
    text +=
        fmt::format("{}{} {}: {}\n", text.empty() ? "\n" : "", doctor::ToString(f.result), f.check, f.cure);
  }
  return text;
}

std::string Summary(const Findings& findings) {
  const auto count = [&](Result result) { return std::ranges::count(findings, result, &Finding::result); };
  return fmt::format("\n{} passed, {} warnings, {} failed\n", count(Result::kPass), count(Result::kWarn),
                     count(Result::kFail));
}

/// The configuration, with what is wrong with it as a finding; without one, checks go by the defaults.
Config ReadConfig(const std::string& file, bool named, Findings& findings) {
  constexpr const char* kCheck = "configuration";
  auto config = LoadConfig(file);
  if (config.ok()) {
    findings.push_back(doctor::Pass(kCheck, file));
    return *std::move(config);
  }
  const bool absent = config.status().code() == absl::StatusCode::kNotFound;
  const std::string cure =
      absent ? "write it (docs/install.md), or name another by --config" : "podwired --check-config " + file;
  findings.push_back(absent && !named ? doctor::Warn(kCheck, Message(config.status()), cure)
                                      : doctor::Fail(kCheck, Message(config.status()), cure));
  Config defaults;
  defaults.workers.clear();  // nobody has said that there is a CPU 1
  return defaults;
}

/// Where podwired is to be asked: as the command line says, else as the configuration does.
Options OptionsFor(const Options& given, const Config& config) {
  Options options = given;
  if (given.server != Options().server) return options;
  const ListenAddress& l = config.listen;
  options.server = l.unix_path.empty() ? fmt::format("{}:{}", l.host, l.port) : "unix://" + l.unix_path;
  return options;
}

absl::StatusOr<Exit> Examine(Session& session, const std::string& named_file) {
  const std::string file = named_file.empty() ? kDefaultFile : named_file;
  Findings findings;
  const Config config = ReadConfig(file, !named_file.empty(), findings);
  const Findings of_machine = doctor::CheckAll(Machine::Own(), config);
  const Options options = OptionsFor(session.options(), config);
  Session to_podwired(options);
  const Findings of_podwired = CheckPodwired(to_podwired, file);
  findings.insert(findings.end(), of_machine.begin(), of_machine.end());
  findings.insert(findings.end(), of_podwired.begin(), of_podwired.end());
  const Format format = session.options().format;
  const bool table = format == Format::kTable || format == Format::kWide;
  Print(Render(FindingView(), findings, format, /*single=*/false));
  if (table) Print(Cures(findings) + Summary(findings));
  const bool failed = std::ranges::find(findings, Result::kFail, &Finding::result) != findings.end();
  return failed ? Exit::kRefused : Exit::kOk;
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("doctor",
                                     "Whether this machine has what podwired needs, and what mends it; "
                                     "changes nothing. Exit status 1 if a check failed");
  auto file = std::make_shared<std::string>();
  command->add_option("--config", *file, fmt::format("podwired's configuration (default {})", kDefaultFile))
      ->type_name("FILE");
  command->callback(
      [&context, file] { context.run = [file](Session& session) { return Examine(session, *file); }; });
}

}  // namespace podwire::cli
