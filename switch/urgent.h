#pragma once

#include <pthread.h>
#include <sched.h>

namespace podwire {

/// While it lives, no ordinary thread puts this one off its CPU (the lowest real-time priority): for work
/// with short locks that workers spin for, and that lasts a millisecond at most. Does nothing where the
/// process may not (CAP_SYS_NICE).
class Urgent {
 public:
  Urgent() noexcept {
    const sched_param first{.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    raised_ = pthread_getschedparam(pthread_self(), &policy_, &param_) == 0 &&
              pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) == 0;
  }
  ~Urgent() {
    if (raised_) pthread_setschedparam(pthread_self(), policy_, &param_);
  }
  Urgent(const Urgent&) = delete;
  Urgent& operator=(const Urgent&) = delete;

 private:
  int policy_ = SCHED_OTHER;
  sched_param param_{};
  bool raised_ = false;
};

}  // namespace podwire
