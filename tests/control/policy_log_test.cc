#include "control/policy_log.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "temp_dir.h"

namespace podwire {
namespace {

NamedEvent Verdict(int second = 0) {
  return {
      .time = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000 + second)),
      .kind = EventKind::kVerdict,
      .tuple = {.src = *ParseIp("10.244.1.2"), .dst = *ParseIp("10.244.1.3"), .dst_port = 80, .proto = 6}};
}

std::vector<std::string> LinesOf(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(PolicyLogTest, NoVerdictNoFile) {
  const TempDir dir;
  PolicyLog log({}, dir.path(), "n");
  log.Flush();
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(PolicyLogTest, GoesOnWhereTheLastRunEnded) {
  const TempDir dir;
  for (int run = 0; run < 2; ++run) {
    PolicyLog log({}, dir.path(), "n");
    log.Write(Verdict(), 0);
  }
  EXPECT_EQ(LinesOf(dir.File("policy.log")).size(), 2u);
}

TEST(PolicyLogTest, FilesAreBoundedInSizeAndNumber) {
  const TempDir dir;
  PolicyLog log({.file = "v.log", .max_mb = 1, .files = 3}, dir.path(), "n");
  const size_t length = PolicyLogLine(Verdict(), "n", 0).size() + 1;
  const size_t lines = 5 * (1 << 20) / length;
  for (size_t i = 0; i < lines; ++i) log.Write(Verdict(static_cast<int>(i / 1000)), 0);
  log.Flush();
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(dir.path())) {
    names.insert(file.path().filename());
    EXPECT_LE(file.file_size(), 1u << 20) << file.path();
  }
  EXPECT_EQ(names, (std::set<std::string>{"v.log", "v.1.log", "v.2.log"}));
  EXPECT_EQ(log.left_out(), 0u);
}

TEST(PolicyLogTest, OneFileAlone) {
  const TempDir dir;
  PolicyLog log({.file = "v.log", .max_mb = 1, .files = 1}, dir.path(), "n");
  for (int i = 0; i < 12'000; ++i) log.Write(Verdict(i / 1000), 0);
  log.Flush();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
  EXPECT_LE(std::filesystem::file_size(dir.File("v.log")), 1u << 20);
}

TEST(PolicyLogTest, TooManyInASecondAreCounted) {
  const TempDir dir;
  PolicyLog log({}, dir.path(), "n");
  for (uint32_t i = 0; i < PolicyLog::kLinesPerSecond + 30; ++i) log.Write(Verdict(), 2);
  EXPECT_EQ(log.left_out(), 30u);
  log.Write(Verdict(1), 2);
  log.Write(Verdict(1), 4);
  log.Flush();
  const auto lines = LinesOf(dir.File("policy.log"));
  ASSERT_EQ(lines.size(), PolicyLog::kLinesPerSecond + 2);
  const auto left_out = [&](size_t i) { return nlohmann::json::parse(lines[i]).value("leftOut", 0); };
  EXPECT_EQ(left_out(0), 2) << "before it came here";
  EXPECT_EQ(left_out(1), 0) << "told already";
  EXPECT_EQ(left_out(lines.size() - 2), 30);
  EXPECT_EQ(left_out(lines.size() - 1), 2);
}

TEST(PolicyLogTest, AFileThatCannotBeMadeCostsLinesNotMore) {
  const TempDir dir;
  PolicyLog log({}, dir.File("missing"), "n");
  std::ofstream(dir.File("missing")) << "a file where a directory should be";
  log.Write(Verdict(), 0);
  log.Write(Verdict(), 0);
  log.Flush();
  EXPECT_EQ(log.left_out(), 2u);
}

TEST(PolicyLogTest, TimeHasMicroseconds) {
  using namespace std::chrono;
  EXPECT_EQ(TimeText(system_clock::time_point(seconds(1'700'000'000) + microseconds(42))),
            "2023-11-14T22:13:20.000042Z");
}

}  // namespace
}  // namespace podwire
