#include "switch/flow_key.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_set>

#include "switch/conn_table.h"
#include "switch/flow_table.h"
#include "switch/qsbr.h"

namespace podwire {
namespace flow_key_test {

constexpr uint64_t kSeed = 0x1234567890abcdef;

FlowKey6 KeyOf(uint32_t n) {
  FlowKey6 k{.src_port_be = 1, .dst_port_be = 2, .in_port = PortId{1}, .proto = IPPROTO_UDP};
  k.src = ParseIp("2001:db8::2")->v6();
  k.dst = ParseIp("2001:db8:1::")->v6();
  for (int i = 0; i < 4; ++i) k.dst.bytes[12 + i] = static_cast<uint8_t>(n >> 8 * i);
  return k;
}

TEST(FlowKey6, ReversesAddressesPortsAndEchoDirection) {
  const FlowKey6 k = KeyOf(7);
  FlowKey6 r = k.Reversed();
  EXPECT_EQ(IpAddress(r.src), IpAddress(k.dst));
  EXPECT_EQ(IpAddress(r.dst), IpAddress(k.src));
  EXPECT_EQ(r.src_port_be, 2);
  EXPECT_EQ(r.dst_port_be, 1);
  EXPECT_EQ(r.in_port, k.in_port);
  EXPECT_EQ(r.icmp_reply, 0);
  EXPECT_EQ(r.Reversed(), k);
  FlowKey6 echo = k;
  echo.proto = IPPROTO_ICMPV6;
  EXPECT_EQ(echo.Reversed().icmp_reply, 1);
  echo.proto = IPPROTO_ICMP;  // over IPv6 it means nothing
  EXPECT_EQ(echo.Reversed().icmp_reply, 0);
}

TEST(FlowKey6, EveryByteCountsInComparisonAndHash) {
  const FlowKey6 k = KeyOf(7);
  for (size_t i = 0; i < sizeof k; ++i) {
    FlowKey6 other = k;
    reinterpret_cast<uint8_t*>(&other)[i] ^= 0x10;
    EXPECT_FALSE(other == k) << i;
    EXPECT_NE(FlowHash(other, kSeed), FlowHash(k, kSeed)) << i;
  }
  EXPECT_NE(FlowHash(k, kSeed), FlowHash(k, kSeed + 1));
}

TEST(FlowKey6, SymmetricHashIsBothDirectionsAndAnyPorts) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    FlowKey6 k = KeyOf(static_cast<uint32_t>(random()));
    k.src_port_be = static_cast<uint16_t>(random());
    k.dst_port_be = static_cast<uint16_t>(random());
    FlowKey6 r = k.Reversed();
    r.in_port = PortId{9};
    ASSERT_EQ(SymmetricHash(k, kSeed), SymmetricHash(r, kSeed));
    FlowKey6 crossed = k;  // addresses exchanged, ports not: another connection
    std::swap(crossed.src, crossed.dst);
    ASSERT_NE(SymmetricHash(k, kSeed), SymmetricHash(crossed, kSeed));
  }
}

TEST(FlowKey6, HashesAreSpread) {
  constexpr uint32_t kCount = 100'000;
  std::unordered_set<uint32_t> flow, symmetric;
  for (uint32_t n = 0; n < kCount; ++n) {
    flow.insert(FlowHash(KeyOf(n), kSeed));
    symmetric.insert(SymmetricHash(KeyOf(n), 0));  // tunnels' source ports have no seed
  }
  // Of so many random 32-bit numbers one or two are twice there.
  EXPECT_GT(flow.size(), kCount - 20);
  EXPECT_GT(symmetric.size(), kCount - 20);
}

TEST(FlowKey6, TablesFindWhatWasInserted) {
  FlowTable<FlowKey6> flows(1000, kSeed);
  Qsbr qsbr(1);
  auto connections = *ConnTable<FlowKey6>::Create({.capacity = 1000}, qsbr.get());
  for (uint32_t n = 0; n < 500; ++n) {
    const FlowKey6 k = KeyOf(n);
    flows.Insert(k, FlowHash(k, kSeed), 0)->conn = n;
    EXPECT_EQ(connections->Insert(k, SymmetricHash(k, kSeed), 0, [](auto& c) { c.embryonic = false; }).reason,
              DropReason::kNone);
  }
  for (uint32_t n = 0; n < 1000; ++n) {
    const FlowKey6 k = KeyOf(n), r = k.Reversed();
    const auto* entry = flows.Find(k, FlowHash(k, kSeed));
    ASSERT_EQ(entry != nullptr, n < 500);
    if (entry != nullptr) {
      EXPECT_EQ(entry->conn, n);
    }
    EXPECT_EQ(flows.Find(r, FlowHash(r, kSeed)), nullptr);
    const auto found = connections->Find(r, SymmetricHash(r, kSeed));
    ASSERT_EQ(found.index != 0, n < 500);
    EXPECT_EQ(found.reply, n < 500);
  }
}

}  // namespace flow_key_test
}  // namespace podwire
