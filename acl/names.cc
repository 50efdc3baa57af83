#include "acl/names.h"

#include <algorithm>

#include "net/status.h"

namespace podwire {
namespace {

constexpr size_t kMaxLabel = 63;
constexpr size_t kMaxSubdomain = 253;
constexpr size_t kMaxPortName = 15;

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLowerAlnum(char c) { return IsLower(c) || IsDigit(c); }
bool IsAlnum(char c) { return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z'); }

absl::Status Bad(std::string_view text, std::string_view what) {
  return InvalidArgument("\"{}\" is not {}", text, what);
}

bool IsDnsLabel(std::string_view t) {
  return !t.empty() && t.size() <= kMaxLabel && IsLowerAlnum(t.front()) && IsLowerAlnum(t.back()) &&
         std::all_of(t.begin(), t.end(), [](char c) { return IsLowerAlnum(c) || c == '-'; });
}

/// Labels of a subdomain may be longer than 63: Kubernetes bounds the whole only.
bool IsDnsSubdomain(std::string_view t) {
  if (t.empty() || t.size() > kMaxSubdomain) return false;
  char before = '.';
  for (const char c : t) {
    if (!IsLowerAlnum(c) && c != '-' && c != '.') return false;
    if (c == '.' && !IsLowerAlnum(before)) return false;
    if (c == '-' && before == '.') return false;
    before = c;
  }
  return IsLowerAlnum(before);
}

bool IsQualifiedName(std::string_view t) {
  return !t.empty() && t.size() <= kMaxLabel && IsAlnum(t.front()) && IsAlnum(t.back()) &&
         std::all_of(t.begin(), t.end(),
                     [](char c) { return IsAlnum(c) || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

absl::Status CheckDnsLabel(std::string_view text) {
  if (IsDnsLabel(text)) return absl::OkStatus();
  return Bad(text, "a DNS label (lower-case letters, digits and '-', at most 63)");
}

absl::Status CheckDnsSubdomain(std::string_view text) {
  if (IsDnsSubdomain(text)) return absl::OkStatus();
  return Bad(text, "a DNS name (lower-case letters, digits, '-' and '.', at most 253)");
}

absl::Status CheckLabelKey(std::string_view text) {
  const size_t slash = text.find('/');
  const bool prefixed = slash != std::string_view::npos;
  if ((!prefixed || IsDnsSubdomain(text.substr(0, slash))) &&
      IsQualifiedName(prefixed ? text.substr(slash + 1) : text)) {
    return absl::OkStatus();
  }
  return Bad(text, "a label key (like app or example.com/app)");
}

absl::Status CheckLabelValue(std::string_view text) {
  if (text.empty() || IsQualifiedName(text)) return absl::OkStatus();
  return Bad(text, "a label value (letters, digits, '-', '_' and '.', at most 63)");
}

absl::Status CheckPortName(std::string_view text) {
  const bool doubled = text.find("--") != std::string_view::npos;
  if (IsDnsLabel(text) && text.size() <= kMaxPortName && !doubled &&
      std::any_of(text.begin(), text.end(), IsLower)) {
    return absl::OkStatus();
  }
  return Bad(text, "a port name (at most 15 lower-case letters, digits and '-', a letter among them)");
}

}  // namespace podwire
