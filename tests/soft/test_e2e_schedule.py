"""What is seen of the scheduler from outside: policies, profiles and numbers, on a real tallyd."""

from __future__ import annotations

import os
import signal

import pytest
from support.daemon import Daemon, wait_until

pytestmark = pytest.mark.timeout(180)


def policies_in_force(daemon: Daemon) -> list[str]:
    """What the executors themselves say."""
    schedules = [device["schedule"] for device in daemon.stats()["devices"]]
    return [schedule["policy"] for schedule in schedules if schedule]


def test_policy_is_switched_live_and_outlives_an_executor() -> None:
    with Daemon(device="soft:2") as daemon:
        assert policies_in_force(daemon) == ["tally", "tally"]
        daemon.tally("policy", "kernel")
        assert policies_in_force(daemon) == ["kernel", "kernel"]
        first = daemon.executor_pids()[0]
        os.kill(first, signal.SIGKILL)
        wait_until(
            lambda: first not in daemon.executor_pids() and len(policies_in_force(daemon)) == 2,
            30,
            "the executor is replaced",
        )
        wait_until(lambda: policies_in_force(daemon) == ["kernel"] * 2, 10, "the policy is kept")
        marked = [line for line in daemon.tally("policy").splitlines() if line.startswith("*")]
        assert [line.split()[1] for line in marked] == ["kernel"]
