#!/usr/bin/python3
"""A podwire node with a plain Linux node in dual stack: the kernel's VXLAN devices as flannel sets them up, one over IPv6, and
plain kernel routes."""
from harness import main
from lab import Capture, HostGwNode, KernelNode, Node, announce

NETWORK = {"Network": "10.244.0.0/16", "EnableIPv6": True, "IPv6Network": "fd44::/48"}


def exchange(checks, ours, theirs, mtu):
    headers = 48 if ":" in ours.address else 28
    for source, target in ((ours, theirs), (theirs, ours)):
        way = f"{source.name} to {target.name}"
        checks.check(source.wait_reaches(target) < 3, f"{way}: the first ping is answered")
        checks.equal(source.ping(target, size=mtu - headers, df=True), 3, f"{way}: pings of {mtu} bytes, DF")
        checks.equal(source.ping(target, size=5000), 3, f"{way}: pings of {5000 + headers} bytes in fragments")
        rate, stalls = source.iperf(target, 2)
        checks.check(rate > 0.01 and stalls == 0, f"{way}: iperf3, 2 s", f"{rate:.2f} Gbit/s, {stalls} stalls")
        port = 5300 if ":" in ours.address else 5301
        target.listen(port, "udp")
        checks.check(source.connects(target, port, "udp"), f"{way}: UDP is answered")


def with_vxlan(lab, checks):
    node = Node(lab, "node-v", host=1, pod_cidr="10.244.1.0/24", pod_cidr6="fd44:0:0:1::/64", families="46",
                network={**NETWORK, "Backend": {"Type": "vxlan"}}).start()
    plain = KernelNode(lab, "plain", host=9, pod_cidr="10.244.9.0/24", pod_cidr6="fd44:0:0:9::/64")
    announce([node], plain=[plain])
    plain.add_peer(node)
    pod = node.attach("pod-v")
    exchange(checks, pod.by_ipv6(), plain.pod.by_ipv6(), 1430)
    exchange(checks, pod, plain.pod, 1430)
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
    exchange(checks, pod.by_ipv6(), plain.pod.by_ipv6(), 1500)
    exchange(checks, pod, plain.pod, 1500)


def test(lab, checks):
    with_vxlan(lab, checks)
    with_routes(lab, checks)


main(test, ipv6=True)
