#!/usr/bin/python3
"""podwired in a virtual machine with an SR-IOV NIC (QEMU's igb): uplink on a virtual function, pods on others, the host keeping the physical one.
usage: sriov.py [IMAGES]   kernel and initrd are made there (default: a directory of the test's own, some 300 MB)"""
import json
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e"))
import harness  # noqa: E402
from guest import Guest, image  # noqa: E402
from lab.lab import wait_for  # noqa: E402
from lab.run import LabError  # noqa: E402

harness.DEADLINE = 1500
DRIVERS = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0"
MODULES = ["igb", "igbvf", "vfio-pci", "vfio_iommu_type1", "tun", "vxlan", "macvlan"]
NIC = "0000:01:00.0"
SOCKET = "/run/podwire/podwired.sock"
PREFIX = "flannel.alpha.coreos.com/"


class Pod:
    """A namespace in the machine, attached by the CNI plugin."""

    def __init__(self, host, name, config):
        self.host, self.name, self.config, self.address, self.result = host, name, config, None, None

    def run(self, command, **options):
        return self.host.guest.run(f"ip netns exec {self.name} bash -c {quoted(command)}", **options)

    def ping(self, to, count=3, timeout=1):
        """How many of `count` pings were answered."""
        said = self.run(f"ping -n -q -c {count} -i 0.2 -W {timeout} {getattr(to, 'address', to)}", check=False, timeout=60)
        return int(re.search(r"(\d+) received", said).group(1))

    def iperf(self, to, seconds=3):
        """Mbit/s of TCP from here to the other."""
        said = self.run(f"timeout {seconds + 30} iperf3 --connect-timeout 5000 -c {getattr(to, 'address', to)} -t {seconds} -f m", timeout=seconds + 40)
        return float(re.search(r"([\d.]+) Mbits/sec\s+receiver", said).group(1))


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


