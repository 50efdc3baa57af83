"""What each case asks of podwired: its configuration, objects, and which captures go in where. The packets, addresses and
rules are plan.py's, the same for every switch."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "pcap"))
import plan  # noqa: E402

from podwired import MBUF_BYTES  # noqa: E402

HOST_GW = {"Type": "host-gw"}
VXLAN = {"Type": "vxlan", "VNI": plan.VNI, "Port": plan.VXLAN_PORT}
POD_SUBNET = "10.245.2.0/24"  # its gateway is none of the captures' addresses
POD_ADDRESSES = [f"10.245.0.{i}/32" for i in range(256)]  # plan.pods() and acl()'s other sources
SPARE_MBUFS = 16384  # beside the source's: bursts on their way and caches
RULES = 1000


def node(name, cidr, address, backend, vtep_mac):
    """A Node object as flannel annotates it."""
    data = {"VNI": plan.VNI, "VtepMAC": vtep_mac} if backend["Type"] == "vxlan" else None
    annotations = {"backend-type": backend["Type"], "backend-data": json.dumps(data), "public-ip": address,
                   "kube-subnet-manager": "true"}
    return {"apiVersion": "v1", "kind": "Node", "spec": {"podCIDR": cidr}, "metadata": {
        "name": name, "annotations": {f"flannel.alpha.coreos.com/{k}": v for k, v in annotations.items()}}}


def cluster(backend, own_vtep_mac):
    nodes = [node(f"n{i}", cidr, ip, backend, mac) for i, (cidr, ip, _, mac) in enumerate(plan.vteps())]
    return nodes + [node("bench", POD_SUBNET, plan.LOCAL_VTEP, backend, own_vtep_mac)]


def policy(name, spec):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "default"},
            "spec": {"podSelector": {}, **spec}}


def acl_policies():
    """1,000 egress rules: the destinations and ports of plan.acl()'s allowing rules (Kubernetes has no denying ones), and
    one that allows what they leave, since the capture's other flows are to pass as well."""
    rules = []
    for r in plan.acl(2 * RULES):
        if not r.allow or len(rules) == RULES - 1:
            continue
        rule = {"to": [{"ipBlock": {"cidr": f"{plan.int2ip(r.dst)}/{r.dplen}"}}]}
        if r.proto is not None:
            low, high = r.port_range()
            ports = {} if r.dport is None else {"port": low, **({"endPort": high} if high > low else {})}
            rule["ports"] = [{"protocol": {6: "TCP", 17: "UDP"}[r.proto], **ports}]
        rules.append(rule)
    rules.append({"to": [{"ipBlock": {"cidr": "10.244.0.0/16"}}]})
    assert len(rules) == RULES
    size = RULES // 20
    return [policy(f"rules-{i // size}", {"policyTypes": ["Egress"], "egress": rules[i:i + size]})
            for i in range(0, RULES, size)]


def stateful_policies():
    """The pods may open connections to the cluster, nobody to them: replies pass as such only."""
    return [policy("outwards", {"policyTypes": ["Ingress", "Egress"], "ingress": [],
                                "egress": [{"to": [{"ipBlock": {"cidr": "10.244.0.0/16"}}]}]})]


class Case:
    """name: as mkpcap.py knows it. backend: flannel's. mac: of the underlay port, as the packets have it. vtep: this node's
    VtepMAC. gateway: what pods send to."""

    def __init__(self, name, backend, wire_mac, vtep_mac, gateway_mac, policies=(), from_pods=True, from_wire=False):
        self.name, self.backend, self.wire_mac, self.vtep_mac = name, backend, wire_mac, vtep_mac
        self.gateway_mac, self.policies, self.from_pods, self.from_wire = gateway_mac, policies, from_pods, from_wire

    def inputs(self, captures, flows):
        """What is received from the pods and from the wire; None: nothing."""
        if self.from_pods and self.from_wire:
            return captures.split(self.name, flows)
        path = captures.made(self.name, flows)
        return (path, None) if self.from_pods else (None, path)

    def packets(self, flows):
        """Of the capture."""
        return flows * (2 if self.from_pods and self.from_wire else 1)

    def config(self, inputs, flows, memory_mb, outputs=(None, None), empty=None):
        """`outputs`: captures to write, for a look at what comes out; `empty`: a capture without packets."""
        ports = []
        for index, (name, source, sink, mac) in enumerate(zip(("pods", "wire"), inputs, outputs, (None, self.wire_mac))):
            if source or sink:
                devargs = f"net_pcap{index},rx_pcap={source or empty}" + (",infinite_rx=1" if source else "")
                devargs += f",tx_pcap={sink}" if sink else ""
            else:
                devargs = f"net_null{index},no-rx=1"
            ports.append({"name": name, "kind": "vdev", "devargs": devargs, **({"mac": mac} if mac else {})})
        connections = max(65536, 5 * flows)
        return {  # nobody answers the flows of l3 and encap: of one pod, so many unanswered connections are a flood unless told otherwise
            "memoryMb": memory_mb, "connections": connections, "embryonicConnections": connections, "ports": ports, "gatewayMac": self.gateway_mac,
            "underlay": {"port": "wire", "address": f"{plan.LOCAL_VTEP}/{plan.LOCAL_VTEP_PLEN}",
                         "neighbors": {ip: mac for _, ip, mac in plan.routes()}},
            "network": {"Network": "10.244.0.0/15", "SubnetLen": 24, "Backend": self.backend},
        }

    def set_up(self, podwired):
        """Nodes and policies first, then the pods: when they are attached everything is in force."""
        podwired.apply(cluster(self.backend, self.vtep_mac) + list(self.policies))
        podwired.attach("bench", "pods", plan.SENDER_MAC, POD_ADDRESSES)


def memory_mb(packets):
    """net_pcap keeps its whole capture in mbufs of the small pool, which has three eighths of the memory."""
    return max(256, (packets + SPARE_MBUFS) * MBUF_BYTES * 8 // 3 // (1 << 20) + 64)


CASES = {c.name: c for c in (
    Case("l3", HOST_GW, plan.GW_MAC, plan.GW_MAC, plan.ROUTER_MAC),
    Case("encap", VXLAN, plan.LOCAL_VTEP_MAC, plan.GW_MAC, plan.ROUTER_MAC),
    Case("decap", VXLAN, plan.LOCAL_VTEP_MAC, plan.ROUTER_MAC, plan.GW_MAC, from_pods=False, from_wire=True),
    Case("acl", HOST_GW, plan.GW_MAC, plan.GW_MAC, plan.ROUTER_MAC, policies=acl_policies()),
    Case("ct", HOST_GW, plan.ROUTER_MAC, plan.GW_MAC, plan.ROUTER_MAC, policies=stateful_policies(), from_wire=True),
)}
