#!/usr/bin/python3
"""Pods on nodes that podwire joins, by the backend named: vxlan, host-gw, udp, direct-routing."""
import json
import sys

from harness import main
from lab import Capture, Node, announce

BACKENDS = {
    "vxlan": ({"Type": "vxlan"}, 1450, "udp port 8472"),
    "host-gw": ({"Type": "host-gw"}, 1500, "src net 10.244.0.0/16"),
    "udp": ({"Type": "udp"}, 1472, "udp port 8285"),
    "direct-routing": ({"Type": "vxlan", "DirectRouting": True}, 1450, "src net 10.244.0.0/16"),
}


def on_the_wire(lab, checks, a, b, subnet, expression, what):
    with Capture(lab, lab.router, f"br-{subnet}", expression) as capture:
        checks.equal(a.ping(b), 3, f"{a.name} pings {b.name}")
    checks.check(capture.count >= 6, f"on the underlay these pings and answers are {what}", f"{capture.count} packets")


def too_big(checks, node, target, mtu):
    """A pod with a larger MTU than the way there: it is told by ICMP, and without DF its packets are cut."""
    large = node.attach("large", config={"mtu": 4000})
    out = large.run("ping", "-n", "-c3", "-i0.2", "-W1", "-M", "dont", "-s", "1800", target.address, check=False).stdout
    checks.check(" 3 received" in out, "without DF a packet larger than the way is cut into fragments")
    out = large.run("ping", "-n", "-c2", "-W1", "-M", "do", "-s", "1800", target.address, check=False).stdout
    checks.check(f"mtu = {mtu}" in out or f"mtu={mtu}" in out, f"with DF the pod is told the way's MTU, {mtu}", out.split("\n")[1:3])


def test(lab, checks):
    backend = sys.argv[1]
    network, mtu, on_wire = BACKENDS[backend]
    kind = "host-gw" if backend == "host-gw" else "udp" if backend == "udp" else "vxlan"
    conf = {"Network": "10.244.0.0/16", "Backend": network}
    a = Node(lab, "node-a", host=1, pod_cidr="10.244.1.0/24", network=conf).start()
    b = Node(lab, "node-b", host=2, pod_cidr="10.244.2.0/24", network=conf).start()
    announce([a, b], kind)
    pod_a, pod_b = a.attach("pod-a"), b.attach("pod-b")
    seen = json.loads(pod_a.run("ip", "-j", "link", "show", "eth0").stdout)[0]["mtu"]
    checks.equal(seen, mtu, "the pod's MTU")
    direct = backend in ("host-gw", "direct-routing")
    checks.exchange(pod_a, pod_b, mtu)
    on_the_wire(lab, checks, pod_a, pod_b, "a", on_wire, "plain IP" if direct else f"{backend} datagrams")
    too_big(checks, a, pod_b, 1500 if direct else mtu)
    if backend == "direct-routing":
        c = Node(lab, "node-c", subnet="b", host=3, pod_cidr="10.244.3.0/24", network=conf).start()
        announce([a, b, c], kind)
        pod_c = c.attach("pod-c")
        checks.exchange(pod_a, pod_c, mtu)
        on_the_wire(lab, checks, pod_a, pod_c, "b", "udp port 8472", "vxlan datagrams")
        on_the_wire(lab, checks, pod_a, pod_b, "a", "src net 10.244.0.0/16", "plain IP still")

    hops = pod_a.run("traceroute", "-n", "-q", "1", "-w", "1", "-m", "5", pod_b.address).stdout.splitlines()[1:]
    checks.check("10.244.1.1" in hops[0] and pod_b.address in hops[-1], "traceroute shows the gateway first, the pod last", hops)
    routes = {r["prefix"]: r for r in a.json("get", "routes")["items"]}
    checks.check("10.244.2.0/24" in routes, "`get routes` has the other node's subnet", routes.get("10.244.2.0/24"))
    a.delete(b.node_object(kind))
    checks.equal(pod_a.ping(pod_b, count=2), 0, "without its Node object the other node's pods are out of reach")
    announce([a, b], kind)
    checks.check(pod_a.wait_reaches(pod_b) < 3, "with it they are reached again")


main(test)
