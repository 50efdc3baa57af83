#include "control/config.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <set>

#include "control/config_underlay.h"
#include "control/json_reader.h"
#include "net/status.h"
#include "pmd/pod_interface.h"

namespace podwire {
namespace {

using nlohmann::json;

constexpr unsigned kMaxCpu = 1023;  // what a cpu_set_t holds
constexpr uint64_t kMaxWorkers = 64;
constexpr size_t kMaxSocketPath = 107;

bool IsDnsName(std::string_view name) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > 253 || !alnum(name.front()) || !alnum(name.back())) return false;
  return std::ranges::all_of(name, [&](char c) { return alnum(c) || c == '-' || c == '.'; });
}

void ReadNode(JsonReader& r, Config& c) {
  r.Require("node", "this node's name, as its Node object has it");
  r.String("node", c.node);
  if (r.ok() && !IsDnsName(c.node)) {
    r.Fail("node", fmt::format("\"{}\" is not a DNS name (lower case letters, digits, '-' and '.')", c.node));
  }
  r.String("stateDir", c.state_dir);
  if (c.state_dir.empty() || c.state_dir[0] != '/') r.Fail("stateDir", "expected an absolute path");
  std::string listen;
  r.String("listen", listen);
  if (r.Get("listen") == nullptr || !r.ok()) return;
  if (auto address = ParseListenAddress(listen); address.ok()) {
    c.listen = *std::move(address);
  } else {
    r.Fail("listen", Message(address.status()));
  }
}

/// A CPU's number, or {"cpu": 2, "mode": "poll"}.
absl::StatusOr<WorkerConfig> ReadWorker(const json& value, const std::string& path) {
  WorkerConfig w;
  if (!value.is_object()) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxCpu) {
      return InvalidArgument("{}: expected a CPU number from 0 to {} or an object with cpu and mode, not {}",
                             path, kMaxCpu, Brief(value));
    }
    w.cpu = value.get<unsigned>();
    return w;
  }
  JsonReader r(value, path);
  r.Require("cpu", "the number of the worker's CPU");
  r.Number("cpu", w.cpu, 0, kMaxCpu);
  std::string mode{ToString(w.mode)};
  r.Choice("mode", mode, {"adaptive", "poll"});
  RETURN_IF_ERROR(r.Finish());
  w.mode = *ParseWorkerMode(mode);
  return w;
}

absl::Status ReadLcores(const json& value, Config& c) {
  JsonReader r(value, "lcores");
  r.Number("control", c.control_lcore, 0, kMaxCpu);
  r.Number("maxWorkers", c.max_workers, 1, kMaxWorkers);
  if (const json* workers = r.Array("workers", "an array of CPU numbers"); workers != nullptr) {
    c.workers.clear();
    for (size_t i = 0; i < workers->size(); ++i) {
      const std::string key = fmt::format("workers[{}]", i);
      ASSIGN_OR_RETURN(const WorkerConfig worker, ReadWorker((*workers)[i], "lcores." + key));
      if (std::ranges::find(c.workers, worker.cpu, &WorkerConfig::cpu) != c.workers.end()) {
        r.Fail(key, fmt::format("CPU {} is given twice", worker.cpu));
      }
      c.workers.push_back(worker);
    }
    if (c.workers.empty()) r.Fail("workers", "expected at least one CPU");
    if (c.workers.size() > kMaxWorkers) r.Fail("workers", fmt::format("expected at most {}", kMaxWorkers));
  }
  if (c.max_workers != 0 && c.max_workers < c.workers.size()) {
    r.Fail("maxWorkers",
           fmt::format("{} is less than the {} of lcores.workers", c.max_workers, c.workers.size()));
  }
  return r.Finish();
}

