#!/usr/bin/python3
"""A podwire node with a plain Linux node: the kernel's own VXLAN device, and plain kernel routes. `--long`: 10 s of iperf3 each way.
`--shared=MODE`: podwire's uplink stays the kernel's, by that mode of port."""
import sys

from harness import main
from lab import Capture, HostGwNode, KernelNode, Node, announce

SECONDS = 10 if "--long" in sys.argv else 2
SHARED = next((w.removeprefix("--shared=") for w in sys.argv if w.startswith("--shared=")), None)


def with_vxlan(lab, checks):
    conf = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
    node = Node(lab, "node-v", host=1, pod_cidr="10.244.1.0/24", network=conf, shared=SHARED).start()
    plain = KernelNode(lab, "plain", host=9, pod_cidr="10.244.9.0/24")
    announce([node], plain=[plain])
    plain.add_peer(node)
    pod = node.attach("pod-v")
    checks.exchange(pod, plain.pod, 1450, SECONDS)
    with Capture(lab, plain.ns, "eth0", "udp dst port 8472 and udp[8:4] = 0x08000000 and udp[12:4] = 0x100") as capture:
        checks.equal(pod.ping(plain.pod), 3, "pod-v pings the plain node's pod")
    checks.check(capture.count >= 6, "VXLAN with VNI 1 to UDP port 8472, both ways", f"{capture.count} packets")
    checks.books(node)
    node.stop()


def with_routes(lab, checks):
    conf = {"Network": "10.245.0.0/16", "Backend": {"Type": "host-gw"}}
    node = Node(lab, "node-h", host=11, pod_cidr="10.245.1.0/24", network=conf, shared=SHARED).start()
    plain = HostGwNode(lab, "routes", host=19, pod_cidr="10.245.9.0/24")
    announce([node], "host-gw", plain=[plain])
    plain.add_direct_peer(node)
    checks.exchange(node.attach("pod-h"), plain.pod, 1500, SECONDS)


def test(lab, checks):
    with_vxlan(lab, checks)
    with_routes(lab, checks)


main(test)
