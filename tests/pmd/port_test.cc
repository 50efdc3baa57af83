#include "pmd/port.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include "net/status.h"
#include "pmd/offload.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/super_packet.h"

namespace podwire {
namespace port_test {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// What a port could leave behind.
struct Holdings {
  long fds = 0;
  uint16_t devices = 0;
  unsigned small = 0;
  unsigned big = 0;
  bool operator==(const Holdings&) const = default;
};
void PrintTo(const Holdings& h, std::ostream* out) {
  *out << h.fds << " fds, " << h.devices << " devices, mbufs " << h.small << " " << h.big;
}
Holdings Held() {
  const auto fds = std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  return {fds, rte_eth_dev_count_avail(), rte_mempool_avail_count(&TestPools().small()),
          rte_mempool_avail_count(&TestPools().big())};
}

class PortTest : public testing::Test {
 protected:
  void SetUp() override {
    TestPools();
    directory_ = fs::temp_directory_path() / fmt::format("podwire-port-test.{}", getpid());
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }

  absl::StatusOr<std::unique_ptr<Port>> Create(decltype(PortConfig::options) options, uint16_t workers = 1,
                                               uint16_t mtu = 1500) {
    return CreatePort({.name = "p", .options = std::move(options), .mtu = mtu},
                      {.pools = TestPools(), .workers = workers});
  }
  std::unique_ptr<Port> Vdev(const std::string& devargs, uint16_t workers = 1, uint16_t mtu = 1500) {
    auto port = Create(VdevOptions{devargs}, workers, mtu);
    EXPECT_TRUE(port.ok()) << Message(port.status());
    return port.ok() ? *std::move(port) : nullptr;
  }
  /// Fails to come up with that code and text, and leaves nothing behind.
  void ExpectRefused(decltype(PortConfig::options) options, absl::StatusCode code, const char* text,
                     uint16_t mtu = 1500) {
    const Holdings before = Held();
    const auto port = Create(std::move(options), 1, mtu);
    ASSERT_FALSE(port.ok());
    EXPECT_EQ(port.status().code(), code) << Message(port.status());
    EXPECT_THAT(Message(port.status()), HasSubstr(text));
    EXPECT_THAT(Message(port.status()), HasSubstr("port p"));
    EXPECT_EQ(Held(), before);
  }

