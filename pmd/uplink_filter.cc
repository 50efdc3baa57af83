#include "pmd/uplink_filter.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <xdp/libxdp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "net/status.h"
#include "pmd/bpf/uplink_object.h"
#include "pmd/bpf/uplink_rules.h"
#include "pmd/xdp_program.h"

namespace podwire {
namespace {

constexpr const char* kXdpProgram = "podwire_uplink";
constexpr const char* kSocketProgram = "podwire_socket";
constexpr const char* kIngressProgram = "podwire_ingress";
// Our filter's name among those at the ingress: "pw".
constexpr uint32_t kFilterHandle = 0x7077, kFilterPriority = 0x7077;

/// An abstract socket address is one process's at a time, in one network namespace, and ends with it.
absl::StatusOr<Fd> Claim(const NetdevInfo& netdev) {
  Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoError(errno, "socket");
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string name = fmt::format("podwire-uplink-{}", netdev.ifindex);
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto len = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), len) == 0) return fd;
  if (errno != EADDRINUSE) return ErrnoError(errno, "claim the interface");
  return Error(absl::StatusCode::kFailedPrecondition, "another port of podwire shares it already");
}

bpf_tc_hook IngressOf(int ifindex) {
  bpf_tc_hook hook = {};
  hook.sz = sizeof hook;
  hook.ifindex = ifindex;
  hook.attach_point = BPF_TC_INGRESS;
  return hook;
}

bpf_tc_opts OurFilter() {
  bpf_tc_opts options = {};
  options.sz = sizeof options;
  options.handle = kFilterHandle;
  options.priority = kFilterPriority;
  return options;
}

void Silence() {
  libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
  libxdp_set_print([](libxdp_print_level, const char*, va_list) { return 0; });
}

}  // namespace

void UplinkFilter::CloseObject::operator()(bpf_object* object) const noexcept { bpf_object__close(object); }

absl::StatusOr<std::unique_ptr<UplinkFilter>> UplinkFilter::Load(const NetdevInfo& netdev, Way way) {
  Silence();
  ASSIGN_OR_RETURN(Fd claim, Claim(netdev));
  if (way == Way::kXdp) RETURN_IF_ERROR(CheckXdpProgram(netdev.ifindex, kXdpProgram));
  ASSIGN_OR_RETURN(NetnsFd netns, OpenNetns(""));
  std::unique_ptr<UplinkFilter> filter(new UplinkFilter(netdev, way, std::move(netns), std::move(claim)));
  RETURN_IF_ERROR(filter->LoadObject());
  RETURN_IF_ERROR(filter->WriteRules({}));
  return filter;
}

absl::Status UplinkFilter::LoadObject() {
  const std::span<const unsigned char> bytes = UplinkObject();
  bpf_object_open_opts options = {};
  options.sz = sizeof options;
  options.object_name = "podwire";
  object_.reset(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
  if (object_ == nullptr) return ErrnoError(errno, "open the filter's program");
  const bool xdp = way_ == Way::kXdp;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object_.get()) {
    const bool is_xdp = std::strcmp(bpf_program__name(program), kXdpProgram) == 0;
    bpf_program__set_autoload(program, is_xdp == xdp);
  }
  if (!xdp) bpf_map__set_autocreate(bpf_object__find_map_by_name(object_.get(), "sockets"), false);
  if (const int error = bpf_object__load(object_.get()); error != 0) {
    return ErrnoError(-error, "load the filter's eBPF program (needs CAP_BPF and CAP_NET_ADMIN, Linux 5.9{})",
                      xdp ? " with CONFIG_XDP_SOCKETS" : "");
  }
  return absl::OkStatus();
}

UplinkFilter::~UplinkFilter() {
  if (object_ != nullptr) Detach();
}

void UplinkFilter::RemoveLeftovers(const NetdevInfo& netdev) {
  Silence();
  const auto claim = Claim(netdev);
  if (!claim.ok()) return;
  RemoveFrom(netdev.ifindex, Way::kXdp);
  RemoveFrom(netdev.ifindex, Way::kPacket);
}

