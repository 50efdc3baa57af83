#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include <gtest/gtest.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "net/status.h"
#include "pmd/netns.h"
#include "pmd/offload.h"
#include "pmd/pod_interface.h"
#include "pmd/port_kinds.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/forwarder.h"
#include "tests/pmd/super_packet.h"
#include "tests/pmd/test_netns.h"
#include "tests/pmd/transfer.h"

namespace podwire {
namespace tap_test {

const MacAddr kGatewayMac = *ParseMac("02:00:00:00:00:01");

PodInterface Pod(const TestNetns& ns, const char* mac, const char* v4, const char* v6) {
  return {.netns = ns.path(),
          .ifname = "eth0",
          .mac = *ParseMac(mac),
          .mtu = 1450,
          .addresses = {{*ParseIp(v4), 32}, {*ParseIp(v6), 128}},
          .gateways = {{*ParseIp("10.244.1.1"), kGatewayMac}, {*ParseIp("fd00:1::1"), kGatewayMac}},
          .routes = {}};
}

PortOr Open(const PodInterface& pod, bool persistent = true, const char* name = "pod") {
  const PortConfig config = {
      .name = name,
      .options =
          TapOptions{.netns = pod.netns, .ifname = pod.ifname, .mac = pod.mac, .persistent = persistent},
      .mtu = pod.mtu};
  return CreateTapPort(config, std::get<TapOptions>(config.options), {.pools = TestPools(), .workers = 2});
}

bool ReadableSoon(int fd) {
  pollfd p = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&p, 1, 1000) == 1;
}

/// The next UDP datagram from the port to this port number (the pod may chat of itself); null: none in a
/// second.
rte_mbuf* NextUdp(Port& port, uint16_t udp_port) {
  while (ReadableSoon(port.rx_fd())) {
    rte_mbuf* m = nullptr;
    if (port.RxBurst(0, &m, 1) == 0) return nullptr;
    const auto* ip = rte_pktmbuf_mtod_offset(m, rte_ipv4_hdr*, sizeof(rte_ether_hdr));
    const auto* udp = reinterpret_cast<const rte_udp_hdr*>(ip + 1);
    if (ip->version_ihl == 0x45 && ip->next_proto_id == IPPROTO_UDP && udp->dst_port == htons(udp_port))
      return m;
    rte_pktmbuf_free(m);
  }
  return nullptr;
}

/// A datagram from the pod's socket to 192.0.2.9 port 7001.
void SendHello(const Fd& socket) {
  sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7001)};
  inet_pton(AF_INET, "192.0.2.9", &to.sin_addr);
  ASSERT_EQ(sendto(socket.get(), "hello", 5, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 5);
}

/// Makes a UDP packet its own answer; the pseudo-header's sum stays.
void TurnRound(rte_mbuf& m) {
  auto* bytes = rte_pktmbuf_mtod(&m, uint8_t*);
  std::swap_ranges(bytes, bytes + 6, bytes + 6);
  std::swap_ranges(bytes + 26, bytes + 30, bytes + 30);
  std::swap_ranges(bytes + 34, bytes + 36, bytes + 36);
}

Edit SendTo(const MacAddr& mac) {
  return [mac](rte_mbuf& m) {
    auto* ethernet = rte_pktmbuf_mtod(&m, rte_ether_hdr*);
    if ((ethernet->dst_addr.addr_bytes[0] & 1) != 0) return false;
    std::memcpy(&ethernet->dst_addr, mac.bytes.data(), sizeof(MacAddr));
    return true;
  };
}

class TapTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    TestPools();
    ns_.emplace("tap-a");
    pod_ = Pod(*ns_, "02:00:00:00:00:05", "10.244.1.5", "fd00:1::5");
  }
  void TearDown() override {
    port_.reset();
    if (geteuid() != 0) return;
    EXPECT_EQ(rte_mempool_in_use_count(&TestPools().small()), 0u) << "mbufs lost";
    EXPECT_EQ(rte_mempool_in_use_count(&TestPools().big()), 0u) << "mbufs lost";
  }
  void OpenAndSetUp() {
    PortOr port = Open(pod_);
    ASSERT_EQ(Message(port.status()), "");
    port_ = *std::move(port);
    ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  }
  bool Exists() { return InterfaceExists(pod_.netns, pod_.ifname).value_or(false); }

  std::optional<TestNetns> ns_;
  PodInterface pod_;
  std::unique_ptr<Port> port_;
};

