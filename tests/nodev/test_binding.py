"""What Python sees of the native code is what its headers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tally._native import ffi, lib
from tally.interpose import binding
from tally.interpose.table import TableError
from tally.scheduler.figures import Histogram, SchedulerStats, SessionStats
from tally.scheduler.limits import Limits
from tally.scheduler.plan import Plan
from tally.scheduler.policies import policies, policy_traits

CDEFS = binding._load()


@pytest.fixture(scope="module")
def headers() -> Any:
    return CDEFS.Headers()


def test_structs_have_the_members_that_c_has(headers: Any) -> None:
    for name, members in headers.structs().items():
        native = ffi.typeof(f"struct {name}")
        assert [label for label, _ in native.fields] == [label for label, _ in members], name


def test_constants_have_the_values_that_c_has(headers: Any) -> None:
    assert len(headers.constants) > 100
    for name, value in headers.constants.items():
        assert getattr(lib, name) == value, name
    assert all(isinstance(getattr(lib, name), int) for name in headers.macros)


def test_macros_that_are_no_integers_are_left_out() -> None:
    text = (
        "#define TALLY_A (1u << 4)\n#define TALLY_B (TALLY_A - 0x1ul)\n#define TALLY_C UINT32_MAX\n"
        '#define TALLY_TEXT "1"\n#define TALLY_CALL(x) 1\n#define TALLY_H\n#define TALLY_D NOBODY\n'
    )
    assert CDEFS._integer_macros(text) == ["TALLY_A", "TALLY_B", "TALLY_C"]


def test_limits_are_the_schedulers() -> None:
    native = ffi.typeof("struct tally_sched_limits").fields
    assert [name for name, _ in native] == list(Limits.__dataclass_fields__)


@pytest.mark.parametrize(
    ("kind", "struct"),
    [
        (Histogram, "tally_sched_histogram"),
        (SchedulerStats, "tally_sched_stats"),
        (SessionStats, "tally_sched_session_stats"),
        (Plan, "tally_sched_plan"),
    ],
)
def test_dataclasses_have_the_members_that_c_has(kind: Any, struct: str) -> None:
    native = [name for name, _ in ffi.typeof(f"struct {struct}").fields if name != "reserved"]
    assert native == list(kind.__dataclass_fields__)


def test_a_policy_is_in_the_table_and_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "SCHED", tmp_path)
    text = 'const struct policy tally_sched_policy_one = {\n    .name = "one",\n    .text = "x",\n'
    (tmp_path / "policy_one.c").write_text(text)
    (tmp_path / "policies.c").write_text("#define POLICIES(ROW) ROW(one)\n")
    assert '"one": "x",\n' in binding._policies()
    (tmp_path / "policies.c").write_text("#define POLICIES(ROW) ROW(one) ROW(two)\n")
    with pytest.raises(TableError, match=r"not in both: \['two'\]"):
        binding._policies()
    (tmp_path / "policy_one.c").write_text(text.replace('"one"', '"won"'))
    with pytest.raises(TableError, match="tally_sched_policy_one has the name 'won'"):
        binding._policies()


def test_every_policy_has_traits_and_an_unknown_one_has_none() -> None:
    assert all(isinstance(policy_traits(name), int) for name in policies())
    assert lib.tally_sched_policy_traits(lib.tally_sched_policy_count()) == 0
    with pytest.raises(KeyError):
        policy_traits("nobody's")
