"""A best-effort launch's way through the engine: the files that it enters, and their early returns.

    python tests/support/launch_way.py [TREE]

docs/evidence/house.md says what is counted. Needs gcc; sees no calls through tables of functions.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

# Not entered, by the names of today and of d87ea09: ways of others (high launches, copies, gated
# ones, meetings, rescues), what follows the driver's call, leaves that count, time, trace or tell.
LEFT_OUT = """
launch_at_once launch_counted submit_transfer submit_meeting launch_meeting gate_submit rescue_start
transfer_run transfer_bytes
completion_add session_finish
session_tell schedule_tell_full tally_stats_add trace_is_on timing_begin timing_end
timing_is_reported kernels_note engine_now_ns engine_trace engine_kernels
"""
GCC = "gcc -O0 -w -D_GNU_SOURCE -Inative -Inative/include -fcallgraph-info -c"
NODE = re.compile(r'^node: \{ title: "(.*)" label: "(\w+)\\n(.*\.c):(\d+):\d+" \}$', re.M)
EDGE = re.compile(r'^edge: \{ sourcename: "(.*?)" targetname: "(.*?)"', re.M)
Calls = Mapping[str, set[str]]


def read_tree(tree: Path) -> tuple[dict[str, tuple[str, str, int]], Calls]:
    """Name, file and line of each function of the engine by its key, and whom it calls."""
    functions, calls = {}, defaultdict(set)
    with tempfile.TemporaryDirectory() as folder:
        for path in (tree / "native/engine").rglob("*.c"):
            source = str(path.relative_to(tree))
            subprocess.run([*GCC.split(), source, "-o", f"{folder}/o.o"], cwd=tree, check=True)
            text = Path(folder, "o.ci").read_text()
            for key, name, file, line in NODE.findall(text):
                if name not in LEFT_OUT.split():
                    functions[key] = (name, file, int(line))
            for caller, called in EDGE.findall(text):
                calls[caller].add(called)
    return functions, {key: calls[key] & functions.keys() for key in functions}


def reach(calls: Calls, start: Iterable[str]) -> set[str]:
    seen, left = set[str](), list(start)
    while left:
        if (key := left.pop()) not in seen:
            seen.add(key)
            left += calls[key]
    return seen


def early_returns(lines: list[str]) -> int:
    """Returns of the function that begins the lines, but for one that is its last statement."""
    found = re.match(r"[^{}]*\{(?:[^\n]*\}$|.*?^\})", "\n".join(lines), re.M | re.S)
    code = re.sub(r"/\*.*?\*/", "", found[0] if found else "", flags=re.S)
    last = re.search(r"[;{}]\s*return\b[^;]*;\s*}$", code)
    return len(re.findall(r"\breturn\b", code)) - bool(last)


tree = Path(*sys.argv[1:]).resolve()
functions, calls = read_tree(tree)
back = {key: {caller for caller in calls if key in calls[caller]} for key in calls}
# start() calls cuLaunchKernel; at d87ea09 in launch.c.
start = [key for key in functions if re.search(r"/(start|launch)\.c:start$", key)]
file_of = {key: file for key, (_, file, _) in functions.items()}
inside = {key: {one for one in calls[key] if file_of[one] == file_of[key]} for key in calls}
way = reach(inside, reach(calls, ["op_launch"]) & reach(back, start))
rooms = defaultdict(list)
for key in sorted(way.union(*(calls[key] for key in way)), key=lambda key: functions[key][1:]):
    name, file, line = functions[key]
    rooms[file].append((name, early_returns((tree / file).read_text().splitlines()[line - 1 :])))
for file, found in rooms.items():
    print(f"{file} {sum(early for _, early in found)}: {', '.join(name for name, _ in found)}")
early = sum(early for found in rooms.values() for _, early in found)
print(f"{len(rooms)} rooms, {sum(map(len, rooms.values()))} functions, {early} early returns")
