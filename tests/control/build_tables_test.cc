#include "control/build_tables.h"

#include <gtest/gtest.h>

#include "documents.h"
#include "fake_port.h"
#include "net/status.h"
#include "switch/decide.h"

namespace podwire {
namespace {

std::string OverlayNodeJson(const std::string& name, const std::string& cidr, const std::string& ip,
                            const std::string& mac) {
  return R"({"apiVersion":"v1","kind":"Node","metadata":{"name":")" + name + R"(","annotations":{
    "flannel.alpha.coreos.com/backend-type":"vxlan","flannel.alpha.coreos.com/public-ip":")" +
         ip + R"(","flannel.alpha.coreos.com/backend-data":"{\"VNI\":1,\"VtepMAC\":\")" + mac +
         R"(\"}"}},"spec":{"podCIDR":")" + cidr + R"("}})";
}

std::string DenyAll(const std::string& ns) {
  return R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"deny","namespace":")" +
         ns + R"("},"spec":{"podSelector":{},"policyTypes":["Ingress"]}})";
}

class BuildTablesTest : public testing::Test {
 protected:
  BuildTablesTest()
      : state_("node-a",
               ParseNetConfText(R"({"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}})").value()) {
    state_.Put(One(OverlayNodeJson("node-a", "10.244.1.0/24", "192.0.2.1", "02:00:00:00:00:aa")));
    ports_.push_back({&uplink_, PortRole::kUnderlay, "uplink", uplink_.mac(), 1500});
    underlay_.port = "uplink";
    underlay_.address = *ParseInterfaceAddress("192.0.2.1/24");
  }

  void Attach(const std::string& ns, const std::string& pod, const std::string& address, uint32_t slot,
              bool host = false) {
    LiveAttachment a;
    a.record.host = host;
    a.record.key = {"c-" + pod, "eth0"};
    a.record.pod = {ns, pod};
    a.record.addresses = {*ParseInterfaceAddress(address)};
    a.record.gateways = {*ParseIp("10.244.1.1")};
    a.record.mac = DeriveMac(pod);
    a.record.mtu = 1450;
    a.slot = EndpointId(slot);
    a.port = PortId(static_cast<uint16_t>(ports_.size()));
    ports_.push_back({&pod_port_, PortRole::kPod, "pod-" + pod, {}, 1450});
    state_.PutAttachment(a);
  }

  const Tables& Build() {
    auto policy = std::make_shared<const CompiledPolicy>(Compile(state_.model(), state_.LocalPods()));
    TablesResult r = BuildTables({state_, ports_, &underlay_, policy, *tables_, gateway_mac_});
    warnings_ = r.warnings;
    tables_ = std::move(r.tables);
    return *tables_;
  }

  DesiredState state_;
  FakePort uplink_{PortConfig{.name = "uplink"}};
  FakePort pod_port_{PortConfig{.name = "pod"}};
  std::vector<PortView> ports_;
  UnderlayConfig underlay_;
  MacAddr gateway_mac_;
  std::unique_ptr<Tables> tables_ = std::make_unique<Tables>();
  std::vector<std::string> warnings_;
};

TEST_F(BuildTablesTest, ANamespacesLogIsItsPods) {
  Attach("dev", "web", "10.244.1.7/24", 0);
  Attach("prod", "db", "10.244.1.8/24", 1);
  EXPECT_FALSE(Build().logs_policy);
  const auto space = [](const std::string& annotations) {
    return One(R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"dev","annotations":)" +
               annotations + "}}");
  };
  state_.Put(space(R"({"podwire.io/policy-log":"all"})"));
  const uint32_t version = tables_->endpoints[0].version;
  EXPECT_TRUE(Build().logs_policy);
  EXPECT_EQ(tables_->endpoints[0].policy_log, PolicyLogLevel::kAll);
  EXPECT_EQ(tables_->endpoints[1].policy_log, PolicyLogLevel::kOff);
  EXPECT_EQ(tables_->endpoints[0].version, version) << "no verdict has changed";
  state_.Put(space("{}"));
  EXPECT_FALSE(Build().logs_policy);
  state_.Put(space(R"({"podwire.io/policy-log":"denied"})"));
  EXPECT_TRUE(Build().logs_policy);
  state_.Remove({"Namespace", "", "dev"});
  EXPECT_FALSE(Build().logs_policy);
}