class Host:
    """The machine as a node: the kernel has the physical function, podwired virtual ones."""

    def __init__(self, lab, images):
        self.lab = lab
        devices = ["-device", "intel-iommu,intremap=on,aw-bits=48", "-device", "pcie-root-port,id=rp0,chassis=1,slot=1",
                   "-netdev", "hubport,id=wire,hubid=0", "-device", "igb,bus=rp0,netdev=wire,mac=52:54:00:00:00:01"]
        self.guest = Guest(lab, "node", images, devices, modules=MODULES, memory_mb=1024, cpus=2, kernel_words="intel_iommu=on")
        self.pods = {}

    def boot(self):
        seconds = self.guest.wait_up(timeout=240)
        self.guest.use_bash()
        self.guest.run("ln -s /run /var/run 2>/dev/null || { mkdir -p /var && ln -s /run /var/run; }; mkdir -p /run/netns")
        return seconds

    def make_functions(self, count):
        self.guest.run(f"echo {count} >/sys/bus/pci/devices/{NIC}/sriov_numvfs && ip link set eth0 up")
        return [self.guest.run(f"basename $(readlink /sys/bus/pci/devices/{NIC}/virtfn{i})").strip() for i in range(count)]

    def bind(self, address, driver):
        self.guest.run(f"(cd /sys/bus/pci/devices/{address} && {{ [ ! -e driver ] || echo {address} >driver/unbind; }} && echo {driver} >driver_override && "
                       f"echo {address} >/sys/bus/pci/drivers_probe)")
        seen = self.guest.run(f"basename $(readlink /sys/bus/pci/devices/{address}/driver)").strip()
        if seen != driver:
            raise LabError(f"{address}: driver {seen}, not {driver}")

    def start(self, config=None):
        if config:
            self.guest.write("/etc/podwired.json", json.dumps(config))
        self.guest.run("podwired --config /etc/podwired.json >>/tmp/podwired.log 2>&1 </dev/null & echo $! >/run/podwired.pid")
        begin = time.monotonic()
        try:
            wait_for(lambda: "node-a" in self.guest.run(f"podwire --server unix://{SOCKET} status", check=False), timeout=90, step=0.5, what="podwired")
        except LabError:
            raise LabError("podwired: " + self.guest.run("tail -c 2000 /tmp/podwired.log")) from None
        return time.monotonic() - begin

    def signal(self, name):
        """To podwired; of one that kills, until it is gone."""
        gone = "while kill -0 $pid 2>/dev/null; do sleep 0.1; done" if name == "KILL" else "true"
        self.guest.run(f"pid=$(cat /run/podwired.pid); kill -{name} $pid; {gone}")

    def own_network(self, function):
        """A VF that is the host's: another machine, to the kernel's traffic."""
        self.bind(function, "igbvf")
        self.guest.run(f"ip netns add own && ip link set $(ls /sys/bus/pci/devices/{function}/net) netns own name eth0 && ip -n own link set eth0 up && "
                       "ip -n own addr add 192.0.2.66/24 dev eth0")

    def driver(self, address):
        return self.guest.run(f"basename $(readlink /sys/bus/pci/devices/{address}/driver) 2>/dev/null", check=False).strip()

    def vf_of(self, address):
        """What the PF says of a virtual function."""
        number = int(self.guest.run(f"for i in /sys/bus/pci/devices/{NIC}/virtfn*; do [ $(basename $(readlink $i)) = {address} ] && echo ${{i##*virtfn}}; done; true"))
        seen = json.loads(self.guest.run("ip -j link show eth0"))[0]["vfinfo_list"][number]
        vlan = (seen.get("vlan_list") or [{}])[0].get("vlan", 0)
        return {"address": seen["address"], "vlan": vlan, "spoofchk": seen["spoofchk"], "trust": seen["trust"]}

    def vf(self, pod):
        return self.vf_of(pod.result["interfaces"][0]["pciID"])

    def ports(self):
        return {p["name"]: {k: int(v) if isinstance(v, str) and v.isdigit() else v for k, v in {"rxPackets": 0, "txPackets": 0, **p}.items()}
                for p in self.json("get ports")["items"]}

    def endpoint(self, name):
        return self.json(f"get endpoints {name}")

    def drops(self, reason):
        return next(int(c["value"]) for c in self.json("counters")["counters"] if c["name"] == f"drop_{reason}")

    def books(self, checks):
        def balance():
            books = {k: int(v) for k, v in self.json("counters").items() if k != "counters"}
            return books if books["received"] + books["generated"] == books["sent"] + books["dropped"] + books["consumed"] + books["queued"] else None
        checks.check(True, "the books balance", f"{wait_for(balance, timeout=20, step=0.5, what='books that balance')}")

    def cli(self, words, check=True, timeout=120):
        """podwire, again while podwired is too slow for it (status 3), as all is in an emulation on a machine with other work."""
        return self.guest.run(f"for i in 1 2 3 4 5 6; do podwire --server unix://{SOCKET} --timeout 60 {words}; s=$?; [ $s = 3 ] || break; done; test $s = 0",
                              check=check, timeout=timeout)

    def json(self, words):
        return json.loads(self.cli(words + " -o json"))

    def apply(self, *objects):
        self.guest.write("/tmp/objects.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
        self.cli("apply -f /tmp/objects.json")

    def cni(self, command, pod, check=True, again=5, **extra):
        """(exit status, what it printed)"""
        config = {"cniVersion": "1.1.0", "name": "podwire", "type": "podwire", "server": f"unix://{SOCKET}", **pod.config, **extra}
        self.guest.write("/tmp/cni.json", json.dumps(config))
        said = self.guest.run(f"CNI_COMMAND={command} CNI_CONTAINERID=c-{pod.name} CNI_IFNAME=eth0 CNI_NETNS=/run/netns/{pod.name} CNI_PATH=/usr/bin "
                              f"CNI_ARGS='K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod.name}' podwire-cni </tmp/cni.json; echo \"status $?\"", timeout=90)
        text, status = said.rsplit("status ", 1)
        if '"code":11,' in text and again:  # podwired was too slow: a runtime comes again too
            return self.cni(command, pod, check, again - 1, **extra)
        if check and int(status):
            raise LabError(f"CNI {command} {pod.name}: {text}")
        return int(status), json.loads(text) if text.strip() else None

    def attach(self, name, labels=None, **config):
        pod = Pod(self, name, config)
        self.guest.run(f"ip netns add {name}")
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {"app": name}},
                    "spec": {"nodeName": "node-a", "containers": [{"name": "c"}]}})
        _, pod.result = self.cni("ADD", pod)
        pod.address = pod.result["ips"][0]["address"].split("/")[0]
        self.pods[name] = pod
        return pod

    def detach(self, pod):
        self.cni("DEL", pod, prevResult=pod.result)
        self.guest.run(f"ip netns del {pod.name}")
        self.pods.pop(pod.name)


def node_object(name, address, cidr, mac):
    return {"apiVersion": "v1", "kind": "Node", "spec": {"podCIDR": cidr}, "metadata": {"name": name, "annotations": {
        PREFIX + "backend-type": "vxlan", PREFIX + "kube-subnet-manager": "true", PREFIX + "public-ip": address,
        PREFIX + "backend-data": json.dumps({"VNI": 1, "VtepMAC": mac})}}}


