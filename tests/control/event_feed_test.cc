#include "control/event_feed.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "documents.h"
#include "fake_port.h"
#include "net/status.h"
#include "temp_dir.h"

namespace podwire {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr DropReason kIngress = DropReason::kPolicyDeniedIngress;
constexpr milliseconds kNoTime(0);

std::string LabelledPod(const std::string& name, const std::string& labels, const std::string& rest = "") {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name +
         R"(","namespace":"dev","labels":)" + labels + "}" + rest + "}";
}

constexpr const char* kApiToWeb = R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
    "metadata":{"name":"web","namespace":"dev"},"spec":{"podSelector":{"matchLabels":{"app":"web"}},
    "ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"api"}}}],"ports":[{"port":80}]}]}})";
constexpr const char* kDenyAll = R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
    "metadata":{"name":"deny","namespace":"dev"},"spec":{"podSelector":{},"policyTypes":["Ingress","Egress"]}})";

/// A node with pods dev/web (10.244.1.2) and dev/client (10.244.1.3), and a feed whose events the test makes
/// up.
class EventFeedTest : public testing::Test {
 protected:
  EventFeedTest() : log_({.file = "policy.log", .max_mb = 1, .files = 2}, dir_.path(), "node-a") {
    store_ = *Store::Open(dir_.File("state.db"));
    Config config;
    config.node = "node-a";
    controller_ = std::make_unique<Controller>(
        config, DesiredState("node-a", std::nullopt),
        Engine{.publish = [this](std::unique_ptr<Tables> t) { return tables_ = std::move(t); },
               .tables = [this] { return tables_; },
               .forget_endpoint = [](EndpointId) {},
               .announce_underlay = [] {}},
        *store_);
    feed_ =
        std::make_unique<EventFeed>(*controller_,
                                    EventSource{.take =
                                                    [this](const auto& fn) {
                                                      for (const EventRecord& r : std::exchange(events_, {}))
                                                        fn(r);
                                                    },
                                                .tables = [this] { return tables_; },
                                                .counters = [this] { return totals_; },
                                                .verdicts_left_out = [this] { return verdicts_left_out_; },
                                                .watch = [this](bool watched) { watched_ = watched; }},
                                    log_);
    Attach("web", "10.244.1.2/24", 0);
    Attach("client", "10.244.1.3/24", 1);
    Apply({LabelledPod("web", R"({"app":"web"})"), LabelledPod("client", R"({"app":"client"})"),
           LabelledPod("far", R"({"app":"far"})",
                       R"(,"spec":{"nodeName":"node-b"},"status":{"podIP":"10.244.2.7"})")});
  }
  ~EventFeedTest() override {
    feed_.reset();
    controller_->ReleasePorts();
  }

