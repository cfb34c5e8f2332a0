"""Switching the scheduling policy while executors come and go, on the stub executor."""

from __future__ import annotations

import os
import signal

import pytest
from support.daemon import wait_until
from support.supervised import Supervised

from tally.errors import RefusedError


def in_force(running: Supervised) -> list[str]:
    """What the executors themselves say."""
    with running.client() as client:
        devices = client.stats()["devices"]
    return [device["schedule"]["policy"] for device in devices if device["schedule"]]


def test_every_executor_switches_and_so_do_later_ones() -> None:
    with Supervised(count=2) as running, running.client() as client:
        wait_until(lambda: len(in_force(running)) == 2, 10, "both executors are ready")
        assert client.policy() == "tally"
        assert client.policy("fifo") == "fifo"
        assert in_force(running) == ["fifo", "fifo"]
        child = running.supervisor.executors[1]
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: child.restarts == 1 and child.device is not None, 10, "it is replaced")
        wait_until(lambda: in_force(running) == ["fifo", "fifo"], 10, "it is told the policy")
        assert client.stats()["policy"] == client.policy() == "fifo"


@pytest.mark.parametrize("name", ["fastest", "", 7, None, ["tally"]])
def test_unknown_policies_are_refused(name: object) -> None:
    with Supervised() as running, running.client() as client:
        with pytest.raises(RefusedError, match=r"there is no policy .* use tally, kernel"):
            client.request("policy", policy=name)
        assert client.policy() == "tally"
