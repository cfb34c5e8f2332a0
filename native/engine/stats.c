#include "engine/stats.h"

#include "tally/sched.h"

#include <stdbool.h>
#include <stddef.h>

enum kind { COUNTER, GAUGE };

struct row {
    const char *name, *text;
    enum kind kind;
};

#define COUNTER_ROW(number, name, kind, text) {name, text, kind},
static const struct row counters[] = {TALLY_COUNTER_ROWS(COUNTER_ROW)};

#define TIMING_ROW(number, name, text) {name, text, COUNTER},
static const struct row timings[] = {TALLY_TIMING_ROWS(TIMING_ROW)};

const char *tally_counter_name(uint32_t counter)
{
    return counter < TALLY_COUNTERS ? counters[counter].name : NULL;
}

const char *tally_counter_text(uint32_t counter)
{
    return counter < TALLY_COUNTERS ? counters[counter].text : NULL;
}

uint32_t tally_counter_is_gauge(uint32_t counter)
{
    return counter < TALLY_COUNTERS && counters[counter].kind == GAUGE;
}

const char *tally_timing_name(uint32_t timing)
{
    return timing < TALLY_TIMINGS ? timings[timing].name : NULL;
}

const char *tally_timing_text(uint32_t timing)
{
    return timing < TALLY_TIMINGS ? timings[timing].text : NULL;
}

/* Below eight units a bucket is one unit; above, the three bits behind the leading one choose it.
 */
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

void tally_histogram_take(struct tally_histogram *histogram,
                          const struct tally_sched_histogram *from)
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
