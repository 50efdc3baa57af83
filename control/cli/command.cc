#include "control/cli/command.h"

#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "net/address.h"
#include "net/status.h"

namespace podwire::cli {
namespace {

constexpr char kDefaultInterval[] = "2";

/// Those that end a watch. Before gRPC makes its threads, so that they do not take them.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

/// Whether one of the (blocked) signals came within the time.
bool WaitForSignal(const sigset_t& signals, double seconds) {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(std::floor(seconds));
  timeout.tv_nsec = static_cast<long>((seconds - std::floor(seconds)) * 1e9);
  return sigtimedwait(&signals, nullptr, &timeout) > 0;
}

std::string Now() {
  const std::time_t now = std::time(nullptr);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

}  // namespace

bool Print(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

OnInterrupt::OnInterrupt(std::function<void()> cancel) {
  const sigset_t signals = BlockSignals();
  thread_ = std::thread([this, signals, cancel = std::move(cancel)] {
    constexpr double kLookSeconds = 0.1;
    while (!ended_.load()) {
      if (WaitForSignal(signals, kLookSeconds)) return cancel();
    }
  });
}

OnInterrupt::~OnInterrupt() {
  ended_.store(true);
  thread_.join();
}

absl::StatusOr<Exit> Repeat(double interval_seconds, const std::function<absl::Status()>& once) {
  if (interval_seconds <= 0) {
    RETURN_IF_ERROR(once());
    return Exit::kOk;
  }
  const sigset_t signals = BlockSignals();
  do {
    if (!Print(fmt::format("# {}\n", Now()))) return Exit::kOk;
    RETURN_IF_ERROR(once());
    if (!Print("\n")) return Exit::kOk;
  } while (!WaitForSignal(signals, interval_seconds));
  return Exit::kOk;
}

PodRef ParsePodRef(std::string_view text, std::string_view default_namespace) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return {std::string(default_namespace), std::string(text)};
  return {std::string(text.substr(0, slash)), std::string(text.substr(slash + 1))};
}

std::string ValidatePrefix(const std::string& text) {
  if (ParseIp(text).ok() || ParsePrefix(text).ok()) return "";
  return fmt::format("\"{}\" is no address or CIDR, like 10.244.1.2 or 10.244.0.0/16", text);
}

void AddWatchOption(CLI::App& command, double& seconds) {
  command.add_option("--watch,-w", seconds, "Again every SECONDS, until Ctrl-C")
      ->type_name("[SECONDS]")
      ->expected(0, 1)
      ->default_str(kDefaultInterval)
      ->check(CLI::Range(0.1, 86400.0));
}

}  // namespace podwire::cli
