#pragma once

#include <cstdint>

namespace podwire {

/// Milliseconds between two readings of a clock modulo 2^32; 0 if `then` is the later one (another worker's
/// clock may be ahead).
constexpr uint32_t ElapsedMs(uint32_t now_ms, uint32_t then_ms) noexcept {
  const auto d = static_cast<int32_t>(now_ms - then_ms);
  return d > 0 ? static_cast<uint32_t>(d) : 0;
}

}  // namespace podwire
