#!/usr/bin/python3
"""Ports come and go while pods talk; a vhost-user pod is DPDK's testpmd with virtio-user."""
import glob
import json
import os
import re
import subprocess

from harness import main
from lab import Flood, Node
from lab.lab import wait_for
from lab.run import in_ns, ip

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}


def names(node):
    return {p["name"]: p for p in node.json("get", "ports")["items"]}


def at_run_time(checks, node):
    a, b = node.attach("a"), node.attach("b")
    ip(node.ns, "link", "add", "spare0", "type", "veth", "peer", "name", "spare1")
    ip(node.ns, "link", "set", "spare0", "up")
    ip(node.ns, "link", "set", "spare1", "up")
    kinds = (("v0", "vdev", "devargs=net_null0,copy=1"), ("v1", "vdev", "devargs=net_ring0"), ("n0", "netdev", "interface=spare0"),
             ("t0", "tap", "interface=pwtest0"), ("u0", "vhost-user", f"socket={node.dir}/u0.sock"))
    flood = Flood(a, b)
    for round_ in range(2):
        for name, kind, option in kinds:
            node.cli("ports", "add", name, "--kind", kind, "--option", option)
        seen = names(node)
        checks.check(all(seen.get(name, {}).get("kind") == kind for name, kind, _ in kinds), f"round {round_}: five ports added", sorted(seen))
        again = node.cli("ports", "add", "t0", "--kind", "tap", "--option", "interface=pwtest1", check=False)
        checks.refused(again, 1, "t0", "exists")
        for name, _, _ in kinds:
            node.cli("ports", "remove", name)
        checks.equal(sorted(names(node)), sorted(n for n, p in seen.items() if p["role"] != "none"), f"round {round_}: and removed")
    sent, answered = flood.end()
    checks.check(sent == answered > 20, "two pods talking meanwhile lose nothing", f"{answered} of {sent} pings answered")
    checks.check("pwtest0" not in node.run("ip", "link").stdout, "the removed tap's interface is gone")
    checks.check(not os.path.exists(f"{node.dir}/u0.sock"), "the removed vhost-user port's socket is gone")
    return a


def uplink_down(checks, lab, node):
    """The underlay's interface goes down and comes up again: podwired says so, and goes on."""
    def told():
        return any("has no link" in w for w in node.json("status").get("warnings", []))

    def answered():
        return subprocess.run(in_ns(lab.router, ["ping", "-q", "-c", "1", "-W", "1", node.address]), stdout=subprocess.DEVNULL, check=False).returncode == 0
    checks.check(answered() and not told(), "the node answers on its underlay")
    ip(node.ns, "link", "set", "eth0", "down")
    wait_for(told, timeout=5, what="a warning of `podwire status`")
    ip(node.ns, "link", "set", "eth0", "up")
    wait_for(lambda: not told(), timeout=5, what="the warning's end")
    wait_for(answered, timeout=10, what="the node's answer")
    checks.check(True, "its interface went down, which `podwire status` told of, and came up: the node answers again")


class Testpmd:
    """A DPDK pod: answers pings by testpmd's icmpecho engine, and ARP."""

    def __init__(self, node, socket, mac, device=""):
        self.prefix = f"{node.lab.tag}vu{'s' if device else ''}"
        words = ["dpdk-testpmd", "--lcores", "0@(0-1),1@(0-1)", "--no-huge", "-m", "128", "--no-pci", f"--file-prefix={self.prefix}",
                 f"--vdev=net_virtio_user0,path={socket},queue_size=1024,mac={mac}{device}", "--", "--total-num-mbufs=4096",
                 "--forward-mode=icmpecho", "--auto-start"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        node.lab.processes.append(self.process)

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        for path in glob.glob(f"/run/dpdk/{self.prefix}*"):
            subprocess.run(["rm", "-rf", path], check=True)


def vhost_user(checks, node, a):
    pod = node.attach("dpdk", config={"attach": "vhost-user"})
    endpoint = node.json("get", "endpoints", "dpdk")
    socket = endpoint["socket"]
    checks.check(os.path.exists(socket), "the pod has a vhost-user socket", re.sub(".*/", ".../", socket))
    checks.equal(a.ping(pod, count=1), 0, "nobody answers before the DPDK pod runs")
    checks.equal(endpoint["state"], "down: nobody is at its socket", "and its state says why")
    process = Testpmd(node, socket, endpoint["mac"])
    wait_for(lambda: names(node)[endpoint["port"]]["linkUp"], timeout=20, what="the vhost-user port's link")
    wait_for(lambda: a.ping(pod, count=1), timeout=10, what="the DPDK pod's answer")
    checks.equal(a.ping(pod, count=10), 10, "a kernel pod pings the DPDK pod")
    checks.equal(a.ping(pod, count=3, size=1400, df=True), 3, "1428 bytes too")
    checks.equal(node.json("get", "endpoints", "dpdk")["state"], "up", "its state now")
    process.end()
    wait_for(lambda: not names(node)[endpoint["port"]]["linkUp"], timeout=10, what="the link's end")
    process = Testpmd(node, socket, endpoint["mac"])
    wait_for(lambda: a.ping(pod, count=1), timeout=20, what="the DPDK pod's answer after its restart")
    checks.equal(a.ping(pod, count=5), 5, "the DPDK pod ended and started again: pings are answered")
    process.end()
    node.detach(pod)
    checks.check(not os.path.exists(socket), "DEL removes the socket")


def vhost_user_client(checks, node, a):
    """The pod listens and has fewer queues than it may; podwired is killed, and finds it again."""
    pod = node.attach("listener", config={"attach": "vhost-user", "vhostUser": {"mode": "client", "queues": 2}})
    endpoint = node.json("get", "endpoints", "listener")
    directory = os.path.dirname(endpoint["socket"])
    with open(endpoint["socket"].replace(".sock", ".json"), encoding="utf-8") as file:
        said = json.load(file)
    checks.check(said["mode"] == "server" and said["mac"] == endpoint["mac"] and said["queues"] == 2, "its directory says what it must know", said)
    process = Testpmd(node, os.path.join(directory, said["socket"]), said["mac"], ",server=1,packed_vq=1")
    wait_for(lambda: a.ping(pod, count=1), timeout=20, what="the listening DPDK pod's answer")
    checks.equal(a.ping(pod, count=5), 5, "a kernel pod pings it, over a packed ring")
    node.kill()
    node.start()
    wait_for(lambda: a.ping(pod, count=1), timeout=20, what="its answer to the podwired after a kill -9")
    checks.equal(a.ping(pod, count=5), 5, "podwired was killed and started again: the pod, which was not, answers")
    process.end()
    node.detach(pod)
    checks.check(not os.path.exists(directory), "DEL removes the directory")


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK).start()
    node.apply(node.node_object())
    a = at_run_time(checks, node)
    uplink_down(checks, lab, node)
    vhost_user(checks, node, a)
    vhost_user_client(checks, node, a)


main(test)
