#!/usr/bin/python3
"""Pods, runtimes and disks that mean ill: podwired goes on, and others' pods do not notice."""
import json
import os
import subprocess
import sys

from harness import main
from lab import Node
from lab.lab import wait_for
from lab.run import ip, sh

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}

# Frames with virtio-net headers of all kinds, right and wrong: what the pod's kernel takes reaches the tap.
FRAMES = r"""
import random, socket, struct, sys, time
src, dst, gateway = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3].replace(":", ""))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0x0800)); s.setsockopt(263, 15, 1)  # PACKET_VNET_HDR
def checksum(b):
    n = sum(int.from_bytes(b[i:i+2], "big") for i in range(0, len(b), 2))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return (~n & 0xffff).to_bytes(2, "big")
def frame(proto, l4):
    h = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(l4), 1, 0, 64, proto, 0, socket.inet_aton(src), socket.inet_aton(dst))
    return gateway + s.getsockname()[4] + b"\x08\x00" + h[:10] + checksum(h) + h[12:] + l4
tcp = lambda n: struct.pack("!HHIIBBHHH", 4000, 5001, 1, 0, 0x50, 0x10, 1000, 0, 0) + bytes(n)
udp = lambda n: struct.pack("!HHHH", 4000, 5001, 8 + n, 0) + bytes(n)
frames = frame(6, tcp(8000)), frame(6, tcp(0)), frame(6, b"x"), frame(17, udp(1000)), frame(132, bytes(30)), b"\xff" * 14
headers = [(flags, gso, size, start, offset) for flags in (0, 1, 2, 255) for gso in (0, 1, 3, 4, 5, 0x81, 0xff)
           for size in (0, 1, 7, 8, 1400, 65535)
           for start, offset in ((34, 16), (34, 6), (0, 0), (0, 26), (26, 0), (65535, 65535), (34, 60000), (20, 16))]
cases = [(f, h) for f in frames for h in headers]
random.Random(1).shuffle(cases)
sent = 0
for i, (f, (flags, gso, size, start, offset)) in enumerate(cases):
    if i % 50 == 0: time.sleep(0.005)  # the tap's queue drops what comes faster than it is read
    try: sent += s.send(struct.pack("=BBHHHH", flags, gso, 54, size, start, offset) + f) > 0
    except OSError: pass
r = random.Random(2)
for i in range(5000):
    if i % 200 == 0: time.sleep(0.005)
    f = gateway + s.getsockname()[4] + r.choice((b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00")) + r.choice((b"", b"\x45")) + r.randbytes(r.choice((0, 1, 5, 20, 60, 1400)))
    try: sent += s.send(bytes(10) + f) > 0
    except OSError: pass
print(sent)
"""


def frames(node, checks, a, b):
    mac = next(w for w in a.run("ip", "neigh", "show", "dev", "eth0").stdout.split() if w.count(":") == 5)
    for target in (b.address, "10.244.7.5", "10.244.1.1"):
        before = node.drops("malformed")
        sent = int(a.run(sys.executable, "-c", FRAMES, a.address, target, mac, timeout=120).stdout)
        # The pod's queue may still hold some.
        wait_for(lambda: node.drops("malformed") - before > 100, what=f"malformed drops of {sent} frames to {target}")
        malformed = node.drops("malformed") - before
        checks.check(sent > 1000, f"frames with wrong headers to {target} are counted", f"{sent} sent, {malformed} malformed")
        checks.equal(b.ping("10.244.1.1"), 3, "another pod goes on")


def names(lab, node, checks):
    ns = lab.add_ns("names")
    for name in ("a\x1b[31m\nb", "a/b", "x" * 5000):
        status, answer = node.cni("ADD", ns, "named", args=f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}", check=False)
        checks.check(status == 1 and "pod_name" in answer["msg"], f"pod name {name[:20]!r} is refused", answer["msg"][:80])
    for name in ("a/b", "toolongifname123", "..", "eth 0", "eth%d", "lo", "all"):
        status, answer = node.cni("ADD", ns, "named", ifname=name, check=False)
        checks.check(status == 1, f"interface name {name!r} is refused", answer["msg"][:80])
    checks.equal(len(ip(ns, "-br", "link").stdout.splitlines()), 1, "there is lo and nothing else")
    for data in (b'{"a":' * 100000, b"[" * 1000000, b'{"name":"\xff"}', b"", b'{"cniVersion":"1.0.0","name":"' + b"x" * 10000000):
        done = subprocess.run([lab.program("podwire-cni")], input=data, capture_output=True, timeout=30,
                              env={"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": f"/run/netns/{ns}"})
        checks.check(done.returncode == 1 and json.loads(done.stdout)["code"] in (6, 7), f"{len(data)} bytes {data[:12]!r} are refused")
    bad = {"apiVersion": "v1", "kind": "List", "items": [node.pod_object(f"BAD{i}", {}) for i in range(300)]}
    done = node.cli("apply", "-f", "-", stdin=json.dumps(bad), check=False)
    checks.refused(done, 1, "BAD0", "metadata.name", "more problems", "nothing was applied")


