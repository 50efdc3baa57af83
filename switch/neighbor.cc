#include "switch/neighbor.h"

#include <algorithm>
#include <cstring>

#include "switch/elapsed.h"
#include "switch/flow_key.h"
#include "switch/flow_table.h"

namespace podwire {
namespace {

constexpr uint64_t kMacMask = (uint64_t{1} << 48) - 1;
constexpr uint64_t kKnown = uint64_t{1} << 48;
constexpr uint64_t kPermanent = uint64_t{1} << 49;
constexpr int kOwnerShift = 60;
constexpr int kIndexBits = 12;
constexpr uint16_t kIndexMask = (1 << kIndexBits) - 1;

constexpr uint32_t kVictimMs = 5000;    // a slot without an answer is given up when unused for so long
constexpr uint16_t kVictimTries = 256;  // slots looked at for one
constexpr uint32_t kUseStampMs = 1000;  // used_ms is exact to this, so that workers seldom write it
constexpr uint32_t kResolvingMs = 3000;

// A slot cannot have all its owners' numbers in turn while a flow that is idle keeps one of them.
constexpr uint32_t kOwners = 1u << (64 - kOwnerShift);
static_assert(kOwners * kVictimMs - kUseStampMs > FlowTable<FlowKey4>::kLongestIdleMs);

uint64_t Pack(const MacAddr& mac) {
  uint64_t v = 0;
  std::memcpy(&v, mac.bytes.data(), mac.bytes.size());
  return v;
}

MacAddr Unpack(uint64_t word) {
  MacAddr mac;
  std::memcpy(mac.bytes.data(), &word, mac.bytes.size());
  return mac;
}

}  // namespace

std::string_view Name(NeighborState s) {
  switch (s) {
    case NeighborState::kNone:
      return "none";
    case NeighborState::kResolving:
      return "resolving";
    case NeighborState::kReachable:
      return "reachable";
    case NeighborState::kStale:
      return "stale";
    case NeighborState::kPermanent:
      return "permanent";
  }
  return "";
}

NeighborTable::NeighborTable() : slots_(std::make_unique<Slot[]>(kCapacity)) {
  const std::lock_guard lock(mutex_);
  index_.reserve(kCapacity);
  free_.reserve(kCapacity);
  for (uint16_t i = kCapacity; i > 0; --i) free_.push_back(static_cast<uint16_t>(i - 1));
}

NeighborTable::Result NeighborTable::Use(NeighborId id, uint32_t now_ms) noexcept {
  const uint16_t index = id.value() & kIndexMask;
  if (index >= kCapacity) return {.mac = {}, .expired = true};
  Slot& slot = slots_[index];
  const uint64_t word = slot.word.load(std::memory_order_acquire);
  if (word >> kOwnerShift != id.value() >> kIndexBits) return {.mac = {}, .expired = true};
  if ((word & kPermanent) != 0) return {.mac = Unpack(word), .usable = true};
  if (now_ms - slot.used_ms.load(std::memory_order_relaxed) >= kUseStampMs) {
    slot.used_ms.store(now_ms, std::memory_order_relaxed);
  }
  const uint32_t age = ElapsedMs(now_ms, slot.confirmed_ms.load(std::memory_order_relaxed));
  const bool known = (word & kKnown) != 0;
  Result r;
  r.usable = known && age < kReachableMs + kStaleMs;
  if (r.usable) {
    r.mac = Unpack(word);
    if (age < kReachableMs) return r;
  }
  uint32_t probed = slot.probed_ms.load(std::memory_order_relaxed);
  r.probe = now_ms - probed >= kProbeIntervalMs &&
            slot.probed_ms.compare_exchange_strong(probed, now_ms, std::memory_order_relaxed);
  return r;
}

std::optional<uint16_t> NeighborTable::TakeSlotLocked(uint32_t now_ms) {
  for (uint16_t tries = 0; free_.empty() && tries < kVictimTries; ++tries) {
    hand_ = static_cast<uint16_t>((hand_ + 1) % kCapacity);
    const Slot& slot = slots_[hand_];
    const bool known = (slot.word.load(std::memory_order_relaxed) & kKnown) != 0;
    if (!known && ElapsedMs(now_ms, slot.used_ms.load(std::memory_order_relaxed)) >= kVictimMs)
      FreeLocked(hand_);
  }
  if (free_.empty()) return std::nullopt;
  const uint16_t index = free_.back();
  free_.pop_back();
  return index;
}

NeighborId NeighborTable::FindLocked(const IpAddress& address, uint32_t now_ms) {
  uint16_t index;
  if (const auto it = index_.find(address); it != index_.end()) {
    index = it->second;
  } else {
    const std::optional<uint16_t> taken = TakeSlotLocked(now_ms);
    if (!taken) return kNoNeighbor;
    index = *taken;
    Slot& slot = slots_[index];
    slot.address = address;
    slot.used_ms.store(now_ms, std::memory_order_relaxed);
    slot.probed_ms.store(now_ms - kResolvingMs, std::memory_order_relaxed);
    index_.emplace(address, index);
  }
  const uint64_t owner = slots_[index].word.load(std::memory_order_relaxed) >> kOwnerShift;
  return NeighborId(static_cast<uint16_t>(owner << kIndexBits | index));
}

NeighborId NeighborTable::SlotFor(const IpAddress& address, uint32_t now_ms) noexcept {
  const std::lock_guard lock(mutex_);
  return FindLocked(address, now_ms);
}

NeighborTable::Slot* NeighborTable::LearningSlotLocked(const IpAddress& address, uint32_t now_ms, bool add) {
  if (!add && !index_.contains(address)) return nullptr;
  const NeighborId id = FindLocked(address, now_ms);
  if (id == kNoNeighbor) return nullptr;
  Slot& slot = slots_[id.value() & kIndexMask];
  return (slot.word.load(std::memory_order_relaxed) & kPermanent) != 0 ? nullptr : &slot;
}

void NeighborTable::StoreLocked(Slot& slot, const MacAddr& mac, uint32_t confirmed_ms, uint32_t now_ms) {
  const uint32_t age = ElapsedMs(now_ms, slot.confirmed_ms.load(std::memory_order_relaxed));
  slot.confirmed_ms.store(confirmed_ms, std::memory_order_relaxed);
  const uint64_t before = slot.word.load(std::memory_order_relaxed);
  const uint64_t word = before >> kOwnerShift << kOwnerShift | kKnown | Pack(mac);
  if (word == before && age < kReachableMs + kStaleMs) return;
  slot.word.store(word, std::memory_order_release);
  changes_.fetch_add(1, std::memory_order_release);
}

void NeighborTable::Learn(const IpAddress& address, const MacAddr& mac, uint32_t now_ms, bool add) noexcept {
  const std::lock_guard lock(mutex_);
  if (Slot* slot = LearningSlotLocked(address, now_ms, add)) StoreLocked(*slot, mac, now_ms, now_ms);
}

void NeighborTable::TakeAdvertisement(const Advertisement& a, uint32_t now_ms) noexcept {
  const std::lock_guard lock(mutex_);
  Slot* slot = LearningSlotLocked(a.target, now_ms, false);
  if (slot == nullptr) return;
  const uint64_t word = slot->word.load(std::memory_order_relaxed);
  const uint32_t age = ElapsedMs(now_ms, slot->confirmed_ms.load(std::memory_order_relaxed));
  const uint32_t stale_since = now_ms - kReachableMs;
  if ((word & kKnown) == 0 ||
      age >= kReachableMs + kStaleMs) {  // INCOMPLETE: the flag to override is ignored
    if (a.mac) StoreLocked(*slot, *a.mac, a.solicited ? now_ms : stale_since, now_ms);
    return;
  }
  const MacAddr cached = Unpack(word);
  const bool differs = a.mac && *a.mac != cached;
  if (differs && !a.overrides) {
    if (age < kReachableMs) slot->confirmed_ms.store(stale_since, std::memory_order_relaxed);
  } else if (a.solicited) {
    StoreLocked(*slot, a.mac.value_or(cached), now_ms, now_ms);
  } else if (differs) {
    StoreLocked(*slot, *a.mac, stale_since, now_ms);
  }
}

void NeighborTable::TakeSolicitation(const IpAddress& address, const MacAddr& mac, uint32_t now_ms,
                                     bool add) noexcept {
  const std::lock_guard lock(mutex_);
  Slot* slot = LearningSlotLocked(address, now_ms, add);
  if (slot == nullptr) return;
  const uint64_t word = slot->word.load(std::memory_order_relaxed);
  const uint32_t age = ElapsedMs(now_ms, slot->confirmed_ms.load(std::memory_order_relaxed));
  const bool same = (word & kKnown) != 0 && age < kReachableMs + kStaleMs && Unpack(word) == mac;
  if (!same) StoreLocked(*slot, mac, now_ms - kReachableMs, now_ms);
}

void NeighborTable::Set(const IpAddress& address, const MacAddr& mac, uint32_t now_ms) noexcept {
  if (!mac.empty()) return Learn(address, mac, now_ms, false);
  const std::lock_guard lock(mutex_);
  Slot* slot = LearningSlotLocked(address, now_ms, false);
  if (slot == nullptr) return;
  const uint64_t word = slot->word.load(std::memory_order_relaxed);
  if ((word & kKnown) == 0) return;
  slot->word.store(word & ~(kKnown | kMacMask), std::memory_order_release);
  changes_.fetch_add(1, std::memory_order_release);
}

bool NeighborTable::SetPermanent(const IpAddress& address, const MacAddr& mac) noexcept {
  const std::lock_guard lock(mutex_);
  const NeighborId id = FindLocked(address, 0);
  if (id == kNoNeighbor) return false;
  Slot& slot = slots_[id.value() & kIndexMask];
  const uint64_t owner = slot.word.load(std::memory_order_relaxed) >> kOwnerShift;
  slot.word.store(owner << kOwnerShift | kPermanent | kKnown | Pack(mac), std::memory_order_release);
  return true;
}

IpAddress NeighborTable::AddressAt(uint16_t slot) const noexcept {
  if (slot >= kCapacity) return {};
  const std::lock_guard lock(mutex_);
  return slots_[slot].address;
}

IpAddress NeighborTable::AddressOf(NeighborId id) const noexcept {
  const uint16_t index = id.value() & kIndexMask;
  if (index >= kCapacity) return {};
  const std::lock_guard lock(mutex_);
  const uint64_t owner = slots_[index].word.load(std::memory_order_relaxed) >> kOwnerShift;
  return owner == id.value() >> kIndexBits ? slots_[index].address : IpAddress();
}

void NeighborTable::FreeLocked(uint16_t index) {
  Slot& slot = slots_[index];
  index_.erase(slot.address);
  slot.address = IpAddress();
  // The next owner's number: who still holds the old one is told that it expired.
  const uint64_t owner = slot.word.load(std::memory_order_relaxed) >> kOwnerShift;
  slot.word.store((owner + 1) << kOwnerShift, std::memory_order_release);
  free_.push_back(index);
}

void NeighborTable::Sweep(uint32_t now_ms) noexcept {
  const std::lock_guard lock(mutex_);
  for (uint16_t i = 0; i < kCapacity; ++i) {
    Slot& slot = slots_[i];
    if (slot.address.empty() || (slot.word.load(std::memory_order_relaxed) & kPermanent) != 0) continue;
    // A worker's stamp may be a little newer than this thread's clock.
    const auto unused = static_cast<int32_t>(now_ms - slot.used_ms.load(std::memory_order_relaxed));
    if (unused >= static_cast<int32_t>(kUnusedMs)) {
      FreeLocked(i);
      continue;
    }
    // Forgotten for good, so that a wrapped clock cannot make the answer look new again.
    const auto age = static_cast<int32_t>(now_ms - slot.confirmed_ms.load(std::memory_order_relaxed));
    const uint64_t word = slot.word.load(std::memory_order_relaxed);
    if ((word & kKnown) != 0 && age >= static_cast<int32_t>(kReachableMs + kStaleMs)) {
      slot.word.store(word & ~(kKnown | kMacMask), std::memory_order_release);
    }
  }
}

std::vector<NeighborTable::Entry> NeighborTable::Snapshot(uint32_t now_ms) const {
  std::vector<Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.reserve(index_.size());
    for (const auto& [address, index] : index_) {
      const Slot& slot = slots_[index];
      const uint64_t word = slot.word.load(std::memory_order_acquire);
      const uint32_t age = ElapsedMs(now_ms, slot.confirmed_ms.load(std::memory_order_relaxed));
      Entry e{.address = address, .mac = {}, .state = NeighborState::kNone, .age_ms = 0};
      if ((word & kPermanent) != 0) {
        e.mac = Unpack(word);
        e.state = NeighborState::kPermanent;
      } else if ((word & kKnown) != 0 && age < kReachableMs + kStaleMs) {
        e.mac = Unpack(word);
        e.state = age < kReachableMs ? NeighborState::kReachable : NeighborState::kStale;
        e.age_ms = age;
      } else if (now_ms - slot.probed_ms.load(std::memory_order_relaxed) < kResolvingMs) {
        e.state = NeighborState::kResolving;
      }
      entries.push_back(e);
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.address < b.address; });
  return entries;
}

}  // namespace podwire
