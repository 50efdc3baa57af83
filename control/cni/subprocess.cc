#include "control/cni/subprocess.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/status.h"

namespace podwire::cni {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxOutput = 16u << 20;  // bytes

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { Close(); }
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read, write;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

absl::StatusOr<pid_t> Spawn(const std::string& path, const std::vector<std::string>& env, int in, int out) {
  std::vector<char*> envp;
  envp.reserve(env.size() + 1);
  for (const auto& variable : env) envp.push_back(const_cast<char*>(variable.c_str()));
  envp.push_back(nullptr);
  char* argv[] = {const_cast<char*>(path.c_str()), nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  pid_t pid = 0;
  const int error = posix_spawn(&pid, path.c_str(), &actions, &attributes, argv, envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoError(error, "run {}", path);
  return pid;
}

/// Writes what the pipe takes; closes it at the end of `input` or when nobody reads.
void Feed(Fd& fd, const std::string& input, size_t& written) {
  const ssize_t n = write(fd.get(), input.data() + written, input.size() - written);
  if (n > 0) written += static_cast<size_t>(n);
  const bool wait = n < 0 && (errno == EAGAIN || errno == EINTR);
  if (!wait && (n < 0 || written == input.size())) fd.Close();
}

/// Appends what is there; closes at end of file.
void Drain(Fd& fd, std::string& output) {
  char buffer[16384];
  const ssize_t n = read(fd.get(), buffer, sizeof(buffer));
  if (n > 0) output.append(buffer, static_cast<size_t>(n));
  if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) fd.Close();
}

/// Talks to the child until it closes its output. DeadlineExceeded, ResourceExhausted.
absl::Status Converse(Fd in, Fd out, const std::string& input, Clock::time_point deadline,
                      std::string& output) {
  fcntl(in.get(), F_SETFL, O_NONBLOCK);
  size_t written = 0;
  while (out.is_open()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return absl::DeadlineExceededError("it did not answer in time");
    pollfd fds[2] = {{out.get(), POLLIN, 0}, {in.get(), POLLOUT, 0}};  // poll skips a descriptor of -1
    if (poll(fds, 2, static_cast<int>(left)) <= 0) continue;
    if (fds[1].revents != 0) Feed(in, input, written);
    if (fds[0].revents != 0) Drain(out, output);
    if (output.size() > kMaxOutput) return absl::ResourceExhaustedError("its output is too long");
  }
  return absl::OkStatus();
}

int Wait(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

absl::StatusOr<ProgramResult> RunProgram(const std::string& path, const std::vector<std::string>& env,
                                         const std::string& input, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(const pid_t pid, Spawn(path, env, in.read.get(), out.write.get()));
  in.read.Close();
  out.write.Close();
  ProgramResult result;
  const absl::Status talk =
      Converse(std::move(in.write), std::move(out.read), input, deadline, result.output);
  if (!talk.ok()) kill(pid, SIGKILL);
  result.exit_status = Wait(pid);
  RETURN_IF_ERROR(talk);
  return result;
}

}  // namespace podwire::cni
