#!/usr/bin/python3
"""The CNI plugin as runtimes call it, the real binary against the real daemon."""
import itertools
import json
import os
import subprocess

from harness import main
from lab import Node
from lab.run import in_ns, sh

NETWORK = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID=x;K8S_POD_UID=u"


class Runtime:
    """What a container runtime does, in one version of the specification."""

    numbers = itertools.count()

    def __init__(self, lab, node, version):
        self.lab, self.node, self.version = lab, node, version

    def call(self, command, ns, container, **more):
        config = {"cniVersion": self.version, **more.pop("config", {})}
        return self.node.cni(command, ns, container, config=config, check=False, **more)

    def sandbox(self):
        return self.lab.add_ns(f"pod-{next(self.numbers)}")


def interfaces(ns):
    return json.loads(sh(["ip", "-j", "-n", ns, "link"]).stdout)


def life(checks, runtime):
    v, node = runtime.version, runtime.node
    ns = runtime.sandbox()
    status, result = runtime.call("ADD", ns, f"one-{v}", args=ARGS.format(f"one-{v.replace('.', '-')}"))
    good = status == 0 and result["cniVersion"] == v and result["interfaces"][0]["sandbox"] == f"/run/netns/{ns}" \
        and result["ips"][0]["interface"] == 0 and ("version" in result["ips"][0]) == (v < "1")
    checks.check(good, f"{v} ADD", json.dumps(result))
    address = result["ips"][0]["address"].split("/")[0]
    mac = next(i for i in interfaces(ns) if i["ifname"] == "eth0")["address"]
    checks.equal(mac, result["interfaces"][0]["mac"], f"{v} the interface has the MAC of the result")
    checks.check(" 0% packet loss" in sh(in_ns(ns, ["ping", "-c1", "-W2", "10.244.1.1"]), check=False).stdout, f"{v} the pod pings its gateway")
    again, error = runtime.call("ADD", ns, f"one-{v}", args=ARGS.format("one"))
    checks.check(again == 1 and error["code"] >= 1 and len(interfaces(ns)) == 2, f"{v} a second ADD is refused", error)
    if v >= "0.4":
        checks.equal(runtime.call("CHECK", ns, f"one-{v}", config={"prevResult": {**result, "dns": {}}})[0], 0, f"{v} CHECK")
        sh(["ip", "-n", ns, "addr", "del", f"{address}/32", "dev", "eth0"], check=False)
        sh(["ip", "-n", ns, "addr", "flush", "dev", "eth0"], check=False)
        status, error = runtime.call("CHECK", ns, f"one-{v}", config={"prevResult": result})
        checks.check(status == 1 and address in json.dumps(error), f"{v} CHECK sees that the address is gone", error)
    else:
        checks.equal(runtime.call("CHECK", ns, f"one-{v}", config={"prevResult": result})[0], 1, f"{v} has no CHECK")
    for what in ("DEL", "a second DEL"):
        checks.equal(runtime.call("DEL", ns, f"one-{v}", config={"prevResult": result}), (0, None), f"{v} {what}")
    checks.equal([i["ifname"] for i in interfaces(ns)], ["lo"], f"{v} the interface is gone")
    ns = runtime.sandbox()
    runtime.call("ADD", ns, f"two-{v}")
    runtime.lab.delete_ns(ns)
    checks.equal(runtime.call("DEL", ns, f"two-{v}"), (0, None), f"{v} DEL after the namespace vanished")
    checks.equal(runtime.call("DEL", "", f"two-{v}"), (0, None), f"{v} DEL without a namespace")
    status, result = runtime.call("VERSION", "dummy", "x")
    checks.check(status == 0 and "0.3.0" in result["supportedVersions"] and "1.1.0" in result["supportedVersions"], f"{v} VERSION", result)
    checks.equal(node.json("get", "endpoints", "-A")["items"], [], f"{v} no endpoint is left")


def collection(checks, runtime):
    checks.equal(runtime.call("STATUS", "", "")[0], 0, "STATUS: ready")
    kept, stale = runtime.sandbox(), runtime.sandbox()
    runtime.call("ADD", kept, "kept")
    runtime.call("ADD", stale, "stale")
    checks.equal(runtime.call("GC", "", "", ifname="")[0], 0, "GC without a list")
    checks.equal(len(runtime.node.json("get", "endpoints", "-A")["items"]), 2, "collects nothing")
    valid = [{"containerID": "kept", "ifname": "eth0"}]
    runtime.call("GC", "", "", ifname="", config={"cni.dev/valid-attachments": valid, "cni.dev/attachments": valid})
    left = [e["key"]["containerId"] for e in runtime.node.json("get", "endpoints", "-A")["items"]]
    checks.equal(left, ["kept"], "GC with a list collects the stale one")
    checks.equal([i["ifname"] for i in interfaces(stale)], ["lo"], "its interface is gone")
    runtime.call("DEL", kept, "kept")