TEST_F(TapTest, IsTheInterfaceAskedFor) {
  PortOr port = Open(pod_);
  ASSERT_EQ(Message(port.status()), "");
  EXPECT_EQ((*port)->kind(), PortKind::kTap);
  EXPECT_EQ((*port)->mtu(), 1450);
  EXPECT_TRUE(ns_->Exec("sh -c 'ip link show eth0 | grep \"mtu 1450\"'"));
  EXPECT_TRUE(ns_->Exec("sh -c 'ip link show eth0 | grep 02:00:00:00:00:05'"));
  EXPECT_TRUE(ns_->Exec("sh -c 'ip -d link show eth0 | grep \"gso_max_size 65400\"'"));
  EXPECT_TRUE(ns_->Exec("sh -c 'ip -d link show eth0 | grep \"gso_max_segs 44\"'")) << "65507 / 1472";
  EXPECT_TRUE(ns_->Exec("sh -c 'ethtool -k eth0 | grep \"tcp-segmentation-offload: on\"'"));
  EXPECT_FALSE((*port)->link_up()) << "not up yet";
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  EXPECT_TRUE((*port)->link_up());
  EXPECT_EQ(Message(CheckPodInterface(pod_)), "");
}

TEST_F(TapTest, PacketsBothWays) {
  OpenAndSetUp();
  const Fd socket = UdpSocket(pod_.netns, *ParseIp("10.244.1.5"), 7000);
  SendHello(socket);

  rte_mbuf* m = NextUdp(*port_, 7001);
  ASSERT_NE(m, nullptr);
  auto* ethernet = rte_pktmbuf_mtod(m, rte_ether_hdr*);
  EXPECT_EQ(m->pkt_len, 14u + 20 + 8 + 5);
  EXPECT_EQ(std::memcmp(&ethernet->dst_addr, kGatewayMac.bytes.data(), 6), 0)
      << "no ARP: the neighbour is known";
  EXPECT_EQ(std::memcmp(&ethernet->src_addr, pod_.mac.bytes.data(), 6), 0);
  EXPECT_EQ(OffloadOf(*m), (Offload{.csum_start = 34, .csum_offset = 6, .flags = Offload::kNeedsCsum}));

  TurnRound(*m);
  std::memcpy(rte_pktmbuf_mtod_offset(m, char*, 42), "HELLO", 5);
  const uint32_t len = m->pkt_len;
  ASSERT_EQ(port_->TxBurst(1, &m, 1), 1);
  char buffer[16];
  ASSERT_EQ(recv(socket.get(), buffer, sizeof buffer, 0), 5);
  EXPECT_EQ(std::string(buffer, 5), "HELLO");
  const PortStats stats = port_->Stats();
  EXPECT_EQ(stats.tx_packets, 1u);
  EXPECT_EQ(stats.tx_bytes, len);
  EXPECT_EQ(stats.tx_errors, 0u);
  EXPECT_GE(stats.rx_packets, 1u);
  EXPECT_EQ(stats.rx_errors, 0u);
}

