#include "switch/connection.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>
#include <vector>

#include "switch/elapsed.h"

namespace podwire {
namespace connection_test {

constexpr uint8_t kF = 0x01, kS = 0x02, kR = 0x04, kP = 0x08, kA = 0x10, kU = 0x20;

struct Step {
  uint8_t flags;
  bool reply;
  ConnState expected;  // kNone: refused, and the state stays
};

struct Dialogue {
  const char* name;
  ConnState from;
  std::vector<Step> steps;
};

constexpr bool kOrig = false, kBack = true;
using enum ConnState;

const std::vector<Dialogue> kDialogues = {
    {"open, data, close by the client",
     kNone,
     {{kS, kOrig, kSynSent},
      {kS | kA, kBack, kSynRecv},
      {kA, kOrig, kEstablished},
      {kP | kA, kOrig, kEstablished},
      {kA, kBack, kEstablished},
      {kF | kA, kOrig, kFinWait},
      {kA, kBack, kFinWait},
      {kF | kA, kBack, kLastAck},
      {kA, kOrig, kTimeWait},
      {kF | kA, kBack, kTimeWait}}},
    {"close by the server, half closed for long",
     kEstablished,
     {{kF | kA, kBack, kCloseWait},
      {kA, kOrig, kCloseWait},
      {kP | kA, kOrig, kCloseWait},
      {kF | kA, kBack, kCloseWait},
      {kF | kA, kOrig, kLastAck},
      {kA, kBack, kTimeWait}}},
    {"simultaneous close",
     kEstablished,
     {{kF | kA, kOrig, kFinWait},
      {kF | kA, kBack, kLastAck},
      {kA, kBack, kTimeWait},
      {kA, kOrig, kTimeWait}}},
    {"simultaneous open",
     kNone,
     {{kS, kOrig, kSynSent},
      {kS, kBack, kSynRecv},
      {kS | kA, kOrig, kSynRecv},
      {kS | kA, kBack, kSynRecv},
      {kA, kOrig, kEstablished}}},
    {"handshake with repetitions",
     kNone,
     {{kS, kOrig, kSynSent},
      {kS, kOrig, kSynSent},
      {kS | kA, kBack, kSynRecv},
      {kS, kOrig, kSynRecv},
      {kS | kA, kBack, kSynRecv},
      {kA, kOrig, kEstablished},
      {kS | kA, kBack, kEstablished}}},
    {"refused", kNone, {{kS, kOrig, kSynSent}, {kR | kA, kBack, kClose}, {kS, kOrig, kSynSent}}},
    {"the beginner cannot establish alone",
     kSynSent,
     {{kA, kOrig, kNone}, {kF | kA, kOrig, kNone}, {kS | kA, kOrig, kNone}}},
    {"challenge ACK of a forgotten connection",
     kNone,
     {{kS, kOrig, kSynSent}, {kA, kBack, kSynSent}, {kR, kOrig, kClose}, {kS, kOrig, kSynSent}}},
    {"reset by either", kEstablished, {{kR, kBack, kClose}, {kA, kOrig, kClose}, {kR | kA, kOrig, kClose}}},
    {"picked up in the middle", kNone, {{kA, kOrig, kEstablished}, {kP | kA, kBack, kEstablished}}},
    {"picked up at its end", kNone, {{kF | kA, kOrig, kFinWait}, {kF | kA, kBack, kLastAck}}},
    {"picked up at its reset", kNone, {{kR, kOrig, kClose}}},
    {"an answer is no beginning", kNone, {{kS | kA, kOrig, kNone}}},
    {"opened again after time-wait", kTimeWait, {{kS, kOrig, kSynSent}, {kS | kA, kBack, kSynRecv}}},
    {"opened again after close", kClose, {{kS, kOrig, kSynSent}}},
    {"opened again before the last ACK", kLastAck, {{kS, kOrig, kSynSent}}},
    {"not opened again by the other side", kTimeWait, {{kS, kBack, kNone}}},
    {"nor after a reset", kClose, {{kS, kBack, kNone}}},
    {"nor while it is open", kEstablished, {{kS, kBack, kNone}, {kS, kOrig, kEstablished}}},
    {"closed before established", kSynRecv, {{kF | kA, kOrig, kFinWait}}},
    {"server closes first of all", kSynRecv, {{kF | kA, kBack, kCloseWait}}},
    {"urgent and congestion flags are no matter",
     kNone,
     {{kS | 0xc0, kOrig, kSynSent}, {kS | kA | 0x40, kBack, kSynRecv}, {kA | kU | kP, kOrig, kEstablished}}},
};

TEST(NextTcpState, Dialogues) {
  for (const Dialogue& d : kDialogues) {
    ConnState state = d.from;
    int n = 0;
    for (const Step& step : d.steps) {
      const ConnState next = NextTcpState(state, step.flags, step.reply);
      EXPECT_EQ(Name(next), Name(step.expected)) << d.name << ", step " << n;
      if (next != kNone) state = next;
      ++n;
    }
  }
}

TEST(NextTcpState, ImpossibleFlagsAreRefusedInEveryState) {
  for (int state = 0; state <= static_cast<int>(kClose); ++state) {
    for (const uint8_t flags : {0, int{kF}, kS | kF, kS | kR, kF | kR, kS | kF | kA, kS | kR | kA,
                                kF | kR | kA, kF | kS | kR | kA, kP | kU, kF | kP | kU}) {
      EXPECT_EQ(NextTcpState(static_cast<ConnState>(state), static_cast<uint8_t>(flags), false), kNone)
          << state << " " << int{flags};
    }
  }
}

TEST(NextTcpState, StatesOfOtherProtocolsAreRefused) {
  EXPECT_EQ(NextTcpState(kNew, kA, false), kNone);
  EXPECT_EQ(NextTcpState(ConnState::kReply, kS, false), kNone);
}

TEST(IdleLimit, ByProtocolAndState) {
  Timeouts t;
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kSynSent, false), 120'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kSynRecv, false), 60'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kEstablished, false), 432'000'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kLastAck, false), 30'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kClose, false), 10'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_UDP, kNew, false), 30'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_UDP, ConnState::kReply, false), 120'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_SCTP, ConnState::kReply, false), 210'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_ICMP, ConnState::kReply, false), 30'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_GRE, kNew, false), 600'000u);
  t.tcp_established = UINT32_MAX;
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kEstablished, false), static_cast<uint32_t>(INT32_MAX));
}