TEST_F(BuildTablesTest, LocalNodeAndPeers) {
  state_.Put(One(OverlayNodeJson("node-b", "10.244.2.0/24", "192.0.2.2", "02:00:00:00:00:bb")));
  Attach("dev", "web", "10.244.1.7/24", 0);
  const Tables& t = Build();
  EXPECT_EQ(t.local.underlay_port, PortId(0));
  EXPECT_EQ(ToString(t.local.vtep_mac), "02:00:00:00:00:aa") << "as the Node object announces it";
  EXPECT_EQ(t.local.pod_mtu, 1450);
  EXPECT_TRUE(t.local.tunnel_enabled);
  EXPECT_EQ(t.local.tunnel_port_be, __builtin_bswap16(8472));
  ASSERT_EQ(t.local.gateways.size(), 1u);
  EXPECT_EQ(ToString(t.local.gateways[0]), "10.244.1.1");
  EXPECT_TRUE(t.vteps.Contains(*ParseIp("192.0.2.2")));

  const Endpoint* web = t.EndpointOf(*ParseIp("10.244.1.7"));
  ASSERT_NE(web, nullptr);
  EXPECT_EQ(t.ports[web->port.value()].peer_mac, DeriveMac("web"));
  EXPECT_EQ(t.ports[web->port.value()].own_mac, GatewayMac("node-a"));
  EXPECT_EQ(t.adjacencies[web->adjacency.value()].endpoint, web->id);

  const Headers to_peer{.src = *ParseIp("10.244.1.7"),
                        .dst = *ParseIp("10.244.2.9"),
                        .proto = 6,
                        .dst_port = 80,
                        .in_port = web->port};
  const Decision d = Decide(t, to_peer);
  EXPECT_EQ(d.action, Action::kForward);
  const NextHop& hop = t.adjacencies[d.forwarding.next_hop.value()].hop;
  EXPECT_EQ(hop.kind, NextHop::Kind::kVxlan);
  EXPECT_EQ(ToString(hop.remote), "192.0.2.2");
  Headers nowhere = to_peer;
  nowhere.dst = *ParseIp("10.244.1.200");
  EXPECT_EQ(Decide(t, nowhere).reason, DropReason::kNoRoute) << "our own subnet, no such pod";
  EXPECT_TRUE(warnings_.empty());
}

std::string DualNodeJson(const std::string& name, const std::string& cidrs, const std::string& ip,
                         const std::string& ip6, const std::string& mac6) {
  return R"({"apiVersion":"v1","kind":"Node","metadata":{"name":")" + name + R"(","annotations":{
    "flannel.alpha.coreos.com/backend-type":"vxlan","flannel.alpha.coreos.com/public-ip":")" +
         ip + R"(","flannel.alpha.coreos.com/backend-data":"{\"VNI\":1,\"VtepMAC\":\"02:00:00:00:00:aa\"}",
    "flannel.alpha.coreos.com/public-ipv6":")" +
         ip6 + R"(","flannel.alpha.coreos.com/backend-v6-data":"{\"VNI\":1,\"VtepMAC\":\")" + mac6 +
         R"(\"}"}},"spec":{"podCIDRs":[)" + cidrs + "]}}";
}

