#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "net/status.h"
#include "pmd/ethdev_port.h"
#include "pmd/port_kinds.h"

namespace podwire {
namespace {

constexpr uint16_t kMaxQueues = 16;  // queue pairs; net_vhost's limit is higher, a pod's use is not

sockaddr_un SocketAddress(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

/// Somebody accepts connections on the socket file.
bool IsServed(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const sockaddr_un address = SocketAddress(path);
  const bool served =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN;
  close(fd);
  return served;
}

/// A listening socket of that path in the kernel's table: asking by connect() would disturb net_vhost.
bool IsListening(const std::string& path) {
  constexpr unsigned kAcceptConnections = 1u << 16;  // __SO_ACCEPTCON
  std::ifstream table("/proc/thread-self/net/unix");
  std::string line;
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string number, references, protocol, type, state, inode, name;
    unsigned flags = 0;
    fields >> number >> references >> protocol >> std::hex >> flags >> type >> state >> inode;
    std::getline(fields >> std::ws, name);
    if (name == path && (flags & kAcceptConnections) != 0) return true;
  }
  return false;
}

absl::Status CheckOptions(const VhostUserOptions& o) {
  if (!o.socket_path.starts_with('/') || o.socket_path.size() >= sizeof(sockaddr_un::sun_path)) {
    return InvalidArgument("socket path \"{}\": expected an absolute path of up to {} bytes", o.socket_path,
                           sizeof(sockaddr_un::sun_path) - 1);
  }
  if (o.socket_path.find_first_of(",[]\"'= \n") != std::string::npos) {
    return InvalidArgument(
        "socket path \"{}\": DPDK cannot take one with commas, brackets, quotes, '=' or spaces",
        o.socket_path);
  }
  if (o.queues < 1 || o.queues > kMaxQueues)
    return InvalidArgument("queues: {} is not within 1 to {}", o.queues, kMaxQueues);
  return absl::OkStatus();
}

/// Makes way for the server socket: net_vhost does not report that its bind failed.
absl::Status RemoveStaleSocket(const std::string& path) {
  struct stat st;
  const std::string directory = std::filesystem::path(path).parent_path();
  if (stat(directory.c_str(), &st) != 0) return ErrnoError(errno, "directory of socket {}", path);
  if (lstat(path.c_str(), &st) != 0)
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, "stat {}", path);
  if (!S_ISSOCK(st.st_mode))
    return Error(absl::StatusCode::kFailedPrecondition, "{} exists and is not a socket: remove it", path);
  if (IsServed(path)) return Error(absl::StatusCode::kAlreadyExists, "another process listens on {}", path);
  return unlink(path.c_str()) == 0 ? absl::OkStatus() : ErrnoError(errno, "remove stale socket {}", path);
}

std::string Devargs(const VhostUserOptions& o) {
  static std::atomic<uint32_t> next{0};
  return fmt::format("net_vhost{},iface={},queues={},tso=1{}", next.fetch_add(1), o.socket_path, o.queues,
                     o.client ? ",client=1" : "");
}

}  // namespace

PortOr CreateVhostUserPort(const PortConfig& config, const VhostUserOptions& options,
                           const PortContext& context) {
  absl::Status ready = CheckOptions(options);
  if (ready.ok() && !options.client) ready = RemoveStaleSocket(options.socket_path);
  if (!ready.ok()) return Annotate(ready, "port " + config.name);
  ASSIGN_OR_RETURN(
      auto port,
      EthdevPort::Create(config, {.devargs = Devargs(options), .rx_queues = options.queues}, context));
  if (!options.client && !IsListening(options.socket_path)) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "port {}: could not listen on {}: is the directory writable?", config.name,
                 options.socket_path);
  }
  return port;
}

}  // namespace podwire
