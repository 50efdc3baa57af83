#!/usr/bin/env python3
"""Counts the instructions of micro_bench's cases under callgrind and compares them with instructions.json.

More than LIMIT above what the file says of a case fails. The same binary counts the same to the instruction, on
any x86-64 CPU; the file's numbers are those of Debian 12's GCC 12 at the build's own options.

  instructions.py                        compare all cases; exit 1 if one costs more
  instructions.py --update               write what they cost now to instructions.json
  instructions.py --profile CASE         where a case's instructions are, by function
"""
import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 0.05
# The C library's functions that every x86-64 CPU has, not those for the CPU at hand.
TUNABLES = "glibc.cpu.hwcaps=-AVX2_Usable,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-AVX512F,-AVX512VL,-ERMS,-FSRM,-RTM"


def run_callgrind(program, cases, directory):
    """Runs the cases; returns {case: the callgrind file of its part}."""
    command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no",
               f"--callgrind-out-file={directory}/out", program, "--instructions", *cases]
    done = subprocess.run(command, env={**os.environ, "GLIBC_TUNABLES": TUNABLES}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"instructions.py: {' '.join(command)}: exit status {done.returncode}\n{done.stdout[-3000:]}")
    parts = {}
    for path in pathlib.Path(directory).iterdir():
        name = re.search(r"^desc: Trigger: Client Request: (.*)$", path.read_text(), re.MULTILINE)
        if name:
            parts[name.group(1)] = path
    return parts


def self_costs(path):
    """{(function, file of the source line): instructions} of one part; calls' inclusive costs are left out."""
    names = {"fl": {}, "fn": {}}
    costs = collections.Counter()
    function = file = ""
    inclusive = False

    def name_of(kind, text):
        number, name = re.match(r"\((\d+)\) ?(.*)", text).groups()
        if name:
            names[kind][number] = name
        return names[kind][number]

    for line in path.read_text().splitlines():
        if line.startswith("fn="):
            function = name_of("fn", line[3:])
        elif line.startswith(("fl=", "fi=", "fe=")):
            file = name_of("fl", line[3:])
        elif line.startswith("cfn="):
            name_of("fn", line[4:])
        elif line.startswith(("cfi=", "cfl=")):
            name_of("fl", line[4:])
        elif line.startswith("calls="):
            inclusive = True
        elif cost := re.match(r"(?:[+-]?\d+|\*) (\d+)$", line):
            if not inclusive:
                costs[function, os.path.basename(file)] += int(cost.group(1))
            inclusive = False
    return costs


def listed(program):
    """{case: operations counted}."""
    output = subprocess.run([program, "--list"], check=True, text=True, stdout=subprocess.PIPE).stdout
    return {name: int(operations) for name, operations in (line.split() for line in output.splitlines())}


def measure(program, operations):
    with tempfile.TemporaryDirectory() as directory:
        parts = run_callgrind(program, operations, directory)
        return {case: round(sum(self_costs(parts[case]).values()) / n, 1) for case, n in operations.items()}


def compare(counts, kept):
    """Prints a line for each case; returns the messages of those that fail."""
    failures = []
    print(f"{'case':<26}{'kept':>9}{'now':>9}  instructions an operation")
    for case, now in counts.items():
        if case not in kept:
            failures.append(f"{case}: not in instructions.json (it has {now} instructions)")
            continue
        change = now / kept[case] - 1
        print(f"{case:<26}{kept[case]:>9}{now:>9}  {change:+.1%}" if change else f"{case:<26}{kept[case]:>9}{now:>9}")
        if change > LIMIT:
            failures.append(f"{case}: {now} instructions, {change:.1%} more than the {kept[case]} of instructions.json")
        elif change < -LIMIT:
            print(f"  {case} has become cheaper: keep it so with --update")
    failures += [f"{case}: in instructions.json, but no such case" for case in kept if case not in counts]
    return failures


def profile(program, case, operations):
    with tempfile.TemporaryDirectory() as directory:
        costs = self_costs(run_callgrind(program, [case], directory)[case])
    functions = collections.Counter()
    for (function, _), cost in costs.items():
        functions[function] += cost
    print(f"{case}: {sum(costs.values()) / operations:.1f} instructions an operation")
    for function, cost in functions.most_common():
        if cost / operations < 0.5:
            continue
        print(f"{cost / operations:>8.1f}  {function.replace('podwire::', '').replace('(anonymous namespace)::', '')[:110]}")
        for (owner, file), part in costs.most_common():
            if owner == function and part / operations >= 1:
                print(f"{part / operations:>18.1f}  {file}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default=str(HERE.parents[1] / "build/bench/micro/micro_bench"))
    parser.add_argument("--kept", type=pathlib.Path, default=HERE / "instructions.json", help="the file to compare with")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--update", action="store_true", help="write the counts to the file")
    action.add_argument("--profile", metavar="CASE", help="instructions by function, and by source file in each")
    args = parser.parse_args()
    operations = listed(args.program)
    if args.profile:
        if args.profile not in operations:
            sys.exit(f"instructions.py: no case {args.profile}; there are: {' '.join(operations)}")
        profile(args.program, args.profile, operations[args.profile])
        return
    counts = measure(args.program, operations)
    if args.update:
        args.kept.write_text(json.dumps(counts, indent=2) + "\n")
        return
    failures = compare(counts, json.loads(args.kept.read_text()))
    for failure in failures:
        print(f"FAILED {failure}")
    if failures:
        sys.exit("instructions.py: if this is the price of something worth it, say so in the commit and run --update")


if __name__ == "__main__":
    main()
