#include "tests/pmd/transfer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include "net/status.h"
#include "pmd/netns.h"

namespace podwire {
namespace {

constexpr uint16_t kPort = 5001;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t len = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress ToSocketAddress(const IpAddress& a, uint16_t port) {
  SocketAddress out;
  if (a.is_v6()) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    std::memcpy(&v6->sin6_addr, a.bytes().data(), 16);
    out.len = sizeof *v6;
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    std::memcpy(&v4->sin_addr, a.bytes().data(), 4);
    out.len = sizeof *v4;
  }
  return out;
}

Fd MakeSocket(const std::string& netns, const SocketAddress& address, int type, int seconds) {
  Fd fd;
  const absl::Status status = RunInNetns(netns, [&] {
    fd = Fd(socket(address.get()->sa_family, type | SOCK_CLOEXEC, 0));
    return absl::OkStatus();
  });
  if (!status.ok() || !fd.valid()) std::abort();
  const timeval limit = {.tv_sec = seconds, .tv_usec = 0};
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  return fd;
}

/// Not periodic in any power of two, so that misplaced bytes show.
std::vector<uint8_t> Pattern(size_t bytes) {
  std::vector<uint8_t> out(bytes);
  uint32_t x = 1;
  for (uint8_t& byte : out) byte = static_cast<uint8_t>((x = x * 1664525 + 1013904223) >> 24);
  return out;
}

absl::Status Receive(int listener, const std::vector<uint8_t>& expected) {
  const Fd fd(accept(listener, nullptr, nullptr));
  if (!fd.valid()) return ErrnoError(errno, "accept");
  const timeval limit = {.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::vector<uint8_t> got;
  std::vector<uint8_t> buffer(1 << 20);
  ssize_t n = 0;
  while ((n = recv(fd.get(), buffer.data(), buffer.size(), 0)) > 0) {
    got.insert(got.end(), buffer.begin(), buffer.begin() + n);
  }
  if (n < 0) return ErrnoError(errno, "received {} bytes, then", got.size());
  if (got != expected) return absl::DataLossError(fmt::format("{} bytes, not those sent", got.size()));
  return absl::OkStatus();
}

absl::Status Send(int fd, const SocketAddress& to, const std::vector<uint8_t>& data) {
  if (connect(fd, to.get(), to.len) < 0) return ErrnoError(errno, "connect");
  for (size_t done = 0; done < data.size();) {
    const ssize_t n = send(fd, data.data() + done, data.size() - done, MSG_NOSIGNAL);
    if (n < 0) return ErrnoError(errno, "sent {} bytes, then", done);
    done += static_cast<size_t>(n);
  }
  shutdown(fd, SHUT_WR);
  return absl::OkStatus();
}

}  // namespace

absl::Status Transfer(const std::string& from, const std::string& to, const IpAddress& address,
                      size_t bytes) {
  const SocketAddress at = ToSocketAddress(address, kPort);
  const Fd listener = MakeSocket(to, at, SOCK_STREAM, 5);
  const Fd client = MakeSocket(from, at, SOCK_STREAM, 5);
  if (bind(listener.get(), at.get(), at.len) < 0 || listen(listener.get(), 1) < 0) {
    return ErrnoError(errno, "listen");
  }
  const std::vector<uint8_t> data = Pattern(bytes);
  absl::Status received;
  std::thread server([&] { received = Receive(listener.get(), data); });
  const absl::Status sent = Send(client.get(), at, data);
  server.join();
  return sent.ok() ? received : sent;
}

Fd UdpSocket(const std::string& netns, const IpAddress& address, uint16_t port) {
  const SocketAddress at = ToSocketAddress(address, port);
  Fd fd = MakeSocket(netns, at, SOCK_DGRAM, 2);
  if (bind(fd.get(), at.get(), at.len) < 0) std::abort();
  return fd;
}

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

}  // namespace podwire
