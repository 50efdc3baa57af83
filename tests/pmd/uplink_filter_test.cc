#include "pmd/uplink_filter.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/ip6.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "net/status.h"
#include "tests/pmd/netdev_fixture.h"

namespace podwire {
namespace uplink_filter_test {

constexpr uint16_t kTunnelPort = 8472;

/// A frame to the interface: UDP from 172.30.0.2 to 172.30.0.1, the tunnel's port, if nothing else is said.
struct Spec {
  const char* mac = kUplinkMac;
  const char* dst = "172.30.0.1";
  uint8_t proto = IPPROTO_UDP;
  uint16_t port = kTunnelPort;
  uint16_t fragment = 0;  ///< IPv4's flags and offset, host order
  size_t options = 0;     ///< bytes of IPv4 options
};

template <class T>
void Append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string Ethernet(const char* mac, uint16_t type) {
  rte_ether_hdr eth = {};
  SetMac(&eth.dst_addr, mac);
  SetMac(&eth.src_addr, kPeerMac);
  eth.ether_type = htons(type);
  std::string frame;
  Append(frame, eth);
  return frame;
}

std::string Payload(uint16_t port) {
  std::string out;
  Append(out,
         rte_udp_hdr{
             .src_port = htons(50000), .dst_port = htons(port), .dgram_len = htons(28), .dgram_cksum = 0});
  return out + std::string(20, '*');
}

std::string Ip4(const Spec& s) {
  std::string frame = Ethernet(s.mac, RTE_ETHER_TYPE_IPV4);
  rte_ipv4_hdr ip = {};
  ip.version_ihl = static_cast<uint8_t>(0x45 + s.options / 4);
  ip.total_length = htons(static_cast<uint16_t>(sizeof ip + s.options + 28));
  ip.fragment_offset = htons(s.fragment);
  ip.time_to_live = 64;
  ip.next_proto_id = s.proto;
  ip.src_addr = inet_addr("172.30.0.2");
  ip.dst_addr = inet_addr(s.dst);
  Append(frame, ip);
  return frame + std::string(s.options, '\1') + Payload(s.port);
}

std::string Ip6(const Spec& s) {
  std::string frame = Ethernet(s.mac, RTE_ETHER_TYPE_IPV6);
  rte_ipv6_hdr ip = {};
  ip.vtc_flow = htonl(6u << 28);
  ip.payload_len = htons(28);
  ip.proto = s.proto;
  ip.hop_limits = 64;
  inet_pton(AF_INET6, "2001:db8::2", ip.src_addr);
  inet_pton(AF_INET6, s.dst, ip.dst_addr);
  Append(frame, ip);
  return frame + Payload(s.port);
}

class UplinkFilterTest : public NetdevTest {
 protected:
  void SetUp() override {
    NetdevTest::SetUp();
    if (IsSkipped()) return;
    const Fd fd = UplinkSocket();
    netdev_ = *FindNetdevThere(fd.get());
  }

  Fd UplinkSocket() const {
    Fd fd;
    RunInNetns(uplink_->path(), [&] {
      fd = Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      return absl::OkStatus();
    }).IgnoreError();
    return fd;
  }
  static absl::StatusOr<NetdevInfo> FindNetdevThere(int fd) { return FindNetdev(fd, "u0"); }

  absl::StatusOr<std::unique_ptr<UplinkFilter>> Load(UplinkFilter::Way way) const {
    absl::StatusOr<std::unique_ptr<UplinkFilter>> filter = absl::UnknownError("not run");
    RunInNetns(uplink_->path(), [&] {
      filter = UplinkFilter::Load(netdev_, way);
      return absl::OkStatus();
    }).IgnoreError();
    return filter;
  }

  static uint32_t Run(const UplinkFilter& filter, const char* program, const std::string& frame) {
    bpf_test_run_opts run = {};
    run.sz = sizeof run;
    run.data_in = frame.data();
    run.data_size_in = static_cast<uint32_t>(frame.size());
    run.repeat = 1;
    EXPECT_EQ(bpf_prog_test_run_opts(filter.ProgramFd(program), &run), 0) << program << " " << frame.size();
    return run.retval;
  }

