#pragma once

#include <cstddef>
#include <utility>

namespace podwire {

/// Zeroed memory straight from the kernel, which backs it by transparent huge pages where it can and takes a
/// page only when it is first written. Works without EAL. Throws std::bad_alloc.
void* MapPages(size_t bytes);
void UnmapPages(void* p, size_t bytes) noexcept;

/// A large array of T's, page-aligned, all bytes zero, nothing constructed or destroyed. Start-up only.
template <class T>
class PageArray {
 public:
  PageArray() = default;
  explicit PageArray(size_t count) : data_(static_cast<T*>(MapPages(count * sizeof(T)))), count_(count) {}
  PageArray(PageArray&& o) noexcept : data_(std::exchange(o.data_, nullptr)), count_(o.count_) {}
  PageArray& operator=(PageArray&&) = delete;
  ~PageArray() { UnmapPages(data_, count_ * sizeof(T)); }

  T& operator[](size_t i) const noexcept { return data_[i]; }
  T* data() const noexcept { return data_; }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace podwire
