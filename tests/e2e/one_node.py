#!/usr/bin/python3
"""Pods of one node: reach each other, the gateway, and nothing they should not."""
import sys

from harness import main
from lab import Node
from lab.run import in_ns, sh

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}

SPOOF = r"""
import socket, sys
src, kind = sys.argv[1], sys.argv[2]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0x0800))
mac = s.getsockname()[4]
gateway = bytes.fromhex(sys.argv[3].replace(":", ""))
if kind == "mac": mac = bytes.fromhex("02dead00beef")
def checksum(b):
    n = sum(int.from_bytes(b[i:i+2], "big") for i in range(0, len(b), 2))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return (~n & 0xffff).to_bytes(2, "big")
ip = bytes.fromhex("4500001c0001000040110000") + socket.inet_aton(src) + socket.inet_aton(sys.argv[4])
ip = ip[:10] + checksum(ip) + ip[12:]
for _ in range(3): s.send(gateway + mac + b"\x08\x00" + ip + bytes.fromhex("1388138900080000"))
"""


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK).start()
    node.apply(node.node_object())
    a, b = node.attach("a"), node.attach("b")
    checks.check(a.address.startswith("10.244.1.") and a.address != b.address, "addresses of the node's subnet", f"{a.address} {b.address}")

    checks.equal(a.ping(b), 3, "a pings b")
    checks.equal(b.ping(a), 3, "b pings a")
    checks.equal(a.ping("10.244.1.1"), 3, "a pings the gateway")
    checks.equal(a.ping(b, size=1400, df=True), 3, "a pings b with 1428 bytes, DF")
    checks.equal(a.ping(b, size=4000), 3, "a pings b with 4028 bytes in fragments")
    checks.equal(a.ping(b, size=60000), 3, "a pings b with 60028 bytes in fragments")

    before = node.counter("super_packets")
    for source, target in ((a, b), (b, a)):
        rate, stalls = source.iperf(target, 1)
        checks.check(rate > 0.5 and stalls == 0, f"TCP {source.name} to {target.name}", f"{rate:.1f} Gbit/s, {stalls} stalls")
    supers = node.counter("super_packets") - before
    checks.check(supers > 100, "64 KB segments pass whole", f"{supers} super-packets")

    hops = a.run("traceroute", "-n", "-q", "1", "-w", "1", "-m", "4", b.address).stdout
    checks.check("10.244.1.1" in hops and b.address in hops.splitlines()[-1], "traceroute shows the gateway, then b", hops.splitlines()[1:])

    b.listen(5000, "udp")
    checks.check(a.connects(b, 5000, "udp"), "UDP is answered")
    refused = a.run(sys.executable, "-c", "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(2)\n"
                    f"s.connect(('{b.address}',5999));s.send(b'x')\ntry: s.recv(9)\nexcept ConnectionRefusedError: print('refused')", check=False).stdout
    checks.equal(refused.strip(), "refused", "the port-unreachable error of a closed UDP port arrives")

    gateway_mac = a.run("ip", "neigh", "show", "dev", "eth0").stdout
    checks.check("PERMANENT" in gateway_mac, "the gateway's MAC is given", gateway_mac.strip())
    a.run("ip", "neigh", "del", "10.244.1.1", "dev", "eth0", check=False)
    checks.equal(a.ping("10.244.1.1", count=1), 1, "without it, ARP for the gateway is answered")
    mac = next(w for w in a.run("ip", "neigh", "show", "dev", "eth0").stdout.split() if w.count(":") == 5)

    for kind, source, reason in (("address", "10.244.1.99", "spoofed_address"), ("mac", a.address, "spoofed_mac")):
        before = node.drops(reason)
        sh(in_ns(a.ns, [sys.executable, "-c", SPOOF, source, kind, mac, b.address]))
        checks.equal(node.drops(reason) - before, 3, f"a forged {kind} is dropped and counted")

    before = node.drops("multicast")
    a.run("ping", "-c1", "-W1", "224.0.0.5", check=False)
    checks.check(node.drops("multicast") > before, "multicast is dropped and counted")
    before = node.drops("no_route")
    out = a.run("ping", "-c1", "-W1", "10.244.1.77", check=False).stdout
    checks.check(node.drops("no_route") > before and "nreachable" in out, "an address that nobody has is unreachable", out.splitlines()[1:2])

    drops = node.json("drops")
    checks.check(any(p["pod"] == "default/a" for p in drops["pods"]), "drops are told by pod", drops["pods"][:2])
    node.detach(a)
    checks.equal(b.ping(a, count=1), 0, "a detached pod is gone")


main(test)
