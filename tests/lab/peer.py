import json

from .pod import Pod
from .run import in_ns, ip, sh


class KernelNode:
    """A plain Linux node with the kernel's VXLAN device, set up as flannel does, and one pod behind a veth."""

    def __init__(self, lab, name="plain", subnet="a", host=9, pod_cidr="10.244.9.0/24", vni=1, port=8472, offload=False):
        self.lab, self.name, self.pod_cidr, self.vni = lab, name, pod_cidr, vni
        self.ns = lab.add_ns(name)
        gateway = lab.plug(self.ns, subnet, name)
        self.address = gateway.rsplit(".", 1)[0] + f".{host}"
        if not offload:  # a switch at the other end of this cable sees frames as a NIC would send them
            sh(in_ns(self.ns, ["ethtool", "-K", "eth0", "tx", "off"]))
        ip(self.ns, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip(self.ns, "route", "add", "default", "via", gateway)
        sh(in_ns(self.ns, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]))
        self.vtep_mac = "02:70:76:00:00:%02x" % host
        self._make_vxlan(port)
        self.pod = self._make_pod()

    def _make_vxlan(self, port):
        base = self.pod_cidr.split("/")[0]
        ip(self.ns, "link", "add", "flannel.1", "address", self.vtep_mac, "type", "vxlan", "id", self.vni, "dstport", port,
           "local", self.address, "dev", "eth0", "nolearning")
        ip(self.ns, "link", "set", "flannel.1", "mtu", 1450, "up")
        ip(self.ns, "addr", "add", f"{base}/32", "dev", "flannel.1")

    def _make_pod(self):
        prefix = self.pod_cidr.rsplit(".", 1)[0]
        ns = self.lab.add_ns(f"{self.name}-pod")
        ip(self.ns, "link", "add", "veth-pod", "type", "veth", "peer", "name", "eth0", "netns", ns)
        ip(self.ns, "addr", "add", f"{prefix}.1/24", "dev", "veth-pod")
        ip(self.ns, "link", "set", "veth-pod", "up")
        ip(ns, "addr", "add", f"{prefix}.2/24", "dev", "eth0")
        ip(ns, "link", "set", "eth0", "mtu", 1450, "up")
        ip(ns, "route", "add", "default", "via", f"{prefix}.1")
        return Pod(self.lab, f"{self.name}-pod", ns, f"{prefix}.2")

    def add_peer(self, node):
        """Route, neighbour and forwarding entry to a podwire node's pods, as flannel writes them."""
        base = node.pod_cidr.split("/")[0]
        sh(in_ns(self.ns, ["bridge", "fdb", "append", node.vtep_mac, "dev", "flannel.1", "dst", node.address]))
        ip(self.ns, "neigh", "replace", base, "lladdr", node.vtep_mac, "dev", "flannel.1", "nud", "permanent")
        ip(self.ns, "route", "replace", node.pod_cidr, "via", base, "dev", "flannel.1", "onlink")

    def add_direct_peer(self, node):
        """As flannel's DirectRouting (and host-gw) does on one subnet."""
        ip(self.ns, "route", "replace", node.pod_cidr, "via", node.address, "dev", "eth0")

    def node_object(self, backend="vxlan"):
        data = json.dumps({"VNI": self.vni, "VtepMAC": self.vtep_mac}) if backend == "vxlan" else "null"
        prefix = "flannel.alpha.coreos.com/"
        return {"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": self.name, "annotations": {
                    prefix + "backend-type": backend, prefix + "backend-data": data, prefix + "public-ip": self.address}},
                "spec": {"podCIDR": self.pod_cidr}}


class HostGwNode(KernelNode):
    """A plain Linux node whose pods are reached by kernel routes only."""

    def _make_vxlan(self, port):
        pass

    def _make_pod(self):
        pod = super()._make_pod()
        ip(pod.ns, "link", "set", "eth0", "mtu", 1500)
        return pod
