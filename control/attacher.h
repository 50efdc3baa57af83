#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "control/attach_spec.h"
#include "control/attachment.h"
#include "control/controller.h"
#include "control/vf_pool.h"
#include "pmd/macvlan.h"
#include "pmd/pod_interface.h"
#include "pmd/port.h"

namespace podwire {

/// How the attacher reaches the machine; tests put their own in.
struct PodWiring {
  std::function<absl::StatusOr<std::unique_ptr<Port>>(const PortConfig&)> create_port;
  std::function<absl::Status(const MacvlanOptions&)> make_macvlan = MakeMacvlan;
  std::function<absl::Status(const PodInterface&)> set_up = SetUpPodInterface;
  std::function<absl::Status(const PodInterface&)> check = CheckPodInterface;
  std::function<absl::Status(const std::string& netns, const std::string& ifname, const std::string& port)>
      remove = RemoveInterface;
  const VfPool* vfs = nullptr;  ///< nullptr: no SR-IOV
};

/// Attaches and detaches pods. Calls for different pods run side by side; calls for one attachment one after
/// the other. Any thread.
class Attacher {
 public:
  Attacher(Controller& controller, PodWiring wiring) : controller_(controller), wiring_(std::move(wiring)) {}

  /// Gives the pod an address and an interface, which comes up when its policy is in force on every worker. A
  /// failure leaves nothing behind. AlreadyExists, NotFound (its port), ResourceExhausted,
  /// FailedPrecondition, InvalidArgument.
  absl::StatusOr<LiveAttachment> Attach(const AttachSpec& spec);
  /// False: there was none. An attachment whose removal failed stays, to be detached again.
  absl::StatusOr<bool> Detach(const AttachmentKey& key);
  /// OK when namespace, interface and switch are as Attach left them. `netns` and `addresses` empty: not
  /// compared.
  absl::Status Check(const AttachmentKey& key, const std::string& netns,
                     const std::vector<InterfaceAddress>& addresses);
  /// Detaches every attachment of `network` that is not in `valid`; returns which.
  absl::StatusOr<std::vector<AttachmentKey>> Collect(const std::string& network,
                                                     const std::set<AttachmentKey>& valid);
  /// OK when Attach can succeed; Unavailable says what is missing.
  absl::Status Ready() const;

  /// Takes up what the store recorded: live pods get their ports back, half-made ones are rolled back, those
  /// whose namespace is gone keep their address until they are detached. Once, at start.
  absl::Status Recover();

  /// Opens a port; DPDK's devices come one at a time.
  absl::StatusOr<std::unique_ptr<Port>> CreatePort(PortConfig config);

  /// Takes those pods out of the switch whose interface is no more, with its namespace or without; they stay
  /// recorded, "gone: ...", until they are detached.
  void BuryDead();
  /// Takes a trunk's pods out of the switch, then calls `close`; none is attached to the trunk meanwhile.
  void CloseTrunk(const std::string& trunk, const std::string& why, const std::function<void()>& close);
  /// It is back: they get their interfaces again, unless their namespaces are gone.
  void RegainTrunk(const std::string& trunk);

 private:
  /// Holds an attachment against other calls for it.
  class KeyLock {
   public:
    KeyLock(Attacher& owner, AttachmentKey key);
    ~KeyLock();
    KeyLock(const KeyLock&) = delete;
    KeyLock& operator=(const KeyLock&) = delete;

   private:
    Attacher& owner_;
    const AttachmentKey key_;
  };
  absl::Status Reserve(const AttachSpec& spec, LiveAttachment& a);
  absl::Status FillAddresses(const AttachSpec& spec, const PodSubnets& subnets, Attachment& a);
  absl::Status TakeDelegated(const InterfaceAddress& address, const PodSubnets& subnets, Attachment& a);
  absl::Status BringUp(LiveAttachment& a);
  absl::Status Join(LiveAttachment& a, std::unique_ptr<Port> port, bool publish = true);
  absl::Status JoinExisting(LiveAttachment& a, bool publish = true);
  std::vector<std::unique_ptr<Port>> Leave(std::span<const AttachmentKey> keys, const std::string& trouble);
  std::unique_ptr<Port> Leave(const AttachmentKey& key, const std::string& trouble);
  absl::Status Forget(const AttachmentKey& key);
  absl::Status CheckSocketIsFree(const Attachment& a) const;
  absl::Status DescribeVhostUser(const Attachment& a);
  bool SharesDirectory(const Attachment& a) const;
  absl::Status RemoveDevice(const Attachment& a, std::unique_ptr<Port> port);
  absl::Status RollBack(const LiveAttachment& a);
  absl::Status TakeUp(const std::vector<Attachment>& records, std::vector<LiveAttachment>& live);
  void Reopen(LiveAttachment& a);
  absl::Status Undo(const LiveAttachment& a);
  absl::Status SetUpInterface(const Attachment& a);
  void FitTrunk(Attachment& a) const;
  absl::Status TakeVf(const AttachSpec& spec, Attachment& a) const;
  std::vector<VfAttachment> TakenVfs() const;
  absl::Status SetTrunkVlan(const Attachment& a, bool on);
  absl::Status GiveVf(const Attachment& a);
  absl::Status SetUpVf(const Attachment& a);
  absl::Status RemoveVf(const Attachment& a);
  absl::Status TakeTrunk(const AttachSpec& spec, Attachment& a) const;
  void Mourn(const LiveAttachment& a, const absl::Status& why);
  void Bury(const std::vector<AttachmentKey>& keys,
            const std::function<std::string(const LiveAttachment&, const ControlState&)>& why);
  bool Revive(const AttachmentKey& key, LiveAttachment& a);

  Controller& controller_;
  const PodWiring wiring_;
  std::mutex mutex_;
  std::condition_variable released_;
  std::set<AttachmentKey> busy_;  // under mutex_
  std::shared_mutex trunks_;      // shared: a trunk is in use that no attachment shows yet
  std::mutex dpdk_mutex_;         // DPDK devices, and vhost-user's files, come and go one at a time
};

/// Cuts `mtu` to the port's; InvalidArgument if one was `asked` for (not 0) that is larger.
absl::Status FitMtu(const Port& port, uint16_t asked, uint16_t& mtu);
/// What the pod's namespace is to look like.
PodInterface InterfaceOf(const Attachment& a);
/// The port that is made for it, if its kind makes one.
PortConfig PortOf(const Attachment& a);

}  // namespace podwire
