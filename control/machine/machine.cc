#include "control/machine/machine.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace podwire {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kMaxCpu = 65536;

bool HasSocketFamily(int family) {
  const int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd >= 0) close(fd);
  return fd >= 0 || errno != EAFNOSUPPORT;
}

std::vector<KernelAddress> OwnAddresses() {
  std::vector<KernelAddress> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr) continue;
    if (i->ifa_addr->sa_family == AF_INET) {
      const auto* in = reinterpret_cast<const sockaddr_in*>(i->ifa_addr);
      found.push_back({i->ifa_name, Ipv4{in->sin_addr.s_addr}});
    } else if (i->ifa_addr->sa_family == AF_INET6) {
      const auto* in = reinterpret_cast<const sockaddr_in6*>(i->ifa_addr);
      Ipv6 address;
      static_assert(sizeof address.bytes == sizeof in->sin6_addr);
      std::memcpy(address.bytes.data(), &in->sin6_addr, sizeof address.bytes);
      found.push_back({i->ifa_name, address});
    }
  }
  freeifaddrs(list);
  return found;
}

bool TakeNumber(std::string_view& text, unsigned& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc() && number < kMaxCpu;
}

}  // namespace

Machine Machine::Own() {
  return {
      .root = "", .has_socket_family = HasSocketFamily, .addresses = OwnAddresses, .is_root = geteuid() == 0};
}

bool Machine::Exists(const std::string& path) const {
  std::error_code error;
  return fs::exists(root + path, error);
}

std::optional<std::string> Machine::Read(const std::string& path) const {
  // Streams throw where the kernel refuses a read, as it does for some files of sysfs.
  const int fd = open((root + path).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text;
  char piece[4096];
  ssize_t n = 0;
  while ((n = read(fd, piece, sizeof piece)) > 0) text.append(piece, static_cast<size_t>(n));
  close(fd);
  if (n < 0) return std::nullopt;
  const auto blank = [](unsigned char c) { return std::isspace(c) != 0 || c == 0; };
  while (!text.empty() && blank(static_cast<unsigned char>(text.back()))) text.pop_back();
  text.erase(text.begin(), std::ranges::find_if_not(text, blank));
  return text;
}

std::optional<uint64_t> Machine::ReadNumber(const std::string& path) const {
  const auto text = Read(path);
  uint64_t number = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return number;
}

std::vector<std::string> Machine::List(const std::string& directory) const {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator i(root + directory, error);
  for (; !error && i != fs::directory_iterator(); i.increment(error)) names.push_back(i->path().filename());
  std::ranges::sort(names);
  return names;
}

std::string Machine::LinkName(const std::string& path) const {
  std::error_code error;
  return fs::read_symlink(root + path, error).filename();
}

bool Machine::IsProgram(const std::string& path) const {
  std::error_code error;
  return fs::is_regular_file(root + path, error) && access((root + path).c_str(), X_OK) == 0;
}

std::vector<unsigned> ParseCpuList(std::string_view list) {
  std::vector<unsigned> cpus;
  while (!list.empty()) {
    unsigned first = 0;
    if (!TakeNumber(list, first)) return {};
    unsigned last = first;
    if (list.starts_with('-')) {
      list.remove_prefix(1);
      if (!TakeNumber(list, last) || last < first) return {};
    }
    for (unsigned cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (!list.empty() && !list.starts_with(',')) return {};
    list.remove_prefix(std::min<size_t>(1, list.size()));
  }
  return cpus;
}

}  // namespace podwire
