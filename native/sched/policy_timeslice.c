/* Policy `timeslice`: sessions take turns with the whole device, whatever their class, as a driver
 * does that knows nothing of them. A turn ends early when its session has nothing to run. */
#include "bypass.h"
#include "launches.h"
#include "policy.h"
#include "state.h"

struct turn {
    uint32_t session; /* whose it is; NONE */
    bool ending;      /* draining before the next one */
    uint64_t began_ns;
};

static struct turn *turn_of(const struct tally_sched *s) { return s->policy_state; }

static void begin_turn(struct tally_sched *s)
{
    uint32_t session = s->round != NONE ? s->round : s->ready;
    *turn_of(s) = (struct turn){.session = session, .began_ns = s->now_ns};
    if (session != NONE)
        s->round = s->sessions[session].next;
}

static bool others_wait(const struct tally_sched *s)
{
    if (s->ready == NONE)
        return false;
    const struct session *first = &s->sessions[s->ready];
    return s->ready != turn_of(s)->session || first->next != s->ready;
}

static bool stop_turn(struct tally_sched *s)
{
    for (uint32_t at = s->guarded; at != NONE; at = s->launches[at].guarded_next) {
        if (s->launches[at].preempting)
            continue;
        if (tally_sched_out_full(s))
            return false;
        tally_sched_preempt(s, at);
    }
    return true;
}

/* Starts what fits into the rest of the turn, and at least one launch. */
static void fill_turn(struct tally_sched *s, uint64_t left_ns)
{
    struct session *session = &s->sessions[turn_of(s)->session];
    for (;;) {
        uint32_t index = tally_sched_next_of(s, session, FORM_PLAN, NULL);
        if (index == NONE || tally_sched_out_full(s))
            return;
        uint64_t charge = tally_sched_charge_of(s, &s->launches[index], FORM_PLAN);
        if (session->starts > 0 && session->charge_ns + charge > left_ns)
            return;
        tally_sched_start(s, index, FORM_PLAN, 0);
    }
}

/* Has the turn drain; true: it has, and the next one has begun. */
static bool end_turn(struct tally_sched *s)
{
    const struct turn *turn = turn_of(s);
    stop_turn(s);
    if (s->sessions[turn->session].starts > 0) {
        uint32_t launch = tally_sched_bypassing(s, turn->session, FORM_PLAN);
        if (launch != NONE && !tally_sched_out_full(s))
            tally_sched_start_bypassing(s, launch, FORM_PLAN);
        return false;
    }
    begin_turn(s);
    return true;
}

static void decide(struct tally_sched *s)
{
    struct turn *turn = turn_of(s);
    uint32_t in_flight = s->sums[0].starts + s->sums[1].starts;
    if (turn->session != NONE && s->sessions[turn->session].outstanding == 0)
        turn->session = NONE;
    if (turn->session == NONE || (turn->ending && s->sessions[turn->session].starts == 0)) {
        /* Also after a change of policy: what others have in flight drains first. */
        if (in_flight > 0)
            return;
        begin_turn(s);
        if (turn->session == NONE)
            return;
    }
    bool others = others_wait(s);
    if (others && s->now_ns >= turn->began_ns + s->limits.timeslice_ns)
        turn->ending = true;
    if (turn->ending && !others) {
        turn->ending = false;
        turn->began_ns = s->now_ns;
    } else if (turn->ending && !end_turn(s)) {
        return;
    }
    uint64_t end = turn->began_ns + s->limits.timeslice_ns;
    fill_turn(s, others && end > s->now_ns ? end - s->now_ns : s->limits.timeslice_ns);
    if (others_wait(s))
        tally_sched_wish(s, end);
}

static size_t state_bytes(const struct tally_sched_config *config) { return sizeof(struct turn); }

static void reset(struct tally_sched *s) { *turn_of(s) = (struct turn){.session = NONE}; }

static void session_gone(struct tally_sched *s, uint32_t session)
{
    if (turn_of(s)->session == session)
        turn_of(s)->session = NONE;
}

static const char *validate(const struct tally_sched *s)
{
    const struct turn *turn = turn_of(s);
    if (turn->session == NONE)
        return NULL;
    if (turn->session >= s->config.sessions_max || !s->sessions[turn->session].open)
        return "the turn is a session's that is not open";
    return turn->began_ns > s->now_ns ? "the turn has not begun" : NULL;
}

const struct policy tally_sched_policy_timeslice = {
    .name = "timeslice",
    .text = "every session in turn has the whole device for a fixed time",
    .decide = decide,
    .state_bytes = state_bytes,
    .reset = reset,
    .session_gone = session_gone,
    .validate = validate,
};
