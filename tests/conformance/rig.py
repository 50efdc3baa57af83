"""What cases run in: one podwired, namespaces for the pods, and hosts outside behind its uplink."""
import ipaddress
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from api import Api, ApiError
from case_file import in_host_network, is_finished, object_key, pod_addresses

from lab import Lab, LabError, Node
from lab.lab import remove
from lab.node import file_prefix
from lab.run import in_ns, sh

NODE = "local"
# Of hosts outside, towards the router; only ever used on their own links.
LINK_GATEWAY = "169.254.255.254"
LINK_GATEWAY_6 = "fe80::1"


def family_of(ip):
    return ipaddress.ip_address(ip).version


def host_prefix(ip):
    return f"{ip}/{32 if family_of(ip) == 4 else 128}"


def own_networks(addresses):
    """A network for podwired's pods, one for its underlay and an IPv6 one, in which no case has an address."""
    taken = [ipaddress.ip_address(a) for a in addresses]
    pools = [ipaddress.ip_network(f"{first}.{second}.0.0/16") for first, seconds in
             ((100, range(64, 128)), (198, range(18, 20)), (172, range(16, 32)), (10, range(256))) for second in reversed(seconds)]
    free = [p for p in pools if not any(a.version == 4 and a in p for a in taken)]
    if len(free) < 2:
        raise LabError("the cases' addresses leave podwired no network of its own")
    six = next(p for p in (ipaddress.ip_network(f"fd{n:02x}:706f:6477::/48") for n in range(255, -1, -1))
               if not any(a.version == 6 and a in p for a in taken))
    return free[0], free[1], six


