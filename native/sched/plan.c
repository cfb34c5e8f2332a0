/* What has been measured of one signature, and the choice of a plan from it. */
#include "tally/plan.h"

#define MEASURED 2u /* runs of a kind before its time counts as known */
#define FIRST_RUNS 3u
#define TIME_TOP (UINT64_C(1) << 48)
#define SLICE_OVERHEAD_NS                                                                          \
    4000u                     /* assumed cost of one more launch until slices have been measured */
#define SLICE_PERMIL_MAX 800u /* of the whole kernel's time: a slice that takes longer is none */
#define GUARD_PERMIL 20u      /* assumed cost of the guard until both ways have been measured */

/* Follows changes within some ten runs, and one slow run does not decide. The first runs of a
 * kernel pay for what comes once (code that is loaded, cold caches, clocks): of them the quickest
 * counts. */
static uint64_t smooth(uint64_t old, uint32_t count, uint64_t ns)
{
    if (count < FIRST_RUNS)
        return count == 0 || ns < old ? ns : old;
    uint64_t share = count < 8 ? count + 1 : 8;
    return ns > old ? old + (ns - old) / share : old - (old - ns) / share;
}

/* A guarded run takes no less than a whole one. A whole one of more than twice its time is no
 * accident: with other arguments the kernel takes another time, and what is known of guarded runs
 * is old. They are learned anew. */
static void doubt_guarded(struct tally_plan_record *record, uint64_t whole_ns)
{
    if (whole_ns / 2 <= record->ns[TALLY_PLAN_GUARDED])
        return;
    record->ns[TALLY_PLAN_GUARDED] = 0;
    record->count[TALLY_PLAN_GUARDED] = 0;
}

void tally_plan_note_time(struct tally_plan_record *record, enum tally_plan_measurement what,
                          uint32_t blocks, uint64_t ns)
{
    if (ns >= TIME_TOP)
        ns = TIME_TOP - 1;
    if (what == TALLY_PLAN_STOP) {
        /* A bound is asked for, not a mean: up at once, down slowly. */
        uint64_t old = record->ns[what];
        if (record->count[what] > 0)
            record->error_ns += ns > old ? ns - old : old - ns;
        record->ns[what] = ns > old ? ns : old - (old - ns) / 64;
    } else if (what == TALLY_PLAN_SLICE && blocks != record->slice_blocks) {
        record->slice_blocks = blocks;
        record->count[what] = 0;
        record->ns[what] = ns;
    } else {
        record->ns[what] = smooth(record->ns[what], record->count[what], ns);
        if (what == TALLY_PLAN_WHOLE)
            doubt_guarded(record, ns);
    }
    if (record->count[what] < UINT32_MAX)
        record->count[what]++;
}

bool tally_plan_times_ok(const struct tally_plan_record *record)
{
    for (uint32_t i = 0; i < TALLY_PLAN_MEASUREMENTS; i++)
        if (record->ns[i] >= TIME_TOP || (record->ns[i] == 0) != (record->count[i] == 0))
            return false;
    return true;
}

/* What may be done with its launches. */
static bool can(const struct tally_plan_record *record, uint32_t ability)
{
    return record->abilities & ability && !(record->abilities & TALLY_PLAN_WAITS);
}

struct choice {
    uint64_t cost_ns, stop_ns;
    bool possible;
};

static uint64_t scale(uint64_t ns, uint64_t part, uint64_t all)
{
    return (uint64_t)((unsigned __int128)ns * part / all);
}

/* Time of the whole kernel; a guarded run is an upper bound for it, also where whole runs that were
 * measured long ago took longer. Of what is never guarded any more, only whole runs tell. */
static uint64_t whole_time(const struct tally_plan_record *record)
{
    uint64_t whole_ns = record->ns[TALLY_PLAN_WHOLE], guarded_ns = record->ns[TALLY_PLAN_GUARDED];
    if (record->count[TALLY_PLAN_WHOLE] == 0)
        return guarded_ns;
    if (record->abilities & TALLY_PLAN_WAITS)
        return whole_ns;
    return record->count[TALLY_PLAN_GUARDED] >= FIRST_RUNS && guarded_ns < whole_ns ? guarded_ns
                                                                                    : whole_ns;
}

