#pragma once

#include <string>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

namespace podwire {

/// The message as a std::string (Debian's absl::string_view is a type of its own, which fmt cannot print).
inline std::string Message(const absl::Status& s) { return {s.message().data(), s.message().size()}; }

/// The same code with `context: ` before the message; OK stays OK.
inline absl::Status Annotate(const absl::Status& s, const std::string& context) {
  return s.ok() ? s : absl::Status(s.code(), context + ": " + Message(s));
}

/// absl::Status of one of absl's codes with an fmt-formatted message: Error(absl::StatusCode::kNotFound, "pod
/// {}", name).
template <class... Args>
absl::Status Error(absl::StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return {code, fmt::format(format, std::forward<Args>(args)...)};
}
template <class... Args>
absl::Status InvalidArgument(fmt::format_string<Args...> format, Args&&... args) {
  return {absl::StatusCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...)};
}
/// What was tried, then errno's text: "attach pod: open /dev/net/tun: Permission denied".
template <class... Args>
absl::Status ErrnoError(int error, fmt::format_string<Args...> format, Args&&... args) {
  return absl::ErrnoToStatus(error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace podwire

#define PODWIRE_CONCAT_(a, b) a##b
#define PODWIRE_CONCAT(a, b) PODWIRE_CONCAT_(a, b)

/// Returns the status from the enclosing function when it is not OK.
#define RETURN_IF_ERROR(expr)                                         \
  do {                                                                \
    if (absl::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

/// ASSIGN_OR_RETURN(auto x, F()): x = F()'s value, or returns F()'s status.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_(PODWIRE_CONCAT(statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                      \
  if (!tmp.ok()) return tmp.status();     \
  lhs = *std::move(tmp)
