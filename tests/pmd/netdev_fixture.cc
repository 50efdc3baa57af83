#include "tests/pmd/netdev_fixture.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include <fmt/format.h>
#include <rte_ether.h>

#include "net/status.h"
#include "pmd/fd.h"
#include "pmd/netns.h"
#include "tests/pmd/eal_fixture.h"

namespace podwire {

void SetMac(void* to, const char* mac) { std::memcpy(to, ParseMac(mac)->bytes.data(), sizeof(MacAddr)); }

Edit SendTo(const char* mac) {
  return [mac](rte_mbuf& m) {
    auto* ethernet = rte_pktmbuf_mtod(&m, rte_ether_hdr*);
    if ((ethernet->dst_addr.addr_bytes[0] & 1) != 0) return false;
    SetMac(&ethernet->dst_addr, mac);
    return true;
  };
}

void NetdevTest::SetUp() {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
  TestPools();
  uplink_.emplace("nd-u");
  peer_.emplace("nd-k");
  pod_ns_.emplace("nd-p");
  ASSERT_TRUE(uplink_->Ip(fmt::format("link add u0 address {} type veth peer name k0 address {} netns {}",
                                      kUplinkMac, kPeerMac, peer_->name())));
  ASSERT_TRUE(uplink_->Ip("link set u0 up"));
  ASSERT_TRUE(peer_->Ip("addr add 172.30.0.2/24 dev k0"));
  ASSERT_TRUE(peer_->Ip("link set k0 up"));
  ASSERT_TRUE(peer_->Ip(fmt::format("neigh add 172.30.0.1 lladdr {} dev k0", kUplinkMac)));
}

void NetdevTest::TearDown() {
  port_.reset();
  tap_.reset();
  if (geteuid() != 0) return;
  EXPECT_EQ(rte_mempool_in_use_count(&TestPools().small()), 0u) << "mbufs lost";
  EXPECT_EQ(rte_mempool_in_use_count(&TestPools().big()), 0u) << "mbufs lost";
}

PortOr NetdevTest::OpenIn(const TestNetns& ns, const std::string& interface) {
  const PortConfig config = {.name = "uplink", .options = NetdevOptions{.interface = interface}};
  PortOr port = absl::UnknownError("not run");
  RunInNetns(ns.path(), [&] {
    port = CreateNetdevPort(config, std::get<NetdevOptions>(config.options), {.pools = TestPools()});
    return absl::OkStatus();
  }).IgnoreError();
  return port;
}

void NetdevTest::OpenBoth(uint16_t pod_mtu) {
  PortOr port = Open("u0");
  ASSERT_EQ(Message(port.status()), "");
  port_ = *std::move(port);
  pod_ = {.netns = pod_ns_->path(),
          .ifname = "eth0",
          .mac = *ParseMac(kPodMac),
          .mtu = pod_mtu,
          .addresses = {{*ParseIp("10.244.1.5"), 32}},
          .gateways = {{*ParseIp("10.244.1.1"), *ParseMac("02:00:00:00:00:01")}},
          .routes = {}};
  const PortConfig config = {.name = "pod",
                             .options = TapOptions{.netns = pod_.netns, .ifname = "eth0", .mac = pod_.mac},
                             .mtu = pod_mtu};
  PortOr tap = CreateTapPort(config, std::get<TapOptions>(config.options), {.pools = TestPools()});
  ASSERT_EQ(Message(tap.status()), "");
  tap_ = *std::move(tap);
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
}

void NetdevTest::Inject(const std::string& frame) {
  ASSERT_EQ(Message(RunInNetns(peer_->path(),
                               [&]() -> absl::Status {
                                 const Fd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
                                 sockaddr_ll to = {};
                                 to.sll_family = AF_PACKET;
                                 to.sll_ifindex = static_cast<int>(if_nametoindex("k0"));
                                 const ssize_t n = sendto(fd.get(), frame.data(), frame.size(), 0,
                                                          reinterpret_cast<sockaddr*>(&to), sizeof to);
                                 return n == static_cast<ssize_t>(frame.size()) ? absl::OkStatus()
                                                                                : ErrnoError(errno, "sendto");
                               })),
            "");
}

std::vector<std::string> NetdevTest::Received() {
  std::vector<std::string> out;
  rte_mbuf* m = nullptr;
  while (port_->RxBurst(0, &m, 1) == 1) {
    const std::string bytes(rte_pktmbuf_mtod(m, const char*), m->data_len);
    if (bytes.substr(12, 2) == "\x88\xb5") out.push_back(bytes);
    rte_pktmbuf_free(m);
  }
  return out;
}

}  // namespace podwire
