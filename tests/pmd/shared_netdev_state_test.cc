// An interface that the kernel keeps: several queues, its end and its coming back, and what others or a
// killed podwired have put on it.

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/epoll.h>

#include <algorithm>
#include <set>

#include "tests/pmd/shared_netdev_fixture.h"

namespace podwire {
namespace shared_netdev_state_test {

class SharedNetdevState : public SharedNetdev {
 protected:
  /// u0 with that many queues, instead of the fixture's.
  void MakeVeth(int rx, int tx) {
    peer_->Remove();
    for (int i = 0; i < 50 && uplink_->Ip("link show u0"); ++i) usleep(20000);
    peer_.emplace("nd-k");
    ASSERT_TRUE(
        uplink_->Ip(fmt::format("link add u0 numrxqueues {} numtxqueues {} address {} type veth peer name k0 "
                                "numrxqueues {} numtxqueues {} address {} netns {}",
                                rx, tx, kUplinkMac, tx, rx, kPeerMac, peer_->name())));
    ASSERT_TRUE(uplink_->Ip("addr add 172.30.0.1/24 dev u0"));
    ASSERT_TRUE(uplink_->Ip("link set u0 up"));
    ASSERT_TRUE(peer_->Ip("addr add 172.30.0.2/24 dev k0"));
    ASSERT_TRUE(peer_->Ip("link set k0 up"));
    ASSERT_TRUE(peer_->Ip("route add 10.244.1.0/24 via 172.30.0.1"));
  }
  void AttachSomebodyElses() {
    const bpf_insn pass[] = {{.code = 0xb7, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
                             {.code = 0x95, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const Fd program(bpf_prog_load(BPF_PROG_TYPE_XDP, "others", "GPL", pass, 2, nullptr));
    ASSERT_TRUE(program.valid());
    ASSERT_EQ(Message(RunInNetns(uplink_->path(),
                                 [&] {
                                   const int result =
                                       bpf_xdp_attach(static_cast<int>(if_nametoindex("u0")), program.get(),
                                                      XDP_FLAGS_DRV_MODE, nullptr);
                                   return result == 0 ? absl::OkStatus() : ErrnoError(-result, "attach");
                                 })),
              "");
  }
  /// Datagrams of 80 bytes that come to the socket, until `want` have or none comes for a second.
  static int Arrivals(const Fd& socket, int want) {
    char buffer[200];
    int got = 0;
    for (int quiet = 0; got < want && quiet < 100;) {
      if (recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT) == 80) {
        ++got;
      } else {
        ++quiet;
        usleep(10000);
      }
    }
    return got;
  }
};

TEST_F(SharedNetdevState, ASocketForEachQueue) {
  MakeVeth(3, 3);
  PortOr port = OpenShared(SharedMode::kAfXdp, 3, 4);
  ASSERT_EQ(Message(port.status()), "");
  port_ = *std::move(port);
  Tell();
  ASSERT_EQ(port_->rx_queues(), 3);
  EXPECT_TRUE(port_->tx_is_shared());
  EXPECT_EQ(port_->rx_fd(), -1);
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  for (uint16_t q = 0; q < 3; ++q) {
    epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.u32 = q}};
    ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, port_->rx_interrupt_fd(q), &event), 0);
    EXPECT_TRUE(port_->ArmRx(q));
  }
  std::set<uint32_t> seen;
  uint64_t got = 0;
  for (int i = 0; i < 60; ++i) {
    Send("172.30.0.1", kSharedTunnelPort);  // each from a port of its own
    epoll_event event = {};
    ASSERT_EQ(epoll_wait(epoll.get(), &event, 1, 1000), 1) << i;
    seen.insert(event.data.u32);
    rte_mbuf* mbufs[8];
    const uint16_t n = port_->RxBurst(static_cast<uint16_t>(event.data.u32), mbufs, 8);
    got += n;
    rte_pktmbuf_free_bulk(mbufs, n);
  }
  EXPECT_EQ(got, 60u);
  EXPECT_GT(seen.size(), 1u);
}

TEST_F(SharedNetdevState, SendsByTheTransmitQueuesThatThereAre) {
  MakeVeth(4, 1);
  PortOr port = OpenShared(SharedMode::kAfXdp, 4, 4);
  ASSERT_EQ(Message(port.status()), "");
  port_ = *std::move(port);
  EXPECT_TRUE(port_->tx_is_shared());
  const Fd peer = UdpSocket(peer_->path(), {}, 6000);
  for (uint16_t worker = 0; worker < 4; ++worker) {
    rte_mbuf* m = ToPeer(6000, 80);
    EXPECT_EQ(port_->TxBurst(worker, &m, 1), 1);
    EXPECT_EQ(Arrivals(peer, 1), 1) << "worker " << worker;
  }
}

