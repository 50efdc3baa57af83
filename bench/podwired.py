"""podwired under measurement: the real daemon in a directory of its own, told what to do by its gRPC API."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
from lab.node import file_prefix  # noqa: E402
from window import favour, find_thread, measure, ran, waited  # noqa: E402

SETTLED = 1e-4    # misses a packet below which the flow table is warm
MBUF_BYTES = 2432  # a small mbuf's share of its pool, of which memoryMb gives three eighths


class Podwired:
    """Starts with `config` (ports, underlay, network and so on), then attaches pods and applies objects."""

    def __init__(self, build, api, config, workers=(1,), control=0):
        self.dir = tempfile.mkdtemp(prefix="podwire-bench-")
        self.workers = list(workers)  # their CPUs
        self.socket, self.log = os.path.join(self.dir, "s"), os.path.join(self.dir, "log")
        path = os.path.join(self.dir, "config.json")
        with open(path, "w") as f:
            json.dump({"node": "bench", "stateDir": os.path.join(self.dir, "state"), "listen": f"unix://{self.socket}",
                       "lcores": {"workers": self.workers, "control": control}, "hugepages": "on", "logLevel": "warn",
                       **config}, f)
        try:
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen([os.path.join(build, "podwired"), "--config", path],
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        except OSError:
            shutil.rmtree(self.dir)
            raise
        self.api, self.client = api, None

    def __enter__(self):
        try:
            self.wait_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def wait_up(self, timeout=90):
        end = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"podwired did not start: {self.log_tail()}")
            if os.path.exists(self.socket):
                self.client = self.api.connect(self.socket)  # not before: a channel that fails waits for seconds
                return self.client("Inspect", "GetStatus", timeout=10)
            time.sleep(0.02)

    def log_tail(self):
        with open(self.log, errors="replace") as f:
            return f.read()[-2000:].strip()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.client is not None:
            self.client.channel.close()
        if self.process.returncode != 0:  # else it has removed them itself
            shutil.rmtree(f"/run/dpdk/{file_prefix('bench', os.path.join(self.dir, 'state'))}", ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def apply(self, objects):
        self.client("Objects", "Apply", timeout=120, json=[json.dumps(o) for o in objects])

    def attach(self, name, port, mac, addresses, namespace="default"):
        self.client("Endpoints", "Attach", key={"container_id": name, "ifname": "eth0"}, network="bench", pod_name=name,
                    pod_namespace=namespace, attach="port", port=port, mac=mac, addresses=addresses)

    def received(self):
        """Packets by port."""
        return {p.name: p.rx_packets for p in self.client("Ports", "List")}

    def pod_drops(self, name, namespace="default"):
        """Packets to or from the pod that were dropped."""
        return sum(r.packets for r in self.client("Inspect", "GetDrops", pod_namespace=namespace, pod_name=name).reasons)

    def counters(self):
        response = self.client("Inspect", "GetCounters")
        counts = {c.name: c.value for c in response.counters}
        return {"received": response.received, "sent": response.sent, "dropped": response.dropped, **counts}

    def warm(self, limit):
        """Waits until hardly any packet is decided anew; returns the seconds it took."""
        begin = time.monotonic()
        before = self.counters()
        while time.monotonic() - begin < limit:
            time.sleep(0.5)
            now = self.counters()
            packets = now["received"] - before["received"]
            if packets > 0 and now["flow_misses"] - before["flow_misses"] <= SETTLED * packets:
                break
            before = now
        return time.monotonic() - begin

    def threads(self):
        """The workers' thread ids."""
        return [find_thread(self.process.pid, f"pw-worker-{i}$") for i in range(len(self.workers))]

    def favour(self):
        for thread in self.threads():
            favour(self.process.pid, thread)

    def ran(self):
        """CPU seconds of all workers."""
        return sum(ran(self.process.pid, thread) for thread in self.threads())

    def waited(self):
        """Seconds that each worker has waited for its CPU."""
        return [waited(self.process.pid, thread) for thread in self.threads()]

    def measure(self, seconds, probe, tsc_hz, watch=()):
        """A window (window.measure), the noise being the last worker's and its CPU's; the sums have `sent`, `dropped`,
        `flow_misses`, `connections_created` and `watch`."""
        keys = ("sent", "dropped", "flow_misses", "connections_created", *watch)
        self.favour()
        thread = self.threads()[-1]

        def one():
            c0, t0 = self.counters(), time.monotonic()
            time.sleep(0.5)
            c1, t1 = self.counters(), time.monotonic()
            return c1["received"] - c0["received"], (t1 - t0) * tsc_hz, {k: c1.get(k, 0) - c0.get(k, 0) for k in keys}
        return measure(self.process.pid, thread, self.workers[-1], seconds, probe, tsc_hz, one)
