// The neighbour table's part of RFC 4861: what messages make of an entry in each state.
#include "switch/neighbor.h"

#include <gtest/gtest.h>

#include "tests/switch/packet_builder.h"

namespace podwire {
namespace neighbor_nud_test {

using namespace testing;

const IpAddress kNeighbor = Ip("2001:db8::9");
const MacAddr kCached = Mac("02:00:00:00:01:09"), kOther = Mac("02:00:00:00:01:08");
constexpr uint32_t kFresh = 1000, kOld = NeighborTable::kReachableMs + 1000;

enum class Given { kNothing, kSame, kDifferent };  // target link-layer address

struct Row {
  NeighborState before;
  Given mac;
  bool solicited, overrides;
  NeighborState after;
  bool replaced = false;  // kOther is known now
};

std::string Describe(const Row& r) {
  const char* const mac[] = {"no address", "the same address", "another address"};
  return std::string(Name(r.before)) + ", " + mac[static_cast<int>(r.mac)] +
         (r.solicited ? ", solicited" : "") + (r.overrides ? ", override" : "");
}

using enum NeighborState;

/// RFC 4861 7.2.5; kResolving is its INCOMPLETE.
const Row kAdvertisements[] = {
    {kResolving, Given::kNothing, false, false, kResolving},
    {kResolving, Given::kNothing, true, true, kResolving},
    {kResolving, Given::kDifferent, false, false, kStale, true},
    {kResolving, Given::kDifferent, false, true, kStale, true},
    {kResolving, Given::kDifferent, true, false, kReachable, true},
    {kResolving, Given::kDifferent, true, true, kReachable, true},
    // I: another address, not to override.
    {kReachable, Given::kDifferent, false, false, kStale},
    {kReachable, Given::kDifferent, true, false, kStale},
    {kStale, Given::kDifferent, false, false, kStale},
    {kStale, Given::kDifferent, true, false, kStale},
    // II: another address, to override.
    {kReachable, Given::kDifferent, false, true, kStale, true},
    {kReachable, Given::kDifferent, true, true, kReachable, true},
    {kStale, Given::kDifferent, false, true, kStale, true},
    {kStale, Given::kDifferent, true, true, kReachable, true},
    // II: the same address, or none.
    {kReachable, Given::kSame, false, false, kReachable},
    {kReachable, Given::kSame, false, true, kReachable},
    {kReachable, Given::kSame, true, false, kReachable},
    {kStale, Given::kSame, false, false, kStale},
    {kStale, Given::kSame, false, true, kStale},
    {kStale, Given::kSame, true, false, kReachable},
    {kStale, Given::kSame, true, true, kReachable},
    {kReachable, Given::kNothing, false, false, kReachable},
    {kReachable, Given::kNothing, true, false, kReachable},
    {kStale, Given::kNothing, false, false, kStale},
    {kStale, Given::kNothing, false, true, kStale},
    {kStale, Given::kNothing, true, false, kReachable},
    {kStale, Given::kNothing, true, true, kReachable},
};

/// RFC 4861 7.2.3; the flags mean nothing here.
const Row kSolicitations[] = {
    {kResolving, Given::kDifferent, false, false, kStale, true},
    {kReachable, Given::kDifferent, false, false, kStale, true},
    {kStale, Given::kDifferent, false, false, kStale, true},
    {kReachable, Given::kSame, false, false, kReachable},
    {kStale, Given::kSame, false, false, kStale},
};

/// Also across the wrap of the millisecond clock.
class NudTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  /// An entry in the state `before`.
  void Make(NeighborTable& table, NeighborState before) {
    const NeighborId id = table.SlotFor(kNeighbor, now_);
    if (before != kResolving)
      table.Learn(kNeighbor, kCached, now_ - (before == kStale ? kOld : kFresh), false);
    table.Use(id, now_);
    ASSERT_EQ(table.Snapshot(now_).at(0).state, before);
  }
  void Expect(NeighborTable& table, const Row& row) {
    const auto entry = table.Snapshot(now_).at(0);
    EXPECT_EQ(Name(entry.state), Name(row.after));
    EXPECT_EQ(entry.mac, row.replaced ? kOther : row.before == kResolving ? MacAddr{} : kCached);
    const auto use = table.Use(table.SlotFor(kNeighbor, now_), now_ + NeighborTable::kProbeIntervalMs);
    EXPECT_EQ(use.usable, row.after != kResolving);
    EXPECT_EQ(use.probe, row.after != kReachable);
  }
  std::optional<MacAddr> MacOf(const Row& row) {
    if (row.mac == Given::kNothing) return std::nullopt;
    return row.mac == Given::kSame ? kCached : kOther;
  }
  const uint32_t now_ = GetParam();
};
INSTANTIATE_TEST_SUITE_P(Clock, NudTest, ::testing::Values(1'000'000u, 20'000u, UINT32_MAX - 500));

TEST_P(NudTest, Advertisements) {
  for (const Row& row : kAdvertisements) {
    SCOPED_TRACE(Describe(row));
    NeighborTable table;
    Make(table, row.before);
    const uint32_t changes = table.changes();
    table.TakeAdvertisement(
        {.target = kNeighbor, .mac = MacOf(row), .solicited = row.solicited, .overrides = row.overrides},
        now_);
    EXPECT_EQ(table.changes() - changes, row.replaced ? 1u : 0u);
    Expect(table, row);
  }
}

TEST_P(NudTest, Solicitations) {
  for (const Row& row : kSolicitations) {
    SCOPED_TRACE(Describe(row));
    NeighborTable table;
    Make(table, row.before);
    table.TakeSolicitation(kNeighbor, *MacOf(row), now_, false);
    Expect(table, row);
  }
}

TEST_P(NudTest, WhoHasNoSlotOrIsPermanentIsLeftAlone) {
  NeighborTable table;
  table.TakeAdvertisement({.target = kNeighbor, .mac = kOther, .solicited = true, .overrides = true}, now_);
  table.TakeSolicitation(kNeighbor, kOther, now_, false);
  EXPECT_TRUE(table.Snapshot(now_).empty());
  table.TakeSolicitation(kNeighbor, kOther, now_, true);
  EXPECT_EQ(table.Snapshot(now_).at(0).state, kStale);

  NeighborTable fixed;
  ASSERT_TRUE(fixed.SetPermanent(kNeighbor, kCached));
  fixed.TakeAdvertisement({.target = kNeighbor, .mac = kOther, .solicited = true, .overrides = true}, now_);
  fixed.TakeSolicitation(kNeighbor, kOther, now_, true);
  EXPECT_EQ(fixed.Snapshot(now_).at(0).mac, kCached);
  EXPECT_EQ(fixed.Snapshot(now_).at(0).state, kPermanent);
}

/// An entry that has expired is INCOMPLETE again, whatever MAC it had.
TEST_P(NudTest, AnExpiredOneIsLikeANewOne) {
  NeighborTable table;
  const NeighborId id = table.SlotFor(kNeighbor, now_);
  table.Learn(kNeighbor, kCached, now_, false);
  const uint32_t later = now_ + NeighborTable::kReachableMs + NeighborTable::kStaleMs;
  table.TakeAdvertisement({.target = kNeighbor, .solicited = true}, later);
  EXPECT_FALSE(table.Use(id, later).usable);
  table.TakeAdvertisement({.target = kNeighbor, .mac = kOther, .solicited = true}, later);
  EXPECT_EQ(table.Use(id, later).mac, kOther);
}

}  // namespace neighbor_nud_test
}  // namespace podwire
