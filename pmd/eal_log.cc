#include "pmd/eal_log.h"

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <utility>
#include <vector>

#include <absl/strings/str_join.h>
#include <fmt/format.h>
#include <rte_log.h>

namespace podwire {
namespace {

constexpr size_t kMaxCaptured = 6;

/// Logging outlives main (DPDK's threads), so it is never destroyed.
struct LogState {
  std::mutex mutex;
  EalLogSink sink;
  bool opened = false;
  bool capturing = false;
  std::vector<std::string> captured;
};
LogState& State() {
  static auto* state = new LogState;
  return *state;
}

void TakeLine(uint32_t level, std::string_view line) {
  LogState& s = State();
  std::unique_lock lock(s.mutex);
  if (s.capturing) {
    if (s.captured.size() < kMaxCaptured) s.captured.emplace_back(line);
    return;
  }
  if (s.sink) {
    s.sink(level, line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
}

ssize_t WriteLog(void* /*cookie*/, const char* data, size_t size) {
  const int level = rte_log_cur_msg_loglevel();
  if (level > static_cast<int>(RTE_LOG_WARNING)) return static_cast<ssize_t>(size);
  std::string_view text(data, size);
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) TakeLine(static_cast<uint32_t>(level), text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return static_cast<ssize_t>(size);
}

}  // namespace

void OpenEalLog(EalLogSink sink) {
  LogState& s = State();
  const std::lock_guard lock(s.mutex);
  s.sink = std::move(sink);
  if (s.opened) return;
  FILE* stream = fopencookie(
      nullptr, "w",
      cookie_io_functions_t{.read = nullptr, .write = WriteLog, .seek = nullptr, .close = nullptr});
  if (stream == nullptr) return;
  setvbuf(stream, nullptr, _IOLBF, 1024);
  rte_openlog_stream(stream);
  s.opened = true;
}

EalLogCapture::EalLogCapture() {
  const std::lock_guard lock(State().mutex);
  State().capturing = true;
  State().captured.clear();
}

EalLogCapture::~EalLogCapture() {
  const std::lock_guard lock(State().mutex);
  State().capturing = false;
}

std::string EalLogCapture::Text() const {
  const std::lock_guard lock(State().mutex);
  return absl::StrJoin(State().captured, "; ");
}

}  // namespace podwire