TEST_F(BuildTablesTest, DualStack) {
  state_ = DesiredState("node-a", ParseNetConfText(R"({"Network":"10.244.0.0/16","EnableIPv6":true,
      "IPv6Network":"fd44::/48","Backend":{"Type":"vxlan"}})")
                                      .value());
  state_.Put(One(DualNodeJson("node-a", R"("10.244.1.0/24","fd44:0:0:1::/64")", "192.0.2.1", "2001:db8::1",
                              "02:00:00:00:00:aa")));
  state_.Put(One(DualNodeJson("node-b", R"("10.244.2.0/24","fd44:0:0:2::/64")", "192.0.2.2", "2001:db8::2",
                              "02:00:00:00:00:bb")));
  underlay_.address6 = *ParseInterfaceAddress("2001:db8::1/64");
  underlay_.gateway6 = *ParseIp("fe80::1");
  Attach("dev", "web", "fd44:0:0:1::7/64", 0);
  const Tables& t = Build();
  EXPECT_TRUE(warnings_.empty()) << warnings_[0];
  EXPECT_EQ(t.local.pod_mtu, 1430);
  EXPECT_EQ(ToString(t.local.underlay_address), "192.0.2.1");
  EXPECT_EQ(ToString(t.local.underlay_address6), "2001:db8::1");
  EXPECT_EQ(t.local.underlay_length6, 64);
  const auto has_gateway = [&](const char* a) {
    return std::ranges::find(t.local.gateways, *ParseIp(a)) != t.local.gateways.end();
  };
  EXPECT_TRUE(has_gateway("10.244.1.1"));
  EXPECT_TRUE(has_gateway("fd44:0:0:1::1"));
  EXPECT_TRUE(t.vteps.Contains(*ParseIp("192.0.2.2")));
  EXPECT_TRUE(t.vteps.Contains(*ParseIp("2001:db8::2")));
  const Headers to_peer{.src = *ParseIp("fd44:0:0:1::7"),
                        .dst = *ParseIp("fd44:0:0:2::9"),
                        .proto = 6,
                        .dst_port = 80,
                        .in_port = t.EndpointOf(*ParseIp("fd44:0:0:1::7"))->port};
  const Decision d = Decide(t, to_peer);
  ASSERT_EQ(d.action, Action::kForward);
  EXPECT_EQ(ToString(t.adjacencies[d.forwarding.next_hop.value()].hop.remote), "2001:db8::2");
  EXPECT_EQ(ToString(d.forwarding.neighbor), "2001:db8::2");
  Headers outside = to_peer;
  outside.dst = *ParseIp("2001:db8:ffff::1");
  EXPECT_EQ(ToString(Decide(t, outside).forwarding.neighbor), "fe80::1");
  Headers nowhere = to_peer;
  nowhere.dst = *ParseIp("fd44:0:0:1::200");
  EXPECT_EQ(Decide(t, nowhere).reason, DropReason::kNoRoute) << "our own subnet, no such pod";
}

TEST_F(BuildTablesTest, WarnsOfAnotherPublicIpv6AndVtepMac) {
  state_.Put(
      One(DualNodeJson("node-a", R"("10.244.1.0/24")", "192.0.2.1", "2001:db8::77", "02:00:00:00:00:99")));
  underlay_.address6 = *ParseInterfaceAddress("2001:db8::1/64");
  Build();
  ASSERT_EQ(warnings_.size(), 2u);
  EXPECT_NE(warnings_[0].find("public-ipv6 2001:db8::77"), std::string::npos);
  EXPECT_NE(warnings_[1].find("02:00:00:00:00:99"), std::string::npos);
}

