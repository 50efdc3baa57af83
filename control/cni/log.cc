#include "control/cni/log.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "control/cni/error.h"
#include "net/status.h"

namespace podwire::cni {
namespace {

std::string Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char text[32];
  const size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03}Z", std::string_view(text, n), now.tv_nsec / 1000000);
}

}  // namespace

void Log(const NetConf& conf, std::string_view line) {
  if (conf.log_file.empty()) return;
  std::string text = fmt::format("{} pid={} {}", Now(), getpid(), line);
  // A value may hold anything: one call stays one line.
  std::ranges::replace_if(
      text, [](unsigned char c) { return std::iscntrl(c); }, ' ');
  text += '\n';
  const int fd = open(conf.log_file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  const bool written = fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (!written) fmt::print(stderr, "podwire-cni: logFile {}: {}\n", conf.log_file, std::strerror(errno));
  if (fd >= 0) close(fd);
}

CallLog::CallLog(const NetConf& conf, const Environment& env) : conf_(conf), env_(env) {
  if (conf.log_debug) {
    Log(conf,
        fmt::format("level=debug command={} configuration={}", ToString(env.command), Dump(conf.document)));
  }
}

absl::StatusOr<std::string> CallLog::Done(absl::StatusOr<std::string> outcome) const {
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start_);
  const std::string call =
      fmt::format("command={} container={} ifname={} pod={}/{} ms={}", ToString(env_.command),
                  env_.container_id, env_.ifname, env_.pod_namespace, env_.pod_name, ms.count());
  if (outcome.ok()) {
    if (conf_.log_successes)
      Log(conf_, fmt::format("level=info {} result={}", call, outcome->empty() ? "ok" : *outcome));
  } else {
    Log(conf_,
        fmt::format("level=error {} error={}", call, Dump(ErrorJson(conf_.cni_version, outcome.status()))));
  }
  return outcome;
}

}  // namespace podwire::cni
