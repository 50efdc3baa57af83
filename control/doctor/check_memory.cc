#include <charconv>

#include <fmt/format.h>

#include "control/doctor/checks.h"

namespace podwire::doctor {
namespace {

const std::string kHugepages = "/sys/kernel/mm/hugepages";

/// Megabytes in hugepages of all sizes.
struct Hugepages {
  uint64_t reserved_mb = 0;
  uint64_t free_mb = 0;
};

/// The usual pool, which a running machine can enlarge.
const std::string kPool = kHugepages + "/hugepages-2048kB/nr_hugepages";

Hugepages ReadHugepages(const Machine& machine) {
  Hugepages pages;
  for (const std::string& size : machine.List(kHugepages)) {
    constexpr std::string_view kPrefix = "hugepages-";  // hugepages-2048kB
    if (!size.starts_with(kPrefix)) continue;
    uint64_t kb = 0;
    std::from_chars(size.data() + kPrefix.size(), size.data() + size.size(), kb);
    pages.reserved_mb +=
        machine.ReadNumber(kHugepages + "/" + size + "/nr_hugepages").value_or(0) * kb / 1024;
    pages.free_mb += machine.ReadNumber(kHugepages + "/" + size + "/free_hugepages").value_or(0) * kb / 1024;
  }
  return pages;
}

bool PodwiredRuns(const Machine& machine) {
  for (const std::string& process : machine.List("/proc")) {
    if (machine.Read("/proc/" + process + "/comm") == "podwired") return true;
  }
  return false;
}

/// The value of a line "MemAvailable:   123 kB" of /proc/meminfo in MB.
std::optional<uint64_t> AvailableMb(const Machine& machine) {
  const std::string text = machine.Read("/proc/meminfo").value_or("");
  const std::string key = "MemAvailable:";
  size_t at = text.find(key);
  if (at == std::string::npos) return std::nullopt;
  at = text.find_first_not_of(' ', at + key.size());
  if (at == std::string::npos) return std::nullopt;
  uint64_t kb = 0;
  const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), kb);
  return error == std::errc() ? std::optional(kb / 1024) : std::nullopt;
}

std::string ReserveCommand(const Machine& machine, const Hugepages& pages, const Config& config) {
  const uint64_t missing_mb = config.memory_mb - std::min<uint64_t>(pages.free_mb, config.memory_mb);
  return fmt::format("echo {} > {} (at boot: hugepages= on the kernel's command line)",
                     machine.ReadNumber(kPool).value_or(0) + (missing_mb + 1) / 2, kPool);
}

}  // namespace

Findings CheckMemory(const Machine& machine, const Config& config) {
  const Hugepages pages = ReadHugepages(machine);
  const std::string found = fmt::format("{} MB free of {} MB, podwired takes {} MB", pages.free_mb,
                                        pages.reserved_mb, config.memory_mb);
  Findings findings;
  bool enough = true;
  if (config.hugepages == "off") {
    findings.push_back(Pass("hugepages", "configured off"));
    enough = false;
  } else if (pages.free_mb >= config.memory_mb) {
    findings.push_back(Pass("hugepages", found));
  } else if (PodwiredRuns(machine) && pages.reserved_mb - pages.free_mb >= config.memory_mb) {
    findings.push_back(Pass("hugepages", found + "; a podwired runs and has its share"));
  } else if (config.hugepages == "on") {
    findings.push_back(Fail("hugepages", found, ReserveCommand(machine, pages, config)));
  } else {
    findings.push_back(Warn("hugepages", found + ": runs on ordinary memory, slower",
                            ReserveCommand(machine, pages, config)));
    enough = false;
  }
  if (enough) return findings;
  const auto available = AvailableMb(machine);
  if (available && *available < config.memory_mb && !PodwiredRuns(machine)) {
    findings.push_back(
        Fail("memory", fmt::format("{} MB available, podwired takes {} MB", *available, config.memory_mb),
             "free some, or lower \"memoryMb\""));
  } else if (available) {
    findings.push_back(Pass("memory", fmt::format("{} MB available", *available)));
  }
  return findings;
}

}  // namespace podwire::doctor
