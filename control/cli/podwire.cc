// podwire, the admin client: every command is a call or two of podwired's gRPC API. docs/cli.md shows each.

#include <algorithm>
#include <cctype>
#include <map>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/cli/command.h"
#include "control/client/channel.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

std::string ValidateServer(const std::string& text) {
  const auto target = ServerTarget(text);
  return target.ok() ? "" : Message(target.status());
}

void AddGlobalOptions(CLI::App& app, Options& options) {
  app.add_option("--server", options.server, "podwired's address: a UNIX socket's path or HOST:PORT")
      ->envname("PODWIRE_SERVER")
      ->check(ValidateServer)
      ->type_name("ADDRESS")
      ->capture_default_str();
  static const std::map<std::string, Format> formats{
      {"table", Format::kTable}, {"wide", Format::kWide}, {"json", Format::kJson}, {"name", Format::kName}};
  app.add_option_function<std::string>(
         "-o,--output", [&options](const std::string& name) { options.format = formats.at(name); },
         "table (default), wide, json or name")
      ->check(CLI::IsMember({"table", "wide", "json", "name"}).description(""))
      ->type_name("FORMAT");
  app.add_option("--timeout", options.timeout_seconds, "Seconds to wait for an answer")
      ->check(CLI::Range(0.1, 3600.0).description(""))
      ->type_name("SECONDS")
      ->capture_default_str();
  app.set_version_flag("--version", "podwire " PODWIRE_VERSION);
}

Exit ExitOf(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ? Exit::kUnreachable : Exit::kRefused;
}

/// A manifest's names come back in messages: nothing in them may steer the terminal.
std::string Printable(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return std::iscntrl(c) != 0 && c != '\n'; }, '?');
  return text;
}

Exit Run(const Context& context) {
  Session session(context.options);
  const absl::StatusOr<Exit> exit = context.run(session);
  if (exit.ok()) return *exit;
  fmt::print(stderr, "podwire: {}\n", Printable(Message(exit.status())));
  return ExitOf(exit.status());
}

int Main(int argc, char** argv) {
  Context context;
  CLI::App app(
      "Admin client of podwire, the userspace switch for Kubernetes pods.\n"
      "Exit status: 0 done (explain: allowed), 1 refused (explain: denied), 2 wrong usage, 3 podwired not "
      "reachable.",
      "podwire");
  app.require_subcommand(1);
  app.fallthrough();
  AddGlobalOptions(app, context.options);
  AddInspectCommands(app, context);
  AddDropsCommand(app, context);
  AddApplyCommands(app, context);
  AddGetCommand(app, context);
  AddFlowCommands(app, context);
  AddExplainCommand(app, context);
  AddPortCommands(app, context);
  AddWorkerCommands(app, context);
  AddDoctorCommand(app, context);
  AddCompletionCommand(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : static_cast<int>(Exit::kUsage);
  }
  return static_cast<int>(Run(context));
}

}  // namespace
}  // namespace podwire::cli

int main(int argc, char** argv) { return podwire::cli::Main(argc, argv); }
