"""The demo: two podwire nodes and a plain Linux node, their pods, and users' policies on them. scripts/demo runs it."""
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from lab import KernelNode, Lab, LabError, Node, Stream, announce  # noqa: E402
from lab.lab import remove  # noqa: E402

KEPT = "/run/podwire-demo.json"
MANIFESTS = "tests/manifests"
BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


class Demo:
    def __init__(self, lab):
        self.lab, self.begin, self.scene, self.surprises = lab, time.monotonic(), 0, 0

    def title(self, text):
        self.scene += 1
        print(f"\n{BOLD}{self.scene}. {text}{PLAIN}  [{time.monotonic() - self.begin:.0f} s]", flush=True)

    @staticmethod
    def say(text):
        print(f"   {text}", flush=True)

    def expect(self, good, text):
        """Something that must be so; the demo's exit status tells if it was not."""
        self.surprises += not good
        self.say(f"{'->' if good else '!! NOT AS EXPECTED:'} {text}")

    def podwire(self, node, *words, lines=14, quiet=False):
        """Shows a podwire command and what it prints."""
        done = node.cli(*words, check=False)
        if not quiet:
            print(f"   {BOLD}{node.name}$ podwire {' '.join(words)}{PLAIN}")
            shown = done.stdout.rstrip().split("\n")
            for line in shown[:lines]:
                print(f"     {line[:150]}")
            if len(shown) > lines:
                print(f"     ... {len(shown) - lines} more lines")
            sys.stdout.flush()
        return done

    def talk(self, a, b, wire=None):
        """A ping, what of it was on the underlay, and TCP for a second each way."""
        if wire:
            dump = self.lab.spawn(["tcpdump", "-l", "-nn", "-i", wire, "-c", "2", "udp port 8472 or icmp"], ns=self.lab.router,
                                  log=f"{self.lab.dir}/dump")
            time.sleep(0.7)
        out = a.run("ping", "-n", "-c3", "-i0.3", "-W2", b.address, check=False).stdout
        answer, summary = re.search(r".*ttl=.*", out), re.search(r".*packet loss.*", out)
        self.say(f"{a.name} ({a.address}) pings {b.name} ({b.address}):")
        print(f"     {answer[0] if answer else out.strip()}")
        self.expect(" 0% packet loss" in out, summary[0] if summary else "no answer")
        if wire:
            self.lab.end(dump)
            self.say("and on the underlay:")
            for line in [x for x in open(f"{self.lab.dir}/dump") if " IP " in x or x.startswith("IP ")][:2]:
                print(f"     {line.rstrip()[:150]}")
            os.unlink(f"{self.lab.dir}/dump")
        for source, target in ((a, b), (b, a)):
            rate, stalls = source.iperf(target, 1)
            self.expect(rate > 0.01 and not stalls, f"TCP from {source.name} to {target.name}: {rate:.2f} Gbit/s")

    def connect(self, source, target, port, wanted):
        got = source.connects(target, port)
        words = "connects" if got else "cannot connect"
        self.expect(got == wanted, f"{source.name} {words} to {target.name}:{port}")


def start(demo, lab):
    demo.title("Two podwire nodes and a plain Linux node, on an underlay of two subnets")
    alpha = Node(lab, "alpha", subnet="a", host=1, pod_cidr="10.244.1.0/24")
    beta = Node(lab, "beta", subnet="b", host=2, pod_cidr="10.244.2.0/24")
    plain = KernelNode(lab, "plain", subnet="a", host=9, pod_cidr="10.244.9.0/24")
    for node in (alpha, beta):
        node.start(wait=False)
    for node in (alpha, beta):
        node.wait_up()
    demo.say(f"alpha {alpha.address}, beta {beta.address} (another subnet, behind a router): podwired owns their uplinks")
    demo.say(f"plain {plain.address}: no podwire there, only the kernel's VXLAN device and routes, as flannel sets them up")
    for node in (alpha, beta):
        demo.podwire(node, "apply", "-f", f"{MANIFESTS}/kube-flannel-cfg.json")
    announce([alpha, beta], plain=[plain])
    plain.add_direct_peer(alpha)
    plain.add_peer(beta)
    demo.podwire(alpha, "get", "nodes")
    demo.podwire(alpha, "get", "routes")
    return alpha, beta, plain


def attach(demo, alpha, beta):
    demo.title("Pods, attached by the CNI plugin as a container runtime does it")
    excluded = alpha.attach("excluded")  # the first address given out: 10.244.1.2
    demo.podwire(alpha, "apply", "-f", f"{MANIFESTS}/pod-a.yaml")
    pod1, client, remote = alpha.attach("pod1"), alpha.attach("client"), beta.attach("remote")
    demo.say("podwire-cni ADD of pod1 answered:")
    print(f"     {json.dumps(pod1.result)}")
    demo.podwire(alpha, "get", "pods")
    return excluded, pod1, client, remote


def traffic(demo, pod1, client, remote, plain):
    demo.title("Two pods of one node")
    demo.talk(client, pod1)
    demo.title("Pods of two nodes on different subnets: over VXLAN")
    demo.talk(client, remote, "br-b")
    demo.title("DirectRouting: a node on the same subnet is reached without a tunnel")
    demo.talk(client, plain.pod, "br-a")
    demo.title("The plain Linux node's own VXLAN device, from the other subnet")
    demo.talk(remote, plain.pod, "br-b")


