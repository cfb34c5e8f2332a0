#include "engine/stats.h"

#include "tally/sched.h"

#include <stdbool.h>
#include <stddef.h>

static const char *const counter_names[TALLY_COUNTERS] = {
    [TALLY_COUNT_OPS] = "ops",
    [TALLY_COUNT_LAUNCHES] = "launches",
    [TALLY_COUNT_BLOCKS] = "blocks",
    [TALLY_COUNT_TIMED_LAUNCHES] = "timed_launches",
    [TALLY_COUNT_DEVICE_NS] = "device_ns",
    [TALLY_COUNT_BUSY_NS] = "busy_ns",
    [TALLY_COUNT_BYTES_TO_DEVICE] = "bytes_to_device",
    [TALLY_COUNT_BYTES_TO_HOST] = "bytes_to_host",
    [TALLY_COUNT_BYTES_ON_DEVICE] = "bytes_on_device",
    [TALLY_COUNT_BYTES_SET] = "bytes_set",
    [TALLY_COUNT_MODULES] = "modules",
    [TALLY_COUNT_ERRORS] = "errors",
    [TALLY_COUNT_UNSUPPORTED] = "unsupported",
    [TALLY_COUNT_REWRITES] = "rewrites",
    [TALLY_COUNT_REWRITES_REFUSED] = "rewrites_refused",
    [TALLY_COUNT_REWRITES_IMPOSSIBLE] = "rewrites_impossible",
    [TALLY_COUNT_LAUNCHES_STOPPABLE] = "launches_stoppable",
    [TALLY_COUNT_STOPPABLE_NS] = "stoppable_ns",
    [TALLY_COUNT_STARTS] = "starts",
    [TALLY_COUNT_PREEMPTIONS] = "preemptions",
    [TALLY_COUNT_WAITED_NS] = "waited_ns",
    [TALLY_COUNT_SCHEDULED_NS] = "scheduled_ns",
    [TALLY_COUNT_OUTPUT_LOST_BYTES] = "output_lost_bytes",
    [TALLY_COUNT_MEMORY_BYTES] = "memory_bytes",
    [TALLY_COUNT_MEMORY_PEAK_BYTES] = "memory_peak_bytes",
    [TALLY_COUNT_PINNED_BYTES] = "pinned_bytes",
    [TALLY_COUNT_WAITING_NS] = "waiting_ns",
};

static const char *const timing_names[TALLY_TIMINGS] = {
    [TALLY_TIME_QUEUE_DELAY] = "queue_delay",
    [TALLY_TIME_DEVICE] = "device_time",
    [TALLY_TIME_REQUEST] = "request_latency",
    [TALLY_TIME_TURNAROUND] = "turnaround",
};

const char *tally_counter_name(uint32_t counter)
{
    return counter < TALLY_COUNTERS ? counter_names[counter] : NULL;
}

const char *tally_timing_name(uint32_t timing)
{
    return timing < TALLY_TIMINGS ? timing_names[timing] : NULL;
}

/* Below eight units a bucket is one unit; above, the three bits behind the leading one choose it. */
static uint32_t bucket_of(uint64_t value_ns)
{
    uint64_t units = value_ns / TALLY_HISTOGRAM_UNIT_NS;
    if (units < 8)
        return (uint32_t)units;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(units);
    uint32_t bucket = 8u * (octave - 2u) + (uint32_t)((units >> (octave - 3u)) & 7u);
    return bucket < TALLY_HISTOGRAM_BUCKETS ? bucket : TALLY_HISTOGRAM_BUCKETS - 1u;
}

uint64_t tally_histogram_floor_ns(uint32_t bucket)
{
    if (bucket < 8)
        return (uint64_t)bucket * TALLY_HISTOGRAM_UNIT_NS;
    uint32_t octave = bucket / 8u + 2u;
    return ((8ull + bucket % 8u) << (octave - 3u)) * TALLY_HISTOGRAM_UNIT_NS;
}

void tally_histogram_add(struct tally_histogram *histogram, uint64_t value_ns)
{
    __atomic_fetch_add(&histogram->count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&histogram->sum_ns, value_ns, __ATOMIC_RELAXED);
    __atomic_fetch_add(&histogram->buckets[bucket_of(value_ns)], 1, __ATOMIC_RELAXED);
    uint64_t max = __atomic_load_n(&histogram->max_ns, __ATOMIC_RELAXED);
    while (value_ns > max && !__atomic_compare_exchange_n(&histogram->max_ns, &max, value_ns, true,
                                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

void tally_histogram_take(struct tally_histogram *histogram, const struct tally_sched_histogram *from)
{
    uint64_t buckets[TALLY_HISTOGRAM_BUCKETS] = {0};
    for (uint32_t i = 0; i < TALLY_SCHED_BUCKETS; i++)
        if (from->buckets[i])
            buckets[bucket_of(tally_sched_bucket_floor(i))] += from->buckets[i];
    for (uint32_t i = 0; i < TALLY_HISTOGRAM_BUCKETS; i++)
        __atomic_store_n(&histogram->buckets[i], buckets[i], __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->count, from->count, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->sum_ns, from->sum, __ATOMIC_RELAXED);
    __atomic_store_n(&histogram->max_ns, from->max, __ATOMIC_RELAXED);
}

static void histogram_read(const struct tally_histogram *histogram, struct tally_histogram *out)
{
    /* Buckets first and the count from them, so that a snapshot never disagrees with itself. */
    out->count = 0;
    for (uint32_t i = 0; i < TALLY_HISTOGRAM_BUCKETS; i++) {
        out->buckets[i] = __atomic_load_n(&histogram->buckets[i], __ATOMIC_RELAXED);
        out->count += out->buckets[i];
    }
    out->sum_ns = __atomic_load_n(&histogram->sum_ns, __ATOMIC_RELAXED);
    out->max_ns = __atomic_load_n(&histogram->max_ns, __ATOMIC_RELAXED);
}

void tally_stats_read(const struct tally_session_stats *stats, struct tally_session_stats *out)
{
    out->session = stats->session;
    out->sticky_error = __atomic_load_n(&stats->sticky_error, __ATOMIC_RELAXED);
    out->reserved = 0;
    for (uint32_t i = 0; i < TALLY_COUNTERS; i++)
        out->counters[i] = __atomic_load_n(&stats->counters[i], __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < TALLY_TIMINGS; i++)
        histogram_read(&stats->timings[i], &out->timings[i]);
}