TEST_F(SharedNetdevState, AnotherNumberOfQueuesIsAnotherInterface) {
  MakeVeth(3, 3);
  ASSERT_TRUE(uplink_->Exec("ethtool -L u0 rx 2 tx 2"));
  PortOr port = OpenShared(SharedMode::kAfXdp);
  ASSERT_EQ(Message(port.status()), "");
  port_ = *std::move(port);
  EXPECT_EQ(port_->rx_queues(), 2);
  EXPECT_EQ(port_->Vanished(), "");
  ASSERT_TRUE(uplink_->Exec("ethtool -L u0 rx 3 tx 3"));
  EXPECT_EQ(port_->Vanished(), "its interface has another number of queues");
}

TEST_F(SharedNetdevState, WhatIsSentWhileItIsDownIsCountedAsLost) {
  OpenTold(SharedMode::kAfXdp);
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.0/24 via 172.30.0.1"));
  ASSERT_TRUE(uplink_->Ip("link set u0 down"));
  for (int i = 0; i < 3000; ++i) {
    rte_mbuf* m = ToPeer(6000, 80);
    ASSERT_EQ(port_->TxBurst(0, &m, 1), 1);
  }
  EXPECT_EQ(port_->Stats().tx_errors, 3000u);
  EXPECT_EQ(port_->Stats().tx_packets, 0u);
  ASSERT_TRUE(uplink_->Ip("link set u0 up"));
  EXPECT_EQ(port_->Vanished(), "");
  const Fd peer = UdpSocket(peer_->path(), {}, 6000);
  for (int i = 0; i < 50; ++i) {
    rte_mbuf* m = ToPeer(6000, 80);
    ASSERT_EQ(port_->TxBurst(0, &m, 1), 1);
  }
  EXPECT_EQ(Arrivals(peer, 50), 50);
  EXPECT_EQ(port_->Stats().tx_packets, 50u);
}

TEST_F(SharedNetdevState, TheOtherModesLeftoverIsRemoved) {
  for (const SharedMode mode : {SharedMode::kAfXdp, SharedMode::kAfPacket, SharedMode::kAfXdp}) {
    LeaveBehind(mode);
    const SharedMode other = mode == SharedMode::kAfXdp ? SharedMode::kAfPacket : SharedMode::kAfXdp;
    PortOr port = OpenShared(other);
    ASSERT_EQ(Message(port.status()), "");
    EXPECT_EQ(HasXdp(), other == SharedMode::kAfXdp);
    EXPECT_EQ(HasTcFilter(), other == SharedMode::kAfPacket);
  }
}

TEST_F(SharedNetdevState, AnExclusivePortIsNotBlindByALeftover) {
  for (const SharedMode mode : {SharedMode::kAfXdp, SharedMode::kAfPacket}) {
    LeaveBehind(mode);
    PortOr port = Open("u0");
    ASSERT_EQ(Message(port.status()), "");
    port_ = *std::move(port);
    EXPECT_FALSE(HasXdp());
    EXPECT_FALSE(HasTcFilter());
    Send("172.30.0.1", kSharedTunnelPort, 321);
    const std::vector<uint32_t> lengths = Lengths(1);
    EXPECT_EQ(std::count(lengths.begin(), lengths.end(), 363u), 1) << ToString(mode);
    port_.reset();
  }
  // One that is alive keeps its own.
  OpenTold(SharedMode::kAfXdp);
  EXPECT_EQ(Message(Open("u0").status()), "");
  EXPECT_TRUE(HasXdp());
}

TEST_F(SharedNetdevState, SomebodyElsesXdpProgramStays) {
  LeaveBehind(SharedMode::kAfPacket);
  AttachSomebodyElses();
  PortOr port = OpenShared(SharedMode::kAfXdp);
  EXPECT_TRUE(absl::IsFailedPrecondition(port.status()));
  EXPECT_NE(Message(port.status()).find("an XDP program of somebody else's is on it (id "), std::string::npos)
      << Message(port.status());
  EXPECT_NE(Message(port.status()).find("name \"others\""), std::string::npos);
  EXPECT_TRUE(HasXdp());
  EXPECT_TRUE(HasTcFilter()) << "what cannot be opened changes nothing";
  port = OpenShared(SharedMode::kAuto);
  ASSERT_EQ(Message(port.status()), "");
  EXPECT_NE((*port)->how().find("name \"others\""), std::string::npos) << (*port)->how();
  EXPECT_TRUE(HasXdp());
}

}  // namespace shared_netdev_state_test
}  // namespace podwire
