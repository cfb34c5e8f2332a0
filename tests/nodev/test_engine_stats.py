"""The engine's statistics: the geometry of histograms, quantiles from it, and all have names."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tally._native import ffi, lib
from tally.daemon import job_stats, statistics
from tally.daemon.executor import stats as executor_stats

UNIT_NS = 128
BEYOND_NS = (1 << 63) + 5


def filled(*values_ns: int) -> Any:
    histogram = ffi.new("struct tally_histogram *")
    for value_ns in values_ns:
        lib.tally_histogram_add(histogram, value_ns)
    return histogram


def bucket_of(value_ns: int) -> int:
    histogram = filled(value_ns)  # held: its buckets are a view
    (bucket,) = (index for index, count in enumerate(histogram.buckets) if count)
    return int(bucket)


@given(st.integers(0, 2 * 10**12))
def test_a_value_lies_in_its_bucket(value_ns: int) -> None:
    bucket = bucket_of(value_ns)
    assert lib.tally_histogram_floor_ns(bucket) <= value_ns
    assert value_ns < lib.tally_histogram_floor_ns(bucket + 1)
    width_ns = lib.tally_histogram_floor_ns(bucket + 1) - lib.tally_histogram_floor_ns(bucket)
    assert width_ns <= max(UNIT_NS, value_ns / 8)


def test_the_last_bucket_takes_the_rest() -> None:
    assert bucket_of(BEYOND_NS) == lib.TALLY_HISTOGRAM_BUCKETS - 1
    assert filled(3, BEYOND_NS, 7).max_ns == BEYOND_NS


def test_every_statistic_has_one_name() -> None:
    names = statistics.COUNTER_NAMES + statistics.TIMING_NAMES
    assert len(set(names)) == len(names) == lib.TALLY_COUNTERS + lib.TALLY_TIMINGS
    assert set(statistics.COUNTER_NAMES) >= statistics.GAUGES
    assert not lib.tally_counter_name(lib.TALLY_COUNTERS)


def test_the_schedulers_histogram_is_taken_as_it_is() -> None:
    random = Random(6)
    values = [int(random.lognormvariate(12, 2)) for _ in range(1000)]
    scheduler = ffi.new("struct tally_sched_histogram *")
    pair = ffi.new("struct tally_histogram[2]")
    ours, wanted = pair
    for value in values:
        lib.tally_histogram_add(ffi.addressof(wanted), value)
        bucket = max(
            b for b in range(lib.TALLY_SCHED_BUCKETS) if lib.tally_sched_bucket_floor(b) <= value
        )
        scheduler.buckets[bucket] += 1
    scheduler.count, scheduler.sum, scheduler.max = len(values), sum(values), max(values)
    for _ in range(2):  # what was there before is replaced
        lib.tally_histogram_take(ffi.addressof(ours), scheduler)
        assert (ours.count, ours.sum_ns, ours.max_ns) == (1000, sum(values), max(values))
        assert list(ours.buckets) == list(wanted.buckets)


def test_percentiles_of_what_the_engine_counts() -> None:
    random = Random(5)
    values = sorted(int(random.lognormvariate(12, 1)) for _ in range(5000))
    native = ffi.new("struct tally_session_stats *")
    for value in values:
        lib.tally_histogram_add(ffi.addressof(native.timings[0]), value)
    stats = executor_stats.session_stats(native)
    histogram = stats["histograms"]["queue_delay"]
    assert (histogram["count"], histogram["sum_ns"]) == (5000, sum(values))
    for percent in (50, 95, 99):
        exact = values[5000 * percent // 100 - 1]
        assert abs(job_stats.quantile_ns(histogram, percent) - exact) <= exact / 8 + UNIT_NS
    merged = job_stats.merge([stats, stats])
    assert merged["histograms"]["queue_delay"]["count"] == 10_000
