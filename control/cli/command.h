#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include <absl/status/statusor.h>

#include "control/cli/session.h"

namespace CLI {
class App;
}

namespace podwire::cli {

/// What a parsed command line leaves: the global options and the command to run.
struct Context {
  Options options;
  std::function<absl::StatusOr<Exit>(Session&)> run;
};

// Each adds its commands to the parser; their callbacks set `context.run`.
void AddApplyCommands(CLI::App& app, Context& context);      // apply, delete
void AddGetCommand(CLI::App& app, Context& context);         // get
void AddFlowCommands(CLI::App& app, Context& context);       // flows, connections
void AddInspectCommands(CLI::App& app, Context& context);    // status, counters
void AddDropsCommand(CLI::App& app, Context& context);       // drops
void AddExplainCommand(CLI::App& app, Context& context);     // explain
void AddPortCommands(CLI::App& app, Context& context);       // ports add, ports remove
void AddWorkerCommands(CLI::App& app, Context& context);     // workers
void AddDoctorCommand(CLI::App& app, Context& context);      // doctor
void AddCompletionCommand(CLI::App& app, Context& context);  // completion bash

/// Prints at once; false if standard output is gone.
bool Print(std::string_view text);

/// Runs `cancel` when SIGINT or SIGTERM comes, as long as this lives. To be made before gRPC makes its
/// threads.
class OnInterrupt {
 public:
  explicit OnInterrupt(std::function<void()> cancel);
  ~OnInterrupt();
  OnInterrupt(const OnInterrupt&) = delete;
  OnInterrupt& operator=(const OnInterrupt&) = delete;

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

/// Runs `once` every `interval_seconds`, a line with the time before each, until SIGINT or SIGTERM; or just
/// once if the interval is 0. Returns the first error, else Exit::kOk.
absl::StatusOr<Exit> Repeat(double interval_seconds, const std::function<absl::Status()>& once);

/// A pod as the user writes it: "web" (of `default_namespace`) or "prod/web".
struct PodRef {
  std::string pod_namespace;
  std::string name;
};
PodRef ParsePodRef(std::string_view text, std::string_view default_namespace);

/// For CLI11's check(): what is wrong with an address or CIDR; empty: nothing.
std::string ValidatePrefix(const std::string& text);

/// Adds `--watch [SECONDS]`: 0 without it, 2 without a number.
void AddWatchOption(CLI::App& command, double& seconds);

}  // namespace podwire::cli