/// In the calling thread's network namespace.
void UplinkFilter::RemoveFrom(int ifindex, Way way) {
  if (way == Way::kXdp) return DetachXdpProgram(ifindex, kXdpProgram);
  const bpf_tc_hook hook = IngressOf(ifindex);
  const bpf_tc_opts ours = OurFilter();
  bpf_tc_detach(&hook, &ours);
}

void UplinkFilter::Remove(Way way) const {
  RunInNetns(netns_, [&] {
    RemoveFrom(netdev_.ifindex, way);
    return absl::OkStatus();
  }).IgnoreError();
}

int UplinkFilter::MapFd(const char* name) const {
  return bpf_object__find_map_fd_by_name(object_.get(), name);
}

int UplinkFilter::ProgramFd(const char* function) const {
  const bpf_program* program = bpf_object__find_program_by_name(object_.get(), function);
  return program == nullptr ? -1 : bpf_program__fd(program);
}

int UplinkFilter::sockets_map() const { return MapFd("sockets"); }

absl::Status UplinkFilter::WriteRules(const UdpTunnel& tunnel) {
  UplinkRules rules = {.tunnel_port_be = tunnel.port_be, .vtep4_be = tunnel.address.be};
  std::memcpy(rules.mac, netdev_.mac.bytes.data(), sizeof rules.mac);
  std::memcpy(rules.vtep6, tunnel.address6.bytes.data(), sizeof rules.vtep6);
  const uint32_t only = 0;
  if (bpf_map_update_elem(MapFd("rules"), &only, &rules, BPF_ANY) == 0) return absl::OkStatus();
  return ErrnoError(errno, "write the filter's rules");
}

void UplinkFilter::SetTunnel(const UdpTunnel& tunnel) { WriteRules(tunnel).IgnoreError(); }

void UplinkFilter::SetPrefix(const IpPrefix& prefix, bool present) {
  UplinkPrefix6 key = {};  // the other one is its beginning
  const IpAddress& address = prefix.address;
  key.length = prefix.length;
  std::memcpy(key.address, address.bytes().data(), address.bits() / 8u);
  const int map = MapFd(address.is_v4() ? "pods4" : "pods6");
  const uint8_t value = 1;
  if (present) {
    bpf_map_update_elem(map, &key, &value, BPF_ANY);
  } else {
    bpf_map_delete_elem(map, &key);
  }
}

void UplinkFilter::SetPodSubnets(std::span<const IpPrefix> subnets) {
  static_assert(offsetof(UplinkPrefix4, address) == offsetof(UplinkPrefix6, address));
  for (const IpPrefix& old : subnets_) {
    if (std::ranges::find(subnets, old) == subnets.end()) SetPrefix(old, false);
  }
  for (const IpPrefix& subnet : subnets) SetPrefix(subnet, true);
  subnets_.assign(subnets.begin(), subnets.end());
}

absl::StatusOr<bool> UplinkFilter::AttachXdp() {
  ASSIGN_OR_RETURN(const bool native, AttachXdpProgram(netdev_.ifindex, ProgramFd(kXdpProgram), kXdpProgram));
  RemoveFrom(netdev_.ifindex, Way::kPacket);
  return native;
}

absl::Status UplinkFilter::FilterSocket(int socket) {
  const int program = ProgramFd(kSocketProgram);
  if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program) == 0) return absl::OkStatus();
  return ErrnoError(errno, "SO_ATTACH_BPF");
}

absl::Status UplinkFilter::DropAtIngress() {
  bpf_tc_hook hook = IngressOf(netdev_.ifindex);
  constexpr const char* kNeeds =
      "CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF: modprobe -a sch_ingress cls_bpf";
  if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
    return ErrnoError(-error, "tc qdisc add dev {} clsact ({})", netdev_.name, kNeeds);
  bpf_tc_opts ours = OurFilter();
  ours.prog_fd = ProgramFd(kIngressProgram);
  ours.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &ours); error != 0)
    return ErrnoError(-error, "tc filter add dev {} ingress ({})", netdev_.name, kNeeds);
  RemoveFrom(netdev_.ifindex, Way::kXdp);
  return absl::OkStatus();
}

}  // namespace podwire