  void Attach(const std::string& pod, const std::string& address, uint32_t slot) {
    PortConfig port{.name = "pod-" + pod};
    const auto id = controller_->AddPort(port, std::make_unique<FakePort>(port), PortRole::kPod);
    ASSERT_TRUE(id.ok()) << Message(id.status());
    LiveAttachment a;
    a.record.key = {"c-" + pod, "eth0"};
    a.record.pod = {"dev", pod};
    a.record.addresses = {*ParseInterfaceAddress(address)};
    a.record.mac = DeriveMac(pod);
    a.slot = EndpointId(slot);
    a.port = *id;
    ASSERT_TRUE(controller_->Run({.commit = [&] { controller_->state().desired.PutAttachment(a); }}).ok());
  }
  void Apply(const std::vector<std::string>& documents) {
    ParsedObjects parsed = ParseObjects(documents, "default");
    const auto applied = controller_->Apply(parsed, false);
    ASSERT_TRUE(applied.ok()) << Message(applied.status());
  }
  /// A SYN of dev/client to dev/web.
  EventRecord Event(EventKind kind, DropReason reason, uint16_t dst_port = 443) {
    EventRecord r{.event = {.tuple = {.src = *ParseIp("10.244.1.3"),
                                      .dst = *ParseIp("10.244.1.2"),
                                      .src_port = 40000,
                                      .dst_port = dst_port,
                                      .proto = 6},
                            .victim = EndpointId(0),
                            .in_port = PortId(1),
                            .kind = kind,
                            .reason = reason},
                  .worker = 3,
                  .time = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000))};
    if (kind == EventKind::kDrop) ++totals_.drops[static_cast<size_t>(reason)];
    if (kind == EventKind::kCut) ++totals_.counters[static_cast<size_t>(Counter::kConnectionsCut)];
    return r;
  }
  void Drop(DropReason reason, uint16_t dst_port = 443) {
    events_.push_back(Event(EventKind::kDrop, reason, dst_port));
  }
  std::unique_ptr<EventFeed::Watcher> Watch(const EventFilter& filter = {}) { return *feed_->Watch(filter); }
  std::vector<nlohmann::json> LogLines() {
    std::ifstream in(dir_.File("policy.log"));
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  TempDir dir_;
  PolicyLog log_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<const Tables> tables_ = std::make_shared<const Tables>();
  std::unique_ptr<Controller> controller_;
  std::vector<EventRecord> events_;
  CounterTotals totals_;
  uint64_t verdicts_left_out_ = 0;
  bool watched_ = false;
  std::unique_ptr<EventFeed> feed_;
};

TEST_F(EventFeedTest, ADenialNamesPodsPoliciesAndHint) {
  Apply({kApiToWeb});
  const auto watcher = Watch();
  Drop(kIngress);
  feed_->Round();
  const WatchBatch batch = watcher->Wait(kNoTime);
  ASSERT_EQ(batch.events.size(), 1u);
  const NamedEvent& e = batch.events[0];
  EXPECT_EQ(e.kind, EventKind::kDrop);
  EXPECT_EQ(e.worker, 3);
  EXPECT_EQ(e.port, "pod-client");
  EXPECT_EQ(e.src_pod, "dev/client");
  EXPECT_EQ(e.dst_pod, "dev/web");
  EXPECT_EQ(e.pod, "dev/web");
  EXPECT_EQ(e.direction, Direction::kIngress);
  EXPECT_THAT(e.denial().isolating, ElementsAre("dev/web"));
  EXPECT_EQ(e.denial().hint,
            "would pass ingress[0] of dev/web if pod dev/client had the label app=api and it were TCP 80");
  EXPECT_EQ(batch.lost + batch.left_out, 0u);
  const auto last = feed_->LastDenial("dev/web", kIngress);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->tuple.dst_port, 443);
  EXPECT_FALSE(feed_->LastDenial("dev/client", kIngress));
}

TEST_F(EventFeedTest, AnAnswerIsOfThePoliciesInForce) {
  Apply({kApiToWeb});
  const auto watcher = Watch();
  Drop(kIngress);
  feed_->Round();
  Apply({LabelledPod("client", R"({"app":"api"})")});
  Drop(kIngress);
  feed_->Round();
  const auto events = watcher->Wait(kNoTime).events;
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].denial().hint, "would pass ingress[0] of dev/web if it were TCP 80");
}

TEST_F(EventFeedTest, AReplyIsAskedAboutTheOtherWayRound) {
  Apply({kApiToWeb});
  const auto watcher = Watch();
  EventRecord r = Event(EventKind::kDrop, kIngress);
  std::swap(r.event.tuple.src, r.event.tuple.dst);
  std::swap(r.event.tuple.src_port, r.event.tuple.dst_port);
  r.event.victim = EndpointId(1);
  events_.push_back(r);
  feed_->Round();
  const auto events = watcher->Wait(kNoTime).events;
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].reply);
  EXPECT_EQ(events[0].pod, "dev/web");
  EXPECT_THAT(events[0].denial().isolating, ElementsAre("dev/web"));
}

