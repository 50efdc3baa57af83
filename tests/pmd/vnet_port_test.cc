// How VnetPort falls back when the kernel does not take a tunnel's frames as UDP super-packets.
#include "pmd/vnet_port.h"

#include <cerrno>
#include <deque>
#include <vector>

#include <gtest/gtest.h>

#include "tests/pmd/eal_fixture.h"
#include "tests/pmd/super_packet.h"

namespace podwire {
namespace vnet_port_test {

/// A device whose kernel answers each UDP super-packet as the test says (0: takes it) and takes all else.
class ScriptedPort : public VnetPort {
 public:
  explicit ScriptedPort(std::deque<int> answers)
      : VnetPort({.name = "scripted", .options = NetdevOptions{}}, {.pools = TestPools()}, Fd()),
        answers_(std::move(answers)) {
    takes_bundles_ = true;
  }
  uint16_t RxBurst(uint16_t, rte_mbuf**, uint16_t) noexcept override { return 0; }
  MacAddr mac() const override { return {}; }
  bool link_up() const override { return !gone(); }

  /// Sends one packet alone.
  void Send(const SuperPacket& packet) {
    rte_mbuf* m = packet.ToMbuf(200);
    EXPECT_EQ(TxBurst(0, &m, 1), 1);
  }
  size_t unanswered() const { return answers_.size(); }

  int bundles = 0, frames = 0;  ///< taken

 protected:
  int Write(std::span<mmsghdr> messages) noexcept override {
    const auto* header = static_cast<const VnetHeader*>(messages[0].msg_hdr.msg_iov[0].iov_base);
    if (header->gso_type != VnetHeader::kGsoUdp) {
      frames += static_cast<int>(messages.size());
      return static_cast<int>(messages.size());
    }
    if (answers_.empty()) {
      ADD_FAILURE() << "a UDP super-packet too many";
      return -EINVAL;
    }
    const int answer = answers_.front();
    answers_.pop_front();
    if (answer != 0) return answer;
    ++bundles;
    return 1;
  }
  bool MeansGone(int) const noexcept override { return false; }

 private:
  std::deque<int> answers_;
};

/// A tunnelled super-packet of so many segments; 64 of them are a UDP super-packet.
SuperPacket PacketOf(size_t segments) {
  SuperPacket p{.tunnel = Tunnel::kVxlan, .gso_size = 400, .payload = Bytes(segments * 400, 7)};
  p.Build();
  return p;
}

TEST(VnetPort, AnOldKernelIsAskedOnceAndThenGetsFrames) {
  ScriptedPort port({-EINVAL});
  port.Send(PacketOf(20));
  EXPECT_EQ(port.frames, 20);
  port.Send(PacketOf(100));
  EXPECT_EQ(port.frames, 120);
  EXPECT_EQ(port.Stats().tx_packets, 2u);
  EXPECT_EQ(port.Stats().tx_segments, 120u);
  EXPECT_EQ(port.Stats().tx_errors, 0u);
}

TEST(VnetPort, ARefusalAfterAnAcceptedOneConcernsThatPacketOnly) {
  ScriptedPort port({0, -EINVAL, 0});
  port.Send(PacketOf(20));
  EXPECT_EQ(port.frames, 0);
  port.Send(PacketOf(20));
  EXPECT_EQ(port.frames, 20) << "it goes as frames";
  port.Send(PacketOf(20));
  EXPECT_EQ(port.frames, 20);
  EXPECT_EQ(port.bundles, 2);
  EXPECT_EQ(port.Stats().tx_packets, 3u);
  EXPECT_EQ(port.Stats().tx_segments, 60u);
  EXPECT_EQ(port.Stats().tx_errors, 0u);
}

TEST(VnetPort, AFullDeviceIsAnErrorAndNoRefusal) {
  ScriptedPort port({-EAGAIN, 0});
  port.Send(PacketOf(20));
  EXPECT_EQ(port.frames, 0);
  EXPECT_EQ(port.Stats().tx_errors, 1u);
  EXPECT_EQ(port.Stats().tx_packets, 0u);
  EXPECT_EQ(port.Stats().tx_segments, 0u);
  port.Send(PacketOf(20));
  EXPECT_EQ(port.bundles, 1) << "the next is tried the same way";
  EXPECT_EQ(port.Stats().tx_packets, 1u);
}

TEST(VnetPort, APacketThatIsHalfSentIsNotSentAgainAsFrames) {
  ScriptedPort port({0, -EINVAL, 0});
  port.Send(PacketOf(100));
  EXPECT_EQ(port.bundles, 1);
  EXPECT_EQ(port.frames, 0);
  EXPECT_EQ(port.Stats().tx_segments, 64u);
  EXPECT_EQ(port.Stats().tx_errors, 1u);
  port.Send(PacketOf(20));
  EXPECT_EQ(port.bundles, 2);
}

TEST(VnetPort, AnInterruptedWriteIsTriedAgain) {
  ScriptedPort port({-EINTR, -EINTR, 0});
  port.Send(PacketOf(20));
  EXPECT_EQ(port.bundles, 1);
  EXPECT_EQ(port.unanswered(), 0u);
  EXPECT_EQ(port.Stats().tx_errors, 0u);
}

}  // namespace vnet_port_test
}  // namespace podwire
