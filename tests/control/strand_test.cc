#include "control/strand.h"

#include <atomic>
#include <chrono>

#include <gtest/gtest.h>

namespace podwire {
namespace {

TEST(StrandTest, RunsInOrderAndAnswersAfterThePublication) {
  std::vector<std::string> log;
  Strand strand([](const std::function<void()>& fn) { fn(); }, [&] { log.emplace_back("publish"); });
  const absl::Status status = strand.Run({.prepare =
                                              [&] {
                                                log.emplace_back("prepare");
                                                return absl::OkStatus();
                                              },
                                          .commit = [&] { log.emplace_back("commit"); },
                                          .after = [&] { log.emplace_back("after"); }});
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(log, (std::vector<std::string>{"prepare", "commit", "publish", "after"}));
}

TEST(StrandTest, ARefusedChangeCommitsNothing) {
  bool touched = false;
  Strand strand([](const std::function<void()>& fn) { fn(); }, [&] { touched = true; });
  const absl::Status status = strand.Run({.prepare = [] { return absl::NotFoundError("x"); },
                                          .commit = [&] { touched = true; },
                                          .after = [&] { touched = true; }});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(touched);
  EXPECT_EQ(strand.publications(), 0u);
  EXPECT_TRUE(strand.Run({.commit = [] {}, .publish = false}).ok());
  EXPECT_EQ(strand.publications(), 0u);
}

TEST(StrandTest, AStormSharesPublications) {
  std::atomic<int> committed{0};
  std::atomic<int> published_with{0};  // the next storm's publication may already run when a change returns
  Strand strand([](const std::function<void()>& fn) { fn(); },
                [&] {
                  published_with = committed.load();
                  std::this_thread::sleep_for(std::chrono::milliseconds(20));
                });
  std::vector<std::thread> threads;
  for (int i = 0; i < 50; ++i) {
    threads.emplace_back([&] {
      int own = 0;
      EXPECT_TRUE(strand.Run({.commit = [&] { own = ++committed; }}).ok());
      EXPECT_GE(published_with, own) << "answered before its change was published";
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(committed, 50);
  EXPECT_LT(strand.publications(), 20u);
}

}  // namespace
}  // namespace podwire
