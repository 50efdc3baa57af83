#include "control/store.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/state_dir.h"
#include "net/status.h"
#include "temp_dir.h"

namespace podwire {
namespace {

Attachment Sample(const std::string& container, const std::string& address) {
  Attachment a;
  a.key = {container, "eth0"};
  a.netns = "/run/netns/" + container;
  a.network = "podwire";
  a.pod = {"dev", "web-" + container};
  a.pod_uid = "u-1";
  a.kind = AttachKind::kVhostUser;
  a.port = "pod-" + container;
  a.mac = *ParseMac("02:00:00:00:00:07");
  a.gateway_mac = *ParseMac("02:00:00:00:00:01");
  a.addresses = {*ParseInterfaceAddress(address)};
  a.gateways = {*ParseIp("10.244.1.1")};
  a.routes = {{*ParsePrefix("192.0.2.0/24"), *ParseIp("10.244.1.9")}, {*ParsePrefix("198.51.100.0/24"), {}}};
  a.mtu = 1450;
  a.delegated_ipam = true;
  a.socket = "/run/x.sock";
  a.vhost = {.client = true, .queues = 4};
  return a;
}

TEST(AttachmentTest, KindsGoBothWaysAndOldRecordsAreRead) {
  Attachment a = Sample("c1", "10.244.1.2/24");
  for (const AttachKind kind : {AttachKind::kTap, AttachKind::kVhostUser, AttachKind::kPort}) {
    a.kind = kind;
    const auto back = AttachmentFromJson(ToJson(a));
    ASSERT_TRUE(back.ok()) << Message(back.status());
    EXPECT_EQ(back->kind, kind);
  }
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto document = nlohmann::json::parse(ToJson(a));
    document.erase("attach");
    document[key] = value;
    return AttachmentFromJson(document.dump());
  };
  EXPECT_EQ(with("vhostUser", true)->kind, AttachKind::kVhostUser);
  EXPECT_EQ(with("vhostUser", false)->kind, AttachKind::kTap);
  EXPECT_FALSE(with("attach", "pigeon").ok());
}

class StoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto store = Store::Open(dir_.File("state.db"));
    ASSERT_TRUE(store.ok()) << Message(store.status());
    store_ = *std::move(store);
  }
  TempDir dir_;
  std::unique_ptr<Store> store_;
};

TEST(AttachmentTest, TheNodesOwnStackStaysThat) {
  Attachment a = Sample("c1", "192.168.50.10/32");
  EXPECT_FALSE(AttachmentFromJson(ToJson(a))->host);
  a.host = true;
  EXPECT_TRUE(AttachmentFromJson(ToJson(a))->host);
}

TEST_F(StoreTest, AttachmentsComeBackWhole) {
  Attachment a = Sample("c1", "10.244.1.7/24");
  const std::vector<IpAddress> cursors{*ParseIp("10.244.1.7"), *ParseIp("fd44::7")};
  ASSERT_TRUE(store_->AddAttachment(a, cursors).ok());
  Reopen();
  auto loaded = store_->LoadAttachments();
  ASSERT_TRUE(loaded.ok()) << Message(loaded.status());
  ASSERT_EQ(loaded->size(), 1u);
  EXPECT_EQ(loaded->front(), a);
  EXPECT_EQ(*store_->LoadCursors(), cursors);
  ASSERT_TRUE(store_->SetAttachmentState(a.key, AttachState::kUp).ok());
  Reopen();
  a.state = AttachState::kUp;
  EXPECT_EQ(store_->LoadAttachments()->front(), a);
  ASSERT_TRUE(store_->RemoveAttachment(a.key).ok());
  ASSERT_TRUE(store_->RemoveAttachment(a.key).ok());
  Reopen();
  EXPECT_TRUE(store_->LoadAttachments()->empty());
}

TEST_F(StoreTest, AnAddressIsNeverGivenTwice) {
  ASSERT_TRUE(store_->AddAttachment(Sample("c1", "10.244.1.7/24"), {}).ok());
  EXPECT_EQ(store_->AddAttachment(Sample("c2", "10.244.1.7/24"), {}).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->AddAttachment(Sample("c1", "10.244.1.8/24"), {}).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->LoadAttachments()->size(), 1u) << "the refused ones left nothing";
  ASSERT_TRUE(store_->RemoveAttachment({"c1", "eth0"}).ok());
  EXPECT_TRUE(store_->AddAttachment(Sample("c2", "10.244.1.7/24"), {}).ok()) << "its address went with it";
}

