#!/usr/bin/python3
"""What is wrong is refused with a clear error, and nothing changes."""
import copy
import json
import os
import time

from harness import MANIFESTS, main
from lab import Node
from lab.run import in_ns, sh

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
# A change to a good configuration, and the key that the error must name.
CONFIGS = [
    ("node", "Not A Name", "node"), ("nodee", "x", "nodee"), ("stateDir", "relative", "stateDir"), ("listen", "http://x", "listen"),
    ("listen", "tcp:0.0.0.0:9000", "listen"), ("memoryMb", "much", "memoryMb"), ("hugepages", "maybe", "hugepages"),
    ("lcores.workers", [], "lcores.workers"), ("lcores.workers", [1, 1], "lcores.workers[1]"), ("lcores.control", "a", "lcores.control"), ("lcores.maxWorkers", 0, "lcores.maxWorkers"),
    ("lcores.workers", [{"cpu": 1, "mode": "lazy"}], "lcores.workers[0].mode"),
    ("ports", {}, "ports"), ("ports.0.kind", "carrier-pigeon", "ports[0].kind"), ("ports.0.interface", 7, "ports[0].interface"),
    ("ports.0.colour", "red", "ports[0].colour"), ("ports.0.mtu", 70000, "ports[0].mtu"), ("underlay.port", "no-such-port", "underlay.port"),
    ("underlay.address", "192.0.2.1", "underlay.address"), ("underlay.address", "192.0.2.0/24", "underlay.address"),
    ("underlay.gateway", "203.0.113.1", "underlay.gateway"), ("underlay.mtu", 10, "underlay.mtu"),
    ("network", {"Network": "10.244.0.0/33"}, "network"), ("network", {"Network": "10.244.0.0/16", "Backend": {"Type": "wireguard"}}, "wireguard"),
    ("timeouts", {"udpNew": 0}, "timeouts.udpNew"), ("logLevel", "loud", "logLevel"), ("hostInterface", "a/b", "hostInterface"), ("connections", -1, "connections"),
]
BAD_CIDR = """apiVersion: v1
kind: Namespace
metadata: {name: before}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bad}
spec:
  podSelector: {}
  ingress:
  - from:
    - podSelector: {}
    - ipBlock: {cidr: 10.244.0.0/40}
"""


def put(config, path, value):
    *way, last = path.split(".")
    for step in way:
        config = config[int(step)] if isinstance(config, list) else config[step]
    config[int(last) if isinstance(config, list) else last] = value


def configurations(lab, checks, node):
    path = os.path.join(node.dir, "bad.json")
    for key, value, named in CONFIGS:
        config = copy.deepcopy(node.config)
        put(config, key, value)
        with open(path, "w") as f:
            json.dump(config, f)
        checks.refused(sh([lab.program("podwired"), "--check-config", path], check=False), 1, named)
    with open(path, "w") as f:
        f.write('{"node": "a",')
    checks.refused(sh([lab.program("podwired"), "--check-config", path], check=False), 1, "bad.json")
    checks.refused(sh([lab.program("podwired"), "--check-config", path + "x"], check=False), 1, "bad.jsonx")
    checks.refused(sh([lab.program("podwired")], check=False), 2, "--config")
    checks.refused(sh([lab.program("podwired"), "--colour"], check=False), 2, "colour")
    with open(path, "w") as f:
        json.dump(node.config, f)
    checks.equal(sh([lab.program("podwired"), "--check-config", path], check=False).returncode, 0, "the good one passes --check-config")


