"""Best-effort work beside a service that computes between its launches."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.daemon import Daemon, wait_until
from support.jobs import Service, Worker
from support.toolchain import Builder

pytestmark = pytest.mark.timeout(180)

REQUESTS, PAUSES = 5, 20  # of each request; each far shorter than the longest wait of 1 ms


def stops_per_pause(daemon: Daemon, builder: Builder, service: Service) -> float | None:
    """How often a launch is stopped that outlasts some requests; None: it does not. It stops once
    for each gap it has started in."""
    worker = Worker(daemon, builder, blocks=1000, seconds=0.001)
    worker.launch()
    wait_until(lambda: worker.counter("starts") > 0, 5, "the launch starts")
    before = worker.counter("preemptions")
    for _ in range(REQUESTS):
        service.talk(PAUSES)
    stops = worker.counter("preemptions") - before
    lasted = worker.process.poll() is None
    worker.kill()
    return stops / (REQUESTS * PAUSES) if lasted else None


def reach(wanted: Callable[[float], bool], builder: Builder, *flags: str) -> None:
    """Serve requests until as many of 100 pauses are used as is wanted: far from what the other
    decision would give. It takes some until enough is learned, and until other processes have made
    few of the pauses long."""
    with Daemon("--soft-workers", "2", *flags) as daemon, Service(daemon, builder) as service:
        seen: list[float | None] = []
        deadline_s = time.monotonic() + 90
        while not seen or seen[-1] is None or not wanted(seen[-1]):
            assert time.monotonic() < deadline_s, f"stops per pause: {seen}"
            seen.append(stops_per_pause(daemon, builder, service))


def test_short_pauses_of_a_service_are_left_alone(builder: Builder) -> None:
    # A stop counts as 1 ms, and 2% of the time pays for one in 12 pauses; one more in each request.
    reach(lambda stops: stops < 0.25, builder)


def test_all_pauses_are_used_where_the_service_may_pay_for_it(builder: Builder) -> None:
    reach(lambda stops: stops > 0.75, builder, "--stops-percent-max", "100")
