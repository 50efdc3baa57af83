#!/usr/bin/python3
"""podwired is killed: pods keep their addresses and policies, and nothing half-made survives. With FAMILIES (4: IPv4 only, 46: both,
6: IPv6 only)."""
import glob
import os
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from harness import MANIFESTS, main
from lab import Node, Stream
from lab.lab import wait_for
from lab.run import LabError, in_ns, sh

FAMILIES = sys.argv[1] if len(sys.argv) > 1 else "4"
NETWORK = {"Backend": {"Type": "vxlan"}, **({"Network": "10.244.0.0/16"} if "4" in FAMILIES else {"EnableIPv4": False}),
           **({"EnableIPv6": True, "IPv6Network": "fd44::/48"} if "6" in FAMILIES else {})}
PODS = 100
NO_8081 = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "no-8081"},
           "spec": {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}},
                    "ingress": [{"action": "Deny", "from": [{"namespaces": {}}], "protocols": [{"tcp": {"destinationPort": {"number": 8081}}}]}]}}


def endpoints(node):
    return {e["key"]["containerId"]: e for e in node.json("get", "endpoints", "-A")["items"]}


def rows(node):
    """Rows of podwired's database, by table."""
    with sqlite3.connect(f"file:{node.config['stateDir']}/podwire.db?mode=ro", uri=True) as db:
        tables = [t for (t,) in db.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite%'")]
        return {t: db.execute(f"select count(*) from {t}").fetchone()[0] for t in tables}


def left_on_disk(node):
    return {t: n for t, n in rows(node).items() if t in ("attachments", "addresses")}


def of_families(*pods):
    """The pods by their IPv4 addresses, and by their IPv6 addresses."""
    views = [("IPv4", pods)] if "4" in FAMILIES else []
    return views + ([("IPv6", [p.by_ipv6() for p in pods])] if "6" in FAMILIES else [])


def policies_hold(checks, when, views):
    for family, (a, b, closed) in views:
        checks.check(a.connects(b, 8080) and not a.connects(closed, 8080), f"{when}, {family}: one port is open, one closed by policy")
        checks.check(not a.connects(b, 8081), f"{when}, {family}: another is closed by a ClusterNetworkPolicy")


def killed_under_traffic(checks, node):
    pods = node.attach("a"), node.attach("b"), node.attach("closed", labels={"app": "myapp"})
    views = of_families(*pods)
    for family, (a, b, closed) in views:
        for pod, port in ((closed, 8080), (b, 8080), (b, 8081)):
            pod.listen(port)
        checks.check(a.connects(b, 8081) and a.connects(closed, 8080), f"no policy, {family}: every port is open")
    node.apply(os.path.join(MANIFESTS, "allow-netpol-demo.yaml"), NO_8081)
    policies_hold(checks, "before", views)
    streams = {family: Stream(a, b) for family, (a, b, _) in views}
    before, policies = endpoints(node), node.json("get", "cnp")
    checks.equal(len(before[f"c-{pods[0].name}"]["addresses"]), len(FAMILIES), "addresses of a pod")
    node.kill()
    killed = time.monotonic()
    node.start()
    for family, (a, b, _) in views:
        checks.check(a.wait_reaches(b, timeout=30) < 30, f"killed and started under traffic, {family}: pings pass again")
        wait_for(streams[family].moves, timeout=30, what="the TCP connection after the restart")
        gap = streams[family].longest_gap(killed - 1)
        checks.check(gap < 30, f"a TCP connection outlives it, {family}", f"{gap * 1000:.0f} ms without a byte")
    after = endpoints(node)
    same = all(before[k][f] == after[k][f] for k in before for f in ("addresses", "gateways", "mac", "port", "netns"))
    checks.check(before.keys() == after.keys() and same, "the pods have the addresses, MACs and ports that they had")
    policies_hold(checks, "after", views)
    checks.equal(node.json("get", "cnp"), policies, "the ClusterNetworkPolicy is listed as it was")
    for family, (a, b, _) in views:
        said = node.cli("explain", "--from", a.address, "--to", b.address, "--port", "8081", check=False).stdout
        checks.check("denied by ClusterNetworkPolicy no-8081 (Admin, priority 5)" in said, f"and explain names it, {family}")
    a, b, closed = pods
    checks.equal(node.cni("CHECK", a.ns, "c-a", config={"prevResult": a.result}, check=False)[0], 0, "CNI CHECK finds the pod in order")
    other = node.attach("d")
    taken = {address for e in after.values() for address in e["addresses"]}
    own = endpoints(node)["c-d"]["addresses"]
    checks.check(len(own) == len(FAMILIES) and not taken & set(own), "a new pod gets addresses of its own", own)
    for stream in streams.values():
        stream.end()
    status, seconds = node.stop()
    checks.check(status == 0 and seconds < 2, "SIGTERM under attached pods: status 0", f"{seconds:.2f} s")
    node.start()
    for family, (source, target) in of_families(a, other):
        checks.check(source.wait_reaches(target, timeout=20) < 20, f"and after that start they reach each other too, {family}")
    node.delete(NO_8081)
    for pod in (a, b, closed, other):
        node.detach(pod)
    checks.equal(left_on_disk(node), {"attachments": 0, "addresses": 0}, "detached, they leave no attachment or address on disk")


def killed_amid_adds(lab, checks, node):
    spaces = {f"m{i}": lab.add_ns(f"m{i}", ipv6="6" in FAMILIES) for i in range(PODS)}
    done = {}

    def add(name):
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
        try:
            done[name] = node.cni("ADD", spaces[name], name, args=args, check=False)
        except (LabError, ValueError) as error:
            done[name] = (1, str(error))

    with ThreadPoolExecutor(16) as pool:
        for name in spaces:
            pool.submit(add, name)
        wait_for(lambda: len(done) >= PODS // 3, timeout=60, step=0.005, what="a third of the ADDs")
        node.kill()
    added = {n: r for n, (status, r) in done.items() if status == 0}
    failed = [n for n in spaces if n not in added]
    checks.check(len(done) == PODS and added and failed, f"killed amid {PODS} ADDs", f"{len(added)} succeeded, {len(failed)} failed")
    node.start()
    known = endpoints(node)
    unanswered = set(known) - set(added)  # recorded, and then the answer never came: to the runtime a failed ADD
    checks.check(set(known) >= set(added), "after the start those whose ADD succeeded are attached", f"{len(unanswered)} others")
    addresses = [address for e in known.values() for address in e["addresses"]]
    checks.equal(len(addresses), len(FAMILIES) * len(known), "each has an address of each family")
    checks.equal(len(set(addresses)), len(addresses), "no address is there twice")
    told = {n: [ip["address"] for ip in r["ips"]] for n, r in added.items()}
    checks.check(all(known[n]["addresses"] == told[n] for n in added if n in known), "each has the addresses that its ADD told")
    with ThreadPoolExecutor(8) as pool:
        pings = dict(zip(added, pool.map(lambda n: works(spaces[n]), added)))
    checks.check(all(pings.values()), "each of them works", [n for n in pings if not pings[n]] or None)
    half_made = [n for n in set(failed) - unanswered if "eth0" in sh(["ip", "-n", spaces[n], "link"]).stdout]
    checks.check(not half_made, "the failed ones have no interface", half_made or None)
    retried = [n for n in failed[:10] if node.cni("DEL", spaces[n], n, check=False)[0] or node.cni("ADD", spaces[n], n, check=False)[0]]
    checks.check(not retried, "a failed ADD, deleted and tried again, succeeds", retried or None)
    half = list(spaces)[::2]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda n: node.cni("DEL", spaces[n], n, check=False)[0], half))
    checks.check(not any(statuses), "DEL of every other")
    others = set(endpoints(node))
    checks.check(others and not others & set(half), "leaves the others", len(others))
    nobody = {"cniVersion": "1.1.0", "cni.dev/valid-attachments": [], "cni.dev/attachments": []}
    checks.equal(node.cni("GC", "", "", ifname="", config=nobody, check=False)[0], 0, "GC of the rest")
    checks.equal(endpoints(node), {}, "leaves no endpoint")
    left = [n for n, ns in spaces.items() if "eth0" in sh(["ip", "-n", ns, "link"]).stdout]
    checks.check(not left and "tap" not in node.run("ip", "-br", "link").stdout, "no interface", left or None)
    checks.equal(left_on_disk(node), {"attachments": 0, "addresses": 0}, "and no attachment or address on disk")
    checks.equal(glob.glob(f"{node.config['stateDir']}/vhost/*"), [], "nor a socket")


def works(ns):
    """The gateway answers, in each family."""
    gateways = (["10.244.1.1"] if "4" in FAMILIES else []) + (["fd44:0:0:1::1"] if "6" in FAMILIES else [])
    return all(sh(in_ns(ns, ["ping", "-n", "-c2", "-i0.2", "-W2", g]), check=False).returncode == 0 for g in gateways)


def test(lab, checks):
    node = Node(lab, "node-a", pod_cidr="10.244.1.0/24" if "4" in FAMILIES else None,
                pod_cidr6="fd44:0:0:1::/64" if "6" in FAMILIES else None, families=FAMILIES, network=NETWORK).start()
    node.apply(node.node_object())
    killed_under_traffic(checks, node)
    killed_amid_adds(lab, checks, node)


main(test, ipv6="6" in FAMILIES)
