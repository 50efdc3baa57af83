#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace podwire {

using EalLogSink = std::function<void(uint32_t level, std::string_view line)>;

/// Routes DPDK's log lines of level warning and worse to `sink` (stderr without one) from now on. Any thread
/// logs.
void OpenEalLog(EalLogSink sink);

/// While it lives, DPDK's log lines (of any thread) are kept for an error's text, and not passed to the sink.
/// One at a time (control thread); useless, but harmless, before OpenEalLog.
class EalLogCapture {
 public:
  EalLogCapture();
  ~EalLogCapture();
  EalLogCapture(const EalLogCapture&) = delete;
  EalLogCapture& operator=(const EalLogCapture&) = delete;

  /// The first few lines joined by "; ", or "" when there were none.
  std::string Text() const;
};

}  // namespace podwire
