#pragma once

#include <cstdint>
#include <string>

#include <rte_byteorder.h>

#include "acl/compiled_policy.h"
#include "net/address.h"
#include "net/id.h"
#include "switch/decide.h"
#include "switch/drop_reasons.h"

namespace podwire {

/// A tuple for people, either family, ports in host order (ICMP: identifier).
struct TupleRecord {
  IpAddress src, dst;
  uint16_t src_port = 0, dst_port = 0;
  uint8_t proto = 0;
};
template <class Key>
TupleRecord TupleRecordOf(const Key& key) noexcept {
  return {.src = key.src,
          .dst = key.dst,
          .src_port = rte_be_to_cpu_16(key.src_port_be),
          .dst_port = rte_be_to_cpu_16(key.dst_port_be),
          .proto = key.proto};
}

/// A flow entry as copied out of a worker's flow table.
struct FlowRecord {
  uint16_t worker = 0;
  TupleRecord tuple;
  PortId in_port = kNoPort, out_port = kNoPort;
  Action action = Action::kDrop;
  DropReason reason = DropReason::kNone;
  NextHopId next_hop = kNoNextHop;
  uint32_t generation = 0;  ///< of the tables that next_hop indexes
  uint64_t packets = 0, bytes = 0;
  uint32_t idle_ms = 0;
};

/// A tracked connection as copied out of the connection table.
struct ConnectionRecord {
  TupleRecord tuple;  ///< original direction
  std::string state;
  uint32_t idle_ms = 0, expires_ms = 0;
  bool allowed = true;
  EndpointId src_endpoint = kNoEndpoint, dst_endpoint = kNoEndpoint;
  RuleRef egress_rule, ingress_rule;  ///< of the compiled policy then in force
  uint32_t src_version = 0, dst_version = 0;
};

}  // namespace podwire
