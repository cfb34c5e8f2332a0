/* Statistics of a session: counters and histograms of fixed size, cheap enough to be always on.
 * Many threads add (relaxed atomics: each number is right, a snapshot of several may straddle an
 * update). */
#ifndef TALLY_ENGINE_STATS_H
#define TALLY_ENGINE_STATS_H

#include <stdint.h>

struct tally_sched_histogram;

#define TALLY_HISTOGRAM_BUCKETS 256u
/* Of the buckets' geometry; the last one holds all beyond ~36 minutes. */
#define TALLY_HISTOGRAM_UNIT_NS 128u

/* Eight buckets per power of two: a value is known to 12.5%. Histograms merge by addition. */
struct tally_histogram {
    uint64_t count, sum_ns, max_ns;
    uint64_t buckets[TALLY_HISTOGRAM_BUCKETS];
};

/* Every counter: its number, its name in JSON and metrics, whether it only grows (COUNTER) or is an
 * amount held now or its peak (GAUGE), and what it says to people. A new one is a row here, and the
 * code that counts. */
/* clang-format off */
#define TALLY_COUNTER_ROWS(ROW) \
    ROW(OPS, "ops", COUNTER, "driver calls that reached the executor") \
    ROW(LAUNCHES, "launches", COUNTER, "kernel launches") \
    ROW(BLOCKS, "blocks", COUNTER, "thread blocks that ran; known on softgpu only") \
    ROW(TIMED_LAUNCHES, "timed_launches", COUNTER, "launches whose device time was measured") \
    ROW(DEVICE_NS, "device_ns", COUNTER, \
        "nanoseconds from first block's start to last block's end, of the timed launches") \
    ROW(BUSY_NS, "busy_ns", COUNTER, \
        "nanoseconds of softgpu's workers, summed over them, of the timed launches") \
    ROW(BYTES_TO_DEVICE, "bytes_to_device", COUNTER, "bytes copied from host to device") \
    ROW(BYTES_TO_HOST, "bytes_to_host", COUNTER, "bytes copied from device to host") \
    ROW(BYTES_ON_DEVICE, "bytes_on_device", COUNTER, "bytes copied from device to device") \
    ROW(BYTES_SET, "bytes_set", COUNTER, "bytes filled by memsets") \
    ROW(MODULES, "modules", COUNTER, "modules of code that were loaded") \
    ROW(ERRORS, "errors", COUNTER, "driver calls that failed") \
    ROW(UNSUPPORTED, "unsupported", COUNTER, \
        "driver calls that the driver or the executor does not know") \
    ROW(REWRITES, "rewrites", COUNTER, \
        "modules whose kernels have forms that can be stopped or sliced") \
    ROW(REWRITES_REFUSED, "rewrites_refused", COUNTER, \
        "modules that the driver took only as they came: their kernels run whole") \
    ROW(REWRITES_IMPOSSIBLE, "rewrites_impossible", COUNTER, \
        "modules in which nothing could be rewritten: their kernels run whole") \
    ROW(LAUNCHES_STOPPABLE, "launches_stoppable", COUNTER, \
        "best-effort launches of kernels that a block's end can stop") \
    ROW(STOPPABLE_NS, "stoppable_ns", COUNTER, \
        "nanoseconds of their device time, to be held against scheduled_ns") \
    ROW(STARTS, "starts", COUNTER, \
        "times that a launch went to the device: whole, as slices, or to go on") \
    ROW(PREEMPTIONS, "preemptions", COUNTER, \
        "launches that were stopped before all their blocks had run") \
    ROW(WAITED_NS, "waited_ns", COUNTER, \
        "nanoseconds from launches' arrival to their first start") \
    ROW(SCHEDULED_NS, "scheduled_ns", COUNTER, \
        "nanoseconds of device time by the scheduler's books") \
    ROW(OUTPUT_LOST_BYTES, "output_lost_bytes", COUNTER, \
        "bytes of kernels' printf that did not fit into the buffer") \
    ROW(MEMORY_BYTES, "memory_bytes", GAUGE, "bytes of device memory that are allocated now") \
    ROW(MEMORY_PEAK_BYTES, "memory_peak_bytes", GAUGE, \
        "the most bytes of device memory at a time; added over processes") \
    ROW(PINNED_BYTES, "pinned_bytes", GAUGE, \
        "bytes of pinned host memory that are allocated now") \
    ROW(WAITING_NS, "waiting_ns", GAUGE, \
        "nanoseconds that the launch which is held back now has waited for its turn")
/* clang-format on */

enum tally_counter {
#define ROW(number, name, kind, text) TALLY_COUNT_##number,
    TALLY_COUNTER_ROWS(ROW)
#undef ROW
        TALLY_COUNTERS,
};

/* Every histogram of times: its number, its name and what it says. */
/* clang-format off */
#define TALLY_TIMING_ROWS(ROW) \
    ROW(QUEUE_DELAY, "queue_delay", \
        "nanoseconds from a launch's arrival until its first block runs") \
    ROW(DEVICE, "device_time", \
        "nanoseconds from a launch's first block's start to its last block's end") \
    ROW(REQUEST, "request_latency", \
        "nanoseconds from the first call after idleness until its wait returns") \
    ROW(TURNAROUND, "turnaround", \
        "nanoseconds that best-effort work was in the way of high launches that met some")
/* clang-format on */

enum tally_timing {
#define ROW(number, name, text) TALLY_TIME_##number,
    TALLY_TIMING_ROWS(ROW)
#undef ROW
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
void tally_histogram_take(struct tally_histogram *histogram,
                          const struct tally_sched_histogram *from);
/* Smallest value that falls into the bucket, in ns. */
uint64_t tally_histogram_floor_ns(uint32_t bucket);

/* Names, and what they say, in the order of the enums; NULL beyond. */
const char *tally_counter_name(uint32_t counter);
const char *tally_counter_text(uint32_t counter);
uint32_t tally_counter_is_gauge(uint32_t counter);
const char *tally_timing_name(uint32_t timing);
const char *tally_timing_text(uint32_t timing);

static inline void tally_stats_add(struct tally_session_stats *stats, enum tally_counter counter,
                                   uint64_t amount)
{
    __atomic_fetch_add(&stats->counters[counter], amount, __ATOMIC_RELAXED);
}

static inline void tally_stats_set(struct tally_session_stats *stats, enum tally_counter counter,
                                   uint64_t value)
{
    __atomic_store_n(&stats->counters[counter], value, __ATOMIC_RELAXED);
}

void tally_stats_read(const struct tally_session_stats *stats, struct tally_session_stats *out);

#endif
