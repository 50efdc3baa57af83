#include "switch/page_array.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace podwire {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSmallPage = 4096;

size_t RoundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

void* MapPages(size_t bytes) {
  const size_t size = RoundUp(std::max<size_t>(bytes, 1), kSmallPage);
  // Huge pages need the address aligned to their size: map more, give the ends back.
  const size_t slack = size >= kHugePage ? kHugePage : 0;
  void* raw =
      mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) throw std::bad_alloc();
  if (slack == 0) return raw;
  auto* begin = static_cast<char*>(raw);
  auto* aligned =
      begin + (RoundUp(reinterpret_cast<uintptr_t>(begin), kHugePage) - reinterpret_cast<uintptr_t>(begin));
  const auto front = static_cast<size_t>(aligned - begin);
  if (front > 0) munmap(begin, front);
  if (slack > front) munmap(aligned + size, slack - front);
  madvise(aligned, size, MADV_HUGEPAGE);  // a kernel without them gives small pages, and that is fine
  return aligned;
}

void UnmapPages(void* p, size_t bytes) noexcept {
  if (p != nullptr) munmap(p, RoundUp(std::max<size_t>(bytes, 1), kSmallPage));
}

}  // namespace podwire
