/* The watchdog over preempted launches.
 *
 * A block may wait for another block that has read the flag and left: such a launch never ends by
 * itself. The detector (scheduler/ptx/spin.py) keeps most of these kernels from being preempted.
 * One that it misses is recognised by the time that it takes. The owner then runs the blocks that
 * have not begun, beside those that wait, and never preempts the kernel again.
 *
 * A preempted launch that has begun needs the device for no longer than its estimate. But blocks
 * that only have to read the flag wait behind high's blocks. So only time without high work counts.
 */
#include "watchdog.h"

#include "launches.h"
#include "state.h"

/* Launches of sessions that have become high since these were told to stop: what they wait for is
 * the watchdog itself. */
static uint32_t stopping_of_high(const struct tally_sched *s)
{
    uint32_t count = 0;
    for (uint32_t at = s->guarded; at != NONE; at = s->launches[at].guarded_next) {
        const struct launch *launch = &s->launches[at];
        count += launch->preempting && s->sessions[launch->session].class_ == TALLY_SCHED_HIGH;
    }
    return count;
}

static bool device_is_clear(const struct tally_sched *s)
{
    const struct class_sums *high = &s->sums[TALLY_SCHED_HIGH];
    /* Where high goes at once, what is outstanding is with the device. */
    uint64_t busy = tally_sched_high_at_once(s) ? high->outstanding : high->starts;
    return busy == 0 || busy == stopping_of_high(s);
}

void tally_sched_watch_time(struct tally_sched *s, uint64_t now_ns)
{
    if (now_ns > s->now_ns && device_is_clear(s))
        s->clear_ns += now_ns - s->now_ns;
}

/* How long a launch that was told to stop may take. */
static uint64_t patience(const struct tally_sched *s, const struct launch *launch)
{
    const struct tally_sched_plan *plan = &launch->plan;
    uint64_t estimate_ns = plan->stop_ns ? plan->stop_ns : plan->whole_ns;
    if (estimate_ns == 0)
        estimate_ns = tally_sched_bound(s);
    unsigned __int128 most_ns = (unsigned __int128)estimate_ns * s->limits.watchdog_times;
    uint64_t least_ns = s->limits.watchdog_ns_min;
    if (most_ns > TALLY_SCHED_NEVER / 4)
        return TALLY_SCHED_NEVER / 4;
    return most_ns > least_ns ? (uint64_t)most_ns : least_ns;
}

/* Whether some block of it may wait for one that has left: a single one that has not run cannot. */
static bool may_wait(const struct launch *launch) { return launch->blocks - launch->done > 1; }

static void rescue(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    struct tally_sched_instruction *out = tally_sched_emit(s, TALLY_SCHED_RESCUE);
    out->launch = index;
    out->session = launch->session;
    launch->rescued = true;
    s->stats.rescues++;
}

void tally_sched_watch(struct tally_sched *s)
{
    if (s->limits.watchdog_times == 0)
        return;
    for (uint32_t at = s->guarded; at != NONE; at = s->launches[at].guarded_next) {
        struct launch *launch = &s->launches[at];
        if (!launch->preempting || launch->rescued || !may_wait(launch))
            continue;
        if (!launch->watched || launch->prev != NONE)
            launch->stopping_ns = s->clear_ns;
        launch->watched = true;
        if (launch->prev != NONE)
            continue; /* it has not begun */
        uint64_t took_ns = s->clear_ns - launch->stopping_ns, patience_ns = patience(s, launch);
        if (took_ns >= patience_ns) {
            if (tally_sched_out_full(s))
                return;
            rescue(s, at);
        } else if (device_is_clear(s)) {
            tally_sched_wish(s, s->now_ns + (patience_ns - took_ns));
        }
    }
}
