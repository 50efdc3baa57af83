#include "control/vhost_user_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "net/status.h"
#include "pmd/fd.h"

namespace podwire {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

fs::path DescriptionOf(const Attachment& a) { return fs::path(a.socket).replace_extension(".json"); }
fs::path DraftOf(const Attachment& a) { return fs::path(a.socket).replace_extension(".json.new"); }

/// Names are relative, for the pod sees the directory where it has mounted it.
std::string Describe(const Attachment& a) {
  ordered_json addresses = ordered_json::array(), gateways = ordered_json::array();
  for (const InterfaceAddress& address : a.addresses) addresses.push_back(ToString(address));
  for (const IpAddress& gateway : a.gateways) gateways.push_back(ToString(gateway));
  const ordered_json description = {{"interface", a.key.ifname},
                                    {"socket", fs::path(a.socket).filename().string()},
                                    {"mode", a.vhost.client ? "server" : "client"},  // the pod's side
                                    {"queues", a.vhost.queues},
                                    {"mac", ToString(a.mac)},
                                    {"mtu", a.mtu},
                                    {"addresses", addresses},
                                    {"gateways", gateways},
                                    {"gatewayMac", ToString(a.gateway_mac)}};
  return description.dump(2) + "\n";
}

/// Whatever it is, also a directory; a link itself and not what it leads to.
absl::Status Remove(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (!error || error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory)
    return absl::OkStatus();
  return ErrnoError(error.value(), "remove {}", path.string());
}

absl::Status WriteNew(const fs::path& path, const std::string& text) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (fd.get() < 0) return ErrnoError(errno, "create {}", path.string());
  if (write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return absl::OkStatus();
  return ErrnoError(errno == 0 ? EIO : errno, "write {}", path.string());
}

}  // namespace

std::string VhostUserSocket(const std::string& state_dir, const Attachment& a) {
  constexpr size_t kLongestId = 36;  // a UID's length, for a socket's path is short
  const std::string& id = a.pod_uid.empty() ? a.key.container_id : a.pod_uid;
  return fmt::format("{}/vhost/{}/{}.sock", state_dir, id.substr(0, kLongestId), a.key.ifname);
}

absl::Status WriteVhostUserFiles(const Attachment& a) {
  const fs::path directory = fs::path(a.socket).parent_path();
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return ErrnoError(error.value(), "directory of vhost-user sockets {}", directory.string());
  if (chmod(directory.c_str(), 0700) != 0) return ErrnoError(errno, "chmod {}", directory.string());
  RETURN_IF_ERROR(Remove(DraftOf(a)));
  RETURN_IF_ERROR(WriteNew(DraftOf(a), Describe(a)));
  // A pod that reads it sees the old one or the new one.
  if (rename(DraftOf(a).c_str(), DescriptionOf(a).c_str()) != 0)
    return ErrnoError(errno, "write {}", DescriptionOf(a).string());
  return absl::OkStatus();
}

absl::Status RemoveVhostUserFiles(const Attachment& a, bool whole_directory) {
  if (whole_directory) return Remove(fs::path(a.socket).parent_path());
  for (const fs::path& path : {fs::path(a.socket), DescriptionOf(a), DraftOf(a)})
    RETURN_IF_ERROR(Remove(path));
  return absl::OkStatus();
}

}  // namespace podwire