  fs::path directory_;
};

std::vector<Bytes> Receive(Port& port) {
  std::vector<Bytes> frames;
  std::array<rte_mbuf*, 8> mbufs;
  while (const uint16_t n = port.RxBurst(0, mbufs.data(), mbufs.size())) {
    for (uint16_t i = 0; i < n; ++i) {
      EXPECT_EQ(OffloadOf(*mbufs[i]), Offload{});
      frames.push_back(ToBytes(*mbufs[i]));
    }
    rte_pktmbuf_free_bulk(mbufs.data(), n);
  }
  return frames;
}

SuperPacket TcpPacket(size_t payload) {
  SuperPacket p;
  for (size_t i = 0; i < payload; ++i) p.payload.push_back(static_cast<uint8_t>(i * 7));
  p.Build();
  return p;
}

TEST_F(PortTest, NullDeviceReceivesAndTakesAll) {
  const Holdings before = Held();
  auto port = Vdev("net_null0,size=100");
  ASSERT_NE(port, nullptr);
  EXPECT_EQ(port->kind(), PortKind::kVdev);
  EXPECT_TRUE(port->link_up());
  EXPECT_EQ(port->rx_fd(), -1);
  EXPECT_EQ(port->rx_interrupt_fd(0), -1);
  EXPECT_FALSE(port->ArmRx(0)) << "must be polled";
  std::array<rte_mbuf*, 32> mbufs;
  ASSERT_EQ(port->RxBurst(0, mbufs.data(), 32), 32);
  EXPECT_EQ(mbufs[0]->pkt_len, 100u);
  EXPECT_EQ(port->TxBurst(0, mbufs.data(), 32), 32);
  const PortStats s = port->Stats();
  EXPECT_EQ(s.rx_packets, 32u);
  EXPECT_EQ(s.rx_bytes, 3200u);
  EXPECT_EQ(s.tx_packets, 32u);
  EXPECT_EQ(s.tx_bytes, 3200u);
  EXPECT_EQ(s.tx_errors + s.rx_errors + s.rx_missed, 0u);
  port.reset();
  EXPECT_EQ(Held(), before);
}

TEST_F(PortTest, RingCarriesFramesInOrder) {
  auto port = Vdev("net_ring0");
  ASSERT_NE(port, nullptr);
  std::vector<Bytes> sent;
  std::vector<rte_mbuf*> mbufs;
  for (size_t i = 1; i <= 5; ++i) {
    sent.push_back(Bytes(60 * i, static_cast<uint8_t>(i)));
    mbufs.push_back(ChainMbufs(sent.back(), sent.back().size(), 1));
  }
  EXPECT_EQ(port->TxBurst(0, mbufs.data(), 5), 5);
  EXPECT_EQ(Receive(*port), sent);
}

TEST_F(PortTest, SuperPacketLeavesAsSegmentsAmongOtherFrames) {
  const Holdings before = Held();
  auto port = Vdev("net_ring0");
  ASSERT_NE(port, nullptr);
  const SuperPacket p = TcpPacket(40 * 1448 + 1);
  const Bytes small(60, 9);
  std::array<rte_mbuf*, 3> mbufs = {ChainMbufs(small, 60, 1), p.ToMbuf(900), ChainMbufs(small, 60, 1)};
  EXPECT_EQ(port->TxBurst(0, mbufs.data(), 3), 3);
  const std::vector<Bytes> frames = Receive(*port);
  ASSERT_EQ(frames.size(), 43u);
  EXPECT_EQ(frames.front(), small);
  EXPECT_EQ(frames.back(), small);
  Bytes stream;
  for (size_t i = 1; i < 42; ++i) {
    EXPECT_EQ(
        NaiveSum(frames[i], p.l4, frames[i].size(), PseudoSum(frames[i], p.l3, 6, frames[i].size() - p.l4)),
        0xffff);
    stream.insert(stream.end(), frames[i].begin() + static_cast<ptrdiff_t>(p.header), frames[i].end());
  }
  EXPECT_EQ(stream, p.payload);
  const PortStats s = port->Stats();
  EXPECT_EQ(s.tx_packets, 3u);
  EXPECT_EQ(s.tx_bytes, 120u + p.bytes.size());
  EXPECT_EQ(s.tx_segments, 41u);
  EXPECT_EQ(s.tx_errors, 0u);
  port.reset();
  EXPECT_EQ(Held(), before);
}

TEST_F(PortTest, PartialChecksumIsCompleted) {
  auto port = Vdev("net_ring0");
  ASSERT_NE(port, nullptr);
  const SuperPacket p = TcpPacket(1001);
  rte_mbuf* m = p.ToMbuf(333);
  OffloadOf(*m).gso_size = 0;
  OffloadOf(*m).gso_type = GsoType::kNone;
  EXPECT_EQ(port->TxBurst(0, &m, 1), 1);
  const std::vector<Bytes> frames = Receive(*port);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(
      NaiveSum(frames[0], p.l4, frames[0].size(), PseudoSum(frames[0], p.l3, 6, frames[0].size() - p.l4)),
      0xffff);
}

TEST_F(PortTest, MalformedOffloadIsCountedAndFreed) {
  const Holdings before = Held();
  auto port = Vdev("net_ring0");
  ASSERT_NE(port, nullptr);
  std::array<rte_mbuf*, 2> mbufs = {ChainMbufs(Bytes(60, 1), 60, 1), ChainMbufs(Bytes(60, 1), 60, 1)};
  OffloadOf(*mbufs[0]) = {.csum_start = 50, .csum_offset = 16, .flags = Offload::kNeedsCsum};
  OffloadOf(*mbufs[1]) = {.csum_start = 34,
                          .csum_offset = 16,
                          .gso_size = 1000,
                          .gso_type = GsoType::kTcp4,
                          .flags = Offload::kNeedsCsum};
  EXPECT_EQ(port->TxBurst(0, mbufs.data(), 2), 2);
  EXPECT_TRUE(Receive(*port).empty());
  EXPECT_EQ(port->Stats().tx_errors, 2u);
  EXPECT_EQ(port->Stats().tx_packets, 0u);
  port.reset();
  EXPECT_EQ(Held(), before);
}

TEST_F(PortTest, FullDeviceLeavesTheRestToTheCaller) {
  const Holdings before = Held();
  auto port = Vdev("net_ring0");
  ASSERT_NE(port, nullptr);
  uint32_t sent = 0;
  rte_mbuf* m = nullptr;
  for (;; ++sent) {
    m = ChainMbufs(Bytes(60, 1), 60, 1);
    if (port->TxBurst(0, &m, 1) == 0) break;
    ASSERT_LT(sent, 8000u);
  }
  EXPECT_EQ(port->Stats().tx_packets, sent);
  EXPECT_EQ(port->Stats().tx_bytes, sent * 60);
  EXPECT_EQ(rte_mbuf_refcnt_read(m), 1);
  rte_pktmbuf_free(m);
  rte_mbuf* super = TcpPacket(3000).ToMbuf(200);
  EXPECT_EQ(port->TxBurst(0, &super, 1), 1) << "segmented and lost";
  EXPECT_EQ(port->Stats().tx_errors, 1u);
  EXPECT_EQ(Receive(*port).size(), sent);
  port.reset();
  EXPECT_EQ(Held(), before);
}

TEST_F(PortTest, WorkersShareATransmitQueue) {
  auto port = Vdev("net_ring0", 3);
  ASSERT_NE(port, nullptr);
  EXPECT_TRUE(port->tx_is_shared());
  constexpr int kFrames = 200;
  std::array<std::thread, 2> workers;
  for (uint16_t w = 0; w < workers.size(); ++w) {
    std::vector<rte_mbuf*> mbufs;
    for (int i = 0; i < kFrames; ++i) mbufs.push_back(ChainMbufs(Bytes(64, static_cast<uint8_t>(w)), 64, 1));
    workers[w] = std::thread([&port, w, mbufs]() mutable {
      for (rte_mbuf*& m : mbufs) EXPECT_EQ(port->TxBurst(w, &m, 1), 1);
    });
  }
  for (std::thread& w : workers) w.join();
  EXPECT_EQ(port->Stats().tx_packets, 2u * kFrames);
  EXPECT_EQ(Receive(*port).size(), 2u * kFrames);
}

TEST_F(PortTest, PcapWritesWhatItIsGivenAndReadsItBack) {
  const Holdings before = Held();
  const std::string file = directory_ / "out.pcap";
  std::vector<Bytes> sent = {Bytes(60, 1), Bytes(1514, 2), TcpPacket(5000).bytes};
  {
    std::ofstream(directory_ / "empty.pcap", std::ios::binary)
        .write("\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\1\0\0\0", 24);
    auto port = Vdev(fmt::format("net_pcap0,rx_pcap={}/empty.pcap,tx_pcap={}", directory_.string(), file));
    ASSERT_NE(port, nullptr);
    std::array<rte_mbuf*, 3> mbufs;
    for (size_t i = 0; i < 3; ++i)
      mbufs[i] = ChainMbufs(sent[i], std::min<size_t>(sent[i].size(), 1514), 1000);
    EXPECT_EQ(port->TxBurst(0, mbufs.data(), 3), 3);
    EXPECT_EQ(port->Stats().tx_packets, 3u);
    EXPECT_EQ(port->Stats().tx_errors, 0u);
  }
  {
    auto port = Vdev(fmt::format("net_pcap0,rx_pcap={},tx_pcap=/dev/null", file));
    ASSERT_NE(port, nullptr);
    EXPECT_EQ(Receive(*port), sent);
    EXPECT_EQ(port->Stats().rx_packets, 3u);
  }
  EXPECT_EQ(Held(), before);
}

TEST_F(PortTest, PortsComeAndGoBesideAPollingWorker) {
  ASSERT_TRUE(
      Create(VhostUserOptions{.socket_path = directory_ / "s"}).ok());  // librte_vhost keeps its event loop
  const Holdings before = Held();
  auto busy = Vdev("net_null9,size=64");
  ASSERT_NE(busy, nullptr);
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    std::array<rte_mbuf*, 32> mbufs;
    while (!stop) rte_pktmbuf_free_bulk(mbufs.data(), busy->RxBurst(0, mbufs.data(), 32));
  });
  while (busy->Stats().rx_packets == 0) std::this_thread::yield();
  for (int round = 0; round < 10; ++round) {
    auto ring = Vdev("net_ring0");
    ASSERT_NE(ring, nullptr);
    auto vhost = Create(VhostUserOptions{.socket_path = directory_ / "s"});
    ASSERT_TRUE(vhost.ok()) << Message(vhost.status());
  }
  stop = true;
  worker.join();
  busy.reset();
  EXPECT_EQ(Held(), before);
}

