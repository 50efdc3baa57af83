import json
import os
import signal
import subprocess
import time

from .lab import SUBNETS6, wait_for
from .pod import Pod
from .run import LabError, in_ns, ip, sh


# CPUs of each node's workers, "1" or "0,1".
WORKERS = [int(cpu) for cpu in os.environ.get("PODWIRE_WORKERS", "1").split(",")]


def file_prefix(name, state_dir):
    """Of the files that DPDK keeps for a node's podwired: by node and state directory, as podwired names them."""
    h = 0xcbf29ce484222325
    for c in f"{name} {state_dir}".encode():
        h = (h ^ c) * 0x100000001b3 % 2**64
    h ^= h >> 33
    h = h * 0xff51afd7ed558ccd % 2**64
    h ^= h >> 33
    mac = bytearray(h.to_bytes(8, "little")[:6])
    mac[0] = mac[0] & 0xfc | 2
    return "podwire-" + mac.hex()


class Node:
    """A podwire node: a namespace with an uplink whose addresses are podwired's, and pods attached by podwire-cni. `families`: of
    the underlay, "4", "6" or "46"; IPv6 needs a lab with ipv6. `shared`: a port's mode; the addresses and the default route are then the
    kernel's, in the namespace."""

    def __init__(self, lab, name, subnet="a", host=1, pod_cidr=None, cni_version="1.0.0", pod_cidr6=None, families="4", shared=None, queues=1,
                 **config):
        self.lab, self.name, self.pod_cidr, self.pod_cidr6 = lab, name, pod_cidr, pod_cidr6
        self.ns = lab.add_ns(name)
        gateway = lab.plug(self.ns, subnet, name, queues)
        self.address = gateway.rsplit(".", 1)[0] + f".{host}"
        self.address6 = f"{SUBNETS6[subnet]}{host:x}" if "6" in families else None
        self.dir = os.path.join(lab.dir, name)
        os.makedirs(self.dir)
        self.socket = os.path.join(self.dir, "podwired.sock")
        self.log = os.path.join(self.dir, "podwired.log")
        self.config_path = os.path.join(self.dir, "podwired.json")
        self.vtep_mac = "02:70:77:%02x:%02x:%02x" % tuple(int(x) for x in self.address.split(".")[1:])
        underlay = {"port": "uplink", "address": f"{self.address}/24", "gateway": gateway}
        if "6" in families:
            own, router = f"{self.address6}/64", f"{SUBNETS6[subnet]}fe"
            both = "4" in families
            underlay.update(address=[underlay["address"], own] if both else own, gateway=[gateway, router] if both else router)
        uplink = {"name": "uplink", "kind": "netdev", "interface": "eth0"}
        if shared:
            self._leave_to_kernel(underlay)
            underlay = {"port": "uplink"}
            uplink.update(shared=True, mode=shared)
        if "4" not in families:
            self.address = None
        self.config = {
            "node": name, "stateDir": os.path.join(self.dir, "state"), "listen": f"unix://{self.socket}",
            "lcores": {"workers": WORKERS, "control": 0}, "memoryMb": 256, "connections": 65536,
            "ports": [uplink],
            "underlay": underlay, **config}
        self.cni_version = cni_version
        self.process = None
        self.pods = {}
        lab.nodes.append(self)

    def _leave_to_kernel(self, underlay):
        def listed(value):
            return value if isinstance(value, list) else [value]
        sh(in_ns(self.ns, ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0"]))
        for address in listed(underlay["address"]):
            ip(self.ns, "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        for gateway in listed(underlay["gateway"]):
            ip(self.ns, "route", "add", "default", "via", gateway)

    def host(self):
        """The node's own network stack at its underlay address, to talk to and from."""
        return Pod(self.lab, f"{self.name} itself", self.ns, self.address)

    # podwired
    def start(self, wait=True):
        with open(self.config_path, "w") as f:
            json.dump(self.config, f, indent=1)
        self.process = self.lab.spawn([self.lab.program("podwired"), "--config", self.config_path], ns=self.ns, log=self.log)
        if wait:
            self.wait_up()
        return self

    def wait_up(self, timeout=60):
        def up():
            if self.process.poll() is not None:
                raise LabError(f"podwired on {self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
            return self.cli("status", check=False).returncode == 0
        wait_for(up, timeout, what=f"podwired on {self.name}")

    def file_prefix(self):
        return file_prefix(self.name, self.config["stateDir"])

    def log_tail(self, size=3000):
        return open(self.log, errors="replace").read()[-size:]

    def stop(self):
        """SIGTERM; returns (exit status, seconds)."""
        begin = time.monotonic()
        status = self.lab.end(self.process, signal.SIGTERM, timeout=10)
        return status, time.monotonic() - begin

    def kill(self):
        self.lab.end(self.process, signal.SIGKILL)

    # podwire
    def cli(self, *words, check=True, stdin=None, timeout=60):
        return sh([self.lab.program("podwire"), "--server", f"unix://{self.socket}", "--timeout", "30", *words], check=check, stdin=stdin,
                  timeout=timeout)

    def json(self, *words):
        return json.loads(self.cli(*words, "-o", "json").stdout)

    def apply(self, *documents, namespace=None):
        """Files, or objects as dictionaries."""
        where = ["-n", namespace] if namespace else []
        for d in documents:
            if isinstance(d, str):
                self.cli("apply", *where, "-f", d)
            else:
                self.cli("apply", *where, "-f", "-", stdin=json.dumps(d))

    def delete(self, *documents, namespace=None):
        where = ["-n", namespace] if namespace else []
        for d in documents:
            if isinstance(d, str):
                self.cli("delete", *where, "-f", d)
            else:
                self.cli("delete", *where, "-f", "-", stdin=json.dumps(d))

    def node_object(self, backend="vxlan"):
        """This node as flannel would announce it."""
        return node_object(self, backend, vtep_mac6=self.vtep_mac)

    # CNI
    def cni(self, command, pod_ns, container, ifname="eth0", config=None, args="", check=True, timeout=60, **extra):
        """Runs podwire-cni as a runtime does; returns (exit status, parsed stdout or None)."""
        conf = {"cniVersion": self.cni_version, "name": "podwire", "type": "podwire", "server": f"unix://{self.socket}",
                **(config or {})}
        env = {"PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": ifname,
               "CNI_NETNS": f"/run/netns/{pod_ns}" if pod_ns else "", "CNI_ARGS": args,
               "CNI_PATH": f"{self.lab.build}:/usr/lib/cni", **extra}
        done = subprocess.run([self.lab.program("podwire-cni")], input=json.dumps(conf), text=True, capture_output=True, env=env,
                              timeout=timeout)
        result = json.loads(done.stdout) if done.stdout.strip() else None
        if check and done.returncode:
            raise LabError(f"CNI {command} of {container} on {self.name}: {done.stdout}{done.stderr}")
        return done.returncode, result

    def attach(self, name, namespace="default", labels=None, ports=None, config=None):
        """A pod by CNI ADD; with labels or ports its manifest is applied first."""
        pod = Pod(self.lab, name, self.lab.add_ns(f"{self.name}-{name}", ipv6=bool(self.pod_cidr6)))
        if labels or ports:
            self.apply(self.pod_object(name, labels or {}, ports or []), namespace=namespace)
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID=c-{name}"
        _, pod.result = self.cni("ADD", pod.ns, f"c-{name}", args=args, config=config)
        addresses = [ip["address"].split("/")[0] for ip in pod.result["ips"]]
        pod.address, pod.address6 = addresses[0], next((a for a in addresses if ":" in a), None)
        pod.node = self
        self.pods[name] = pod
        return pod

    def detach(self, pod):
        self.cni("DEL", pod.ns, f"c-{pod.name}", config={"prevResult": pod.result})
        self.pods.pop(pod.name, None)
        self.lab.delete_ns(pod.ns)

    def pod_object(self, name, labels, ports=(), node=None, address=None):
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
                "spec": {"nodeName": node or self.name, "containers": [{"name": "c", "ports": list(ports)}]},
                **({"status": {"podIP": address, "podIPs": [{"ip": address}]}} if address else {})}

    # the books
    def counters(self):
        return self.json("counters")

    def books(self, timeout=10):
        """Waits for a quiet moment in which received + generated = sent + dropped + consumed + queued; returns the
        counters. LabError with the difference if there is none."""
        last = {}

        def balanced():
            nonlocal last
            last = {k: int(v) for k, v in self.counters().items() if k != "counters"}
            return last["received"] + last["generated"] == last["sent"] + last["dropped"] + last["consumed"] + last["queued"]
        try:
            wait_for(balanced, timeout, step=0.2)
        except LabError:
            raise LabError(f"the books of {self.name} do not balance: {last}") from None
        return last

    def counter(self, name):
        for c in self.counters()["counters"]:
            if c["name"] == name:
                return int(c["value"])
        raise LabError(f"no counter {name} on {self.name}")

    def drops(self, reason):
        return self.counter(f"drop_{reason}")

    def run(self, *command, check=True, timeout=60):
        """A command in the node's own namespace."""
        return sh(in_ns(self.ns, command), check=check, timeout=timeout)


def node_object(node, backend, vtep_mac6, vni=1):
    """A Node as flannel would announce it."""
    def data(mac):
        return json.dumps({"VNI": vni, "VtepMAC": mac}) if backend == "vxlan" else "null"
    prefix = "flannel.alpha.coreos.com/"
    annotations = {prefix + "backend-type": backend, prefix + "kube-subnet-manager": "true"}
    if node.address:
        annotations.update({prefix + "backend-data": data(node.vtep_mac), prefix + "public-ip": node.address})
    if node.address6:
        annotations.update({prefix + "backend-v6-data": data(vtep_mac6), prefix + "public-ipv6": node.address6})
    cidrs = [c for c in (node.pod_cidr, node.pod_cidr6) if c]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "annotations": annotations},
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs} if cidrs else {}}


def announce(nodes, backend="vxlan", plain=()):
    """Tells every podwire node of all nodes (a cluster's API server would), the plain ones included."""
    everyone = {"apiVersion": "v1", "kind": "List", "items": [n.node_object(backend) for n in (*nodes, *plain)]}
    for node in nodes:
        node.apply(everyone)
