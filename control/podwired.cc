// podwired: the switch's daemon. Configuration, EAL, ports, workers, recovered pods, API; then the other way
// round.

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include "control/attacher.h"
#include "control/controller.h"
#include "control/host_interface.h"
#include "control/kernel_table.h"
#include "control/kernel_underlay.h"
#include "control/port_keeper.h"
#include "control/server.h"
#include "control/services.h"
#include "control/state_dir.h"
#include "control/store.h"
#include "control/vf_pool.h"
#include "net/status.h"
#include "pmd/eal.h"
#include "pmd/guest_memory.h"
#include "pmd/mempool.h"
#include "switch/switch.h"

namespace podwire {
namespace {

constexpr std::chrono::milliseconds kDrainTime(700);
constexpr std::chrono::milliseconds kEndTime(1800);

void SetUpLog(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("podwired");
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%e level=%l %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

/// The same after each restart, so that what a killed one left is taken up, and another one's with another
/// state directory.
std::string FilePrefix(const Config& c) {
  std::string prefix = "podwire-";
  for (const uint8_t byte : DeriveMac(c.node + " " + c.state_dir).bytes)
    prefix += fmt::format("{:02x}", byte);
  return prefix;
}

EalOptions EalOptionsOf(const Config& c) {
  EalOptions o{
      .file_prefix = FilePrefix(c), .main_cpus = std::to_string(c.control_lcore), .memory_mb = c.memory_mb};
  if (c.hugepages == "on") o.hugepages = HugepageUse::kOn;
  if (c.hugepages == "off") o.hugepages = HugepageUse::kOff;
  o.log = [](uint32_t level, std::string_view line) {
    spdlog::log(level <= 4 ? spdlog::level::err : spdlog::level::warn, "from=dpdk msg=\"{}\"", line);
  };
  return o;
}

/// So many transmit queues a port gets where it can: by default a worker may come for each CPU.
uint16_t MaxWorkers(const Config& c, unsigned cpus) {
  constexpr unsigned kDefaultLimit = 16;
  if (c.max_workers != 0) return c.max_workers;
  return static_cast<uint16_t>(std::max<size_t>(c.workers.size(), std::min(cpus, kDefaultLimit)));
}

SwitchOptions SwitchOptionsOf(const Config& c, unsigned cpus, MbufPools* pools) {
  SwitchOptions o{.max_workers = MaxWorkers(c, cpus),
                  .max_connections = c.connections,
                  .max_embryonic = c.embryonic_connections,
                  .timeouts = c.timeouts,
                  .pools = pools};
  if (c.underlay) o.neighbors = c.underlay->neighbors;
  for (const WorkerConfig& w : c.workers) o.workers.push_back({.cpu = w.cpu, .mode = w.mode});
  return o;
}

/// nullptr: switched off.
std::unique_ptr<OffloadManager> MakeOffload(const OffloadConfig& c, Switch& sw) {
  if (!c.enabled()) return nullptr;
  const OffloadOptions options{.forward = c.mode == "auto",
                               .max_rules = c.rules,
                               .install_pps = c.install_pps,
                               .keep_pps = c.keep_pps,
                               .hold_ms = c.hold_seconds * 1000,
                               .refused = [](const std::string& port, const std::string& why) {
                                 spdlog::warn("msg=\"offload: refused\" port={} error=\"{}\"", port, why);
                               }};
  return std::make_unique<OffloadManager>(
      sw.Access(), [&sw] { return sw.tables(); }, options);
}

/// Ends EAL after everything that uses it.
struct EalGuard {
  EalGuard() = default;
  EalGuard(const EalGuard&) = delete;
  EalGuard& operator=(const EalGuard&) = delete;
  ~EalGuard() { ShutdownEal(); }
};

/// Takes the ports out of the switch before anything else goes.
struct PortsGuard {
  Controller& controller;
  ~PortsGuard() { controller.ReleasePorts(); }
};

PortRole RoleOf(const Config& config, const PortConfig& port) {
  if (config.underlay && config.underlay->port == port.name) return PortRole::kUnderlay;
  return IsTrunk(port) ? PortRole::kTrunk : PortRole::kNone;
}

absl::Status OpenPorts(const Config& config, const PortContext& context, Controller& controller) {
  for (const PortConfig& p : config.ports) {
    auto port = CreatePort(p, context);
    if (!port.ok()) return port.status();
    const std::string how = (*port)->how();
    const auto id = controller.AddPort(p, *std::move(port), RoleOf(config, p));
    if (!id.ok()) return id.status();
    spdlog::info("msg=\"port up\" port={} kind={}{}", p.name, ToString(p.kind()),
                 how.empty() ? "" : fmt::format(" how=\"{}\"", how));
  }
  return absl::OkStatus();
}

/// An underlay on an interface that the kernel keeps has the kernel's address.
absl::Status TakeKernelAddresses(Config& config) {
  if (!config.underlay || !config.underlay->shared) return absl::OkStatus();
  const std::string interface = SharedInterface(config);
  ASSIGN_OR_RETURN(const auto addresses, ReadKernelAddresses(interface));
  RETURN_IF_ERROR(ResolveUnderlayAddresses(*config.underlay, interface, addresses));
  for (const InterfaceAddress& a : {config.underlay->address, config.underlay->address6}) {
    if (!a.address.empty())
      spdlog::info("msg=\"underlay address\" address={} interface={}", ToString(a), interface);
  }
  return absl::OkStatus();
}

/// And its neighbours and routes. Null for other underlays.
absl::StatusOr<std::unique_ptr<KernelUnderlay>> FollowKernel(const Config& config, Controller& controller,
                                                             Switch& sw) {
  if (!config.underlay || !config.underlay->shared) return nullptr;
  return KernelUnderlay::Start(
      SharedInterface(config),
      {.request_fd = sw.neighbor_request_fd(),
       .take_requests = [&sw](const auto& fn) { sw.TakeNeighborRequests(fn); },
       .set_neighbor = [&sw](const IpAddress& address, const MacAddr& mac) { sw.SetNeighbor(address, mac); },
       .neighbors =
           [&sw] {
             std::vector<IpAddress> addresses;
             for (const NeighborRecord& n : sw.ReadNeighbors()) addresses.push_back(n.address);
             return addresses;
           },
       .set_routes =
           [&controller](std::vector<UnderlayRoute> routes) {
             const absl::Status status = controller.SetKernelRoutes(std::move(routes));
             if (!status.ok()) spdlog::warn("msg=\"the kernel's routes\" error=\"{}\"", Message(status));
           }});
}

int WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

/// What answers a storm of requests may not be done in time: then this ends like a kill -9, after which the
/// next start tidies up.
void EndInTime() {
  std::thread([] {
    std::this_thread::sleep_for(kEndTime);
    spdlog::warn("msg=\"requests are still being worked on: ending without them\"");
    _exit(0);
  }).detach();
}

absl::Status Serve(const Config& config, const sigset_t& signals, Daemon& daemon) {
  ASSIGN_OR_RETURN(const auto server, Server::Start(config.listen, daemon));
  spdlog::info("msg=\"serving\" node={} version={} listen={}", config.node, PODWIRE_VERSION,
               config.listen.grpc());
  const int signal = WaitForSignal(signals);
  spdlog::info("msg=\"stopping\" signal={}", signal);
  EndInTime();
  server->Stop(kDrainTime);
  return absl::OkStatus();
}

absl::Status Run(Config config, const sigset_t& signals) {
  ASSIGN_OR_RETURN(const StateDir state_dir, StateDir::Lock(config.state_dir));
  ASSIGN_OR_RETURN(const auto store, Store::Open(state_dir.File("podwire.db")));
  mkdir(state_dir.File("vhost").c_str(), 0700);
  RETURN_IF_ERROR(TakeKernelAddresses(config));
  const unsigned cpus = std::thread::hardware_concurrency();  // before EAL pins this thread
  ASSIGN_OR_RETURN(const EalInfo eal, InitEal(EalOptionsOf(config)));
  const EalGuard eal_guard;
  spdlog::info("msg=\"DPDK up\" hugepages={} why=\"{}\" memory_mb={}", eal.hugepages, eal.why, eal.memory_mb);
  const uint32_t threads = MaxWorkers(config, cpus) + 1u;  // and this one
  ASSIGN_OR_RETURN(auto created, MbufPools::Create(MempoolOptions::ForMemory(eal.memory_mb, threads)));
  // EAL gives its memory back in one go; to free a pool before would mean to write zeros over all of it, for
  // seconds.
  MbufPools* const pools = created.release();
  ASSIGN_OR_RETURN(const auto sw, Switch::Create(SwitchOptionsOf(config, cpus, pools)));
  const std::unique_ptr<OffloadManager> offload = MakeOffload(config.offload, *sw);
  Controller controller(config, DesiredState(config.node, config.network), EngineOf(*sw, offload.get()),
                        *store);
  const PortsGuard ports_guard{controller};
  RETURN_IF_ERROR(controller.Load());
  RETURN_IF_ERROR(OutliveLostGuestMemory());
  const PortContext context{.pools = *pools, .workers = sw->max_workers()};
  const VfPool vfs(config);
  RETURN_IF_ERROR(Annotate(vfs.Start(GatewayMac(config)), "sriov"));  // before their trunks are opened
  RETURN_IF_ERROR(OpenPorts(config, context, controller));
  ASSIGN_OR_RETURN(const auto kernel_underlay, FollowKernel(config, controller, *sw));
  Attacher attacher(
      controller, {.create_port = [&](const PortConfig& p) { return CreatePort(p, context); }, .vfs = &vfs});
  RETURN_IF_ERROR(attacher.Recover());
  HostInterface host_interface(controller, attacher);
  host_interface.Start();
  PortKeeper port_keeper(controller, attacher);
  port_keeper.Start();
  PolicyLog policy_log(config.policy_log, config.state_dir, config.node);
  EventFeed events(controller, EventSourceOf(*sw), policy_log);
  events.Start();
  if (offload != nullptr) offload->Start();
  Daemon daemon{
      .controller = controller,
      .attacher = attacher,
      .sw = *sw,
      .events = events,
      .offload = offload.get(),
      .pools = pools,
      .hugepages = eal.hugepages ? fmt::format("{} MB", eal.memory_mb) : "none: running with --no-huge"};
  return Serve(config, signals, daemon);
}

int Fail(const absl::Status& status) {
  fmt::print(stderr, "podwired: {}\n", Message(status));
  return 1;
}

int Main(int argc, char** argv) {
  constexpr int kUsage = 2;
  CLI::App app{"podwired: a userspace virtual switch for Kubernetes pods (docs/configuration.md)"};
  std::string file, check;
  auto* config_option =
      app.add_option("--config", file, "run with this configuration FILE")->type_name("FILE");
  app.add_option("--check-config", check, "check this configuration FILE and exit: 0 good, 1 bad")
      ->type_name("FILE")
      ->excludes(config_option);
  app.set_version_flag("--version", std::string("podwired ") + PODWIRE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kUsage;
  }
  if (file.empty() && check.empty()) {
    fmt::print(stderr, "podwired: --config FILE or --check-config FILE is required (see --help)\n");
    return kUsage;
  }
  const auto config = LoadConfig(file.empty() ? check : file);
  if (!config.ok()) return Fail(config.status());
  if (file.empty()) {
    fmt::print("{}: ok\n", check);
    return 0;
  }
  // Blocked before any thread starts: they all inherit it, and only main takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  SetUpLog(config->log_level);
  const absl::Status status = Run(*config, signals);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace podwire

int main(int argc, char** argv) { return podwire::Main(argc, argv); }
