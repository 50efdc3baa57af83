#include "pmd/eal.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <absl/strings/str_join.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include "net/status.h"
#include "pmd/eal_log.h"

namespace podwire {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kMinMemoryMb = 64;
constexpr std::string_view kPrefixChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

cpu_set_t AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  return set;
}

/// One "3" or "0-2"; moves `text` behind it. False when it is neither.
bool TakeRange(std::string_view& text, unsigned& first, unsigned& last) {
  const auto number = [&](unsigned& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return error == std::errc() && value < CPU_SETSIZE;
  };
  if (!number(first)) return false;
  last = first;
  if (!text.starts_with('-')) return true;
  text.remove_prefix(1);
  return number(last) && last >= first;
}

absl::Status CheckCpuList(std::string_view option, std::string_view list) {
  const cpu_set_t allowed = AllowedCpus();
  std::string_view rest = list;
  do {
    unsigned first = 0;
    unsigned last = 0;
    if (!TakeRange(rest, first, last) || !(rest.empty() || rest.starts_with(','))) {
      return InvalidArgument("{}: \"{}\": expected a CPU list like \"0\" or \"0-1,4\"", option, list);
    }
    for (unsigned cpu = first; cpu <= last; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed))
        return InvalidArgument("{}: CPU {} does not exist or may not be used by this process", option, cpu);
    }
    if (rest == ",") return InvalidArgument("{}: \"{}\" ends with a comma", option, list);
    rest.remove_prefix(std::min<size_t>(1, rest.size()));
  } while (!rest.empty());
  return absl::OkStatus();
}

std::string AllowedCpuList() {
  const cpu_set_t allowed = AllowedCpus();
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  return absl::StrJoin(cpus, ",");
}

absl::Status CheckOptions(const EalOptions& o) {
  if (o.file_prefix.empty() || o.file_prefix.size() > 64 || o.file_prefix.starts_with('.') ||
      o.file_prefix.find_first_not_of(kPrefixChars) != std::string::npos) {
    return InvalidArgument("file prefix \"{}\": expected 1 to 64 letters, digits, '-', '_' or '.'",
                           o.file_prefix);
  }
  if (o.memory_mb < kMinMemoryMb)
    return InvalidArgument("memory: {} MB is less than {}", o.memory_mb, kMinMemoryMb);
  if (o.worker_cpus.size() >= RTE_MAX_LCORE)
    return InvalidArgument("workers: {} are too many, at most {}", o.worker_cpus.size(), RTE_MAX_LCORE - 1);
  if (!o.main_cpus.empty()) RETURN_IF_ERROR(CheckCpuList("control CPUs (lcores.control)", o.main_cpus));
  for (size_t i = 0; i < o.worker_cpus.size(); ++i) {
    RETURN_IF_ERROR(CheckCpuList(fmt::format("CPUs of worker {}", i), o.worker_cpus[i]));
  }
  return absl::OkStatus();
}

/// Megabytes of free hugepages of all sizes.
uint64_t FreeHugepageMb() {
  uint64_t mb = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator("/sys/kernel/mm/hugepages", error)) {
    uint64_t pages = 0;
    uint64_t kb = 0;
    const std::string name = entry.path().filename();  // hugepages-2048kB
    if (!name.starts_with("hugepages-")) continue;
    std::from_chars(name.data() + 10, name.data() + name.size(), kb);
    std::ifstream(entry.path() / "free_hugepages") >> pages;
    mb += pages * kb / 1024;
  }
  return mb;
}

absl::StatusOr<EalInfo> ChooseMemory(const EalOptions& o) {
  const uint64_t free_mb = FreeHugepageMb();
  const bool enough = free_mb >= o.memory_mb;
  const std::string found = fmt::format("{} MB of free hugepages for {} MB", free_mb, o.memory_mb);
  if (o.hugepages == HugepageUse::kOn && !enough) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "hugepages: {}: reserve some (sysctl vm.nr_hugepages={}) or let podwire do without", found,
                 (o.memory_mb + 1) / 2);
  }
  if (o.hugepages == HugepageUse::kOff)
    return EalInfo{.hugepages = false, .why = "configured off", .memory_mb = o.memory_mb};
  return EalInfo{.hugepages = enough, .why = found, .memory_mb = o.memory_mb};
}

std::vector<std::string> Arguments(const EalOptions& o, const EalInfo& info) {
  std::string lcores = fmt::format("0@({})", o.main_cpus.empty() ? AllowedCpuList() : o.main_cpus);
  for (size_t i = 0; i < o.worker_cpus.size(); ++i)
    lcores += fmt::format(",{}@({})", i + 1, o.worker_cpus[i]);
  std::vector<std::string> args = {"podwired",     "--lcores", lcores,
                                   "--main-lcore", "0",        "--file-prefix",
                                   o.file_prefix,  "-m",       fmt::format("{}", o.memory_mb),
                                   "--log-level",  "warning"};
  if (info.hugepages) {
    args.emplace_back("--in-memory");  // memfd: needs no hugetlbfs mount and leaves no files
  } else {
    args.insert(args.end(), {"--no-huge", "--iova-mode", "va"});  // --in-memory is refused beside --no-huge
  }
  if (!o.telemetry) args.emplace_back("--no-telemetry");
  // EAL is to touch no device by itself: ports attach theirs. An allow list that matches nothing rather than
  // --no-pci, after which none could be attached.
  if (!fs::exists("/sys/bus/pci/devices")) {
    args.emplace_back("--no-pci");
  } else {
    args.insert(args.end(), {"-a", "ffff:ff:1f.7"});
  }
  return args;
}

absl::Status StartError(int error, const std::string& said, const EalOptions& o) {
  std::string cure;
  if (said.find("lock") != std::string::npos || said.find("nother primary") != std::string::npos) {
    cure = fmt::format(": another process uses file prefix {}; choose another", o.file_prefix);
  } else if (error == EACCES || error == EPERM) {
    cure = ": run as root";
  } else if (error == ENOMEM) {
    cure = ": free memory or configure less";
  }
  return Error(absl::StatusCode::kFailedPrecondition, "start DPDK: {}{}",
               said.empty() ? rte_strerror(error) : said, cure);
}

}  // namespace

absl::StatusOr<EalInfo> InitEal(const EalOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(EalInfo info, ChooseMemory(options));
  std::vector<std::string> args = Arguments(options, info);
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  OpenEalLog(options.log);
  const EalLogCapture capture;
  if (rte_eal_init(static_cast<int>(args.size()), argv.data()) < 0) {
    return StartError(rte_errno, capture.Text(), options);
  }
  return info;
}

void ShutdownEal() {
  const fs::path directory = rte_eal_get_runtime_dir();
  rte_eal_cleanup();
  std::error_code ignored;  // nothing depends on it: the next start overwrites what is there
  fs::remove_all(directory, ignored);
}

}  // namespace podwire