TEST_F(EventFeedTest, OtherReasonsNameThePodThatSent) {
  const auto watcher = Watch();
  EventRecord r = Event(EventKind::kDrop, DropReason::kNoRoute);
  r.event.victim = EndpointId(1);
  r.event.tuple.dst = *ParseIp("10.244.2.7");
  events_.push_back(r);
  feed_->Round();
  const auto events = watcher->Wait(kNoTime).events;
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].direction, Direction::kEgress);
  EXPECT_EQ(events[0].dst_pod, "dev/far") << "another node's pod";
  EXPECT_TRUE(events[0].denial().isolating.empty());
}

TEST_F(EventFeedTest, ManyQuestionsGetNamesAllTheSame) {
  Apply({kApiToWeb});
  const auto watcher = Watch();
  for (uint16_t i = 0; i < EventNames::kQuestions + 10; ++i) Drop(kIngress, static_cast<uint16_t>(1000 + i));
  feed_->Round();
  const auto events = watcher->Wait(kNoTime).events;
  ASSERT_EQ(events.size(), EventNames::kQuestions + 10);
  EXPECT_NE(events.front().denial().hint, "");
  EXPECT_EQ(events.back().denial().hint, "");
  EXPECT_THAT(events.back().denial().isolating, ElementsAre("dev/web"));
}

TEST_F(EventFeedTest, FiltersHoldTogether) {
  Drop(DropReason::kNoRoute, 80);
  Drop(kIngress, 81);
  const auto all = Watch();
  std::vector<std::pair<EventFilter, size_t>> cases{
      {{.pod = "dev/web"}, 2},
      {{.pod = "dev/we"}, 0},
      {{.ns = "dev"}, 2},
      {{.ns = "de"}, 0},
      {{.reason = kIngress}, 1},
      {{.prefix = *ParsePrefix("10.244.1.3/32")}, 2},
      {{.prefix = *ParsePrefix("10.244.1.4/32")}, 0},
      {{.port = 81}, 1},
      {{.port = 40000}, 2},
      {{.proto = 17}, 0},
      {{.pod = "dev/client", .reason = kIngress, .port = 80}, 0},
  };
  std::vector<std::unique_ptr<EventFeed::Watcher>> watchers;
  for (const auto& [filter, count] : cases) watchers.push_back(Watch(filter));
  feed_->Round();
  for (size_t i = 0; i < cases.size(); ++i)
    EXPECT_EQ(watchers[i]->Wait(kNoTime).events.size(), cases[i].second) << i;
  EXPECT_EQ(all->Wait(kNoTime).events.size(), 2u);
}

TEST_F(EventFeedTest, ASlowWatcherLosesAndIsToldHowMany) {
  const auto slow = Watch(), fast = Watch();
  size_t got = 0;
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < EventFeed::kQueue; ++i) Drop(DropReason::kNoRoute);
    feed_->Round();
    const WatchBatch batch = fast->Wait(kNoTime);
    got += batch.events.size();
    EXPECT_EQ(batch.lost, 0u);
  }
  EXPECT_EQ(got, 3 * EventFeed::kQueue);
  const WatchBatch batch = slow->Wait(kNoTime);
  EXPECT_EQ(batch.events.size(), EventFeed::kQueue);
  EXPECT_EQ(batch.lost, 2 * EventFeed::kQueue);
  EXPECT_EQ(slow->Wait(kNoTime).lost, 0u);
}

TEST_F(EventFeedTest, DropsWithoutAnEventAreTold) {
  const auto all = Watch(), other = Watch({.reason = DropReason::kTxFull});
  Drop(kIngress);
  totals_.drops[static_cast<size_t>(kIngress)] += 41;
  feed_->Round();
  EXPECT_EQ(all->Wait(kNoTime).left_out, 41u);
  EXPECT_EQ(other->Wait(kNoTime).left_out, 0u) << "of another reason";
  feed_->Round();
  EXPECT_EQ(all->Wait(kNoTime).left_out, 0u);
}

