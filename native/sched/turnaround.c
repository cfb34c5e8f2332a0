/* Turnaround: for each high launch that ends its class's idleness, how long the best-effort work
 * that was in flight then took to get out of its way. What starts later has no part in it, and high
 * may come and go several times before the first of that work ends: every arrival is measured by
 * itself. */
#include "turnaround.h"

#include "histogram.h"
#include "state.h"

void tally_sched_note_arrival(struct tally_sched *s, uint32_t session)
{
    const struct class_sums *sums = &s->sums[TALLY_SCHED_BEST_EFFORT];
    if (sums->starts == 0) {
        s->stats.turnaround_unmet++;
        return;
    }
    if (s->arrival_count == ARRIVALS_MAX) {
        s->stats.turnaround_missed++;
        return;
    }
    s->arrivals[s->arrival_count++] = (struct arrival){.came_ns = s->now_ns,
                                                       .cleared_ns = s->now_ns,
                                                       .estimate_ns = sums->charge_ns,
                                                       .starts = sums->starts,
                                                       .session = session,
                                                       .number = s->best_effort_starts + 1};
}

static void record(struct tally_sched *s, const struct arrival *arrival)
{
    uint64_t measured = arrival->cleared_ns - arrival->came_ns, estimated = arrival->estimate_ns;
    tally_sched_histogram_add(&s->stats.turnaround_ns, measured);
    if (arrival->session != NONE)
        tally_sched_histogram_add(&s->turnarounds[arrival->session], measured);
    s->stats.turnaround_estimated_ns += estimated;
    s->stats.turnaround_error_ns +=
        measured > estimated ? measured - estimated : estimated - measured;
}

/* Whether a session has more starts that an arrival met. The launch's oldest have ended, and are
 * still in its list. */
static bool holds(const struct tally_sched *s, const struct arrival *arrival,
                  const struct launch *launch, uint32_t ended)
{
    uint32_t first = s->sessions[launch->session].ring, queue = first;
    do {
        uint32_t at = s->queues[queue].head;
        for (; at != NONE && (s->launches[at].starts > 0 || &s->launches[at] == launch);
             at = s->launches[at].next) {
            const struct launch *other = &s->launches[at];
            uint32_t skip = other == launch ? ended : 0;
            for (uint32_t i = 0; i < other->starts; i++)
                if (other->numbers[skip + i] < arrival->number)
                    return true;
        }
        queue = s->queues[queue].next;
    } while (queue != first);
    return false;
}

/* One arrival sees the end of the launch's oldest starts. */
static void clear(struct tally_sched *s, struct arrival *arrival, const struct launch *launch,
                  uint32_t ended, const struct tally_sched_event *event)
{
    uint64_t cleared_ns = event && event->cleared_ns > 0 ? event->cleared_ns : s->now_ns;
    if (event && event->began_ns > arrival->came_ns)
        cleared_ns = arrival->came_ns;
    if (cleared_ns > s->now_ns)
        cleared_ns = s->now_ns;
    uint32_t met = 0;
    for (uint32_t i = 0; i < ended; i++)
        met += launch->numbers[i] < arrival->number;
    if (met == 0)
        return;
    if (cleared_ns > arrival->cleared_ns)
        arrival->cleared_ns = cleared_ns;
    arrival->starts -= met;
    struct session *session = &s->sessions[launch->session];
    if (cleared_ns > session->cleared_ns)
        session->cleared_ns = cleared_ns;
    if (holds(s, arrival, launch, ended))
        return;
    /* What ends last need not have been in the way last: it may not have begun at all. */
    uint64_t took_ns =
        session->cleared_ns > arrival->came_ns ? session->cleared_ns - arrival->came_ns : 0;
    tally_sched_histogram_add(&s->turnarounds[launch->session], took_ns);
}

void tally_sched_note_clearance(struct tally_sched *s, const struct launch *launch, uint32_t ended,
                                const struct tally_sched_event *event)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < s->arrival_count; i++) {
        struct arrival arrival = s->arrivals[i];
        clear(s, &arrival, launch, ended, event);
        if (arrival.starts == 0)
            record(s, &arrival);
        else
            s->arrivals[left++] = arrival;
    }
    s->arrival_count = left;
}

void tally_sched_forget_arrivals_of(struct tally_sched *s, uint32_t session)
{
    for (uint32_t i = 0; i < s->arrival_count; i++)
        if (s->arrivals[i].session == session)
            s->arrivals[i].session = NONE;
}

void tally_sched_forget_arrivals(struct tally_sched *s)
{
    s->stats.turnaround_missed += s->arrival_count;
    s->arrival_count = 0;
}
