// An interface that the kernel keeps and podwire shares, over a veth: by AF_XDP and by AF_PACKET.

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "net/status.h"
#include "pmd/netns.h"
#include "pmd/offload.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/netdev_fixture.h"
#include "tests/pmd/transfer.h"

namespace podwire {
namespace shared_netdev_test {

constexpr uint16_t kTunnelPort = 8472;

/// u0 has 172.30.0.1 of the kernel's.
class SharedNetdev : public NetdevTest {
 protected:
  void SetUp() override {
    NetdevTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(uplink_->Ip("addr add 172.30.0.1/24 dev u0"));
    ASSERT_TRUE(uplink_->Ip(fmt::format("neigh add 172.30.0.2 lladdr {} dev u0", kPeerMac)));
  }

  PortOr OpenShared(SharedMode mode, uint16_t queues = 0, uint16_t workers = 1) {
    const PortConfig config = {
        .name = "uplink",
        .options = NetdevOptions{.interface = "u0", .shared = true, .mode = mode, .queues = queues}};
    PortOr port = absl::UnknownError("not run");
    RunInNetns(uplink_->path(), [&] {
      port = CreatePort(config, {.pools = TestPools(), .workers = workers});
      return absl::OkStatus();
    }).IgnoreError();
    return port;
  }
  void OpenTold(SharedMode mode) {
    PortOr port = OpenShared(mode);
    ASSERT_EQ(Message(port.status()), "");
    port_ = *std::move(port);
    Tell();
  }
  void Tell() {
    port_->SetTunnel({.address = ParseIp("172.30.0.1")->v4(), .port_be = htons(kTunnelPort)});
    const IpPrefix pods = *ParsePrefix("10.244.1.0/24");
    port_->SetPodSubnets({&pods, 1});
  }

  /// A datagram of `payload` bytes from the peer's kernel.
  void Send(const std::string& address, uint16_t port, size_t payload = 100) {
    const Fd fd = UdpSocket(peer_->path(), {}, 0);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = inet_addr(address.c_str());
    const std::string data(payload, 'x');
    ASSERT_EQ(sendto(fd.get(), data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
              static_cast<ssize_t>(payload));
  }
  /// Lengths of the frames that the port gets: those that come within 40 ms after `want` of them, which may
  /// take 2 s.
  std::vector<uint32_t> Lengths(size_t want) {
    std::vector<uint32_t> lengths;
    for (int i = 0, after = 0; i < 1000 && after < 20; ++i) {
      rte_mbuf* mbufs[32];
      const uint16_t n = port_->RxBurst(0, mbufs, 32);
      for (uint16_t k = 0; k < n; ++k) lengths.push_back(mbufs[k]->pkt_len);
      rte_pktmbuf_free_bulk(mbufs, n);
      if (lengths.size() >= want) ++after;
      if (n == 0) usleep(2000);
    }
    return lengths;
  }
  /// A datagram to the peer's address.
  static rte_mbuf* ToPeer(uint16_t port, uint16_t payload) {
    rte_mbuf* m = rte_pktmbuf_alloc(&TestPools().small());
    OffloadOf(*m) = {};
    constexpr uint16_t kIp = sizeof(rte_ipv4_hdr), kUdp = sizeof(rte_udp_hdr);
    char* frame = rte_pktmbuf_append(m, static_cast<uint16_t>(sizeof(rte_ether_hdr) + kIp + kUdp + payload));
    auto* eth = reinterpret_cast<rte_ether_hdr*>(frame);
    SetMac(&eth->dst_addr, kPeerMac);
    SetMac(&eth->src_addr, kUplinkMac);
    eth->ether_type = htons(RTE_ETHER_TYPE_IPV4);
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(eth + 1);
    *ip = {.version_ihl = 0x45, .time_to_live = 64, .next_proto_id = IPPROTO_UDP};
    ip->total_length = htons(static_cast<uint16_t>(kIp + kUdp + payload));
    ip->src_addr = inet_addr("10.244.1.7");
    ip->dst_addr = inet_addr("172.30.0.2");
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    auto* udp = reinterpret_cast<rte_udp_hdr*>(ip + 1);
    *udp = {.src_port = htons(7), .dst_port = htons(port)};
    udp->dgram_len = htons(static_cast<uint16_t>(kUdp + payload));
    std::memset(udp + 1, 'y', payload);
    return m;
  }
  bool HasXdp(const char* what = "xdp") {
    return uplink_->Exec(fmt::format("sh -c \"ip link show u0 | grep -q '{}'\"", what));
  }
  bool HasTcFilter() {
    return uplink_->Exec("sh -c \"tc filter show dev u0 ingress | grep -q podwire_ingress\"");
  }
};

class SharedNetdevTest : public SharedNetdev, public testing::WithParamInterface<SharedMode> {};

TEST_P(SharedNetdevTest, TakesTheTunnelsPacketsAndThePodsAndLeavesTheRest) {
  OpenTold(GetParam());
  EXPECT_EQ((port_->mac()), *ParseMac(kUplinkMac));
  EXPECT_EQ(port_->mtu(), 1500);
  EXPECT_TRUE(port_->link_up());
  const Fd host = UdpSocket(uplink_->path(), *ParseIp("172.30.0.1"), 5353);
  const Fd same_port = UdpSocket(uplink_->path(), {}, kTunnelPort);
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.0/24 via 172.30.0.1"));
  Send("172.30.0.1", kTunnelPort);
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
  EXPECT_FALSE(refused(kTunnelPort, 200));
}

TEST_P(SharedNetdevTest, ADescriptorTellsOfFrames) {
  OpenTold(GetParam());
  ASSERT_GE(port_->rx_fd(), 0);
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, port_->rx_fd(), &event), 0);
  Send("172.30.0.1", 5353);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 100), 0) << "the host's frames wake nobody";
  Send("172.30.0.1", kTunnelPort);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 1000), 1);
  EXPECT_EQ(Lengths(1).size(), 1u);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 50), 0);
}

