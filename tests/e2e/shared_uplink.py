#!/usr/bin/python3
"""Nodes whose underlay interfaces stay the kernel's, by the port mode named: pods talk by vxlan and host-gw while connections to the
nodes' own addresses on the same interface go on, also when podwired is killed and comes back."""
import sys
import time

from harness import main
from lab import Capture, Node, Pod, Stream, announce

PATIENCE = 1.0  # seconds: the longest gap of a TCP connection that counts as undisturbed, on a machine with other work to do


def make_nodes(lab, mode, backend, first):
    """At addresses of their own: the kernel takes a namespace that has gone away from the wire in its own time."""
    conf = {"Network": "10.244.0.0/16", "Backend": {"Type": backend}}
    nodes = [Node(lab, f"{name}-{backend}", host=host, pod_cidr=f"10.244.{host}.0/24", network=conf, shared=mode, **more)
             for name, host, more in (("a", first, {"hostInterface": "podwire0"}), ("b", first + 1, {}))]
    for node in nodes:
        node.start()
    announce(nodes, backend)
    return nodes


def filters(node):
    """Of podwire's on the interface: XDP program, tc filter."""
    return "podwire_uplink" in node.run("ip", "-d", "link", "show", "eth0").stdout, \
        "podwire_ingress" in node.run("tc", "filter", "show", "dev", "eth0", "ingress", check=False).stdout


def undisturbed(checks, stream, since, what):
    gap = stream.longest_gap(since)
    checks.check(stream.moves() and gap < PATIENCE, f"{what}: the host's own TCP connection goes on", f"longest gap {gap * 1000:.0f} ms")


def pods_and_host(lab, checks, a, b, mtu, stream, outside):
    pod_a, pod_b = a.attach("pod-a"), b.attach("pod-b")
    begin = time.monotonic()
    checks.exchange(pod_a, pod_b, mtu)
    rate, stalls = outside.iperf(a.host(), 2)
    checks.check(rate > 0.05 and stalls == 0, "iperf3 to the node's own address", f"{rate:.2f} Gbit/s, {stalls} stalls")
    rate, stalls = a.host().iperf(b.host(), 2)
    checks.check(rate > 0.05 and stalls == 0, "iperf3 from node to node by their own addresses", f"{rate:.2f} Gbit/s, {stalls} stalls")
    undisturbed(checks, stream, begin, "pods talk")
    neighbors = a.run("ip", "neigh", "show", b.address).stdout
    checks.check("lladdr" in neighbors, "the other node is the kernel's neighbour", neighbors.strip())
    checks.equal(a.counter("arp_requests") + a.counter("arp_replies"), 0, "podwire sends no ARP there")
    return pod_a, pod_b


def flushed(checks, a, pod_a, pod_b):
    a.run("ip", "neigh", "flush", "dev", "eth0")
    checks.check(pod_a.wait_reaches(pod_b) < 3, "the kernel's neighbours are flushed: pods talk again at once")


def killed(lab, checks, a, pod_a, pod_b, stream, mode):
    begin = time.monotonic()
    a.kill()
    with Capture(lab, lab.router, "br-a", f"icmp[0] == 3 and src host {a.address}") as unreachable:
        checks.equal(pod_b.ping(pod_a), 0, "podwired is killed: its pods are out of reach")
        pod_b.run("ping", "-n", "-q", "-c", 20, "-i", "0.02", "-W", "1", pod_a.address, check=False)
    checks.equal(unreachable.count, 0, "and the kernel does not answer for it")
    undisturbed(checks, stream, begin, "killed")
    checks.equal(filters(a), (mode == "af_xdp", mode == "af_packet"), "its filter is still there (XDP, tc)")
    begin = time.monotonic()
    a.start()
    checks.check(pod_b.wait_reaches(pod_a) < 5, "started again: the pods are reached")
    undisturbed(checks, stream, begin, "started again")


def another_mac(checks, a, pod_a, pod_b):
    """The filter goes by the interface's MAC: the port is opened again."""
    a.run("sysctl", "-qw", "net.ipv4.conf.eth0.arp_notify=1")
    a.run("ip", "link", "set", "eth0", "address", "02:00:00:00:77:01")
    time.sleep(1.5)
    checks.check(pod_b.wait_reaches(pod_a) < 5, "the interface gets another MAC: the pods are reached")
    checks.check(pod_a.wait_reaches(pod_b) < 5, "and reach others")
    log = open(a.log, encoding="utf-8").read()
    checks.check("its interface has another MAC" in log and 'msg="port back" port=uplink' in log, "the log says why")


def stopped(checks, a, b, stream):
    begin = time.monotonic()
    for node in (a, b):
        checks.books(node)
        checks.equal(node.stop()[0], 0, f"{node.name} stops")
        checks.equal(filters(node), (False, False), "and leaves no filter on the interface (XDP, tc)")
    undisturbed(checks, stream, begin, "stopped")


def hosts_and_pods(checks, a, pod_a):
    """A pod and the node's own address on the underlay."""
    host = a.host()
    checks.equal(pod_a.ping(host), 3, "a pod pings its node's underlay address")
    host.listen(8080)
    checks.check(pod_a.connects(host, 8080), "and reaches a server there")
    pod_a.listen(8081)
    checks.check(host.connects(pod_a, 8081), "the node reaches the pod")


def test(lab, checks):
    mode = sys.argv[1]
    for backend, mtu, first in (("vxlan", 1450, 1), ("host-gw", 1500, 3)):
        print(f"--- {mode}, {backend}")
        a, b = make_nodes(lab, mode, backend, first)
        port = a.json("get", "ports", "uplink") if backend == "vxlan" else None
        if port:
            checks.check(port["options"]["how"].startswith(mode), "how the port works", port["options"]["how"])
        outside = Pod(lab, "outside", lab.router, "192.0.2.254")
        stream = Stream(outside, a.host())
        pod_a, pod_b = pods_and_host(lab, checks, a, b, mtu, stream, outside)
        hosts_and_pods(checks, a, pod_a)
        flushed(checks, a, pod_a, pod_b)
        killed(lab, checks, a, pod_a, pod_b, stream, mode)
        another_mac(checks, a, pod_a, pod_b)
        stopped(checks, a, b, stream)
        stream.end()
        for node in (a, b):
            for pod in list(node.pods.values()):
                lab.delete_ns(pod.ns)
            lab.delete_ns(node.ns)


main(test)
