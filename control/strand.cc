#include "control/strand.h"

#include <utility>

namespace podwire {

Strand::Strand(std::function<void(const std::function<void()>&)> edit, std::function<void()> publish)
    : edit_(std::move(edit)), publish_(std::move(publish)), thread_([this] { Loop(); }) {}

Strand::~Strand() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
}

absl::Status Strand::Run(Change change) {
  Job job{.change = std::move(change)};
  std::unique_lock lock(mutex_);
  if (stopping_) return absl::CancelledError("podwired is stopping");
  queue_.push_back(&job);
  work_.notify_one();
  done_.wait(lock, [&] { return job.done; });
  return job.status;
}

uint64_t Strand::publications() const {
  const std::lock_guard lock(mutex_);
  return publications_;
}

void Strand::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    const std::vector<Job*> batch = std::exchange(queue_, {});
    if (stopping_) {
      for (Job* job : batch) job->status = absl::CancelledError("podwired is stopping");
      for (Job* job : batch) job->done = true;
      done_.notify_all();
      return;
    }
    lock.unlock();
    RunBatch(batch);
    lock.lock();
  }
}

void Strand::RunBatch(const std::vector<Job*>& batch) {
  std::vector<Job*> at_once, after_publication;
  for (Job* job : batch) {
    const Change& c = job->change;
    if (c.prepare) job->status = c.prepare();
    if (job->status.ok() && c.commit) edit_(c.commit);
    const bool waits = job->status.ok() && c.publish;
    (waits ? after_publication : at_once).push_back(job);
  }
  for (Job* job : at_once) {
    if (job->status.ok() && job->change.after) job->change.after();
  }
  Finish(at_once);
  if (after_publication.empty()) return;
  publish_();
  {
    const std::lock_guard lock(mutex_);
    ++publications_;
  }
  for (Job* job : after_publication) {
    if (job->change.after) job->change.after();
  }
  Finish(after_publication);
}

void Strand::Finish(const std::vector<Job*>& jobs) {
  {
    const std::lock_guard lock(mutex_);
    for (Job* job : jobs) job->done = true;
  }
  done_.notify_all();
}

}  // namespace podwire