absl::Status ReadTimeouts(const json& value, Timeouts& t) {
  constexpr uint64_t kLongest = 30 * 86400;
  JsonReader r(value, "timeouts");
  const std::pair<std::string_view, uint32_t*> keys[] = {{"tcpSynSent", &t.tcp_syn_sent},
                                                         {"tcpSynRecv", &t.tcp_syn_recv},
                                                         {"tcpEstablished", &t.tcp_established},
                                                         {"tcpFinWait", &t.tcp_fin_wait},
                                                         {"tcpCloseWait", &t.tcp_close_wait},
                                                         {"tcpLastAck", &t.tcp_last_ack},
                                                         {"tcpTimeWait", &t.tcp_time_wait},
                                                         {"tcpClose", &t.tcp_close},
                                                         {"udpNew", &t.udp_new},
                                                         {"udpEstablished", &t.udp_established},
                                                         {"icmp", &t.icmp},
                                                         {"sctpNew", &t.sctp_new},
                                                         {"sctpEstablished", &t.sctp_established},
                                                         {"other", &t.other}};
  for (const auto& [key, out] : keys) r.Number(key, *out, 1, kLongest);
  return r.Finish();
}

absl::Status ReadPorts(const json& value, Config& c) {
  std::set<std::string> names;
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string path = fmt::format("ports[{}]", i);
    ASSIGN_OR_RETURN(PortConfig port, ParsePort(value[i], path));
    if (!names.insert(port.name).second) {
      return InvalidArgument("{}.name: \"{}\" is another port's name too", path, port.name);
    }
    c.ports.push_back(std::move(port));
  }
  return absl::OkStatus();
}

absl::Status ReadPolicyLog(const json& value, PolicyLogConfig& log) {
  JsonReader r(value, "policyLog");
  r.String("file", log.file);
  const bool is_name = !log.file.empty() && log.file[0] != '.' && log.file.find('/') == std::string::npos;
  if (!is_name || !log.file.ends_with(".log"))
    r.Fail("file", fmt::format("expected a file name that ends in .log, not \"{}\"", log.file));
  r.Number("maxMB", log.max_mb, 1, 1024);
  r.Number("files", log.files, 1, 100);
  return r.Finish();
}

absl::Status ReadOffload(const json& value, OffloadConfig& o) {
  JsonReader r(value, "offload");
  r.Choice("mode", o.mode, {"off", "drop", "auto"});
  r.Number("rules", o.rules, 1, 1 << 20);
  r.Number("installPps", o.install_pps, 100, 1 << 30);
  o.keep_pps = std::max(1u, std::min(o.keep_pps, o.install_pps / 10));
  r.Number("keepPps", o.keep_pps, 1, o.install_pps);
  r.Number("holdSeconds", o.hold_seconds, 1, 3600);
  return r.Finish();
}

/// A port of kind pci that ParseSriov has found.
void MarkTrunk(Config& c, const std::string& name) {
  const auto port = std::ranges::find(c.ports, name, &PortConfig::name);
  if (auto* pci = std::get_if<PciOptions>(&port->options)) pci->trunk = true;
}

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  const auto ip = ParseIp(host);
  if (!ip.ok()) return false;
  return IpPrefix::Make(*ip, 8) == *ParsePrefix("127.0.0.0/8") || *ip == *ParseIp("::1");
}

}  // namespace

std::string ListenAddress::grpc() const {
  if (!unix_path.empty()) return "unix:" + unix_path;
  const bool v6 = host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  constexpr std::string_view kExpected = "expected unix:///PATH or tcp:HOST:PORT";
  ListenAddress a;
  if (text.starts_with("unix:")) {
    std::string_view path = text.substr(5);
    if (path.starts_with("//")) path.remove_prefix(2);
    if (!path.starts_with("/")) return InvalidArgument("{}, the path absolute; not \"{}\"", kExpected, text);
    if (path.size() > kMaxSocketPath)
      return InvalidArgument("the path is longer than {} bytes", kMaxSocketPath);
    a.unix_path = path;
    return a;
  }
  const size_t colon = text.rfind(':');
  if (!text.starts_with("tcp:") || colon <= 4) return InvalidArgument("{}; not \"{}\"", kExpected, text);
  a.host = text.substr(4, colon - 4);
  if (a.host.starts_with('[') && a.host.ends_with(']')) a.host = a.host.substr(1, a.host.size() - 2);
  const std::string_view digits = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), a.port);
  if (error != std::errc{} || end != digits.data() + digits.size() || a.port == 0) {
    return InvalidArgument("{}, PORT from 1 to 65535; not \"{}\"", kExpected, text);
  }
  if (!IsLoopback(a.host)) {
    return InvalidArgument(
        "{} can be reached from outside, and the API has no TLS: expected a loopback address (127.0.0.1, "
        "::1) or "
        "a UNIX socket",
        a.host);
  }
  return a;
}

