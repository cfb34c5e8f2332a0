"""How long best-effort work waits after high's last launch, and what past gaps say of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tally.scheduler.core import Scheduler
from tally.scheduler.instructions import SetTimer, Start

from .steps import GUARDED, HIGH, LIMITS, LONG, LOW, SHORT, US, Checked, make


def serve(s: Checked | Scheduler, at: int, gaps: list[int], busy: int = 100 * US) -> int:
    """High works for `busy` ns before each of these gaps and after the last: when it has gone."""
    for gap in [*gaps, 0]:
        s.launch(at, 0, 0, 0, 1, SHORT)
        s.finished(at + busy, 0, 0, 1)
        at += busy + gap
    return at


def wait_from(s: Checked, at: int, stop: int = 20 * US) -> int:
    """How long a guarded launch that takes `stop` ns to stop then waits."""
    out = s.launch(at, 10, 10, 1, 100, replace(LONG, stop_ns=stop))
    waited = 0
    while isinstance(out[0], SetTimer):
        waited = out[0].time_ns - at
        out = s.timer(out[0].time_ns)
    assert out == [Start(1, 0, 100, 0, GUARDED)]
    return waited


def wait_after(gaps: list[int], busy: int = 100 * US, stop: int = 20 * US, permil: int = 20) -> int:
    s = make(limits=replace(LIMITS, stops_permil_max=permil))
    return wait_from(s, serve(s, 0, gaps, busy), stop)


def test_best_effort_work_waits_out_gaps_that_are_short_and_many() -> None:
    chatty = [*[60 * US] * 20, 5000 * US] * 4
    over_60us = 65_536  # where a bucket of the histogram ends
    assert wait_after(chatty) == over_60us
    # To stop takes up to 30 us, the bound; short gaps are used once that is 2% of high's time.
    assert wait_after(chatty, busy=1300 * US) == over_60us
    assert wait_after(chatty, busy=1600 * US) == 0
    # What takes longer to stop costs more.
    assert wait_after(chatty, busy=1600 * US, stop=40 * US) == over_60us
    assert wait_after(chatty, permil=500) == 0
    assert wait_after(chatty, busy=5000 * US, permil=0) == over_60us


def test_long_gaps_are_used_whatever_a_stop_costs() -> None:
    assert wait_after([500 * US] * 20) == 0  # the longest wait there is
    assert wait_after([60 * US, 600 * US] * 20) == 65_536
    assert wait_after([60 * US, 600 * US] * 20, stop=1000 * US) == 65_536
    assert wait_after([5000 * US] * 20, permil=0) == 0


def test_of_gaps_that_are_all_short_and_alike_a_share_is_used() -> None:
    waits = [wait_after([400 * US] * count, busy=30 * US) for count in range(50, 150)]
    assert set(waits) == {0, 458_752}
    # (30 + 393) us of time for each, as the histogram has them, and 2% of that over 30 us.
    assert abs(waits.count(0) - 28) <= 2


def test_without_enough_gaps_the_wait_is_the_one_that_is_set() -> None:
    assert wait_after([60 * US] * 15) == 50 * US
    assert wait_after([60 * US] * 15, stop=200 * US) == 200 * US
    assert wait_after([60 * US] * 15, stop=900 * US) == 500 * US


def test_a_few_long_gaps_do_not_keep_best_effort_work_out_of_all_others() -> None:
    for first, used in ((5000 * US, 27), (40_000 * US, 0)):
        # The share of the short gaps that 2% of high's time pays for holds 11 to 21 ms in all.
        waits = [wait_after([first, *[400 * US] * n], busy=30 * US) for n in range(100, 200)]
        assert set(waits) == ({0, 458_752} if used else {458_752})
        assert abs(waits.count(0) - used) <= 2


def starts_in(gap: int, busy: int, count: int, stop: int) -> int:
    """In how many of so many gaps a guarded launch starts, to be stopped at each one's end."""
    s = Scheduler("tally", limits=LIMITS)
    s.open(0, 0, HIGH)
    s.open(0, 10, LOW)
    s.launch(1, 0, 0, 0, 1, SHORT)
    s.launch(1, 10, 10, 1, 100, replace(LONG, stop_ns=stop))
    at, starts, timer = 1, 0, None
    for _ in range(count):
        out = s.finished(at + busy, 0, 0, 1)
        at += busy + gap
        timer = next((i.time_ns for i in out if isinstance(i, SetTimer)), timer)
        if timer is not None and timer <= at:
            out += s.timer(timer)
            timer = next((i.time_ns for i in out if isinstance(i, SetTimer)), None)
        s.launch(at, 0, 0, 0, 1, SHORT)
        if any(isinstance(i, Start) for i in out):
            starts += 1
            s.preempted(at, 1, 0, 0)
    s.validate()
    return starts


