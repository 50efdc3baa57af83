"""Cases that only podwired is measured in: many pods on ports of their own, of which some misbehave. A worker takes up to 32
packets from each port in turn, so that a port's share of the traffic is one in the number of sources."""
import copy
import itertools
import os
import random
import struct

from captures import HEADER, records
from cases import (HOST_GW, POD_SUBNET, VXLAN, acl_policies, cluster, memory_mb, policy, stateful_policies)
import plan

CLEAN_FLOWS = 1000
PROTOCOLS = {6: "tcp", 17: "udp"}
ELSEWHERE = "02:00:00:00:00:99"  # a MAC address that no port has
FLOOD_PACKETS = 1_000_000  # as many as may pass while a connection without a reply is remembered


def ip_checksum(header):
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff


def frame(src, dst, sport, dport, proto, to=plan.ROUTER_MAC):
    """64 bytes without FCS: UDP without a checksum, or a TCP SYN (whose checksum the switch does not look at)."""
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 50, 0, 0x4000, 64, proto, 0, src, dst)
    ip = ip[:10] + struct.pack("!H", ip_checksum(ip)) + ip[12:]
    if proto == 17:
        l4 = struct.pack("!HHHH", sport, dport, 30, 0)
    else:
        l4 = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, 0x02, 65535, 0, 0)
    macs = bytes.fromhex((to + plan.SENDER_MAC).replace(":", ""))
    return (macs + b"\x08\0" + ip + l4).ljust(64, b"\0")


def write(path, frames):
    """Writes a capture unless it is there."""
    if os.path.exists(path):
        return path
    with open(path, "wb") as f:
        f.write(HEADER)
        for data in frames:
            f.write(struct.pack("<IIII", 0, 0, len(data), len(data)) + data)
    return path


def floods(source, count, proto, seed, to=plan.ROUTER_MAC):
    """Tuples that never come again: random addresses and ports in the cluster, from one pod's address."""
    rnd = random.Random(seed)
    base = plan.ip2int("10.244.0.0")
    for _ in range(count):
        yield frame(source, base + rnd.getrandbits(16), rnd.randrange(1024, 65536), rnd.randrange(1, 65536), proto, to)


def same_crc(source, count):
    """Tuples that all have one CRC-32C of (addresses, ports), whatever it begins with, and one XOR of their words: what
    collides in hashes without a key, or with a weak one. Found by elimination, the CRC being linear."""
    def crc(data):
        c = 0
        for byte in data:
            c ^= byte
            for _ in range(8):
                c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
        return c
    free = [1 << b for b in range(16)] + [1 << (32 + b) for b in range(15)] + [1 << (48 + b) for b in range(16)]

    def packed(v):  # destination's low half, source port, destination port
        return struct.pack("!IIHH", 0, v & 0xffff, v >> 32 & 0xffff, v >> 48 & 0xffff)
    basis, kernel = {}, []
    for bit in free:
        image, v = crc(packed(bit)), bit
        while image and (top := image.bit_length()) in basis:
            image, v = image ^ basis[top][0], v ^ basis[top][1]
        if image:
            basis[image.bit_length()] = image, v
        else:
            kernel.append(v)
    rnd = random.Random(7)
    seen = set()
    while len(seen) < min(count, 1 << len(kernel)):
        v = 0
        for k in kernel:
            v ^= k * rnd.getrandbits(1)
        if v not in seen:
            seen.add(v)
            yield frame(source, plan.ip2int("10.244.0.0") | v & 0xffff, 0x8000 | v >> 32 & 0x7fff, v >> 48 & 0xffff, 17)


class Pod:
    """capture: what it sends. Of a hostile one `hostile` is the share of that which is hostile, `alone` what it sends without
    that (None: nothing), and `dropped` the same as `capture`, but the switch drops the hostile packets at first sight."""

    def __init__(self, name, capture, addresses, group, namespace="default", hostile=0, alone=None, dropped=None):
        self.name, self.capture, self.addresses, self.group, self.namespace = name, capture, addresses, group, namespace
        self.hostile, self.alone, self.dropped = hostile, alone, dropped