TEST_F(PortTest, AMacCanBeConfigured) {
  const MacAddr mac = *ParseMac("02:00:00:00:00:0a");
  std::ofstream(directory_ / "empty.pcap", std::ios::binary)
      .write("\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\1\0\0\0", 24);
  const std::string pcap =
      fmt::format("net_pcap0,rx_pcap={}/empty.pcap", directory_.string());  // has no way to be told
  for (const std::string& devargs : {std::string("net_null0,no-rx=1"), pcap}) {
    const auto port = Create(VdevOptions{.devargs = devargs, .mac = mac});
    ASSERT_TRUE(port.ok()) << Message(port.status());
    EXPECT_EQ((*port)->mac(), mac) << devargs;
  }
  EXPECT_NE(Vdev("net_null0,no-rx=1")->mac(), mac);
}

TEST_F(PortTest, ImpossibleOptionsAreRefused) {
  const auto bad = absl::StatusCode::kInvalidArgument;
  ExpectRefused(VdevOptions{"net_nosuchdriver0"}, bad, "net_nosuchdriver0");
  ExpectRefused(VdevOptions{""}, bad, "devargs");
  ExpectRefused(VdevOptions{.devargs = "net_null0", .queues = 0}, bad, "queues");
  ExpectRefused(VdevOptions{"eth0"}, bad, "devargs");
  ExpectRefused(VdevOptions{"net_null0, size=64"}, bad, "devargs");
  ExpectRefused(VdevOptions{"net_null0,bogus=1"}, bad, "net_null0");
  ExpectRefused(VdevOptions{"net_pcap0,rx_pcap=/nonexistent.pcap"}, bad, "net_pcap0");
  ExpectRefused(VdevOptions{"net_null0"}, bad, "mtu", 20);
  ExpectRefused(VdevOptions{"net_ring0"}, bad, "mtu", 65500);
  EXPECT_NE(Vdev("net_null0,size=64"), nullptr) << "after the failures the right arguments work";
}

