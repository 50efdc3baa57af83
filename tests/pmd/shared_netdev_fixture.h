#pragma once

#include <arpa/inet.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "net/status.h"
#include "pmd/netns.h"
#include "pmd/offload.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/netdev_fixture.h"
#include "tests/pmd/transfer.h"

namespace podwire {

inline constexpr uint16_t kSharedTunnelPort = 8472;

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
    port_->SetTunnel({.address = ParseIp("172.30.0.1")->v4(), .port_be = htons(kSharedTunnelPort)});
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
  /// As if killed: a child opens it and is gone.
  void LeaveBehind(SharedMode mode) {
    const pid_t child = fork();
    if (child == 0) {
      const PortOr port = OpenShared(mode);
      if (port.ok()) {
        (*port)->SetTunnel({.address = ParseIp("172.30.0.1")->v4(), .port_be = htons(kSharedTunnelPort)});
      }
      _exit(port.ok() ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
    EXPECT_EQ(HasXdp(), mode == SharedMode::kAfXdp) << "it outlives the process";
    EXPECT_EQ(HasTcFilter(), mode == SharedMode::kAfPacket);
  }
  bool HasXdp(const char* what = "xdp") {
    return uplink_->Exec(fmt::format("sh -c \"ip link show u0 | grep -q '{}'\"", what));
  }
  bool HasTcFilter() {
    return uplink_->Exec("sh -c \"tc filter show dev u0 ingress | grep -q podwire_ingress\"");
  }
};

}  // namespace podwire
