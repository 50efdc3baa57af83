#!/usr/bin/python3
"""A podwire node with a plain Linux node: the kernel's own VXLAN device, and plain kernel routes. `--long`: 10 s of iperf3 each way."""
import sys

from harness import main
from lab import Capture, HostGwNode, KernelNode, Node, announce

SECONDS = 10 if "--long" in sys.argv else 2


def exchange(checks, ours, theirs, mtu):
    for source, target in ((ours, theirs), (theirs, ours)):
        way = f"{source.name} to {target.name}"
        checks.check(source.wait_reaches(target) < 3, f"{way}: the first ping is answered")
        checks.equal(source.ping(target, size=mtu - 28, df=True), 3, f"{way}: pings of {mtu} bytes, DF")
        checks.equal(source.ping(target, size=5000), 3, f"{way}: pings of 5028 bytes in fragments")
        rate, stalls = source.iperf(target, SECONDS)
        checks.check(rate > 0.01 and stalls == 0, f"{way}: iperf3, {SECONDS} s", f"{rate:.2f} Gbit/s, {stalls} stalls")
        target.listen(5300, "udp")
        checks.check(source.connects(target, 5300, "udp"), f"{way}: UDP is answered")


def with_vxlan(lab, checks):
    conf = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
    node = Node(lab, "node-v", host=1, pod_cidr="10.244.1.0/24", network=conf).start()
    plain = KernelNode(lab, "plain", host=9, pod_cidr="10.244.9.0/24")
    announce([node], plain=[plain])
    plain.add_peer(node)
    pod = node.attach("pod-v")
    exchange(checks, pod, plain.pod, 1450)
    with Capture(lab, plain.ns, "eth0", "udp dst port 8472 and udp[8:4] = 0x08000000 and udp[12:4] = 0x100") as capture:
        checks.equal(pod.ping(plain.pod), 3, "pod-v pings the plain node's pod")
    checks.check(capture.count >= 6, "VXLAN with VNI 1 to UDP port 8472, both ways", f"{capture.count} packets")
    checks.books(node)
    node.stop()


def with_routes(lab, checks):
    conf = {"Network": "10.245.0.0/16", "Backend": {"Type": "host-gw"}}
    node = Node(lab, "node-h", host=11, pod_cidr="10.245.1.0/24", network=conf).start()
    plain = HostGwNode(lab, "routes", host=19, pod_cidr="10.245.9.0/24")
    announce([node], "host-gw", plain=[plain])
    plain.add_direct_peer(node)
    exchange(checks, node.attach("pod-h"), plain.pod, 1500)


def test(lab, checks):
    with_vxlan(lab, checks)
    with_routes(lab, checks)


main(test)
