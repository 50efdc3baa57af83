#include <algorithm>

#include <rte_dev.h>

#include "net/status.h"
#include "pmd/ethdev_port.h"
#include "pmd/port_kinds.h"

namespace podwire {

PortOr CreateVdevPort(const PortConfig& config, const VdevOptions& options, const PortContext& context) {
  const std::string& devargs = options.devargs;
  const size_t name_len = std::min(devargs.find(','), devargs.size());
  if (!devargs.starts_with("net_") || name_len >= RTE_DEV_NAME_MAX_LEN ||
      devargs.find_first_of(" \t\n") != std::string::npos) {
    return InvalidArgument(
        "port {}: devargs \"{}\": expected a network driver, a number and its arguments, like "
        "net_null0,size=64",
        config.name, devargs);
  }
  if (options.queues == 0) return InvalidArgument("port {}: queues: 0 is less than 1", config.name);
  ASSIGN_OR_RETURN(
      auto port,
      EthdevPort::Create(
          config,
          {.devargs = devargs, .rx_queues = options.queues, .tx_queues = options.queues, .mac = options.mac},
          context));
  return port;
}

}  // namespace podwire
