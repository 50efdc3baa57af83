#include "switch/fragment_table.h"

#include <algorithm>
#include <cstring>

namespace podwire {
namespace {

uint64_t Mix(uint64_t h, uint64_t word) noexcept {
  h = (h ^ word) * 0x9e3779b97f4a7c15;
  return h ^ (h >> 29);
}

uint64_t MixAddress(uint64_t h, Ipv4 a) noexcept { return Mix(h, a.be); }
uint64_t MixAddress(uint64_t h, const Ipv6& a) noexcept {
  uint64_t words[2];
  std::memcpy(words, a.bytes.data(), sizeof words);
  return Mix(Mix(h, words[0]), words[1]);
}

}  // namespace

template <class Address>
auto BasicFragmentTable<Address>::SetOf(const FragmentKey<Address>& key) const noexcept -> Set& {
  uint64_t h = MixAddress(MixAddress(seed_, key.src), key.dst);
  h = Mix(h, uint64_t{key.id_be} << 32 | uint32_t{key.in_port.value()} << 8 | key.proto);
  return sets_[Mix(h, seed_) >> 40 & (kSets - 1)];
}

template <class Address>
void BasicFragmentTable<Address>::Learn(const FragmentKey<Address>& key, FragmentPorts ports,
                                        uint32_t now_ms) noexcept {
  Set& set = SetOf(key);
  auto it = std::ranges::find_if(set, [&](const Entry& e) { return e.in_use && e.key == key; });
  if (it == set.end()) it = std::ranges::find(set, false, &Entry::in_use);
  if (it == set.end()) {
    it = std::ranges::max_element(set, {}, [&](const Entry& e) { return ElapsedMs(now_ms, e.learned_ms); });
  }
  *it = {key, ports, now_ms, true};
}

template <class Address>
std::optional<FragmentPorts> BasicFragmentTable<Address>::Find(const FragmentKey<Address>& key,
                                                               uint32_t now_ms) const noexcept {
  for (const Entry& e : SetOf(key)) {
    if (!e.in_use || !(e.key == key)) continue;
    if (ElapsedMs(now_ms, e.learned_ms) > kLifetimeMs) return std::nullopt;
    return e.ports;
  }
  return std::nullopt;
}

template class BasicFragmentTable<Ipv4>;
template class BasicFragmentTable<Ipv6>;

}  // namespace podwire
