// An interface that the kernel keeps and podwire shares, over a veth: by AF_XDP and by AF_PACKET.

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "net/status.h"
#include "tests/pmd/shared_netdev_fixture.h"
#include "tests/pmd/transfer.h"

namespace podwire {
namespace shared_netdev_test {

class SharedNetdevTest : public SharedNetdev, public testing::WithParamInterface<SharedMode> {};

TEST_P(SharedNetdevTest, TakesTheTunnelsPacketsAndThePodsAndLeavesTheRest) {
  OpenTold(GetParam());
  EXPECT_EQ((port_->mac()), *ParseMac(kUplinkMac));
  EXPECT_EQ(port_->mtu(), 1500);
  EXPECT_TRUE(port_->link_up());
  const Fd host = UdpSocket(uplink_->path(), *ParseIp("172.30.0.1"), 5353);
  const Fd same_port = UdpSocket(uplink_->path(), {}, kSharedTunnelPort);
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.0/24 via 172.30.0.1"));
  Send("172.30.0.1", kSharedTunnelPort);
  Send("172.30.0.1", 5353);
  Send("10.244.1.7", 7777, 1400);
  EXPECT_EQ(Lengths(2), (std::vector<uint32_t>{142, 1442}));
  char buffer[200];
  EXPECT_EQ(recv(host.get(), buffer, sizeof buffer, 0), 100) << "the host's own datagram";
  EXPECT_EQ(recv(same_port.get(), buffer, sizeof buffer, MSG_DONTWAIT), -1)
      << "the kernel must not see the tunnel's";
  EXPECT_TRUE(peer_->Exec("ping -c 2 -i 0.2 -W 1 172.30.0.1"));
  EXPECT_EQ(Message(Transfer(peer_->path(), uplink_->path(), *ParseIp("172.30.0.1"), 4 << 20)), "");
  EXPECT_EQ(Message(Transfer(uplink_->path(), peer_->path(), *ParseIp("172.30.0.2"), 4 << 20)), "");
  EXPECT_EQ(Lengths(0), std::vector<uint32_t>());
  EXPECT_EQ(port_->Stats().rx_packets, 2u);
  EXPECT_EQ(port_->Stats().rx_errors + port_->Stats().rx_missed, 0u);
}

TEST_P(SharedNetdevTest, NobodyAnswersForThePortThatIsPodwires) {
  OpenTold(GetParam());
  const Fd sender = UdpSocket(peer_->path(), {}, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = inet_addr("172.30.0.1");
  const auto refused = [&](uint16_t port, int within_ms) {
    to.sin_port = htons(port);
    EXPECT_EQ(connect(sender.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    EXPECT_EQ(send(sender.get(), "x", 1, 0), 1);
    char byte;
    for (int ms = 0; ms < within_ms; ms += 10) {
      if (recv(sender.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNREFUSED) return true;
      usleep(10000);
    }
    return false;
  };
  EXPECT_TRUE(refused(9999, 2000)) << "the kernel answers for what is its own";
  EXPECT_FALSE(refused(kSharedTunnelPort, 200));
}

TEST_P(SharedNetdevTest, ADescriptorTellsOfFrames) {
  OpenTold(GetParam());
  ASSERT_GE(port_->rx_fd(), 0);
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, port_->rx_fd(), &event), 0);
  Send("172.30.0.1", 5353);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 100), 0) << "the host's frames wake nobody";
  Send("172.30.0.1", kSharedTunnelPort);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 1000), 1);
  EXPECT_EQ(Lengths(1).size(), 1u);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 50), 0);
}

TEST_P(SharedNetdevTest, ManyFramesEachWay) {
  OpenTold(GetParam());
  uint64_t got = 0;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 30; ++i) Send("172.30.0.1", kSharedTunnelPort, 200);
    rte_mbuf* mbufs[32];
    for (uint16_t n; (n = port_->RxBurst(0, mbufs, 32)) != 0; got += n) rte_pktmbuf_free_bulk(mbufs, n);
  }
  got += Lengths(6000 - got).size();
  EXPECT_EQ(got, 6000u) << "more than the rings have room for, so their memory comes back";
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.0/24 via 172.30.0.1"));
  const Fd peer = UdpSocket(peer_->path(), {}, 6000);
  uint64_t sent = 0, arrived = 0;
  char buffer[200];
  for (int round = 0; round < 300; ++round) {
    rte_mbuf* mbufs[20];
    for (rte_mbuf*& m : mbufs) m = ToPeer(6000, 80);
    const uint16_t n = port_->TxBurst(0, mbufs, 20);
    sent += n;
    rte_pktmbuf_free_bulk(mbufs + n, 20 - n);
    while (recv(peer.get(), buffer, sizeof buffer, MSG_DONTWAIT) == 80) ++arrived;
  }
  while (arrived < sent && recv(peer.get(), buffer, sizeof buffer, 0) == 80) ++arrived;
  EXPECT_EQ(sent, 6000u);
  EXPECT_EQ(arrived, sent);
  EXPECT_EQ(port_->Stats().tx_packets, 6000u);
  EXPECT_EQ(port_->Stats().tx_errors, 0u);
}