NODES = [node_object("node-a", "192.0.2.1", "10.244.1.0/24", "02:70:77:00:02:01"), node_object("node-b", "192.0.2.2", "10.244.2.0/24", "02:70:76:00:00:02")]
# The kernel leaves inner checksums to the NIC, but QEMU's completes those of plain packets only: hence `tx off`.
KERNEL_NODE = """ip addr add 192.0.2.2/24 dev eth0
ip link add flannel.1 address 02:70:76:00:00:02 type vxlan id 1 dstport 8472 local 192.0.2.2 dev eth0 nolearning
ethtool -K flannel.1 tx off
ip link set flannel.1 mtu 1450 up && ip addr add 10.244.2.0/32 dev flannel.1
bridge fdb append 02:70:77:00:02:01 dev flannel.1 dst 192.0.2.1
ip neigh replace 10.244.1.0 lladdr 02:70:77:00:02:01 dev flannel.1 nud permanent
ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"""


def config_of(functions):
    """VF 0 is the uplink, VF 1 the switch's way to the pods on VFs 2 to 5, VF 6 the host's own."""
    return {"node": "node-a", "stateDir": "/var/lib/podwire", "listen": f"unix://{SOCKET}", "lcores": {"workers": [1], "control": 0},
            "memoryMb": 128, "connections": 16384,
            "ports": [{"name": "uplink", "kind": "pci", "address": functions[0]}, {"name": "nic0", "kind": "pci", "address": functions[1]}],
            "sriov": [{"resourceName": "fast", "pfName": "eth0#2-5", "trunk": "nic0", "vlans": "3000-3009"}],
            "underlay": {"port": "uplink", "address": "192.0.2.1/24"}, "network": {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}}


def uplink(checks, host, functions):
    """The node's uplink is a virtual function; the kernel, with the physical one, is another node by VXLAN."""
    host.guest.run("ip link set eth0 vf 0 mac 02:00:00:00:00:10")
    for function in functions[:2]:
        host.bind(function, "vfio-pci")
    checks.check(True, "podwired has started with its uplink on vfio-pci", f"{host.start(config_of(functions)):.1f} s")
    host.apply(*NODES)
    host.guest.run(KERNEL_NODE)
    tap = host.attach("tap")
    checks.equal(tap.ping("10.244.2.0", count=5), 5, "a tap pod pings the kernel's node: VXLAN by the VF and the PF")
    host.guest.run("iperf3 -s -D")
    checks.check(True, "TCP from the tap pod to it", f"{tap.iperf('10.244.2.0'):.0f} Mbit/s")
    return tap


def functions_as_pods(checks, host, tap):
    """Two pods of one NIC: each has a VF and a VLAN of its own there."""
    a, b = host.attach("vf-a", attach="vf"), host.attach("vf-b", attach="vf")
    for pod in (a, b):
        seen, interface = host.vf(pod), pod.result["interfaces"][0]
        checks.check(seen.get("vlan", 0) >= 3000 and seen["address"] == interface["mac"] and seen["spoofchk"] and not seen["trust"],
                     f"{pod.name}: the NIC holds it to its MAC and VLAN", f"{interface['pciID']} {seen}")
        info = json.loads(host.guest.run(f"cat /var/run/k8s.cni.cncf.io/devinfo/cni/podwire-c-{pod.name}-eth0-device.json"))
        checks.equal(info, {"type": "pci", "version": "1.1.0", "pci": {"pci-address": interface["pciID"], "pf-pci-address": NIC}}, "device information")
        checks.equal(host.cni("CHECK", pod, prevResult=pod.result)[0], 0, f"{pod.name}: CHECK")
    checks.check(host.vf(a)["vlan"] != host.vf(b)["vlan"], "their VLANs differ")
    for source, to in ((a, b), (b, a), (a, tap), (tap, a)):
        checks.equal(source.ping(to, count=5), 5, f"{source.name} pings {to.name}")
    for pod in (a, b, tap):
        pod.run("iperf3 -s -D")
    for source, to in ((a, b), (a, tap), (tap, b)):
        checks.check(True, f"TCP from {source.name} to {to.name}", f"{source.iperf(to):.0f} Mbit/s")
    checks.equal(a.ping("10.244.2.0"), 3, "vf-a pings the other node")
    return a, b


