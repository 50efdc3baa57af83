#include "control/client/channel.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "net/status.h"

namespace podwire {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kRetryMs = 50;

bool IsPort(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port > 0 && port <= 65535;
}

/// Why a UNIX socket cannot be reached, asked of the kernel itself: gRPC's own words do not say it clearly.
std::string UnixReason(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return "the path is longer than a UNIX socket's may be";
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int result = fd < 0 ? -1 : connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int error = errno;
  if (fd >= 0) close(fd);
  if (result == 0) return "it accepts connections but does not speak gRPC";
  switch (error) {
    case ENOENT:
      return "no such socket; is podwired running, and with this listen address?";
    case ECONNREFUSED:
      return "nobody listens on the socket; is podwired running?";
    case EACCES:
    case EPERM:
      return "permission denied; run as root, or as the user that podwired runs as";
    default:
      return std::strerror(error);
  }
}

absl::Status Unreachable(std::string_view server, const std::string& target) {
  const std::string reason = target.starts_with(kUnix)
                                 ? UnixReason(target.substr(kUnix.size()))
                                 : "no connection; is podwired running there, and does it listen on TCP?";
  return Error(absl::StatusCode::kUnavailable, "podwired is not reachable at {}: {}", server, reason);
}

}  // namespace

absl::StatusOr<std::string> ServerTarget(std::string_view server) {
  const auto bad = [&] {
    return InvalidArgument("\"{}\" is no server address; write unix:///run/podwire/podwire.sock or HOST:PORT",
                           server);
  };
  std::string_view path = server;
  if (path.starts_with(kUnix)) path.remove_prefix(kUnix.size());
  if (path.starts_with("//")) path.remove_prefix(2);
  if (path.starts_with('/')) return std::string(kUnix) + std::string(path);
  if (server.starts_with(kUnix)) return bad();
  if (server.starts_with("tcp:")) server.remove_prefix(4);
  const auto colon = server.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || !IsPort(server.substr(colon + 1))) return bad();
  if (server.substr(0, colon).find('/') != std::string_view::npos) return bad();
  return "dns:///" + std::string(server);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(std::string_view server,
                                                       std::chrono::milliseconds patience) {
  ASSIGN_OR_RETURN(const std::string target, ServerTarget(server));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kRetryMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kRetryMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 4 * kRetryMs);
  arguments.SetMaxReceiveMessageSize(-1);
  auto channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + patience))
    return Unreachable(server, target);
  return channel;
}

}  // namespace podwire