def namespaces(lab, node, checks, a):
    reused = node.attach("reused")
    sh(["ip", "netns", "del", reused.ns])
    sh(["ip", "netns", "add", reused.ns])
    ip(reused.ns, "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    checks.equal(node.cni("DEL", reused.ns, "c-reused", check=False), (0, None), "DEL of a pod whose namespace path leads elsewhere")
    checks.check("eth0" in ip(reused.ns, "link").stdout, "leaves the eth0 there, which is not its own")
    two = node.attach("two")
    status, answer = node.cni("ADD", two.ns, "c-other", check=False)
    checks.check(status == 1, "another container in the same namespace is refused", answer["msg"])
    node.cni("DEL", two.ns, "c-other")
    checks.equal(two.ping(a), 3, "the first goes on")
    node.cni("ADD", two.ns, "c-two", ifname="net1", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=two")
    checks.equal(two.ping(a), 3, "a pod with a second interface")
    node.cni("DEL", two.ns, "c-two", ifname="net1")
    checks.equal(two.ping(a), 3, "and without it again")
    old = two.address
    node.detach(two)
    checks.check(node.attach("next").address != old, "an address that was given back rests")


def disks(lab, node, checks):
    state = node.config["stateDir"]
    database = open(f"{state}/podwire.db", "rb").read()
    os.rename(state, f"{state}.ok")

    def refused(what, *words):
        node.start(wait=False)
        status = node.process.wait(30)
        said = node.log_tail(600).splitlines()[-1]
        checks.check(status == 1 and all(w in said for w in words), f"{what}: refused", said)

    open(state, "w").close()
    refused("the state directory is a file", "Not a directory")
    os.unlink(state)
    os.makedirs(state)
    sh(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", state])
    try:
        refused("it is read-only", "Read-only file system")
    finally:
        sh(["umount", state])
    for what, data in (("random", os.urandom(5000)), ("cut", database[:len(database) // 2])):
        with open(f"{state}/podwire.db", "wb") as f:
            f.write(data)
        refused(f"the database is {what}", "is damaged", "nothing was changed")
        checks.check(open(f"{state}/podwire.db", "rb").read() == data, "it is as it was")
    sh(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", state])
    try:
        full(lab, node.start(), checks, state)
        node.stop()
    finally:
        sh(["umount", state])
    sh(["rm", "-rf", state])
    os.rename(f"{state}.ok", state)


def full(lab, node, checks, state):
    node.apply(node.node_object())
    with open(f"{state}/fill", "wb", buffering=0) as fill:
        try:
            while True:
                fill.write(bytes(4096))
        except OSError:
            pass
    ns = lab.add_ns("full")
    status, answer = node.cni("ADD", ns, "full", check=False)
    checks.check(status == 1 and "full" in answer["msg"], "ADD on a full disk fails", answer["msg"])
    checks.equal(len(ip(ns, "-br", "link").stdout.splitlines()), 1, "and leaves nothing")
    os.truncate(f"{state}/fill", 0)
    node.cni("ADD", ns, "full")
    node.cni("DEL", ns, "full")


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK).start()
    far = {"backend-type": "vxlan", "backend-data": json.dumps({"VNI": 1, "VtepMAC": "02:00:00:00:00:09"}), "public-ip": "192.0.2.254"}
    node.apply(node.node_object())
    node.apply({"apiVersion": "v1", "kind": "Node", "spec": {"podCIDR": "10.244.7.0/24"},
                "metadata": {"name": "far", "annotations": {f"flannel.alpha.coreos.com/{k}": v for k, v in far.items()}}})
    a, b = node.attach("a"), node.attach("b")
    frames(node, checks, a, b)
    names(lab, node, checks)
    namespaces(lab, node, checks, a)
    checks.books(node)
    node.stop()
    disks(lab, node, checks)
    node.start()
    checks.equal(a.ping(b), 3, "after all that a pings b")


main(test)
