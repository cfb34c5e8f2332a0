#include "tally/rates.h"

#include "tally/assert.h"

/* Before anything is known: a slow bus, a slow memory. */
#define HOST_PS_PER_BYTE 100u  /* 10 GB/s */
#define DEVICE_PS_PER_BYTE 10u /* 100 GB/s */
#define PS_PER_BYTE_MAX 1000000u
#define PS_PER_NS 1000u
#define TIME_TOP (UINT64_C(1) << 49)
/* Of what is smaller, the time is latency, and says nothing of the rate. */
#define MEASURED_BYTES_MIN (64u << 10)

void tally_rates_init(struct tally_rates *rates)
{
    *rates = (struct tally_rates){
        {HOST_PS_PER_BYTE, HOST_PS_PER_BYTE, DEVICE_PS_PER_BYTE, DEVICE_PS_PER_BYTE}, {false}};
}

void tally_rates_measure(struct tally_rates *rates, enum tally_transfer_kind kind, uint64_t bytes,
                         uint64_t ns)
{
    TALLY_ASSERT((uint32_t)kind < TALLY_TRANSFER_KINDS);
    if (bytes < MEASURED_BYTES_MIN || ns == 0 || ns >= TIME_TOP)
        return;
    uint64_t old = rates->ps_per_byte[kind];
    uint64_t now = (uint64_t)((unsigned __int128)ns * PS_PER_NS / bytes);
    now = now < 1 ? 1 : now > PS_PER_BYTE_MAX ? PS_PER_BYTE_MAX : now;
    if (!rates->measured[kind])
        rates->ps_per_byte[kind] = now;
    else
        rates->ps_per_byte[kind] = now > old ? old + (now - old + 7) / 8 : old - (old - now) / 8;
    rates->measured[kind] = true;
}

uint64_t tally_rates_estimate(const struct tally_rates *rates, enum tally_transfer_kind kind,
                              uint64_t bytes)
{
    TALLY_ASSERT((uint32_t)kind < TALLY_TRANSFER_KINDS);
    unsigned __int128 ns = (unsigned __int128)bytes * rates->ps_per_byte[kind] / PS_PER_NS;
    return ns < 1 ? 1 : ns < TIME_TOP ? (uint64_t)ns : TIME_TOP - 1;
}

void tally_rates_plan(const struct tally_rates *rates, enum tally_transfer_kind kind,
                      uint64_t bytes, uint32_t blocks, uint64_t bound_ns,
                      struct tally_sched_plan *plan)
{
    TALLY_ASSERT(blocks > 0);
    uint64_t whole_ns = tally_rates_estimate(rates, kind, bytes);
    *plan = (struct tally_sched_plan){.kind = TALLY_SCHED_WHOLE, .whole_ns = whole_ns};
    if (whole_ns <= bound_ns || blocks == 1)
        return;
    uint64_t part = bytes / blocks > 0 ? bytes / blocks : 1;
    uint64_t slice = (uint64_t)((unsigned __int128)bytes * (bound_ns / 2) / whole_ns);
    if (slice < TALLY_TRANSFER_PIECE_BYTES)
        slice = TALLY_TRANSFER_PIECE_BYTES;
    uint64_t some = slice / part > 0 ? slice / part : 1;
    if (some >= blocks)
        return;
    plan->kind = TALLY_SCHED_SLICED;
    plan->slice_blocks = (uint32_t)some;
    plan->slice_ns = tally_rates_estimate(rates, kind, some * part);
}