def daemons(lab, checks, node):
    pod = node.attach("a")
    command = in_ns(node.ns, [lab.program("podwired"), "--config", node.config_path])
    checks.refused(sh(command, check=False), 1, "state directory", node.config["stateDir"], str(node.process.pid))
    checks.equal(pod.ping("10.244.1.1"), 3, "the first one goes on")
    other = copy.deepcopy(node.config)
    other.update(stateDir=os.path.join(node.dir, "other"), ports=[{"name": "uplink", "kind": "netdev", "interface": "eth7"}])
    path = os.path.join(node.dir, "other.json")
    with open(path, "w") as f:
        json.dump(other, f)
    checks.refused(sh(in_ns(node.ns, [lab.program("podwired"), "--config", path]), check=False), 1, "eth7")
    for lcores, key in (({"workers": [1000]}, "lcores.workers"), ({"workers": [1], "control": 1000}, "lcores.control")):
        with open(path, "w") as f:
            json.dump({**other, "lcores": lcores}, f)
        checks.refused(sh(in_ns(node.ns, [lab.program("podwired"), "--config", path]), check=False), 1, key, "CPU 1000 does not exist")
    checks.equal(pod.ping("10.244.1.1"), 3, "the first one goes on still")
    node.detach(pod)


def snapshot(node):
    return [node.json("get", kind, "-A")["items"] for kind in ("nodes", "namespaces", "netpol", "pods", "endpoints")] + \
        [[(p["name"], p["kind"]) for p in node.json("get", "ports")["items"]]]


def commands(checks, node):
    before = snapshot(node)
    checks.refused(node.cli("apply", "-f", "-", check=False, stdin=BAD_CIDR), 1, "bad", "spec.ingress[0].from[1].ipBlock.cidr", "10.244.0.0/40")
    checks.refused(node.cli("apply", "-f", "-", check=False, stdin="a: [1"), 1, "stdin:1")
    checks.refused(node.cli("apply", "-f", "-", check=False, stdin=""), 1)
    checks.refused(node.cli("apply", "-f", "/no/such/file", check=False), 1, "/no/such/file")
    checks.refused(node.cli("apply", "-f", "-", check=False, stdin='{"apiVersion":"v1","kind":"Teapot","metadata":{"name":"x"}}'), 1, "Teapot")
    checks.refused(node.cli("ports", "remove", "no-such-port", check=False), 1, "no-such-port")
    checks.refused(node.cli("ports", "remove", "uplink", check=False), 1, "uplink")
    checks.refused(node.cli("ports", "add", "x", "--kind", "netdev", "--option", "interface=eth7", check=False), 1, "eth7")
    checks.refused(node.cli("ports", "add", "x", "--kind", "netdev", "--option", "interface=lo", "--option", "colour=red", check=False), 1, "colour")
    checks.refused(node.cli("ports", "add", "x", "--kind", "vdev", "--option", "devargs=net_nonsense0", check=False), 1, "net_nonsense0")
    checks.refused(node.cli("ports", "add", "x", "--kind", "carrier-pigeon", check=False), 1, "kind")
    checks.refused(node.cli("get", "ports", "no-such-port", check=False), 1, "no-such-port")
    checks.refused(node.cli("get", "pods", "no-such-pod", check=False), 1, "no-such-pod")
    checks.refused(node.cli("explain", "--from", "nobody", "--to", "10.244.1.9:80", check=False), 1, "nobody")
    checks.refused(node.cli("get", "teapots", check=False), 2, "teapots")
    checks.refused(node.cli("status", "--colour", check=False), 2, "colour")
    checks.refused(node.cli("ports", "add", "x", check=False), 2, "kind")
    checks.check(snapshot(node) == before, "nothing of it changed anything")
    checks.equal(node.cli("apply", "-f", os.path.join(MANIFESTS, "namespaces.yaml"), check=False).returncode, 0, "a good command: status 0")


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24", network=NETWORK)
    configurations(lab, checks, node)
    node.start()
    node.apply(node.node_object())
    daemons(lab, checks, node)
    commands(checks, node)
    checks.books(node)
    status, seconds = node.stop()
    checks.check(status == 0 and seconds < 2, "SIGTERM: status 0 within 2 s", f"status {status}, {seconds:.2f} s")
    begin = time.monotonic()
    checks.refused(node.cli("status", check=False), 3, node.socket)
    checks.check(time.monotonic() - begin < 5, "and soon", f"{time.monotonic() - begin:.1f} s")


main(test)