TEST_F(BuildTablesTest, WarnsOfAPodMtuThatIpv6CannotWorkWith) {
  state_ = DesiredState("node-a", ParseNetConfText(R"({"EnableIPv4":false,"EnableIPv6":true,
      "IPv6Network":"fd44::/48","Backend":{"Type":"vxlan"}})")
                                      .value());
  underlay_.address6 = *ParseInterfaceAddress("2001:db8::1/64");
  underlay_.mtu = 1349;
  Build();
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("MTU 1279"), std::string::npos);
  underlay_.mtu = 1350;
  Build();
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(BuildTablesTest, TheGatewaysMacCanBeConfigured) {
  gateway_mac_ = *ParseMac("02:00:00:00:00:0a");
  Attach("dev", "web", "10.244.1.7/24", 0);
  const Tables& t = Build();
  const Endpoint* web = t.EndpointOf(*ParseIp("10.244.1.7"));
  ASSERT_NE(web, nullptr);
  EXPECT_EQ(t.local.gateway_mac, gateway_mac_);
  EXPECT_EQ(t.ports[web->port.value()].own_mac, gateway_mac_);
  const Adjacency& delivery = t.adjacencies[web->adjacency.value()];
  EXPECT_TRUE(std::ranges::equal(std::span(delivery.hop.header).subspan(6, 6), gateway_mac_.bytes));
}

TEST_F(BuildTablesTest, VersionsCountUpExactlyWhenVerdictsMayChange) {
  Attach("dev", "web", "10.244.1.7/24", 0);
  Attach("prod", "db", "10.244.1.8/24", 1);
  Build();
  const uint32_t web = tables_->endpoints[0].version, db = tables_->endpoints[1].version;
  EXPECT_NE(web, 0u);
  Build();
  EXPECT_EQ(tables_->endpoints[0].version, web) << "nothing changed";
  state_.Put(One(OverlayNodeJson("node-b", "10.244.2.0/24", "192.0.2.2", "02:00:00:00:00:bb")));
  Build();
  EXPECT_EQ(tables_->endpoints[0].version, web) << "a route is no policy";
  state_.Put(One(DenyAll("dev")));
  Build();
  EXPECT_EQ(tables_->endpoints[0].version, web + 1);
  EXPECT_EQ(tables_->endpoints[1].version, db) << "another namespace's policy";
  state_.Remove({"NetworkPolicy", "dev", "deny"});
  Build();
  EXPECT_EQ(tables_->endpoints[0].version, web + 2);
}

TEST_F(BuildTablesTest, ASlotsNextOwnerHasAnotherVersion) {
  Attach("dev", "web", "10.244.1.7/24", 0);
  Build();
  const uint32_t before = tables_->endpoints[0].version;
  state_.RemoveAttachment({"c-web", "eth0"});
  Build();
  EXPECT_FALSE(tables_->endpoints[0].in_use());
  EXPECT_EQ(tables_->EndpointOf(*ParseIp("10.244.1.7")), nullptr);
  Attach("dev", "web", "10.244.1.7/24", 0);
  Build();
  EXPECT_GT(tables_->endpoints[0].version, before) << "even when it looks the same";
}

TEST_F(BuildTablesTest, PolicyIsInTheTables) {
  Attach("dev", "web", "10.244.1.7/24", 0);
  Attach("prod", "db", "10.244.1.8/24", 1);
  const auto decide = [&] {
    const Headers h{.src = *ParseIp("10.244.1.8"),
                    .dst = *ParseIp("10.244.1.7"),
                    .proto = 6,
                    .dst_port = 80,
                    .in_port = tables_->endpoints[1].port};
    return Decide(*tables_, h).action;
  };
  Build();
  EXPECT_EQ(decide(), Action::kDeliver);
  state_.Put(One(DenyAll("dev")));
  Build();
  EXPECT_EQ(decide(), Action::kDrop);
}

