#pragma once

#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include "control/build_tables.h"
#include "control/config.h"
#include "control/desired_state.h"
#include "control/ipam.h"
#include "control/objects.h"
#include "control/store.h"
#include "control/strand.h"
#include "pmd/port.h"
#include "switch/tables.h"

namespace podwire {

/// A port of the switch with what control knows of it.
struct PortEntry {
  PortConfig config;
  std::unique_ptr<Port> port;  ///< nullptr: free slot
  PortRole role = PortRole::kNone;
  ObjectKey pod;              ///< kPod: whose
  bool made_for_pod = false;  ///< it comes and goes with its pod
  bool leaving = false;       ///< no longer in the tables to come
  bool suspended = false;     ///< its device is no more: not in the tables until it is back; `port` says why
};

/// Everything control knows. Edited on the strand under the exclusive lock, read under the shared one.
struct ControlState {
  DesiredState desired;
  std::vector<PortEntry> ports;  ///< by PortId
  std::vector<bool> slots;       ///< by EndpointId: taken
  Ipam ipam;                     ///< strand only
  std::vector<std::string> warnings;
  std::vector<UnderlayRoute> kernel_routes;  ///< by the underlay's interface, where the kernel keeps that

  const PortEntry* FindPort(const std::string& name) const;
  /// A port for a pod: NotFound; FailedPrecondition when it is somebody's.
  absl::StatusOr<PortId> FindFreePort(const std::string& name) const;
  /// The trunk of that name, or, with an empty one, the only one of kind tap; the entry is good until the
  /// next change. NotFound, FailedPrecondition: not a trunk, or several.
  absl::StatusOr<const PortEntry*> FindTrunk(const std::string& name) const;
  PortId FreePortId() const;
  /// ResourceExhausted when the node has as many endpoints as it can.
  absl::StatusOr<EndpointId> FreeSlot() const;
};

/// What the controller asks of the switch; tests put their own in.
struct Engine {
  std::function<std::shared_ptr<const Tables>(std::unique_ptr<Tables>)> publish;
  std::function<std::shared_ptr<const Tables>()> tables;
  std::function<void(EndpointId)> forget_endpoint;
  std::function<void()> announce_underlay;
};

enum class ObjectOutcome : uint8_t { kUnchanged, kCreated, kReplaced, kDeleted };
struct ObjectResult {
  ObjectId id;
  ObjectOutcome outcome = ObjectOutcome::kUnchanged;
  std::vector<std::string> warnings;
};

/// Keeps the switch in step with the desired state. Changes go through a strand, so that each sees the one
/// before and storms share compilations; an answer comes when every worker has the change. Any thread.
class Controller {
 public:
  Controller(const Config& config, DesiredState desired, Engine engine, Store& store);
  ~Controller();

  /// Takes up stored objects and IPAM's cursor. Once, before anything else.
  absl::Status Load();

  /// Applies everything or nothing. InvalidArgument: `parsed.problems` (also of the parser) says why, line by
  /// line in the message too. `dry_run` only validates.
  absl::StatusOr<std::vector<ObjectResult>> Apply(ParsedObjects& parsed, bool dry_run);
  /// Objects that do not exist are reported as unchanged; a namespace takes its pods and policies along.
  absl::StatusOr<std::vector<ObjectResult>> Delete(const std::vector<ObjectId>& ids);

  /// The kernel's routes by the underlay's interface have become these.
  absl::Status SetKernelRoutes(std::vector<UnderlayRoute> routes);

  /// Puts a port that is up into the switch. AlreadyExists: the name is taken.
  absl::StatusOr<PortId> AddPort(const PortConfig& config, std::unique_ptr<Port> port, PortRole role);
  /// Takes a port out and closes it. NotFound; FailedPrecondition for the underlay's and pods' ports.
  absl::Status RemovePort(const std::string& name);
  /// Takes a port whose device is no more out of the tables, with the routes that lead there; it keeps its
  /// name, role and pod. Returns what is to be closed, which may take long. NotFound.
  absl::StatusOr<std::unique_ptr<Port>> SuspendPort(const std::string& name, const std::string& why);
  /// Says more exactly why a suspended port is not back.
  void ExplainSuspended(const std::string& name, const std::string& why);
  /// Puts a suspended one back with its new device. NotFound: it has been removed meanwhile.
  absl::Status ResumePort(const std::string& name, std::unique_ptr<Port> port);
  /// Takes every port out, to end. Pods' taps stay in their namespaces.
  void ReleasePorts();

  /// This node's pod subnets, one for each family of the network; plans and records those that it has not.
  /// FailedPrecondition says what is missing. Strand only (in Change::prepare); the plan goes into force with
  /// `planned` in Change::commit.
  absl::StatusOr<PodSubnets> PlanOwnSubnets(DesiredState::PlannedSubnets& planned);

  absl::Status Run(Change change) { return strand_->Run(std::move(change)); }
  /// Strand only: for Change's functions.
  ControlState& state() { return state_; }
  /// Runs fn under the exclusive lock; strand only.
  void Edit(const std::function<void()>& fn);
  /// Runs fn(const ControlState&) under the shared lock and returns its result.
  template <class Fn>
  auto Read(Fn&& fn) const {
    const std::shared_lock lock(mutex_);
    return fn(state_);
  }
  std::shared_ptr<const Tables> tables() const { return engine_.tables(); }
  const Config& config() const { return config_; }
  Store& store() { return store_; }
  Engine& engine() { return engine_; }
  uint64_t publications() const { return strand_->publications(); }

 private:
  void Publish();
  absl::Status Prepare(ParsedObjects& parsed, DesiredState::PlannedSubnets& planned, bool dry_run);

  const Config config_;
  Engine engine_;
  Store& store_;
  mutable std::shared_mutex mutex_;
  ControlState state_;
  std::shared_ptr<const CompiledPolicy> policy_;  // strand only
  uint64_t compiled_revision_ = 0;                // strand only
  std::unique_ptr<Strand> strand_;
};

}  // namespace podwire