TEST_P(SharedNetdevTest, SuperPacketsOfAPodArriveWhole) {
  OpenTold(GetParam());
  // A veth's checksums stay unfinished, and with AF_XDP nobody can tell.
  if (GetParam() == SharedMode::kAfXdp) {
    ASSERT_TRUE(peer_->Exec("ethtool -K k0 tx off"));
  }
  pod_ = {.netns = pod_ns_->path(),
          .ifname = "eth0",
          .mac = *ParseMac(kPodMac),
          .mtu = 1500,
          .addresses = {{*ParseIp("10.244.1.5"), 32}},
          .gateways = {{*ParseIp("10.244.1.1"), *ParseMac("02:00:00:00:00:01")}},
          .routes = {}};
  const PortConfig config = {.name = "pod",
                             .options = TapOptions{.netns = pod_.netns, .ifname = "eth0", .mac = pod_.mac}};
  PortOr tap = CreateTapPort(config, std::get<TapOptions>(config.options), {.pools = TestPools()});
  ASSERT_EQ(Message(tap.status()), "");
  tap_ = *std::move(tap);
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.5 via 172.30.0.1"));
  const Forwarder forwarder(*tap_, *port_, SendTo(kPeerMac), SendTo(kPodMac));
  EXPECT_EQ(Message(Transfer(pod_.netns, peer_->path(), *ParseIp("172.30.0.2"), 4 << 20)), "");
  EXPECT_GT(forwarder.largest_from_a(), 20000u);
  EXPECT_EQ(port_->Stats().tx_segments > 1000, GetParam() == SharedMode::kAfXdp)
      << "cut here, or by the kernel";
}

TEST_P(SharedNetdevTest, RemovedUnderThePort) {
  OpenTold(GetParam());
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, port_->rx_fd(), &event), 0);
  peer_->Remove();
  for (int i = 0; i < 50 && uplink_->Ip("link show u0"); ++i) usleep(20000);
  EXPECT_FALSE(port_->link_up());
  rte_mbuf* mbufs[32];
  for (int i = 0; i < 10; ++i) rte_pktmbuf_free_bulk(mbufs, port_->RxBurst(0, mbufs, 32));
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 50), 0) << "a dead port must not wake its worker";
  rte_mbuf* m = ToPeer(6000, 80);
  EXPECT_EQ(port_->TxBurst(0, &m, 1), 1);
  EXPECT_EQ(port_->Stats().tx_errors, 1u);
}

TEST_P(SharedNetdevTest, CloseLeavesNothingAndALostOnesFilterIsReplaced) {
  const size_t before = OpenDescriptors();
  OpenTold(GetParam());
  const bool xdp = GetParam() == SharedMode::kAfXdp;
  EXPECT_EQ(HasXdp(), xdp);
  EXPECT_EQ(HasTcFilter(), !xdp);
  port_.reset();
  EXPECT_FALSE(HasXdp());
  EXPECT_FALSE(HasTcFilter());
  EXPECT_EQ(OpenDescriptors(), before);

  LeaveBehind(GetParam());
  const Fd same_port = UdpSocket(uplink_->path(), {}, kSharedTunnelPort);
  Send("172.30.0.1", kSharedTunnelPort);
  EXPECT_TRUE(peer_->Exec("ping -c 1 -W 1 172.30.0.1")) << "the host does not notice";
  char byte;
  EXPECT_EQ(recv(same_port.get(), &byte, 1, MSG_DONTWAIT), -1);
  OpenTold(GetParam());
  Send("172.30.0.1", kSharedTunnelPort);
  EXPECT_EQ(Lengths(1).size(), 1u) << "the next one takes over";
  port_.reset();
  EXPECT_FALSE(HasXdp());
  EXPECT_FALSE(HasTcFilter());
}

TEST_P(SharedNetdevTest, AnotherMacIsAnotherInterface) {
  OpenTold(GetParam());
  EXPECT_EQ(port_->Vanished(), "");
  ASSERT_TRUE(uplink_->Ip("link set u0 address 02:00:00:00:0a:77"));
  EXPECT_EQ(port_->Vanished(), "its interface has another MAC") << "its filter goes by the old one";
}

INSTANTIATE_TEST_SUITE_P(Modes, SharedNetdevTest, testing::Values(SharedMode::kAfXdp, SharedMode::kAfPacket),
                         [](const auto& mode) { return std::string(ToString(mode.param)); });

TEST_F(SharedNetdev, AutoTakesAfPacketWhereAfXdpWouldCopy) {
  PortOr port = OpenShared(SharedMode::kAuto);
  ASSERT_EQ(Message(port.status()), "");
  EXPECT_EQ((*port)->how(), "af_packet (af_xdp: the driver copies frames)") << "a veth has no zero-copy";
}

TEST_F(SharedNetdev, WhatAfXdpCannotDoIsRefusedWithTheCure) {
  ASSERT_TRUE(uplink_->Ip("link set u0 mtu 9000"));
  PortOr port = OpenShared(SharedMode::kAfXdp);
  EXPECT_EQ(Message(port.status()),
            "port uplink: interface u0: af_xdp: the MTU of u0 is 9000, and AF_XDP takes 3502 at most: mode "
            "af_packet, or "
            "ip link set u0 mtu 3502");
  ASSERT_TRUE(uplink_->Ip("link set u0 mtu 3502"));
  EXPECT_EQ(Message(OpenShared(SharedMode::kAfXdp).status()), "") << "that it takes";
  port = OpenShared(SharedMode::kAfXdp, 2);
  EXPECT_NE(Message(port.status()).find("u0 has 1 receive queues, and AF_XDP needs a socket on each"),
            std::string::npos)
      << Message(port.status());
}

}  // namespace shared_netdev_test
}  // namespace podwire
