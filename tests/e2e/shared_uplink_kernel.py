#!/usr/bin/python3
"""What podwire takes from the kernel of an interface that it shares: address, gateways, neighbours; and what it refuses, with the cure."""
import json
import os

from harness import main
from lab import Node, Pod, announce
from lab.lab import wait_for
from lab.run import ip

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}


class Refused:
    """What a podwired that did not start says."""

    def __init__(self, node):
        if os.path.exists(node.log):
            os.truncate(node.log, 0)
        node.start(wait=False)
        self.returncode = node.process.wait(30)
        self.stdout = node.log_tail().splitlines()[-1]


def refusals(checks, lab):
    node = Node(lab, "bad", host=9, pod_cidr="10.244.9.0/24", network=NETWORK, shared="af_xdp")
    ip(node.ns, "addr", "flush", "dev", "eth0")
    checks.refused(Refused(node), 1, "eth0 is shared with the kernel, but has no address", "ip addr add")
    ip(node.ns, "addr", "add", "192.0.2.9/24", "dev", "eth0")
    node.config["underlay"]["address"] = "192.0.2.77/24"
    checks.refused(Refused(node), 1, "underlay.address: 192.0.2.77/24 is not eth0's", "192.0.2.9/24")
    del node.config["underlay"]["address"]
    with open(f"{lab.dir}/pass.c", "w", encoding="ascii") as source:
        source.write('__attribute__((section("xdp"), used)) int others(void* c) { return 2; }\n')
    other = f"{lab.dir}/pass.o"
    node.run("clang", "-target", "bpf", "-O2", "-c", f"{lab.dir}/pass.c", "-o", other)
    node.run("ip", "link", "set", "eth0", "xdpgeneric", "obj", other, "sec", "xdp")
    checks.refused(Refused(node), 1, "port uplink", "eth0", "an XDP program of somebody else's", "others", "mode af_packet")
    checks.check("others" in node.run("ip", "-d", "link", "show", "eth0").stdout, "which stays where it is")
    node.run("ip", "link", "set", "eth0", "xdpgeneric", "off")
    ip(node.ns, "link", "set", "eth0", "mtu", 9000)
    checks.refused(Refused(node), 1, "the MTU of eth0 is 9000", "mode af_packet")
    ip(node.ns, "link", "set", "eth0", "mtu", 1500)
    doctor = json.loads(node.run(lab.program("podwire"), "doctor", "--config", node.config_path, "-o", "json", check=False).stdout)
    text = json.dumps(doctor)
    checks.check("answers what is podwire's" not in text, "`podwire doctor` does not mind the kernel's address there")


def routes(checks, a, c, pod_a, pod_c):
    """Nodes on different subnets: the kernel's default routes say by which gateways."""
    checks.exchange(pod_a, pod_c, 1450)
    ip(c.ns, "route", "del", "default")
    told = wait_for(lambda: [w for w in c.json("status").get("warnings", []) if "beyond the underlay subnet" in w], what="a warning")
    checks.check(told, "without the kernel's route podwire says so", told[0])
    checks.equal(pod_a.ping(pod_c, count=1), 0, "and the node is out of reach")
    ip(c.ns, "route", "add", "192.0.2.0/24", "via", "198.51.100.254")
    checks.check(pod_a.wait_reaches(pod_c) < 3, "with another route to the other's subnet it is reached again")
    outside = Pod(c.lab, "outside", c.lab.router, "192.0.2.254")
    c.lab.route(c)
    checks.equal(pod_c.ping(outside), 3, "a pod reaches a host beyond by the kernel's route")


def neighbors(checks, lab, a, b, pod_a, pod_b):
    """Another node's MAC changes, which the kernels' ARP finds out; a permanent one is as it was."""
    mac = json.loads(b.run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"]
    ip(a.ns, "neigh", "replace", b.address, "lladdr", mac, "dev", "eth0", "nud", "permanent")
    checks.check(pod_a.wait_reaches(pod_b) < 3, "a permanent neighbour of the kernel's is used")
    checks.check("PERMANENT" in a.run("ip", "neigh", "show", b.address).stdout, "and stays one")
    ip(a.ns, "neigh", "replace", b.address, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")
    checks.equal(pod_a.ping(pod_b, count=1), 0, "with a wrong MAC in the kernel's table it is not reached")
    ip(a.ns, "neigh", "del", b.address, "dev", "eth0")
    checks.check(pod_a.wait_reaches(pod_b) < 3, "and is again when that has gone")


def removed(checks, lab, b, pod_a, pod_b):
    """The interface goes, and another one of its name comes, with another index."""
    ip(lab.router, "link", "del", "to-node-b")
    wait_for(lambda: b.json("get", "ports", "uplink")["state"].startswith("gone"), timeout=5, what="the port's state")
    checks.equal(pod_a.ping(pod_b, count=1), 0, "the interface is removed: the other node is out of reach")
    gateway = lab.plug(b.ns, "a", "node-b", 4)
    ip(b.ns, "addr", "add", f"{b.address}/24", "dev", "eth0")
    ip(b.ns, "route", "add", "default", "via", gateway)
    wait_for(lambda: b.json("get", "ports", "uplink")["state"] == "up", timeout=5, what="the port to come back")
    checks.check(pod_b.wait_reaches(pod_a) < 5, "it is there again: so is the other node, by the kernel's neighbours")
    checks.exchange(pod_a, pod_b, 1450)


def address_lost(checks, a):
    ip(a.ns, "addr", "del", f"{a.address}/24", "dev", "eth0")
    told = wait_for(lambda: [w for w in a.json("status").get("warnings", []) if "no longer" in w], what="a warning")
    checks.check(told, "the kernel's address is taken away: `podwire status` says so", told[0])


def test(lab, checks):
    refusals(checks, lab)
    a = Node(lab, "node-a", host=1, pod_cidr="10.244.1.0/24", network=NETWORK, shared="auto").start()
    b = Node(lab, "node-b", host=2, pod_cidr="10.244.2.0/24", network=NETWORK, shared="af_xdp", queues=4).start()
    c = Node(lab, "node-c", subnet="b", host=3, pod_cidr="10.244.3.0/24", network=NETWORK, shared="auto").start()
    announce([a, b, c])
    checks.check(f"address {a.address}/24" in a.json("status")["underlay"], "the underlay's address is the kernel's", a.json("status")["underlay"])
    checks.equal(b.json("get", "ports", "uplink")["options"]["how"], "af_xdp, native, copy, 4 queues", "AF_XDP on an interface of four queues")
    checks.equal(a.json("get", "ports", "uplink")["options"]["how"], "af_packet (af_xdp: the driver copies frames)", "`auto`, where AF_XDP would copy")
    pod_a, pod_b, pod_c = a.attach("pod-a"), b.attach("pod-b"), c.attach("pod-c")
    checks.exchange(pod_a, pod_b, 1450)
    routes(checks, a, c, pod_a, pod_c)
    neighbors(checks, lab, a, b, pod_a, pod_b)
    removed(checks, lab, b, pod_a, pod_b)
    address_lost(checks, a)


main(test)
