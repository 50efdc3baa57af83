#include "control/kernel_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "net/status.h"

namespace podwire {
namespace kernel_table_test {

InterfaceAddressState Has(const char* text, bool lasting = true) {
  return {.address = *ParseInterfaceAddress(text), .lasting = lasting};
}

std::string Resolve(UnderlayConfig& u, const std::vector<InterfaceAddressState>& addresses) {
  return Message(ResolveUnderlayAddresses(u, "eth0", addresses));
}

TEST(KernelTable, TheFirstLastingAddressOfEachFamilyIsTheUnderlays) {
  UnderlayConfig u{.port = "uplink", .address = {}, .gateway = {}};
  EXPECT_EQ(
      Resolve(u, {Has("fe80::1/64", false), Has("10.0.0.7/32"), Has("192.0.2.1/24"), Has("192.0.2.2/24"),
                  Has("2001:db8::77/64", false), Has("2001:db8::9/128"), Has("2001:db8::1/64")}),
      "");
  EXPECT_EQ(ToString(u.address), "192.0.2.1/24") << "a /32 has no neighbours";
  EXPECT_EQ(ToString(u.address6), "2001:db8::1/64");
}

TEST(KernelTable, AConfiguredAddressMustBeTheInterfaces) {
  UnderlayConfig u{.port = "uplink", .address = *ParseInterfaceAddress("192.0.2.2/24"), .gateway = {}};
  EXPECT_EQ(Resolve(u, {Has("192.0.2.1/24"), Has("192.0.2.2/24"), Has("2001:db8::1/64")}), "");
  EXPECT_EQ(ToString(u.address), "192.0.2.2/24");
  EXPECT_TRUE(u.address6.address.empty()) << "only what is asked for";
  for (const char* other : {"192.0.2.1/24", "192.0.2.2/16"}) {
    const std::string error = Resolve(u, {Has(other)});
    EXPECT_TRUE(error.starts_with("underlay.address: 192.0.2.2/24 is not eth0's")) << error;
    EXPECT_NE(error.find(other), std::string::npos) << error;
  }
  EXPECT_NE(Resolve(u, {Has("fe80::1/64", false)}).find("has none"), std::string::npos);
}

TEST(KernelTable, AnInterfaceWithoutAnAddressIsRefused) {
  UnderlayConfig u{.port = "uplink", .address = {}, .gateway = {}};
  for (const auto& addresses : {std::vector<InterfaceAddressState>{}, {Has("fe80::1/64", false)}}) {
    const std::string error = Resolve(u, addresses);
    EXPECT_TRUE(error.starts_with("underlay: eth0 is shared with the kernel, but has no address")) << error;
    EXPECT_NE(error.find("ip addr add ADDRESS/LENGTH dev eth0"), std::string::npos);
  }
  for (const char* lone : {"192.0.2.1/32", "2001:db8::1/128"}) {
    EXPECT_EQ(
        Resolve(u, {Has("fe80::1/64", false), Has(lone)}),
        fmt::format("underlay: eth0 is shared with the kernel, and its address {} has no subnet, as some "
                    "clouds give them: that is not supported",
                    lone));
  }
}

TEST(KernelTable, LostAddressesAreNamed) {
  const UnderlayConfig u{.port = "uplink",
                         .address = *ParseInterfaceAddress("192.0.2.2/24"),
                         .gateway = {},
                         .address6 = *ParseInterfaceAddress("2001:db8::1/64")};
  EXPECT_TRUE(LostAddresses(u, {Has("192.0.2.2/24"), Has("2001:db8::1/64")}).empty());
  EXPECT_EQ(LostAddresses(u, {Has("192.0.2.9/24"), Has("2001:db8::1/64")}),
            std::vector(1, *ParseIp("192.0.2.2")));
  EXPECT_EQ(LostAddresses(u, {}).size(), 2u);
}

}  // namespace kernel_table_test
}  // namespace podwire
