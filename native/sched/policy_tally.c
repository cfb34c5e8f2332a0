/* Policy `tally`, and `kernel`, which is the same but never divides a launch.
 *
 * High goes at once. Best-effort starts only while high is idle, and only as much as keeps what
 * cannot be stopped under the bound; so whenever high comes back, the device is free one turnaround
 * later. Among best-effort sessions: greater priority first, then deficit round robin of jobs by
 * weight and measured device time. */
#include "bypass.h"
#include "floor.h"
#include "gaps.h"
#include "launches.h"
#include "policy.h"
#include "recall.h"
#include "state.h"

/* The rounds that give jobs time. */
struct rounds {
    uint64_t count;  /* so far */
    uint32_t served; /* whose turn it is; NONE */
    struct share {
        uint64_t round;  /* the last one that gave it time */
        uint32_t served; /* its session that last had a turn; NONE */
    } jobs[];            /* by slot of sched.jobs */
};

static struct rounds *rounds_of(const struct tally_sched *s) { return s->policy_state; }

/* Whether high's idle time is likely to go on for longer than it is worth waiting for. A launch
 * over the bound runs alone, and waits longer. */
static bool gap_suits(struct tally_sched *s, const struct launch *launch, enum form form)
{
    uint64_t gone_ns = s->high_idle_ns;
    if (s->sums[TALLY_SCHED_HIGH].outstanding > 0)
        return true; /* the floor's time, not a gap */
    if (gone_ns == 0 || s->now_ns >= gone_ns + tally_sched_longest_wait(s))
        return true;
    uint64_t wait_ns = s->limits.hysteresis_ns;
    if (form != FORM_WHOLE)
        wait_ns = tally_sched_gap_wait(s, tally_sched_unstoppable_of(s, launch, form));
    if (s->now_ns < gone_ns + wait_ns)
        tally_sched_wish(s, gone_ns + wait_ns);
    return s->now_ns >= gone_ns + wait_ns;
}

/* The next launch of a session that may start now; NONE. */
static uint32_t next_of(struct tally_sched *s, const struct session *session, enum form form)
{
    return tally_sched_next_of(s, session, form, gap_suits);
}

/* The sessions that may be served now all have the greatest priority among those that could be. */
static uint32_t candidates(struct tally_sched *s, enum form form, int32_t *priority)
{
    uint32_t count = 0, at = s->ready;
    if (at == NONE)
        return 0;
    do {
        const struct session *session = &s->sessions[at];
        if (session->class_ == TALLY_SCHED_BEST_EFFORT && next_of(s, session, form) != NONE) {
            if (count == 0 || session->priority > *priority) {
                *priority = session->priority;
                count = 0;
            }
            if (session->priority == *priority)
                count++;
        }
        at = session->next;
    } while (at != s->ready);
    return count;
}

static bool is_candidate(struct tally_sched *s, const struct session *session, enum form form,
                         int32_t priority)
{
    return session->class_ == TALLY_SCHED_BEST_EFFORT && session->priority == priority &&
           next_of(s, session, form) != NONE;
}

static int64_t time_left(const struct tally_sched *s, const struct session *session)
{
    return s->jobs[session->job].deficit_ns;
}

static uint64_t share_of(const struct tally_sched *s, const struct job *job)
{
    return s->limits.quantum_ns * job->weight;
}

static void give_time(struct tally_sched *s, uint64_t rounds, int32_t priority)
{
    struct rounds *state = rounds_of(s);
    state->count++;
    for (uint32_t i = 0; i < s->config.sessions_max; i++) {
        const struct session *session = &s->sessions[i];
        if (!session->open || session->class_ != TALLY_SCHED_BEST_EFFORT ||
            session->priority != priority)
            continue;
        struct job *job = &s->jobs[session->job];
        int64_t share = (int64_t)share_of(s, job), cap = 2 * share;
        unsigned __int128 more = (unsigned __int128)rounds * (uint64_t)share;
        if (state->jobs[session->job].round == state->count || job->deficit_ns >= cap)
            continue;
        state->jobs[session->job].round = state->count; /* once, however many sessions it has */
        uint64_t room = (uint64_t)(cap - job->deficit_ns);
        job->deficit_ns = more < room ? job->deficit_ns + (int64_t)more : cap;
    }
}

