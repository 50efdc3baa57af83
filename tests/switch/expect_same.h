#pragma once

#include <gtest/gtest.h>

#include "pmd/offload.h"
#include "switch/packet.h"

namespace podwire {

/// That two ways of parsing a frame have come to the same descriptor and mbuf; `plain` may differ.
template <class Key>
void ExpectSame(const BasicPacket<Key>& a, const BasicPacket<Key>& b) {
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.hash, b.hash);
  EXPECT_EQ(a.l3_offset, b.l3_offset);
  EXPECT_EQ(a.l4_offset, b.l4_offset);
  EXPECT_EQ(a.l3_len, b.l3_len);
  EXPECT_EQ(a.frag_id_be, b.frag_id_be);
  EXPECT_EQ(a.tcp_flags, b.tcp_flags);
  EXPECT_EQ(a.ttl, b.ttl);
  EXPECT_EQ(a.tos, b.tos);
  EXPECT_EQ(a.outer_tos, b.outer_tos);
  EXPECT_EQ(a.tunnelled, b.tunnelled);
  EXPECT_EQ(a.first_fragment, b.first_fragment);
  EXPECT_EQ(a.dont_fragment, b.dont_fragment);
  EXPECT_EQ(a.mbuf->pkt_len, b.mbuf->pkt_len);
  EXPECT_EQ(a.mbuf->data_len, b.mbuf->data_len);
  EXPECT_EQ(OffloadOf(*a.mbuf), OffloadOf(*b.mbuf));
}

}  // namespace podwire