TEST_F(EventFeedTest, DropsAreWatchedWhileSomebodyDoes) {
  EXPECT_FALSE(watched_);
  auto first = Watch(), second = Watch();
  EXPECT_TRUE(watched_);
  first.reset();
  EXPECT_TRUE(watched_);
  second.reset();
  EXPECT_FALSE(watched_);
}

TEST_F(EventFeedTest, WatchersAreLimited) {
  std::vector<std::unique_ptr<EventFeed::Watcher>> watchers;
  for (size_t i = 0; i < EventFeed::kMaxWatchers; ++i) watchers.push_back(Watch());
  EXPECT_EQ(feed_->Watch({}).status().code(), absl::StatusCode::kResourceExhausted);
  watchers.pop_back();
  EXPECT_TRUE(feed_->Watch({}).ok());
}

TEST_F(EventFeedTest, CutsAreCountedByPolicy) {
  Apply({kApiToWeb, kDenyAll});
  const auto watcher = Watch();
  events_.push_back(Event(EventKind::kCut, kIngress));
  events_.push_back(Event(EventKind::kCut, kIngress, 444));
  totals_.counters[static_cast<size_t>(Counter::kConnectionsCut)] += 3;  // that left no event
  feed_->Round();
  const std::map<std::string, uint64_t> want{{"", 3}, {"dev/deny, dev/web", 2}};
  EXPECT_EQ(feed_->Cuts(), want);
  const auto events = watcher->Wait(kNoTime).events;
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, EventKind::kCut);
  EXPECT_EQ(events[0].pod, "dev/web");
}

TEST_F(EventFeedTest, CloseEndsTheWaiting) {
  feed_->Start();
  const auto watcher = Watch();
  std::thread closer([&] {
    std::this_thread::sleep_for(milliseconds(50));
    feed_->Close();
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(watcher->Wait(std::chrono::seconds(30)).closed);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  closer.join();
}

TEST_F(EventFeedTest, TheThreadTakesRoundsByItself) {
  Drop(DropReason::kNoRoute);
  const auto watcher = Watch();
  feed_->Start();
  EXPECT_EQ(watcher->Wait(std::chrono::seconds(30)).events.size(), 1u);
}

TEST_F(EventFeedTest, VerdictsGoIntoTheLogAndNowhereElse) {
  Apply({kApiToWeb});
  const auto watcher = Watch();
  events_.push_back(Event(EventKind::kVerdict, kIngress));
  feed_->Round();
  Apply({LabelledPod("client", R"({"app":"api"})")});
  events_.push_back(Event(EventKind::kVerdict, DropReason::kNone, 80));
  verdicts_left_out_ = 5;
  feed_->Round();
  EXPECT_TRUE(watcher->Wait(kNoTime).events.empty());
  const auto lines = LogLines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0],
            nlohmann::json::parse(R"({"time":"2023-11-14T22:13:20.000000Z","node":"node-a","verdict":"denied",
      "reason":"policy_denied_ingress","protocol":"tcp","src":"10.244.1.3","srcPort":40000,"dst":"10.244.1.2",
      "dstPort":443,"srcPod":"dev/client","dstPod":"dev/web","direction":"ingress","policies":["dev/web"],
      "hint":"would pass ingress[0] of dev/web if pod dev/client had the label app=api and it were TCP 80"})"));
  EXPECT_EQ(lines[1], nlohmann::json::parse(
                          R"({"time":"2023-11-14T22:13:20.000000Z","node":"node-a","verdict":"allowed",
      "protocol":"tcp","src":"10.244.1.3","srcPort":40000,"dst":"10.244.1.2","dstPort":80,"srcPod":"dev/client",
      "dstPod":"dev/web","ingressPolicy":"dev/web","ingressRule":0,"leftOut":5})"));
}

}  // namespace
}  // namespace podwire