def test_stops_in_short_gaps_cost_high_the_share_that_is_set() -> None:
    for stop in (30 * US, 200 * US):
        share = starts_in(400 * US, 100 * US, 6000, stop) * stop / (6000 * 500 * US)
        assert 0.018 <= share <= 0.022


def test_work_that_takes_very_long_to_stop_has_its_share_of_short_gaps_too() -> None:
    # 2% of 500 us in each: enough for one stop in 5000 gaps, more than are remembered.
    assert 2 <= starts_in(400 * US, 100 * US, 20_000, 50_000 * US) <= 5


def test_limits_count_at_once_in_the_gap_that_is_on() -> None:
    learned = [*[300 * US] * 20, 5000 * US]
    for gaps, limits in (
        ([], replace(LIMITS, hysteresis_ns=5 * US)),
        (learned, replace(LIMITS, stops_permil_max=1000)),
        (learned, replace(LIMITS, gap_wait_ns_max=10 * US, hysteresis_ns=10 * US)),
    ):
        s = make()
        at = serve(s, 0, gaps)
        assert isinstance(s.launch(at, 10, 10, 1, 100, LONG)[0], SetTimer)
        assert s.set_limits(at + 20 * US, limits) == [Start(1, 0, 100, 0, GUARDED)]


def test_the_wait_is_for_the_bound_that_counts_now() -> None:
    s = make(low=0, limits=replace(LIMITS, alone_ns_max=50_000 * US))
    at = serve(s, 0, [*[60 * US] * 20, 5000 * US] * 4, busy=1600 * US)
    s.open(at, 10, LOW)
    assert wait_from(s, at) == 0  # in 50 ms, which counted while high was alone, it would not be


def test_what_was_learned_under_another_policy_is_forgotten() -> None:
    gaps = [*[60 * US] * 20, 5000 * US] * 4
    for policy in ("fifo", "timeslice", "kernel"):
        s = make(policy)
        at = serve(s, 0, gaps, busy=1600 * US)  # as best-effort work was in its way
        s.set_policy(at, "tally")
        assert wait_from(s, serve(s, at + 60 * US, gaps[:14])) == LIMITS.hysteresis_ns
    s = make()
    at = serve(s, 0, gaps, busy=1600 * US)
    s.set_policy(at, "tally")
    assert wait_from(s, at) == 0


@given(
    gaps=st.lists(st.sampled_from([0, 1, US, 60 * US, 400 * US, 900 * US, 10**17]), max_size=80),
    busy=st.sampled_from([0, 1, 100 * US, 10**15]),
    stop=st.sampled_from([1, 30 * US, 900 * US, 10**15]),
    permil=st.sampled_from([0, 1, 20, 1000]),
    hysteresis=st.sampled_from([0, 50 * US, 2**50 - 1]),
    longest=st.sampled_from([0, 500 * US, 2**50 - 1]),
)
def test_no_wait_is_longer_than_the_longest(
    gaps: list[int], busy: int, stop: int, permil: int, hysteresis: int, longest: int
) -> None:
    limits = replace(
        LIMITS, hysteresis_ns=hysteresis, gap_wait_ns_max=longest, stops_permil_max=permil
    )
    s = make(limits=limits)
    assert wait_from(s, serve(s, 1, gaps, busy), stop) <= max(hysteresis, longest)