class Scenario:
    """pods: each on a port of its own. wire: a capture that comes by the underlay. settings: more of the configuration."""

    def __init__(self, name, pods, wire=None, backend=HOST_GW, policies=(), connections=65536, timeouts=None,
                 underlay=f"{plan.LOCAL_VTEP}/{plan.LOCAL_VTEP_PLEN}", gateway=None):
        self.name, self.pods, self.wire, self.backend, self.policies = name, pods, wire, backend, policies
        self.connections, self.timeouts, self.underlay, self.gateway = connections, timeouts or {}, underlay, gateway

    def _with(self, change):
        other = copy.copy(self)
        other.pods = [change(copy.copy(p)) for p in self.pods]
        return other

    def alone(self):
        """The same without hostile packets: the ports are there, though they may be silent."""
        def change(p):
            if p.hostile:
                p.capture, p.hostile = p.alone, 0
            return p
        return self._with(change)

    def dropped(self):
        """The same with hostile packets that cost nothing but to be received and dropped."""
        def change(p):
            p.capture = p.dropped if p.hostile else p.capture
            return p
        return self._with(change)

    def config(self, captures):
        sources = {p.name: p.capture for p in self.pods}
        sources["wire"] = self.wire
        mb = memory_mb(sum(captures.packets(path) for path in sources.values() if path))
        ports = []
        for index, (name, path) in enumerate(sources.items()):
            devargs = f"net_pcap{index},rx_pcap={path},infinite_rx=1" if path else f"net_null{index},no-rx=1"
            ports.append({"name": name, "kind": "vdev", "devargs": devargs})
        ports[-1]["mac"] = plan.ROUTER_MAC if self.backend == HOST_GW else plan.LOCAL_VTEP_MAC
        prefix = [int(x) for x in self.underlay.split("/")[0].split(".")][:2], int(self.underlay.split("/")[1])
        near = {ip: mac for _, ip, mac in plan.routes() if prefix[1] == 16 or int(ip.split(".")[2]) >= 128}
        underlay = {"port": "wire", "address": self.underlay, "neighbors": near}
        if self.gateway:
            underlay["gateway"] = self.gateway
            near[self.gateway] = "02:00:00:01:01:00"
        return {"memoryMb": mb, "connections": self.connections, "timeouts": self.timeouts, "ports": ports,
                "gatewayMac": plan.ROUTER_MAC, "underlay": underlay,
                "network": {"Network": "10.244.0.0/15", "SubnetLen": 24, "Backend": self.backend}}

    def set_up(self, podwired):
        podwired.apply(cluster(self.backend, plan.ROUTER_MAC) + list(self.policies))
        for p in self.pods:
            podwired.attach(p.name, p.name, plan.SENDER_MAC, p.addresses, p.namespace)


def own(index, count):
    """The share of the captures' source addresses that pod `index` of `count` has."""
    return [f"10.245.0.{i}/32" for i in range(256) if i % count == index]


def share(captures, case, flows, index, count, keep=lambda dst: True, tag=""):
    """What pod `index` of `count` sends of a case's capture, as far as keep(destination's third byte)."""
    path = captures.path(f"{case}-{flows}-{index}-of-{count}{tag}.pcap")
    source = captures.split(case, flows)[0] if case == "ct" else captures.made(case, flows)
    with open(source, "rb") as f:
        data = f.read()
    found = [data[at + 16:end] for at, end in records(data) if data[at + 16 + 29] % count == index and keep(data[at + 16 + 32])]
    return write(path, found)