  /// What the three programs say, which must agree. Without a socket in the map the XDP program drops what it
  /// takes.
  bool Takes(const std::string& frame) {
    const uint32_t xdp = Run(*xdp_, "podwire_uplink", frame);
    EXPECT_TRUE(xdp == XDP_DROP || xdp == XDP_PASS) << xdp;
    // Test runs of the others want a whole IP header.
    const bool v6 = frame.substr(12, 2) == "\x86\xdd";
    if (frame.size() < sizeof(rte_ether_hdr) + (v6 ? sizeof(rte_ipv6_hdr) : sizeof(rte_ipv4_hdr)))
      return xdp == XDP_DROP;
    // A test run of a socket's filter takes a MAC header off the data; an AF_PACKET socket leaves it.
    const uint32_t packet = Run(*packet_, "podwire_socket", frame.substr(0, sizeof(rte_ether_hdr)) + frame);
    const uint32_t ingress = Run(*packet_, "podwire_ingress", frame);
    EXPECT_EQ(packet, xdp == XDP_DROP ? UINT32_MAX : 0u);
    EXPECT_EQ(ingress, xdp == XDP_DROP ? uint32_t{TC_ACT_SHOT} : static_cast<uint32_t>(TC_ACT_UNSPEC));
    return xdp == XDP_DROP;
  }

  /// Both ways at once: the second for an interface that is not there, since each has one owner.
  void LoadBoth() {
    auto xdp = Load(UplinkFilter::Way::kXdp);
    ASSERT_EQ(Message(xdp.status()), "");
    xdp_ = *std::move(xdp);
    ++netdev_.ifindex;
    auto packet = Load(UplinkFilter::Way::kPacket);
    --netdev_.ifindex;
    ASSERT_EQ(Message(packet.status()), "");
    packet_ = *std::move(packet);
  }
  void Tell(const UdpTunnel& tunnel, const std::vector<IpPrefix>& pods) {
    for (UplinkFilter* f : {xdp_.get(), packet_.get()}) {
      f->SetTunnel(tunnel);
      f->SetPodSubnets(pods);
    }
  }