def through_the_switch(checks, host, a, b):
    before = host.ports()
    a.ping(b, count=5)
    after = host.ports()
    for pod, way in ((a, "rxPackets"), (b, "txPackets")):
        name = f"pod-c-{pod.name}-eth0"
        checks.check(after[name][way] - before[name][way] >= 5, f"the switch has counted them at {name}", f"{way} +{after[name][way] - before[name][way]}")
    # Even with the other's own MAC, which the NIC's embedded switch knows.
    mac = b.result["interfaces"][0]["mac"]
    a.run(f"ip neigh replace {b.address} lladdr {mac} dev eth0 nud permanent && ip route replace {b.address} dev eth0")
    checks.equal(a.ping(b), 0, "sent to the other's own MAC: the NIC does not carry it past the switch")
    a.run(f"ip route del {b.address} dev eth0; ip neigh del {b.address} dev eth0")
    host.signal("STOP")
    checks.equal(a.ping(b), 0, "podwired is stopped: no way between them")
    host.signal("CONT")
    wait_for(lambda: a.ping(b, count=1), timeout=20, what="an answer after podwired goes on")


def policy(checks, host, a, b, tap):
    def ingress(rules):
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "vf-b"},
                "spec": {"podSelector": {"matchLabels": {"app": "vf-b"}}, "policyTypes": ["Ingress"], "ingress": rules}}
    host.apply(ingress([{"from": [{"podSelector": {"matchLabels": {"app": "tap"}}}]}]))
    denied = host.drops("policy_denied_ingress")
    checks.equal(a.ping(b), 0, "a policy that allows only the tap pod: vf-a is denied")
    checks.check(host.drops("policy_denied_ingress") - denied >= 3, "and counted", f"policy_denied_ingress +{host.drops('policy_denied_ingress') - denied}")
    checks.equal(tap.ping(b), 3, "the tap pod is allowed")
    checks.equal(b.ping(a), 3, "and vf-b's own connections")
    host.apply(ingress([{"from": [{"podSelector": {"matchLabels": {"app": "vf-a"}}}]}]))
    checks.equal(a.ping(b), 3, "a policy that allows vf-a: allowed")
    checks.equal(tap.ping(b), 0, "the tap pod is denied")
    host.apply(ingress([{}]))


def spoofing(checks, host, a, b):
    before = host.drops("spoofed_address")
    a.run("ip addr add 10.244.1.99/32 dev eth0")
    checks.equal(a.ping(f"-I 10.244.1.99 {b.address}"), 0, "an address that is not the pod's: no answer")
    checks.check(host.drops("spoofed_address") - before >= 3, "and counted", f"spoofed_address +{host.drops('spoofed_address') - before}")
    a.run("ip addr del 10.244.1.99/32 dev eth0")
    refused = a.run("ip link set eth0 address 02:00:00:00:00:66", check=False)
    checks.check("RTNETLINK" in refused, "the NIC refuses the pod another MAC", refused.strip())
    gateway, mac = a.result["ips"][0]["gateway"], host.endpoint("vf-a")["gatewayMac"]
    before = host.drops("spoofed_mac")
    a.run(f"ip link add m0 link eth0 address 02:00:00:00:00:66 type macvlan mode bridge && ip link set m0 up && ip neigh replace {gateway} lladdr {mac} "
          f"dev m0 && ip route add {b.address} via {gateway} dev m0 onlink src {a.address}")
    checks.equal(a.ping(b), 0, "frames from another MAC: no answer")
    checks.check(host.drops("spoofed_mac") - before >= 3, "and counted", f"spoofed_mac +{host.drops('spoofed_mac') - before}")
    a.run("ip link del m0")
    checks.equal(a.ping(b), 3, "as itself: answered")


def restart(checks, host, a, b, tap):
    """podwired is killed under traffic, and the host's own goes on."""
    host.guest.run("(ping -q -i 0.2 -c 100 192.0.2.66 >/tmp/own.log 2>&1; true) &")
    host.signal("KILL")
    begin = time.monotonic()
    up = host.start()
    wait_for(lambda: a.ping(b, count=1), timeout=30, what="vf-b's answer")
    checks.check(True, "podwired was killed and started again; vf-a's pings are answered", f"{time.monotonic() - begin:.1f} s after, {up:.1f} s of it its start")
    for source, to in ((a, b), (b, a), (a, tap), (tap, b)):
        checks.equal(source.ping(to), 3, f"{source.name} pings {to.name}")
    checks.equal(host.cni("CHECK", a, prevResult=a.result)[0], 0, "vf-a: CHECK")
    wait_for(lambda: "received" in host.guest.run("cat /tmp/own.log"), timeout=60, step=1, what="the host's own pings")
    said = host.guest.run("cat /tmp/own.log")
    checks.check(" 0% packet loss" in said, "the host's own traffic, PF to a VF of its own, lost nothing", re.search(r"\d+ received", said)[0])


