// port_forwarder CPU PORT PORT: moves packets between two ports on one core until SIGTERM, then prints their
// counters. PORT: tap:NETNS_PATH:IFNAME or netdev:IFNAME. For measurements (port_bench.py).
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <rte_launch.h>

#include "net/status.h"
#include "pmd/eal.h"
#include "pmd/port.h"

namespace podwire {
namespace {

std::atomic<bool> stop{false};

absl::StatusOr<PortConfig> ParsePort(const std::string& text) {
  const size_t first = text.find(':');
  const std::string kind = text.substr(0, first);
  const std::string rest = first == std::string::npos ? "" : text.substr(first + 1);
  if (kind == "netdev") return PortConfig{.name = text, .options = NetdevOptions{.interface = rest}};
  const size_t last = rest.rfind(':');
  if (kind != "tap" || last == std::string::npos)
    return InvalidArgument("{}: tap:NETNS:IF or netdev:IF", text);
  const TapOptions tap = {
      .netns = rest.substr(0, last), .ifname = rest.substr(last + 1), .persistent = false};
  return PortConfig{.name = text, .options = tap};
}

void Move(Port& from, Port& to) {
  rte_mbuf* mbufs[32];
  const uint16_t n = from.RxBurst(0, mbufs, 32);
  uint16_t sent = 0;
  while (sent < n && !stop.load(std::memory_order_relaxed)) {
    sent = static_cast<uint16_t>(sent + to.TxBurst(0, mbufs + sent, static_cast<uint16_t>(n - sent)));
  }
  rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
}

struct Ports {
  std::unique_ptr<Port> a, b;
};

int Loop(void* argument) {
  const Ports& ports = *static_cast<Ports*>(argument);
  while (!stop.load(std::memory_order_relaxed)) {
    Move(*ports.a, *ports.b);
    Move(*ports.b, *ports.a);
  }
  return 0;
}

void Print(const Port& port) {
  const PortStats s = port.Stats();
  fmt::print("{}: rx {} packets {} bytes missed {} errors {}; tx {} packets segments {} errors {}\n",
             port.name(), s.rx_packets, s.rx_bytes, s.rx_missed, s.rx_errors, s.tx_packets, s.tx_segments,
             s.tx_errors);
}

absl::Status Run(char** argv) {
  RETURN_IF_ERROR(
      InitEal({.file_prefix = fmt::format("pwfwd{}", getpid()), .worker_cpus = {argv[1]}}).status());
  ASSIGN_OR_RETURN(const std::unique_ptr<MbufPools> pools, MbufPools::Create({}));
  const PortContext context = {.pools = *pools, .workers = 1};
  Ports ports;
  ASSIGN_OR_RETURN(const PortConfig a, ParsePort(argv[2]));
  ASSIGN_OR_RETURN(const PortConfig b, ParsePort(argv[3]));
  ASSIGN_OR_RETURN(ports.a, CreatePort(a, context));
  ASSIGN_OR_RETURN(ports.b, CreatePort(b, context));
  std::signal(SIGTERM, [](int) { stop = true; });
  std::signal(SIGINT, [](int) { stop = true; });
  rte_eal_remote_launch(Loop, &ports, 1);
  fmt::print("ready\n");
  std::fflush(stdout);
  while (!stop) usleep(10000);  // waiting by EAL would take a CPU
  rte_eal_mp_wait_lcore();
  Print(*ports.a);
  Print(*ports.b);
  return absl::OkStatus();
}

}  // namespace
}  // namespace podwire

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: port_forwarder CPU PORT PORT\n");
    return 2;
  }
  const absl::Status status = podwire::Run(argv);
  if (!status.ok()) fmt::print(stderr, "{}\n", podwire::Message(status));
  podwire::ShutdownEal();
  return status.ok() ? 0 : 1;
}
