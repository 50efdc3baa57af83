#include "pmd/guest_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <thread>

#include <gtest/gtest.h>

#include "pmd/fd.h"

namespace podwire {
namespace guest_memory_test {

constexpr size_t kPage = 4096;

class GuestMemoryTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(OutliveLostGuestMemory().ok()); }
  void TearDown() override { std::signal(SIGBUS, SIG_DFL); }

  /// Four pages of a file, of which the last two are then taken away; a page of ours before and behind.
  volatile uint8_t* LostPages(int flags) {
    const Fd file(memfd_create("guest", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file.get(), 4 * kPage), 0);
    void* room = mmap(nullptr, 6 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(room, MAP_FAILED);
    auto* bytes = static_cast<uint8_t*>(room) + kPage;
    EXPECT_EQ(mmap(bytes, 4 * kPage, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file.get(), 0), bytes);
    bytes[-1] = bytes[4 * kPage] = 7;
    bytes[0] = 1;
    EXPECT_EQ(ftruncate(file.get(), 2 * kPage), 0);
    return bytes;
  }
  static void Unmap(volatile uint8_t* bytes) { munmap(const_cast<uint8_t*>(bytes) - kPage, 6 * kPage); }
};

TEST_F(GuestMemoryTest, WhatAGuestTookBackIsZeros) {
  const uint64_t before = LostGuestMappings();
  volatile uint8_t* bytes = LostPages(MAP_SHARED);
  EXPECT_EQ(bytes[0], 1);
  EXPECT_EQ(LostGuestMappings(), before) << "not touched yet";
  EXPECT_EQ(bytes[2 * kPage], 0);
  bytes[3 * kPage + 7] = 9;
  EXPECT_EQ(bytes[3 * kPage + 7], 9);
  EXPECT_EQ(bytes[0], 0) << "all of it is gone";
  EXPECT_EQ(bytes[-1], 7);
  EXPECT_EQ(bytes[4 * kPage], 7);
  EXPECT_EQ(LostGuestMappings(), before + 1);
  Unmap(bytes);
}

TEST_F(GuestMemoryTest, SeveralThreadsAtOnePage) {
  for (int round = 0; round < 200; ++round) {
    volatile uint8_t* bytes = LostPages(MAP_SHARED);
    std::atomic<int> ready{0};
    const auto touch = [&] {
      ++ready;
      while (ready != 2) continue;
      (void)bytes[3 * kPage];
    };
    std::thread other(touch);
    touch();
    other.join();
    Unmap(bytes);
  }
}

TEST_F(GuestMemoryTest, OtherBusErrorsEndTheProcess) {
  EXPECT_EXIT((void)LostPages(MAP_PRIVATE)[3 * kPage], testing::KilledBySignal(SIGBUS), "");
}

}  // namespace guest_memory_test
}  // namespace podwire
