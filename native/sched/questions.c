/* What the owner may ask of the scheduler; nothing changes by it. */
#include "policy.h"
#include "state.h"

bool tally_sched_has_room(const struct tally_sched *s, uint32_t session)
{
    return session < s->config.sessions_max && s->sessions[session].open &&
           !s->sessions[session].closing &&
           s->sessions[session].outstanding < s->config.session_launches_max;
}

uint32_t tally_sched_launch_of(const struct tally_sched *s, uint32_t session)
{
    uint32_t ring = session < s->config.sessions_max && s->sessions[session].open
                        ? s->sessions[session].ring
                        : NONE;
    return ring == NONE ? NONE : s->queues[ring].head;
}

uint64_t tally_sched_bound(const struct tally_sched *s)
{
    const struct tally_sched_limits *limits = &s->limits;
    bool alone = s->sessions_open == 1 && limits->alone_ns_max > limits->turnaround_ns_max;
    return alone ? limits->alone_ns_max : limits->turnaround_ns_max;
}

bool tally_sched_high_at_once(const struct tally_sched *s)
{
    return tally_sched_policy_is(s, TALLY_SCHED_HIGH_AT_ONCE);
}

bool tally_sched_uses_levels(const struct tally_sched *s)
{
    return tally_sched_policy_is(s, TALLY_SCHED_LEVELS);
}

uint32_t tally_sched_policy(const struct tally_sched *s) { return s->policy; }

void tally_sched_read_stats(const struct tally_sched *s, struct tally_sched_stats *stats)
{
    *stats = s->stats;
}

int tally_sched_read_session(const struct tally_sched *s, uint32_t session,
                             struct tally_sched_session_stats *stats)
{
    if (session >= s->config.sessions_max || !s->sessions[session].open)
        return TALLY_SCHED_INVALID;
    *stats = s->sessions[session].stats;
    return 0;
}

int tally_sched_read_turnaround(const struct tally_sched *s, uint32_t session,
                                struct tally_sched_histogram *turnaround_ns)
{
    if (session >= s->config.sessions_max || !s->sessions[session].open)
        return TALLY_SCHED_INVALID;
    *turnaround_ns = s->turnarounds[session];
    return 0;
}
