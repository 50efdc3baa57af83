#include <arpa/inet.h>
#include <net/ethernet.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include "net/status.h"
#include "pmd/netns.h"
#include "pmd/offload.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/netdev_fixture.h"
#include "tests/pmd/transfer.h"

namespace podwire {
namespace netdev_test {

constexpr char kVxlanMac[] = "02:00:00:00:0b:02";
constexpr uint16_t kEncapLen = 50;

struct [[gnu::packed, gnu::aligned(2)]] Encap {
  rte_ether_hdr ethernet;
  rte_ipv4_hdr ip;
  rte_udp_hdr udp;
  rte_vxlan_hdr vxlan;
};
static_assert(sizeof(Encap) == kEncapLen);

/// As the overlay does it: VNI 1, port 8472, 172.30.0.1 -> 172.30.0.2, no outer UDP checksum.
bool Encapsulate(rte_mbuf& m) {
  if (!SendTo(kVxlanMac)(m)) return false;
  Offload& offload = OffloadOf(m);
  const bool gso = offload.gso_size != 0;
  const auto inner_len = static_cast<uint16_t>(m.pkt_len);
  auto* outer = reinterpret_cast<Encap*>(rte_pktmbuf_prepend(&m, kEncapLen));
  std::memset(outer, 0, kEncapLen);
  SetMac(&outer->ethernet.dst_addr, kPeerMac);
  SetMac(&outer->ethernet.src_addr, kUplinkMac);
  outer->ethernet.ether_type = htons(RTE_ETHER_TYPE_IPV4);
  outer->ip = {.version_ihl = 0x45, .time_to_live = 64, .next_proto_id = IPPROTO_UDP};
  outer->ip.total_length = htons(static_cast<uint16_t>(inner_len + 36));
  outer->ip.src_addr = inet_addr("172.30.0.1");
  outer->ip.dst_addr = inet_addr("172.30.0.2");
  outer->ip.hdr_checksum = rte_ipv4_cksum(&outer->ip);
  outer->udp = {.src_port = htons(50000), .dst_port = htons(8472)};
  outer->udp.dgram_len = htons(static_cast<uint16_t>(inner_len + 16));
  outer->vxlan = {.vx_flags = htonl(0x08000000), .vx_vni = htonl(1 << 8)};
  if (offload.needs_csum()) offload.csum_start = static_cast<uint16_t>(offload.csum_start + kEncapLen);
  m.ol_flags |= RTE_MBUF_F_TX_TUNNEL_VXLAN;
  if (gso) {
    m.outer_l2_len = sizeof(rte_ether_hdr);
    m.outer_l3_len = sizeof(rte_ipv4_hdr);
    m.l2_len = sizeof(rte_udp_hdr) + sizeof(rte_vxlan_hdr) + sizeof(rte_ether_hdr);
    m.l3_len = sizeof(rte_ipv4_hdr);
    m.l4_len = static_cast<uint8_t>(
        (rte_pktmbuf_mtod_offset(&m, rte_tcp_hdr*, offload.csum_start)->data_off >> 4) * 4);
  }
  return true;
}

/// A frame of an Ethernet type for experiments, with this tag.
std::string Frame(const std::string& tag) {
  return std::string("\2\0\0\0\x0a\1\2\0\0\0\x0a\2", 12) + tag + "\x88\xb5" + std::string(46, '*');
}

TEST_F(NetdevTest, TakesMacAndMtuFromTheInterface) {
  ASSERT_TRUE(uplink_->Ip("link set u0 mtu 1400"));
  PortOr port = Open("u0");
  ASSERT_EQ(Message(port.status()), "");
  EXPECT_EQ((*port)->mac(), *ParseMac(kUplinkMac));
  EXPECT_EQ((*port)->mtu(), 1400);
  EXPECT_TRUE((*port)->link_up());
  ASSERT_TRUE(uplink_->Ip("link set u0 down"));
  EXPECT_FALSE((*port)->link_up());
  rte_mbuf* m = nullptr;
  EXPECT_EQ((*port)->RxBurst(0, &m, 1), 0);
  ASSERT_TRUE(uplink_->Ip("link set u0 up"));
  EXPECT_TRUE((*port)->link_up());
  port_ = *std::move(port);
  Received();
  Inject(Frame(""));
  EXPECT_EQ(Received().size(), 1u) << "down and up again is not gone";
}

TEST_F(NetdevTest, SuperPacketsPassWholeBothWays) {
  OpenBoth(1500);
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.5 via 172.30.0.1"));
  const Forwarder forwarder(*tap_, *port_, SendTo(kPeerMac), SendTo(kPodMac));
  EXPECT_EQ(Message(Transfer(pod_.netns, peer_->path(), *ParseIp("172.30.0.2"), 8 << 20)), "");
  EXPECT_GT(forwarder.largest_from_a(), 20000u);
  EXPECT_EQ(Message(Transfer(peer_->path(), pod_.netns, *ParseIp("10.244.1.5"), 8 << 20)), "");
  EXPECT_GT(forwarder.largest_from_b(), 20000u);
  EXPECT_EQ(port_->Stats().tx_segments, 0u);
  EXPECT_EQ(port_->Stats().tx_errors + tap_->Stats().tx_errors, 0u);
  EXPECT_EQ(port_->Stats().rx_errors + port_->Stats().rx_missed, 0u);
}

TEST_F(NetdevTest, TheKernelsVxlanPeerBothWays) {
  OpenBoth(1450);
  ASSERT_TRUE(peer_->Ip("link add vx0 type vxlan id 1 dstport 8472 local 172.30.0.2 nolearning"));
  ASSERT_TRUE(peer_->Ip(fmt::format("link set vx0 address {} mtu 1450 up", kVxlanMac)));
  ASSERT_TRUE(peer_->Ip("addr add 10.244.2.7/24 dev vx0"));
  ASSERT_TRUE(peer_->Exec(fmt::format("bridge fdb append {} dev vx0 dst 172.30.0.1", kPodMac)));
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.5 dev vx0"));
  ASSERT_TRUE(peer_->Ip(fmt::format("neigh add 10.244.1.5 lladdr {} dev vx0", kPodMac)));
  const Edit decapsulate = [](rte_mbuf& m) {
    const auto* outer = rte_pktmbuf_mtod(&m, const Encap*);
    if (m.data_len < kEncapLen || outer->ip.next_proto_id != IPPROTO_UDP ||
        outer->udp.dst_port != htons(8472)) {
      return false;
    }
    Offload& offload = OffloadOf(m);
    if (offload.needs_csum()) offload.csum_start = static_cast<uint16_t>(offload.csum_start - kEncapLen);
    rte_pktmbuf_adj(&m, kEncapLen);
    return true;
  };
  const Forwarder forwarder(*tap_, *port_, Encapsulate, decapsulate);
  EXPECT_EQ(Message(Transfer(pod_.netns, peer_->path(), *ParseIp("10.244.2.7"), 8 << 20)), "");
  EXPECT_GT(forwarder.largest_from_a(), 20000u);
  EXPECT_GT(port_->Stats().tx_segments, 5000u) << "segmented before the write";
  EXPECT_EQ(Message(Transfer(peer_->path(), pod_.netns, *ParseIp("10.244.1.5"), 8 << 20)), "");
  EXPECT_GT(forwarder.largest_from_b(), 20000u) << "the kernel's tunnel super-packets come whole";
  EXPECT_EQ(port_->Stats().tx_errors + tap_->Stats().tx_errors, 0u);
}

TEST_F(NetdevTest, VlanFramesAreNotTakenForOurs) {
  PortOr port = Open("u0");
  ASSERT_EQ(Message(port.status()), "");
  port_ = *std::move(port);
  Inject(Frame(std::string("\x81\0\0\5", 4)));  // VLAN 5
  EXPECT_EQ(Received().size(), 0u);
  Inject(Frame(std::string("\x81\0\xe0\0", 4)));  // priority 7 only
  EXPECT_EQ(Received(), std::vector(1, Frame("")));
  Inject(Frame(""));
  EXPECT_EQ(Received(), std::vector(1, Frame("")));
}

TEST_F(NetdevTest, TooLongForTheInterfaceIsAnError) {
  PortOr port = Open("u0");
  ASSERT_EQ(Message(port.status()), "");
  rte_mbuf* mbufs[3];
  for (rte_mbuf*& m : mbufs) {
    m = rte_pktmbuf_alloc(&TestPools().small());
    std::memset(rte_pktmbuf_append(m, 1514), 0, 1514);
    OffloadOf(*m) = {};
  }
  rte_pktmbuf_append(mbufs[1], 100);
  EXPECT_EQ((*port)->TxBurst(0, mbufs, 3), 3);
  EXPECT_EQ((*port)->Stats().tx_packets, 2u) << "the frames around it go";
  EXPECT_EQ((*port)->Stats().tx_errors, 1u);
  EXPECT_EQ((*port)->Stats().tx_bytes, 2u * 1514);
}

TEST_F(NetdevTest, MalformedOffloadIsAnError) {
  PortOr port = Open("u0");
  ASSERT_EQ(Message(port.status()), "");
  const Offload bad[] = {
      {.csum_start = 60, .csum_offset = 16, .flags = Offload::kNeedsCsum},  // outside the frame
      {.csum_start = 34,
       .csum_offset = 16,
       .gso_size = 100,
       .gso_type = GsoType::kTcp4},  // no partial checksum
      {.csum_start = 84, .csum_offset = 16, .gso_size = 9, .gso_type = GsoType::kTcp4, .flags = 1},
      {.csum_start = 84, .csum_offset = 16, .flags = Offload::kNeedsCsum},
  };
  for (const Offload& offload : bad) {
    rte_mbuf* m = rte_pktmbuf_alloc(&TestPools().small());
    std::memset(rte_pktmbuf_append(m, 64), 0, 64);
    OffloadOf(*m) = offload;
    EXPECT_EQ((*port)->TxBurst(0, &m, 1), 1);
  }
  EXPECT_EQ((*port)->Stats().tx_errors, 4u);
  EXPECT_EQ((*port)->Stats().tx_packets, 0u);
}

TEST_F(NetdevTest, ChecksumInATunnelIsCompletedAPlainOneLeftToTheKernel) {
  PortOr port = Open("u0");
  ASSERT_EQ(Message(port.status()), "");
  Fd wire;
  ASSERT_EQ(Message(RunInNetns(peer_->path(),
                               [&]() -> absl::Status {
                                 wire = Fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                                                  htons(0x88b5)));
                                 return wire.valid() ? absl::OkStatus() : ErrnoError(errno, "socket");
                               })),
            "");
  // The words 0102 0304 0506 and the checksum field; frames begin as Frame's do.
  const auto send = [&](uint16_t csum_start, uint64_t flags) {
    rte_mbuf* m = rte_pktmbuf_alloc(&TestPools().small());
    const std::string frame = Frame("") + std::string(csum_start, '\0');
    std::memcpy(rte_pktmbuf_append(m, csum_start), frame.data(), csum_start);
    std::memcpy(rte_pktmbuf_append(m, 8), "\1\2\3\4\5\6\0\0", 8);
    m->ol_flags |= flags;
    OffloadOf(*m) = {.csum_start = csum_start, .csum_offset = 6, .flags = Offload::kNeedsCsum};
    EXPECT_EQ((*port)->TxBurst(0, &m, 1), 1);
    uint8_t bytes[256] = {};
    EXPECT_EQ(recv(wire.get(), bytes, sizeof bytes, 0), csum_start + 8);
    return bytes[csum_start + 6] << 8 | bytes[csum_start + 7];
  };
  constexpr int kComplete = 0xffff - (0x0102 + 0x0304 + 0x0506);
  EXPECT_EQ(send(84, 0), kComplete) << "so far in that it must be a tunnel's";
  EXPECT_EQ(send(62, RTE_MBUF_F_TX_TUNNEL_UDP), kComplete);
  EXPECT_EQ(send(34, 0), 0) << "passed on as it is";
  EXPECT_EQ((*port)->Stats().tx_errors, 0u);
}

