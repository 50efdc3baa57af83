#include <mutex>
#include <utility>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "net/status.h"
#include "pmd/eal_log.h"
#include "pmd/ethdev_port.h"

namespace podwire {
namespace {

std::string DeviceName(const std::string& devargs) { return devargs.substr(0, devargs.find(',')); }

/// The ethdev of a device; RTE_MAX_ETHPORTS when there is none.
uint16_t FindPort(const std::string& device) {
  uint16_t port = 0;
  RTE_ETH_FOREACH_DEV(port) {
    rte_eth_dev_info info;
    if (rte_eth_dev_info_get(port, &info) == 0 && rte_dev_name(info.device) == device) return port;
  }
  return RTE_MAX_ETHPORTS;
}

/// Devices come and go one at a time: what DPDK says is told apart by time, and buses are scanned.
std::mutex& DeviceMutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

absl::StatusOr<EthdevDevice> EthdevDevice::Probe(const std::string& devargs) {
  const std::lock_guard lock(DeviceMutex());
  const std::string name = DeviceName(devargs);
  if (FindPort(name) != RTE_MAX_ETHPORTS)
    return Error(absl::StatusCode::kAlreadyExists, "device {} is in use by another port", name);
  const EalLogCapture capture;
  if (const int rc = rte_dev_probe(devargs.c_str()); rc != 0) {
    const std::string said = capture.Text();
    return InvalidArgument("probe device {}: {}", devargs, said.empty() ? rte_strerror(-rc) : said);
  }
  const uint16_t port = FindPort(name);
  if (port == RTE_MAX_ETHPORTS) return InvalidArgument("device {} is not a network device", name);
  return EthdevDevice(port);
}

EthdevDevice::EthdevDevice(EthdevDevice&& other) noexcept
    : port_(std::exchange(other.port_, RTE_MAX_ETHPORTS)) {}

EthdevDevice::~EthdevDevice() {
  if (port_ == RTE_MAX_ETHPORTS) return;
  const std::lock_guard lock(DeviceMutex());
  rte_eth_dev_info info;
  const bool known = rte_eth_dev_info_get(port_, &info) == 0;
  rte_eth_dev_stop(port_);
  rte_eth_dev_close(port_);
  if (known) rte_dev_remove(info.device);
}

}  // namespace podwire
