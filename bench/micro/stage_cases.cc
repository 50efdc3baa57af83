// Parse and rewrite alone.
#include <array>

#include "bench/micro/case.h"
#include "bench/micro/mbuf_ring.h"
#include "overlay/next_hop.h"
#include "switch/parse.h"
#include "switch/rewrite.h"
#include "tests/switch/test_tables.h"

namespace podwire::bench {
namespace {

using testing::Bytes;
using testing::Frame;

std::vector<Bytes> Plain() {
  std::vector<Bytes> frames;
  for (uint16_t i = 0; i < kBurst; ++i)
    frames.push_back(
        testing::FromPod().Ip4("10.244.1.2", "10.244.2.7").Tcp(20000 + i, 80).Payload(10).Build());
  return frames;
}

std::vector<Bytes> Vxlan() {
  std::vector<Bytes> frames;
  for (uint16_t i = 0; i < kBurst; ++i)
    frames.push_back(
        testing::FromTunnel().Ip4("10.244.2.7", "10.244.1.2").Tcp(20000 + i, 80).Payload(10).Build());
  return frames;
}

class ParseCase : public Case {
 public:
  ParseCase(std::vector<Bytes> frames, PortId port) : frames_(std::move(frames)) { ports_.fill(port); }
  void Prepare() override { burst_ = ring_.Fill(frames_); }
  void Run() override {
    Parse(tables_, std::span(burst_, kBurst), ports_.data(), 12345, packets.data(), packets6.data());
    Use(packets);
  }

 protected:
  std::array<Packet, kBurst> packets;
  std::array<Packet6, kBurst> packets6;

 private:
  const std::vector<Bytes> frames_;
  const Tables tables_ = testing::TestTables();
  std::array<PortId, kBurst> ports_;
  MbufRing ring_;
  rte_mbuf** burst_ = nullptr;
};

/// What ForwardPacket does to the headers.
class Rewrite : public ParseCase {
 public:
  Rewrite(std::vector<Bytes> frames, PortId port, NextHop::Kind kind) : ParseCase(std::move(frames), port) {
    adjacency_.hop.kind = kind;
    BuildHeader(adjacency_.hop, {.src_mac = testing::kUnderlayMac,
                                 .dst_mac = testing::kPeerMac,
                                 .src = testing::Ip("192.0.2.1"),
                                 .dst = testing::Ip("192.0.2.9"),
                                 .udp_port = 8472,
                                 .inner_src_mac = testing::kVtepMac,
                                 .inner_dst_mac = testing::kPeerVtepMac});
  }
  void Prepare() override {
    ParseCase::Prepare();
    ParseCase::Run();
  }
  void Run() override {
    for (Packet& p : packets) {
      DecrementTtl(p);
      Use(StripHeaders(p));
      Use(PrependHeader(p, adjacency_, testing::kPeerMac, ip_id_));
    }
  }

 private:
  Adjacency adjacency_;
  uint16_t ip_id_ = 0;
};

void Add(Cases& cases, const char* name, std::function<std::unique_ptr<Case>()> make) {
  cases.push_back({.name = name, .items = kBurst, .prepared = true, .make = std::move(make)});
}

}  // namespace

void AddStageCases(Cases& cases) {
  using enum NextHop::Kind;
  Add(cases, "parse/plain", [] { return std::make_unique<ParseCase>(Plain(), testing::kPodPort); });
  Add(cases, "parse/vxlan", [] { return std::make_unique<ParseCase>(Vxlan(), testing::kUnderlayPort); });
  Add(cases, "rewrite/direct", [] { return std::make_unique<Rewrite>(Plain(), testing::kPodPort, kDirect); });
  Add(cases, "rewrite/encap", [] { return std::make_unique<Rewrite>(Plain(), testing::kPodPort, kVxlan); });
  Add(cases, "rewrite/decap",
      [] { return std::make_unique<Rewrite>(Vxlan(), testing::kUnderlayPort, kDirect); });
}

}  // namespace podwire::bench
