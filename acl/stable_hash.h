#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "net/address.h"

namespace podwire {

/// Hashes that are the same in every process (absl::Hash is seeded), for fingerprints.

/// The finalizer of SplitMix64: a bijection.
constexpr uint64_t MixHash(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr uint64_t CombineHash(uint64_t h, uint64_t value) {
  return MixHash(h + 0x9e3779b97f4a7c15 + MixHash(value + 0x632be59bd9b4e019));
}

/// FNV-1a, then mixed.
constexpr uint64_t HashText(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return MixHash(h);
}

inline uint64_t HashAddress(const IpAddress& a) {
  uint64_t halves[2];
  std::memcpy(halves, a.bytes().data(), sizeof halves);
  return CombineHash(CombineHash(static_cast<uint64_t>(a.family()), halves[0]), halves[1]);
}

}  // namespace podwire
