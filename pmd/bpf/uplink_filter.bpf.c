// Which frames of an interface that the kernel keeps are podwire's. One question, asked in three places: by
// the driver (XDP, for AF_XDP), by podwire's AF_PACKET socket, and at the kernel's ingress, so that it does
// not see them too.
//
// Podwire's are, of unicast frames to the interface's MAC and of no VLAN: UDP datagrams to the VTEP's address
// and the tunnel's port, and IP packets to the node's pods. Fragments to the VTEP's address are the kernel's,
// all of them: only the first has ports, VTEPs do not fragment (RFC 7348 4.3), and who else does must have
// them together. So are IPv6 packets to it with extension headers.
//
// Without the process, the program drops what is podwire's (its sockets are gone), and passes everything
// else.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "uplink_rules.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct UplinkRules);
} rules SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, UPLINK_MAX_PREFIXES);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct UplinkPrefix4);
  __type(value, __u8);
} pods4 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, UPLINK_MAX_PREFIXES);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct UplinkPrefix6);
  __type(value, __u8);
} pods6 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, UPLINK_MAX_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

// A frame from its MAC header on: of an skb, or in memory.
struct Frame {
  struct __sk_buff* skb;
  const char* data;
  const char* end;
};

static __always_inline int Read(const struct Frame* f, __u32 at, void* to, __u32 len) {
  if (f->skb) return bpf_skb_load_bytes(f->skb, at, to, len) == 0;
  const char* from = f->data + at;
  if (from + len > f->end) return 0;
  __builtin_memcpy(to, from, len);
  return 1;
}

// There is no memcmp to call.
static __always_inline int Same(const __u8* a, const __u8* b, __u32 len) {
  __u8 differs = 0;
#pragma unroll
  for (__u32 i = 0; i < len; ++i) differs |= a[i] ^ b[i];
  return differs == 0;
}

static __always_inline int IsToTunnel(const struct Frame* f, __u32 at, const struct UplinkRules* r) {
  struct udphdr udp;
  return r->tunnel_port_be != 0 && Read(f, at, &udp, sizeof udp) && udp.dest == r->tunnel_port_be;
}

static __always_inline int TakesV4(const struct Frame* f, const struct UplinkRules* r) {
  struct iphdr ip;
  if (!Read(f, sizeof(struct ethhdr), &ip, sizeof ip) || ip.version != 4 || ip.ihl < 5) return 0;
  if (ip.daddr == r->vtep4_be) {  // most of the host's own traffic
    const __be16 more_or_offset = bpf_htons(0x3fff);
    if (ip.protocol != IPPROTO_UDP || (ip.frag_off & more_or_offset) != 0) return 0;
    return IsToTunnel(f, sizeof(struct ethhdr) + ip.ihl * 4, r);
  }
  struct UplinkPrefix4 key = {.length = 32};
  __builtin_memcpy(key.address, &ip.daddr, sizeof key.address);
  return bpf_map_lookup_elem(&pods4, &key) != 0;
}

static __always_inline int TakesV6(const struct Frame* f, const struct UplinkRules* r) {
  struct ipv6hdr ip;
  if (!Read(f, sizeof(struct ethhdr), &ip, sizeof ip) || ip.version != 6) return 0;
  if (Same(ip.daddr.s6_addr, r->vtep6, sizeof r->vtep6)) {
    return ip.nexthdr == IPPROTO_UDP && IsToTunnel(f, sizeof(struct ethhdr) + sizeof ip, r);
  }
  struct UplinkPrefix6 key = {.length = 128};
  __builtin_memcpy(key.address, &ip.daddr, sizeof key.address);
  return bpf_map_lookup_elem(&pods6, &key) != 0;
}

static __always_inline int Takes(const struct Frame* f) {
  const __u32 only = 0;
  const struct UplinkRules* r = bpf_map_lookup_elem(&rules, &only);
  struct ethhdr eth;
  if (!r || !Read(f, 0, &eth, sizeof eth)) return 0;
  if (!Same(eth.h_dest, r->mac, sizeof r->mac)) return 0;
  if (eth.h_proto == bpf_htons(ETH_P_IP)) return TakesV4(f, r);
  if (eth.h_proto == bpf_htons(ETH_P_IPV6)) return TakesV6(f, r);
  return 0;
}

static __always_inline int TakesSkb(struct __sk_buff* skb) {
  if (skb->vlan_present && (skb->vlan_tci & 0xfff) != 0) return 0;  // VLAN 0 is a priority only
  const struct Frame frame = {.skb = skb};
  return Takes(&frame);
}

SEC("xdp")
int podwire_uplink(struct xdp_md* ctx) {
  const struct Frame frame = {.data = (const char*)(long)ctx->data, .end = (const char*)(long)ctx->data_end};
  if (!Takes(&frame)) return XDP_PASS;
  return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_DROP);
}

SEC("socket")
int podwire_socket(struct __sk_buff* skb) { return TakesSkb(skb) ? -1 : 0; }

SEC("tc")
int podwire_ingress(struct __sk_buff* skb) { return TakesSkb(skb) ? TC_ACT_SHOT : TC_ACT_UNSPEC; }

char uplink_license[] SEC("license") = "Apache-2.0";