def cps(captures, proto=17):
    """Eight pods, each packet a new connection: four times as many tuples as the table has room for, so that one that comes
    again has long been evicted. (Of one pod, the quota would end it; and no time limit is short enough.)"""
    pods = []
    for i in range(1, 9):
        path = captures.path(f"new-{PROTOCOLS[proto]}-{i}.pcap")
        write(path, floods(plan.ip2int(f"10.245.1.{i}"), FLOOD_PACKETS // 8, proto, 100 + i))
        pods.append(Pod(f"new-{i}", path, [f"10.245.1.{i}/32"], "new"))
    return Scenario("cps", pods, policies=stateful_policies(), connections=FLOOD_PACKETS // 4)


def cps_syn(captures):
    """The same with TCP's SYNs."""
    return cps(captures, proto=6)


def mixed(captures):
    """22 ports to nodes of the own subnet, 6 to nodes beyond a gateway (VXLAN), one with new flows, and the wire's VXLAN."""
    pods = []
    for i in range(28):
        near = i < 22
        path = share(captures, "l3", 28 * CLEAN_FLOWS, i, 28, lambda b, n=near: (b >= 128) == n, "-near" if near else "-far")
        pods.append(Pod(f"pod-{i}", path, own(i, 28), "near" if near else "far"))
    flood = write(captures.path("flood-udp.pcap"), floods(plan.ip2int("10.245.1.1"), FLOOD_PACKETS, 17, 1))
    pods.append(Pod("new", flood, ["10.245.1.1/32"], "new"))
    return Scenario("mixed", pods, captures.made("decap", CLEAN_FLOWS), {**VXLAN, "DirectRouting": True},
                    connections=8 << 20, timeouts={"udpNew": 1}, underlay=f"{plan.LOCAL_VTEP}/17", gateway="172.16.128.254")


def attackers_policies():
    """999 rules that leave most of the cluster out."""
    rules = acl_policies()
    for p in rules:
        p["metadata"]["namespace"] = "attack"
    rules[-1]["spec"]["egress"].pop()  # the one that allows all of the cluster
    return rules


def attackers_targets():
    """(address, UDP port) of which these rules allow one by one."""
    for rule in (r for p in attackers_policies() for r in p["spec"]["egress"]):
        address, length = rule["to"][0]["ipBlock"]["cidr"].split("/")
        for port in rule.get("ports", ()):
            if length == "32" and port["protocol"] == "UDP" and "port" in port:
                yield plan.ip2int(address), port["port"]


def attacked(name, captures, **attacker):
    """Nine pods with established flows, and one that may do little."""
    pods = [Pod(f"pod-{i}", share(captures, "l3", CLEAN_FLOWS, i, 9), own(i, 9), "clean") for i in range(9)]
    pods.append(Pod("attacker", addresses=["10.245.1.1/32"], group="attacker", namespace="attack", **attacker))
    return Scenario(name, pods, policies=attackers_policies())


def attack(captures):
    """A tenth of all packets is what no rule allows, each another tuple."""
    def flood(name, to):
        return write(captures.path(f"{name}.pcap"), floods(plan.ip2int("10.245.1.1"), FLOOD_PACKETS, 17, 1, to))
    return attacked("attack", captures, capture=flood("flood-udp", plan.ROUTER_MAC), hostile=1,
                    dropped=flood("flood-udp-elsewhere", ELSEWHERE))


def attack1(captures):
    """A hundredth is: a tenth of what the tenth pod sends, beside a hundred flows that it may have."""
    source = plan.ip2int("10.245.1.1")
    flows = [frame(source, dst, 20000 + i, port, 17) for i, (dst, port) in zip(range(100), itertools.cycle(attackers_targets()))]

    def mix(name, to):
        hostile = floods(source, FLOOD_PACKETS // 10, 17, 1, to)
        each = (f for n, h in enumerate(hostile) for f in (h, *(flows[(9 * n + k) % 100] for k in range(9))))
        return write(captures.path(f"{name}.pcap"), each)
    # As many packets in all three, for a source of a million has to fetch each from memory.
    alone = write(captures.path("attack1-alone.pcap"), itertools.islice(itertools.cycle(flows), FLOOD_PACKETS))
    return attacked("attack1", captures, capture=mix("attack1", plan.ROUTER_MAC), hostile=0.1, alone=alone,
                    dropped=mix("attack1-elsewhere", ELSEWHERE))


def collide(captures, random_tuples=False):
    """20,000 flows whose tuples collide in an unkeyed CRC; or as many random ones to compare with."""
    source = plan.ip2int("10.245.1.1")
    if random_tuples:
        path = write(captures.path("random-20000.pcap"), floods(source, 20000, 17, 2))
    else:
        path = write(captures.path("same-crc.pcap"), same_crc(source, 20000))
    return Scenario("collide", [Pod("pod", path, ["10.245.1.1/32"], "pod")], connections=8 * 20000)


def synflood(captures):
    """One pod with established connections, both directions, and two that send SYNs of random tuples: half of the load."""
    halves = captures.split("ct", CLEAN_FLOWS)
    pods = [Pod("clean", halves[0], [f"10.245.0.{i}/32" for i in range(256)], "clean")]
    for i in (1, 2):
        paths = [write(captures.path(f"flood-syn-{i}{tag}.pcap"), floods(plan.ip2int(f"10.245.1.{i}"), FLOOD_PACKETS // 2, 6, i, to))
                 for tag, to in (("", plan.ROUTER_MAC), ("-elsewhere", ELSEWHERE))]
        pods.append(Pod(f"flood-{i}", paths[0], [f"10.245.1.{i}/32"], "flood", hostile=1, dropped=paths[1]))
    return Scenario("synflood", pods, halves[1], policies=stateful_policies(), connections=262144)


def update(captures):
    """A pod under full load beside 20 idle ones; one of those has its policy changed again and again."""
    pods = [Pod("busy", captures.made("l3", CLEAN_FLOWS), [f"10.245.0.{i}/32" for i in range(256)], "busy")]
    pods += [Pod(f"idle-{i}", None, [f"10.245.1.{i + 1}/32"], "idle") for i in range(20)]
    return Scenario("update", pods, policies=[*acl_policies(), *remote_pods()])


def workers(captures):
    """Two pods under full load, so that there is work for two workers."""
    pods = [Pod(f"pod-{i}", share(captures, "l3", 2 * CLEAN_FLOWS, i, 2), own(i, 2), "clean") for i in range(2)]
    return Scenario("workers", pods)


def remote_pods():
    """479 pods of other nodes, so that 500 are known."""
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"remote-{i}", "namespace": "default",
                                                            "labels": {"number": str(i)}},
             "spec": {"nodeName": f"n{i % 256}"}, "status": {"podIP": f"10.244.{i % 256}.{2 + i // 256}", "phase": "Running"}}
            for i in range(479)]


def one_pods_policy(turn):
    """The policy of the pod idle-0 alone, another one each turn."""
    spec = {"podSelector": {"matchLabels": {"app": "idle-0"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": f"192.0.2.{turn % 250}/32"}}]}]}
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "idle-0", "namespace": "default", "labels": {"app": "idle-0"}},
             "spec": {"nodeName": "bench"}}, policy("one-pods", spec)]


SCENARIOS = {f.__name__: f for f in (cps, cps_syn, mixed, attack, attack1, collide, synflood, update, workers)}
assert POD_SUBNET != "10.245.1.0/24"  # scenarios' other addresses
