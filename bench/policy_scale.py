#!/usr/bin/python3
"""What a large cluster's policies cost a node: how long its podwired takes to learn them, how soon a change is in force on every
worker, how much memory they take.

One podwired, told everything by its gRPC API: the cluster's nodes, namespaces and pods, NetworkPolicies, some ClusterNetworkPolicies; and
its own pods (TAPs), spread over some of the namespaces. Then one thing is changed at a time, and timed is the Apply or Delete, which
answers when every worker goes by it. Needs root and a build; PODWIRE_BUILD says which."""
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "pcap"), os.path.join(HERE, "../tests")]
from lab import Lab, Node  # noqa: E402
from lab.api import Api  # noqa: E402
from lab.lab import wait_for  # noqa: E402
from idle import summary  # noqa: E402
from machine import Lock  # noqa: E402
from progress import say  # noqa: E402
import arguments  # noqa: E402
import cases  # noqa: E402

BATCH = 2000  # objects a request
PODS_OF_NODE = 250
TARGET_MS = 50.0


def namespace_of(n):
    return f"ns-{n:04}"


def remote_node(n):
    """Its subnet is 10.(100 + n / 256).(n % 256).0/24."""
    return cases.node(f"node-{n}", f"10.{100 + n // 256}.{n % 256}.0/24", f"172.20.{n // 250}.{n % 250 + 1}", cases.VXLAN,
                      f"02:00:00:00:{n // 256:02x}:{n % 256:02x}")


def namespace(n):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace_of(n), "labels": {"team": f"team-{n % 20}"}}}


def pod(ns, n, address, node, **labels):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": ns, "name": f"pod-{n:06}", "labels": {
        "app": f"app-{n // 7 % 10}", "tier": f"tier-{n % 3}", **labels}}, "spec": {"nodeName": node, "containers": [
            {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}]}, "status": {"podIP": address}}


def rule(n, ports, peers):
    return {peers: [{"podSelector": {"matchLabels": {"app": f"app-{(n + 1) % 10}"}}},
                    {"namespaceSelector": {"matchLabels": {"team": f"team-{n % 20}"}}, "podSelector": {"matchLabels": {"tier": f"tier-{n % 3}"}}},
                    {"ipBlock": {"cidr": f"172.{16 + n % 16}.{n // 16 % 256}.0/24"}}], "ports": ports}


def policy(ns, n, port=0, peer=None):
    ports = [{"port": 80}, {"port": port or 1000 + n % 1000}, {"port": "http"}]
    spec = {"podSelector": {"matchLabels": {"app": f"app-{n // 7 % 10}"}}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [rule(n, ports, "from")], "egress": [rule(n + 1, ports, "to")]}
    if peer:
        spec["ingress"][0]["from"].append(peer)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": ns, "name": f"policy-{n:05}"}, "spec": spec}


def cluster_policy(n, port=0):
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": f"cluster-{n:04}"}, "spec": {
        "tier": "Baseline" if n % 4 == 3 else "Admin", "priority": n % 1001, "subject": {"namespaces": {"matchLabels": {"team": f"team-{n % 20}"}}},
        "ingress": [{"name": f"rule-{n}", "action": ("Accept", "Deny", "Pass")[n % 3], "from": [{"namespaces": {"matchLabels": {"team": f"team-{(n + 1) % 20}"}}}],
                     "protocols": [{"tcp": {"destinationPort": {"number": port or 2000 + n}}}]}]}}


