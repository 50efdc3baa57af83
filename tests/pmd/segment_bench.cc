// Cost of software segmentation: nanoseconds per 64 KB packet, ours beside DPDK's rte_gso with the checksums
// that it leaves to the device. Prints the median and the spread of the rounds.
#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>
#include <rte_gso.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "pmd/segment.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/super_packet.h"

namespace podwire {
namespace {

constexpr int kRounds = 25;
constexpr int kPerRound = 400;

template <class F>
void Report(const char* name, F&& once) {
  std::vector<double> ns;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kPerRound; ++i) once();
    ns.push_back(std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() /
                 kPerRound);
  }
  std::sort(ns.begin(), ns.end());
  fmt::print("{:40} {:8.0f} ns per 64 KB ({:.0f} to {:.0f})\n", name, ns[kRounds / 2], ns.front(), ns.back());
}

SuperPacket Packet(Tunnel tunnel) {
  SuperPacket p{.tunnel = tunnel,
                .tcp_options = 12,
                .gso_size = static_cast<uint16_t>(tunnel == Tunnel::kNone ? 1448 : 1398)};
  for (size_t i = 0; i < 65000; ++i) p.payload.push_back(static_cast<uint8_t>(i * 31));
  p.Build();
  return p;
}

void Ours(const rte_mbuf& packet) {
  std::array<rte_mbuf*, 32> frames;
  Segmenter s;
  ASSERT_TRUE(s.Start(packet));
  while (const uint16_t n = s.Next(TestPools(), frames)) rte_pktmbuf_free_bulk(frames.data(), n);
}

void RteGso(rte_mbuf& packet, const SuperPacket& p) {
  const auto frame_size = static_cast<uint16_t>(p.header - 14 * (p.tunnel == Tunnel::kNone) + p.gso_size);
  rte_gso_ctx ctx{.direct_pool = &TestPools().small(),
                  .indirect_pool = &TestPools().small(),
                  .flag = 0,
                  .gso_types = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_VXLAN_TNL_TSO,
                  .gso_size = frame_size};
  std::array<rte_mbuf*, 128> frames;
  packet.ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4;
  if (p.tunnel == Tunnel::kNone) {
    packet.l2_len = 14;
    packet.l3_len = 20;
    packet.l4_len = 32;
  } else {
    packet.ol_flags |= RTE_MBUF_F_TX_OUTER_IPV4;
  }
  const int n = rte_gso_segment(&packet, &ctx, frames.data(), frames.size());
  ASSERT_GT(n, 40);
  for (int i = 0; i < n; ++i) {
    auto* ip = rte_pktmbuf_mtod_offset(frames[i], rte_ipv4_hdr*, p.l3);
    auto* tcp = rte_pktmbuf_mtod_offset(frames[i], rte_tcp_hdr*, p.l4);
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    tcp->cksum = rte_ipv4_phdr_cksum(ip, 0);
    OffloadOf(*frames[i]) = {
        .csum_start = static_cast<uint16_t>(p.l4), .csum_offset = 16, .flags = Offload::kNeedsCsum};
    CompleteChecksum(*frames[i]);
  }
  rte_pktmbuf_free_bulk(frames.data(), static_cast<unsigned>(n));
}

TEST(SegmentBench, NanosecondsPerSuperPacket) {
  TestPools();
  for (const Tunnel tunnel : {Tunnel::kNone, Tunnel::kVxlan}) {
    const SuperPacket p = Packet(tunnel);
    rte_mbuf* packet = p.ToMbuf(2048);
    const char* kind = tunnel == Tunnel::kNone ? "plain" : "vxlan";
    Report(fmt::format("Segmenter {}", kind).c_str(), [&] { Ours(*packet); });
    Report(fmt::format("rte_gso + checksums {}", kind).c_str(), [&] { RteGso(*packet, p); });
    Report(fmt::format("CompleteChecksum {}", kind).c_str(), [&] {
      OffloadOf(*packet).flags = Offload::kNeedsCsum;
      CompleteChecksum(*packet);
    });
    rte_pktmbuf_free(packet);
  }
}

}  // namespace
}  // namespace podwire