TEST_F(PortTest, ADeviceInUseIsRefused) {
  auto port = Vdev("net_null0,size=64");
  ASSERT_NE(port, nullptr);
  ExpectRefused(VdevOptions{"net_null0,size=64"}, absl::StatusCode::kAlreadyExists, "in use");
  std::array<rte_mbuf*, 1> mbufs;
  ASSERT_EQ(port->RxBurst(0, mbufs.data(), 1), 1) << "the first one goes on";
  rte_pktmbuf_free(mbufs[0]);
}

TEST_F(PortTest, PciDevicesAreChecked) {
  ExpectRefused(PciOptions{.address = "nonsense"}, absl::StatusCode::kInvalidArgument, "nonsense");
  ExpectRefused(PciOptions{.address = "ffff:ff:1e.7"}, absl::StatusCode::kNotFound, "ffff:ff:1e.7");
  std::error_code error;
  for (const auto& device : fs::directory_iterator("/sys/bus/pci/devices", error)) {
    const std::string driver = fs::read_symlink(device.path() / "driver", error).filename();
    if (error || driver != "virtio-pci") continue;
    ExpectRefused(PciOptions{.address = device.path().filename()}, absl::StatusCode::kFailedPrecondition,
                  "vfio-pci");
    return;
  }
}

bool IsSocket(const fs::path& path) { return fs::is_socket(path); }

