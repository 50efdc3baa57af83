#include "net/address.h"

#include <gtest/gtest.h>

namespace podwire {
namespace {

TEST(Address, ParsesAndPrintsBothFamilies) {
  EXPECT_EQ(ToString(*ParseIp("10.244.0.1")), "10.244.0.1");
  EXPECT_EQ(ToString(*ParseIp("fd44::0:1")), "fd44::1");
  for (const char* bad : {"", "10.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.1 ", "::g", "1"}) {
    EXPECT_FALSE(ParseIp(bad).ok()) << bad;
  }
}

TEST(Address, PrefixMasksHostBits) {
  const auto p = *ParsePrefix("10.244.7.9/20");
  EXPECT_EQ(ToString(p), "10.244.0.0/20");
  EXPECT_TRUE(p.Contains(*ParseIp("10.244.15.255")));
  EXPECT_FALSE(p.Contains(*ParseIp("10.244.16.0")));
  EXPECT_TRUE(ParsePrefix("0.0.0.0/0")->Contains(*ParseIp("1.2.3.4")));
  EXPECT_FALSE(ParsePrefix("0.0.0.0/0")->Contains(*ParseIp("::1")));
  EXPECT_TRUE(ParsePrefix("fd00::/9")->Contains(*ParseIp("fd7f::1")));
  for (const char* bad :
       {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/08", "::/129", "/8"}) {
    EXPECT_FALSE(ParsePrefix(bad).ok()) << bad;
  }
}

TEST(Address, OverlapIsSymmetric) {
  const auto wide = *ParsePrefix("10.0.0.0/8"), narrow = *ParsePrefix("10.1.0.0/16"),
             other = *ParsePrefix("11.0.0.0/8");
  EXPECT_TRUE(wide.Overlaps(narrow));
  EXPECT_TRUE(narrow.Overlaps(wide));
  EXPECT_FALSE(narrow.Overlaps(other));
}

TEST(Address, OffsetCarries) {
  EXPECT_EQ(ToString(Offset(*ParseIp("10.0.0.255"), 1)), "10.0.1.0");
  EXPECT_EQ(ToString(Offset(*ParseIp("fd00::ffff"), 1)), "fd00::1:0");
}

TEST(Mac, ParsesPrintsDerives) {
  EXPECT_EQ(ToString(*ParseMac("02:0A:00:00:00:ff")), "02:0a:00:00:00:ff");
  for (const char* bad :
       {"", "02:0a:00:00:00", "02:0a:00:00:00:fg", "02-0a-00-00-00-ff", "02:0a:00:00:00:ff:00"}) {
    EXPECT_FALSE(ParseMac(bad).ok()) << bad;
  }
  EXPECT_EQ(DeriveMac("node-a"), DeriveMac("node-a"));
  EXPECT_NE(DeriveMac("node-a"), DeriveMac("node-b"));
  EXPECT_EQ(DeriveMac("x").bytes[0] & 3, 2) << "locally administered, unicast";
}

}  // namespace
}  // namespace podwire
