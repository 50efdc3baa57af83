#include "control/controller.h"

#include <thread>

#include <gtest/gtest.h>

#include "documents.h"
#include "fake_port.h"
#include "net/status.h"
#include "temp_dir.h"

namespace podwire {
namespace {

constexpr const char* kPolicy = R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
    "metadata":{"name":"p","namespace":"dev"},"spec":{"podSelector":{}}})";
constexpr const char* kBadPolicy = R"({"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
    "metadata":{"name":"bad","namespace":"dev"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"x"}}]}]}})";

class ControllerTest : public testing::Test {
 protected:
  ControllerTest() { Restart(); }
  ~ControllerTest() override { controller_->ReleasePorts(); }

  void Restart() {
    controller_.reset();
    store_.reset();
    store_ = *Store::Open(dir_.File("state.db"));
    Config config;
    config.node = "node-a";
    controller_ = std::make_unique<Controller>(
        config, DesiredState("node-a", ParseNetConfText(R"({"Network":"10.244.0.0/16"})").value()),
        Engine{.publish =
                   [this](std::unique_ptr<Tables> t) {
                     ++published_;
                     return tables_ = std::move(t);
                   },
               .tables = [this] { return tables_; },
               .forget_endpoint = [](EndpointId) {},
               .announce_underlay = [] {}},
        *store_);
    ASSERT_TRUE(controller_->Load().ok());
  }

  absl::StatusOr<std::vector<ObjectResult>> Apply(const std::vector<std::string>& documents,
                                                  bool dry_run = false) {
    parsed_ = ParseObjects(documents, "default");
    return controller_->Apply(parsed_, dry_run);
  }
  size_t objects() const {
    return controller_->Read([](const ControlState& s) { return s.desired.objects().size(); });
  }

  PortLog log_;  // outlives the ports
  TempDir dir_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<const Tables> tables_ = std::make_shared<const Tables>();
  std::unique_ptr<Controller> controller_;
  ParsedObjects parsed_;
  int published_ = 0;
};

TEST_F(ControllerTest, AppliesReportsAndRemembers) {
  auto r = Apply({kNamespace, kPolicy});
  ASSERT_TRUE(r.ok()) << Message(r.status());
  EXPECT_EQ((*r)[0].outcome, ObjectOutcome::kCreated);
  const int published = published_;
  EXPECT_GT(published, 0);
  EXPECT_EQ((*Apply({kPolicy}))[0].outcome, ObjectOutcome::kUnchanged);
  r = Apply({R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"dev","labels":{"a":"b"}}})"});
  EXPECT_EQ((*r)[0].outcome, ObjectOutcome::kReplaced);
  Restart();
  EXPECT_EQ(objects(), 2u);
  const bool labelled = controller_->Read(
      [](const ControlState& s) { return s.desired.model().namespaces.at("dev").labels.contains("a"); });
  EXPECT_TRUE(labelled);
}

TEST_F(ControllerTest, NothingIsAppliedIfOneIsBad) {
  const auto r = Apply({kNamespace, kBadPolicy, kPolicy});
  ASSERT_EQ(r.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      Message(r.status()).find("document 2: NetworkPolicy dev/bad: spec.ingress[0].from[0].ipBlock.cidr: "),
      0u)
      << Message(r.status());
  EXPECT_EQ(objects(), 0u);
  EXPECT_TRUE(store_->LoadObjects()->empty());
}

TEST_F(ControllerTest, DryRunChangesNothing) {
  const auto r = Apply({kNamespace}, true);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ((*r)[0].outcome, ObjectOutcome::kCreated);
  EXPECT_EQ(objects(), 0u);
  EXPECT_TRUE(store_->LoadObjects()->empty());
}

TEST_F(ControllerTest, NodesThatCannotBeAreRefusedTogether) {
  ASSERT_TRUE(Apply({NodeJson("a", "10.244.1.0/24")}).ok());
  const auto r =
      Apply({NodeJson("b", "10.244.1.0/24"), NodeJson("c", "10.9.0.0/24"), NodeJson("d", "10.244.4.0/24")});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(parsed_.problems.size(), 2u);
  EXPECT_EQ(parsed_.problems[0].field, "spec.podCIDR");
  EXPECT_EQ(objects(), 1u);
}

TEST_F(ControllerTest, DeletingANamespaceTakesItsObjects) {
  ASSERT_TRUE(Apply({kNamespace, kPolicy}).ok());
  const auto r = controller_->Delete({{"Namespace", "", "dev"}, {"Pod", "dev", "unknown"}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->size(), 3u);
  EXPECT_EQ(r->back().outcome, ObjectOutcome::kUnchanged);
  EXPECT_EQ(objects(), 0u);
  EXPECT_TRUE(store_->LoadObjects()->empty());
}

TEST_F(ControllerTest, PortsComeAndGo) {
  PortLog& log = log_;
  const PortConfig config{.name = "x", .options = VdevOptions{"net_null0"}};
  ASSERT_TRUE(controller_->AddPort(config, std::make_unique<FakePort>(config, &log), PortRole::kNone).ok());
  EXPECT_EQ(tables_->ports.at(0).name, "x");
  EXPECT_EQ(controller_->AddPort(config, std::make_unique<FakePort>(config), PortRole::kNone).status().code(),
            absl::StatusCode::kAlreadyExists);
  const PortConfig uplink{.name = "up", .options = VdevOptions{"net_null1"}};
  ASSERT_TRUE(
      controller_->AddPort(uplink, std::make_unique<FakePort>(uplink, &log), PortRole::kUnderlay).ok());
  EXPECT_EQ(controller_->RemovePort("up").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(controller_->RemovePort("nope").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(controller_->RemovePort("x").ok());
  EXPECT_EQ(tables_->ports.at(0).port, nullptr);
  EXPECT_EQ(log.open, (std::set<std::string>{"up"}));
}

TEST_F(ControllerTest, ReadersDoNotWaitForPublications) {
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(Apply({R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n)" +
                         std::to_string(i) + "\"}}"})
                      .ok());
    }
    done = true;
  });
  size_t last = 0;
  while (!done) {
    const size_t now = objects();
    EXPECT_GE(now, last);
    last = now;
  }
  writer.join();
  EXPECT_EQ(objects(), 20u);
}

}  // namespace
}  // namespace podwire
