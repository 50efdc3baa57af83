"""What was measured, as a table for people and as JSON for programs."""
import json
import os
import statistics
import time


def summary(values):
    """(median, least, most)"""
    return statistics.median(values), min(values), max(values)


def best_ovs(columns):
    """The name of OVS's quickest configuration by its median, of those that were measured in most rounds."""
    names = [n for n in columns if n.startswith("ovs") and columns[n]]
    rounds = max((len(columns[n]) for n in names), default=0)
    return min((n for n in names if len(columns[n]) == rounds),
               key=lambda n: statistics.median(r["cycles"] for r in columns[n]), default=None)


def slower_ovs(columns):
    """After a round: the tuned configurations of OVS that are not the quickest of them, and need no more rounds."""
    tuned = [n for n in columns if n.startswith("ovs ")]
    best = best_ovs({n: columns[n] for n in tuned})
    return [n for n in tuned if best and n != best]


def cell(runs):
    if not runs:
        return "-"
    median, least, most = summary([r["cycles"] for r in runs])
    return f"{median:.0f} [{least:.0f}-{most:.0f}]"


def rows(results):
    """results: {(case, flows): {column: [run, ...]}}, a run with cycles and mpps."""
    for (case, flows), columns in results.items():
        own = columns.get("podwire", [])
        best = best_ovs(columns)
        ratio = "-"
        if own and best:
            medians = [statistics.median(r["cycles"] for r in columns[c]) for c in (best, "podwire")]
            ratio = f"{medians[0] / medians[1]:.2f}"
        mpps = f"{statistics.median(r['mpps'] for r in own):.2f}" if own else "-"
        yield [case, f"{flows:,}", cell(own), mpps, cell(columns.get("ovs")),
               f"{cell(columns[best])} ({best[4:] or 'default'})" if best else "-",
               cell(columns.get("testpmd io")), cell(columns.get("testpmd mac")), ratio]


HEADS = ["CASE", "FLOWS", "PODWIRE cycles", "Mpps", "OVS default", "OVS best", "testpmd io", "testpmd mac", "OVS/PODWIRE"]


def table(results):
    lines = [HEADS, *rows(results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths)).rstrip() for line in lines)


def noise(results):
    runs = [r for columns in results.values() for r in columns.get("podwire", [])]
    if not runs:
        return "no runs"
    clean = sum(r["noise"]["clean_slices"] for r in runs)
    total = sum(r["noise"]["slices"] for r in runs)
    dirty = sum(r["noise"]["dirty_used"] for r in runs)
    return (f"{clean} of {total} slices clean; {dirty} of {len(runs)} windows had too few and count all; "
            f"the worker waited for its CPU at most {max(r['noise']['worst_wait'] for r in runs):.1%} of a slice, steal "
            f"{max(r['noise']['steal'] for r in runs):.1%}, other CPUs busy {max(r['noise']['other_cpus_busy'] for r in runs):.0%}")


def save(directory, machine, arguments, results, specials, idle, latency, problems):
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, time.strftime("%Y%m%d-%H%M%S.json"))
    document = {
        "machine": machine, "arguments": arguments, "problems": problems, "noise": noise(results), "specials": specials, "idle": idle,
        "latency": latency,
        "results": [{"case": case, "flows": flows, "columns": columns} for (case, flows), columns in results.items()]}
    with open(path, "w") as f:
        json.dump(document, f, indent=1)
        f.write("\n")
    return path
