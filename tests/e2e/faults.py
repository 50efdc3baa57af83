#!/usr/bin/python3
"""Devices that vanish under podwired: each port says what is wrong, nothing else notices, and what comes back is taken up again."""
import re
import signal
import time

from harness import main
from lab import Node, announce
from lab.lab import wait_for
from lab.run import ip

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
TRUNK = "podwire-t0"


def port(node, name):
    return next((p for p in node.json("get", "ports")["items"] if p["name"] == name), None)


def state(node, pod):
    return next(e["state"] for e in node.json("get", "endpoints", "-A")["items"] if e["podName"] == pod)


def wait_state(node, name, begin, timeout=5):
    wait_for(lambda: port(node, name)["state"].startswith(begin), timeout=timeout, what=f"port {name} {begin}")
    return port(node, name)["state"]


class Watch:
    """Pings from one pod to another, 20 a second, while something else happens."""

    def __init__(self, source, target):
        self.log = f"{source.lab.dir}/watch.log"
        self.process = source.spawn("ping", "-n", "-q", "-i", "0.05", target.address, log=self.log)
        self.begin = time.monotonic()

    def end(self):
        """How many were sent, in eight seconds at least, and how many lost."""
        time.sleep(max(0, self.begin + 8 - time.monotonic()))
        self.process.send_signal(signal.SIGINT)
        self.process.wait(5)
        found = re.search(r"(\d+) packets transmitted, (\d+) received", open(self.log).read())
        return int(found[1]), int(found[1]) - int(found[2])


def test(lab, checks):
    a = Node(lab, "node-a", host=1, pod_cidr="10.244.1.0/24", network=NETWORK)
    a.config["ports"].append({"name": "trunk0", "kind": "tap", "interface": TRUNK, "trunk": True})
    b = Node(lab, "node-b", host=2, pod_cidr="10.244.2.0/24", network=NETWORK)
    a.start(), b.start()
    announce([a, b])
    p, q, far = a.attach("p"), a.attach("q"), b.attach("far")
    m, n = a.attach("m", config={"attach": "macvlan"}), a.attach("n", config={"attach": "macvlan"})
    checks.check(p.wait_reaches(far) < 3 and p.ping(m) == 3, "all reach each other")

    watch = Watch(p, q)

    # The underlay's link.
    ip(lab.router, "link", "set", "to-node-a", "down")
    checks.equal(wait_state(a, "uplink", "down"), "down", "the other end goes down: the port says so")
    wait_for(lambda: "link down" in a.log_tail(), timeout=3, what="the log's line")
    ip(lab.router, "link", "set", "to-node-a", "up")
    checks.equal(wait_state(a, "uplink", "up"), "up", "and up again")
    checks.check(p.wait_reaches(far) < 5, "the other node is reached again")

    # Its interface.
    ip(lab.router, "link", "del", "to-node-a")
    said = wait_state(a, "uplink", "gone")
    checks.equal(said, "gone: its interface was removed", "the interface is removed: the port says so")
    wait_for(lambda: "port uplink is gone: its interface was removed" in a.cli("status").stdout, timeout=3, what="podwire status's warning")
    before = a.drops("no_route")
    checks.equal(p.ping(far, count=2), 0, "the other node is not reached")
    checks.check(a.drops("no_route") >= before + 2, "its routes are withdrawn: no_route")
    shown = a.cli("explain", "--from", p.address, "--to", f"{far.address}:53", "--proto", "udp", check=False).stdout
    checks.check("no_route" in shown or "no route" in shown, "explain says so")
    lab.plug(a.ns, "a", "node-a")
    checks.equal(wait_state(a, "uplink", "up"), "up", "the interface comes back: so does the port, by itself")
    checks.check(p.wait_reaches(far) < 5, "the other node is reached again")
    rate, stalls = p.iperf(far, 1)
    checks.check(rate > 0.1 and not stalls, "TCP to it", f"{rate:.2f} Gbit/s")

    # A pod's namespace, without CNI DEL.
    q2 = a.attach("gone")
    lab.delete_ns(q2.ns)
    wait_for(lambda: state(a, "gone").startswith("gone"), timeout=5, what="the pod's state")
    checks.equal(state(a, "gone"), "gone: its network namespace is no more", "a namespace deleted under a tap: the pod's state says so")
    checks.check(not any(x.get("pod") == "default/gone" for x in a.json("get", "ports")["items"]), "its port is closed")
    before = a.drops("no_route")
    p.ping(q2, count=2)
    checks.check(a.drops("no_route") >= before + 2, "nothing leads to it any more: no_route")
    checks.equal(a.cni("DEL", None, "c-gone")[0], 0, "DEL")
    a.pods.pop("gone")

    # The interface alone.
    r = a.attach("r")
    r.run("ip", "link", "del", "eth0")
    wait_for(lambda: state(a, "r").startswith("gone"), timeout=5, what="the pod's state")
    checks.equal(state(a, "r"), "gone: its interface was removed", "an interface that its pod removed")
    status, result = a.cni("CHECK", r.ns, "c-r", config={"prevResult": r.result}, check=False)
    checks.check(status != 0 and "removed" in result["msg"], "CNI CHECK says so", result["msg"] if status else None)
    a.detach(r)

    # A trunk: its pods' interfaces go with it, and come back with it.
    a.run("ip", "link", "del", TRUNK)
    wait_for(lambda: m.ping(n, count=1) == 1, timeout=10, what="pods of a trunk that was removed to have a way again")
    checks.check(m.ping(p) == 3 and p.ping(n) == 3, "a trunk that was removed is made again, with its pods' interfaces")
    log = open(a.log).read()
    checks.check('msg="port gone" port=trunk0' in log and 'msg="port back" port=trunk0' in log, "the log tells of both")

    sent, lost = watch.end()
    checks.check(sent > 100 and lost == 0, "two other pods have noticed nothing of all this", f"{sent} pings, {lost} lost")


main(test)
