#include "pmd/netlink.h"

#include <cstring>

#include <netlink/errno.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>

#include "net/status.h"

namespace podwire {
namespace {

absl::StatusCode CodeOf(int nl_error) {
  switch (nl_error) {
    case NLE_NODEV:
    case NLE_OBJ_NOTFOUND:
    case NLE_NOADDR:
      return absl::StatusCode::kNotFound;
    case NLE_EXIST:
      return absl::StatusCode::kAlreadyExists;
    case NLE_PERM:
    case NLE_NOACCESS:
      return absl::StatusCode::kPermissionDenied;
    case NLE_INVAL:
    case NLE_RANGE:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status NlStatus(int result, const std::string& what) {
  if (result >= 0) return absl::OkStatus();
  return Error(CodeOf(-result), "{}: {}", what, nl_geterror(result));
}

absl::StatusOr<NlSocket> ConnectNetlink() {
  NlSocket socket(nl_socket_alloc());
  if (socket == nullptr) return Error(absl::StatusCode::kResourceExhausted, "netlink socket: out of memory");
  RETURN_IF_ERROR(NlStatus(nl_connect(socket.get(), NETLINK_ROUTE), "connect to netlink"));
  return socket;
}

absl::StatusOr<RtnlLink> GetLink(nl_sock* socket, const std::string& ifname) {
  rtnl_link* link = nullptr;
  const int result = rtnl_link_get_kernel(socket, 0, ifname.c_str(), &link);
  RETURN_IF_ERROR(NlStatus(result, fmt::format("interface {}", ifname)));
  return RtnlLink(link);
}

MacAddr LinkMac(rtnl_link* link) { return MacOf(rtnl_link_get_addr(link)); }

MacAddr MacOf(nl_addr* address) {
  MacAddr mac;
  if (address == nullptr || nl_addr_get_len(address) != mac.bytes.size()) return mac;
  std::copy_n(static_cast<const uint8_t*>(nl_addr_get_binary_addr(address)), mac.bytes.size(),
              mac.bytes.begin());
  return mac;
}

std::string LinkAlias(rtnl_link* link) {
  const char* alias = rtnl_link_get_ifalias(link);
  return alias == nullptr ? "" : alias;
}

NlAddress MakeNlAddress(const IpAddress& address, uint8_t length) {
  NlAddress out(
      nl_addr_build(address.is_v4() ? AF_INET : AF_INET6, address.bytes().data(), address.bits() / 8));
  if (out != nullptr) nl_addr_set_prefixlen(out.get(), length);
  return out;
}

NlAddress MakeNlAddress(const MacAddr& mac) {
  return NlAddress(nl_addr_build(AF_LLC, mac.bytes.data(), mac.bytes.size()));
}

std::optional<InterfaceAddress> PrefixOf(nl_addr* a) {
  if (a == nullptr) return std::nullopt;
  const int family = nl_addr_get_family(a);
  const size_t len = nl_addr_get_len(a);
  const void* bytes = nl_addr_get_binary_addr(a);
  const auto bits = static_cast<uint8_t>(nl_addr_get_prefixlen(a));
  if (family == AF_INET && (len == sizeof(Ipv4) || len == 0)) {
    Ipv4 v4;
    std::memcpy(&v4.be, bytes, len);
    return InterfaceAddress{v4, bits};
  }
  if (family == AF_INET6 && (len == sizeof(Ipv6::bytes) || len == 0)) {
    Ipv6 v6;
    std::memcpy(v6.bytes.data(), bytes, len);
    return InterfaceAddress{v6, bits};
  }
  return std::nullopt;
}

bool SamePrefix(nl_addr* a, const IpAddress& address, uint8_t length) {
  const int family = address.is_v4() ? AF_INET : AF_INET6;
  if (a == nullptr || nl_addr_get_family(a) != family || nl_addr_get_prefixlen(a) != length) return false;
  if (length == 0) return true;
  return nl_addr_get_len(a) == address.bits() / 8u &&
         std::memcmp(nl_addr_get_binary_addr(a), address.bytes().data(), address.bits() / 8u) == 0;
}

}  // namespace podwire
