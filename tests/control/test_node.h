#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include <gtest/gtest.h>

#include "control/attacher.h"
#include "fake_port.h"

namespace podwire {

inline constexpr const char* kNetns = "/proc/self/ns/net";
inline constexpr const char* kNetwork = R"({"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}})";
inline constexpr const char* kDualNetwork =
    R"({"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"host-gw"}})";
inline constexpr const char* kSixNetwork =
    R"({"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"host-gw"}})";

/// A controller over a switch that only remembers its tables, and a machine that only remembers its ports.
class TestNode {
 public:
  /// `network` nullptr: none yet.
  explicit TestNode(const std::string& dir, const char* network = kNetwork,
                    const std::string& host_interface = "", const std::string& underlay_port = "",
                    const VfPool* vfs = nullptr)
      : store_(*Store::Open(dir + "/state.db")) {
    config_.node = "node-a";
    config_.state_dir = dir;
    config_.host_interface = host_interface;
    if (!underlay_port.empty())
      config_.underlay = {.port = underlay_port, .address = *ParseInterfaceAddress("192.0.2.1/24")};
    if (network != nullptr) config_.network = ParseNetConfText(network).value();
    auto first = std::make_unique<Tables>();
    first->policy = std::make_shared<const CompiledPolicy>(Compile({}, {}));
    tables_ = std::move(first);
    controller_ = std::make_unique<Controller>(config_, DesiredState(config_.node, config_.network),
                                               Engine{.publish =
                                                          [this](std::unique_ptr<Tables> t) {
                                                            const std::lock_guard lock(mutex_);
                                                            tables_ = std::move(t);
                                                            return tables_;
                                                          },
                                                      .tables =
                                                          [this] {
                                                            const std::lock_guard lock(mutex_);
                                                            return tables_;
                                                          },
                                                      .forget_endpoint = [this](EndpointId) { ++forgotten; },
                                                      .announce_underlay = [this] { ++announced; }},
                                               *store_);
    EXPECT_TRUE(controller_->Load().ok());
    attacher_ = std::make_unique<Attacher>(
        *controller_,
        PodWiring{.create_port = [this](const PortConfig& c) -> absl::StatusOr<std::unique_ptr<Port>> {
                    const std::lock_guard lock(mutex_);
                    if (fail_port) return absl::InternalError("no device");
                    if (const auto* member = std::get_if<TrunkMemberOptions>(&c.options))
                      return TrunkMember::Create(c, *member, /*workers=*/1);
                    return std::make_unique<FakePort>(c, &ports);
                  },
                  .make_macvlan =
                      [this](const MacvlanOptions& o) {
                        macvlan_parents.insert(o.parent);
                        return absl::OkStatus();
                      },
                  .set_up =
                      [this](const PodInterface& pod) {
                        // Policy first: the endpoint is in the tables before its interface is up.
                        const auto t = controller_->tables();
                        EXPECT_NE(t->EndpointOf(pod.addresses.at(0).address), nullptr);
                        return fail_set_up ? absl::InternalError("no link") : absl::OkStatus();
                      },
                  .check = [](const PodInterface&) { return absl::OkStatus(); },
                  .remove =
                      [this](const std::string&, const std::string&, const std::string&) {
                        ++removed;
                        return fail_remove ? absl::InternalError("busy") : absl::OkStatus();
                      },
                  .vfs = vfs});
  }
  ~TestNode() { controller_->ReleasePorts(); }

  AttachSpec Spec(const std::string& container) const {
    return {.key = {container, "eth0"},
            .netns = kNetns,
            .network = "podwire",
            .pod = {"dev", "pod-" + container}};
  }
  Attacher& attacher() { return *attacher_; }
  Controller& controller() { return *controller_; }
  Store& store() { return *store_; }
  size_t attachments() const {
    return controller_->Read([](const ControlState& s) { return s.desired.attachments().size(); });
  }

  PortLog ports;
  std::set<std::string> macvlan_parents;  ///< interfaces on which macvlans were made
  std::atomic<bool> fail_port{false}, fail_set_up{false}, fail_remove{false};
  std::atomic<int> forgotten{0}, removed{0}, announced{0};

 private:
  Config config_;
  std::unique_ptr<Store> store_;
  std::mutex mutex_;
  std::shared_ptr<const Tables> tables_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<Attacher> attacher_;
};

}  // namespace podwire