TEST_P(SharedNetdevTest, ManyFramesEachWay) {
  OpenTold(GetParam());
  uint64_t got = 0;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 30; ++i) Send("172.30.0.1", kTunnelPort, 200);
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

  // As if killed: a child opens it and is gone.
  const pid_t child = fork();
  if (child == 0) {
    const PortOr port = OpenShared(GetParam());
    if (port.ok()) {
      (*port)->SetTunnel({.address = ParseIp("172.30.0.1")->v4(), .port_be = htons(kTunnelPort)});
    }
    _exit(port.ok() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(HasXdp(), xdp) << "it outlives the process";
  EXPECT_EQ(HasTcFilter(), !xdp);
  const Fd same_port = UdpSocket(uplink_->path(), {}, kTunnelPort);
  Send("172.30.0.1", kTunnelPort);
  EXPECT_TRUE(peer_->Exec("ping -c 1 -W 1 172.30.0.1")) << "the host does not notice";
  char byte;
  EXPECT_EQ(recv(same_port.get(), &byte, 1, MSG_DONTWAIT), -1);
  OpenTold(GetParam());
  Send("172.30.0.1", kTunnelPort);
  EXPECT_EQ(Lengths(1).size(), 1u) << "the next one takes over";
  port_.reset();
  EXPECT_FALSE(HasXdp());
  EXPECT_FALSE(HasTcFilter());
}

INSTANTIATE_TEST_SUITE_P(Modes, SharedNetdevTest, testing::Values(SharedMode::kAfXdp, SharedMode::kAfPacket),
                         [](const auto& mode) { return std::string(ToString(mode.param)); });

TEST_F(SharedNetdev, AutoTakesAfPacketWhereAfXdpWouldCopy) {
  PortOr port = OpenShared(SharedMode::kAuto);
  ASSERT_EQ(Message(port.status()), "");
  EXPECT_EQ((*port)->how(), "af_packet") << "a veth has no zero-copy";
}

TEST_F(SharedNetdev, TheOtherModesLeftoverIsRemoved) {
  for (const SharedMode mode : {SharedMode::kAfXdp, SharedMode::kAfPacket, SharedMode::kAfXdp}) {
    const pid_t child = fork();
    if (child == 0) _exit(OpenShared(mode).ok() ? (fflush(nullptr), 0) : 1);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    const SharedMode other = mode == SharedMode::kAfXdp ? SharedMode::kAfPacket : SharedMode::kAfXdp;
    PortOr port = OpenShared(other);
    ASSERT_EQ(Message(port.status()), "");
    EXPECT_EQ(HasXdp(), other == SharedMode::kAfXdp);
    EXPECT_EQ(HasTcFilter(), other == SharedMode::kAfPacket);
  }
}

TEST_F(SharedNetdev, SomebodyElsesXdpProgramStays) {
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
  PortOr port = OpenShared(SharedMode::kAfXdp);
  EXPECT_TRUE(absl::IsFailedPrecondition(port.status()));
  EXPECT_NE(Message(port.status()).find("an XDP program of somebody else's is on it (id "), std::string::npos)
      << Message(port.status());
  EXPECT_NE(Message(port.status()).find("name \"others\""), std::string::npos);
  EXPECT_TRUE(HasXdp());
  EXPECT_EQ(Message(OpenShared(SharedMode::kAfPacket).status()), "");
  EXPECT_TRUE(HasXdp());
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

TEST_F(SharedNetdev, ASocketForEachQueue) {
  peer_->Remove();
  for (int i = 0; i < 50 && uplink_->Ip("link show u0"); ++i) usleep(20000);
  peer_.emplace("nd-k");
  ASSERT_TRUE(uplink_->Ip(
      fmt::format("link add u0 numrxqueues 3 numtxqueues 3 address {} type veth peer name k0 numrxqueues 3 "
                  "numtxqueues 3 address {} netns {}",
                  kUplinkMac, kPeerMac, peer_->name())));
  ASSERT_TRUE(uplink_->Ip("addr add 172.30.0.1/24 dev u0"));
  ASSERT_TRUE(uplink_->Ip("link set u0 up"));
  ASSERT_TRUE(peer_->Ip("addr add 172.30.0.2/24 dev k0"));
  ASSERT_TRUE(peer_->Ip("link set k0 up"));
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
    Send("172.30.0.1", kTunnelPort);  // each from a port of its own
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

}  // namespace shared_netdev_test
}  // namespace podwire