def ip_batch(ns, lines):
    done = subprocess.run(["ip", "-n", ns, "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True)
    if done.returncode:
        raise LabError(f"ip in {ns}: {done.stderr.strip()}")


def guard(lab):
    """A process that removes the lab when this one is killed so that it cannot do so itself."""
    mine, its = os.pipe()
    if os.fork():
        os.close(mine)  # `its` closes with this process, however that ends
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(its)
        os.read(mine, 1)
        if os.path.isdir(lab.dir):
            config = os.path.join(lab.dir, NODE, "podwired.json")
            state = json.load(open(config, encoding="utf-8"))["stateDir"] if os.path.exists(config) else ""
            remove([n for n in os.listdir("/run/netns") if n.startswith(f"{lab.tag}-")], lab.dir)
            shutil.rmtree(f"/run/dpdk/{file_prefix(NODE, state)}", ignore_errors=True)
    finally:
        os._exit(0)


class ConformanceLab(Lab):
    """A lab whose router has the node and the hosts outside on links of their own."""

    def __init__(self, underlay):
        self.underlay = underlay
        if os.path.isdir("/dev/shm"):
            tempfile.tempdir = "/dev/shm"  # podwired's database is written at each step
        super().__init__()

    def _make_underlay(self):
        ns = self.add_ns("router")
        sh(in_ns(ns, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.proxy_arp=1", "net.ipv4.conf.default.proxy_arp=1",
                      "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", "net.ipv6.conf.all.disable_ipv6=0",
                      "net.ipv6.conf.default.disable_ipv6=0", "net.ipv6.conf.all.forwarding=1"]))
        return ns

    def plug(self, ns, subnet, name, queues=1):
        gateway = str(self.underlay[254])
        ip_batch(self.router, [f"link add to-node type veth peer name eth0 netns {ns}", f"addr add {gateway}/24 dev to-node",
                               "link set to-node up"])
        sh(["ip", "-n", ns, "link", "set", "eth0", "up"])
        return gateway


@dataclass
class Slot:
    """A namespace, used for one pod after the other."""
    ns: str
    fd: int
    link: str = ""  # a host outside: the router's end


@dataclass
class Placed:
    """An end of connections where it is now."""
    kind: str  # pod, external, node
    ips: tuple
    slot: Slot
    container: str = ""
    finished: bool = False

    def of(self, family):
        return [ip for ip in self.ips if family_of(ip) == family]


class Rig:
    """Makes the cluster that a case describes, and changes it step by step."""

    def __init__(self, addresses):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        network, underlay, six = own_networks(addresses)
        self.lab = ConformanceLab(ipaddress.ip_network((underlay.network_address, 24)))
        guard(self.lab)
        try:
            self._start(network, six if any(family_of(a) == 6 for a in addresses) else None)
        except BaseException:
            self.lab.close()
            raise

    def _start(self, network, six):
        pod_cidr = str(ipaddress.ip_network((network.network_address, 24)))
        cidrs = [pod_cidr]
        conf = {"Network": str(network), "Backend": {"Type": "host-gw"}}
        if six:
            conf.update(EnableIPv6=True, IPv6Network=str(six))
            cidrs.append(str(ipaddress.ip_network((six.network_address, 64))))
        self.node = Node(self.lab, NODE, pod_cidr=pod_cidr, network=conf)
        self.address6 = self._underlay6(six) if six else ""
        self.gateway6 = str(ipaddress.ip_network(cidrs[-1])[1]) if six else ""
        self.node.start(wait=False)
        self.node.wait_up()
        self.api = Api(self.node.socket)
        node = self.node.node_object("host-gw")
        node["spec"] = {"podCIDR": pod_cidr, "podCIDRs": cidrs}
        self.api.apply([json.dumps(node)])
        ip_batch(self.lab.router, [f"route replace {pod_cidr} via {self.node.address}"])
        self.gateway = str(ipaddress.ip_network(pod_cidr)[1])
        self.placed, self.objects = {}, {}
        self.free, self.free_outside, self.slots, self.containers = [], [], 0, itertools.count(1)
        self.pool = ThreadPoolExecutor(4)
        self.on_release = lambda slot, ips: None

    def _underlay6(self, six):
        """Gives the node an IPv6 address on the underlay too."""
        link = ipaddress.ip_network((int(six.network_address) + (1 << 64), 64))
        underlay = self.node.config["underlay"]
        underlay.update(address=[underlay["address"], f"{link[1]}/64"], gateway=[underlay["gateway"], str(link[254])])
        ip_batch(self.lab.router, [f"addr add {link[254]}/64 dev to-node nodad"])
        return str(link[1])

    def close(self):
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.api.close()
        self.lab.close()

    # Namespaces
    def _new_slot(self, outside):
        self.slots += 1
        ns = self.lab.add_ns(f"{'out' if outside else 'pod'}{self.slots}", ipv6=bool(self.address6))
        slot = Slot(ns, os.open(f"/run/netns/{ns}", os.O_RDONLY | os.O_CLOEXEC))
        if outside:
            slot.link = f"out{self.slots}"
            sh(in_ns(ns, ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0"]))
            ip_batch(self.lab.router, [f"link add {slot.link} type veth peer name eth0 netns {ns}",
                                       f"addr add {LINK_GATEWAY}/32 dev {slot.link}", f"addr add {LINK_GATEWAY_6}/64 dev {slot.link} nodad",
                                       f"link set {slot.link} up"])
            ip_batch(ns, ["link set eth0 up", f"route add {LINK_GATEWAY} dev eth0", f"route add default via {LINK_GATEWAY} dev eth0"])
        return slot

    # Ends
    def _attach(self, name, kind, ips):
        """Runs beside others of its kind: namespaces and numbers have been made for it."""
        slot = self.free.pop()
        container = f"c{next(self.containers)}-{name.replace('/', '-')}"[:100]
        more = {"host": True} if kind == "node" else {}

        try:
            endpoint = self.api.attach(container, f"/run/netns/{slot.ns}", name if "/" in name else f"node/{name}",
                                       [host_prefix(ip) for ip in ips], **more)
        except ApiError:
            self.free.append(slot)
            raise
        got = tuple(a.split("/")[0] for a in endpoint.addresses)
        return Placed(kind, got, slot, container)

    def _route(self, ips, verb, via):
        for ip in ips:
            sh(["ip", "-n", self.lab.router, "route", verb, ip, *(via if verb == "replace" else [])], check=verb == "replace")

    def _outside(self, ips):
        slot = self.free_outside.pop() if self.free_outside else self._new_slot(outside=True)
        lines = [f"addr add {host_prefix(ip)} dev eth0{'' if family_of(ip) == 4 else ' nodad'}" for ip in ips]
        ip_batch(slot.ns, lines)
        if any(family_of(ip) == 6 for ip in ips):
            ip_batch(slot.ns, [f"route replace ::/0 via {LINK_GATEWAY_6} dev eth0"])
        self._route(ips, "replace", ["dev", slot.link])
        return Placed("external", tuple(ips), slot)

    def place(self, wanted):
        """Makes ends: name -> (kind, addresses)."""
        inside = [(n, k, i) for n, (k, i) in wanted.items() if k != "external"]
        self.free += [self._new_slot(outside=False) for _ in range(len(inside) - len(self.free))]
        jobs = [(name, self.pool.submit(self._attach, name, kind, ips)) for name, kind, ips in inside]
        failed = None
        for name, job in jobs:
            try:
                self.placed[name] = job.result()
            except ApiError as e:
                failed = failed or e
        if failed:
            raise failed
        for name, _, _ in inside:
            for ip in self.placed[name].ips:
                via = self.node.address if family_of(ip) == 4 else self.address6
                if via:
                    self._route([ip], "replace", ["via", via])
        for name, (kind, ips) in wanted.items():
            if kind == "external":
                self.placed[name] = self._outside(ips)

    def remove(self, names):
        """Takes ends away; their addresses are free for others when it returns."""
        popped = [self.placed.pop(name) for name in names]
        kept = {id(p.slot) for p in self.placed.values()}  # pods of the host's network have their host's
        gone = {id(p.slot): p for p in sorted(popped, key=lambda p: p.container) if id(p.slot) not in kept}.values()
        for p in gone:
            self.on_release(p.slot, p.ips)
        list(self.pool.map(lambda p: p.container and self.api.detach(p.container), gone))
        for p in gone:
            self._route(p.ips, "del", [])
            if p.kind == "external":
                ip_batch(p.slot.ns, ["addr flush dev eth0 scope global", f"route replace {LINK_GATEWAY} dev eth0",
                                     f"route replace default via {LINK_GATEWAY} dev eth0"])
                self.free_outside.append(p.slot)
            else:
                self.free.append(p.slot)

    # Objects
    def _apply(self, objects):
        texts = {}
        for o in objects:
            texts[object_key(o)] = json.dumps(o)
        if objects:
            self.api.apply([json.dumps(o) for o in objects])
        self.objects.update(texts)

    def _delete(self, keys):
        if keys:
            self.api.delete(keys)
        for kind, namespace, name in keys:
            self.objects.pop((kind, namespace, name), None)
            if kind == "Namespace":
                self.objects = {k: v for k, v in self.objects.items() if k[1] != name}

    def set_head(self, case):
        """Namespaces, pods and hosts as the case begins, and no policy. True if some end is new."""
        wanted = {name: (host.kind, host.ips) for name, host in case.hosts.items()}
        keep = {n for n, p in self.placed.items() if n in wanted and wanted[n] == (p.kind, p.ips)}
        head = self._head_objects(case)
        keys = {object_key(o) for o in head}
        policies_first = sorted((k for k in self.objects if k not in keys), key=lambda k: (not k[0].endswith("Policy"), k))
        self._delete(policies_first)
        self.remove([n for n in self.placed if n not in keep])
        self._apply([o for o in head if self.objects.get(object_key(o)) != json.dumps(o)])
        new = {n: w for n, w in wanted.items() if n not in keep}
        self.place(new)
        return bool(new)

    @staticmethod
    def _head_objects(case):
        names = set(case.namespaces) | {n.split("/")[0] for n, h in case.hosts.items() if h.kind == "pod"}
        objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": case.namespaces.get(n, {})}}
                   for n in sorted(names)]
        for key, host in case.hosts.items():
            if host.kind == "pod":
                namespace, name = key.split("/")
                objects.append({"apiVersion": "v1", "kind": "Pod",
                                "metadata": {"namespace": namespace, "name": name, "labels": host.labels},
                                "spec": {"nodeName": NODE, "containers": [{"name": "c", "ports": host.ports}]},
                                "status": {"phase": "Running"}})
        return objects

    def step(self, step):
        """Deletes, then applies; pods that appear are attached, those that disappear detached."""
        self._delete(step.delete)
        doomed = {f"{ns}/{name}" for kind, ns, name in step.delete if kind == "Pod"}
        spaces = tuple(f"{name}/" for kind, _, name in step.delete if kind == "Namespace")
        self.remove([n for n, p in self.placed.items() if n in doomed or (spaces and p.kind == "pod" and n.startswith(spaces))])
        pods = {f"{key[1]}/{key[2]}": o for o in step.apply if (key := object_key(o))[0] == "Pod"}
        self._make_room(pods)
        self._apply([self._here(o) for o in step.apply])
        self._place_pods(pods)

    @staticmethod
    def _here(o):
        """Every pod of a case runs on the rig's node."""
        if o["kind"] != "Pod" or in_host_network(o):
            return o
        return {**o, "spec": {**(o.get("spec") or {}), "nodeName": NODE}}

    def _make_room(self, pods):
        """Takes away what has an address that a pod of the step is given: itself before, or a pod that has finished."""
        gone = []
        for name, o in pods.items():
            ips = set(pod_addresses(o, name))
            for other, p in self.placed.items():
                if other == name:
                    if ips - set(p.ips) or in_host_network(o):
                        gone.append(other)
                elif p.finished and ips & set(p.ips):
                    gone.append(other)
            if name in self.placed:
                self.placed[name].finished = is_finished(o)
        self.remove(list(dict.fromkeys(gone)))

    def _place_pods(self, pods):
        wanted = {}
        for name, o in pods.items():
            ips = pod_addresses(o, name)
            if in_host_network(o):
                host = next((p for p in self.placed.values() if set(ips) & set(p.ips)), None)
                if ips:
                    self.placed[name] = Placed(host.kind, ips, host.slot) if host else self._outside(ips)
            elif name not in self.placed and not is_finished(o):
                wanted[name] = ("pod", ips)
        self.place(wanted)
