import atexit
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from .run import LabError, in_ns, ip, sh

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
SUBNETS = {"a": ("192.0.2", 254), "b": ("198.51.100", 254)}
SUBNETS6 = {"a": "2001:db8:a::", "b": "2001:db8:b::"}  # /64, the router at ::fe


class Lab:
    """An underlay of two subnets (192.0.2.0/24 and 198.51.100.0/24, with `ipv6` 2001:db8:a::/64 and 2001:db8:b::/64 too; a
    router between them) to which nodes are plugged. Everything it makes has a name of its own and goes away with it, however the program ends."""

    def __init__(self, build=None, ipv6=False):
        self.ipv6 = ipv6
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces: run it as root")
        self.build = build or os.environ.get("PODWIRE_BUILD", os.path.join(ROOT, "build"))
        self.tag = f"pw{os.getpid()}"
        self.dir = tempfile.mkdtemp(prefix=f"podwire-lab-{os.getpid()}-")
        self.namespaces, self.processes, self.nodes = [], [], []
        self.closed = False
        self.keep = False
        atexit.register(self.close)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._interrupted)
        self.router = self._make_underlay()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.keep:
            self.close()

    def _interrupted(self, number, _frame):
        self.keep = False
        print("\ninterrupted: removing what was made", file=sys.stderr)
        sys.exit(128 + number)  # atexit closes

    def program(self, name):
        return os.path.join(self.build, name)

    def add_ns(self, name, ipv6=False):
        ns = f"{self.tag}-{name}"
        sh(["ip", "netns", "add", ns])
        self.namespaces.append(ns)
        ip(ns, "link", "set", "lo", "up")
        for scope in ("all", "default"):
            sh(in_ns(ns, ["sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6={0 if ipv6 else 1}",
                          f"net.ipv6.conf.{scope}.accept_dad=0"]), check=False)
        return ns

    def delete_ns(self, ns):
        sh(["ip", "netns", "del", ns], check=False)
        if ns in self.namespaces:
            self.namespaces.remove(ns)

    def _make_underlay(self):
        ns = self.add_ns("underlay", self.ipv6)
        for subnet, (prefix, host) in SUBNETS.items():
            ip(ns, "link", "add", f"br-{subnet}", "type", "bridge")
            ip(ns, "addr", "add", f"{prefix}.{host}/24", "dev", f"br-{subnet}")
            if self.ipv6:
                ip(ns, "addr", "add", f"{SUBNETS6[subnet]}fe/64", "dev", f"br-{subnet}", "nodad")
            ip(ns, "link", "set", f"br-{subnet}", "up")
        forwarding = ["net.ipv4.ip_forward=1", *(["net.ipv6.conf.all.forwarding=1"] if self.ipv6 else [])]
        sh(in_ns(ns, ["sysctl", "-qw", *forwarding]))
        return ns

    def route(self, node):
        """The router sends what is for the node's pods to the node, so that hosts outside the cluster reach them."""
        for cidr, via in ((node.pod_cidr, node.address), (node.pod_cidr6, node.address6)):
            if cidr and via:
                ip(self.router, "route", "replace", cidr, "via", via)

    def plug(self, ns, subnet, name, queues=1):
        """A cable from the namespace (as eth0, with so many queues) to the underlay's subnet; returns the gateway's address."""
        prefix, host = SUBNETS[subnet]
        port = f"to-{name}"[:15]
        many = ["numrxqueues", queues, "numtxqueues", queues]
        ip(self.router, "link", "add", port, *many, "type", "veth", "peer", "name", "eth0", *many, "netns", ns)
        ip(self.router, "link", "set", port, "master", f"br-{subnet}", "up")
        ip(ns, "link", "set", "eth0", "up")
        return f"{prefix}.{host}"

    def spawn(self, command, ns=None, log=None, **options):
        """Starts a process in a group of its own, ended with the lab."""
        out = open(log, "ab") if log else subprocess.DEVNULL
        process = subprocess.Popen([str(w) for w in (in_ns(ns, command) if ns else command)], stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options)
        self.processes.append(process)
        return process

    @staticmethod
    def end(process, number=signal.SIGTERM, timeout=10):
        """Ends a spawned process and its group; returns its exit status."""
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait(60)

    def close(self):
        if self.closed or self.keep:
            return
        self.closed = True
        try:
            for process in reversed(self.processes):
                if process.poll() is None:
                    self.end(process)
        finally:
            self._remove()

    def _remove(self):
        for node in self.nodes:
            if node.process and node.process.returncode == -signal.SIGKILL:
                shutil.rmtree(f"/run/dpdk/{node.file_prefix()}", ignore_errors=True)  # its own end removes them
        remove(self.namespaces, self.dir)

    def leftovers(self):
        """What of this lab is still there after close(): namespaces, processes, files."""
        left = [f"namespace {n}" for n in os.listdir("/run/netns") if n.startswith(f"{self.tag}-")] \
            if os.path.isdir("/run/netns") else []
        for cmdline in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                text = open(cmdline, "rb").read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if self.dir in text:
                left.append(f"process {text.strip()}")
        left += [f"mount {line.split()[1]}" for line in open("/proc/mounts") if self.tag in line or self.dir in line]
        left += [f"DPDK's files {path}" for node in self.nodes for path in [f"/run/dpdk/{node.file_prefix()}"] if os.path.exists(path)]
        if os.path.exists(self.dir):
            left.append(f"directory {self.dir}")
        return left


def remove(namespaces, directory):
    """Removes a lab's namespaces with the processes in them, and its directory."""
    for ns in namespaces:
        for pid in sh(["ip", "netns", "pids", ns], check=False).stdout.split():
            if pid.isdigit() and int(pid) != os.getpid():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        sh(["ip", "netns", "del", ns], check=False)
    shutil.rmtree(directory, ignore_errors=True)


def wait_for(condition, timeout=10, step=0.05, what="the condition"):
    """Polls until condition() is true; returns its value. LabError with `what` if it never is."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {timeout} s")
        time.sleep(step)
