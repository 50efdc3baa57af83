#include "switch/mailbox.h"

#include <thread>

#include <gtest/gtest.h>

namespace podwire {
namespace mailbox_test {

TEST(MailboxTest, RunsBetweenPolls) {
  Mailbox<int> mailbox;
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    int context = 7;
    while (!stop) mailbox.Poll(context);
    mailbox.Close(context);
  });
  int seen = 0;
  EXPECT_TRUE(mailbox.Run([&](int& context) { seen = context++; }, [] {}));
  EXPECT_EQ(seen, 7);
  EXPECT_TRUE(mailbox.Run([&](int& context) { seen = context; }, [] {}));
  EXPECT_EQ(seen, 8);
  stop = true;
  worker.join();
  EXPECT_FALSE(mailbox.Run([&](int&) { seen = 0; }, [] {})) << "closed";
  EXPECT_EQ(seen, 8);
}

TEST(MailboxTest, ClosingLeavesNobodyWaiting) {
  for (int round = 0; round < 300; ++round) {
    Mailbox<int> mailbox;
    int run = 0;
    std::thread caller([&] {
      while (mailbox.Run([&](int&) { ++run; }, [] {})) {
      }
    });
    int context = 0;
    for (int i = 0; i < round; ++i) mailbox.Poll(context);
    mailbox.Close(context);
    caller.join();
    SUCCEED() << run;
  }
}

}  // namespace mailbox_test
}  // namespace podwire
