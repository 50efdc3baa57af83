#!/usr/bin/python3
"""A podwire node with a plain Linux node in dual stack: the kernel's VXLAN devices as flannel sets them up, one over IPv6, and
plain kernel routes."""
from harness import main
from lab import Capture, HostGwNode, KernelNode, Node, announce

NETWORK = {"Network": "10.244.0.0/16", "EnableIPv6": True, "IPv6Network": "fd44::/48"}


def with_vxlan(lab, checks):
    node = Node(lab, "node-v", host=1, pod_cidr="10.244.1.0/24", pod_cidr6="fd44:0:0:1::/64", families="46",
                network={**NETWORK, "Backend": {"Type": "vxlan"}}).start()
    plain = KernelNode(lab, "plain", host=9, pod_cidr="10.244.9.0/24", pod_cidr6="fd44:0:0:9::/64")
    announce([node], plain=[plain])
    plain.add_peer(node)
    pod = node.attach("pod-v")
    checks.exchange(pod.by_ipv6(), plain.pod.by_ipv6(), 1430, 2)
    checks.exchange(pod, plain.pod, 1430, 2)
    with Capture(lab, plain.ns, "eth0", "ip6 and udp dst port 8472") as capture:
        checks.equal(pod.by_ipv6().ping(plain.pod.by_ipv6()), 3, "pod-v pings the plain node's pod")
    checks.check(capture.count >= 6, "VXLAN over IPv6 to UDP port 8472, both ways", f"{capture.count} packets")
    checks.books(node)
    node.stop()


def with_routes(lab, checks):
    node = Node(lab, "node-h", host=11, pod_cidr="10.244.11.0/24", pod_cidr6="fd44:0:0:11::/64", families="46",
                network={**NETWORK, "Backend": {"Type": "host-gw"}}).start()
    plain = HostGwNode(lab, "routes", host=19, pod_cidr="10.244.19.0/24", pod_cidr6="fd44:0:0:19::/64")
    announce([node], "host-gw", plain=[plain])
    plain.add_direct_peer(node)
    pod = node.attach("pod-h")
    checks.exchange(pod.by_ipv6(), plain.pod.by_ipv6(), 1500, 2)
    checks.exchange(pod, plain.pod, 1500, 2)


def test(lab, checks):
    with_vxlan(lab, checks)
    with_routes(lab, checks)


main(test, ipv6=True)
