#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <numeric>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/status.h"
#include "pmd/offload.h"
#include "switch/switch.h"
#include "tests/switch/node_tables.h"
#include "tests/switch/pipeline_fixture.h"

namespace podwire::testing {
namespace worker_set_test {

const auto* const kEnvironment = ::testing::AddGlobalTestEnvironment(new EalEnvironment);

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr size_t kUdpChecksumAt = 14 + 20 + 6, kPayloadAt = 14 + 20 + 8;

std::vector<unsigned> Cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

/// Sends numbered datagrams to the other pod while `open`, and checks the numbers of those it gets. Its
/// counters are plain on purpose: workers that hand a queue over must not race (ThreadSanitizer looks). So
/// are its mbufs, from a pool of its own: ThreadSanitizer does not see into DPDK's rings, by which they would
/// pass between workers otherwise.
class NumberedPort : public Port {
 public:
  NumberedPort(const char* name, const Bytes& frame)
      : Port(PortConfig{.name = name, .options = VdevOptions{}}),
        frame_(frame),
        pool_(rte_pktmbuf_pool_create(name, 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY)) {
    EXPECT_NE(pool_, nullptr);
    frame_[kUdpChecksumAt] = frame_[kUdpChecksumAt + 1] = 0;  // none: the payload changes
  }
  uint16_t RxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    if (!open.load(std::memory_order_relaxed)) return 0;
    uint16_t count = 0;
    for (; count < n && count < 8; ++count) {
      rte_mbuf* m = rte_pktmbuf_alloc(pool_.get());
      if (m == nullptr) break;
      char* data = rte_pktmbuf_append(m, static_cast<uint16_t>(frame_.size()));
      std::memcpy(data, frame_.data(), frame_.size());
      std::memcpy(data + kPayloadAt, &sent_, sizeof sent_);
      OffloadOf(*m) = {};
      ++sent_;
      mbufs[count] = m;
    }
    return count;
  }
  uint16_t TxBurst(uint16_t, rte_mbuf** mbufs, uint16_t n) noexcept override {
    for (uint16_t i = 0; i < n; ++i) {
      uint64_t number = 0;
      std::memcpy(&number, rte_pktmbuf_mtod_offset(mbufs[i], char*, kPayloadAt), sizeof number);
      if (number != got_) ++disorder_;
      got_ = number + 1;
      rte_pktmbuf_free(mbufs[i]);
    }
    return n;
  }
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return true; }
  PortStats Stats() const override { return {}; }

  // Good once no worker touches the port.
  uint64_t sent() const { return sent_; }
  uint64_t got() const { return got_; }
  uint64_t disorder() const { return disorder_; }
  std::atomic<bool> open{true};

 private:
  Bytes frame_;
  MempoolPtr pool_;
  uint64_t sent_ = 0, got_ = 0, disorder_ = 0;
};

/// Receives what a test puts in; keeps what it is sent.
class ScriptPort : public FakePort {
 public:
  explicit ScriptPort(const std::string& name) : FakePort(name) {}
  uint16_t RxBurst(uint16_t, rte_mbuf** mbufs, uint16_t) noexcept override {
    mbufs[0] = next_.exchange(nullptr);
    return mbufs[0] == nullptr ? 0 : 1;
  }
  uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    sent_count += n;
    return FakePort::TxBurst(queue, mbufs, n);
  }
  void Put(const Frame& frame) {
    MbufPtr m = frame.Mbuf();
    OffloadOf(*m) = {};
    next_ = m.release();
    while (next_.load() != nullptr) std::this_thread::yield();
  }
  std::atomic<int> sent_count{0};

 private:
  std::atomic<rte_mbuf*> next_{nullptr};
};

class WorkerSetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cpus_.size() < 2) GTEST_SKIP() << "two CPUs are needed";
    sw_ = Make({{.cpu = cpus_[0]}});
  }
  void TearDown() override {
    if (sw_ == nullptr) return;
    sw_->Publish(std::make_unique<Tables>(NodeTables(nullptr, nullptr, nullptr)));
    const CounterTotals t = sw_->ReadCounters();
    EXPECT_EQ(t.Get(Counter::kReceived) + t.Get(Counter::kGenerated),
              t.Get(Counter::kSent) + t.dropped() + t.Get(Counter::kConsumed) + t.Get(Counter::kQueued))
        << "the books do not balance";
  }
  static std::unique_ptr<Switch> Make(std::vector<SwitchOptions::WorkerOptions> workers) {
    auto sw = Switch::Create({.workers = std::move(workers),
                              .max_workers = 2,
                              .max_connections = 1024,
                              .pools = &EalEnvironment::Pools()});
    EXPECT_TRUE(sw.ok()) << sw.status();
    return sw.ok() ? *std::move(sw) : nullptr;
  }
  void Publish(Port* a, Port* b) { sw_->Publish(std::make_unique<Tables>(NodeTables(a, b, nullptr))); }
  absl::Status Move(PortId port, uint16_t from, uint16_t to) {
    const QueueMove move{.port = port, .queue = 0, .from = from, .to = to};
    return sw_->MoveQueues(std::span(&move, 1));
  }
  uint16_t OwnerOf(PortId port) const {
    for (const WorkerReport& w : sw_->ReadWorkers()) {
      for (const auto& q : w.queues) {
        if (q.port == port) return w.worker;
      }
    }
    return kNoWorker;
  }
  /// No more packets; then all that was sent has arrived in order.
  void ExpectAllArrived() {
    for (NumberedPort* p : {&a_, &b_}) p->open = false;
    Publish(nullptr, nullptr);
    EXPECT_GT(a_.sent(), 100u);
    EXPECT_GT(b_.sent(), 100u);
    EXPECT_EQ(b_.got(), a_.sent());
    EXPECT_EQ(a_.got(), b_.sent());
    EXPECT_EQ(a_.disorder() + b_.disorder(), 0u);
    EXPECT_EQ(sw_->ReadCounters().dropped(), 0u);
    EXPECT_EQ(sw_->ReadCounters().Get(Counter::kReceived), a_.sent() + b_.sent());
  }

  const std::vector<unsigned> cpus_ = Cpus();
  NumberedPort a_{
      "a",
      Frame().Eth(kGatewayMac, kPodMac).Ip4("10.244.1.2", "10.244.1.3").Udp(7000, 7001).Payload(8).Build()};
  NumberedPort b_{
      "b",
      Frame().Eth(kGatewayMac, kPodMacB).Ip4("10.244.1.3", "10.244.1.2").Udp(7001, 7000).Payload(8).Build()};
  std::unique_ptr<Switch> sw_;
};

TEST_F(WorkerSetTest, BothDirectionsOnTwoWorkersAreOneConnection) {
  ASSERT_EQ(sw_->AddWorker(cpus_[1], WorkerMode::kAdaptive).value_or(99), 1);
  Publish(&a_, &b_);
  EXPECT_NE(OwnerOf(kPodPort), OwnerOf(kPodPortB));
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(sw_->connections(), 1u);
  for (const WorkerReport& w : sw_->ReadWorkers()) {
    EXPECT_GT(w.rx_packets, 0u);
    EXPECT_EQ(w.flows, 1u);
    EXPECT_GT(w.latency.samples, 0u);
    EXPECT_GT(w.latency.p50_us, 0);
    EXPECT_LE(w.latency.p50_us, w.latency.p99_us);
    EXPECT_LE(w.latency.p999_us, w.latency.max_us);
  }
  ExpectAllArrived();
}

TEST_F(WorkerSetTest, QueuesMoveUnderTraffic) {
  ASSERT_TRUE(sw_->AddWorker(cpus_[1], WorkerMode::kAdaptive).ok());
  Publish(&a_, &b_);
  for (int i = 0; i < 200; ++i) {
    const PortId port = i % 3 == 0 ? kPodPortB : kPodPort;
    uint16_t from = OwnerOf(port);
    for (; from == kNoWorker; from = OwnerOf(port)) std::this_thread::yield();  // the balancer is at it
    ASSERT_LT(from, 2);
    // The balancer may have been first.
    const absl::Status moved = Move(port, from, 1 - from);
    ASSERT_TRUE(moved.ok() || OwnerOf(port) != from) << moved;
    if (i % 10 == 0) std::this_thread::sleep_for(milliseconds(2));
  }
  ExpectAllArrived();
}

TEST_F(WorkerSetTest, WorkersComeAndGoUnderTraffic) {
  Publish(&a_, &b_);
  for (int i = 0; i < 20; ++i) {
    const auto added =
        sw_->AddWorker(cpus_[(i + 1) % 2], i % 4 == 0 ? WorkerMode::kPoll : WorkerMode::kAdaptive);
    ASSERT_TRUE(added.ok()) << added.status();
    std::this_thread::sleep_for(milliseconds(5));
    EXPECT_EQ(sw_->ReadWorkers().size(), 2u);
    EXPECT_EQ(OwnerOf(kPodPort) + OwnerOf(kPodPortB), 1) << "one each";
    const uint64_t before = sw_->ReadCounters().Get(Counter::kReceived);
    ASSERT_TRUE(sw_->RemoveWorker(1 - *added).ok());
    EXPECT_EQ(sw_->ReadWorkers().size(), 1u);
    EXPECT_GE(sw_->ReadCounters().Get(Counter::kReceived), before) << "the counts of one that has gone stay";
  }
  ExpectAllArrived();
}

