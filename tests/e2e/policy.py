#!/usr/bin/python3
"""Users' NetworkPolicy documents, unchanged: connection attempts, `podwire explain` and what the document says agree on every pair;
policies come and go on live connections."""
import os
from concurrent.futures import ThreadPoolExecutor

from harness import MANIFESTS, main
from lab import Flood, LabError, Node, Pod, Stream, announce
from lab.lab import wait_for

PORTS = (80, 8080)


def document(name):
    return os.path.join(MANIFESTS, name)


def explained(source, target, port):
    """What the nodes of both ends say of a connection: allowed or not."""
    verdicts = []
    for node in {p.node for p in (source, target) if p.node}:
        done = node.cli("explain", "--from", source.address, "--to", f"{target.address}:{port}", check=False)
        if done.returncode not in (0, 1):
            raise LabError(f"explain: {done.stdout}")
        verdicts.append(done.returncode == 0)
    return all(verdicts)


def compare(checks, what, sources, targets, expected):
    """Tries every pair and port; expected(source, target, port) is the document's text."""
    wanted = {s: [(t, port) for t in targets if s is not t for port in PORTS] for s in sources}
    cases = [(s, t, port) for s in sources for t, port in wanted[s]]
    with ThreadPoolExecutor(len(sources)) as pool:
        answers = pool.map(lambda s: s.connects_all([(t.address, port) for t, port in wanted[s]], timeout=1.5), sources)
        tried = [got for answer in answers for got in answer]
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda c: explained(*c), cases))
    wrong = [f"{s.name}->{t.name}:{port} tried {got} explained {said} expected {expected(s, t, port)}"
             for (s, t, port), got, said in zip(cases, tried, told) if not got == said == expected(s, t, port)]
    checks.check(not wrong, f"{what}: {len(cases)} attempts, {sum(tried)} connected, explain agrees on all", "; ".join(wrong) or None)


def make_pods(lab, checks, a, b):
    """10.244.1.2 is the first address given out: that of allow-netpol-demo's `except`."""
    excluded = a.attach("excluded")
    checks.equal(excluded.address, "10.244.1.2", "the first pod has the address that allow-netpol-demo excepts")
    a.apply(document("pod-a.yaml"))
    b.apply(a.pod_object("pod1", {"app": "myapp"}, node=a.name, address="10.244.1.3"))
    myapp = a.attach("pod1")
    other, dev, remote = a.attach("other"), a.attach("dev-pod", namespace="dev"), b.attach("remote")
    outside = Pod(lab, "outside", lab.router, "192.0.2.254")  # a host of the underlay: no pod
    outside.node = None
    for pod in (excluded, myapp, other, dev, remote):
        for port in PORTS:
            pod.listen(port)
    return excluded, myapp, other, dev, remote, outside


def documents(checks, a, pods, remote, outside):
    excluded, myapp, other, dev = pods
    default, sources, targets = (excluded, myapp, other), (*pods, remote, outside), (*pods, remote)

    def everything(s, t, port):
        return True
    compare(checks, "no policy", sources, targets, everything)
    a.apply(document("deny-all-ingress.yaml"))
    compare(checks, "deny-all-ingress", sources, targets, lambda s, t, port: t not in default)
    text = a.cli("explain", "--from", "other", "--to", "pod1:80", check=False).stdout
    checks.check("default/deny-all-ingress" in text, "explain names the policy that denies", text.strip().splitlines()[0])
    a.apply(document("allow-netpol-demo.yaml"))
    demo = {(s, myapp, 80) for s in sources if s not in (excluded, outside)}
    compare(checks, "deny-all-ingress and allow-netpol-demo", sources, targets, lambda s, t, port: t not in default or (s, t, port) in demo)
    a.apply(document("allow-all-ingress.yaml"))  # the document of this name is called deny-all-ingress too: it takes its place
    compare(checks, "allow-all-ingress in its place", sources, targets, everything)
    a.delete(document("allow-all-ingress.yaml"))
    compare(checks, "allow-netpol-demo alone", sources, targets, lambda s, t, port: t is not myapp or (s, t, port) in demo)
    a.delete(document("allow-netpol-demo.yaml"))
    a.apply(document("deny-all-egress.yaml"))
    compare(checks, "deny-all-egress", sources, targets, lambda s, t, port: s not in default)
    a.apply(document("allow-all-egress.yaml"))
    compare(checks, "allow-all-egress in its place", sources, targets, everything)
    a.delete(document("allow-all-egress.yaml"))
    a.apply(document("deny-all-ingress.yaml"), namespace="dev")
    compare(checks, "deny-all-ingress in namespace dev", sources, targets, lambda s, t, port: t is not dev)
    a.delete(document("deny-all-ingress.yaml"), namespace="dev")
    compare(checks, "all deleted", sources, targets, everything)


def live(checks, a, excluded, myapp, other):
    cut, kept = Stream(other, myapp), Stream(other, excluded, port=7001)
    flood = Flood(other, excluded)
    a.apply(document("allow-netpol-demo.yaml"))  # isolates pod1; the other connection has nothing to do with it
    checks.check(not cut.moves(1.0), "a policy cuts the connection that it forbids")
    checks.check(a.counter("connections_cut") >= 1, "and that is counted", a.counter("connections_cut"))
    checks.check(kept.moves(), "another pod's connection goes on")
    for i in range(5):
        a.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"unrelated-{i}"}}, document("deny-all-egress.yaml"),
                namespace=f"unrelated-{i}")
    sent, answered = flood.end()
    checks.check(sent == answered > 20, "pings every 5 ms lose none while six changes are made that do not concern them", f"{answered} of {sent}")
    checks.check(kept.longest_gap() < 0.3, "nor does a TCP connection wait", f"longest pause {kept.longest_gap() * 1000:.0f} ms")
    a.delete(document("allow-netpol-demo.yaml"))
    checks.check(other.connects(myapp, 8080), "after the policy's deletion new connections are made")
    cut.end()
    kept.end()


