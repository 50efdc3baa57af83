#include "net/prefix_map.h"

#include <random>

#include <gtest/gtest.h>

namespace podwire {
namespace {

TEST(PrefixMap, LongestWinsAndFamiliesStayApart) {
  PrefixMap<int> map;
  map.Set(*ParsePrefix("0.0.0.0/0"), 1);
  map.Set(*ParsePrefix("10.0.0.0/8"), 2);
  map.Set(*ParsePrefix("10.1.0.0/16"), 3);
  map.Set(*ParsePrefix("10.1.2.3/32"), 4);
  IpPrefix matched;
  EXPECT_EQ(*map.Find(*ParseIp("10.1.2.3"), &matched), 4);
  EXPECT_EQ(ToString(matched), "10.1.2.3/32");
  EXPECT_EQ(*map.Find(*ParseIp("10.1.2.4")), 3);
  EXPECT_EQ(*map.Find(*ParseIp("10.2.2.4")), 2);
  EXPECT_EQ(*map.Find(*ParseIp("9.2.2.4")), 1);
  EXPECT_EQ(map.Find(*ParseIp("::1")), nullptr);
  EXPECT_EQ(map.FindExact(*ParsePrefix("10.0.0.0/9")), nullptr);
  EXPECT_EQ(*map.FindExact(*ParsePrefix("10.0.0.0/8")), 2);
}

TEST(PrefixMap, AgreesWithALinearScan) {
  std::mt19937 rng(7);
  std::vector<IpPrefix> all;
  PrefixMap<size_t> map;
  for (int i = 0; i < 500; ++i) {
    const auto p = IpPrefix::Make(Ipv4{static_cast<uint32_t>(rng()) & 0xffff0f0a}, rng() % 33);
    map.Set(p, all.size());
    std::erase(all, p);
    all.push_back(p);
    map.Set(p, 0);  // the value is not what is compared
  }
  for (int i = 0; i < 20000; ++i) {
    const IpAddress a = Ipv4{static_cast<uint32_t>(rng()) & 0xffff0f0a};
    int best = -1;
    for (const auto& p : all) best = p.Contains(a) ? std::max<int>(best, p.length) : best;
    IpPrefix matched;
    ASSERT_EQ(map.Find(a, &matched) != nullptr, best >= 0);
    if (best >= 0) {
      ASSERT_EQ(matched.length, best);
    }
  }
}

}  // namespace
}  // namespace podwire
