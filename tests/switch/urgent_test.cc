#include "switch/urgent.h"

#include <gtest/gtest.h>

namespace podwire {
namespace urgent_test {

int PolicyNow() {
  int policy;
  sched_param param;
  EXPECT_EQ(pthread_getschedparam(pthread_self(), &policy, &param), 0);
  return policy;
}

TEST(Urgent, LastsAsLongAsItLives) {
  const sched_param first{.sched_priority = sched_get_priority_min(SCHED_FIFO)}, none{};
  const bool allowed = pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) == 0;
  ASSERT_EQ(pthread_setschedparam(pthread_self(), SCHED_OTHER, &none), 0);
  {
    const Urgent urgent;
    EXPECT_EQ(PolicyNow(), allowed ? SCHED_FIFO : SCHED_OTHER);
  }
  EXPECT_EQ(PolicyNow(), SCHED_OTHER);
}

}  // namespace urgent_test
}  // namespace podwire
