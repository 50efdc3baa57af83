// A vhost-user port with DPDK's virtio-user (dpdk-testpmd, which swaps MACs) as the pod in a second process.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "net/status.h"
#include "pmd/fd.h"
#include "pmd/offload.h"
#include "pmd/port.h"
#include "pmd/segment.h"
#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/super_packet.h"

namespace podwire {
namespace vhost_user_test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

template <class Condition>
bool Eventually(Condition&& condition, std::chrono::seconds limit = 20s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

/// What a peer does with a frame: swaps its MACs and sends it back; or sends it back with a partial TCP
/// checksum; or takes TCP super-packets and makes them itself, of 1000 bytes a segment.
enum class PeerMode { kSwap, kPartialChecksum, kSuperPackets };

struct PeerOptions {
  PeerMode mode = PeerMode::kSwap;
  std::string device = "";  ///< more of virtio-user's arguments: ",packed_vq=1"
};

std::string Commands(PeerMode mode) {
  switch (mode) {
    case PeerMode::kSwap:
      return "";
    case PeerMode::kPartialChecksum:
      return "port stop 0\ncsum set tcp hw 0\nport config 0 tx_offload tcp_cksum on\nport start 0\n";
    case PeerMode::kSuperPackets:
      return "port stop 0\nport config 0 rx_offload tcp_cksum on\nport config 0 rx_offload udp_cksum on\n"
             "port config 0 rx_offload tcp_lro on\nport config 0 tx_offload tcp_cksum on\n"
             "port config 0 tx_offload tcp_tso on\nport config 0 tx_offload multi_segs on\n"
             "csum set tcp hw 0\ntso set 1000 0\nport start 0\n";
  }
  return "";
}

/// dpdk-testpmd with virtio-user on the socket. Killed when destroyed.
class Peer {
 public:
  explicit Peer(const fs::path& socket, const PeerOptions& options = {})
      : prefix_(fmt::format("pwpeer{}-{}", getpid(), ++count_)) {
    const fs::path commands = socket.parent_path() / "commands";
    std::ofstream(commands) << Commands(options.mode);
    std::array<int, 2> input{};
    EXPECT_EQ(pipe2(input.data(), O_CLOEXEC), 0);
    input_ = input[1];  // testpmd leaves at the end of its input
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(input[0], STDIN_FILENO);
      const int null = open("/dev/null", O_WRONLY);
      dup2(null, STDOUT_FILENO);
      dup2(null, STDERR_FILENO);
      const std::string prefix = "--file-prefix=" + prefix_;
      const std::string vdev =
          fmt::format("--vdev=net_virtio_user0,path={},queue_size=1024{}", socket.string(), options.device);
      const std::string file = "--cmdline-file=" + commands.string();
      execlp("dpdk-testpmd", "dpdk-testpmd", "--lcores", "0@(0-1),1@(0-1)", "--no-huge", "-m", "128",
             "--no-pci", prefix.c_str(), vdev.c_str(), "--", "--total-num-mbufs=4096",
             options.mode == PeerMode::kSwap ? "--forward-mode=macswap" : "--forward-mode=csum", file.c_str(),
             "--auto-start", nullptr);
      _exit(127);
    }
    close(input[0]);
  }
  ~Peer() {
    Kill();
    close(input_);
    fs::remove_all("/var/run/dpdk/" + prefix_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  static inline int count_ = 0;
  std::string prefix_;
  int input_ = -1;
  pid_t pid_ = -1;
};

class VhostUserTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v dpdk-testpmd >/dev/null") != 0) GTEST_SKIP() << "needs dpdk-testpmd";
    TestPools();
    directory_ = fs::temp_directory_path() / fmt::format("podwire-vhost-test.{}", getpid());
    fs::create_directories(directory_);
    small_ = rte_mempool_avail_count(&TestPools().small());
    big_ = rte_mempool_avail_count(&TestPools().big());
    Open({.socket_path = socket()});
  }
  void Open(const VhostUserOptions& options, uint16_t workers = 1) {
    port_.reset();
    auto port = CreatePort({.name = "pod", .options = options}, {.pools = TestPools(), .workers = workers});
    ASSERT_TRUE(port.ok()) << Message(port.status());
    port_ = *std::move(port);
  }
  void TearDown() override {
    port_.reset();
    EXPECT_FALSE(fs::exists(socket()));
    EXPECT_EQ(rte_mempool_avail_count(&TestPools().small()), small_);
    EXPECT_EQ(rte_mempool_avail_count(&TestPools().big()), big_);
    fs::remove_all(directory_);
  }
  fs::path socket() const { return directory_ / "pod.sock"; }

  /// What comes back for `mbuf` until `count` frames have: all of them, in order.
  std::vector<Bytes> Echo(rte_mbuf* mbuf, size_t count, uint16_t worker = 0) {
    EXPECT_TRUE(Eventually([&] { return port_->TxBurst(worker, &mbuf, 1) == 1; }));
    std::vector<Bytes> frames;
    EXPECT_TRUE(Eventually([&] {
      std::array<rte_mbuf*, 32> mbufs;
      const uint16_t n = port_->RxBurst(0, mbufs.data(), mbufs.size());
      for (uint16_t i = 0; i < n; ++i) frames.push_back(ToBytes(*mbufs[i]));
      rte_pktmbuf_free_bulk(mbufs.data(), n);
      return frames.size() >= count;
    })) << frames.size()
        << " of " << count << " frames";
    return frames;
  }
  /// The first frame shows that testpmd forwards; it may lose those sent while it starts.
  void Connect() {
    ASSERT_TRUE(Eventually([&] { return port_->link_up(); }));
    ASSERT_TRUE(Eventually([&] {
      rte_mbuf* m = ChainMbufs(Bytes(60, 7), 60, 1);
      if (port_->TxBurst(0, &m, 1) == 0) rte_pktmbuf_free(m);
      std::this_thread::sleep_for(20ms);
      return port_->RxBurst(0, &m, 1) == 1 && (rte_pktmbuf_free(m), true);
    }));
    std::this_thread::sleep_for(100ms);
    std::array<rte_mbuf*, 32> mbufs;
    while (const uint16_t n = port_->RxBurst(0, mbufs.data(), 32)) rte_pktmbuf_free_bulk(mbufs.data(), n);
  }

  fs::path directory_;
  unsigned small_ = 0;
  unsigned big_ = 0;
  std::unique_ptr<Port> port_;
};

Bytes Swapped(Bytes frame) {
  std::swap_ranges(frame.begin(), frame.begin() + 6, frame.begin() + 6);
  return frame;
}

SuperPacket TcpPacket(size_t payload) {
  SuperPacket p;
  for (size_t i = 0; i < payload; ++i) p.payload.push_back(static_cast<uint8_t>(i * 13));
  p.Build();
  return p;
}

bool TcpChecksumIsRight(const SuperPacket& p, const Bytes& f) {
  return NaiveSum(f, p.l4, f.size(), PseudoSum(f, p.l3, 6, f.size() - p.l4)) == 0xffff;
}

TEST_F(VhostUserTest, FramesPassUnchangedBothWays) {
  const Peer peer(socket());
  Connect();
  for (const size_t len : {60, 61, 1514}) {
    Bytes frame(len);
    for (size_t i = 0; i < len; ++i) frame[i] = static_cast<uint8_t>(i & 0xfe);
    EXPECT_EQ(Echo(ChainMbufs(frame, len / 2, 300), 1), std::vector<Bytes>{Swapped(frame)});
  }
  EXPECT_EQ(port_->Stats().tx_errors, 0u);
}

TEST_F(VhostUserTest, OffloadsAreDoneForAPeerWithoutThem) {
  const Peer peer(socket());
  Connect();
  const SuperPacket super = TcpPacket(30 * 1448 + 100);
  const std::vector<Bytes> frames = Echo(super.ToMbuf(500), 31);
  ASSERT_EQ(frames.size(), 31u);
  Bytes stream;
  for (const Bytes& f : frames) {
    EXPECT_TRUE(TcpChecksumIsRight(super, f));
    stream.insert(stream.end(), f.begin() + static_cast<ptrdiff_t>(super.header), f.end());
  }
  EXPECT_EQ(stream, super.payload);
  EXPECT_EQ(port_->Stats().tx_segments, 31u);
}

TEST_F(VhostUserTest, PartialChecksumIsCompleteAtThePeer) {
  const Peer peer(socket());
  Connect();
  const SuperPacket p = TcpPacket(1001);
  rte_mbuf* m = p.ToMbuf(333);
  OffloadOf(*m) = {
      .csum_start = static_cast<uint16_t>(p.l4), .csum_offset = 16, .flags = Offload::kNeedsCsum};
  const std::vector<Bytes> frames = Echo(m, 1);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_TRUE(TcpChecksumIsRight(p, frames[0]));
}

TEST_F(VhostUserTest, PartialChecksumOfThePeerIsReported) {
  const Peer peer(socket(), {.mode = PeerMode::kPartialChecksum});
  Connect();
  const SuperPacket p = TcpPacket(1001);
  rte_mbuf* m = p.ToMbuf(1055);
  OffloadOf(*m) = {
      .csum_start = static_cast<uint16_t>(p.l4), .csum_offset = 16, .flags = Offload::kNeedsCsum};
  ASSERT_EQ(port_->TxBurst(0, &m, 1), 1);
  ASSERT_TRUE(Eventually([&] { return port_->RxBurst(0, &m, 1) == 1; }));
  EXPECT_FALSE(TcpChecksumIsRight(p, ToBytes(*m)));
  EXPECT_EQ(
      OffloadOf(*m),
      (Offload{.csum_start = static_cast<uint16_t>(p.l4), .csum_offset = 16, .flags = Offload::kNeedsCsum}));
  EXPECT_TRUE(CompleteChecksum(*m));
  EXPECT_TRUE(TcpChecksumIsRight(p, ToBytes(*m)));
  rte_pktmbuf_free(m);
}

TEST_F(VhostUserTest, SuperPacketsPassWholeBothWays) {
  const Peer peer(socket(), {.mode = PeerMode::kSuperPackets});
  Connect();
  const SuperPacket super = TcpPacket(30 * 1448 + 100);
  rte_mbuf* m = super.ToMbuf(500);
  ASSERT_EQ(port_->TxBurst(0, &m, 1), 1);
  ASSERT_TRUE(Eventually([&] { return port_->RxBurst(0, &m, 1) == 1; }));
  EXPECT_EQ(port_->Stats().tx_segments, 0u);
  EXPECT_EQ(m->pkt_len, super.header + super.payload.size());
  EXPECT_EQ(OffloadOf(*m), (Offload{.csum_start = static_cast<uint16_t>(super.l4),
                                    .csum_offset = 16,
                                    .gso_size = 1000,
                                    .gso_type = GsoType::kTcp4,
                                    .flags = Offload::kNeedsCsum}));
  const Bytes whole = ToBytes(*m);
  EXPECT_EQ(Bytes(whole.begin() + static_cast<ptrdiff_t>(super.header), whole.end()), super.payload);
  rte_pktmbuf_free(m);
}

TEST_F(VhostUserTest, APeerWithoutThemAfterOneWithSuperPackets) {
  {
    const Peer peer(socket(), {.mode = PeerMode::kSuperPackets});
    Connect();
  }
  ASSERT_TRUE(Eventually([&] { return !port_->link_up(); }));
  const Peer peer(socket());
  Connect();
  EXPECT_EQ(Echo(TcpPacket(3 * 1448).ToMbuf(500), 3).size(), 3u);
}

TEST_F(VhostUserTest, PackedRing) {
  const Peer peer(socket(), {.device = ",packed_vq=1"});
  Connect();
  const Bytes frame(1514, 4);
  EXPECT_EQ(Echo(ChainMbufs(frame, 700, 300), 1), std::vector<Bytes>{frame});
}

TEST_F(VhostUserTest, APeerMayUseFewerQueuesThanThereAre) {
  Open({.socket_path = socket(), .queues = 4}, /*workers=*/4);
  EXPECT_EQ(port_->rx_queues(), 4);
  const Peer peer(socket());
  Connect();
  const Bytes frame(100, 4);
  for (uint16_t worker = 0; worker < 4; ++worker) {
    EXPECT_EQ(Echo(ChainMbufs(frame, 100, 1), 1, worker), std::vector<Bytes>{frame}) << worker;
  }
}

TEST_F(VhostUserTest, APeerMayEnableMoreQueuesThanThereAre) {
  Open({.socket_path = socket(), .queues = 1}, /*workers=*/4);
  const Peer peer(socket(), {.device = ",queues=4"});
  Connect();
  const Bytes frame(100, 4);
  for (uint16_t worker = 0; worker < 4; ++worker) {
    EXPECT_EQ(Echo(ChainMbufs(frame, 100, 1), 1, worker), std::vector<Bytes>{frame}) << worker;
  }
}

TEST_F(VhostUserTest, ClientOfAPeersSocket) {
  const fs::path own = directory_ / "peer.sock";
  Open({.socket_path = own, .client = true});
  for (int round = 0; round < 2; ++round) {
    Peer peer(own, {.device = ",server=1"});
    Connect();
    const Bytes frame(100, 4);
    EXPECT_EQ(Echo(ChainMbufs(frame, 100, 1), 1), std::vector<Bytes>{frame});
    peer.Kill();
    ASSERT_TRUE(Eventually([&] { return !port_->link_up(); }));
    fs::remove(own);
  }
}

TEST_F(VhostUserTest, APeerThatDiesIsReplacedByTheNext) {
  for (int round = 0; round < 2; ++round) {
    Peer peer(socket());
    Connect();
    const Bytes frame(100, 4);
    EXPECT_EQ(Echo(ChainMbufs(frame, 100, 1), 1), std::vector<Bytes>{frame});
    peer.Kill();
    ASSERT_TRUE(Eventually([&] { return !port_->link_up(); }));
    rte_mbuf* m = ChainMbufs(frame, 100, 1);
    if (port_->TxBurst(0, &m, 1) == 0) rte_pktmbuf_free(m);
    EXPECT_EQ(port_->RxBurst(0, &m, 1), 0);
  }
}

/// The queue's interrupt comes within `timeout_ms`.
bool Interrupted(int epoll, int timeout_ms) {
  epoll_event event;
  return epoll_wait(epoll, &event, 1, timeout_ms) == 1;
}

TEST_F(VhostUserTest, AnArmedQueueTellsOfEachFrame) {
  const int fd = port_->rx_interrupt_fd(0);
  ASSERT_GE(fd, 0);
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event), 0);
  for (int round = 0; round < 2; ++round) {
    Peer peer(socket());
    Connect();
    EXPECT_EQ(port_->rx_interrupt_fd(0), fd) << "the same for every peer";
    const Bytes frame(100, 4);
    for (int i = 0; i < 3; ++i) {
      port_->DisarmRx(0);
      while (Interrupted(epoll.get(), 20)) continue;
      EXPECT_EQ(Echo(ChainMbufs(frame, 100, 1), 1), std::vector<Bytes>{frame});
      EXPECT_FALSE(Interrupted(epoll.get(), 20)) << "disarmed";
      ASSERT_TRUE(port_->ArmRx(0));
      EXPECT_FALSE(Interrupted(epoll.get(), 20)) << "nothing has come";
      rte_mbuf* m = ChainMbufs(frame, 100, 1);
      ASSERT_EQ(port_->TxBurst(0, &m, 1), 1);
      EXPECT_TRUE(Interrupted(epoll.get(), 5000));
      EXPECT_EQ(port_->RxBurst(0, &m, 1), 1);
      rte_pktmbuf_free(m);
    }
    peer.Kill();
    ASSERT_TRUE(Eventually([&] { return !port_->link_up(); }));
    EXPECT_TRUE(port_->ArmRx(0)) << "nobody there, nothing to be told";
  }
}

TEST_F(VhostUserTest, DetachUnderAConnectedPeerLeavesNothing) {
  const Peer peer(socket());
  Connect();
  port_.reset();
  EXPECT_FALSE(fs::exists(socket()));
}

}  // namespace vhost_user_test
}  // namespace podwire
