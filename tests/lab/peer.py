from .lab import SUBNETS6
from .node import node_object
from .pod import Pod
from .run import in_ns, ip, sh


class KernelNode:
    """A plain Linux node with the kernel's VXLAN device (with `pod_cidr6` another over IPv6), set up as flannel does, and one pod
    behind a veth."""

    def __init__(self, lab, name="plain", subnet="a", host=9, pod_cidr="10.244.9.0/24", vni=1, port=8472, offload=False,
                 pod_cidr6=None):
        self.lab, self.name, self.pod_cidr, self.pod_cidr6, self.vni = lab, name, pod_cidr, pod_cidr6, vni
        self.ns = lab.add_ns(name, ipv6=bool(pod_cidr6))
        gateway = lab.plug(self.ns, subnet, name)
        self.address = gateway.rsplit(".", 1)[0] + f".{host}"
        self.address6 = f"{SUBNETS6[subnet]}{host:x}" if pod_cidr6 else None
        if not offload:  # a switch at the other end of this cable sees frames as a NIC would send them
            sh(in_ns(self.ns, ["ethtool", "-K", "eth0", "tx", "off"]))
        ip(self.ns, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip(self.ns, "route", "add", "default", "via", gateway)
        sh(in_ns(self.ns, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]))
        self.vtep_mac, self.vtep_mac6 = "02:70:76:00:00:%02x" % host, "02:70:76:06:00:%02x" % host
        self._make_vxlan(port)
        self.pod = self._make_pod()
        if pod_cidr6:
            ip(self.ns, "addr", "add", f"{self.address6}/64", "dev", "eth0", "nodad")
            ip(self.ns, "route", "add", "default", "via", f"{SUBNETS6[subnet]}fe")
            sh(in_ns(self.ns, ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]))
            self._make_vxlan6(port)
            self._add_pod_address6()

    def _make_vxlan(self, port):
        base = self.pod_cidr.split("/")[0]
        ip(self.ns, "link", "add", "flannel.1", "address", self.vtep_mac, "type", "vxlan", "id", self.vni, "dstport", port,
           "local", self.address, "dev", "eth0", "nolearning")
        ip(self.ns, "link", "set", "flannel.1", "mtu", 1450, "up")
        ip(self.ns, "addr", "add", f"{base}/32", "dev", "flannel.1")

    def _make_vxlan6(self, port):
        """Without zero checksums, as flannel makes it: the kernel takes no datagram over IPv6 that has none."""
        ip(self.ns, "link", "add", "flannel-v6.1", "address", self.vtep_mac6, "type", "vxlan", "id", self.vni, "dstport", port,
           "local", self.address6, "dev", "eth0", "nolearning")
        ip(self.ns, "link", "set", "flannel-v6.1", "mtu", 1430, "up")
        ip(self.ns, "addr", "add", f"{self.pod_cidr6.split('/')[0]}/128", "dev", "flannel-v6.1", "nodad")
        ip(self.pod.ns, "link", "set", "eth0", "mtu", 1430)

    def _add_pod_address6(self):
        prefix = self.pod_cidr6.split("/")[0]
        sh(in_ns(self.pod.ns, ["sysctl", "-qw", *(f"net.ipv6.conf.{i}.disable_ipv6=0" for i in ("all", "default", "eth0"))]))
        ip(self.ns, "addr", "add", f"{prefix}1/64", "dev", "veth-pod", "nodad")
        ip(self.pod.ns, "addr", "add", f"{prefix}2/64", "dev", "eth0", "nodad")
        ip(self.pod.ns, "route", "add", "default", "via", f"{prefix}1")
        self.pod.address6 = f"{prefix}2"

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
        if node.pod_cidr6:
            base = node.pod_cidr6.split("/")[0]
            sh(in_ns(self.ns, ["bridge", "fdb", "append", node.vtep_mac, "dev", "flannel-v6.1", "dst", node.address6]))
            ip(self.ns, "neigh", "replace", base, "lladdr", node.vtep_mac, "dev", "flannel-v6.1", "nud", "permanent")
            ip(self.ns, "route", "replace", node.pod_cidr6, "via", base, "dev", "flannel-v6.1", "onlink")

    def add_direct_peer(self, node):
        """As flannel's DirectRouting (and host-gw) does on one subnet."""
        ip(self.ns, "route", "replace", node.pod_cidr, "via", node.address, "dev", "eth0")
        if node.pod_cidr6:
            ip(self.ns, "route", "replace", node.pod_cidr6, "via", node.address6, "dev", "eth0")

    def node_object(self, backend="vxlan"):
        return node_object(self, backend, self.vtep_mac6, self.vni)


class HostGwNode(KernelNode):
    """A plain Linux node whose pods are reached by kernel routes only."""

    def _make_vxlan(self, port):
        pass

    def _make_vxlan6(self, port):
        pass

    def _make_pod(self):
        pod = super()._make_pod()
        ip(pod.ns, "link", "set", "eth0", "mtu", 1500)
        return pod