TEST(IdleLimit, WhatWasPickedUpAndNotAnsweredIsForgottenSoon) {
  const Timeouts t;
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kEstablished, true), 120'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_TCP, kSynRecv, true), 60'000u);
  EXPECT_EQ(IdleLimitMs(t, IPPROTO_GRE, kNew, true), 600'000u);
}

TEST(IsAnswered, TcpByTheHandshakesLastAckOrByTheOtherSideOfWhatWasPickedUp) {
  EXPECT_FALSE(IsAnswered(kSynSent, kSynRecv, true));
  EXPECT_FALSE(IsAnswered(kSynRecv, kSynRecv, true));
  EXPECT_TRUE(IsAnswered(kSynRecv, kEstablished, false));
  EXPECT_FALSE(IsAnswered(kSynRecv, ConnState::kCloseWait, true)) << "a server gives up on a SYN flood";
  EXPECT_FALSE(IsAnswered(kEstablished, kEstablished, false));
  EXPECT_TRUE(IsAnswered(kEstablished, kEstablished, true));
  EXPECT_FALSE(IsAnswered(kEstablished, kClose, true));
}

TEST(IsAnswered, OthersByAReply) {
  EXPECT_FALSE(IsAnswered(kNew, kNew, false));
  EXPECT_TRUE(IsAnswered(kNew, ConnState::kReply, true));
}

TEST(ElapsedMs, SurvivesTheWrapAndClocksThatAreAhead) {
  EXPECT_EQ(ElapsedMs(10, 4), 6u);
  EXPECT_EQ(ElapsedMs(5, UINT32_MAX - 4), 10u);
  EXPECT_EQ(ElapsedMs(4, 10), 0u);
}

}  // namespace connection_test
}  // namespace podwire
