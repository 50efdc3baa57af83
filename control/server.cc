#include "control/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/codegen/service_type.h>

#include "net/status.h"
#include "pmd/fd.h"

namespace podwire {
namespace {

constexpr int kLargestRequest = 64 << 20;  // a big cluster's objects in one Apply

/// Makes `path` free to bind: removes a socket that nobody answers at, and nothing else.
absl::Status ClearSocket(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return ErrnoError(error.value(), "listen: directory of {}", path);
  struct stat st {};
  if (lstat(path.c_str(), &st) != 0)
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, "listen: {}", path);
  if (!S_ISSOCK(st.st_mode)) {
    return Error(absl::StatusCode::kFailedPrecondition, "listen: {} exists and is no socket: remove it",
                 path);
  }
  sockaddr_un address{.sun_family = AF_UNIX};
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size() + 1, sizeof address.sun_path));
  const Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "listen: socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "listen: a daemon answers at {} already: stop it, or give this one another `listen`", path);
  }
  if (errno != ECONNREFUSED) return ErrnoError(errno, "listen: {}", path);
  if (unlink(path.c_str()) != 0) return ErrnoError(errno, "listen: remove the stale {}", path);
  return absl::OkStatus();
}

}  // namespace

Server::Server(EventFeed& events) : events_(events) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ListenAddress& listen, Daemon& d) {
  if (!listen.unix_path.empty()) RETURN_IF_ERROR(ClearSocket(listen.unix_path));
  std::unique_ptr<Server> server(new Server(d.events));
  server->services_.push_back(MakeObjectsService(d));
  server->services_.push_back(MakeEndpointsService(d));
  server->services_.push_back(MakePortsService(d));
  server->services_.push_back(MakeFlowsService(d));
  server->services_.push_back(MakeInspectService(d));
  server->services_.push_back(MakeWorkersService(d));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort(listen.grpc(), grpc::InsecureServerCredentials(), &bound);
  builder.SetMaxReceiveMessageSize(kLargestRequest);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  for (const auto& service : server->services_) builder.RegisterService(service.get());
  const mode_t before = umask(0177);
  server->server_ = builder.BuildAndStart();
  umask(before);
  if (server->server_ == nullptr || bound == 0) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "listen: cannot bind {}: is it in use, or not permitted?", listen.grpc());
  }
  server->socket_ = listen.unix_path;
  return server;
}

Server::~Server() {
  Stop(std::chrono::milliseconds(0));
  if (!socket_.empty()) unlink(socket_.c_str());
}

void Server::Stop(std::chrono::milliseconds patience) {
  if (server_ == nullptr) return;
  events_.Close();
  server_->Shutdown(std::chrono::system_clock::now() + patience);
  server_->Wait();
  server_ = nullptr;
}

}  // namespace podwire
