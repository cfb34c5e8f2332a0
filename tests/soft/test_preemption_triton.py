"""Triton's kernels, stopped at random blocks or cut into random slices, give the same bytes."""

from __future__ import annotations

from functools import cache

import pytest
from support.preempting import SEEDS, Parted, preempted, sliced, whole
from support.soft_device import Module

from tally.scheduler.ptx import variants
from tally.scheduler.ptx.classify import Treatment

pytestmark = pytest.mark.beside

kernels = pytest.importorskip(
    "support.triton_kernels", reason="no Triton: pip install tally-gpu[test]"
)


@cache
def loaded(name: str) -> Module:
    text = kernels.compiled(name, 80).asm["ptx"]
    assert variants.run(text).verdicts[name].treatment is Treatment.PREEMPT
    return Parted(text)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", kernels.NAMES)
def test_guarded(name: str, seed: int) -> None:
    case = kernels.case(name)
    found, stops = preempted(loaded(name), case, seed)
    assert stops >= 3, "every launch is stopped at least once"
    assert found == whole(loaded(name), case, seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", kernels.NAMES)
def test_sliced(name: str, seed: int) -> None:
    case = kernels.case(name)
    assert sliced(loaded(name), case, seed) == whole(loaded(name), case, seed)