def delegated(checks, runtime):
    data = os.path.join(runtime.node.dir, "host-local")
    ipam = {"type": "host-local", "dataDir": data, "ranges": [[{"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.200", "rangeEnd": "10.244.1.201"}]]}
    taken = lambda: sorted(f for f in os.listdir(os.path.join(data, "podwire")) if f[0].isdigit())  # noqa: E731
    one, two, three = (runtime.sandbox() for _ in range(3))
    status, result = runtime.call("ADD", one, "d1", config={"ipam": ipam})
    checks.check(status == 0 and result["ips"][0]["address"] == "10.244.1.200/24", "an address by host-local", result)
    checks.check(" 0% packet loss" in sh(in_ns(one, ["ping", "-c1", "-W2", "10.244.1.1"]), check=False).stdout, "the pod pings its gateway")
    checks.equal(runtime.call("CHECK", one, "d1", config={"ipam": ipam, "prevResult": result})[0], 0, "CHECK, host-local's included")
    runtime.call("ADD", two, "d2", config={"ipam": ipam})
    status, error = runtime.call("ADD", three, "d3", config={"ipam": ipam})
    checks.check(status == 1 and "host-local" in json.dumps(error), "its range is exhausted", error)
    checks.equal([i["ifname"] for i in interfaces(three)], ["lo"], "the failed ADD left no interface")
    checks.equal(taken(), ["10.244.1.200", "10.244.1.201"], "nor an address")
    for ns, container in ((one, "d1"), (two, "d2"), (three, "d3")):
        checks.equal(runtime.call("DEL", ns, container, config={"ipam": ipam})[0], 0, f"DEL {container}")
    checks.equal(taken(), [], "host-local has its addresses back")


def wrong(checks, runtime):
    node = runtime.node
    ns = runtime.sandbox()
    cases = (({"attach": "carrier-pigeon"}, 7, "attach"), ({"mtu": "large"}, 7, "mtu"), ({"server": 7}, 7, "server"),
             ({"ipam": {"type": "no-such-plugin"}}, None, "no-such-plugin"), ({"cniVersion": "0.2.0"}, 1, "0.2.0"), ({"mtu": 100}, None, "mtu"))
    for config, code, word in cases:
        status, error = runtime.call("ADD", ns, "wrong", config=config)
        good = status == 1 and word in json.dumps(error) and (code is None or error["code"] == code)
        checks.check(good, f"refused: {json.dumps(config)}", error)
    status, error = runtime.call("ADD", "no-such-ns", "wrong")
    checks.check(status == 1 and "no-such-ns" in json.dumps(error), "refused: a namespace that does not exist", error)
    missing = subprocess.run([node.lab.program("podwire-cni")], input="{}", text=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    checks.check(missing.returncode == 1 and json.loads(missing.stdout)["code"] == 4, "refused: no environment", missing.stdout.split("\n")[0])
    bad = subprocess.run([node.lab.program("podwire-cni")], input="{", text=True, capture_output=True,
                         env={"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "x", "CNI_IFNAME": "eth0", "CNI_NETNS": "/x", "CNI_PATH": "/x"})
    checks.check(bad.returncode == 1 and json.loads(bad.stdout)["code"] == 6, "refused: no JSON", bad.stdout.split("\n")[0])
    checks.equal([i["ifname"] for i in interfaces(ns)], ["lo"], "no refused ADD left an interface")
    checks.equal(node.json("get", "endpoints", "-A")["items"], [], "nor an endpoint")


def daemon_away(checks, runtime):
    node, ns = runtime.node, runtime.sandbox()
    status, result = runtime.call("ADD", ns, "stays")
    node.stop()
    status, error = runtime.call("STATUS", "", "")
    checks.check(status == 1 and error["code"] == 50, "STATUS without podwired: code 50", error)
    for command in ("ADD", "DEL"):
        status, error = runtime.call(command, ns, "stays")
        checks.check(status == 1 and error["code"] == 11, f"{command} without podwired: try again later", error)
    node.start()
    checks.equal(runtime.call("CHECK", ns, "stays", config={"prevResult": result})[0], 0, "after its start CHECK finds the pod in order")
    checks.equal(runtime.call("DEL", ns, "stays")[0], 0, "and DEL removes it")


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24").start()
    ready = Runtime(lab, node, "1.1.0")
    status, error = ready.call("STATUS", "", "")
    checks.check(status == 1 and error["code"] == 50, "STATUS without a network: code 50", error)
    ns = ready.sandbox()
    status, error = ready.call("ADD", ns, "early")
    checks.check(status == 1, "ADD without a network is refused", error)
    node.stop()
    node.config["network"] = NETWORK
    node.start()
    node.apply(node.node_object())
    for version in ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"):
        life(checks, Runtime(lab, node, version))
    runtime = Runtime(lab, node, "1.1.0")
    collection(checks, runtime)
    delegated(checks, runtime)
    wrong(checks, runtime)
    daemon_away(checks, runtime)


main(test)
