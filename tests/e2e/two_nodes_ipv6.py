#!/usr/bin/python3
"""Pods with IPv6 on two nodes: BACKEND (vxlan, host-gw) and UNDERLAY (46: both families, 6: IPv6 only, 4: IPv4 only). With an
underlay of both families, or one only of IPv4, the pods have both; else IPv6 only. SHARED, if given, is the mode of ports that the kernel keeps."""
import json
import sys

from harness import main
from lab import Capture, Node, announce

POLICY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "only-b"},
          "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}}


def overhead(backend, outer):
    return 0 if backend == "host-gw" else 70 if outer == 6 else 50


def explained(node, source, target, port):
    done = node.cli("explain", "--from", source.address, "--to", f"[{target.address}]:{port}", "-o", "json", check=False)
    return json.loads(done.stdout)["verdict"]


def policy(checks, node, web, peer, other):
    """`web` is on `node`; what explain says is what connections find."""
    web.listen(80)
    for what, rules, want in (
            ("no policy", None, ["allowed", "allowed"]), ("nobody is allowed", [], ["denied", "denied"]),
            ("the peer's address is allowed", [{"from": [{"ipBlock": {"cidr": f"{peer.address}/128"}}]}], ["allowed", "denied"]),
            ("all of IPv6 but the peer", [{"from": [{"ipBlock": {"cidr": "::/0", "except": [f"{peer.address}/128"]}}]}],
             ["denied", "allowed"]),
            ("only IPv4 is allowed", [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}], ["denied", "denied"])):
        if rules is not None:
            node.apply({**POLICY, "spec": {**POLICY["spec"], "ingress": rules}})
        for source, verdict in zip((peer, other), want):
            checks.equal(explained(node, source, web, 80), verdict, f"{what}: explain, from {source.name}")
            checks.equal(source.connects(web, 80), verdict == "allowed", f"{what}: a connection from {source.name}")
    node.delete(POLICY)


def too_big(checks, node, target, mtu):
    """A pod with a larger MTU than the way there is told by ICMPv6."""
    large = node.attach("large", config={"mtu": 4000}).by_ipv6()
    out = large.run("ping", "-n", "-c2", "-W1", "-M", "do", "-s", "1800", target.address, check=False).stdout
    checks.check(f"mtu={mtu}" in out or f"mtu = {mtu}" in out or f"mtu: {mtu}" in out, f"the pod is told the way's MTU, {mtu}",
                 out.split("\n")[1:3])
    checks.check(large.ping(target, size=1800) >= 2, "and cuts its packets by itself")


def test(lab, checks):
    backend, underlay = sys.argv[1:3]
    shared = sys.argv[3] if len(sys.argv) > 3 else None
    dual, outer = underlay != "6", 4 if underlay == "4" else 6
    mtu = 1500 - overhead(backend, outer)
    conf = {"EnableIPv6": True, "IPv6Network": "fd44::/48", "Backend": {"Type": backend},
            **({"Network": "10.244.0.0/16"} if dual else {"EnableIPv4": False})}
    a, b = (Node(lab, f"node-{name}", host=n, pod_cidr=f"10.244.{n}.0/24" if dual else None, pod_cidr6=f"fd44:0:0:{n}::/64",
                 families=underlay, network=conf, shared=shared).start() for n, name in ((1, "a"), (2, "b")))
    announce([a, b], backend)
    status = a.json("status")
    checks.check("fd44:0:0:1::/64" in status["podSubnet"] and not status.get("warnings"), "`status` has the IPv6 subnet, no warning", status)
    pod_a, pod_b = a.attach("pod-a"), b.attach("pod-b")
    checks.equal(pod_a.address6, "fd44:0:0:1::2", "the pod's IPv6 address")
    checks.equal(len(pod_a.result["ips"]), 2 if dual else 1, "addresses in the CNI result")
    checks.check("::/0" in [r["dst"] for r in pod_a.result["routes"]], "an IPv6 default route in the CNI result", pod_a.result["routes"])
    seen = json.loads(pod_a.run("ip", "-j", "link", "show", "eth0").stdout)[0]["mtu"]
    checks.equal(seen, mtu, "the pod's MTU")
    six_a, six_b = pod_a.by_ipv6(), pod_b.by_ipv6()
    checks.equal(six_a.ping(pod_a.result["ips"][-1]["gateway"]), 3, "the gateway answers pings")
    neighbours = pod_a.run("ip", "-6", "neigh", "show", "dev", "eth0").stdout
    checks.check("PERMANENT" in neighbours, "the gateway is a permanent neighbour", neighbours.strip())
    checks.exchange(six_a, six_b, mtu)
    if dual:
        checks.exchange(pod_a, pod_b, mtu)
    expression = {"host-gw": "src net fd44::/48", "vxlan": f"ip{'6' if outer == 6 else ''} and udp port 8472"}[backend]
    with Capture(lab, lab.router, "br-a", expression) as capture:
        checks.equal(six_a.ping(six_b), 3, "pod-a pings pod-b")
    checks.check(capture.count >= 6, f"on the underlay these pings and answers are {expression}", f"{capture.count} packets")
    too_big(checks, a, six_b, mtu)
    web, other = a.attach("web", labels={"app": "web"}).by_ipv6(), a.attach("other").by_ipv6()
    policy(checks, a, web, six_b, other)
    hops = six_a.run("traceroute", "-n", "-q", "1", "-w", "1", "-m", "5", six_b.address).stdout.splitlines()[1:]
    checks.check("fd44:0:0:1::1" in hops[0] and six_b.address in hops[-1], "traceroute shows the gateway first, the pod last", hops)
    routes = {r["prefix"]: r for r in a.json("get", "routes")["items"]}
    checks.check("fd44:0:0:2::/64" in routes, "`get routes` has the other node's subnet", routes.get("fd44:0:0:2::/64"))
    a.detach(pod_a)
    checks.equal(six_b.ping(six_a, count=2), 0, "a detached pod is out of reach")


main(test, ipv6=True)
