/* Log-scaled histograms of fixed size: eight buckets per power of two, so a value is known
 * to 12.5%. */
#include "histogram.h"

#include "state.h"

static uint32_t bucket_of(uint64_t value)
{
    if (value < 8)
        return (uint32_t)value;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value);
    uint32_t bucket = (exponent - 2) * 8 + (uint32_t)((value >> (exponent - 3)) & 7);
    return bucket < TALLY_SCHED_BUCKETS ? bucket : TALLY_SCHED_BUCKETS - 1;
}

uint64_t tally_sched_bucket_floor(uint32_t bucket)
{
    if (bucket < 8)
        return bucket;
    uint32_t exponent = bucket / 8 + 2;
    return (UINT64_C(8) + bucket % 8) << (exponent - 3);
}

void tally_sched_histogram_add(struct tally_sched_histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->buckets[bucket_of(value)]++;
}
