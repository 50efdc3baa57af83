#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <cstring>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include "pmd/offload.h"
#include "switch/tables.h"

namespace podwire {

/// What the plain parsers of both families share: Ethernet, VXLAN, L4.
class PlainFrame {
 protected:
  static constexpr uint32_t kEthernet = sizeof(rte_ether_hdr);
  static constexpr uint8_t kVxlanFlags = 0x08;  // a VNI and nothing else
  static constexpr uint8_t kTcpStateFlags = RTE_TCP_FIN_FLAG | RTE_TCP_SYN_FLAG | RTE_TCP_RST_FLAG;

  explicit PlainFrame(const Tables& tables) : tables_(tables), local_(tables.local) {}

  /// What the first 16 bytes of a frame must be: destination, source (of pods), type.
  struct Ethernet {
    uint64_t want[2] = {1, 0}, mask[2] = {};  // nothing matches
    bool Matches(const uint8_t* frame) const noexcept {
      uint64_t got[2];
      std::memcpy(got, frame, sizeof got);
      return (((got[0] & mask[0]) ^ want[0]) | ((got[1] & mask[1]) ^ want[1])) == 0;
    }
  };
  static Ethernet Expect(const MacAddr& dst, const MacAddr* src, uint16_t type) noexcept {
    uint8_t want[16] = {}, mask[16] = {};
    std::memcpy(want, dst.bytes.data(), 6);
    std::memset(mask, 0xff, 6);
    if (src != nullptr) {
      std::memcpy(want + 6, src->bytes.data(), 6);
      std::memset(mask + 6, 0xff, 6);
    }
    want[12] = static_cast<uint8_t>(type >> 8);
    want[13] = static_cast<uint8_t>(type);
    mask[12] = mask[13] = 0xff;
    Ethernet e;
    std::memcpy(e.want, want, sizeof want);
    std::memcpy(e.mask, mask, sizeof mask);
    return e;
  }

  /// Null: a port that nothing is forwarded from.
  const PortSlot* SlotOf(PortId port) const noexcept {
    if (port.value() >= tables_.ports.size()) return nullptr;
    const PortSlot& slot = tables_.ports[port.value()];
    return slot.role == PortRole::kNone || slot.role == PortRole::kTrunk ? nullptr : &slot;
  }
  static Ethernet Expect(const PortSlot& slot, uint16_t type) noexcept {
    return Expect(slot.own_mac, slot.role == PortRole::kPod ? &slot.peer_mac : nullptr, type);
  }

  static bool IsDone(const Offload& offload) noexcept {
    return offload.gso_size == 0 && !offload.needs_csum();
  }

  /// Of the node's own VXLAN.
  bool IsOurs(const rte_udp_hdr& udp) const noexcept {
    const auto* vxlan = reinterpret_cast<const rte_vxlan_hdr*>(&udp + 1);
    return udp.dst_port == local_.tunnel_port_be && *reinterpret_cast<const uint8_t*>(vxlan) == kVxlanFlags &&
           rte_be_to_cpu_32(vxlan->vx_vni) >> 8 == local_.vni.value();
  }

  /// TCP or UDP at `ports`, `l4` bytes from mbuf data, in a packet that ends at `end`; UDP's header lies
  /// within.
  static bool TakeL4(const rte_mbuf& m, const rte_udp_hdr* ports, uint32_t l4, uint32_t end, uint8_t proto,
                     uint8_t& tcp_flags) noexcept {
    if (proto == IPPROTO_UDP) {
      const uint32_t len = rte_be_to_cpu_16(ports->dgram_len);
      return len >= sizeof(rte_udp_hdr) && l4 + len <= end;
    }
    if (proto != IPPROTO_TCP || l4 + sizeof(rte_tcp_hdr) > m.data_len) return false;
    const auto* tcp = reinterpret_cast<const rte_tcp_hdr*>(ports);
    const uint32_t len = (tcp->data_off >> 4) * 4u;
    tcp_flags = tcp->tcp_flags;
    return len >= sizeof(rte_tcp_hdr) && l4 + len <= m.data_len && l4 + len <= end;
  }

  /// Cuts off what is behind the packet: Ethernet's padding.
  static bool Trim(rte_mbuf& m, uint32_t end) noexcept {
    if (m.pkt_len != end) {
      if (m.nb_segs != 1) return false;
      m.pkt_len = end;
      m.data_len = static_cast<uint16_t>(end);
    }
    return true;
  }

  /// RFC 1071 over 20 bytes: the ones' complement sum of 16-bit words is the sum modulo 0xffff, in any byte
  /// order, and 0xffff and 0 are the same to it (all zero cannot be: the version is not).
  static bool ChecksumHolds(const rte_ipv4_hdr* h) noexcept {
    uint32_t words[5];
    std::memcpy(words, h, sizeof words);
    return (uint64_t{words[0]} + words[1] + words[2] + words[3] + words[4]) % 0xffff == 0;
  }
  static bool IsWhole(const rte_ipv4_hdr& h) noexcept {
    return (h.fragment_offset & RTE_BE16(RTE_IPV4_HDR_OFFSET_MASK | RTE_IPV4_HDR_MF_FLAG)) == 0;
  }

  bool IsKnown(Ipv4 source) noexcept {
    if (source == known_vtep_) return source.be != 0;
    if (!tables_.vteps.Contains(source)) return false;
    known_vtep_ = source;
    return true;
  }

  const Tables& tables_;
  const LocalNode& local_;

 private:
  Ipv4 known_vtep_;  // the last one found: most of a burst comes from few
};

}  // namespace podwire
