"""The core's table of policies (native/sched/policies.c)."""

from __future__ import annotations

from enum import IntFlag

from tally._native import ffi, lib


def policies() -> dict[str, str]:
    """Name and one line of explanation of every policy, in the order of the table."""
    return {
        ffi.string(lib.tally_sched_policy_name(i)).decode(): ffi.string(
            lib.tally_sched_policy_text(i)
        ).decode()
        for i in range(lib.tally_sched_policy_count())
    }


class PolicyTrait(IntFlag):
    """What a policy is like; see native/include/tally/sched.h."""

    HIGH_AT_ONCE = lib.TALLY_SCHED_HIGH_AT_ONCE
    LEVELS = lib.TALLY_SCHED_LEVELS
    GIVES_WAY = lib.TALLY_SCHED_GIVES_WAY
    BOUNDED = lib.TALLY_SCHED_BOUNDED


def policy_traits(name: str) -> PolicyTrait:
    """Of the policy of that name. Raises KeyError for a name that is not in the table."""
    return PolicyTrait(lib.tally_sched_policy_traits(policy_index(name)))


def policy_index(name: str) -> int:
    """Place of a policy in the table. Raises KeyError for a name that is not in it."""
    return {known: i for i, known in enumerate(policies())}[name]
