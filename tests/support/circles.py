"""Circles among the object files of a static library: files that call one another, by any way.

    python tests/support/circles.py LIBRARY.a [--allow FILE,FILE ...] [--list]

A file that is in a circle cannot be understood, tested or replaced without all the others. --allow
names the circles that are known and have their reason in ARCHITECTURE.md; any other, and one that
is gone, is an error. Data counts as well as functions: what a file reads it depends on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

Graph = Mapping[str, set[str]]


def read_library(path: Path) -> dict[str, set[str]]:
    """Which object file (named as its source, without folders) uses which others, by `nm`."""
    listing = subprocess.run(
        ["nm", "--print-file-name", str(path)], capture_output=True, text=True, check=True
    )
    defined: dict[str, str] = {}
    used: dict[str, set[str]] = defaultdict(set)
    for line in listing.stdout.splitlines():
        place, _, rest = line.rpartition(":")
        member = place.rpartition(":")[2].removesuffix(".o")
        *_, kind, symbol = rest.split()
        used[member]  # a file that uses nothing is a file too
        if kind == "U":
            used[member].add(symbol)
        elif kind.isupper():
            defined[symbol] = member
    return {
        member: {
            defined[symbol] for symbol in symbols if symbol in defined and defined[symbol] != member
        }
        for member, symbols in used.items()
    }


def find_circles(graph: Graph) -> list[list[str]]:
    """The strongly connected components of more than one file, largest first (Kosaraju)."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(start: str, edges: Graph, out: list[str]) -> None:
        stack = [(start, iter(sorted(edges.get(start, ()))))]
        seen.add(start)
        while stack:
            node, rest = stack[-1]
            following = next((other for other in rest if other not in seen), None)
            if following is None:
                stack.pop()
                out.append(node)
            else:
                seen.add(following)
                stack.append((following, iter(sorted(edges.get(following, ())))))

    for node in sorted(graph):
        if node not in seen:
            visit(node, graph, order)
    back: dict[str, set[str]] = defaultdict(set)
    for node, others in graph.items():
        for other in others:
            back[other].add(node)
    seen.clear()
    circles = []
    for node in reversed(order):
        if node not in seen:
            circle: list[str] = []
            visit(node, back, circle)
            circles.append(sorted(circle))
    return sorted(
        (circle for circle in circles if len(circle) > 1), key=lambda circle: (-len(circle), circle)
    )


def edges_within(graph: Graph, circle: Iterable[str]) -> list[str]:
    """The calls that make the circle, for people."""
    files = set(circle)
    return [f"  {file} -> {', '.join(sorted(graph[file] & files))}" for file in sorted(files)]


def main() -> int:
    """0 if the circles are those allowed, 1 and what is wrong if not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument(
        "--allow", action="append", default=[], help="files of a circle that may be, by commas"
    )
    parser.add_argument("--list", action="store_true", help="print them, and judge nothing")
    arguments = parser.parse_args()
    graph = read_library(arguments.library)
    circles = find_circles(graph)
    allowed = [sorted(names.split(",")) for names in arguments.allow]
    wrong = [circle for circle in circles if circle not in allowed]
    for circle in circles if arguments.list else wrong:
        print(
            f"{len(circle)} files call one another in a circle:",
            *edges_within(graph, circle),
            sep="\n",
        )
    for circle in allowed:
        if circle not in circles and not arguments.list:
            print(f"no circle any more, so it need not be allowed: {', '.join(circle)}")
            wrong.append(circle)
    sizes = " + ".join(str(len(circle)) for circle in circles)
    print(f"{len(graph)} files, in circles: {sizes or 'none'}")
    return 0 if arguments.list or not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