TEST_F(TapTest, SegmentsOfABurstReachThePodAsOnePacket) {
  OpenAndSetUp();
  Fd sniffer;
  ASSERT_EQ(Message(RunInNetns(pod_.netns,
                               [&]() -> absl::Status {
                                 sniffer = Fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP)));
                                 return sniffer.valid() ? absl::OkStatus() : ErrnoError(errno, "socket");
                               })),
            "");
  const auto segment = [&](uint32_t sequence, bool corrupt) {
    SuperPacket p{.sequence = sequence, .payload = Bytes(1000, static_cast<uint8_t>(sequence / 1000))};
    p.Build();
    std::copy_n(pod_.mac.bytes.begin(), 6, p.bytes.begin());
    Put16(p.bytes, p.l4 + 16, 0);
    const uint16_t sum = NaiveSum(p.bytes, p.l4, p.bytes.size(), PseudoSum(p.bytes, p.l3, 6, 1020));
    Put16(p.bytes, p.l4 + 16, static_cast<uint16_t>(~sum + (corrupt ? 1 : 0)));
    return ChainMbufs(p.bytes, p.bytes.size(), 1);
  };
  rte_mbuf* mbufs[] = {segment(1000, false), segment(2000, false), segment(3000, false), segment(4000, true)};
  ASSERT_EQ(port_->TxBurst(1, mbufs, 4), 4);
  std::vector<Bytes> seen;
  while (seen.size() < 2 && ReadableSoon(sniffer.get())) {
    Bytes frame(65536);
    const ssize_t n = recv(sniffer.get(), frame.data(), frame.size(), 0);
    ASSERT_GT(n, 0);
    frame.resize(static_cast<size_t>(n));
    if (frame[23] == IPPROTO_TCP) seen.push_back(frame);
  }
  ASSERT_EQ(seen.size(), 2u);
  ASSERT_EQ(seen[0].size(), 14u + 40 + 3000);
  for (size_t i = 0; i < 3000; ++i) ASSERT_EQ(seen[0][54 + i], 1 + i / 1000);
  EXPECT_EQ(seen[1].size(), 14u + 40 + 1000);
  EXPECT_EQ(port_->Stats().tx_packets, 4u) << "as the switch handed them over";
  EXPECT_EQ(port_->Stats().tx_bytes, 4u * 1054);
  EXPECT_EQ(port_->Stats().tx_errors, 0u);
}

TEST_F(TapTest, WrongChecksumDoesNotReachThePod) {
  OpenAndSetUp();
  const Fd socket = UdpSocket(pod_.netns, *ParseIp("10.244.1.5"), 7000);
  SendHello(socket);
  rte_mbuf* m = NextUdp(*port_, 7001);
  ASSERT_NE(m, nullptr);
  TurnRound(*m);
  OffloadOf(*m) = {};  // claims that the partial sum is the checksum
  ASSERT_EQ(port_->TxBurst(0, &m, 1), 1);
  char buffer[16];
  EXPECT_EQ(recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT), -1);
}

TEST_F(TapTest, SuperPacketsPassWhole) {
  OpenAndSetUp();
  const TestNetns other("tap-b");
  const PodInterface peer = Pod(other, "02:00:00:00:00:06", "10.244.1.6", "fd00:1::6");
  PortOr peer_port = Open(peer);
  ASSERT_EQ(Message(peer_port.status()), "");
  ASSERT_EQ(Message(SetUpPodInterface(peer)), "");
  const Forwarder forwarder(*port_, **peer_port, SendTo(peer.mac), SendTo(pod_.mac));
  EXPECT_EQ(Message(Transfer(pod_.netns, peer.netns, *ParseIp("10.244.1.6"), 8 << 20)), "");
  EXPECT_GT(forwarder.largest_from_a(), 20000u);
  EXPECT_LE(forwarder.largest_from_a(), 65400u);
  EXPECT_EQ(Message(Transfer(peer.netns, pod_.netns, *ParseIp("fd00:1::5"), 8 << 20)), "");
  EXPECT_GT(forwarder.largest_from_b(), 20000u);
  EXPECT_EQ((*peer_port)->Stats().tx_segments, 0u);
  EXPECT_EQ((*peer_port)->Stats().tx_errors + port_->Stats().tx_errors, 0u);
}

TEST_F(TapTest, SurvivesTheProcessAndIsOpenedAgain) {
  OpenAndSetUp();
  EXPECT_EQ(Open(pod_).status().code(), absl::StatusCode::kFailedPrecondition) << "in use";
  port_.reset();
  EXPECT_TRUE(Exists());
  EXPECT_EQ(Message(CheckPodInterface(pod_)), "") << "addresses, routes and neighbours stay";

  EXPECT_TRUE(absl::IsAlreadyExists(Open(pod_, true, "other").status())) << "another port's";
  EXPECT_EQ(Message(CheckPodInterface(pod_)), "");

  ASSERT_TRUE(ns_->Ip("link set eth0 address 02:00:00:00:00:77"));
  ASSERT_EQ(Message(Open(pod_).status()), "") << "the pod may change its MAC";
  ASSERT_EQ(Message(SetUpPodInterface(pod_)), "");
  PortOr again = Open(pod_);
  ASSERT_EQ(Message(again.status()), "");
  EXPECT_EQ(Message(CheckPodInterface(pod_)), "");
  EXPECT_TRUE((*again)->link_up());
  EXPECT_EQ(Message((*again)->Destroy()), "");
  EXPECT_FALSE((*again)->link_up());
  EXPECT_FALSE(Exists());
}

