/* The scheduler's outside: events in, instructions out. */
#include <stdlib.h>

#include "config.h"
#include "floor.h"
#include "gaps.h"
#include "launches.h"
#include "policy.h"
#include "recall.h"
#include "sessions.h"
#include "state.h"
#include "watchdog.h"
#include "work.h"

/* Room for what any of the policies remembers. */
static size_t policy_bytes(const struct tally_sched_config *config)
{
    size_t most = 1;
    for (uint32_t i = 0; i < tally_sched_policy_count(); i++) {
        const struct policy *policy = tally_sched_policies[i];
        size_t bytes = policy->state_bytes ? policy->state_bytes(config) : 0;
        if (bytes > most)
            most = bytes;
    }
    return most;
}

static void put_in_force(struct tally_sched *s, uint32_t policy)
{
    s->policy = policy;
    s->in_force = tally_sched_policies[policy];
    if (s->in_force->reset)
        s->in_force->reset(s);
}

struct tally_sched *tally_sched_create(const struct tally_sched_config *config)
{
    const uint32_t top = 1u << 24;
    if (!tally_sched_limits_ok(&config->limits) || config->levels < 2 ||
        config->policy >= tally_sched_policy_count() || config->sessions_max == 0 ||
        config->queues_max == 0 || config->launches_max == 0 || config->session_launches_max == 0 ||
        config->sessions_max > top || config->queues_max > top || config->launches_max > top)
        return NULL;
    struct tally_sched *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->sessions = calloc(config->sessions_max, sizeof *s->sessions);
    s->jobs = calloc(config->sessions_max, sizeof *s->jobs);
    s->turnarounds = calloc(config->sessions_max, sizeof *s->turnarounds);
    s->queues = calloc(config->queues_max, sizeof *s->queues);
    s->launches = calloc(config->launches_max, sizeof *s->launches);
    s->policy_state = calloc(1, policy_bytes(config));
    if (!s->sessions || !s->jobs || !s->turnarounds || !s->queues || !s->launches ||
        !s->policy_state) {
        tally_sched_destroy(s);
        return NULL;
    }
    s->config = *config;
    s->limits = config->limits;
    s->ready = s->round = s->guarded = NONE;
    s->waiting[0] = s->waiting[1] = (struct waiting_list){NONE, NONE};
    s->timer_ns = TALLY_SCHED_NEVER;
    for (uint32_t i = 0; i < config->queues_max; i++)
        s->queues[i] = (struct queue){.session = NONE, .head = NONE, .tail = NONE, .cursor = NONE};
    put_in_force(s, config->policy);
    return s;
}

void tally_sched_destroy(struct tally_sched *s)
{
    if (!s)
        return;
    free(s->sessions);
    free(s->jobs);
    free(s->turnarounds);
    free(s->queues);
    free(s->launches);
    free(s->policy_state);
    free(s);
}

/* ---- launches ------------------------------------------------------------------------------- */

static bool plan_ok(const struct tally_sched_plan *plan)
{
    const uint64_t top = UINT64_C(1) << 50;
    if (plan->whole_ns >= top || plan->slice_ns >= top || plan->stop_ns >= top)
        return false;
    if (plan->kind == TALLY_SCHED_SLICED)
        return plan->slice_blocks > 0 && plan->slice_ns > 0;
    return plan->kind <= TALLY_SCHED_PREEMPTIBLE;
}

static int submit(struct tally_sched *s, const struct tally_sched_event *event)
{
    const struct session *session = &s->sessions[event->session];
    const struct queue *queue = &s->queues[event->queue];
    if (!session->open || session->closing || s->launches[event->launch].used ||
        event->blocks == 0 || !plan_ok(&event->plan) ||
        (queue->session != NONE && queue->session != event->session))
        return TALLY_SCHED_INVALID;
    if (session->outstanding >= s->config.session_launches_max)
        return TALLY_SCHED_FULL;
    /* Issued before it was submitted: only where neither the policy nor anything ahead of it in
     * its queue makes it wait. */
    if (event->started && (session->class_ != TALLY_SCHED_HIGH ||
                           !tally_sched_policy_is(s, TALLY_SCHED_HIGH_AT_ONCE) ||
                           queue->cursor != NONE || queue->guarded > 0))
        return TALLY_SCHED_INVALID;
    tally_sched_submit(s, event);
    if (event->started)
        tally_sched_adopt(s, event->launch);
    return 0;
}

static int note_started(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct launch *launch = &s->launches[event->launch];
    if (launch->starts == 0)
        return TALLY_SCHED_INVALID;
    launch->started_ns = s->now_ns;
    return 0;
}

/* ---- events --------------------------------------------------------------------------------- */

static int set_policy(struct tally_sched *s, const struct tally_sched_event *event)
{
    if (event->policy >= tally_sched_policy_count())
        return TALLY_SCHED_INVALID;
    if (event->policy == s->policy)
        return 0;
    tally_sched_forget_gaps(s); /* high took a different time for its work */
    put_in_force(s, event->policy);
    s->held = false; /* the other one may have let anything start */
    return 0;
}

