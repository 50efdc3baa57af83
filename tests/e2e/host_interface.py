#!/usr/bin/python3
"""The node's own way into the pods' network, `hostInterface`, in both families: pods and their node always reach each other, whatever
the policies; it outlives a kill, follows the node's subnets and goes with the configuration's key."""
import json

from harness import main
from lab import Node, Pod, Stream, announce
from lab.lab import wait_for

NETWORK = {"Network": "10.244.0.0/16", "EnableIPv6": True, "IPv6Network": "fd44::/48", "Backend": {"Type": "vxlan"}}
NOBODY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "nobody"},
          "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}


def make_node(lab, name, host, **config):
    return Node(lab, name, host=host, pod_cidr=f"10.244.{host}.0/24", pod_cidr6=f"fd44:0:0:{host}::/64", families="46", network=NETWORK, **config)


def addresses(node):
    """Of podwire0: (IPv4, IPv6), without link-local ones; None without such an interface."""
    shown = node.run("ip", "-j", "addr", "show", "podwire0", check=False)
    links = json.loads(shown.stdout) if shown.returncode == 0 else []
    found = [i["local"] for link in links for i in link["addr_info"] if i["scope"] == "global"]
    return tuple(sorted(found, key=lambda a: ":" in a)) or None


def routes(node):
    """Destinations by podwire0, without the kernel's own."""
    shown = [r for family in "46" for r in json.loads(node.run("ip", f"-{family}", "-j", "route", "show", "dev", "podwire0").stdout)]
    return {r["dst"] for r in shown if r["protocol"] != "kernel"}


def views(node, *pods):
    """The node itself and the pods, by IPv4 and by IPv6."""
    host = Pod(node.lab, f"{node.name} itself", node.ns)
    host.address, host.address6 = addresses(node)
    return [("IPv4", [host, *pods]), ("IPv6", [p.by_ipv6() for p in (host, *pods)])]


def reaches(checks, when, node, web, other, remote, isolated):
    for family, (host, web, other, remote) in views(node, web, other, remote):
        for source, target in ((host, web), (web, host)):
            checks.check(source.ping(target, count=1) == 1 and source.connects(target, 80), f"{when}, {family}: {source.name} reaches {target.name}")
        for source in (other, remote):
            checks.equal(source.connects(web, 80), not isolated, f"{when}, {family}: {source.name} reaches {web.name}")


def made_anew(checks, node):
    """Before the node has its Node object podwired plans subnets itself."""
    planned = addresses(node)
    checks.check(planned and planned[0].startswith("10.244.") and planned[1].startswith("fd44:"), "an address of each family from the start", planned)
    node.apply({**node.node_object(), "spec": {"podCIDRs": ["10.244.77.0/24", "fd44:0:0:77::/64"]}})
    moved = wait_for(lambda: (now := addresses(node)) != planned and now, what="other addresses")
    checks.equal(moved, ("10.244.77.2", "fd44:0:0:77::2"), "the node's subnets are others: so are its addresses")
    node.apply(node.node_object())
    wait_for(lambda: addresses(node) == ("10.244.1.2", "fd44:0:0:1::2"), what="the addresses of the node's own subnets")


def test(lab, checks):
    node = make_node(lab, "node-a", 1, hostInterface="podwire0").start()
    other_node = make_node(lab, "node-b", 2).start()
    made_anew(checks, node)
    announce([node, other_node])
    checks.equal(routes(node), {"10.244.1.1", "10.244.0.0/16", "fd44:0:0:1::1", "fd44::/48"}, "routes to the pods' network, no default route")
    shown = next(e for e in node.json("get", "endpoints", "-A")["items"] if e.get("host"))
    checks.equal([shown["podName"], shown["key"]["ifname"], shown["state"]], ["node-a", "podwire0", "up"], "`get endpoints -A` shows it")
    checks.equal(node.json("get", "pods", "-A")["items"], [], "and it is no pod")
    web, other = node.attach("web", labels={"app": "web"}), node.attach("other")
    remote = other_node.attach("remote")
    for _, (host, pod, *_) in views(node, web):
        for end in (host, pod):
            end.listen(80)
    reaches(checks, "no policy", node, web, other, remote, isolated=False)
    node.apply(NOBODY)
    reaches(checks, "nobody is allowed", node, web, other, remote, isolated=True)
    for family, (host, pod, *_) in views(node, web):
        done = node.cli("explain", "--from", host.address, "--to", pod.address, "--port", "80", check=False)
        checks.equal(done.returncode, 0, f"explain says the same, {family}")
    before = addresses(node)
    streams = [Stream(host, pod) for _, (host, pod, *_) in views(node, web)]
    node.kill()
    node.start()
    checks.equal(addresses(node), before, "killed and started, it has the addresses that it had")
    for stream in streams:
        wait_for(stream.moves, timeout=30, what="the node's TCP connection after the restart")
        stream.end()
    reaches(checks, "after that", node, web, other, remote, isolated=True)
    node.stop()
    node.config["hostInterface"] = "podwire9"
    node.start()
    checks.check(addresses(node) is None and "podwire9" in node.run("ip", "-br", "link").stdout, "another name: another interface")
    node.stop()
    del node.config["hostInterface"]
    node.start()
    left = [e for e in node.json("get", "endpoints", "-A")["items"] if e.get("host")]
    checks.check("podwire" not in node.run("ip", "-br", "link").stdout and not left, "without the key it is gone", left)
    node.stop()
    node.run("ip", "link", "add", "podwire0", "type", "bridge")
    node.config["hostInterface"] = "podwire0"
    node.start()
    checks.check("exists and is not this port's" in node.log_tail() and "bridge" in node.run("ip", "-d", "link", "show", "podwire0").stdout,
                 "somebody else's interface of that name stays, and the log says so")


main(test, ipv6=True)
