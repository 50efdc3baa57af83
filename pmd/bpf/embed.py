#!/usr/bin/python3
"""Makes a C++ source that holds a file's bytes: embed.py IN OUT NAME."""
import sys

data = open(sys.argv[1], "rb").read()
lines = [",".join(str(b) for b in data[i:i + 32]) for i in range(0, len(data), 32)]
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write('#include "pmd/bpf/uplink_object.h"\n\nnamespace podwire {\nnamespace {\nalignas(8) constexpr unsigned char kBytes[] = {\n')
    out.write(",\n".join(lines))
    out.write(f"}};\n}}  // namespace\n\nstd::span<const unsigned char> {sys.argv[3]}() {{ return kBytes; }}\n\n}}  // namespace podwire\n")
