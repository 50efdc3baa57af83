#!/usr/bin/env python3
"""expect.py CASE IN.pcap OUT.pcap [--pod-mac MAC] [--source-mac MAC] [--allow-all]

Checks what a switch made of IN.pcap (of mkpcap.py) against plan.py: every
expected frame must be in OUT.pcap, and nothing else.  IN may be fed more than
once.  Outer UDP source port, IP id and TTL of VXLAN frames are free.
--pod-mac: all pods are at that MAC, behind one port.  --source-mac: what the
switch writes as source instead of plan.GW_MAC.  --allow-all: rules deny nothing.
Prints 'verify=ok' or the first difference; exit status says the same.
"""
import argparse
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import plan                                               # noqa: E402


def mac(s):
    return bytes(int(x, 16) for x in s.split(":"))


def read(path):
    b = open(path, "rb").read()
    out, off = [], 24
    while off < len(b):
        n = struct.unpack_from("<I", b, off + 8)[0]
        out.append(b[off + 16:off + 16 + n])
        off += 16 + n
    return out


def fix(b):
    """IP and UDP checksums anew"""
    b = bytearray(b)

    def c(x):
        s = sum(struct.unpack("!%dH" % (len(x) // 2), x))
        s = (s & 0xffff) + (s >> 16)
        return ~((s & 0xffff) + (s >> 16)) & 0xffff
    b[24:26] = b"\0\0"
    struct.pack_into("!H", b, 24, c(bytes(b[14:34])))
    b[40:42] = b"\0\0"
    pay = bytes(b[34:]) + b"\0" * (len(b) & 1)
    struct.pack_into("!H", b, 40, c(bytes(b[26:34]) + struct.pack("!BBH", 0, 17, len(b) - 34) + pay)
                     or 0xffff)
    return bytes(b)


class Expect:
    def __init__(self, case, pod_mac=None, source_mac=plan.GW_MAC, allow_all=False):
        self.case = case
        self.source = mac(source_mac)
        self.route = {plan.ip2int(p.split("/")[0]) >> 8: mac(m) for p, _, m in plan.routes()}
        self.vtep = {plan.ip2int(p.split("/")[0]) >> 8: (ip, mac(om), mac(im))
                     for p, ip, om, im in plan.vteps()}
        self.pod = {plan.ip2int(i): mac(pod_mac or m) for i, m in plan.pods()}
        self.rules = plan.acl() if case == "acl" and not allow_all else None
        self.svc = {(plan.ip2int(v), p): (plan.ip2int(b), bp) for v, p, b, bp in plan.services()}
        self.back = {v: k for k, v in self.svc.items()}

    def hop(self, b, table=None):
        b = bytearray(b)
        d = struct.unpack_from("!I", b, 30)[0]
        m = self.pod.get(d) or self.route.get(d >> 8)
        if m is None:
            return None
        b[0:6], b[6:12] = m, self.source
        b[22] -= 1
        return fix(b)

    def __call__(self, b):
        if self.case == "decap":
            b = b[50:]
        s, d, sp, dp = struct.unpack_from("!IIHH", b, 26)
        if self.rules is not None:
            i = plan.first_match(self.rules, s, d, 17, dp)
            if i >= 0 and not self.rules[i].allow:
                return None
        if self.case == "dnat":
            b = bytearray(b)
            if (d, dp) in self.svc:
                struct.pack_into("!I", b, 30, self.svc[d, dp][0])
                struct.pack_into("!H", b, 36, self.svc[d, dp][1])
            else:
                struct.pack_into("!I", b, 26, self.back[s, sp][0])
                struct.pack_into("!H", b, 34, self.back[s, sp][1])
        e = self.hop(b)
        if self.case == "encap":
            ip, om, im = self.vtep[d >> 8]
            e = im + e[6:]
            return om + mac(plan.LOCAL_VTEP_MAC) + struct.pack(
                "!II", plan.ip2int(plan.LOCAL_VTEP), plan.ip2int(ip)) + struct.pack(
                "!H", plan.VXLAN_PORT) + struct.pack("!BBHI", 8, 0, 0, plan.VNI << 8) + e
        return e

    def canon(self, b):
        """what is compared of an output frame"""
        if self.case != "encap":
            return b
        assert len(b) > 50 and b[12:14] == b"\x08\0" and b[23] == 17, b.hex()
        assert struct.unpack_from("!H", b, 16)[0] == len(b) - 14
        assert struct.unpack_from("!H", b, 38)[0] == len(b) - 34
        x = sum(struct.unpack("!10H", b[14:34]))
        assert (x & 0xffff) + (x >> 16) == 0xffff, "outer IP checksum"
        assert struct.unpack_from("!H", b, 40)[0] == 0, "outer UDP checksum"
        return b[:12] + b[26:34] + b[36:38] + b[42:50] + b[50:]


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument("case")
    ap.add_argument("inp")
    ap.add_argument("outp")
    ap.add_argument("--pod-mac")
    ap.add_argument("--source-mac", default=plan.GW_MAC)
    ap.add_argument("--allow-all", action="store_true")
    a = ap.parse_args()
    case, inp, outp = a.case, a.inp, a.outp
    ex = Expect(case, a.pod_mac, a.source_mac, a.allow_all)
    want = {}
    for b in read(inp):
        e = ex(b)
        if e is not None:
            want[e] = want.get(e, 0) + 1
    got = {}
    for b in read(outp):
        k = ex.canon(b)
        got[k] = got.get(k, 0) + 1
    extra = [k for k in got if k not in want]
    miss = [k for k in want if k not in got]
    ok = not extra and not miss
    print("case=%s verify=%s sent=%d distinct_expected=%d distinct_got=%d unexpected=%d missing=%d" % (
        case, "ok" if ok else "FAILED", len(read(inp)), len(want), len(got), len(extra), len(miss)))
    if extra:
        print("unexpected: " + extra[0].hex())
    if miss:
        print("missing:    " + miss[0].hex())
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
