#include <algorithm>
#include <set>

#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include "control/doctor/checks.h"

namespace podwire::doctor {
namespace {

const std::string kCpus = "/sys/devices/system/cpu";

std::set<unsigned> CpuSet(const Machine& machine, const std::string& path) {
  const std::vector<unsigned> cpus = ParseCpuList(machine.Read(path).value_or(""));
  return {cpus.begin(), cpus.end()};
}

/// What the first CPU says it can do.
std::set<std::string> CpuFlags(const Machine& machine) {
  const std::string text = machine.Read("/proc/cpuinfo").value_or("");
  const size_t line = text.find("\nflags");
  if (line == std::string::npos) return {};
  const size_t colon = text.find(':', line);
  const std::string flags = text.substr(colon + 1, text.find('\n', colon) - colon - 1);
  std::set<std::string> found;
  for (size_t at = 0; at < flags.size();) {
    const size_t end = std::min(flags.find(' ', at), flags.size());
    if (end > at) found.insert(flags.substr(at, end - at));
    at = end + 1;
  }
  return found;
}

Findings CheckInstructions(const Machine& machine) {
  const std::set<std::string> flags = CpuFlags(machine);
  if (flags.empty()) return {};
  Findings findings;
  if (flags.contains("sse4_2") && flags.contains("popcnt")) {
    findings.push_back(Pass("instructions", flags.contains("avx2") ? "x86-64-v2 and AVX2" : "x86-64-v2"));
  } else {
    findings.push_back(Fail("instructions", "no SSE4.2 or no POPCNT, which DPDK is built for",
                            "a CPU of 2009 or later; in a virtual machine: a CPU model like \"host\""));
  }
  if (flags.contains("constant_tsc") && flags.contains("nonstop_tsc")) {
    findings.push_back(Pass("clock", "the TSC runs at one pace"));
  } else {
    findings.push_back(Warn("clock",
                            "the TSC is not said to run at one pace: time-outs and latencies may be off",
                            "in a virtual machine: pass the host's invariant TSC through (invtsc)"));
  }
  return findings;
}

/// One worker's CPU by itself.
Finding CheckCpu(const Machine& machine, const WorkerConfig& worker, const std::set<unsigned>& online) {
  const std::string name = fmt::format("CPU {}", worker.cpu);
  if (!online.contains(worker.cpu)) {
    return Fail(name,
                fmt::format("a worker's, and not there: online are {}",
                            machine.Read(kCpus + "/online").value_or("none")),
                "name others in \"lcores.workers\"");
  }
  const std::string governor =
      machine.Read(fmt::format("{}/cpu{}/cpufreq/scaling_governor", kCpus, worker.cpu))
          .value_or("performance");
  if (governor != "performance") {
    return Warn(name, fmt::format("a worker's, slowed down by the frequency governor \"{}\"", governor),
                fmt::format("echo performance > {}/cpu{}/cpufreq/scaling_governor", kCpus, worker.cpu));
  }
  if (worker.mode == WorkerMode::kPoll && !CpuSet(machine, kCpus + "/isolated").contains(worker.cpu)) {
    return Warn(
        name, "a worker's that polls, and others are scheduled there too",
        fmt::format("isolcpus={} on the kernel's command line, or \"mode\": \"adaptive\"", worker.cpu));
  }
  return Pass(name, "a worker's");
}

/// Threads of podwired that get into each other's way.
Findings CheckSharing(const Machine& machine, const Config& config) {
  Findings findings;
  std::set<unsigned> taken;
  for (const WorkerConfig& worker : config.workers) {
    const std::string name = fmt::format("CPU {}", worker.cpu);
    if (worker.cpu == config.control_lcore) {
      findings.push_back(Warn(name, "a worker's and \"lcores.control\" as well", "give control another CPU"));
    }
    std::set<unsigned> siblings =
        CpuSet(machine, fmt::format("{}/cpu{}/topology/thread_siblings_list", kCpus, worker.cpu));
    siblings.erase(worker.cpu);
    std::vector<unsigned> shared;
    std::ranges::set_intersection(siblings, taken, std::back_inserter(shared));
    if (!shared.empty()) {
      findings.push_back(
          Warn(name,
               fmt::format("shares a core (hyper-threads) with CPU {}, which is another worker's",
                           absl::StrJoin(shared, ", ")),
               "one worker a core"));
    }
    taken.insert(worker.cpu);
  }
  return findings;
}

}  // namespace

Findings CheckCpus(const Machine& machine, const Config& config) {
  Findings findings = CheckInstructions(machine);
  const std::set<unsigned> online = CpuSet(machine, kCpus + "/online");
  if (online.empty()) return findings;
  for (const WorkerConfig& worker : config.workers) findings.push_back(CheckCpu(machine, worker, online));
  Findings sharing = CheckSharing(machine, config);
  std::ranges::move(sharing, std::back_inserter(findings));
  return findings;
}

}  // namespace podwire::doctor