TEST_F(WorkerSetTest, RefusesWhatCannotBe) {
  const auto message = [](const absl::Status& s) { return Message(s); };
  EXPECT_EQ(sw_->AddWorker(cpus_[0], WorkerMode::kPoll).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(message(sw_->AddWorker(1023, WorkerMode::kPoll).status()),
              HasSubstr("CPU 1023 does not exist"));
  EXPECT_EQ(sw_->RemoveWorker(0).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sw_->RemoveWorker(1).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(sw_->RemoveWorker(500).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(sw_->SetWorkerMode(1, WorkerMode::kPoll).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(sw_->AddWorker(cpus_[1], WorkerMode::kAdaptive).ok());
  EXPECT_THAT(message(sw_->AddWorker(1023, WorkerMode::kPoll).status()), HasSubstr("there are 2 workers"));
  Publish(&a_, nullptr);
  EXPECT_THAT(message(Move(kPodPort, 1, 0)), HasSubstr("worker 1 has no queue 0 of port 0"));
  EXPECT_THAT(message(Move(PortId{77}, 0, 1)), HasSubstr("port 77"));
  EXPECT_THAT(message(Move(kPodPort, 0, 2)), HasSubstr("no worker 2"));
  EXPECT_EQ(OwnerOf(kPodPort), 0);
}

TEST_F(WorkerSetTest, TheBusiestWorkerGivesAway) {
  ASSERT_TRUE(sw_->AddWorker(cpus_[1], WorkerMode::kAdaptive).ok());
  Publish(&a_, &b_);
  if (OwnerOf(kPodPortB) != 0) {
    ASSERT_TRUE(Move(kPodPortB, 1, 0).ok());
  }
  ASSERT_EQ(OwnerOf(kPodPort), 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (OwnerOf(kPodPort) + OwnerOf(kPodPortB) != 1 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_EQ(OwnerOf(kPodPort) + OwnerOf(kPodPortB), 1) << "one each";
  ExpectAllArrived();
}

TEST_F(WorkerSetTest, LaterFragmentsFollowTheirQueue) {
  ASSERT_TRUE(sw_->AddWorker(cpus_[1], WorkerMode::kAdaptive).ok());
  ScriptPort a{"a"}, b{"b"};
  Publish(&a, &b);
  const uint16_t owner = OwnerOf(kPodPort);
  a.Put(FromPod().Ip4("10.244.1.2", "10.244.1.3", {.id = 9, .mf = true}).Udp(5000, 53, 1000).Payload(16));
  ASSERT_TRUE(Move(kPodPort, owner, 1 - owner).ok());
  a.Put(FromPod().Ip4("10.244.1.2", "10.244.1.3", {.id = 9, .fragment_offset = 24, .proto = 17}).Payload(16));
  for (int i = 0; i < 2000 && b.sent_count < 2; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(b.sent_count, 2);
  EXPECT_EQ(sw_->ReadCounters().dropped(), 0u);
  Publish(nullptr, nullptr);
}

TEST_F(WorkerSetTest, LaterFragmentsFollowTheirTrunksQueue) {
  ASSERT_TRUE(sw_->AddWorker(cpus_[1], WorkerMode::kAdaptive).ok());
  ScriptPort trunk{"t"}, b{"b"};
  const TrunkMemberOptions options{.trunk_name = "t", .trunk = &trunk, .mac = kPodMac};
  const auto a = TrunkMember::Create({.name = "a", .options = options}, options, /*workers=*/2);
  ASSERT_TRUE(a.ok()) << a.status();
  Tables tables = NodeTables(a->get(), &b, nullptr);
  const auto members = std::make_shared<TrunkMembers>();
  members->Add(kPodPort, **a, kPodMac, 0);
  const PortId trunk_id{static_cast<uint16_t>(tables.ports.size())};
  tables.ports.push_back({.port = &trunk,
                          .role = PortRole::kTrunk,
                          .own_mac = {},
                          .peer_mac = {},
                          .name = "t",
                          .members = members});
  sw_->Publish(std::make_unique<Tables>(std::move(tables)));
  const uint16_t owner = OwnerOf(trunk_id);
  trunk.Put(FromPod().Ip4("10.244.1.2", "10.244.1.3", {.id = 9, .mf = true}).Udp(5000, 53, 1000).Payload(16));
  ASSERT_TRUE(Move(trunk_id, owner, 1 - owner).ok());
  trunk.Put(
      FromPod().Ip4("10.244.1.2", "10.244.1.3", {.id = 9, .fragment_offset = 24, .proto = 17}).Payload(16));
  for (int i = 0; i < 2000 && b.sent_count < 2; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(b.sent_count, 2);
  EXPECT_EQ(sw_->ReadCounters().dropped(), 0u);
  Publish(nullptr, nullptr);
}

/// May be sent to by several workers.
class SharedPort : public ScriptPort {
 public:
  using ScriptPort::ScriptPort;
  uint16_t TxBurst(uint16_t queue, rte_mbuf** mbufs, uint16_t n) noexcept override {
    const std::lock_guard lock(mutex_);
    return ScriptPort::TxBurst(queue, mbufs, n);
  }

 private:
  std::mutex mutex_;
};

TEST_F(WorkerSetTest, PacketsThatWaitForANeighbourFollowTheirQueue) {
  ASSERT_TRUE(sw_->AddWorker(cpus_[1], WorkerMode::kAdaptive).ok());
  ScriptPort a{"a"};
  SharedPort uplink{"uplink"};
  sw_->Publish(std::make_unique<Tables>(NodeTables(&a, nullptr, &uplink)));
  constexpr uint16_t kRounds = 10;
  for (uint16_t round = 0; round < kRounds; ++round) {
    const std::string neighbor = fmt::format("192.0.2.{}", 50 + round);
    const auto put = [&](uint16_t number) {
      a.Put(
          FromPod().Ip4("10.244.1.2", neighbor, {.id = static_cast<uint16_t>(round * 4 + number)}).Udp(1, 2));
    };
    put(0);
    put(1);
    const uint16_t owner = OwnerOf(kPodPort);
    const absl::Status moved = Move(kPodPort, owner, 1 - owner);
    ASSERT_TRUE(moved.ok() || OwnerOf(kPodPort) != owner) << moved;
    put(2);
    uplink.Put(Frame().Eth(kUnderlayMac, kPeerMac).Arp(2, kPeerMac, neighbor, kUnderlayMac, "192.0.2.1"));
    put(3);
  }
  for (int i = 0; i < 2000 && sw_->ReadCounters().Get(Counter::kQueued) != 0; ++i) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  Publish(nullptr, nullptr);
  std::vector<uint16_t> order, expected(kRounds * 4);
  for (const Bytes& f : uplink.sent) {
    if (Be16(f, 12) == 0x0800) order.push_back(Be16(f, 18));
  }
  std::iota(expected.begin(), expected.end(), 0);
  // A round's packets may leave behind the next one's first, on another worker.
  std::ranges::stable_sort(order, {}, [](uint16_t id) { return id / 4; });
  EXPECT_EQ(order, expected);
  EXPECT_EQ(sw_->ReadCounters().dropped(), 0u);
}

/// CPU seconds of this process's workers so far.
double WorkerSeconds() {
  double ns = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    double spent = 0;
    std::getline(std::ifstream(task.path() / "comm"), name);
    std::ifstream(task.path() / "schedstat") >> spent;
    if (name.starts_with("pw-worker")) ns += spent;
  }
  return ns / 1e9;
}

TEST_F(WorkerSetTest, AnIdleWorkerSleepsUnlessItPolls) {
  a_.open = b_.open = false;
  Publish(&a_, &b_);
  const auto spent = [](milliseconds time) {
    const double before = WorkerSeconds();
    std::this_thread::sleep_for(time);
    return WorkerSeconds() - before;
  };
  std::this_thread::sleep_for(milliseconds(50));
  const double adaptive = spent(milliseconds(500));
  ASSERT_TRUE(sw_->SetWorkerMode(0, WorkerMode::kPoll).ok());
  EXPECT_EQ(sw_->ReadWorkers()[0].mode, WorkerMode::kPoll);
  const double poll = spent(milliseconds(500));
  ASSERT_TRUE(sw_->SetWorkerMode(0, WorkerMode::kAdaptive).ok());
  std::this_thread::sleep_for(milliseconds(50));
  const double again = spent(milliseconds(500));
  EXPECT_LT(adaptive, 0.15) << "of half a second";
  EXPECT_GT(poll, 2 * adaptive);
  EXPECT_LT(again, poll);
}

}  // namespace worker_set_test
}  // namespace podwire::testing
