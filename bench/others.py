"""The switches beside podwire: Open vSwitch with DPDK and dpdk-testpmd, by ovs/run.sh on the same captures."""
import os
import shutil
import signal
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 240  # seconds for a window and its set-up, and for each million packets beside
TEARDOWN = 30  # seconds that run.sh has to remove what it started
OVS_MBUFS = 262144  # the most its pool has of itself: net_pcap keeps the whole capture in it (ovs/pool.c)
OVS_MBUF_BYTES = 3264  # one's share of the pool
SPARE_MBUFS = 32768
OVS_BEST = ("emc1", "smc")  # what Debian's package can be tuned by: no AVX-512 in it


def run_script(command, environment, timeout):
    """subprocess.run, but a script that is interrupted or takes too long is told so, and waited for: its trap removes the
    daemons that it started."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=TEARDOWN)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class Other:
    """One of them in one configuration. `column`: its name in the table."""

    def __init__(self, column, case=None, config="default"):
        self.column, self.case, self.config = column, case, config

    def memory_mb(self, packets):
        if self.case is None:
            return max(1300, (packets + SPARE_MBUFS) * OVS_MBUF_BYTES // (1 << 20) + 500)
        return max(400, (packets + SPARE_MBUFS) * 2560 // (1 << 20) + 128)

    def run(self, case, flows, seconds, captures, packets):
        """(mpps, cycles a packet, what it said of itself) of one window in a set-up of its own."""
        private = tempfile.mkdtemp(prefix="podwire-bench-ovs-")
        mb = self.memory_mb(packets)
        environment = {
            **os.environ, "BENCH_LOCK_HELD": "1", "OVS_CFG": self.config, "PCAP_DIR": captures.directory,
            "BENCH_TMP": os.path.join(private, "run"), "HTPROBE": os.environ["HTPROBE"], "WARM_MAX": "30",
            "HUGE_2M": str(mb // 2), "OVS_MEM": str(mb - 100), "DPDK_MEM": str(mb - 64),
            "MBUFS": str(packets + SPARE_MBUFS), "PCAP_CASE": case, "PACKETS": str(packets)}
        if packets > OVS_MBUFS - SPARE_MBUFS:
            environment["OVS_MBUFS"] = str(packets + SPARE_MBUFS)
        command = [os.path.join(HERE, "ovs", "run.sh"), self.case or case, str(flows), str(seconds)]
        try:
            done = run_script(command, environment, TIMEOUT * (1 + packets / 1e6))
        finally:
            shutil.rmtree(private, ignore_errors=True)
        fields = dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
        if done.returncode != 0 or "cycles_per_pkt" not in fields:
            raise RuntimeError(f"{self.column}: {done.stderr.strip()[-600:]}")
        notes = [line for line in done.stderr.splitlines() if line.startswith("#")]
        return {"mpps": float(fields["mpps"]), "cycles": float(fields["cycles_per_pkt"]), "notes": notes}


OVS = [Other("ovs"), *(Other(f"ovs {c}", config=c) for c in OVS_BEST)]
TESTPMD = [Other("testpmd io", "io"), Other("testpmd mac", "mac")]