/// Binds a socket file; listens when asked to. Returns the descriptor.
int BindSocket(const std::string& path, bool serve) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  if (serve) {
    EXPECT_EQ(listen(fd, 1), 0);
  }
  return fd;
}

TEST_F(PortTest, VhostUserListensAndTidiesUp) {
  const fs::path path = directory_ / "vhost.sock";
  ASSERT_TRUE(Create(VhostUserOptions{.socket_path = path}).ok());  // librte_vhost keeps its event loop
  const Holdings before = Held();
  for (int round = 0; round < 2; ++round) {
    auto port = Create(VhostUserOptions{.socket_path = path, .queues = 2});
    ASSERT_TRUE(port.ok()) << Message(port.status());
    EXPECT_TRUE(IsSocket(path));
    EXPECT_FALSE((*port)->link_up());
    EXPECT_EQ((*port)->rx_queues(), 2);
    EXPECT_EQ((*port)->kind(), PortKind::kVhostUser);
    port->reset();
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(Held(), before);
  }
}

TEST_F(PortTest, VhostUserReplacesAStaleSocketOnly) {
  const fs::path path = directory_ / "vhost.sock";
  close(BindSocket(path, false));
  ASSERT_TRUE(IsSocket(path));
  EXPECT_TRUE(Create(VhostUserOptions{.socket_path = path}).ok());

  const int other = BindSocket(path, true);
  ExpectRefused(VhostUserOptions{.socket_path = path}, absl::StatusCode::kAlreadyExists,
                "another process listens");
  EXPECT_TRUE(IsSocket(path));
  close(other);
  fs::remove(path);

  std::ofstream(path) << "precious";
  ExpectRefused(VhostUserOptions{.socket_path = path}, absl::StatusCode::kFailedPrecondition, "not a socket");
  EXPECT_EQ(fs::file_size(path), 8u);
}

TEST_F(PortTest, VhostUserOptionsAreChecked) {
  const auto bad = absl::StatusCode::kInvalidArgument;
  ExpectRefused(VhostUserOptions{.socket_path = "relative"}, bad, "absolute");
  ExpectRefused(VhostUserOptions{.socket_path = "/tmp/a,client=1"}, bad, "commas");
  ExpectRefused(VhostUserOptions{.socket_path = "/" + std::string(107, 'x')}, bad, "107");
  ExpectRefused(VhostUserOptions{.socket_path = directory_ / "s", .queues = 0}, bad, "queues");
  ExpectRefused(VhostUserOptions{.socket_path = directory_ / "no" / "s"}, absl::StatusCode::kNotFound,
                "directory");
}

TEST(PortKind, NamesGoBothWays) {
  for (const PortKind kind :
       {PortKind::kTap, PortKind::kNetdev, PortKind::kVhostUser, PortKind::kPci, PortKind::kVdev}) {
    const auto parsed = ParsePortKind(ToString(kind));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, kind);
  }
  EXPECT_THAT(Message(ParsePortKind("veth").status()),
              HasSubstr("\"veth\": expected tap, netdev, vhost-user"));
  EXPECT_EQ(PortConfig{.options = VhostUserOptions{}}.kind(), PortKind::kVhostUser);
}

}  // namespace port_test
}  // namespace podwire
