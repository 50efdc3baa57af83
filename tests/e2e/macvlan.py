#!/usr/bin/python3
"""Pods on a macvlan trunk: one port of the switch carries them all, and policy stands between any two of them."""
import sys
import time

from harness import main
from lab import Node
from lab.lab import wait_for
from lab.run import in_ns, sh

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
TRUNK = "podwire-t0"
MACVLAN = {"attach": "macvlan"}
DENY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "only-web", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
                 "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}}

# One frame from eth0 as it is given, in hexadecimal.
SEND = r"""
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0x0800))
for _ in range(3): s.send(bytes.fromhex(sys.argv[1]))
"""


def frame(dst_mac, src_mac, src, dst, tag=""):
    """An empty UDP packet of port 5000 to 8."""
    head = bytes.fromhex("4500001c0001000040110000") + b"".join(bytes(int(x) for x in a.split(".")) for a in (src, dst))
    total = sum(int.from_bytes(head[i:i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xffff) + (total >> 16)
    head = head[:10] + (~((total & 0xffff) + (total >> 16)) & 0xffff).to_bytes(2, "big") + head[12:]
    return (dst_mac + src_mac).replace(":", "") + tag + "0800" + head.hex() + "1388000800080000"


def mac_of(pod):
    return pod.result["interfaces"][0]["mac"]


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK)
    node.config["ports"].append({"name": "trunk0", "kind": "tap", "interface": TRUNK, "trunk": True})
    node.start()
    node.apply(node.node_object())
    a = node.attach("a", labels={"app": "web"}, config=MACVLAN)
    b = node.attach("b", labels={"app": "db"}, config=MACVLAN)
    c = node.attach("c", labels={"app": "other"}, config={**MACVLAN, "trunk": "trunk0"})
    tap = node.attach("tap", labels={"app": "other"})

    ports = {p["name"]: p for p in node.json("get", "ports")["items"]}
    checks.equal(ports["trunk0"]["role"], "trunk", "the trunk's role")
    members = [p for p in ports.values() if p["kind"] == "trunk-member"]
    checks.equal(sorted(p.get("pod") for p in members), ["default/a", "default/b", "default/c"], "its members")
    checks.equal({p["options"]["trunk"] for p in members}, {"trunk0"}, "each names its trunk")
    kind = a.run("ip", "-d", "link", "show", "eth0").stdout
    checks.check("macvlan mode private" in kind, "the pod has a macvlan in private mode")
    checks.equal(node.cni("CHECK", a.ns, "c-a", config={**MACVLAN, "prevResult": a.result})[0], 0, "CNI CHECK agrees")

    for source, target in ((a, b), (a, tap)):
        checks.exchange(source, target, mtu=1450)
    def received(pod):
        return next((int(p["rxPackets"]), int(p["rxBytes"])) for p in node.json("get", "ports")["items"] if p.get("pod") == f"default/{pod.name}")
    packets, size = received(a)
    a.iperf(b, 1)
    packets, size = (after - before for after, before in zip(received(a), (packets, size)))
    checks.check(size / packets > 40000, "64 KB segments pass whole", f"{size // packets} bytes a packet")

    b.listen(80)
    checks.check(c.connects(b, 80), "no policy: the third pod connects")
    node.apply(DENY)
    checks.check(a.connects(b, 80), "policy: what it allows connects")
    drops = node.drops("policy_denied_ingress")
    checks.check(not c.connects(b, 80), "what it does not allow is cut off, on one trunk")
    checks.check(node.drops("policy_denied_ingress") > drops, "and counted")
    checks.check(not tap.connects(b, 80), "from a tap too")

    gateway = a.run("ip", "neigh", "show", "dev", "eth0").stdout.split()
    gateway = next(w for w in gateway if w.count(":") == 5)
    spoofs = (("another address", frame(gateway, mac_of(a), c.address, b.address), "spoofed_address"),
              ("the address of another pod with that pod's", frame(gateway, "02:00:00:00:be:ef", c.address, b.address), "spoofed_mac"),
              ("a VLAN tag", frame(gateway, mac_of(a), a.address, b.address, tag="81000005"), "unsupported_ethertype"))
    for what, hexed, reason in spoofs:
        before = node.drops(reason)
        sh(in_ns(a.ns, [sys.executable, "-c", SEND, hexed]))
        wait_for(lambda: node.drops(reason) - before >= 3, timeout=3, what=f"drops of {reason}")
        checks.equal(node.drops(reason) - before, 3, f"a frame with {what} is dropped and counted: {reason}")
    sh(in_ns(a.ns, [sys.executable, "-c", SEND, frame(mac_of(c), mac_of(a), a.address, c.address)]))
    checks.equal(a.ping(c), 3, "a frame sent at another pod's MAC harms nothing")

    # Errors say what is wrong.
    status, result = node.cni("ADD", lab.add_ns("x"), "c-x", config={**MACVLAN, "trunk": "uplink"}, check=False)
    checks.check(status and "not a trunk" in result["msg"], "a port that is no trunk is refused", result["msg"])
    status, result = node.cni("ADD", a.ns, "c-y", ifname="eth9", config={"trunk": "trunk0"}, check=False)
    checks.check(status and "trunk" in result["msg"], "trunk without macvlan is refused", result["msg"])
    checks.refused(node.cli("ports", "remove", "trunk0", check=False), 1, "trunk", "configuration file")
    checks.refused(node.cli("ports", "add", "t1", "--kind", "tap", "--option", "interface=t1", "--option", "trunk=true", check=False), 1,
                   "must be there from the start")

    # kill -9 and a new start: the pods' interfaces stay as they are.
    server = b.listen(8080)
    node.kill()
    begin = time.monotonic()
    node.start()
    checks.check(a.wait_reaches(b) < 3, "after kill -9 and a new start, pods of the trunk reach each other", f"{time.monotonic() - begin:.2f} s")
    checks.check(a.connects(b, 8080) and not c.connects(b, 8080), "by the same policy")
    lab.end(server)

    # A namespace that goes without DEL.
    lab.delete_ns(c.ns)
    def state(pod):
        return next(e["state"] for e in node.json("get", "endpoints", "-A")["items"] if e["podName"] == pod)
    wait_for(lambda: state("c") == "gone: its network namespace is no more", timeout=5, what="the state of a pod whose namespace is gone")
    checks.equal(a.ping(b), 3, "a namespace that goes takes nobody else along")
    checks.equal(node.cni("DEL", None, "c-c", config=MACVLAN)[0], 0, "DEL without the namespace")
    node.pods.pop("c")
    a.run("ip", "link", "del", "eth0")
    wait_for(lambda: state("a") == "gone: its interface was removed", timeout=5, what="the state of a pod that has removed its interface")
    _, result = node.cni("CHECK", a.ns, "c-a", config={**MACVLAN, "prevResult": a.result}, check=False)
    checks.equal(result and result["code"], 103, "CNI CHECK tells of it")
    node.detach(a)
    checks.check(b.ping(a, count=1) == 0 and tap.ping("10.244.1.1") == 3, "a detached pod is gone")
    again = node.attach("a", labels={"app": "web"}, config=MACVLAN)
    checks.check(again.connects(b, 80) or again.ping(b) == 3, "and attached again")
    node.stop()
    checks.check(TRUNK in node.run("ip", "link").stdout, "the trunk outlives podwired, for the pods' sake")


main(test)
