#include "pmd/xdp_program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include <cerrno>
#include <optional>
#include <string>

#include "net/status.h"
#include "pmd/fd.h"

namespace podwire {
namespace {

/// A program where an interface has one: in the driver, before the stack, or in the NIC.
struct Attached {
  uint32_t id = 0;
  uint32_t flags = 0;  ///< XDP_FLAGS_*_MODE
  std::string name;
};

std::string NameOf(uint32_t id) {
  const Fd fd(bpf_prog_get_fd_by_id(id));
  bpf_prog_info info = {};
  uint32_t size = sizeof info;
  if (!fd.valid() || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) return "";
  return info.name;
}

absl::StatusOr<std::optional<Attached>> Query(int ifindex) {
  bpf_xdp_query_opts found = {};
  found.sz = sizeof found;
  if (const int error = bpf_xdp_query(ifindex, 0, &found); error != 0)
    return ErrnoError(-error, "which XDP program the interface has");
  Attached a;
  if (found.hw_prog_id != 0) {
    a = {.id = found.hw_prog_id, .flags = XDP_FLAGS_HW_MODE, .name = {}};
  } else if (found.drv_prog_id != 0) {
    a = {.id = found.drv_prog_id, .flags = XDP_FLAGS_DRV_MODE, .name = {}};
  } else if (found.skb_prog_id != 0) {
    a = {.id = found.skb_prog_id, .flags = XDP_FLAGS_SKB_MODE, .name = {}};
  } else {
    return std::nullopt;
  }
  a.name = NameOf(a.id);
  return a;
}

/// Puts `program_fd` (-1: nothing) in the place of `old`, if that is still there.
int Replace(int ifindex, int program_fd, const Attached& old) {
  const Fd old_fd(bpf_prog_get_fd_by_id(old.id));
  if (!old_fd.valid()) return -errno;
  bpf_xdp_attach_opts options = {};
  options.sz = sizeof options;
  options.old_prog_fd = old_fd.get();
  return program_fd < 0 ? bpf_xdp_detach(ifindex, old.flags, &options)
                        : bpf_xdp_attach(ifindex, program_fd, old.flags | XDP_FLAGS_REPLACE, &options);
}

absl::Status RefuseOthers(const std::optional<Attached>& there, std::string_view own_name) {
  if (there && there->name != own_name) {
    return Error(
        absl::StatusCode::kFailedPrecondition,
        "an XDP program of somebody else's is on it (id {}, name \"{}\"), and there can be one only: "
        "end what put it there, or take mode af_packet",
        there->id, there->name);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckXdpProgram(int ifindex, std::string_view own_name) {
  ASSIGN_OR_RETURN(const std::optional<Attached> there, Query(ifindex));
  return RefuseOthers(there, own_name);
}

absl::StatusOr<bool> AttachXdpProgram(int ifindex, int program_fd, std::string_view own_name) {
  ASSIGN_OR_RETURN(const std::optional<Attached> there, Query(ifindex));
  RETURN_IF_ERROR(RefuseOthers(there, own_name));
  if (there && Replace(ifindex, program_fd, *there) == 0) return there->flags == XDP_FLAGS_DRV_MODE;
  int native = bpf_xdp_attach(ifindex, program_fd, XDP_FLAGS_DRV_MODE | XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr);
  if (native == 0) return true;
  const int generic =
      bpf_xdp_attach(ifindex, program_fd, XDP_FLAGS_SKB_MODE | XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr);
  if (generic == 0) return false;
  return ErrnoError(-generic, "attach the XDP program (the driver says: {})", strerrordesc_np(-native));
}

void DetachXdpProgram(int ifindex, std::string_view own_name) {
  const auto there = Query(ifindex);
  if (there.ok() && *there && (*there)->name == own_name) Replace(ifindex, -1, **there);
}

}  // namespace podwire
