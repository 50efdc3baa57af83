#!/usr/bin/python3
"""Many requests at once, floods, and restarts in the middle of them."""
import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import main
from lab import Node
from lab.run import ip, sh

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
PODS = 60

ECHO = r"""
import socket
l = socket.socket(); l.bind(("0.0.0.0", 7000)); l.listen(); print("ready", flush=True)
c, _ = l.accept()
while data := c.recv(100): c.sendall(data)
"""
TALK = r"""
import socket, sys, time
s = socket.socket(); s.settimeout(10); s.connect((sys.argv[1], 7000)); print("ready", flush=True)
while True:
    s.sendall(b"ping"); assert s.recv(100) == b"ping"; time.sleep(0.1)
"""
FLOOD = r"""
import socket, sys
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
for port in range(1024, 1024 + int(sys.argv[2]) // 20):
    for s in sockets:
        try: s.sendto(b"x", (sys.argv[1], port))
        except OSError: pass
"""


def descriptors(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def resources(node, idle_descriptors):
    """Memory in KB, and descriptors when the last clients' connections have been closed."""
    end = time.monotonic() + 5
    while descriptors(node) > idle_descriptors and time.monotonic() < end:
        time.sleep(0.1)
    status = open(f"/proc/{node.process.pid}/status").read()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return rss, descriptors(node)


def attach_all(lab, node, checks):
    namespaces = [lab.add_ns(f"p{i}") for i in range(PODS)]

    def timed(command, i):
        begin = time.monotonic()
        status, answer = node.cni(command, namespaces[i], f"p{i}", args=f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=p{i}", check=False)
        return status, answer, time.monotonic() - begin

    def round_of(command):
        with ThreadPoolExecutor(PODS) as pool:
            done = list(pool.map(lambda i: timed(command, i), range(PODS)))
        times = sorted(d[2] for d in done)
        seen = f"{PODS} at once: median {times[PODS // 2] * 1000:.0f} ms, p99 {times[PODS * 99 // 100] * 1000:.0f} ms"
        checks.check(all(d[0] == 0 for d in done), f"every {command} succeeds", seen)
        return done

    after = []
    before = descriptors(node)
    for _ in range(3):
        done = round_of("ADD")
        checks.equal(len({d[1]["ips"][0]["address"] for d in done}), PODS, "no address twice")
        round_of("DEL")
        after.append(resources(node, after[0][1] if after else before + 2))
    checks.check(after[2][0] - after[1][0] < 4096 and after[2][1] <= after[1][1] + 2, "memory (KB) and descriptors stay", after)
    return namespaces


def flood(node, checks):
    a, b, c, d = (node.attach(name) for name in "abcd")
    d.reports_ready("-c", ECHO)
    talk = c.reports_ready("-c", TALK, d.address)
    a.run("python3", "-c", FLOOD, b.address, 40000, timeout=120)
    for words in (["connections"], ["flows"]):
        begin = time.monotonic()
        lines = len(node.cli(*words).stdout.splitlines())
        checks.check(time.monotonic() - begin < 20, f"podwire {words[0]}: {lines} lines", f"{time.monotonic() - begin:.1f} s")
    checks.check(talk.poll() is None, "an established connection outlives a full table")
    checks.equal(c.ping(d), 3, "new ones of other pods begin")
    return a, b, c, d


def restart(lab, node, checks, a, b, c, d):
    gone = node.attach("gone")
    node.kill()
    ip(b.ns, "link", "del", "eth0")
    ip(c.ns, "link", "set", "eth0", "address", "02:11:22:33:44:55")
    ip(d.ns, "addr", "flush", "dev", "eth0")
    sh(["ip", "netns", "del", gone.ns])
    node.start()
    for pod, what in ((a, "untouched"), (b, "whose tap was deleted"), (c, "whose MAC was changed"), (d, "whose address was flushed")):
        checks.equal(pod.ping("10.244.1.1"), 3, f"after kill -9 a pod {what} works")
        checks.equal(node.cni("CHECK", pod.ns, f"c-{pod.name}", config={"prevResult": pod.result}, check=False)[0], 0, "CHECK says so too")
    checks.equal(node.cni("DEL", gone.ns, "c-gone", check=False), (0, None), "DEL of a pod whose namespace went meanwhile")


def end_in_storm(node, checks, namespaces):
    stop = threading.Event()

    def pods(i):
        while not stop.is_set():
            node.cni("ADD", namespaces[i], f"p{i}", check=False)
            node.cni("DEL", namespaces[i], f"p{i}", check=False)

    def applies(i):
        while not stop.is_set():
            node.cli("apply", "-f", "-", stdin=json.dumps(node.pod_object(f"x{i}", {"n": str(random.random())})), check=False)

    threads = [threading.Thread(target=pods, args=(i,)) for i in range(20)] + [threading.Thread(target=applies, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    time.sleep(2)
    status, seconds = node.stop()
    stop.set()
    for t in threads:
        t.join()
    checks.check(status == 0 and seconds < 2.5, "SIGTERM in a storm", f"status {status}, {seconds:.1f} s")
    node.start()
    for i in range(20):
        node.cni("DEL", namespaces[i], f"p{i}")
    left = [n for n in namespaces if "eth0" in ip(n, "link").stdout]
    checks.check(not left, "after DEL of all no interface is left", ", ".join(left))


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK, connections=16384).start()
    node.apply(node.node_object())
    namespaces = attach_all(lab, node, checks)
    pods = flood(node, checks)
    checks.books(node)
    restart(lab, node, checks, *pods)
    end_in_storm(node, checks, namespaces)
    for pod in pods:
        checks.equal(pod.ping("10.244.1.1"), 3, f"{pod.name} works at the end")


main(test)
