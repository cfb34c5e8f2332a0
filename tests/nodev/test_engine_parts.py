"""The engine's house: one noun, one header, one owner."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import circles, engine_parts

ENGINE = Path(__file__).parents[2] / "native" / "engine"


def test_nobody_looks_into_anothers_part() -> None:
    assert engine_parts.trespasses(ENGINE) == []


def test_a_look_into_anothers_part_is_seen(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "copy.c").write_text("int x = session->lanes.at[0].busy;\n")
    assert engine_parts.trespasses(tmp_path) == [
        "ops/copy.c:1: session->lanes is launch/completion.c's"
    ]


def test_every_file_has_a_header() -> None:
    """Handlers of ops are in a table of their own: a file of nothing else needs none."""
    offers = re.compile(r"^(?!static)[A-Za-z].*?\b(\w+)\([^;]*$", re.MULTILINE)
    bare = [
        path
        for path in ENGINE.rglob("*.c")
        if path.parent.name != "generated" and not path.with_suffix(".h").exists()
    ]
    names = [name for path in bare for name in offers.findall(path.read_text())]
    assert [name for name in names if not name.startswith("op_")] == []


def test_the_session_is_no_bundle_of_prototypes() -> None:
    text = (ENGINE / "session" / "session.h").read_text()
    assert text.count(");") <= 2


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        (
            {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": {"d"}},
            [["a", "b", "c"], ["d", "e"]],
        ),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], found: list[list[str]]) -> None:
    assert circles.find_circles(graph) == found
