#include "acl/names.h"

#include <string>

#include <gtest/gtest.h>

namespace podwire {
namespace {

TEST(Names, DnsLabel) {
  for (const char* good : {"a", "a-b", "0", "x1"}) EXPECT_TRUE(CheckDnsLabel(good).ok()) << good;
  for (const char* bad : {"", "-a", "a-", "A", "a.b", "a_b", "\xc3\xa4"})
    EXPECT_FALSE(CheckDnsLabel(bad).ok()) << bad;
  EXPECT_TRUE(CheckDnsLabel(std::string(63, 'a')).ok());
  EXPECT_FALSE(CheckDnsLabel(std::string(64, 'a')).ok());
}

TEST(Names, DnsSubdomain) {
  for (const char* good : {"a", "a.b", "a-b.c-d", "1.2"}) EXPECT_TRUE(CheckDnsSubdomain(good).ok()) << good;
  for (const char* bad : {"", ".", "a.", ".a", "a..b", "a.-b", "a-.b", "A", "a/b", "a "}) {
    EXPECT_FALSE(CheckDnsSubdomain(bad).ok()) << bad;
  }
  EXPECT_TRUE(CheckDnsSubdomain(std::string(253, 'a')).ok());
  EXPECT_FALSE(CheckDnsSubdomain(std::string(254, 'a')).ok());
}

TEST(Names, LabelKey) {
  for (const char* good : {"app", "App_1.x", "example.com/app"})
    EXPECT_TRUE(CheckLabelKey(good).ok()) << good;
  for (const char* bad : {"", "/app", "example.com/", "a/b/c", "-a", "a_", "Example.com/app"}) {
    EXPECT_FALSE(CheckLabelKey(bad).ok()) << bad;
  }
  EXPECT_FALSE(CheckLabelKey(std::string(64, 'a')).ok());
}

TEST(Names, LabelValue) {
  for (const char* good : {"", "x", "A.b_c-1"}) EXPECT_TRUE(CheckLabelValue(good).ok()) << good;
  for (const char* bad : {" ", "-x", "x.", "a/b"}) EXPECT_FALSE(CheckLabelValue(bad).ok()) << bad;
}

TEST(Names, PortName) {
  for (const char* good : {"http", "a", "a-1", "1a", "exactly-fifteen"})
    EXPECT_TRUE(CheckPortName(good).ok()) << good;
  for (const char* bad : {"", "80", "HTTP", "a--b", "-a", "a-", "a_b", "sixteen-is-toomu"}) {
    EXPECT_FALSE(CheckPortName(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace podwire
