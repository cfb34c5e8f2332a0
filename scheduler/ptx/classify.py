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
_OPCODE = re.compile(r"(?<![\w.])[a-z][\w.:]*+")
_WORD = re.compile(r"\w++")
_GRID_SYNC = ("cooperative_groups", "grid_group", "sync")


def _system_scope(text: str) -> str | None:
    for opcode in _OPCODE.findall(text) if ".sys" in text else ():
        name, modifiers = polls.split(opcode)
        if name in _SYSTEM_SCOPE and "sys" in modifiers:
            seen = opcode[: opcode.index(".sys") + len(".sys")]
            return f"system-scope atomics ({seen})"
    return None


def _grid_sync(text: str) -> str | None:
    """Whether a name is that of the grid's synchronisation, mangled or not."""
    if "cudaCGSynchronizeGrid" in text:
        return "synchronises its grid (cudaCGSynchronizeGrid)"
    for word in _WORD.findall(text) if _GRID_SYNC[0] in text else ():
        at = 0
        for part in _GRID_SYNC:
            at = word.find(part, at)
            if at < 0:
                break
        else:
            return f"synchronises its grid ({word[:60]})"
    return None


def _matches(pattern: re.Pattern[str], reason: str) -> Callable[[str], str | None]:
    def judge(text: str) -> str | None:
        match = pattern.search(text)
        return f"{reason} ({match.group().strip()})" if match else None

    return judge


# Of one function's text. First match wins; the strictest classes come first.
CLASSES: list[tuple[Treatment, Callable[[str], str | None]]] = [
    (Treatment.AT_ONCE, _matches(_COMMUNICATION, "communicates with other GPUs")),
    (Treatment.AT_ONCE, _system_scope),
    (Treatment.WHOLE, _matches(_CLUSTER, "thread-block clusters")),
    (Treatment.WHOLE, _matches(_DEVICE_LAUNCH, "launches kernels itself")),
    (Treatment.WHOLE, _grid_sync),
]


_POINTER = ""  # stands for whoever is called through a pointer


def _own(module: Module, function: Function) -> tuple[int, str] | None:
    """The strictest class of a function by its own code, as its number, and the reason."""
    text = "\n".join(s.bare for s in module.statements[function.header : function.close])
    for number, (_, judge) in enumerate(CLASSES):
        if reason := judge(text):
            return number, reason
    return None


def _strictest(module: Module) -> dict[str, tuple[int, str]]:
    """The strictest class of what each function may call, itself included.

    From the callees up, the strictest first: so every call is looked at once.
    """
    callers: dict[str, list[str]] = {}
    for function in module.functions:
        callees = module.callees(function)
        if callees is module.pointed:
            callers.setdefault(_POINTER, []).append(function.name)
        else:
            for callee in callees:
                callers.setdefault(callee.name, []).append(function.name)
    for function in module.pointed if _POINTER in callers else ():
        callers.setdefault(function.name, []).append(_POINTER)
    own = {f.name: found for f in module.functions if (found := _own(module, f))}
    result: dict[str, tuple[int, str]] = {}
    for name, verdict in sorted(own.items(), key=lambda item: item[1][0]):
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current not in result:
                result[current] = verdict
                waiting += callers.get(current, ())
    return result


def _spins(module: Module, entry: Function) -> str | None:
    found = spin.find(module, entry)
    return f"{found[0].reason} at line {found[0].line}" if found else None


def classify(module: Module) -> dict[str, Verdict]:
    """Judge each kernel by its code and by that of all it may call."""
    strictest = _strictest(module)
    verdicts: dict[str, Verdict] = {}
    for entry in module.entries:
        if entry.name in strictest:
            number, reason = strictest[entry.name]
            verdicts[entry.name] = Verdict(CLASSES[number][0], reason)
        elif spins := _spins(module, entry):
            verdicts[entry.name] = Verdict(Treatment.SLICE, spins)
        else:
            verdicts[entry.name] = Verdict(Treatment.PREEMPT, "no block waits for another")
    return verdicts
