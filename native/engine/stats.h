/* Statistics of a session: counters and histograms of fixed size, cheap enough to be always on. Many
 * threads add (relaxed atomics: each number is right, a snapshot of several may straddle an update). */
#ifndef TALLY_ENGINE_STATS_H
#define TALLY_ENGINE_STATS_H

#include <stdint.h>

struct tally_sched_histogram;

#define TALLY_HISTOGRAM_BUCKETS 256u
#define TALLY_HISTOGRAM_UNIT_NS 128u /* of the buckets' geometry; the last one holds all beyond ~36 minutes */

/* Eight buckets per power of two: a value is known to 12.5%. Histograms merge by addition. */
struct tally_histogram {
    uint64_t count, sum_ns, max_ns;
    uint64_t buckets[TALLY_HISTOGRAM_BUCKETS];
};

enum tally_counter {
    TALLY_COUNT_OPS = 0,
    TALLY_COUNT_LAUNCHES,
    TALLY_COUNT_BLOCKS,         /* run; known on softgpu only */
    TALLY_COUNT_TIMED_LAUNCHES, /* those whose device time was measured */
    TALLY_COUNT_DEVICE_NS,      /* of the timed launches: first block's start to last block's end */
    TALLY_COUNT_BUSY_NS,        /* of the timed launches: time of the device's workers, summed */
    TALLY_COUNT_BYTES_TO_DEVICE,
    TALLY_COUNT_BYTES_TO_HOST,
    TALLY_COUNT_BYTES_ON_DEVICE,
    TALLY_COUNT_BYTES_SET,
    TALLY_COUNT_MODULES,
    TALLY_COUNT_ERRORS,      /* ops that failed */
    TALLY_COUNT_UNSUPPORTED, /* ops that the driver or the engine does not know */
    TALLY_COUNT_REWRITES,    /* modules whose kernels have rewritten forms */
    TALLY_COUNT_REWRITES_REFUSED, /* modules that the driver took only as they came */
    TALLY_COUNT_REWRITES_IMPOSSIBLE, /* modules that hold nothing which could be rewritten */
    TALLY_COUNT_LAUNCHES_STOPPABLE, /* of best-effort sessions: of kernels that a block's end can stop */
    TALLY_COUNT_STOPPABLE_NS,       /* their device time, to be held against SCHEDULED_NS */
    TALLY_COUNT_STARTS,           /* times that a launch went to the device: whole, slices, resumptions */
    TALLY_COUNT_PREEMPTIONS,      /* launches stopped before all their blocks had run */
    TALLY_COUNT_WAITED_NS,        /* launches: from their arrival to their first start */
    TALLY_COUNT_SCHEDULED_NS,     /* device time by the scheduler's books; of best-effort: harvested */
    TALLY_COUNT_OUTPUT_LOST_BYTES,
    TALLY_COUNT_MEMORY_BYTES, /* allocated now */
    TALLY_COUNT_MEMORY_PEAK_BYTES,
    TALLY_COUNT_PINNED_BYTES,
    TALLY_COUNT_WAITING_NS, /* a gauge: how long the launch that is held back now has waited for its turn */
    TALLY_COUNTERS,
};

enum tally_timing {
    TALLY_TIME_QUEUE_DELAY = 0, /* launch: taken off the socket -> its first block runs */
    TALLY_TIME_DEVICE,          /* launch: first block's start -> last block's end */
    TALLY_TIME_REQUEST,         /* first work after idle -> the blocking wait that returns it to idle */
    TALLY_TIME_TURNAROUND,      /* high launch that met best-effort work -> out of its way; see tally_sched_read_turnaround */
    TALLY_TIMINGS,
};

struct tally_session_stats {
    uint64_t session;
    int32_t sticky_error;
    uint32_t reserved;
    uint64_t counters[TALLY_COUNTERS];
    struct tally_histogram timings[TALLY_TIMINGS];
};

void tally_histogram_add(struct tally_histogram *histogram, uint64_t value_ns);
/* The scheduler's histograms are as fine, from 1 ns on; what is counted anew replaces what was. */
void tally_histogram_take(struct tally_histogram *histogram, const struct tally_sched_histogram *from);
/* Smallest value that falls into the bucket, in ns. */
uint64_t tally_histogram_floor_ns(uint32_t bucket);

/* Names for people and JSON, in the order of the enums; NULL beyond. */
const char *tally_counter_name(uint32_t counter);
const char *tally_timing_name(uint32_t timing);

static inline void tally_stats_add(struct tally_session_stats *stats, enum tally_counter counter, uint64_t amount)
{
    __atomic_fetch_add(&stats->counters[counter], amount, __ATOMIC_RELAXED);
}

static inline void tally_stats_set(struct tally_session_stats *stats, enum tally_counter counter, uint64_t value)
{
    __atomic_store_n(&stats->counters[counter], value, __ATOMIC_RELAXED);
}

void tally_stats_read(const struct tally_session_stats *stats, struct tally_session_stats *out);

#endif
