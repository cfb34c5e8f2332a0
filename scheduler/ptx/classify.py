"""Which kernels may be preempted, and which only sliced or run whole; one entry per class.

The launch itself (cooperative, clusters asked for by attribute) is judged by the engine; here is
what the code alone tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tally.scheduler.ptx import polls, spin
from tally.scheduler.ptx.module import Function, Module


class Treatment(Enum):
    """The most that the scheduler may do to a kernel's launches."""

    PREEMPT = "preempt"  # may be stopped at any block boundary
    SLICE = "slice"  # fixed ascending slices only, never a flag
    WHOLE = "whole"  # runs in one go
    AT_ONCE = "at once"  # whole, and never delayed: others wait for it


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a kernel may be treated, and the reason for people."""

    treatment: Treatment
    reason: str


_CLUSTER = re.compile(
    r"\.reqnctapercluster|\.explicitcluster|\.maxclusterrank|%(?:is_explicit_)?cluster|"
    r"barrier\.cluster|\bmapa\b|\bgetctarank\b|\.multicast::cluster|\.shared::cluster"
)
_DEVICE_LAUNCH = re.compile(r"cudaLaunchDevice|cudaGetParameterBuffer|cudaCDP|cudaGraphLaunch")
_COMMUNICATION = re.compile(r"nccl|nvshmem", re.I)
_SYSTEM_SCOPE = frozenset(("atom", "red", "ld", "st", "fence", "multimem"))
_GRID_SYNC = re.compile(r"cudaCGSynchronizeGrid|\b\w*cooperative_groups\w*grid_group\w*sync\w*")


def _text(module: Module, entry: Function) -> str:
    parts: list[str] = []
    for function in module.reachable(entry):
        parts.extend(s.bare for s in module.statements[function.header : function.close])
    return "\n".join(parts)


def _spins(module: Module, entry: Function, text: str) -> str | None:
    found = spin.find(module, entry)
    return f"{found[0].reason} at line {found[0].line}" if found else None


def _system_scope(module: Module, entry: Function, text: str) -> str | None:
    if ".sys" not in text:
        return None
    for function in module.reachable(entry):
        for instruction in module.instructions(function):
            name, modifiers = polls.split(instruction.opcode)
            if name in _SYSTEM_SCOPE and "sys" in modifiers:
                seen = instruction.opcode[: instruction.opcode.index(".sys") + len(".sys")]
                return f"system-scope atomics ({seen})"
    return None


def _matches(
    pattern: re.Pattern[str], reason: str
) -> Callable[[Module, Function, str], str | None]:
    def judge(module: Module, entry: Function, text: str) -> str | None:
        match = pattern.search(text)
        return f"{reason} ({match.group().strip()})" if match else None

    return judge


# First match wins; the strictest classes come first.
CLASSES: list[tuple[Treatment, Callable[[Module, Function, str], str | None]]] = [
    (Treatment.AT_ONCE, _matches(_COMMUNICATION, "communicates with other GPUs")),
    (Treatment.AT_ONCE, _system_scope),
    (Treatment.WHOLE, _matches(_CLUSTER, "thread-block clusters")),
    (Treatment.WHOLE, _matches(_DEVICE_LAUNCH, "launches kernels itself")),
    (Treatment.WHOLE, _matches(_GRID_SYNC, "synchronises its grid")),
    (Treatment.SLICE, _spins),
]


def classify(module: Module, entry: Function) -> Verdict:
    """Judge one kernel by its code."""
    text = _text(module, entry)
    for treatment, judge in CLASSES:
        reason = judge(module, entry, text)
        if reason:
            return Verdict(treatment, reason)
    return Verdict(Treatment.PREEMPT, "no block waits for another")