/* When no job that could start has time left, a new round begins; as many rounds as needed,
 * computed at once because debts may be long. A job between two launches gets its share too, or
 * every wait of a program would cost it a turn. It saves up two rounds at most. */
static void give_rounds(struct tally_sched *s, enum form form, int32_t priority)
{
    uint64_t rounds = UINT64_MAX;
    uint32_t at = s->ready;
    do {
        const struct session *session = &s->sessions[at];
        if (is_candidate(s, session, form, priority)) {
            uint64_t share = share_of(s, &s->jobs[session->job]);
            int64_t left = time_left(s, session);
            uint64_t need = left > 0 ? 0 : (uint64_t)-left / share + 1;
            if (need < rounds)
                rounds = need;
        }
        at = session->next;
    } while (at != s->ready);
    if (rounds > 0)
        give_time(s, rounds, priority);
}

/* Sessions of one job take turns, in order of their numbers. */
static uint32_t turn_in_job(struct tally_sched *s, uint32_t index, enum form form, int32_t priority)
{
    const struct job *job = &s->jobs[s->sessions[index].job];
    const struct rounds *state = rounds_of(s);
    uint32_t served = state->jobs[s->sessions[index].job].served;
    if (index == state->served || job->sessions == 1 || served == NONE)
        return index;
    uint32_t chosen = index, least = UINT32_MAX, at = index;
    do {
        uint32_t behind = at > served ? at - served : at + s->config.sessions_max - served;
        bool ours = s->sessions[at].job == s->sessions[index].job;
        if (ours && behind < least && is_candidate(s, &s->sessions[at], form, priority)) {
            chosen = at;
            least = behind;
        }
        at = s->sessions[at].next;
    } while (at != index);
    return chosen;
}

/* The session whose turn it is, or NONE. */
static uint32_t choose_session(struct tally_sched *s, enum form form)
{
    struct rounds *state = rounds_of(s);
    int32_t priority = 0;
    if (candidates(s, form, &priority) == 0)
        return NONE;
    uint32_t at = s->round != NONE ? s->round : s->ready;
    if (at == state->served && time_left(s, &s->sessions[at]) <= 0)
        at = s->sessions[at].next; /* its turn is over */
    give_rounds(s, form, priority);
    while (!is_candidate(s, &s->sessions[at], form, priority) ||
           time_left(s, &s->sessions[at]) <= 0)
        at = s->sessions[at].next;
    at = turn_in_job(s, at, form, priority);
    state->jobs[s->sessions[at].job].served = at;
    s->round = state->served = at; /* it keeps the turn while it has time left */
    return at;
}

/* Whether the session of what runs has used up its time, or one of greater priority waits. If
 * not, asks for a timer at the time when it will have. */
static bool time_is_up(struct tally_sched *s, const struct launch *launch, int32_t priority)
{
    const struct session *session = &s->sessions[launch->session];
    uint64_t last = s->last_finish_ns[TALLY_SCHED_BEST_EFFORT];
    uint64_t left = time_left(s, session) > 0 ? (uint64_t)time_left(s, session) : 0;
    uint64_t begun = launch->started_ns > last ? launch->started_ns : last;
    uint64_t until = (begun > s->contended_ns ? begun : s->contended_ns) + left;
    if (session->priority != priority)
        return session->priority < priority;
    if (until > s->now_ns)
        tally_sched_wish(s, until);
    return until <= s->now_ns;
}

/* A guarded start runs for as long as it likes, until another session that could go has a better
 * claim. */
