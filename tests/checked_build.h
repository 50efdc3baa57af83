#pragma once

namespace podwire {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PODWIRE_CHECKED_BUILD
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PODWIRE_CHECKED_BUILD
#endif

/// Builds with sanitizers take that much longer for a case: tests of random ones do so many times fewer
/// there.
#ifdef PODWIRE_CHECKED_BUILD
inline constexpr int kSlowness = 5;
#else
inline constexpr int kSlowness = 1;
#endif

}  // namespace podwire
