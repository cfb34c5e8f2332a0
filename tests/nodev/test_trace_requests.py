"""Who may record, and whose launches: tallyd between the command line and executors."""

from __future__ import annotations

import asyncio
import os

import pytest
from support.supervised import Supervised

from tally.client.protocol import Status
from tally.daemon.supervisor.control import ControlError
from tally.daemon.supervisor.peers import Peer
from tally.errors import RefusedError

OPS = ("trace_start", "trace_read", "trace_stop")


def test_requests_reach_the_device_that_they_name() -> None:
    with Supervised(count=2) as running, running.client() as client:
        asyncio.run_coroutine_threadsafe(
            running.supervisor.executors[1].wait_ready(), running.loop
        ).result(10)
        assert client.trace_start(1) == {"recording": 7}
        assert client.trace_read(1, 7)["records"] == ""
        client.trace_stop(1, 7)
        with pytest.raises(RefusedError, match="device 1: there is no such recording"):
            client.trace_read(1, 8)


@pytest.mark.parametrize("device", [2, -1, "0", None, 1.5, [1]])
def test_there_is_no_such_device(device: object) -> None:
    with Supervised(count=2) as running, running.client() as client:
        for op in OPS:
            with pytest.raises(RefusedError, match=r"there is no device .*: this tallyd has 2"):
                client.request(op, device=device, recording=7)


@pytest.mark.parametrize("op", OPS)
def test_only_the_owner_may_record(op: str) -> None:
    with Supervised() as running:
        requests = running.supervisor._requests
        stranger = Peer(os.geteuid() + 4711, 0, 1)
        answer = requests.answer(stranger, {"op": op, "recording": 7})
        with pytest.raises(ControlError, match="or root, may record") as error:
            asyncio.run_coroutine_threadsafe(answer, running.loop).result(10)
        assert error.value.status == Status.REFUSED