static void share_among_best_effort(struct tally_sched *s, enum form form)
{
    int32_t priority = 0;
    if (s->guarded == NONE || candidates(s, form, &priority) == 0)
        return;
    for (uint32_t at = s->guarded; at != NONE; at = s->launches[at].guarded_next) {
        const struct launch *launch = &s->launches[at];
        const struct queue *queue = &s->queues[launch->queue];
        if (s->sessions[launch->session].class_ == TALLY_SCHED_HIGH ||
            queue->preempting == queue->guarded)
            continue;
        bool stopping = queue->preempting > 0; /* the room ended half-way */
        if (!stopping && (launch->prev != NONE || !time_is_up(s, launch, priority)))
            continue;
        if (!tally_sched_preempt_queue(s, launch->queue))
            return;
    }
}

/* All queues' guarded starts, in the same order as one queue's. */
static bool stop_all(struct tally_sched *s)
{
    for (uint32_t at = s->guarded; at != NONE; at = s->launches[at].guarded_next) {
        const struct launch *launch = &s->launches[at];
        if (launch->preempting || s->sessions[launch->session].class_ == TALLY_SCHED_HIGH)
            continue;
        if (tally_sched_out_full(s))
            return false;
        tally_sched_preempt(s, at);
    }
    return true;
}

/* The launch to start next, or NONE. A queue with guarded work in flight has the device until its
 * time is up: nobody else is chosen meanwhile, and so nobody is given time that it cannot use. */
static uint32_t choose_launch(struct tally_sched *s, enum form form)
{
    if (s->guarded != NONE) {
        const struct queue *queue = &s->queues[s->launches[s->guarded].queue];
        bool ours = s->sessions[queue->session].class_ == TALLY_SCHED_BEST_EFFORT;
        return ours && tally_sched_startable(s, queue, form) ? queue->cursor : NONE;
    }
    uint32_t chosen = choose_session(s, form);
    return chosen == NONE ? NONE : next_of(s, &s->sessions[chosen], form);
}

/* Whether a launch may join what is in flight. The part of the oldest start that has run delays
 * nobody any more. So behind it, in its own queue, the next start may come that much earlier,
 * and the device does not wait for news of the first one's end. At most the oldest start's
 * estimate is taken off: what comes behind it is under the bound by itself, however wrong the
 * estimate was. */
static bool fits(struct tally_sched *s, const struct launch *launch, enum form form,
                 uint64_t charge)
{
    const struct class_sums *sums = &s->sums[TALLY_SCHED_BEST_EFFORT];
    const struct queue *queue = &s->queues[launch->queue];
    uint64_t total = sums->charge_ns + charge, bound = tally_sched_bound(s);
    /* What adds nothing may always go: a guarded launch right behind its like. */
    if (sums->starts == 0 || charge == 0 || total <= bound)
        return true;
    if (queue->starts != sums->starts)
        return false;
    /* A guarded launch does not add to what is ahead of it in its own queue, even where that is
     * over the bound. */
    if (tally_sched_would_be_guarded(s, launch, form))
        return queue->unguarded_ns <= bound;
    if (queue->guarded > 0)
        return false;
    const struct launch *oldest = &s->launches[queue->head];
    uint64_t last = s->last_finish_ns[TALLY_SCHED_BEST_EFFORT];
    uint64_t begun = oldest->started_ns > last ? oldest->started_ns : last;
    if (total - bound >= oldest->charge_ns / oldest->starts)
        return false; /* its end will tell */
    if (s->now_ns < begun + (total - bound))
        tally_sched_wish(s, begun + (total - bound));
    return s->now_ns >= begun + (total - bound);
}

static void fill_gap(struct tally_sched *s, enum form form)
{
    while (!tally_sched_out_full(s)) {
        uint32_t index = choose_launch(s, form);
        if (index == NONE)
            return;
        uint64_t charge = tally_sched_charge_of(s, &s->launches[index], form);
        if (!fits(s, &s->launches[index], form, charge))
            return;
        if (charge > tally_sched_bound(s))
            s->stats.oversized++;
        tally_sched_start(s, index, form, 0);
    }
}

/* A launch that its own session's others may be waiting for, or NONE; wishes for the time when
 * there may be one. */
