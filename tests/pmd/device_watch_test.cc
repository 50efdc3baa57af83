// DPDK 22.11 has device events for experimental.
#define ALLOW_EXPERIMENTAL_API
#include "pmd/device_watch.h"

#include <gtest/gtest.h>
#include <rte_dev.h>

#include "net/status.h"
#include "pmd/port.h"
#include "tests/pmd/eal_fixture.h"

namespace podwire {
namespace {

std::unique_ptr<Port> Open() {
  auto port = CreatePort({.name = "nic", .options = VdevOptions{.devargs = "net_null_watched"}},
                         {.pools = TestPools()});
  EXPECT_TRUE(port.ok()) << Message(port.status());
  return *std::move(port);
}

TEST(DeviceWatchTest, AnEthdevPortKnowsThatItsDeviceIsWantedBack) {
  auto port = Open();
  EXPECT_EQ(port->Vanished(), "");
  EXPECT_TRUE(port->link_up());
  rte_dev_event_callback_process("net_null_other", RTE_DEV_EVENT_REMOVE);
  rte_dev_event_callback_process("net_null_watched", RTE_DEV_EVENT_ADD);
  EXPECT_EQ(port->Vanished(), "");
  // As vfio's interrupt handler does when the kernel asks for the device.
  rte_dev_event_callback_process("net_null_watched", RTE_DEV_EVENT_REMOVE);
  EXPECT_EQ(port->Vanished(), "its device is being removed");
  EXPECT_FALSE(port->link_up());
  port.reset();
  EXPECT_EQ(Open()->Vanished(), "") << "the device's next life";
}

}  // namespace
}  // namespace podwire
