// DPDK 22.11 has device events for experimental; there is no other way to learn of them.
#define ALLOW_EXPERIMENTAL_API
#include "pmd/device_watch.h"

#include <cerrno>

#include <rte_dev.h>
#include <rte_pause.h>

namespace podwire {
namespace {

void OnEvent(const char*, rte_dev_event_type event, void* removed) {
  if (event == RTE_DEV_EVENT_REMOVE) static_cast<std::atomic<bool>*>(removed)->store(true);
}

}  // namespace

DeviceWatch::DeviceWatch(const rte_device& device) : device_(rte_dev_name(&device)) {
  rte_dev_event_callback_register(device_.c_str(), OnEvent, &removed_);
}

DeviceWatch::~DeviceWatch() {
  // -EAGAIN: the callback runs.
  while (rte_dev_event_callback_unregister(device_.c_str(), OnEvent, &removed_) == -EAGAIN) rte_pause();
}

}  // namespace podwire
