#include "pmd/eal.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>

#include "net/status.h"
#include "pmd/mempool.h"

namespace podwire {
namespace eal_test {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string Prefix() { return fmt::format("pweal{}", getppid()); }
EalOptions Small() { return {.file_prefix = Prefix(), .memory_mb = 64, .hugepages = HugepageUse::kOff}; }

/// EAL starts once a process, so each case has its own. What `body` returns is the child's last words.
std::string InChild(const std::function<std::string()>& body) {
  std::array<int, 2> fds{};
  EXPECT_EQ(pipe(fds.data()), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string text = body();
    _exit(write(fds[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(fds[1]);
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t n = 0; (n = read(fds[0], buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<size_t>(n));
  close(fds[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  return text;
}

std::string Outcome(const EalOptions& options) {
  const auto info = InitEal(options);
  return info.ok() ? "ok " + info->why : Message(info.status());
}

TEST(Eal, RunsWithoutHugepagesAndTidiesUp) {
  const std::string text = InChild([] {
    EalOptions options = Small();
    options.worker_cpus = {"0", "0"};
    const std::string outcome = Outcome(options);
    const std::string directory = rte_eal_get_runtime_dir();
    const bool had = fs::exists(directory);
    const unsigned lcores = rte_lcore_count();
    bool pools = false;
    {
      const auto created = MbufPools::Create({.small_count = 2048, .big_count = 64});
      pools = created.ok();
    }
    ShutdownEal();
    return fmt::format("{}, {} lcores, pools {}, directory {} then {}", outcome, lcores, pools, had,
                       fs::exists(directory));
  });
  EXPECT_EQ(text, "ok configured off, 3 lcores, pools true, directory true then false");
}

TEST(Eal, TooSmallAMemoryForThePoolsIsSaid) {
  const std::string text = InChild([] {
    std::string said = Outcome(Small());
    said += "; " + Message(MbufPools::Create({.small_count = 100000}).status());
    ShutdownEal();
    return said;
  });
  EXPECT_THAT(text, HasSubstr("raise memory"));
}

TEST(Eal, TakesNoDeviceByItself) {
  EXPECT_EQ(InChild([] {
              const std::string outcome = Outcome(Small());
              const int devices = rte_eth_dev_count_avail();
              ShutdownEal();
              return fmt::format("{}; {} devices", outcome, devices);
            }),
            "ok configured off; 0 devices");
}

TEST(Eal, SaysWhenThePrefixIsTaken) {
  const std::string text = InChild([] {
    EalOptions options = Small();
    options.file_prefix = fmt::format("pweal{}", getpid());
    std::string said = Outcome(options);
    std::array<int, 2> fds{};
    if (pipe(fds.data()) != 0) return std::string("pipe");
    const pid_t second = fork();
    if (second == 0) {
      execl("/proc/self/exe", "eal_test", "--second", options.file_prefix.c_str(),
            fmt::format("{}", fds[1]).c_str(), nullptr);
      _exit(1);
    }
    close(fds[1]);
    std::array<char, 1024> buffer;
    const ssize_t n = read(fds[0], buffer.data(), buffer.size());
    waitpid(second, nullptr, 0);
    said += "; " + std::string(buffer.data(), static_cast<size_t>(std::max<ssize_t>(n, 0)));
    ShutdownEal();
    return said;
  });
  EXPECT_THAT(text, HasSubstr("ok configured off; start DPDK: "));
  EXPECT_THAT(text, HasSubstr("another process uses file prefix pweal"));
}

TEST(Eal, BadOptionsAreNamedAndNothingIsStarted) {
  EXPECT_THAT(Outcome({.file_prefix = "../x"}), HasSubstr("file prefix \"../x\""));
  EXPECT_THAT(Outcome({.file_prefix = ""}), HasSubstr("file prefix"));
  EXPECT_THAT(Outcome({.memory_mb = 1}), HasSubstr("memory: 1 MB"));
  EXPECT_THAT(Outcome({.main_cpus = "x"}), HasSubstr("control CPUs (lcores.control): \"x\""));
  EXPECT_THAT(Outcome({.main_cpus = "0,"}), HasSubstr("control CPUs (lcores.control): \"0,\""));
  EXPECT_THAT(Outcome({.worker_cpus = {"0", "0-"}}), HasSubstr("CPUs of worker 1: \"0-\""));
  EXPECT_THAT(Outcome({.worker_cpus = {""}}), HasSubstr("CPUs of worker 0"));
  EXPECT_THAT(Outcome({.worker_cpus = {"0-1000"}}), HasSubstr("may not be used"));
  EXPECT_THAT(Outcome({.worker_cpus = std::vector<std::string>(200, "0")}), HasSubstr("workers: 200"));
  EXPECT_THAT(Outcome({.memory_mb = 1 << 30, .hugepages = HugepageUse::kOn}), HasSubstr("vm.nr_hugepages"));
}

}  // namespace eal_test

/// The second process of SaysWhenThePrefixIsTaken: tries the prefix and writes what became of it.
int RunSecond(const char* prefix, int fd) {
  const std::string text =
      eal_test::Outcome({.file_prefix = prefix, .memory_mb = 64, .hugepages = HugepageUse::kOff});
  return write(fd, text.data(), text.size()) > 0 ? 0 : 1;
}

}  // namespace podwire

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "--second")
    return podwire::RunSecond(argv[2], std::atoi(argv[3]));
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
