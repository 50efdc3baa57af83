#include "overlay/subnet_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/status.h"

namespace podwire {
namespace {

using testing::HasSubstr;

SubnetLayout LayoutOf(const char* text) { return *ParseNetConfText(text)->v4; }
IpPrefix P(const char* text) { return *ParsePrefix(text); }

TEST(SubnetPlan, FirstFreeFromSubnetMin) {
  const auto layout = LayoutOf(R"({"Network": "10.244.0.0/16"})");
  EXPECT_EQ(ToString(*PlanSubnet(layout, {})), "10.244.1.0/24");
  const std::vector<IpPrefix> taken{P("10.244.2.0/24"), P("10.244.1.0/24"), P("10.244.4.0/24")};
  EXPECT_EQ(ToString(*PlanSubnet(layout, taken)), "10.244.3.0/24");
}

TEST(SubnetPlan, TakenSubnetsOfOtherLengthsAreAvoided) {
  const auto layout = LayoutOf(R"({"Network": "10.244.0.0/16"})");
  const std::vector<IpPrefix> wide{P("10.244.0.0/20")}, narrow{P("10.244.1.128/25"), P("10.244.2.7/32")};
  EXPECT_EQ(ToString(*PlanSubnet(layout, wide)), "10.244.16.0/24");
  EXPECT_EQ(ToString(*PlanSubnet(layout, narrow)), "10.244.3.0/24");
}

TEST(SubnetPlan, EverySubnetIsGivenOutOnceThenExhausted) {
  const auto layout = LayoutOf(R"({"Network": "255.255.255.0/24", "SubnetLen": 28})");
  std::vector<IpPrefix> taken;
  for (int i = 0; i < 15; ++i) {
    const auto p = PlanSubnet(layout, taken);
    ASSERT_TRUE(p.ok()) << p.status();
    ASSERT_TRUE(CheckSubnet(layout, *p, taken).ok());
    taken.push_back(*p);
  }
  EXPECT_EQ(ToString(taken.back()), "255.255.255.240/28");
  const auto none = PlanSubnet(layout, taken);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(none.status()), HasSubstr("15 nodes"));
}

TEST(SubnetPlan, NodesSubnetsAreChecked) {
  const auto layout = LayoutOf(R"({"Network": "10.244.0.0/16"})");
  const std::vector<IpPrefix> others{P("10.244.2.0/24")};
  EXPECT_TRUE(CheckSubnet(layout, P("10.244.3.0/24"), others).ok());
  EXPECT_THAT(Message(CheckSubnet(layout, P("10.245.3.0/24"), others)),
              HasSubstr("does not lie in the network"));
  EXPECT_THAT(Message(CheckSubnet(layout, P("10.244.2.128/25"), others)),
              HasSubstr("overlaps another node's 10.244.2.0/24"));
}

TEST(SubnetPlan, GatewayIsTheFirstAddress) {
  EXPECT_EQ(ToString(GatewayOf(P("10.244.7.0/24"))), "10.244.7.1");
}

TEST(PodSubnets, GoBothWaysAsText) {
  for (const char* text : {"", "10.244.1.0/24", "fd44:0:0:1::/64", "10.244.1.0/24,fd44:0:0:1::/64"}) {
    const auto subnets = ParsePodSubnets(text);
    ASSERT_TRUE(subnets.ok()) << subnets.status();
    EXPECT_EQ(ToString(*subnets), text);
  }
  EXPECT_FALSE(ParsePodSubnets("10.244.1.0/24,10.244.2.0/24").ok());
  EXPECT_FALSE(ParsePodSubnets("10.244.1.0/24,x").ok());
}

}  // namespace
}  // namespace podwire