TEST_F(BuildTablesTest, PolicyNeverStandsBetweenTheNodesOwnStackAndItsPods) {
  Attach("dev", "web", "10.244.1.7/24", 0);
  Attach("node", "node-a", "192.168.50.10/32", 1, /*host=*/true);
  Attach("node", "pod", "10.244.1.9/24", 2);
  state_.Put(One(DenyAll("dev")));
  state_.Put(One(DenyAll("node")));
  Build();
  const auto decide = [&](size_t from, size_t to) {
    Headers h{.proto = 6, .dst_port = 80, .in_port = tables_->endpoints[from].port};
    h.src = tables_->endpoints[from].addresses[0];
    h.dst = tables_->endpoints[to].addresses[0];
    return Decide(*tables_, h).action;
  };
  EXPECT_EQ(decide(1, 0), Action::kDeliver);
  EXPECT_EQ(decide(2, 0), Action::kDrop) << "a pod beside it";
  EXPECT_EQ(decide(2, 1), Action::kDeliver) << "no policy selects the stack, whatever its name is";
  Headers forged{.src = *ParseIp("192.168.50.10"), .dst = *ParseIp("10.244.1.7"), .proto = 6, .dst_port = 80};
  forged.in_port = tables_->endpoints[2].port;
  EXPECT_EQ(Decide(*tables_, forged).reason, DropReason::kSpoofedAddress) << "a pod cannot pose as the node";
  forged.in_port = tables_->local.underlay_port;
  EXPECT_EQ(Decide(*tables_, forged).reason, DropReason::kSpoofedAddress) << "nor can anybody outside";
}

TEST_F(BuildTablesTest, ASharedUnderlaysAddressIsTheKernels) {
  underlay_.shared = true;
  Attach("dev", "web", "10.244.1.7/24", 0);
  const auto to_node = [&](size_t from) {
    Headers h{
        .dst = *ParseIp("192.0.2.1"), .proto = 6, .dst_port = 22, .in_port = tables_->endpoints[from].port};
    h.src = tables_->endpoints[from].addresses[0];
    return Decide(*tables_, h);
  };
  EXPECT_TRUE(Build().local.underlay_is_shared);
  EXPECT_EQ(tables_->local.pod_subnets, std::vector(1, *ParsePrefix("10.244.1.0/24")));
  EXPECT_EQ(to_node(0).reason, DropReason::kNoRoute) << "the switch does not answer for it";
  Attach("", "node-a", "10.244.1.2/24", 1, /*host=*/true);
  Build();
  EXPECT_EQ(to_node(0).action, Action::kDeliver) << "by hostInterface";
  EXPECT_EQ(tables_->adjacencies[to_node(0).forwarding.next_hop.value()].endpoint, EndpointId(1));
  Headers back{.src = *ParseIp("192.0.2.1"), .dst = *ParseIp("10.244.1.7"), .proto = 6, .dst_port = 4000};
  back.in_port = tables_->endpoints[1].port;
  EXPECT_EQ(Decide(*tables_, back).action, Action::kDeliver) << "the host may answer from it";
  back.in_port = tables_->endpoints[0].port;
  EXPECT_EQ(Decide(*tables_, back).reason, DropReason::kSpoofedAddress) << "a pod may not";
  back.in_port = tables_->local.underlay_port;
  EXPECT_EQ(Decide(*tables_, back).reason, DropReason::kSpoofedAddress) << "nor may anybody outside";
  underlay_.shared = false;
  Build();
  EXPECT_EQ(to_node(0).action, Action::kLocal);
  EXPECT_EQ(tables_->endpoints[1].addresses.size(), 1u);
}

TEST_F(BuildTablesTest, WarnsOfAnotherPublicIp) {
  state_.Put(One(OverlayNodeJson("node-a", "10.244.1.0/24", "192.0.2.77", "02:00:00:00:00:aa")));
  Build();
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("192.0.2.77"), std::string::npos);
}

TEST_F(BuildTablesTest, AloneWithoutUnderlayOrNetwork) {
  DesiredState alone("node-x", std::nullopt);
  const auto policy = std::make_shared<const CompiledPolicy>(Compile(alone.model(), {}));
  const TablesResult r = BuildTables({alone, {}, nullptr, policy, Tables()});
  EXPECT_EQ(r.tables->local.pod_mtu, 1500);
  EXPECT_FALSE(r.tables->local.tunnel_enabled);
  EXPECT_TRUE(r.tables->local.gateways.empty());
}

}  // namespace
}  // namespace podwire
