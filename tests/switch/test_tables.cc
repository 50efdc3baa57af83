#include "tests/switch/test_tables.h"

namespace podwire::testing {

Tables TestTables() {
  Tables t;
  t.generation = 1;
  t.local.name = "node-a";
  t.local.gateways = {Ip("10.244.1.1"), Ip6("2001:db8:1::1")};
  t.local.gateway_mac = kGatewayMac;
  t.local.underlay_address = Ip("192.0.2.1");
  t.local.underlay_length = 24;
  t.local.underlay_address6 = Ip6("2001:db8::1");
  t.local.underlay_length6 = 64;
  t.local.underlay_port = kUnderlayPort;
  t.local.underlay_mac = kUnderlayMac;
  t.local.vtep_mac = kVtepMac;
  t.local.tunnel_port_be = RTE_BE16(8472);
  t.local.tunnel_enabled = true;
  t.vteps.Insert(Ip("192.0.2.9"));
  t.vteps.Insert(Ip6("2001:db8::9"));
  const MacAddr pod_macs[] = {kPodMac, kPodMacB};
  for (uint16_t i = 0; i < 2; ++i) {
    Endpoint e;
    e.id = EndpointId(i);
    e.version = 1;
    e.port = PortId(i);
    e.mac = pod_macs[i];
    if (i == 0) e.addresses = {Ip("10.244.1.2"), Ip6("2001:db8:1::2")};
    if (i == 1) e.addresses = {Ip("10.244.1.3"), Ip6("2001:db8:1::3")};
    for (const IpAddress& a : e.addresses) t.endpoint_by_address[a] = e.id;
    t.endpoints.push_back(e);
    t.ports.push_back(
        {.role = PortRole::kPod, .endpoint = e.id, .own_mac = kGatewayMac, .peer_mac = e.mac, .name = {}});
  }
  t.ports.push_back({.role = PortRole::kUnderlay, .own_mac = kUnderlayMac, .peer_mac = {}, .name = "uplink"});
  t.ports.push_back({});
  return t;
}

Packet ParseOne(const Tables& tables, rte_mbuf* m, PortId in_port) {
  Packet p{};
  Packet6 p6;
  EXPECT_EQ(Parse(tables, std::span(&m, 1), &in_port, 1, &p, &p6).v4, 1);
  return p;
}

Packet6 ParseOne6(const Tables& tables, const MbufPtr& m, PortId in_port) {
  Packet p;
  Packet6 p6{};
  rte_mbuf* const mbuf = m.get();
  EXPECT_EQ(Parse(tables, std::span(&mbuf, 1), &in_port, 1, &p, &p6).v6, 1);
  return p6;
}

Packet ParseOne(const Tables& tables, const MbufPtr& m, PortId in_port) {
  return ParseOne(tables, m.get(), in_port);
}

}  // namespace podwire::testing