class Scale:
    def __init__(self, client, node, args):
        self.client, self.node, self.args = client, node, args
        # A step of 7919 reaches every policy before it comes to one again.
        numbers = [i * 7919 % args.policies for i in range(args.policies)]
        self.local = [n for n in numbers if n % args.namespaces < args.local_namespaces]
        self.elsewhere = [n for n in numbers if n % args.namespaces >= args.local_namespaces]

    def apply(self, objects, what=None):
        """Seconds."""
        begin = said = time.monotonic()
        for i in range(0, len(objects), BATCH):
            self.client("Objects", "Apply", timeout=300, json=[json.dumps(o) for o in objects[i:i + BATCH]])
            if what and time.monotonic() - said > 2:
                said = time.monotonic()
                say(f"{what}: {min(i + BATCH, len(objects))} of {len(objects)}, {self.rss_mb():.0f} MB")
        return time.monotonic() - begin

    def delete(self, kind, ns, name):
        begin = time.monotonic()
        self.client("Objects", "Delete", objects=[{"kind": kind, "namespace": ns, "name": name}])
        return time.monotonic() - begin

    def rss_mb(self):
        with open(f"/proc/{self.node.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024

    def attach(self, lab):
        """This node's pods, all in one namespace of the kernel: their traffic is no part of this."""
        ns = lab.add_ns("pods")
        begin = said = time.monotonic()
        for n in range(self.args.local):
            self.client("Endpoints", "Attach", key={"container_id": f"c{n}", "ifname": f"p{n}"}, netns=f"/run/netns/{ns}", network="scale",
                        pod_namespace=namespace_of(n % self.args.local_namespaces), pod_name=f"pod-{n:06}",
                        addresses=[f"10.244.{n // 200}.{n % 200 + 10}/32"], routes=[{"dst": f"10.250.{n // 250}.{n % 250}/32"}])
            if time.monotonic() - said > 2:
                said = time.monotonic()
                say(f"attach: {n + 1} of {self.args.local}")
        return time.monotonic() - begin

    def remote_pod(self, n, **labels):
        node, place = divmod(n, PODS_OF_NODE)
        return pod(namespace_of(n % self.args.namespaces), n, f"10.{100 + node // 256}.{node % 256}.{place + 1}", f"node-{node}", **labels)

    def load(self):
        """Rows of what was loaded and how long it took; and the memory before the policies."""
        a = self.args
        pods = [pod(namespace_of(n % a.local_namespaces), n, "", "node-a") for n in range(a.local)]
        pods += [self.remote_pod(n) for n in range(a.local, a.pods)]
        rows = [("nodes", self.apply([remote_node(n) for n in range((a.pods + PODS_OF_NODE - 1) // PODS_OF_NODE)], "nodes")),
                ("namespaces and pods", self.apply([namespace(n) for n in range(a.namespaces)] + pods, "pods"))]
        before = self.rss_mb()
        policies = [policy(namespace_of(n % a.namespaces), n) for n in range(a.policies)]
        rows.append(("NetworkPolicies", self.apply(policies, "policies")))
        rows.append(("ClusterNetworkPolicies", self.apply([cluster_policy(n) for n in range(a.cluster_policies)])))
        return rows, before

    # Changes; each returns seconds.
    def ports(self, i):
        n = self.local[i % len(self.local)]
        return self.apply([policy(namespace_of(n % self.args.namespaces), n, port=20000 + i)])

    def peers(self, i):
        n = self.local[i % len(self.local)]
        return self.apply([policy(namespace_of(n % self.args.namespaces), n, peer={
            "namespaceSelector": {"matchLabels": {"team": f"team-{i % 20}"}}, "podSelector": {"matchExpressions": [
                {"key": "app", "operator": "In", "values": [f"app-{i % 10}", f"new-{i}"]}]}})])

    def without_pods_here(self, i):
        n = self.elsewhere[i % len(self.elsewhere)]
        return self.apply([policy(namespace_of(n % self.args.namespaces), n, port=20000 + i)])

    def comes_and_goes(self, i):
        n = self.local[i // 2 % len(self.local)]
        ns, number = namespace_of(n % self.args.namespaces), self.args.policies + n
        return self.delete("NetworkPolicy", ns, f"policy-{number:05}") if i % 2 else self.apply([policy(ns, number)])

    def cluster(self, i):
        return self.apply([cluster_policy(i % self.args.cluster_policies, port=20000 + i)])

    def pod(self, i):
        n = self.args.local + i * 7919 % (self.args.pods - self.args.local)
        return self.apply([self.remote_pod(n, app=f"app-{i % 10}")])

    def change(self, kind):
        """Milliseconds of each of `--changes` changes, one after the other."""
        times, said = [], time.monotonic()
        for i in range(self.args.changes):
            times.append(CHANGES[kind](self, i) * 1000)
            if time.monotonic() - said > 2:
                said = time.monotonic()
                say(f"{kind}: {i + 1} of {self.args.changes}, the last {times[-1]:.1f} ms")
        return times

    def restart(self):
        """Seconds from the end of podwired until a new one answers."""
        self.node.stop()
        begin = time.monotonic()
        self.node.start(wait=False)
        wait_for(lambda: self.node.process.poll() is not None or self.node.cli("status", check=False).returncode == 0, 120, what="podwired")
        return time.monotonic() - begin


CHANGES = {
    "other ports": Scale.ports,
    "a new peer": Scale.peers,
    "policy comes, goes": Scale.comes_and_goes,
    "cluster policy's ports": Scale.cluster,
    "policy without pods here": Scale.without_pods_here,
    "labels of a remote pod": Scale.pod,
}


def measure(args):
    with Lab() as lab:
        node = Node(lab, "node-a", pod_cidr="10.244.0.0/16", memoryMb=args.memory).start()
        network = {"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}
        scale = Scale(Api().connect(node.socket), node, args)
        scale.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-flannel-cfg", "namespace": "kube-system"},
                      "data": {"net-conf.json": json.dumps(network)}}, node.node_object("vxlan")])
        figures = {"rss_mb_at_start": scale.rss_mb(), "attach_s": scale.attach(lab)}
        print(f"{args.policies} NetworkPolicies, {args.cluster_policies} ClusterNetworkPolicies, {args.pods} pods, {args.local} of them here\n")
        print(f"{'attach':<40} {figures['attach_s']:8.1f} s", flush=True)
        rows, figures["rss_mb_without_policies"] = scale.load()
        figures["load_s"], figures["rss_mb"] = dict(rows), scale.rss_mb()
        for name, seconds in rows:
            print(f"{'load ' + name:<40} {seconds:8.1f} s", flush=True)
        figures["change_ms"] = {}
        for kind in CHANGES if args.changes else ():
            times = summary(scale.change(kind))
            p50, p99, most = times["median"], times["p99"], times["max"]
            figures["change_ms"][kind] = {"p50": p50, "p99": p99, "max": most}
            late = "" if p99 <= TARGET_MS else f"  above {TARGET_MS:.0f} ms"
            print(f"{'change: ' + kind:<40} {p50:8.1f} ms p50 {p99:8.1f} ms p99 {most:8.1f} ms at most{late}", flush=True)
        figures["rss_mb_after_changes"] = scale.rss_mb()
        print(f"{'memory (RSS) at start':<40} {figures['rss_mb_at_start']:8.0f} MB\n"
              f"{'  with all pods':<40} {figures['rss_mb_without_policies']:8.0f} MB\n{'  and policies':<40} {figures['rss_mb']:8.0f} MB\n"
              f"{'  after the changes':<40} {figures['rss_mb_after_changes']:8.0f} MB", flush=True)
        if args.restart:
            figures["restart_s"] = scale.restart()
            print(f"{'restart':<40} {figures['restart_s']:8.1f} s")
        return figures


def main():
    args = arguments.parse_policy_scale(sys.argv[1:], __doc__)
    with Lock():
        figures = measure(args)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