static int apply(struct tally_sched *s, const struct tally_sched_event *event)
{
    bool of_launch = event->type >= TALLY_SCHED_LAUNCH && event->type <= TALLY_SCHED_FAILED;
    of_launch |= event->type == TALLY_SCHED_RECALLED;
    bool of_session =
        (event->type >= TALLY_SCHED_SESSION_OPEN && event->type <= TALLY_SCHED_LAUNCH) ||
        event->type == TALLY_SCHED_WORK || event->type == TALLY_SCHED_WORK_ENDED;
    if (of_session && event->session >= s->config.sessions_max)
        return TALLY_SCHED_INVALID;
    if (of_launch && event->launch >= s->config.launches_max)
        return TALLY_SCHED_INVALID;
    if (event->type == TALLY_SCHED_LAUNCH && event->queue >= s->config.queues_max)
        return TALLY_SCHED_INVALID;
    if (of_launch && !of_session && !s->launches[event->launch].used)
        return TALLY_SCHED_INVALID;

    switch (event->type) {
    case TALLY_SCHED_CONTINUE:
        return 0;
    case TALLY_SCHED_SESSION_OPEN:
        return tally_sched_open_session(s, event);
    case TALLY_SCHED_SESSION_SET:
        return tally_sched_set_session(s, event);
    case TALLY_SCHED_SESSION_CLOSE:
        return tally_sched_close_session(s, event);
    case TALLY_SCHED_LAUNCH:
        return submit(s, event);
    case TALLY_SCHED_STARTED:
        return note_started(s, event);
    case TALLY_SCHED_FINISHED:
        return tally_sched_finish(s, event);
    case TALLY_SCHED_PREEMPTED:
        return tally_sched_stop(s, event);
    case TALLY_SCHED_FAILED:
        return tally_sched_fail(s, event->launch);
    case TALLY_SCHED_TIMER:
        s->timer_ns = TALLY_SCHED_NEVER;
        return 0;
    case TALLY_SCHED_SET_POLICY:
        return set_policy(s, event);
    case TALLY_SCHED_WORK:
        return tally_sched_work(s, event);
    case TALLY_SCHED_WORK_ENDED:
        return tally_sched_work_ended(s, event);
    case TALLY_SCHED_RECALLED:
        return tally_sched_recall(s, event);
    case TALLY_SCHED_COMING:
        return tally_sched_coming(s, event);
    case TALLY_SCHED_CAME:
        return tally_sched_came(s, event);
    case TALLY_SCHED_SET_LIMITS:
        if (!tally_sched_limits_ok(&event->limits))
            return TALLY_SCHED_INVALID;
        s->limits = event->limits;
        s->gaps.bound_ns = 0;
        return 0;
    default:
        return TALLY_SCHED_INVALID;
    }
}

/* A change of the rules may leave more in flight than they allow now. That is not the policy's
 * fault. */
static void allow_in_flight(struct tally_sched *s, uint32_t type)
{
    bool rules_changed = type == TALLY_SCHED_SET_POLICY || type == TALLY_SCHED_SET_LIMITS ||
                         type == TALLY_SCHED_SESSION_SET || type == TALLY_SCHED_SESSION_OPEN;
    uint64_t charge_ns = s->sums[TALLY_SCHED_BEST_EFFORT].charge_ns;
    if (rules_changed && s->sums[TALLY_SCHED_BEST_EFFORT].starts > 0 && charge_ns > s->allowance_ns)
        s->allowance_ns = charge_ns;
}

/* A timer that is no longer wanted is left to fire: rarer than setting and clearing it all the
 * time. */
static void arm_timer(struct tally_sched *s)
{
    if (s->wish_ns >= s->timer_ns)
        return;
    tally_sched_emit(s, TALLY_SCHED_SET_TIMER)->time_ns = s->wish_ns;
    s->timer_ns = s->wish_ns;
}

int tally_sched_handle(struct tally_sched *s, const struct tally_sched_event *event,
                       uint64_t now_ns, struct tally_sched_instruction *out, size_t max)
{
    if (max < TALLY_SCHED_INSTRUCTIONS_MIN || max > INT32_MAX)
        return TALLY_SCHED_INVALID;
    tally_sched_watch_time(s, now_ns);
    tally_sched_floor_time(s, now_ns);
    if (now_ns > s->now_ns)
        s->now_ns = now_ns;
    s->out = out;
    s->out_count = 0;
    s->out_max = max;
    int error = apply(s, event);
    TALLY_ASSERT(!error || s->out_count == 0); /* what is refused has had no effect */
    if (error || event->type == TALLY_SCHED_COMING || event->type == TALLY_SCHED_CAME)
        return error;
    allow_in_flight(s, event->type);
    s->wish_ns = TALLY_SCHED_NEVER;
    if (s->closing == 0 || tally_sched_close_sessions(s)) {
        s->in_force->decide(s);
        if (!tally_sched_out_full(s))
            tally_sched_watch(s);
        if (!tally_sched_out_full(s))
            arm_timer(s);
    }
    TALLY_ASSERT(s->out_count <= max);
    return (int)s->out_count;
}
