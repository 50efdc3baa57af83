#include "pmd/vf_settings.h"

#include <linux/if_link.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/route/link/sriov.h>

#include <algorithm>

#include "net/status.h"
#include "pmd/netlink.h"

namespace podwire {
namespace {

using RtnlVf = std::unique_ptr<rtnl_link_vf, NlFree<rtnl_link_vf_put>>;
using NlVlans = std::unique_ptr<nl_vf_vlans_t, NlFree<rtnl_link_vf_vlan_put>>;

uint16_t VlanOf(rtnl_link_vf* vf) {
  nl_vf_vlans_t* list = nullptr;
  if (rtnl_link_vf_get_vlans(vf, &list) != 0 || list == nullptr) return 0;
  const NlVlans held(list);
  return list->size == 0 ? uint16_t{0} : static_cast<uint16_t>(list->vlans[0].vf_vlan);
}

MacAddr MacOf(rtnl_link_vf* vf) {
  MacAddr mac;
  nl_addr* address = nullptr;
  // The reference stays the VF's.
  if (rtnl_link_vf_get_addr(vf, &address) != 0 || nl_addr_get_len(address) < mac.bytes.size()) return mac;
  std::copy_n(static_cast<const uint8_t*>(nl_addr_get_binary_addr(address)), mac.bytes.size(),
              mac.bytes.begin());
  return mac;
}

absl::StatusOr<VfSettings> SettingsOf(rtnl_link* link, const std::string& pf, unsigned number) {
  const RtnlVf vf(rtnl_link_vf_get(link, number));
  if (vf == nullptr)
    return Error(absl::StatusCode::kNotFound, "interface {} has no virtual function {}", pf, number);
  VfSettings s{.mac = MacOf(vf.get()), .vlan = VlanOf(vf.get())};
  uint32_t value = 0;
  if (rtnl_link_vf_get_spoofchk(vf.get(), &value) == 0) s.spoof_check = value == 1;
  if (rtnl_link_vf_get_trust(vf.get(), &value) == 0) s.trust = value == 1;
  nl_vf_rate rate{};
  if (rtnl_link_vf_get_rate(vf.get(), &rate) == 0) s.max_tx_mbps = rate.max_tx_rate;
  return s;
}

/// Sends one setting of one VF: all or nothing, so that an error is that setting's.
class Setter {
 public:
  Setter(nl_sock* socket, rtnl_link* link, std::string name)
      : socket_(socket), ifindex_(rtnl_link_get_ifindex(link)), name_(std::move(name)) {}

  template <class T>
  absl::Status Set(int attribute, const T& value, const std::string& what) {
    const NlMessage message(nlmsg_alloc_simple(RTM_SETLINK, 0));
    const ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = ifindex_};
    const bool room = message != nullptr && nlmsg_append(message.get(), const_cast<ifinfomsg*>(&info),
                                                         sizeof info, NLMSG_ALIGNTO) == 0;
    nlattr* list = room ? nla_nest_start(message.get(), IFLA_VFINFO_LIST) : nullptr;
    nlattr* item = list != nullptr ? nla_nest_start(message.get(), IFLA_VF_INFO) : nullptr;
    if (item == nullptr || nla_put(message.get(), attribute, sizeof value, &value) != 0)
      return Error(absl::StatusCode::kResourceExhausted, "netlink message: out of memory");
    nla_nest_end(message.get(), item);
    nla_nest_end(message.get(), list);
    const int sent = nl_send_auto(socket_, message.get());
    const int result = sent < 0 ? sent : nl_wait_for_ack(socket_);
    if (result == -NLE_OPNOTSUPP)
      return Error(absl::StatusCode::kFailedPrecondition, "{}: {}: the NIC's driver cannot", name_, what);
    return NlStatus(result, fmt::format("{}: {}", name_, what));
  }

 private:
  nl_sock* socket_;
  int ifindex_;
  std::string name_;
};

std::string_view OnOff(bool on) { return on ? "on" : "off"; }

}  // namespace

absl::StatusOr<VfSettings> ReadVf(const std::string& pf, unsigned vf) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket.get(), pf));
  return SettingsOf(link.get(), pf, vf);
}

absl::Status SetVf(const std::string& pf, unsigned vf, const VfSettings& wanted) {
  ASSIGN_OR_RETURN(const NlSocket socket, ConnectNetlink());
  ASSIGN_OR_RETURN(const RtnlLink link, GetLink(socket.get(), pf));
  ASSIGN_OR_RETURN(const VfSettings has, SettingsOf(link.get(), pf, vf));
  Setter set(socket.get(), link.get(), fmt::format("virtual function {} of {}", vf, pf));
  if (wanted.spoof_check != has.spoof_check) {
    RETURN_IF_ERROR(set.Set(IFLA_VF_SPOOFCHK, ifla_vf_spoofchk{.vf = vf, .setting = wanted.spoof_check},
                            fmt::format("set spoofchk {}", OnOff(wanted.spoof_check))));
  }
  if (wanted.trust != has.trust) {
    RETURN_IF_ERROR(set.Set(IFLA_VF_TRUST, ifla_vf_trust{.vf = vf, .setting = wanted.trust},
                            fmt::format("set trust {}", OnOff(wanted.trust))));
  }
  if (wanted.max_tx_mbps != has.max_tx_mbps) {
    RETURN_IF_ERROR(set.Set(IFLA_VF_RATE,
                            ifla_vf_rate{.vf = vf, .min_tx_rate = 0, .max_tx_rate = wanted.max_tx_mbps},
                            fmt::format("set max_tx_rate {}", wanted.max_tx_mbps)));
  }
  if (wanted.vlan != has.vlan) {
    RETURN_IF_ERROR(set.Set(IFLA_VF_VLAN, ifla_vf_vlan{.vf = vf, .vlan = wanted.vlan, .qos = 0},
                            fmt::format("set vlan {}", wanted.vlan)));
  }
  if (wanted.mac != has.mac) {
    ifla_vf_mac mac{.vf = vf, .mac = {}};
    std::ranges::copy(wanted.mac.bytes, mac.mac);
    RETURN_IF_ERROR(set.Set(IFLA_VF_MAC, mac, fmt::format("set mac {}", ToString(wanted.mac))));
  }
  // Some drivers answer and do nothing; of a VF that is nobody's, some keep the last MAC.
  ASSIGN_OR_RETURN(const RtnlLink after, GetLink(socket.get(), pf));
  ASSIGN_OR_RETURN(const VfSettings is, SettingsOf(after.get(), pf, vf));
  const bool mac_is_set = wanted.mac.empty() || is.mac == wanted.mac;
  if (is.vlan != wanted.vlan || !mac_is_set || is.spoof_check != wanted.spoof_check) {
    return Error(
        absl::StatusCode::kFailedPrecondition,
        "virtual function {} of {}: the NIC's driver took mac {} vlan {} spoofchk {} and says mac {} vlan {} "
        "spoofchk {}",
        vf, pf, ToString(wanted.mac), wanted.vlan, OnOff(wanted.spoof_check), ToString(is.mac), is.vlan,
        OnOff(is.spoof_check));
  }
  return absl::OkStatus();
}

}  // namespace podwire
