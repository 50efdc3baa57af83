#include "pmd/guest_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <rte_memory.h>

#include "net/status.h"

namespace podwire {
namespace {

int maps = -1;  ///< /proc/self/maps, opened while there are descriptors to be had
std::atomic<uint64_t> lost{0};

// All that follows runs in a signal handler: no allocation, no lock, no library but system calls.

/// A line of the file: "7f00-7f10 rw-s 00000000 00:01 12 /memfd:guest (deleted)".
struct Mapping {
  uintptr_t begin = 0, end = 0;
  bool shared = false;
  bool has_file = false;
};

uintptr_t TakeHex(std::string_view& text) {
  uintptr_t value = 0;
  while (!text.empty()) {
    const char c = text.front();
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    value = value << 4 | static_cast<uintptr_t>(digit);
    text.remove_prefix(1);
  }
  return value;
}

Mapping ParseMapping(std::string_view line) {
  Mapping m;
  m.begin = TakeHex(line);
  if (line.empty()) return m;
  line.remove_prefix(1);
  m.end = TakeHex(line);
  constexpr size_t kSharedAt = 4;  // of " rw-s"
  m.shared = line.size() > kSharedAt && line[kSharedAt] == 's';
  m.has_file = line.find('/') != std::string_view::npos;
  return m;
}

/// The mapping that the address lies in; an empty one if there is none.
Mapping FindMapping(uintptr_t address) {
  char text[16384];  // a line has a path of up to 4 KB
  size_t held = 0;
  for (off_t offset = 0;;) {
    const ssize_t n = pread(maps, text + held, sizeof text - held, offset);
    if (n <= 0) return {};
    offset += n;
    std::string_view rest(text, held + static_cast<size_t>(n));
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      const Mapping m = ParseMapping(rest.substr(0, end));
      if (m.begin <= address && address < m.end) return m;
      rest.remove_prefix(end + 1);
    }
    held = rest.size();
    std::memmove(text, rest.data(), held);
  }
}

/// Zeros in place of all of it: of whatever size its pages were, and it may be in thousands of pieces.
bool Replace(const Mapping& m) {
  void* at = reinterpret_cast<void*>(m.begin);
  constexpr int kFlags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  return mmap(at, m.end - m.begin, PROT_READ | PROT_WRITE, kFlags, -1, 0) == at;
}

/// Whether the access may be made again.
bool Mend(uintptr_t address) {
  const Mapping m = FindMapping(address);
  if (!m.shared) return m.end != 0 && !m.has_file;  // another thread was here first
  if (rte_mem_virt2memseg_list(reinterpret_cast<void*>(m.begin)) != nullptr || !Replace(m)) return false;
  lost.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void OnBusError(int, siginfo_t* info, void*) {
  const int saved = errno;
  // Otherwise the access ends the process, as it would have.
  if (info->si_code != BUS_ADRERR || !Mend(reinterpret_cast<uintptr_t>(info->si_addr)))
    signal(SIGBUS, SIG_DFL);
  errno = saved;
}

}  // namespace

absl::Status OutliveLostGuestMemory() {
  if (maps < 0) maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) return ErrnoError(errno, "open /proc/self/maps");
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGBUS, &action, nullptr) != 0) return ErrnoError(errno, "sigaction SIGBUS");
  return absl::OkStatus();
}

uint64_t LostGuestMappings() { return lost.load(std::memory_order_relaxed); }

}  // namespace podwire
