"""The benchmark's command line. Needs nothing that scripts/bench installs: as a program it only checks the arguments."""
import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "pcap")]

from cases import CASES  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402

SUMMARY = """Measures podwired's packet path beside Open vSwitch with DPDK and dpdk-testpmd on the same packets, and prints a table
of TSC cycles a packet, source and sink included (docs/benchmark.md)."""
MAX_FLOWS = 1_000_000


def flows(text):
    value = int(text)
    if not 1 <= value <= MAX_FLOWS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_FLOWS}, not {value}")
    return value


def positive(kind):
    def convert(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected more than 0, not {text}")
        return value
    convert.__name__ = kind.__name__  # for argparse's "invalid int value"
    return convert


def parse(words=None):
    parser = argparse.ArgumentParser(prog="scripts/bench", description=SUMMARY, epilog="Environment: PODWIRE_BUILD (build), "
                                     "BENCH_PCAPS (a directory that keeps the captures), BENCH_LOCK, BENCH_LOCK_HELD, TSC_HZ.")
    parser.add_argument("--case", action="append", choices=[*CASES, *SCENARIOS], help="only this case; may be repeated")
    parser.add_argument("--flows", action="append", type=flows, help=f"only so many flows, 1 to {MAX_FLOWS}; may be repeated")
    parser.add_argument("--rounds", type=positive(int), help="windows of each (default 5; --quick 3)")
    parser.add_argument("--seconds", type=positive(float), help="of clean slices a window has (default 2; --quick 1)")
    parser.add_argument("--quick", action="store_true", help="three cases at 1,000 flows beside OVS as it comes and testpmd io, in under three minutes")
    parser.add_argument("--idle", action="store_true", help="what an idle worker costs and first packets wait; the table only if "
                        "--case, --flows or --quick is given too")
    parser.add_argument("--latency", action="store_true", help="each case's latency at half load; the table as with --idle")
    parser.add_argument("--policy-scale", action="store_true", help="first: what a large cluster's policies cost a node, instead of all of the above; "
                        "see scripts/bench --policy-scale --help")
    parser.add_argument("--no-ovs", action="store_true", help="without Open vSwitch")
    parser.add_argument("--no-testpmd", action="store_true", help="without dpdk-testpmd")
    parser.add_argument("--no-verify", action="store_true", help="without the look at what comes out")
    args = parser.parse_args(words)
    if args.policy_scale:
        parser.error("--policy-scale comes first, and has arguments of its own")
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (1 if args.quick else 2)
    return args


def parse_policy_scale(words, description=None):
    parser = argparse.ArgumentParser(prog="scripts/bench --policy-scale", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=positive(int), default=100_000, help="of the cluster (100000), --local included")
    parser.add_argument("--policies", type=positive(int), default=10_000, help="NetworkPolicies (10000)")
    parser.add_argument("--cluster-policies", type=positive(int), default=200, help="ClusterNetworkPolicies (200)")
    parser.add_argument("--namespaces", type=positive(int), default=100, help="(100)")
    parser.add_argument("--local", type=positive(int), default=500, help="pods of this node (500)")
    parser.add_argument("--local-namespaces", type=positive(int), default=50, help="that they are in (50)")
    parser.add_argument("--changes", type=int, default=200, help="of each kind (200)")
    parser.add_argument("--memory", type=positive(int), default=512, help="podwired's memoryMb (512)")
    parser.add_argument("--restart", action="store_true", help="measure a restart too")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    args = parser.parse_args(words)
    if args.local >= args.pods or args.local_namespaces >= args.namespaces or args.namespaces > args.policies:
        parser.error("expected --local below --pods, --local-namespaces below --namespaces, and no more --namespaces than --policies")
    return args


if __name__ == "__main__":
    if sys.argv[1:2] == ["--policy-scale"]:
        parse_policy_scale(sys.argv[2:], "What a large cluster's policies cost a node (docs/benchmark.md).")
    else:
        parse()
