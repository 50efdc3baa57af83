#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "net/address.h"
#include "net/id.h"

namespace podwire {

/// Names a slot of the neighbour table and which of its owners in turn (4 bits), so that a reference kept too
/// long finds nothing instead of somebody else's MAC. Good for as long as a flow entry may lie idle: sixteen
/// owners take longer.
using NeighborId = Id<struct NeighborIdTag, uint16_t>;
inline constexpr NeighborId kNoNeighbor{UINT16_MAX};

enum class NeighborState : uint8_t {
  kNone,       ///< nothing known, nobody asked
  kResolving,  ///< asked, no answer yet
  kReachable,  ///< confirmed within 30 s
  kStale,      ///< confirmed within 90 s, or in doubt: used, and asked again
  kPermanent,  ///< configured: never asked for, never forgotten
};

std::string_view Name(NeighborState s);  ///< "none", "resolving", "reachable", "stale", "permanent"

/// The MAC addresses of underlay neighbours by IP address; shared by all workers. Use is lock-free;
/// everything else takes a short lock and is for the slow path. Times are milliseconds of any steady clock,
/// modulo 2^32.
class NeighborTable {
 public:
  static constexpr uint16_t kCapacity = 4095;
  static constexpr uint32_t kReachableMs = 30'000;
  static constexpr uint32_t kStaleMs = 60'000;        ///< after kReachableMs
  static constexpr uint32_t kProbeIntervalMs = 1000;  ///< a slot is asked for at most so often
  static constexpr uint32_t kUnusedMs = 300'000;      ///< then Sweep gives the slot up

  NeighborTable();

  struct Result {
    MacAddr mac;  ///< valid when `usable`
    bool usable = false;
    bool probe = false;    ///< send an ARP request now: to `mac` when usable, else broadcast
    bool expired = false;  ///< the slot is another's by now: call SlotFor again
  };
  /// What to do with a packet for this neighbour. Of concurrent callers one is told to probe.
  Result Use(NeighborId id, uint32_t now_ms) noexcept;

  /// Finds or adds. Full: gives up a slot that never got an answer; kNoNeighbor if there is none.
  NeighborId SlotFor(const IpAddress& address, uint32_t now_ms) noexcept;

  /// `address` has said that it is at `mac`. Ignored for addresses without a slot unless `add`.
  void Learn(const IpAddress& address, const MacAddr& mac, uint32_t now_ms, bool add) noexcept;

  /// A neighbour advertisement (RFC 4861 4.4): its target, flags, and the link-layer address if it has one.
  struct Advertisement {
    IpAddress target;
    std::optional<MacAddr> mac{};
    bool solicited = false;
    bool overrides = false;
  };
  /// RFC 4861 7.2.5 (for hosts: nothing depends on IsRouter). Addresses without a slot are nobody's concern.
  void TakeAdvertisement(const Advertisement& a, uint32_t now_ms) noexcept;
  /// RFC 4861 7.2.3: `address` has asked for somebody, and gave `mac` as its own: kStale if that is new, for
  /// it does not say that packets arrive there. Without a slot: ignored unless `add`.
  void TakeSolicitation(const IpAddress& address, const MacAddr& mac, uint32_t now_ms, bool add) noexcept;

  /// Fixes a neighbour's MAC for good: no probe, no aging, no answer changes it. Before the workers start;
  /// false when the table is full.
  bool SetPermanent(const IpAddress& address, const MacAddr& mac) noexcept;

  /// What somebody who knows says of `address`: it is at `mac`, or (empty) nobody is there. Ignored for
  /// addresses without a slot.
  void Set(const IpAddress& address, const MacAddr& mac, uint32_t now_ms) noexcept;

  /// The slot without its owner: below kCapacity, for references that the table gave.
  static uint16_t SlotOf(NeighborId id) noexcept { return id.value() & kCapacity; }
  /// Whose MAC a slot is for; empty: nobody's.
  IpAddress AddressAt(uint16_t slot) const noexcept;
  /// Whose MAC the slot is for; empty if it has another owner by now.
  IpAddress AddressOf(NeighborId id) const noexcept;

  /// Frees unused slots. From a maintenance thread, every few seconds.
  void Sweep(uint32_t now_ms) noexcept;

  /// Counts up when something new is learned: packets that wait may go, and copies of the MAC are out of
  /// date.
  uint32_t changes() const noexcept { return changes_.load(std::memory_order_acquire); }

  struct Entry {
    IpAddress address;
    MacAddr mac;
    NeighborState state = NeighborState::kNone;
    uint32_t age_ms = 0;  ///< since the last answer, at least kReachableMs if kStale; 0 if there was none
  };
  /// Sorted by address, for listing.
  std::vector<Entry> Snapshot(uint32_t now_ms) const;

 private:
  /// word: MAC in the low 48 bits, known and permanent flag, owner number in the top four; written under
  /// mutex_.
  struct Slot {
    std::atomic<uint64_t> word{0};
    std::atomic<uint32_t> confirmed_ms{0};
    std::atomic<uint32_t> probed_ms{0};
    std::atomic<uint32_t> used_ms{0};
    IpAddress address;  // under mutex_; empty: free
  };

  // Under mutex_:
  NeighborId FindLocked(const IpAddress& address, uint32_t now_ms);  // or adds
  Slot* LearningSlotLocked(const IpAddress& address, uint32_t now_ms,
                           bool add);  // nullptr: not to be learned
  void StoreLocked(Slot& slot, const MacAddr& mac, uint32_t confirmed_ms, uint32_t now_ms);
  std::optional<uint16_t> TakeSlotLocked(uint32_t now_ms);
  void FreeLocked(uint16_t index);

  std::unique_ptr<Slot[]> slots_;
  std::atomic<uint32_t> changes_{0};
  mutable std::mutex mutex_;
  absl::flat_hash_map<IpAddress, uint16_t> index_;  // under mutex_
  std::vector<uint16_t> free_;                      // under mutex_
  uint16_t hand_ = 0;                               // under mutex_: where the search for a victim goes on
};

}  // namespace podwire
