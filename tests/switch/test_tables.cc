#include "tests/switch/test_tables.h"

namespace podwire::testing {

Tables TestTables() {
  Tables t;
  t.generation = 1;
  t.local.name = "node-a";
  t.local.gateways = {Ip("10.244.1.1")};
  t.local.gateway_mac = kGatewayMac;
  t.local.underlay_address = Ip("192.0.2.1");
  t.local.underlay_length = 24;
  t.local.underlay_port = kUnderlayPort;
  t.local.underlay_mac = kUnderlayMac;
  t.local.vtep_mac = kVtepMac;
  t.local.tunnel_port_be = RTE_BE16(8472);
  t.local.tunnel_enabled = true;
  t.vteps.Insert(Ip("192.0.2.9"));
  const MacAddr pod_macs[] = {kPodMac, kPodMacB};
  for (uint16_t i = 0; i < 2; ++i) {
    Endpoint e;
    e.id = EndpointId(i);
    e.version = 1;
    e.port = PortId(i);
    e.mac = pod_macs[i];
    e.addresses = {i == 0 ? Ip("10.244.1.2") : Ip("10.244.1.3")};
    t.endpoint_by_address[e.addresses[0]] = e.id;
    t.endpoints.push_back(e);
    t.ports.push_back(
        {.role = PortRole::kPod, .endpoint = e.id, .own_mac = kGatewayMac, .peer_mac = e.mac, .name = {}});
  }
  t.ports.push_back({.role = PortRole::kUnderlay, .own_mac = kUnderlayMac, .peer_mac = {}, .name = "uplink"});
  t.ports.push_back({});
  return t;
}

Packet ParseOne(const Tables& tables, rte_mbuf* m, PortId in_port) {
  Packet p;
  Parse(tables, std::span(&m, 1), &in_port, 1, &p);
  return p;
}

Packet ParseOne(const Tables& tables, const MbufPtr& m, PortId in_port) {
  return ParseOne(tables, m.get(), in_port);
}

}  // namespace podwire::testing
