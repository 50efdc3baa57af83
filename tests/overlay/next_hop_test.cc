#include "overlay/next_hop.h"

#include <algorithm>
#include <span>
#include <utility>

#include <gtest/gtest.h>

namespace podwire {
namespace {

HeaderAddresses Addresses() {
  return {.src_mac = *ParseMac("02:00:00:00:00:0a"),
          .src = *ParseIp("192.0.2.1"),
          .dst = *ParseIp("192.0.2.9"),
          .udp_port = 8472,
          .vni = Vni{0x010203},
          .inner_src_mac = *ParseMac("02:00:00:00:00:0b"),
          .inner_dst_mac = *ParseMac("02:00:00:00:00:0c")};
}

TEST(NextHop, VxlanHeaderIsRfc7348sToTheByte) {
  NextHop hop{.kind = NextHop::Kind::kVxlan};
  BuildHeader(hop, Addresses());
  ASSERT_EQ(hop.header_len, 64);
  // The outer checksum, by hand: ~(4500 + 4011 + c000+0201 + c000+0209) with end-around carries.
  const std::array<uint8_t, 64> want{
      0,    0, 0,    0,    0, 0,    2, 0, 0,  0,  0,    0x0a, 0x08, 0x00,                      // Ethernet
      0x45, 0, 0,    0,    0, 0,    0, 0, 64, 17, 0xf6, 0xe2, 192,  0,    2, 1, 192, 0, 2, 9,  // IPv4
      0,    0, 0x21, 0x18, 0, 0,    0, 0,                                                      // UDP
      0x08, 0, 0,    0,    1, 2,    3, 0,                                                      // VXLAN
      2,    0, 0,    0,    0, 0x0c, 2, 0, 0,  0,  0,    0x0b, 0x08, 0x00};  // inner Ethernet
  EXPECT_TRUE(std::ranges::equal(want, std::span(hop.header).first(64)));
}

TEST(NextHop, VxlanHeaderOverIpv6ToTheByte) {
  HeaderAddresses a = Addresses();
  a.src = *ParseIp("2001:db8::1");
  a.dst = *ParseIp("2001:db8::9");
  a.carries = IpFamily::kV6;
  NextHop hop{.kind = NextHop::Kind::kVxlan};
  BuildHeader(hop, a);
  ASSERT_EQ(hop.header_len, 84);
  const std::array<uint8_t, 84> want{
      0,    0,    0,    0,    0, 0,    2,  0,  0, 0, 0, 0x0a, 0x86, 0xdd,        // Ethernet
      0x60, 0,    0,    0,    0, 0,    17, 64,                                   // IPv6
      0x20, 0x01, 0x0d, 0xb8, 0, 0,    0,  0,  0, 0, 0, 0,    0,    0,    0, 1,  //
      0x20, 0x01, 0x0d, 0xb8, 0, 0,    0,  0,  0, 0, 0, 0,    0,    0,    0, 9,  //
      0,    0,    0x21, 0x18, 0, 0,    0,  0,                                    // UDP
      0x08, 0,    0,    0,    1, 2,    3,  0,                                    // VXLAN
      2,    0,    0,    0,    0, 0x0c, 2,  0,  0, 0, 0, 0x0b, 0x86, 0xdd};       // inner Ethernet
  EXPECT_TRUE(std::ranges::equal(want, std::span(hop.header).first(84)));
}

TEST(NextHop, EtherTypesAreTheOuterAndTheCarriedFamilys) {
  const auto types = [](NextHop::Kind kind, const char* outer, IpFamily carries) {
    HeaderAddresses a = Addresses();
    a.src = a.dst = *ParseIp(outer);
    a.carries = carries;
    NextHop hop{.kind = kind};
    BuildHeader(hop, a);
    const auto at = [&](size_t i) { return hop.header[i] << 8 | hop.header[i + 1]; };
    return std::pair(at(12), at(hop.header_len - 2u));
  };
  EXPECT_EQ(types(NextHop::Kind::kVxlan, "192.0.2.9", IpFamily::kV6), std::pair(0x0800, 0x86dd));
  EXPECT_EQ(types(NextHop::Kind::kVxlan, "2001:db8::9", IpFamily::kV4), std::pair(0x86dd, 0x0800));
  EXPECT_EQ(types(NextHop::Kind::kDirect, "192.0.2.9", IpFamily::kV6), std::pair(0x86dd, 0x86dd));
  EXPECT_EQ(types(NextHop::Kind::kDirect, "2001:db8::9", IpFamily::kV4), std::pair(0x0800, 0x0800));
}

TEST(NextHop, FinishedOuterIpv6HeaderHasLengthAndCongestionBits) {
  HeaderAddresses a = Addresses();
  a.src = a.dst = *ParseIp("2001:db8::9");
  NextHop hop{.kind = NextHop::Kind::kVxlan};
  BuildHeader(hop, a);
  FinishOuterIpv6(hop.header.data() + 14, 1430, kEcnCe);
  const std::array<uint8_t, 8> want{0x60, 0x30, 0, 0, 0x05, 0x96, 17, 64};
  EXPECT_TRUE(std::ranges::equal(want, std::span(hop.header).subspan(14, 8)));
}

TEST(NextHop, FinishedOuterHeaderHasAPlainChecksum) {
  NextHop hop{.kind = NextHop::Kind::kUdp};
  BuildHeader(hop, Addresses());
  ASSERT_EQ(hop.header_len, 42);
  for (uint32_t i = 0; i < 200000; ++i) {
    auto header = hop.header;
    const auto length = static_cast<uint16_t>(i * 7919), id = static_cast<uint16_t>(i * 104729);
    FinishOuterIpv4(header.data() + 14, length, id, i & 3);
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(header.data() + 14);
    uint32_t sum = 0;
    for (int w = 0; w < 10; ++w) sum += uint32_t{header[14 + 2 * w]} << 8 | header[15 + 2 * w];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    ASSERT_EQ(sum, 0xffff) << length << " " << id;
    ASSERT_EQ(rte_be_to_cpu_16(ip->total_length), length);
    ASSERT_EQ(rte_be_to_cpu_16(ip->packet_id), id);
    ASSERT_EQ(ip->type_of_service, i & 3);
  }
}

TEST(NextHop, SourcePortsAreDynamicAndSpread) {
  std::array<bool, 65536> seen{};
  for (uint32_t i = 0; i < 1 << 20; ++i) seen[UdpSourcePort(i * 2654435761u)] = true;
  EXPECT_EQ(std::count(seen.begin(), seen.begin() + 49152, true), 0);
  EXPECT_EQ(std::count(seen.begin() + 49152, seen.end(), true), 16384);
}

// RFC 6040 figure 4; rows: inner, columns: outer, in the order Not-ECT, ECT(0), ECT(1), CE. -1: drop.
TEST(NextHop, DecapsulatedEcnIsFigure4sOfRfc6040) {
  constexpr uint8_t kOrder[] = {0b00, 0b10, 0b01, 0b11};
  constexpr int kFigure4[4][4] = {
      {0b00, 0b00, 0b00, -1}, {0b10, 0b10, 0b01, 0b11}, {0b01, 0b01, 0b01, 0b11}, {0b11, 0b11, 0b11, 0b11}};
  for (int inner = 0; inner < 4; ++inner) {
    for (int outer = 0; outer < 4; ++outer) {
      const uint8_t dscp = 0xb8;
      uint8_t tos = 0xff;
      const EcnResult r = EcnDecap(kOrder[outer], dscp | kOrder[inner], tos);
      if (kFigure4[inner][outer] < 0) {
        EXPECT_EQ(r, EcnResult::kDrop);
        continue;
      }
      EXPECT_EQ(tos, dscp | kFigure4[inner][outer]) << inner << " " << outer;
      EXPECT_EQ(r, tos == (dscp | kOrder[inner]) ? EcnResult::kKeep : EcnResult::kChanged);
    }
  }
}

}  // namespace
}  // namespace podwire