static struct choice consider_guard(const struct tally_plan_record *record, uint64_t whole_ns)
{
    struct choice choice = {.possible = can(record, TALLY_PLAN_CAN_GUARD)};
    uint64_t guarded_ns = record->ns[TALLY_PLAN_GUARDED];
    if (record->count[TALLY_PLAN_WHOLE] >= MEASURED &&
        record->count[TALLY_PLAN_GUARDED] >= MEASURED)
        choice.cost_ns = guarded_ns > whole_ns ? guarded_ns - whole_ns : 0;
    else
        choice.cost_ns = whole_ns * GUARD_PERMIL / 1000;
    if (record->count[TALLY_PLAN_STOP] > 0) {
        choice.stop_ns = record->ns[TALLY_PLAN_STOP];
    } else if (record->resident >
               0) { /* the blocks that run when the flag goes up: one wave's time */
        uint64_t waves = (record->blocks + (uint64_t)record->resident - 1) / record->resident;
        choice.stop_ns = whole_ns / waves;
    }
    return choice;
}

/* Two slices in flight hide the way back of the first: each may take half of the bound. */
static struct choice consider_slices(const struct tally_plan_record *record, uint64_t whole_ns,
                                     uint64_t bound_ns, struct tally_sched_plan *plan)
{
    struct choice choice = {0};
    if (!can(record, TALLY_PLAN_CAN_SLICE) || record->blocks < 2)
        return choice;
    uint64_t blocks = scale(record->blocks, bound_ns / 2, whole_ns);
    if (record->resident > 0) { /* whole waves: less than one takes as long as one */
        blocks = blocks > record->resident ? blocks - blocks % record->resident : record->resident;
        if (blocks >= record->blocks)
            return choice;
    }
    if (blocks == 0)
        blocks = 1;
    if (blocks >= record->blocks)
        blocks = record->blocks - 1;
    uint64_t slices = (record->blocks + blocks - 1) / blocks,
             slice_ns = scale(whole_ns, blocks, record->blocks);
    uint64_t ideal_ns = scale(whole_ns, blocks, record->blocks), overhead_ns = SLICE_OVERHEAD_NS;
    if (record->count[TALLY_PLAN_SLICE] >= MEASURED && record->slice_blocks == blocks) {
        slice_ns = record->ns[TALLY_PLAN_SLICE];
        overhead_ns = 0;
        if (slice_ns >= scale(whole_ns, SLICE_PERMIL_MAX, 1000))
            return choice; /* no sooner out of the way */
    }
    plan->slice_blocks = (uint32_t)blocks;
    plan->slice_ns = slice_ns ? slice_ns : 1;
    choice.possible = true;
    choice.stop_ns = slice_ns;
    choice.cost_ns = slices * (overhead_ns + (slice_ns > ideal_ns ? slice_ns - ideal_ns : 0));
    return choice;
}

void tally_plan_choose(const struct tally_plan_record *record, uint64_t bound_ns,
                       struct tally_sched_plan *plan)
{
    bool can_guard = can(record, TALLY_PLAN_CAN_GUARD);
    uint64_t whole_ns = whole_time(record);
    *plan = (struct tally_sched_plan){.kind = TALLY_SCHED_WHOLE, .whole_ns = whole_ns};
    if (whole_ns == 0) { /* nothing known: a run that can be stopped is the safe way to learn */
        if (can_guard)
            plan->kind = TALLY_SCHED_PREEMPTIBLE;
        return;
    }
    if (whole_ns <= bound_ns) { /* short kernels need nothing */
        plan->guardable = can_guard;
        return;
    }
    if (can_guard && record->count[TALLY_PLAN_GUARDED] < MEASURED) {
        plan->kind = TALLY_SCHED_PREEMPTIBLE;
        plan->stop_ns = consider_guard(record, whole_ns).stop_ns;
        return;
    }
    struct choice guard = consider_guard(record, whole_ns);
    struct choice slices = consider_slices(record, whole_ns, bound_ns, plan);
    bool guard_fits = guard.possible && guard.stop_ns <= bound_ns;
    bool slices_fit = slices.possible && slices.stop_ns <= bound_ns;
    if (guard_fits && (!slices_fit || guard.cost_ns <= slices.cost_ns)) {
        plan->kind = TALLY_SCHED_PREEMPTIBLE;
    } else if (slices_fit) {
        plan->kind = TALLY_SCHED_SLICED;
    } else if (guard.possible ||
               slices.possible) { /* nothing fits: the next block is the soonest there is */
        plan->kind = guard.possible ? TALLY_SCHED_PREEMPTIBLE : TALLY_SCHED_SLICED;
    }
    if (plan->kind == TALLY_SCHED_PREEMPTIBLE)
        plan->stop_ns = guard.stop_ns;
}