TEST_F(NetdevTest, RemovedUnderThePort) {
  PortOr port = Open("u0");
  ASSERT_EQ(Message(port.status()), "");
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, (*port)->rx_fd(), &event), 0);
  peer_->Remove();  // takes both ends of the veth with it
  for (int i = 0; i < 50 && uplink_->Ip("link show u0"); ++i) usleep(20000);
  EXPECT_FALSE((*port)->link_up());
  rte_mbuf* mbufs[32];
  for (int i = 0; i < 10; ++i) rte_pktmbuf_free_bulk(mbufs, (*port)->RxBurst(0, mbufs, 32));
  EXPECT_EQ(epoll_wait(epoll.get(), &event, 1, 50), 0) << "a dead port must not wake its worker";
  EXPECT_FALSE((*port)->link_up());
}

TEST_F(NetdevTest, FailureNamesTheCauseAndLeavesNothing) {
  const size_t before = OpenDescriptors();
  EXPECT_EQ(Open("nothere").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::IsInvalidArgument(Open("").status()));
  ASSERT_TRUE(uplink_->Ip("link set u0 down"));
  EXPECT_EQ(Message(Open("u0").status()), "interface u0 is down: ip link set u0 up");
  ASSERT_TRUE(uplink_->Ip("link set lo up"));
  EXPECT_EQ(Message(Open("lo").status()), "interface lo is not Ethernet");
  EXPECT_EQ(OpenDescriptors(), before);
}

}  // namespace netdev_test
}  // namespace podwire