def selector_policy(name, peer):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
            "spec": {"podSelector": {"matchLabels": {"app": "myapp"}}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]}}


def labels(checks, a, myapp, other, dev):
    policy = selector_policy("by-role", {"podSelector": {"matchLabels": {"role": "client"}}})
    a.apply(policy)
    checks.check(not other.connects(myapp, 80), "a pod without the label may not connect")
    a.apply(a.pod_object("other", {"role": "client"}))
    checks.check(other.connects(myapp, 80), "given the label, it may")
    stream = Stream(other, myapp)
    a.apply(a.pod_object("other", {"role": "none"}))
    checks.check(not stream.moves(1.0), "the label changed, its live connection is cut")
    stream.end()
    a.delete(policy)
    policy = selector_policy("by-team", {"namespaceSelector": {"matchLabels": {"team": "blue"}}})
    a.apply(policy)
    checks.check(not dev.connects(myapp, 80), "a pod of a namespace without the label may not connect")
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dev", "labels": {"team": "blue"}}}
    a.apply(space)
    checks.check(dev.connects(myapp, 80), "the namespace given the label, it may")
    stream = Stream(dev, myapp)
    a.apply({**space, "metadata": {"name": "dev", "labels": {"team": "red"}}})
    checks.check(not stream.moves(1.0), "the namespace's label changed, the live connection is cut")
    stream.end()
    a.delete(policy)
    named = selector_policy("by-port-name", {})
    named["spec"]["ingress"] = [{"ports": [{"port": "http"}]}]
    a.apply(named)
    checks.check(other.connects(myapp, 80) and not other.connects(myapp, 8080), "a port by its name: 80 is open, 8080 is not")
    a.delete(named)


def ends(checks, a, excluded, myapp, other):
    """Replies of an allowed connection pass whatever the other direction's policy says."""
    a.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "no-egress-of-myapp"},
             "spec": {"podSelector": {"matchLabels": {"app": "myapp"}}, "policyTypes": ["Egress"]}})
    checks.check(other.connects(myapp, 80), "replies of a pod without any egress pass")
    checks.check(not myapp.connects(other, 80), "its own connections do not")
    a.cli("delete", "netpol", "no-egress-of-myapp")
    wait_for(lambda: myapp.connects(other, 80), what="traffic after the policy's deletion")
    pods = {(d["pod"], d["reason"]) for d in a.json("drops")["pods"]}
    checks.check(("default/pod1", "policy_denied_ingress") in pods and ("default/pod1", "policy_denied_egress") in pods,
                 "drops are told by pod and reason", sorted(p for p in pods if "policy" in p[1]))


def cluster_policy(action, tier="Admin"):
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "to-myapp"},
            "spec": {"tier": tier, "priority": 5, "subject": {"pods": {"podSelector": {"matchLabels": {"app": "myapp"}}}},
                     "ingress": [{"name": "web", "action": action, "from": [{"namespaces": {}}],
                                  "protocols": [{"tcp": {"destinationPort": {"number": port}}} for port in (80, 7000)]}]}}


def cluster(checks, a, myapp, other):
    """ClusterNetworkPolicies before and behind NetworkPolicies, on live connections."""
    a.apply(document("deny-all-ingress.yaml"))
    checks.check(not other.connects(myapp, 80), "isolated by a NetworkPolicy")
    a.apply(cluster_policy("Accept"))
    checks.check(other.connects(myapp, 80) and not other.connects(myapp, 8080), "an Admin policy accepts its ports, and these alone")
    a.delete(document("deny-all-ingress.yaml"))
    stream = Stream(other, myapp)
    a.apply(cluster_policy("Deny"))
    checks.check(not stream.moves(1.0), "changed to Deny, it cuts the live connection")
    stream.end()
    text = a.cli("explain", "--from", "other", "--to", "pod1:80", check=False).stdout
    checks.check("denied by ClusterNetworkPolicy to-myapp (Admin, priority 5) rule 'web'" in text, "explain names policy, tier, priority and rule", text)
    rules = {c.get("ingressRule", "") for c in a.json("connections", "--verdict", "denied")["items"]}
    checks.check("ClusterNetworkPolicy to-myapp (Admin, priority 5) rule 'web': Deny" in rules, "so does the list of connections", rules)
    a.apply(cluster_policy("Deny", "Baseline"))
    checks.check(not other.connects(myapp, 80), "Baseline denies as long as no NetworkPolicy isolates")
    a.apply(document("allow-all-ingress.yaml"))
    checks.check(other.connects(myapp, 80), "and yields to one that does")
    a.delete(document("allow-all-ingress.yaml"))
    a.cli("delete", "cnp", "to-myapp")
    checks.check(other.connects(myapp, 80), "deleted, it is gone")


def test(lab, checks):
    a = Node(lab, "node-a", host=1, pod_cidr="10.244.1.0/24").start()
    b = Node(lab, "node-b", host=2, pod_cidr="10.244.2.0/24").start()
    for node in (a, b):
        node.apply(document("kube-flannel-cfg.json"), document("namespaces.yaml"))
    announce([a, b])
    lab.route(a)
    lab.route(b)
    excluded, myapp, other, dev, remote, outside = make_pods(lab, checks, a, b)
    documents(checks, a, (excluded, myapp, other, dev), remote, outside)
    live(checks, a, excluded, myapp, other)
    labels(checks, a, myapp, other, dev)
    ends(checks, a, excluded, myapp, other)
    cluster(checks, a, myapp, other)


main(test)
