"""What Python repeats of our own C: the native module's types, the scheduler's limits and policies.

native/binding/cdefs.py reads the headers, also for the build, which needs no copy of them.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from tally.interpose.table import HERE, TableError

ROOT = HERE.parent

LIMITS_HEAD = '''"""The scheduler's limits. Written by `python -m tally.interpose generate`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tally._native import ffi, lib


@dataclass(frozen=True)
class Limits:
    """struct tally_sched_limits of native/include/tally/sched.h, which says what they mean."""

'''
LIMITS_TAIL = '''
    @classmethod
    def default(cls) -> Limits:
        """The scheduler's own."""
        config = ffi.new("struct tally_sched_config *")
        lib.tally_sched_config_default(config)
        return cls(*(int(getattr(config.limits, field.name)) for field in fields(cls)))
'''

POLICIES_HEAD = '''"""The scheduling policies. Written by `python -m tally.interpose generate`.

A copy of the scheduler's table, as settings load without native code.
"""

POLICIES: dict[str, str] = {
'''
SCHED = ROOT / "native" / "sched"
ROW = re.compile(r"\bROW\((\w+)\)")
POLICY = re.compile(
    r'policy tally_sched_policy_(\w+) = \{\s*\.name = "(\w+)",\s*\.text = "([^"]*)",'
)


def render() -> dict[str, str]:
    """Text of each file, by its path in the tree. TableError if a header cannot be read."""
    cdefs = _load()
    try:
        headers = cdefs.Headers()
        limits = [f"    {name}: int\n" for name, _ in headers.struct("tally_sched_limits")]
    except (ValueError, KeyError, OSError) as error:
        raise TableError(f"native/binding/prelude.h: {error}") from error
    return {
        "tally/_native.pyi": cdefs.stub(headers),
        "scheduler/limits.py": LIMITS_HEAD + "".join(limits) + LIMITS_TAIL,
        "tally/policies.py": _policies(),
    }


def _policies() -> str:
    """tally/policies.py: the rows of native/sched/policies.c, in their order."""
    names = ROW.findall((SCHED / "policies.c").read_text())
    found = {}
    for path in sorted(SCHED.glob("policy_*.c")):
        for symbol, name, text in POLICY.findall(path.read_text()):
            if symbol != name:
                raise TableError(f"{path.name}: tally_sched_policy_{symbol} has the name {name!r}")
            found[name] = text
    if set(names) != set(found):
        raise TableError(f"native/sched: not in both: {sorted(set(names) ^ set(found))}")
    return POLICIES_HEAD + "".join(f'    "{n}": "{found[n]}",\n' for n in names) + "}\n"


def _load() -> Any:
    path = ROOT / "native" / "binding" / "cdefs.py"
    spec = importlib.util.spec_from_file_location("tally_cdefs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