def ingress(demo, alpha, pod1, client, excluded):
    demo.title("NetworkPolicy: deny-all-ingress on live pods")
    for port in (80, 8080):
        pod1.listen(port)
    demo.connect(client, pod1, 80, True)
    stream = Stream(client, pod1)
    demo.podwire(alpha, "apply", "-f", f"{MANIFESTS}/deny-all-ingress.yaml")
    demo.expect(not stream.moves(1), "the connection that they had open stands still")
    demo.connect(client, pod1, 80, False)
    done = demo.podwire(alpha, "explain", "--from", "client", "--to", "pod1:80", lines=20)
    demo.expect(done.returncode == 1 and "default/deny-all-ingress" in done.stdout, "explain names the policy")
    demo.podwire(alpha, "delete", "-f", f"{MANIFESTS}/deny-all-ingress.yaml")
    demo.connect(client, pod1, 80, True)
    stream.end()

    demo.title("NetworkPolicy: allow-netpol-demo lets 10.244.0.0/16 except 10.244.1.2 reach port 80 of app=myapp")
    demo.podwire(alpha, "apply", "-f", f"{MANIFESTS}/allow-netpol-demo.yaml")
    demo.connect(client, pod1, 80, True)
    demo.connect(client, pod1, 8080, False)
    demo.say(f"{excluded.name} has the address {excluded.address}:")
    demo.connect(excluded, pod1, 80, False)
    demo.podwire(alpha, "explain", "--from", "excluded", "--to", "pod1:80", lines=20)
    demo.podwire(alpha, "explain", "--from", "client", "--to", "pod1:80", lines=20)
    demo.podwire(alpha, "delete", "-f", f"{MANIFESTS}/allow-netpol-demo.yaml")
    demo.connect(excluded, pod1, 80, True)


def egress(demo, alpha, pod1, client, remote):
    demo.title("NetworkPolicy: deny-all-egress")
    remote.listen(80)
    demo.connect(client, remote, 80, True)
    demo.podwire(alpha, "apply", "-f", f"{MANIFESTS}/deny-all-egress.yaml")
    demo.connect(client, remote, 80, False)
    demo.say("replies to connections from outside still go out:")
    demo.connect(remote, pod1, 80, True)
    demo.podwire(alpha, "delete", "-f", f"{MANIFESTS}/deny-all-egress.yaml")
    demo.connect(client, remote, 80, True)


def views(demo, alpha, beta):
    demo.title("What the switch can say of itself")
    demo.podwire(alpha, "flows", "--pod", "client", "--port", "80")
    demo.podwire(alpha, "drops")
    for node in (alpha, beta):
        node.books()
    last = demo.podwire(alpha, "counters", quiet=True).stdout.rstrip().split("\n")[-1]
    demo.say("Every packet is accounted for:")
    print(f"     {last}")
    demo.expect("BALANCED" in last, "the books balance")


def keep(lab, alpha, pods):
    lab.keep = True
    with open(KEPT, "w") as f:
        json.dump({"dir": lab.dir, "namespaces": lab.namespaces}, f)
    print(f"\n{BOLD}It keeps running. Try:{PLAIN}\n")
    print(f"  export PATH={lab.build}:$PATH PODWIRE_SERVER=unix://{alpha.socket}")
    print("  podwire get pods; podwire connections; podwire counters; podwire get ports -o wide")
    print(f"  podwire apply -f {MANIFESTS}/deny-all-ingress.yaml; podwire explain --from client --to pod1:80")
    print(f"  nsenter --net=/run/netns/{pods[0].ns} ping {pods[1].address}        # in the pod {pods[0].name}")
    print(f"  nsenter --net=/run/netns/{lab.router} tcpdump -n -i br-b   # the underlay")
    print("\nand remove it all with\n\n  scripts/demo --end")


def end_kept():
    if not os.path.exists(KEPT):
        print("there is no demo running")
        return
    with open(KEPT) as f:
        kept = json.load(f)
    remove(kept["namespaces"], kept["dir"])
    os.unlink(KEPT)
    print("removed")


def main():
    if "--end" in sys.argv:
        return end_kept()
    if os.path.exists(KEPT):
        sys.exit("a demo is running: scripts/demo --end removes it")
    os.chdir(ROOT)
    with Lab() as lab:
        demo = Demo(lab)
        alpha, beta, plain = start(demo, lab)
        excluded, pod1, client, remote = attach(demo, alpha, beta)
        traffic(demo, pod1, client, remote, plain)
        ingress(demo, alpha, pod1, client, excluded)
        egress(demo, alpha, pod1, client, remote)
        views(demo, alpha, beta)
        if "--keep" in sys.argv:
            keep(lab, alpha, (client, pod1))
    if not lab.keep:
        left = lab.leftovers()
        print()
        demo.expect(not left, "everything is removed again" if not left else "left behind: " + ", ".join(left))
    print(f"\nDone in {time.monotonic() - demo.begin:.0f} s." + (f" {demo.surprises} things were not as expected." if demo.surprises else ""))
    sys.exit(1 if demo.surprises else 0)


try:
    main()
except (LabError, subprocess.TimeoutExpired) as error:
    sys.exit(f"the demo failed: {error}")
