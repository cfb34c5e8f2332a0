/* High's gaps, and how long best-effort work should wait in one before it starts.
 *
 * What starts in a gap delays high at the gap's end, by the time that it takes to stop. A
 * service that computes on the CPU between its launches has many short gaps and a few long ones.
 * Starting in each short gap would cost the service much and give best-effort work little. So
 * the lengths of past gaps are kept.
 *
 * Stops may cost a share of high's time. Short gaps count as high's time: they are a part of its
 * requests. The share pays for all gaps that are long in comparison with a stop, and for the
 * longest of the others. The wait is what tells these from shorter ones. Among gaps of one
 * length, as many are used as the share pays for, if together they are longer than all longer
 * gaps. So best-effort work does not wait for ever beside a service whose gaps are all short,
 * unless the share is 0. */
#include "gaps.h"

#include "state.h"

#define FINEST_SHIFT 10u /* gaps below 1 us are alike */
#define KNOWN 16u        /* gaps before their lengths say anything */
#define FORGET 4096u     /* gaps after which the old ones count half */
#define PERMIL 1000u

/* Four buckets per power of two. */
static uint32_t bucket_of(uint64_t gap_ns)
{
    if (gap_ns >> FINEST_SHIFT == 0)
        return 0;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(gap_ns);
    uint32_t bucket =
        1 + (exponent - FINEST_SHIFT) * 4 + (uint32_t)((gap_ns >> (exponent - 2)) & 3);
    return bucket < GAP_BUCKETS ? bucket : GAP_BUCKETS - 1;
}

static uint64_t least_ns_of(uint32_t bucket)
{
    if (bucket == 0)
        return 0;
    uint32_t exponent = (bucket - 1) / 4 + FINEST_SHIFT;
    return (UINT64_C(4) + (bucket - 1) % 4) << (exponent - 2);
}

static void forget_half(struct gaps *gaps)
{
    gaps->count = 0;
    for (uint32_t i = 0; i < GAP_BUCKETS; i++)
        gaps->count += gaps->counts[i] /= 2;
    gaps->busy_ns /= 2;
}

/* The wait without much history: the configured time. What is over the bound waits until the gap
 * has lasted as long as its stop takes. Gaps are heavy-tailed: a gap that has been long will be
 * longer. */
static uint64_t guess(const struct tally_sched *s, uint64_t stop_ns)
{
    uint64_t wait_ns = s->limits.hysteresis_ns;
    if (stop_ns <= tally_sched_bound(s))
        return wait_ns;
    if (stop_ns > s->limits.gap_wait_ns_max)
        stop_ns = s->limits.gap_wait_ns_max;
    return stop_ns > wait_ns ? stop_ns : wait_ns;
}

/* Whether this gap is used, if `some` of `all` are to be. Multiples of the golden ratio spread
 * the used ones evenly, also where the two numbers change from gap to gap. However few are used,
 * one of the next gaps is. */
static bool has_turn(const struct gaps *gaps, uint64_t some, uint64_t all)
{
    uint64_t point = (gaps->number * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
    return (unsigned __int128)point * all < (unsigned __int128)some << 32;
}

/* Whether as many gaps of this length as the remaining time pays for are together longer than
 * all longer gaps. */
static bool gives_more(uint64_t long_ns, uint64_t left_ns, uint64_t gap_ns, uint64_t stop_ns)
{
    return (unsigned __int128)left_ns * gap_ns >= (unsigned __int128)long_ns * stop_ns;
}

uint64_t tally_sched_weigh_gap(const struct tally_sched *s, uint64_t stop_ns)
{
    const struct gaps *gaps = &s->gaps;
    if (gaps->count < KNOWN)
        return guess(s, stop_ns);
    uint64_t permil = s->limits.stops_permil_max, longest_ns = s->limits.gap_wait_ns_max;
    if (stop_ns < longest_ns * permil / PERMIL)
        longest_ns = stop_ns * PERMIL / permil; /* pays for itself */
    uint32_t bucket = bucket_of(longest_ns);
    uint64_t short_ns = 0, long_ns = 0, cost_ns = 0;
    for (uint32_t i = 0; i < bucket; i++)
        short_ns += gaps->counts[i] * least_ns_of(i);
    for (uint32_t i = bucket; i < GAP_BUCKETS; i++) {
        long_ns += gaps->counts[i] * least_ns_of(i);
        cost_ns += gaps->counts[i] * stop_ns;
    }
    uint64_t left_ns = (gaps->busy_ns + short_ns) / PERMIL * permil;
    left_ns = left_ns > cost_ns ? left_ns - cost_ns : 0;
    for (; bucket > 0; bucket--) {
        uint64_t these = gaps->counts[bucket - 1], gap_ns = least_ns_of(bucket - 1);
        if (these * stop_ns > left_ns && (!gives_more(long_ns, left_ns, gap_ns, stop_ns) ||
                                          !has_turn(gaps, left_ns, these * stop_ns)))
            break;
        left_ns -= these * stop_ns < left_ns ? these * stop_ns : left_ns;
        long_ns += these * gap_ns;
    }
    return least_ns_of(bucket);
}

uint64_t tally_sched_gap_wait(struct tally_sched *s, uint64_t stop_ns)
{
    struct gaps *gaps = &s->gaps;
    uint64_t bound_ns = tally_sched_bound(s);
    if (stop_ns > bound_ns)
        return tally_sched_weigh_gap(s, stop_ns);
    if (gaps->bound_ns != bound_ns) {
        gaps->wait_ns = tally_sched_weigh_gap(s, bound_ns);
        gaps->bound_ns = bound_ns;
    }
    return gaps->wait_ns;
}

void tally_sched_high_came(struct tally_sched *s)
{
    struct gaps *gaps = &s->gaps;
    gaps->busy_since_ns = s->now_ns;
    gaps->number++;
    if (s->high_idle_ns == 0)
        return;
    gaps->counts[bucket_of(s->now_ns - s->high_idle_ns)]++;
    if (++gaps->count >= FORGET)
        forget_half(gaps);
}

void tally_sched_high_went(struct tally_sched *s)
{
    s->gaps.busy_ns += s->now_ns - s->gaps.busy_since_ns;
    s->gaps.bound_ns = 0;
    s->high_idle_ns = s->now_ns;
}

void tally_sched_forget_gaps(struct tally_sched *s)
{
    bool busy = s->sums[TALLY_SCHED_HIGH].outstanding > 0;
    uint64_t since_ns = busy ? s->now_ns : s->gaps.busy_since_ns;
    s->gaps = (struct gaps){.number = s->gaps.number, .busy_since_ns = since_ns};
}