absl::StatusOr<Config> ParseConfig(std::string_view text) {
  ASSIGN_OR_RETURN(const json document, ParseJson(text));
  JsonReader r(document, "");
  Config c;
  ReadNode(r, c);
  if (const json* lcores = r.Get("lcores")) r.Fail(ReadLcores(*lcores, c));
  r.Number("memoryMb", c.memory_mb, 64, 1 << 20);
  r.Choice("hugepages", c.hugepages, {"auto", "on", "off"});
  r.Number("connections", c.connections, 1024, 1 << 26);
  r.Number("embryonicConnections", c.embryonic_connections, 64, c.connections);
  if (const json* timeouts = r.Get("timeouts")) r.Fail(ReadTimeouts(*timeouts, c.timeouts));
  if (const json* ports = r.Array("ports", "an array of ports")) r.Fail(ReadPorts(*ports, c));
  if (const json* underlay = r.Get("underlay"); underlay != nullptr && r.ok())
    r.Fail(ReadUnderlay(*underlay, c));
  if (const json* sriov = r.Array("sriov", "an array of pools"); sriov != nullptr && r.ok()) {
    if (auto pools = ParseSriov(*sriov, c.ports, c.underlay ? c.underlay->port : ""); pools.ok()) {
      c.sriov = *std::move(pools);
      for (const SriovPool& pool : c.sriov) MarkTrunk(c, pool.trunk);
    } else {
      r.Fail(pools.status());
    }
  }
  if (const json* network = r.Get("network"); network != nullptr) {
    if (!network->is_object())
      r.Fail("network", fmt::format("expected flannel's net-conf object, not {}", Brief(*network)));
    if (auto conf = ParseNetConf(*network); conf.ok()) {
      c.network = *std::move(conf);
    } else {
      r.Fail("network", Message(conf.status()));
    }
  }
  if (const json* mac = r.Get("gatewayMac"); mac != nullptr) {
    if (auto parsed = ReadUnicastMac(*mac); parsed.ok()) {
      c.gateway_mac = *parsed;
    } else {
      r.Fail("gatewayMac", Message(parsed.status()));
    }
  }
  r.String("hostInterface", c.host_interface);
  if (!c.host_interface.empty() && r.ok()) {
    if (const auto status = CheckInterfaceName(c.host_interface); !status.ok())
      r.Fail("hostInterface", Message(status));
  }
  r.Choice("logLevel", c.log_level, {"trace", "debug", "info", "warn", "error"});
  if (const json* log = r.Get("policyLog")) r.Fail(ReadPolicyLog(*log, c.policy_log));
  for (size_t i = 0; i < c.ports.size(); ++i) {
    if (IsShared(c.ports[i]) && (!c.underlay || c.underlay->port != c.ports[i].name))
      r.Fail(fmt::format("ports[{}].shared", i),
             "only the underlay's port shares its interface with the kernel");
  }
  if (const json* offload = r.Get("offload")) r.Fail(ReadOffload(*offload, c.offload));
  RETURN_IF_ERROR(r.Finish());
  return c;
}

absl::StatusOr<Config> LoadConfig(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return ErrnoError(errno, "configuration {}", file);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) return ErrnoError(errno, "configuration {}: read", file);
  auto config = ParseConfig(text);
  if (!config.ok()) return Annotate(config.status(), file);
  return config;
}

}  // namespace podwire