TEST_F(TapTest, WithoutPersistenceClosingRemovesIt) {
  PortOr port = Open(pod_, false);
  ASSERT_EQ(Message(port.status()), "");
  EXPECT_TRUE(Exists());
  port->reset();
  EXPECT_FALSE(Exists());
}

TEST_F(TapTest, FailureLeavesNothingBehind) {
  ASSERT_EQ(Message(Open(pod_).status()), "");  // whatever is made once, is made
  RemoveInterface(pod_.netns, pod_.ifname, "pod").IgnoreError();
  const size_t before = OpenDescriptors();
  PodInterface bad = pod_;
  bad.mtu = 65535;  // more than a tap can
  EXPECT_FALSE(Open(bad).ok());
  EXPECT_FALSE(Exists());
  bad = pod_;
  bad.ifname = "a/b";
  EXPECT_TRUE(absl::IsInvalidArgument(Open(bad).status()));
  bad.ifname = "sixteen-bytes-xx";
  EXPECT_TRUE(absl::IsInvalidArgument(Open(bad).status()));
  bad = pod_;
  bad.mac = *ParseMac("ff:ff:ff:ff:ff:ff");
  EXPECT_TRUE(absl::IsInvalidArgument(Open(bad).status()));
  bad = pod_;
  bad.netns = "/run/netns/pw-no-such";
  EXPECT_TRUE(absl::IsNotFound(Open(bad).status()));
  ASSERT_TRUE(ns_->Ip("link add eth0 type veth peer name other"));
  EXPECT_EQ(Message(Open(pod_).status()),
            "interface eth0 exists and is not this port's (its alias is \"\"): ip link del eth0, or take "
            "another name");
  ASSERT_TRUE(ns_->Ip("link del eth0"));
  ASSERT_TRUE(ns_->Ip("tuntap add eth0 mode tap"));
  EXPECT_TRUE(absl::IsAlreadyExists(Open(pod_).status()));
  EXPECT_TRUE(Exists()) << "not ours to remove";
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_F(TapTest, DeviceRemovedUnderThePort) {
  OpenAndSetUp();
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, port_->rx_fd(), &event), 0);
  ASSERT_TRUE(ns_->Ip("link del eth0"));
  ASSERT_EQ(epoll_wait(epoll.get(), &event, 1, 1000), 1);
  EXPECT_FALSE(port_->link_up());
  rte_mbuf* mbufs[4];
  EXPECT_EQ(port_->RxBurst(0, mbufs, 4), 0);
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 50), 0) << "a dead port must not wake its worker";
  EXPECT_EQ(port_->RxBurst(0, mbufs, 4), 0);
  EXPECT_FALSE(port_->link_up());
  rte_mbuf* m = rte_pktmbuf_alloc(&TestPools().small());
  rte_pktmbuf_append(m, 64);
  OffloadOf(*m) = {};
  EXPECT_EQ(port_->TxBurst(0, &m, 1), 1);
  EXPECT_EQ(port_->Stats().tx_errors, 1u);
  EXPECT_EQ(port_->Stats().tx_packets, 0u);
  EXPECT_EQ(Message(port_->Destroy()), "");
}

TEST_F(TapTest, NamespaceRemovedUnderThePort) {
  OpenAndSetUp();
  EXPECT_TRUE(port_->link_up());
  ns_->Remove();
  EXPECT_FALSE(port_->link_up());
  rte_mbuf* mbufs[32];
  while (port_->RxBurst(0, mbufs, 1) == 1) rte_pktmbuf_free(mbufs[0]);
  EXPECT_EQ(Message(port_->Destroy()), "");
  EXPECT_EQ(port_->RxBurst(0, mbufs, 32), 0);
}

}  // namespace tap_test
}  // namespace podwire