TEST_F(StoreTest, ObjectsAndPlannedSubnets) {
  const std::map<std::string, PodSubnets> subnets{{"a", *ParsePodSubnets("10.244.1.0/24")},
                                                  {"b", *ParsePodSubnets("10.244.2.0/24,fd44:0:0:2::/64")}};
  ObjectEdit edit{.put = {{{"Pod", "dev", "b"}, "{\"x\":1}"}, {{"Namespace", "", "dev"}, "{}"}},
                  .planned_subnets = &subnets};
  ASSERT_TRUE(store_->WriteObjects(edit).ok());
  ASSERT_TRUE(store_->WriteObjects({.put = {{{"Pod", "dev", "b"}, "{\"x\":2}"}}}).ok());
  Reopen();
  auto objects = store_->LoadObjects();
  ASSERT_TRUE(objects.ok());
  ASSERT_EQ(objects->size(), 2u);
  EXPECT_EQ((*objects)[0].id.kind, "Namespace");
  EXPECT_EQ((*objects)[1].json, "{\"x\":2}");
  EXPECT_EQ(*store_->LoadPlannedSubnets(), subnets);
  ASSERT_TRUE(store_->WriteObjects({.remove = {{"Pod", "dev", "b"}, {"Pod", "dev", "unknown"}}}).ok());
  EXPECT_EQ(store_->LoadObjects()->size(), 1u);
}

TEST_F(StoreTest, AWriteThatFailsHalfwayLeavesNothing) {
  const std::map<std::string, PodSubnets> clash{{"a", *ParsePodSubnets("10.244.1.0/24")},
                                                {"b", *ParsePodSubnets("10.244.1.0/24")}};
  EXPECT_FALSE(store_->WriteObjects({.put = {{{"Pod", "dev", "b"}, "{}"}}, .planned_subnets = &clash}).ok());
  EXPECT_TRUE(store_->LoadObjects()->empty());
}

TEST_F(StoreTest, SurvivesKillAfterTheAnswer) {
  const std::string file = dir_.File("killed.db");
  const pid_t child = fork();
  if (child == 0) {
    auto store = Store::Open(file);
    const bool ok = store.ok() && (*store)->AddAttachment(Sample("c1", "10.244.1.7/24"), {}).ok();
    if (ok) kill(getpid(), SIGKILL);
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto store = Store::Open(file);
  ASSERT_TRUE(store.ok()) << Message(store.status());
  EXPECT_EQ((*store)->LoadAttachments()->size(), 1u);
}

TEST_F(StoreTest, ADamagedDatabaseIsNamedAndKept) {
  const std::string file = dir_.File("bad.db");
  std::ofstream(file) << std::string(8192, 'x');
  const auto store = Store::Open(file);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(Message(store.status()).find(file), std::string::npos);
  EXPECT_NE(Message(store.status()).find("move it away"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(file), 8192u);
}

TEST_F(StoreTest, ANewerSchemaIsRefused) {
  const std::string file = dir_.File("newer.db");
  { ASSERT_TRUE(Store::Open(file).ok()); }
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  ASSERT_TRUE(Execute(db, "PRAGMA user_version = 99").ok());
  sqlite3_close(db);
  EXPECT_EQ(Store::Open(file).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(StateDirTest, HasOneOwner) {
  TempDir dir;
  auto first = StateDir::Lock(dir.File("a/b"));
  ASSERT_TRUE(first.ok()) << Message(first.status());
  const auto second = StateDir::Lock(dir.File("a/b"));
  ASSERT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(second.status()).find("process " + std::to_string(getpid())), std::string::npos)
      << Message(second.status());
  { StateDir released = *std::move(first); }
  EXPECT_TRUE(StateDir::Lock(dir.File("a/b")).ok());
  std::ofstream(dir.File("file")) << "x";
  EXPECT_FALSE(StateDir::Lock(dir.File("file")).ok());
}

}  // namespace
}  // namespace podwire
