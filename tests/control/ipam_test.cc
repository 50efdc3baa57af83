#include "control/ipam.h"

#include <set>

#include <gtest/gtest.h>

#include "net/status.h"

namespace podwire {
namespace {

IpPrefix Prefix(const char* text) { return *ParsePrefix(text); }

TEST(IpamTest, SkipsNetworkGatewayAndBroadcast) {
  Ipam ipam;
  std::set<std::string> given;
  for (int i = 0; i < 5; ++i) given.insert(ToString(*ipam.Allocate(Prefix("10.0.0.0/29"))));
  EXPECT_EQ(given, (std::set<std::string>{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}));
  const auto none = ipam.Allocate(Prefix("10.0.0.0/29"));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(Message(none.status()).find("all 5"), std::string::npos);
}

TEST(IpamTest, AReleasedAddressRests) {
  Ipam ipam;
  const IpPrefix subnet = Prefix("10.0.0.0/24");
  const IpAddress first = *ipam.Allocate(subnet);
  ipam.Release(first);
  for (int i = 0; i < 252; ++i) {
    const auto next = ipam.Allocate(subnet);
    ASSERT_TRUE(next.ok());
    EXPECT_NE(*next, first);
  }
  EXPECT_EQ(*ipam.Allocate(subnet), first) << "only when every other has been given out";
}

TEST(IpamTest, GoesOnFromTheStoredCursor) {
  Ipam ipam;
  ipam.set_cursor(*ParseIp("10.0.0.9"));
  EXPECT_EQ(ToString(*ipam.Allocate(Prefix("10.0.0.0/24"))), "10.0.0.10");
  ipam.set_cursor(*ParseIp("10.0.0.254"));
  EXPECT_EQ(ToString(*ipam.Allocate(Prefix("10.0.0.0/24"))), "10.0.0.2");
  ipam.set_cursor(*ParseIp("10.9.9.9"));
  EXPECT_EQ(ToString(*ipam.Allocate(Prefix("10.0.0.0/24"))), "10.0.0.3") << "another subnet's cursor";
}

TEST(IpamTest, Ipv6SkipsTheRoutersAnycastAddressAndTheGateway) {
  Ipam ipam;
  const IpPrefix subnet = Prefix("fd44:0:0:1::/64");
  EXPECT_EQ(ToString(*ipam.Allocate(subnet)), "fd44:0:0:1::2");
  EXPECT_EQ(ToString(*ipam.Allocate(subnet)), "fd44:0:0:1::3");
  ipam.Release(*ParseIp("fd44:0:0:1::2"));
  EXPECT_EQ(ToString(*ipam.Allocate(subnet)), "fd44:0:0:1::4") << "a released address rests";
  std::set<std::string> given;
  for (int i = 0; i < 6; ++i) given.insert(ToString(*ipam.Allocate(Prefix("fd00::/125"))));
  EXPECT_EQ(given, (std::set<std::string>{"fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6", "fd00::7"}));
  EXPECT_EQ(ipam.Allocate(Prefix("fd00::/125")).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ToString(*ipam.Allocate(Prefix("fd00::/16"))), "fd00::8") << "goes on there";
}

TEST(IpamTest, EachFamilyHasItsOwnCursor) {
  Ipam ipam;
  ipam.set_cursor(*ParseIp("10.0.0.9"));
  ipam.set_cursor(*ParseIp("fd44::1:9"));
  EXPECT_EQ(ToString(*ipam.Allocate(Prefix("10.0.0.0/24"))), "10.0.0.10");
  EXPECT_EQ(ToString(*ipam.Allocate(Prefix("fd44::/64"))), "fd44::1:a");
  EXPECT_EQ(ToString(ipam.cursors()[0]), "10.0.0.10");
  EXPECT_EQ(ToString(ipam.cursors()[1]), "fd44::1:a");
}

TEST(IpamTest, ReservedAddressesAreConflictChecked) {
  Ipam ipam;
  ASSERT_TRUE(ipam.Reserve(*ParseIp("10.0.0.2")).ok());
  EXPECT_EQ(ipam.Reserve(*ParseIp("10.0.0.2")).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ToString(*ipam.Allocate(Prefix("10.0.0.0/24"))), "10.0.0.3");
  EXPECT_FALSE(ipam.Allocate(Prefix("10.0.0.0/30")).ok());
}

TEST(IpamTest, SubnetsWithoutRoomAreRefused) {
  Ipam ipam;
  EXPECT_EQ(ipam.Allocate(Prefix("10.0.0.0/31")).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ipam.Allocate(Prefix("fd00::/127")).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(ipam.Allocate(Prefix("10.0.0.0/30")).ok());
  EXPECT_FALSE(ipam.Allocate(Prefix("10.0.0.0/30")).ok());
}

}  // namespace
}  // namespace podwire
