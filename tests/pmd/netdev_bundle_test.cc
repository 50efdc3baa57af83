// UDP super-packets of a netdev port: a tunnel's frames in one, and those of a stranger.
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <unistd.h>

#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rte_ether.h>

#include "net/status.h"
#include "pmd/offload.h"
#include "tests/pmd/netdev_fixture.h"
#include "tests/pmd/super_packet.h"
#include "tests/pmd/transfer.h"

namespace podwire {
namespace netdev_bundle_test {

using NetdevBundleTest = NetdevTest;

/// A VXLAN super-packet of 20 segments from one host to another's tunnel, as the switch hands it to a port.
SuperPacket TunnelledSuperPacket(bool v6 = false) {
  SuperPacket p{.tunnel = Tunnel::kVxlan,
                .outer_v6 = v6,
                .v6 = v6,
                .tcp_options = 12,
                .gso_size = static_cast<uint16_t>(v6 ? 1358 : 1398),
                .sequence = 7};
  for (size_t i = 0; i < 20u * p.gso_size - 5; ++i) p.payload.push_back(static_cast<uint8_t>(i * 31 >> 3));
  p.Build();
  return p;
}

/// What a port receives of one Ethernet type, until `count` packets came or nothing more does.
std::vector<rte_mbuf*> Receive(Port& port, size_t count, uint16_t type) {
  std::vector<rte_mbuf*> out;
  for (int quiet = 0; out.size() < count && quiet < 200; ++quiet) {
    rte_mbuf* mbufs[7];
    const uint16_t n = port.RxBurst(0, mbufs, 7);
    for (rte_mbuf* m : std::span(mbufs, n)) {
      if (Get16(ToBytes(*m), 12) == type) {
        out.push_back(m);
      } else {
        rte_pktmbuf_free(m);
      }
    }
    if (n == 0) usleep(1000);
  }
  return out;
}

std::vector<rte_mbuf*> ReceiveIpv4(Port& port, size_t count) {
  return Receive(port, count, RTE_ETHER_TYPE_IPV4);
}

TEST_F(NetdevBundleTest, ATunnelledSuperPacketOverIpv6CrossesTwoPortsWhole) {
  PortOr a = Open("u0");
  PortOr b = OpenIn(*peer_, "k0");
  ASSERT_TRUE(a.ok() && b.ok());
  const SuperPacket p = TunnelledSuperPacket(/*v6=*/true);
  UdpTunnel tunnel{.port_be = htons(0x2118), .vxlan = true};
  std::copy_n(p.bytes.begin() + static_cast<ptrdiff_t>(p.outer_l3) + 24, 16, tunnel.address6.bytes.begin());
  (*b)->SetTunnel(tunnel);
  rte_mbuf* sent = p.ToMbuf(300);
  ASSERT_EQ((*a)->TxBurst(0, &sent, 1), 1);
  EXPECT_EQ((*a)->Stats().tx_segments, 20u);
  EXPECT_EQ((*a)->Stats().tx_errors, 0u);
  auto received = Receive(**b, 8, RTE_ETHER_TYPE_IPV6);
  std::erase_if(received, [&](rte_mbuf* m) {  // and not the kernel's own IPv6 chatter
    const bool chatter = m->pkt_len != p.bytes.size();
    if (chatter) rte_pktmbuf_free(m);
    return chatter;
  });
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(ToBytes(*received[0]), p.bytes);
  EXPECT_EQ(OffloadOf(*received[0]).gso_type, GsoType::kTcp6);
  EXPECT_EQ((*b)->Stats().rx_errors, 0u);
  rte_pktmbuf_free(received[0]);
}

TEST_F(NetdevBundleTest, ATunnelledSuperPacketCrossesTwoPortsWhole) {
  PortOr a = Open("u0");
  PortOr b = OpenIn(*peer_, "k0");
  ASSERT_TRUE(a.ok() && b.ok());
  const SuperPacket p = TunnelledSuperPacket();
  (*b)->SetTunnel({.address = {htonl(0x0af40109)}, .port_be = htons(0x2118), .vxlan = true});
  rte_mbuf* sent = p.ToMbuf(200);
  ASSERT_EQ((*a)->TxBurst(0, &sent, 1), 1);
  EXPECT_EQ((*a)->Stats().tx_packets, 1u);
  EXPECT_EQ((*a)->Stats().tx_bytes, p.bytes.size());
  EXPECT_EQ((*a)->Stats().tx_segments, 20u);
  EXPECT_EQ((*a)->Stats().tx_errors, 0u);
  const auto received = ReceiveIpv4(**b, 1);
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(ToBytes(*received[0]), p.bytes);
  EXPECT_EQ(OffloadOf(*received[0]).gso_size, p.gso_size);
  EXPECT_EQ((*b)->Stats().rx_errors, 0u);
  rte_pktmbuf_free(received[0]);
}

TEST_F(NetdevBundleTest, WithoutATunnelOfOursItComesAsItsFrames) {
  PortOr a = Open("u0");
  PortOr b = OpenIn(*peer_, "k0");
  ASSERT_TRUE(a.ok() && b.ok());
  const SuperPacket p = TunnelledSuperPacket();
  rte_mbuf* sent = p.ToMbuf(200);
  ASSERT_EQ((*a)->TxBurst(0, &sent, 1), 1);
  const auto received = ReceiveIpv4(**b, 20);
  ASSERT_EQ(received.size(), 20u);
  Bytes stream;
  for (rte_mbuf* m : received) {
    const Bytes f = ToBytes(*m);
    EXPECT_EQ(Get32(f, p.l4 + 4), p.sequence + stream.size()) << "in order";
    EXPECT_EQ(NaiveSum(f, p.l4, f.size(), PseudoSum(f, p.l3, 6, f.size() - p.l4)), 0xffff);
    stream.insert(stream.end(), f.begin() + static_cast<ptrdiff_t>(p.header), f.end());
    rte_pktmbuf_free(m);
  }
  EXPECT_EQ(stream, p.payload);
}

TEST_F(NetdevBundleTest, TooLongForTheInterfaceIsNotBundledEither) {
  ASSERT_TRUE(uplink_->Ip("link set u0 mtu 1400"));
  PortOr port = Open("u0");
  ASSERT_TRUE(port.ok());
  rte_mbuf* m = TunnelledSuperPacket().ToMbuf(200);
  ASSERT_EQ((*port)->TxBurst(0, &m, 1), 1);
  EXPECT_EQ((*port)->Stats().tx_errors, 1u);
  EXPECT_EQ((*port)->Stats().tx_packets, 0u);
}

TEST_F(NetdevBundleTest, APeersUdpSuperPacketReachesThePodAsItsDatagrams) {
  OpenBoth(1500);
  ASSERT_TRUE(peer_->Ip("route add 10.244.1.5 via 172.30.0.1"));
  const Fd to = UdpSocket(pod_.netns, IpAddress(), 7000);
  const Fd from = UdpSocket(peer_->path(), IpAddress(), 7001);
  ASSERT_TRUE(to.valid() && from.valid());
  const Forwarder forwarder(*tap_, *port_, SendTo(kPeerMac), SendTo(kPodMac));
  const int segment = 1000;
  ASSERT_EQ(setsockopt(from.get(), SOL_UDP, UDP_SEGMENT, &segment, sizeof segment), 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(7000);
  address.sin_addr.s_addr = inet_addr("10.244.1.5");
  std::string sent;
  for (int i = 0; i < 41500; ++i) sent += static_cast<char>(i * 13 >> 2);
  ASSERT_EQ(
      sendto(from.get(), sent.data(), sent.size(), 0, reinterpret_cast<sockaddr*>(&address), sizeof address),
      static_cast<ssize_t>(sent.size()));
  std::string received;
  for (int i = 0; i < 42; ++i) {
    char datagram[2000];
    const ssize_t n = recv(to.get(), datagram, sizeof datagram, 0);
    ASSERT_EQ(n, i == 41 ? 500 : 1000) << i;
    received.append(datagram, static_cast<size_t>(n));
  }
  EXPECT_EQ(received, sent);
  EXPECT_EQ(port_->Stats().rx_errors, 0u);
}

}  // namespace netdev_bundle_test
}  // namespace podwire
