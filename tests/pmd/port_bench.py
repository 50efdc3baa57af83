#!/usr/bin/python3
"""TCP through two ports and port_forwarder beside a veth pair: port_bench.py PORT_FORWARDER [SECONDS] [ROUNDS]

Both iperf3 ends on core 0, the forwarder on core 1; each round runs every case. Run it alone on the machine.
"""
import json, os, statistics, subprocess, sys, time

FORWARDER = sys.argv[1]
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 4
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 3
PID = os.getpid()
A, B, HOST = (f"pwb-{x}-{PID}" for x in "abh")
SEND, RECEIVE = "10.2.0.1", "10.2.0.2"


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def address(ns, ip):
    sh(f"ip -n {ns} addr add {ip}/24 dev eth0; ip -n {ns} link set eth0 up")


def veth_pair():
    sh(f"ip link add eth0 netns {A} type veth peer name eth0 netns {B}")
    return None


def taps():
    return [f"tap:/run/netns/{ns}:eth0" for ns in (A, B)]


def netdevs():
    for side, ns in (("a", A), ("b", B)):
        sh(f"ip link add h{side} netns {HOST} type veth peer name eth0 netns {ns}")
        sh(f"ip netns exec {HOST} sysctl -qw net.ipv6.conf.h{side}.disable_ipv6=1")
        sh(f"ip -n {HOST} link set h{side} up")
    return ["netdev:ha", "netdev:hb"]


def tap_and_netdev():
    netdevs()
    sh(f"ip -n {A} link del eth0")
    return [f"tap:/run/netns/{A}:eth0", "netdev:hb"]


def iperf(ns_client, ns_server, target):
    server = subprocess.Popen(["taskset", "-c", "0", "ip", "netns", "exec", ns_server, "iperf3", "-s", "-1"],
                              stdout=subprocess.DEVNULL)
    time.sleep(0.4)
    out = subprocess.run(["taskset", "-c", "0", "ip", "netns", "exec", ns_client, "iperf3", "-J", "-c", target,
                          "-t", str(SECONDS)], capture_output=True, text=True)
    server.kill()
    server.wait()
    try:
        return json.loads(out.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9
    except (KeyError, ValueError):
        sys.exit(f"iperf3 failed: {out.stdout[-300:]}{out.stderr[-300:]}")


def case(make, verbose):
    for ns in (A, B, HOST):
        sh(f"ip netns add {ns}; ip -n {ns} link set lo up")
    forwarder = None
    try:
        ports = make()
        if ports:
            forwarder = subprocess.Popen(["ip", "netns", "exec", HOST, FORWARDER, "1", *ports],
                                         stdout=subprocess.PIPE, text=True)
            if forwarder.stdout.readline() != "ready\n":
                sys.exit("the forwarder did not start")
        address(A, SEND)
        address(B, RECEIVE)
        time.sleep(0.5)
        return iperf(A, B, RECEIVE)
    finally:
        if forwarder:
            forwarder.terminate()
            text = forwarder.communicate()[0]
            if verbose:
                print(text, end="")
        for ns in (A, B, HOST):
            subprocess.run(["ip", "netns", "del", ns])


def main():
    cases = {"veth pair": veth_pair, "tap - tap": taps, "netdev - netdev": netdevs,
             "tap - netdev": tap_and_netdev}
    results = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, make in cases.items():
            results[name].append(case(make, "-v" in sys.argv))
    base = statistics.median(results["veth pair"])
    for name, values in results.items():
        median = statistics.median(values)
        spread = f"{min(values):.1f}-{max(values):.1f}"
        print(f"{name:16} {median:5.1f} Gbit/s ({spread}), {median / base:.2f} of the veth pair")


main()
