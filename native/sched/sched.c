/* The scheduler's outside: configuration, events in, instructions out. */
#include <stdlib.h>
#include <string.h>

#include "state.h"

void tally_sched_config_default(struct tally_sched_config *config)
{
    *config = (struct tally_sched_config){.sessions_max = 256,
                                          .queues_max = 4096,
                                          .launches_max = 16384,
                                          .session_launches_max = 1024,
                                          .levels = 2,
                                          .policy = 0,
                                          .limits = {.turnaround_ns_max = 31600,
                                                     .alone_ns_max = 50000000,
                                                     .hysteresis_ns = 50000,
                                                     .gap_wait_ns_max = 1000000,
                                                     .stops_permil_max = 20,
                                                     .quantum_ns = 2000000,
                                                     .timeslice_ns = 2000000,
                                                     .preemptible_depth = 2,
                                                     .best_effort_permil_min = 0,
                                                     .watchdog_times = 50,
                                                     .watchdog_ns_min = 1000000000}};
}

static bool limits_ok(const struct tally_sched_limits *limits)
{
    const uint64_t top = UINT64_C(1) << 50; /* 13 days: sums of these never overflow */
    return limits->turnaround_ns_max > 0 && limits->turnaround_ns_max < top &&
           limits->alone_ns_max < top && limits->hysteresis_ns < top &&
           limits->gap_wait_ns_max < top && limits->quantum_ns > 0 &&
           limits->quantum_ns < top / WEIGHT_MAX && limits->timeslice_ns > 0 &&
           limits->timeslice_ns < top && limits->preemptible_depth > 0 &&
           limits->stops_permil_max <= 1000 && limits->best_effort_permil_min <= 1000 &&
           limits->watchdog_ns_min < top;
}

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
    if (!limits_ok(&config->limits) || config->levels < 2 ||
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

/* ---- sessions ------------------------------------------------------------------------------- */

static bool session_words_ok(const struct tally_sched_event *event)
{
    return event->class_ <= TALLY_SCHED_HIGH && event->weight >= 1 && event->weight <= WEIGHT_MAX;
}

/* The slot of a job; a new one's, if none of its sessions is open. */
static uint32_t join_job(struct tally_sched *s, uint64_t number)
{
    uint32_t at = NONE;
    for (uint32_t i = 0; i < s->config.sessions_max; i++) {
        if (s->jobs[i].sessions == 0 && at == NONE)
            at = i;
        if (s->jobs[i].sessions > 0 && number != 0 && s->jobs[i].number == number) {
            at = i;
            break;
        }
    }
    if (s->jobs[at].sessions++ == 0) {
        s->jobs[at] = (struct job){.number = number, .sessions = 1};
        if (s->in_force->job_came)
            s->in_force->job_came(s, at);
    }
    return at;
}

static int open_session(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    if (session->open || !session_words_ok(event))
        return TALLY_SCHED_INVALID;
    uint32_t job = join_job(s, event->job);
    s->jobs[job].weight = event->weight;
    *session = (struct session){.open = true,
                                .class_ = event->class_,
                                .job = job,
                                .priority = event->priority,
                                .ring = NONE,
                                .next = NONE,
                                .prev = NONE};
    s->turnarounds[event->session] = (struct tally_sched_histogram){0};
    s->sessions_open++;
    return 0;
}

/* Of the session's launches, those that are not fully issued. */
static void each_waiting(struct tally_sched *s, const struct session *session,
                         void (*visit)(struct tally_sched *s, uint32_t launch))
{
    uint32_t ring = session->ring, queue = ring;
    while (queue != NONE) {
        for (uint32_t at = s->queues[queue].cursor; at != NONE; at = s->launches[at].next)
            if (s->launches[at].issued < s->launches[at].blocks)
                visit(s, at);
        queue = s->queues[queue].next == ring ? NONE : s->queues[queue].next;
    }
}

/* A change of class takes the session's waiting launches to the other class's list and its counters
 * to the other class's sums. What it has in flight may then be over the bound: that is allowed to
 * drain. */
static void change_class(struct tally_sched *s, struct session *session, uint32_t class_)
{
    struct class_sums *from = &s->sums[session->class_], *to = &s->sums[class_];
    if (tally_sched_is_idle(session)) {
        session->class_ = class_;
        return;
    }
    each_waiting(s, session, tally_sched_waiting_remove);
    tally_sched_count_busy(s, session->class_, -1);
    tally_sched_count_busy(s, class_, 1);
    uint64_t outstanding = session->outstanding + session->counted;
    from->outstanding -= outstanding;
    from->starts -= session->starts;
    from->charge_ns -= session->charge_ns;
    to->outstanding += outstanding;
    to->starts += session->starts;
    to->charge_ns += session->charge_ns;
    if (session->class_ == TALLY_SCHED_HIGH && from->outstanding == 0)
        tally_sched_high_went(s);
    if (class_ == TALLY_SCHED_HIGH && to->outstanding == outstanding)
        tally_sched_high_came(s);
    session->class_ = class_;
    each_waiting(s, session, tally_sched_waiting_add);
}

static int set_session(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    if (!session->open || session->closing || !session_words_ok(event))
        return TALLY_SCHED_INVALID;
    s->jobs[session->job].weight = event->weight;
    session->priority = event->priority;
    if (session->class_ != event->class_) {
        change_class(s, session, event->class_);
        tally_sched_forget_arrivals(s);
    }
    return 0;
}

static int close_session(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    if (!session->open || session->closing)
        return TALLY_SCHED_INVALID;
    tally_sched_uncount(s, event->session, session->counted); /* nobody will tell of its end */
    session->closing = true;
    s->closing++;
    return 0;
}

/* Drops what has not started, stops what can be stopped; false: out of room. */
static bool close_queue(struct tally_sched *s, uint32_t index)
{
    if (!tally_sched_preempt_queue(s, index))
        return false;
    uint32_t at = s->queues[index].head;
    while (at != NONE) {
        uint32_t next = s->launches[at].next;
        if (s->launches[at].starts == 0) {
            if (tally_sched_out_full(s))
                return false;
            tally_sched_fail(s, at);
        }
        at = next;
    }
    return true;
}

/* Goes on closing sessions as long as there is room for instructions; false: there is none. */
static bool close_sessions(struct tally_sched *s)
{
    for (uint32_t i = 0; s->closing > 0 && i < s->config.sessions_max; i++) {
        struct session *session = &s->sessions[i];
        if (!session->closing)
            continue;
        uint32_t count = 0, at = session->ring; /* a queue leaves the ring with its last launch */
        for (uint32_t q = at; q != NONE && (count == 0 || q != at); q = s->queues[q].next)
            count++;
        while (count-- > 0) {
            uint32_t next = s->queues[at].next;
            if (!close_queue(s, at))
                return false;
            at = next;
        }
        if (session->outstanding > 0)
            continue;
        if (tally_sched_out_full(s))
            return false;
        tally_sched_emit(s, TALLY_SCHED_CLOSED)->session = i;
        tally_sched_forget_arrivals_of(s, i);
        if (s->in_force->session_gone)
            s->in_force->session_gone(s, i);
        s->jobs[session->job].sessions--;
        session->open = session->closing = false;
        s->sessions_open--;
        s->closing--;
    }
    return true;
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
        return open_session(s, event);
    case TALLY_SCHED_SESSION_SET:
        return set_session(s, event);
    case TALLY_SCHED_SESSION_CLOSE:
        return close_session(s, event);
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
        if (!limits_ok(&event->limits))
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
    if (s->closing == 0 || close_sessions(s)) {
        s->in_force->decide(s);
        if (!tally_sched_out_full(s))
            tally_sched_watch(s);
        if (!tally_sched_out_full(s))
            arm_timer(s);
    }
    TALLY_ASSERT(s->out_count <= max);
    return (int)s->out_count;
}

/* ---- questions ------------------------------------------------------------------------------ */

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
