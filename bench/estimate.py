"""How long a run will take, roughly: said before it begins."""
from cases import CASES

# Seconds of a set-up with its warm-up, and what a million packets in the capture add.
SET_UP = {"podwire": (2, 10), "ovs": (9, 9), "testpmd": (3, 5)}
WINDOW = 1.3  # seconds of a window for each that counts: probes, and slices that do not
CAPTURE = 15  # seconds to make a capture of a million packets
VERIFY = 3
SPECIAL = 6  # seconds that a run of a scenario takes beside its window
RUNS = {"cps": 1, "cps_syn": 1, "mixed": 1, "collide": 2, "update": 2, "workers": 2, "attack": 3, "attack1": 3, "synflood": 3}
IDLE = 290


def seconds(points, specials, args):
    """points: [(case, packets of the capture, its columns' names)]; specials: names; args: rounds, seconds, idle, no_verify."""
    window = WINDOW * args.seconds
    total = IDLE if args.idle else 0
    if args.latency:
        total += args.rounds * len(args.case or CASES) * 2 * (SPECIAL + window)
    total += 0 if args.no_verify else VERIFY * len({case for case, _, _ in points})
    for _, packets, columns in points:
        total += CAPTURE * packets / 1e6
        tuned = [c for c in columns if c.startswith("ovs ")]
        for column in columns:
            least, per_million = SET_UP[column.split()[0]]
            rounds = 1 if column in tuned[1:] else args.rounds  # report.slower_ovs
            total += rounds * (least + per_million * packets / 1e6 + window)
    return total + args.rounds * sum(RUNS[name] * (SPECIAL + window) for name in specials)


def text(total):
    return f"this takes about {max(1, round(total / 60))} minutes" if total >= 90 else f"this takes about {round(total)} seconds"
