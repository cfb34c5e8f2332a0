/* The floor: the share of the time that best-effort work gets at least, also beside high work
 * that never pauses.
 *
 * Best-effort work earns credit while it has something to do, and spends credit while some of it
 * is with the device. While high is busy it may start once it has saved a quantum, and is
 * stopped when no credit is left. What it gets in high's gaps it spends too, but debt from gaps
 * is bounded: the share is meant for times without gaps. */
#include "floor.h"

#include "launches.h"
#include "state.h"

#define PERMIL 1000u
#define DEBT_QUANTA 10 /* most that is owed for what ran while high was idle */

static bool is_busy(const struct tally_sched *s)
{
    return s->sums[TALLY_SCHED_HIGH].outstanding > 0;
}

void tally_sched_floor_time(struct tally_sched *s, uint64_t now_ns)
{
    struct floor *floor = &s->floor;
    const struct class_sums *best_effort = &s->sums[TALLY_SCHED_BEST_EFFORT];
    uint64_t permil = s->limits.best_effort_permil_min;
    int64_t quantum_ns = (int64_t)s->limits.quantum_ns;
    if (permil == 0 || now_ns <= s->now_ns || best_effort->outstanding == 0)
        return;
    uint64_t passed_ns = now_ns - s->now_ns, most_ns = UINT64_C(1) << 50;
    if (passed_ns > most_ns)
        passed_ns = most_ns;
    uint64_t parts = passed_ns * permil + floor->parts;
    floor->credit_ns += (int64_t)(parts / PERMIL);
    floor->parts = (uint32_t)(parts % PERMIL);
    if (best_effort->starts > 0) {
        int64_t least_ns = is_busy(s) ? -(int64_t)most_ns : -DEBT_QUANTA * quantum_ns;
        if (least_ns > floor->credit_ns)
            least_ns = floor->credit_ns;
        floor->credit_ns -= (int64_t)passed_ns;
        if (floor->credit_ns < least_ns)
            floor->credit_ns = least_ns;
    }
    if (floor->credit_ns > quantum_ns)
        floor->credit_ns = quantum_ns;
}

/* The time in which this credit is earned, or spent, at this many thousandths of it. */
static uint64_t steps(uint64_t credit_ns, uint64_t permil)
{
    return (uint64_t)(((unsigned __int128)credit_ns * PERMIL + permil - 1) / permil);
}

bool tally_sched_floor_open(struct tally_sched *s)
{
    struct floor *floor = &s->floor;
    uint64_t permil = s->limits.best_effort_permil_min;
    const struct class_sums *best_effort = &s->sums[TALLY_SCHED_BEST_EFFORT];
    if (!is_busy(s) || permil == 0 || best_effort->outstanding == 0) {
        floor->open = false;
        return false;
    }
    int64_t quantum_ns = (int64_t)s->limits.quantum_ns;
    floor->open = floor->open ? floor->credit_ns > 0 : floor->credit_ns >= quantum_ns;
    if (floor->open && permil < PERMIL)
        tally_sched_wish(s, s->now_ns + steps((uint64_t)floor->credit_ns, PERMIL - permil));
    if (!floor->open)
        tally_sched_wish(s, s->now_ns + steps((uint64_t)(quantum_ns - floor->credit_ns), permil));
    return floor->open;
}