  const UdpTunnel kTunnel = {.address = ParseIp("172.30.0.1")->v4(),
                             .port_be = htons(kTunnelPort),
                             .address6 = ParseIp("2001:db8::1")->v6()};
  NetdevInfo netdev_;
  std::unique_ptr<UplinkFilter> xdp_, packet_;
};

TEST_F(UplinkFilterTest, TakesNothingBeforeItIsTold) {
  LoadBoth();
  EXPECT_FALSE(Takes(Ip4({})));
  EXPECT_FALSE(Takes(Ip4({.port = 0})));
  EXPECT_FALSE(Takes(Ip6({.dst = "::", .port = 0})));
}

TEST_F(UplinkFilterTest, TakesTheTunnelsDatagramsOnly) {
  LoadBoth();
  Tell(kTunnel, {});
  EXPECT_TRUE(Takes(Ip4({})));
  EXPECT_TRUE(Takes(Ip4({.options = 40})));
  EXPECT_TRUE(Takes(Ip4({.fragment = 0x4000}))) << "DF";
  EXPECT_TRUE(Takes(Ip6({.dst = "2001:db8::1"})));
  EXPECT_FALSE(Takes(Ip4({.port = 53}))) << "the host's own UDP";
  EXPECT_FALSE(Takes(Ip4({.proto = IPPROTO_TCP, .port = 22}))) << "ssh";
  EXPECT_FALSE(Takes(Ip4({.proto = IPPROTO_TCP})));
  EXPECT_FALSE(Takes(Ip4({.dst = "172.30.0.9"}))) << "another VTEP";
  EXPECT_FALSE(Takes(Ip4({.dst = "10.244.1.5"}))) << "pods that it was not told of";
  EXPECT_FALSE(Takes(Ip4({.mac = kPeerMac}))) << "somebody else's frame";
  EXPECT_FALSE(Takes(Ip4({.mac = "ff:ff:ff:ff:ff:ff"})));
  EXPECT_FALSE(Takes(Ip6({.dst = "2001:db8::9"})));
  EXPECT_FALSE(Takes(Ip6({.dst = "2001:db8::1", .port = 53})));
  EXPECT_FALSE(Takes(Ip6({.dst = "2001:db8::1", .proto = IPPROTO_ICMPV6}))) << "neighbour discovery";
  EXPECT_FALSE(Takes(Ip6({.dst = "2001:db8::1", .proto = IPPROTO_FRAGMENT})));
  EXPECT_FALSE(Takes(Ethernet("ff:ff:ff:ff:ff:ff", RTE_ETHER_TYPE_ARP) + std::string(46, '\0')));
  EXPECT_FALSE(Takes(Ethernet(kUplinkMac, RTE_ETHER_TYPE_ARP) + std::string(46, '\0')));
}

TEST_F(UplinkFilterTest, FragmentsToTheVtepAreTheKernels) {
  LoadBoth();
  Tell(kTunnel, {*ParsePrefix("10.244.1.0/24")});
  EXPECT_FALSE(Takes(Ip4({.fragment = 0x2000}))) << "the first";
  EXPECT_FALSE(Takes(Ip4({.fragment = 0x2001})));
  EXPECT_FALSE(Takes(Ip4({.fragment = 0x0001}))) << "the last";
  EXPECT_TRUE(Takes(Ip4({.dst = "10.244.1.5", .fragment = 0x2001}))) << "those to pods are podwire's";
}

TEST_F(UplinkFilterTest, TakesWhateverIsForThisNodesPods) {
  LoadBoth();
  Tell({}, {*ParsePrefix("10.244.1.0/24"), *ParsePrefix("fd44:1::/64")});
  for (const uint8_t proto : {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP}) {
    EXPECT_TRUE(Takes(Ip4({.dst = "10.244.1.5", .proto = proto})));
    EXPECT_TRUE(Takes(Ip6({.dst = "fd44:1::5", .proto = proto})));
  }
  EXPECT_FALSE(Takes(Ip4({}))) << "there is no tunnel";
  EXPECT_FALSE(Takes(Ip4({.dst = "10.244.2.5"})));
  EXPECT_FALSE(Takes(Ip6({.dst = "fd44:2::5"})));
  EXPECT_FALSE(Takes(Ip4({.mac = kPeerMac, .dst = "10.244.1.5"})));
  Tell({}, {*ParsePrefix("10.244.2.0/24")});
  EXPECT_FALSE(Takes(Ip4({.dst = "10.244.1.5"}))) << "they are another node's now";
  EXPECT_TRUE(Takes(Ip4({.dst = "10.244.2.5"})));
}

TEST_F(UplinkFilterTest, CutOffFramesAreTheKernels) {
  LoadBoth();
  Tell(kTunnel, {*ParsePrefix("10.244.1.0/24")});
  constexpr size_t kEth = sizeof(rte_ether_hdr), kIp = sizeof(rte_ipv4_hdr), kUdp = sizeof(rte_udp_hdr);
  const std::string whole = Ip4({.options = 8});
  for (size_t len = kEth; len < kEth + kIp + 8 + kUdp; ++len)
    EXPECT_FALSE(Takes(whole.substr(0, len))) << len;
  EXPECT_TRUE(Takes(whole.substr(0, kEth + kIp + 8 + kUdp)));
  const std::string whole6 = Ip6({.dst = "2001:db8::1"});
  constexpr size_t kIp6 = sizeof(rte_ipv6_hdr);
  for (size_t len = kEth; len < kEth + kIp6 + kUdp; ++len) EXPECT_FALSE(Takes(whole6.substr(0, len))) << len;
  EXPECT_TRUE(Takes(whole6.substr(0, kEth + kIp6 + kUdp)));
  std::string lies = Ip4({});
  for (const char version : {'\x00', '\x44', '\x65', '\x4f'}) {
    lies[kEth] = version;
    EXPECT_FALSE(Takes(lies)) << int{version};
  }
}

TEST_F(UplinkFilterTest, AnInterfaceHasOneOwner) {
  auto first = Load(UplinkFilter::Way::kPacket);
  ASSERT_EQ(Message(first.status()), "");
  auto second = Load(UplinkFilter::Way::kXdp);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_EQ(Message(second.status()), "another port of podwire shares it already");
  first->reset();
  EXPECT_EQ(Message(Load(UplinkFilter::Way::kXdp).status()), "");
}

}  // namespace uplink_filter_test
}  // namespace podwire
