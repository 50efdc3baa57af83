#!/usr/bin/env bash
# run.sh CASE NFLOWS SECONDS
#
# Sets up a private OVS-DPDK (own run dir, own network namespace, no real port),
# replays the case's pcap into it from memory, measures one PMD core, tears down,
# and prints one line a measured window on stdout:
#     case=<..> flows=<..> mpps=<..> cycles_per_pkt=<..>
# Details (cache hits, drops, machine noise) go to stderr.
#
# CASE     port l3 encap decap acl ct dnat                    Open vSwitch
#          io mac macswap rxonly                              dpdk-testpmd
#          l3fwd-lpm l3fwd-fib l3fwd-acl                      DPDK's l3fwd
# Environment:
#   OVS_CFG   comma list out of: default noemc emc1 smc gather dpif512 mfex actions
#             (the AVX512 ones need an OVS built with it: Debian's is not)
#   OVS_VSWITCHD  another ovs-vswitchd binary
#   OVS_MBUFS     mbufs of its pools, if more than it takes of itself (pool.c)
#   WINDOWS   measured windows in one set-up (1)
#   WARM_MAX  seconds to wait at most until upcalls have died down (60)
#   PACKETS   in the pcap: all have come before anything is timed (Open vSwitch)
#   PCAP_CASE pcap to feed (defaults to the one that belongs to CASE)
#   PMD_CORE / CTL_CORE   cores (1 / 0)
#   VERIFY=1  no timing: send the pcap once, check what comes out (OVS cases)
#   BENCH_LOCK  lock file (/tmp/bench.lock); BENCH_LOCK_HELD=1: caller holds it
set -u
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 3 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
CASE=$1 N=$2 SECS=$3
: "${OVS_CFG:=default}" "${WINDOWS:=1}" "${WARM_MAX:=60}" "${PMD_CORE:=1}" "${CTL_CORE:=0}"
: "${VERIFY:=0}" "${BENCH_LOCK:=/tmp/bench.lock}" "${BENCH_LOCK_HELD:=0}"
: "${BENCH_TMP:=/tmp/ovsbench-$(id -u)}" "${PCAP_DIR:=/tmp/ovsbench-pcap}"
die() { echo "run.sh: $*" >&2; exit 1; }

# a python that has scapy
if [ -z "${PY:-}" ]; then
    while read -r p; do
        "$p" -c 'import scapy' 2>/dev/null && { PY=$p; break; }
    done < <(type -aP python3)
fi
[ -n "${PY:-}" ] || die "no python3 with scapy in PATH (Debian: python3-scapy)"
export PY

case $CASE in
    port|l3|io|mac|macswap|rxonly|l3fwd-lpm|l3fwd-fib) pc=l3 ;;
    encap|decap|acl|ct|dnat) pc=$CASE ;;
    l3fwd-acl) pc=acl ;;
    *) die "unknown case $CASE" ;;
esac
pc=${PCAP_CASE:-$pc}
mkdir -p "$PCAP_DIR"
PCAP=$PCAP_DIR/$pc-$N.pcap
if [ ! -s "$PCAP" ] || [ "$here/../pcap/mkpcap.py" -nt "$PCAP" ] || [ "$here/../pcap/plan.py" -nt "$PCAP" ]; then
    "$PY" "$here/../pcap/mkpcap.py" "$pc" "$N" "$PCAP" >&2 || die "mkpcap failed"
fi

case $CASE in
    port|l3|encap|decap|acl|ct|dnat) . "$here/ovs.sh" ;;
    *) . "$here/dpdkapp.sh" ;;
esac
prepare || die "preparation failed"
# without a compiler: no probe, every slice counts as clean
HTPROBE=${HTPROBE:-$BENCH_TMP-htprobe}
[ "$HTPROBE" -nt "$here/../htprobe.c" ] || gcc -O2 -o "$HTPROBE" "$here/../htprobe.c" 2>/dev/null
: "${TSC_HZ:=$("$HTPROBE" tsc 2>/dev/null)}"
[ -n "$TSC_HZ" ] || die "the TSC's rate is unknown: install gcc, or give TSC_HZ"
export TSC_HZ

# own network namespace: bridges' tap devices and their addresses stay in there
if [ "${OVSBENCH_NETNS:-}" != 1 ]; then
    exec env OVSBENCH_NETNS=1 unshare -n "$0" "$@"
fi

if [ "$BENCH_LOCK_HELD" != 1 ]; then
    exec 9>"$BENCH_LOCK"
    flock 9
fi

R=$(mktemp -d "$BENCH_TMP.XXXXXX")
export HTPROBE R OVS_RUNDIR=$R OVS_LOGDIR=$R OVS_DBDIR=$R
export PCAP CASE N SECS OVS_CFG WINDOWS WARM_MAX PMD_CORE CTL_CORE VERIFY here
# hugepages: only ever raised
need=${HUGE_2M:-640}
free=$(awk '/^HugePages_Free/{print $2}' /proc/meminfo)
if [ "$free" -lt "$need" ]; then
    tot=$(awk '/^HugePages_Total/{print $2}' /proc/meminfo)
    echo $((tot + need - free)) > /proc/sys/vm/nr_hugepages
    free=$(awk '/^HugePages_Free/{print $2}' /proc/meminfo)
    [ "$free" -ge "$need" ] || die "only $free free 2M hugepages, need $need"
fi

trap 'teardown; rm -rf "$R"' EXIT
trap 'exit 130' INT TERM
setup || die "set-up failed"
if [ "$VERIFY" = 1 ]; then verify; else measure; fi