def released(host, function):
    """What a VF that is nobody's has."""
    seen = host.vf_of(function)
    return not seen.get("vlan") and seen["address"] == "00:00:00:00:00:00" and seen["spoofchk"] and not seen["trust"]


def comings_and_goings(checks, host, functions, b):
    own = host.attach("vf-dpdk", attach="vf", vf={"deviceDriver": "vfio-pci"})
    address = own.result["interfaces"][0]["pciID"]
    info = json.loads(host.guest.run("cat /var/run/k8s.cni.cncf.io/devinfo/cni/podwire-c-vf-dpdk-eth0-device.json"))
    checks.equal(host.driver(address), "vfio-pci", "a pod that wants the VF itself: it is bound to vfio-pci")
    files = info["pci"]["device-files"]
    checks.check(sorted(host.guest.run(f"ls {' '.join(files)}").split()) == sorted(files), "the files that it needs are there", " ".join(files))
    host.detach(own)
    checks.check(released(host, address) and host.driver(address) != "vfio-pci", "DEL: the VF is reset, and vfio-pci's no more", f"{host.vf_of(address)}")
    chosen = host.attach("vf-chosen", attach="vf", deviceID=functions[5])
    checks.equal(chosen.result["interfaces"][0]["pciID"], functions[5], "the VF that a device plugin chose is taken")
    checks.equal(chosen.ping(b), 3, "it pings vf-b")
    last = host.attach("vf-last", attach="vf")
    full = Pod(host, "vf-full", {"attach": "vf"})
    host.guest.run("ip netns add vf-full")
    status, said = host.cni("ADD", full, check=False)
    checks.check(status and "no virtual function" in said["msg"], "none is left: refused", said.get("msg"))
    status, said = host.cni("ADD", full, check=False, deviceID="0000:00:01.0")
    checks.check(status and "device_id" in said["msg"], "a device of no pool: refused", said.get("msg"))
    # A namespace that is gone before DEL, and one that only GC tells of.
    host.guest.run("ip netns del vf-chosen")
    host.cni("DEL", chosen, prevResult=chosen.result)
    checks.check(released(host, functions[5]), "DEL after the namespace's end: the VF is reset", f"{host.vf_of(functions[5])}")
    address = last.result["interfaces"][0]["pciID"]
    valid = [{"containerID": f"c-{name}", "ifname": "eth0"} for name in ("tap", "vf-a", "vf-b")]
    host.guest.run("ip netns del vf-last")
    host.cni("GC", last, **{"cni.dev/valid-attachments": valid})
    checks.check(released(host, address), "GC: the VF of what is no more is reset", f"{host.vf_of(address)}")
    checks.equal(host.guest.run("ls /var/run/k8s.cni.cncf.io/devinfo/cni").split(), [f"podwire-c-vf-{n}-eth0-device.json" for n in "ab"], "device information is left of two pods")


def test(lab, checks):
    images = sys.argv[1] if len(sys.argv) > 1 else os.path.join(lab.dir, "images")
    begin = time.monotonic()
    programs = ["bash", "ip", "bridge", "ping", "iperf3", "ethtool", *(lab.program(p) for p in ("podwired", "podwire", "podwire-cni"))]
    image(images, MODULES, programs, [f"{DRIVERS}/librte_net_e1000.so", f"{DRIVERS}/librte_mempool_ring.so"])
    checks.check(os.path.exists(f"{images}/initrd"), "kernel and initrd are made", f"{time.monotonic() - begin:.0f} s")
    host = Host(lab, images)
    checks.check(True, "the machine has booted", f"{host.boot():.0f} s")
    functions = host.make_functions(7)
    checks.equal(len(functions), 7, "the NIC has virtual functions")
    host.own_network(functions[6])
    tap = uplink(checks, host, functions)
    a, b = functions_as_pods(checks, host, tap)
    through_the_switch(checks, host, a, b)
    policy(checks, host, a, b, tap)
    spoofing(checks, host, a, b)
    restart(checks, host, a, b, tap)
    comings_and_goings(checks, host, functions, b)
    address = a.result["interfaces"][0]["pciID"]
    host.detach(a)
    checks.check(released(host, address), "DEL: vf-a's VF is reset", f"{host.vf_of(address)}")
    host.books(checks)
    host.guest.end()
    checks.check(True, "all of it", f"{time.monotonic() - begin:.0f} s")


harness.main(test)