static uint32_t next_bypassing(struct tally_sched *s, enum form form)
{
    uint32_t at = s->ready;
    if (at == NONE || s->sums[TALLY_SCHED_BEST_EFFORT].starts == 0)
        return NONE;
    do {
        uint32_t launch = NONE;
        if (s->sessions[at].class_ == TALLY_SCHED_BEST_EFFORT)
            launch = tally_sched_bypassing(s, at, form);
        if (launch != NONE && gap_suits(s, &s->launches[launch], form))
            return launch;
        at = s->sessions[at].next;
    } while (at != s->ready);
    return NONE;
}

static void fill_bypassing(struct tally_sched *s, enum form form)
{
    uint32_t launch;
    while (!tally_sched_out_full(s) && (launch = next_bypassing(s, form)) != NONE)
        tally_sched_start_bypassing(s, launch, form);
}

static void decide(struct tally_sched *s, enum form form)
{
    if (s->sums[TALLY_SCHED_HIGH].waiting > 0 && !tally_sched_start_all(s, TALLY_SCHED_HIGH))
        return;
    if (s->sums[TALLY_SCHED_HIGH].outstanding + s->coming > 0 && !tally_sched_floor_open(s)) {
        tally_sched_hold(s);
        stop_all(s);
        return;
    }
    s->held = false;
    if (s->sums[TALLY_SCHED_BEST_EFFORT].waiting == 0)
        return;
    fill_gap(s, form);
    fill_bypassing(s, form);
    share_among_best_effort(s, form);
}

static void decide_planned(struct tally_sched *s) { decide(s, FORM_PLAN); }

static void decide_whole(struct tally_sched *s) { decide(s, FORM_WHOLE); }

/* ---- what it remembers ---------------------------------------------------------------------- */

static size_t state_bytes(const struct tally_sched_config *config)
{
    return sizeof(struct rounds) + config->sessions_max * sizeof(struct share);
}

static void job_came(struct tally_sched *s, uint32_t job)
{
    rounds_of(s)->jobs[job] = (struct share){.round = rounds_of(s)->count, .served = NONE};
}

static void reset(struct tally_sched *s)
{
    rounds_of(s)->count = 0;
    rounds_of(s)->served = NONE;
    for (uint32_t i = 0; i < s->config.sessions_max; i++)
        job_came(s, i);
}

static void session_gone(struct tally_sched *s, uint32_t session)
{
    struct share *share = &rounds_of(s)->jobs[s->sessions[session].job];
    if (share->served == session)
        share->served = NONE;
}

static const char *validate(const struct tally_sched *s)
{
    const struct rounds *state = rounds_of(s);
    for (uint32_t i = 0; i < s->config.sessions_max; i++) {
        uint32_t served = state->jobs[i].served;
        if (s->jobs[i].sessions == 0)
            continue;
        if (served != NONE && (!s->sessions[served].open || s->sessions[served].job != i))
            return "a job's last turn was another's";
        if (state->jobs[i].round > state->count)
            return "a job has had time of a round to come";
    }
    return NULL;
}

const struct policy tally_sched_policy_tally = {
    .name = "tally",
    .text = "high goes at once; best-effort fills the gaps and stops within the turnaround bound",
    .traits =
        TALLY_SCHED_HIGH_AT_ONCE | TALLY_SCHED_LEVELS | TALLY_SCHED_GIVES_WAY | TALLY_SCHED_BOUNDED,
    .decide = decide_planned,
    .state_bytes = state_bytes,
    .reset = reset,
    .job_came = job_came,
    .session_gone = session_gone,
    .validate = validate,
};

const struct policy tally_sched_policy_kernel = {
    .name = "kernel",
    .text = "like tally, but best-effort kernels run whole: they give way when they end",
    .traits = TALLY_SCHED_HIGH_AT_ONCE | TALLY_SCHED_GIVES_WAY,
    .decide = decide_whole,
    .state_bytes = state_bytes,
    .reset = reset,
    .job_came = job_came,
    .session_gone = session_gone,
    .validate = validate,
};
