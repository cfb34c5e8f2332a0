#include "engine/launch/schedule_state.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/launch/gate.h"
#include "engine/launch/rescue.h"
#include "engine/launch/timing.h"

#define EXPORT_MAX 64u /* plans taken out in one go, under the lock */

/* ---- carrying out instructions, under the lock ------------------------------------------------- */

/* A store, or one call that waits for nothing; under the lock, so that flags go up and down in the order of
 * the core's decisions. */
static void raise_flag(struct pending *pending, uint64_t now_ns)
{
    pending->flag_ns = now_ns;
    control_raise(pending->session, pending->slot);
}

/* A session may end, or fail, before the end of what it has on the device is reported. */
static void trace_over(struct schedule *s, struct pending *pending)
{
    struct tally_trace_record *record = &pending->traced;
    if (pending->dropped) {
        if (!pending->begun)
            return;
        record->flags |= TALLY_TRACE_UNTIMED;
        record->start_ns = record->end_ns = record->device_ns = 0;
    }
    trace_add(engine_trace(s->engine), record);
}

/* For the session's thread, which waits for its turn, or for ops while a launch that it let go was stopped. */
static void give_todo(struct pending *pending, const struct tally_sched_instruction *in)
{
    pending->todo[pending->todo_count++] = *in;
    if (pending->session->in_turn)
        pthread_cond_broadcast(&pending->session->turn);
    else
        session_call(pending->session);
}

static void carry_out(struct schedule *s, const struct tally_sched_instruction *in, uint64_t now_ns)
{
    struct pending *pending = &s->pendings[in->launch];
    switch (in->type) {
    case TALLY_SCHED_START:
        if (pending->gated)
            gate_open(pending);
        else
            give_todo(pending, in);
        break;
    case TALLY_SCHED_PREEMPT:
        raise_flag(pending, now_ns);
        break;
    case TALLY_SCHED_RESCUE:
        pending->rescue_asked = true;
        if (pending->todo_count < TODO_MAX)
            give_todo(pending, in);
        break;
    case TALLY_SCHED_COMPLETE:
    case TALLY_SCHED_DROPPED:
        pending->over = true;
        pending->dropped = in->type == TALLY_SCHED_DROPPED;
        gate_over(pending);
        if (pending->traced.kind)
            trace_over(s, pending);
        pthread_cond_broadcast(&pending->session->turn);
        if (!pending->owned) {
            pending->used = false;
            pending->next_free = s->pending_free;
            s->pending_free = in->launch;
        }
        break;
    case TALLY_SCHED_SET_TIMER:
        s->timer_ns = in->time_ns;
        pthread_cond_signal(&s->timer_set);
        break;
    default: /* CLOSED: session_close asks the core itself */
        break;
    }
}

/* 0, or the core's error. */
static int feed_at(struct schedule *s, const struct tally_sched_event *event, uint64_t now_ns)
{
    struct tally_sched_instruction out[INSTRUCTIONS_MAX];
    static const struct tally_sched_event go_on = {.type = TALLY_SCHED_CONTINUE};
    int count;
    do {
        count = tally_sched_handle(s->core, event, now_ns, out, INSTRUCTIONS_MAX);
        for (int i = 0; i < count; i++)
            carry_out(s, &out[i], now_ns);
        event = &go_on;
    } while (count == (int)INSTRUCTIONS_MAX);
    return count < 0 ? count : 0;
}

int schedule_feed(struct schedule *s, const struct tally_sched_event *event)
{
    return feed_at(s, event, engine_now_ns());
}

/* What threads ask of the policy without the lock. */
static void follow_policy(struct schedule *s)
{
    atomic_store(&s->high_at_once, tally_sched_high_at_once(s->core));
    atomic_store(&s->levels, tally_sched_uses_levels(s->core));
}

/* ---- books, under the lock --------------------------------------------------------------------- */

static struct tally_trace_record traced(const struct session *session, uint32_t queue, uint64_t signature,
                                        uint64_t submit_ns)
{
    return (struct tally_trace_record){.kind = TALLY_TRACE_LAUNCH,
                                       .session = session->config.session,
                                       .stream = queue,
                                       .signature = signature,
                                       .submit_ns = submit_ns};
}

uint32_t pending_take(struct schedule *s, struct session *session, const struct launch *launch)
{
    uint32_t index = s->pending_free;
    if (index == NONE)
        return NONE;
    struct pending *pending = &s->pendings[index];
    uint32_t serial = pending->serial + 1;
    s->pending_free = pending->next_free;
    memset(pending, 0, offsetof(struct pending, traced));
    pending->session = session;
    pending->serial = serial;
    pending->used = pending->owned = true;
    pending->blocks = launch->blocks;
    pending->signature = launch->signature;
    pending->traced.kind = 0;
    if (launch->transfer) {
        pending->bytes = transfer_bytes(launch->transfer);
        pending->transfer = launch->transfer->kind;
    } else if (trace_is_on(engine_trace(s->engine)))
        pending->traced = traced(session, QUEUE_OF(launch), launch->signature, launch->arrived_ns);
    return index;
}

void pending_give(struct schedule *s, uint32_t index)
{
    s->pendings[index].used = false;
    s->pendings[index].next_free = s->pending_free;
    s->pending_free = index;
}

uint64_t start_take(struct schedule *s, const struct launch *what, uint32_t launch, uint32_t lo, uint32_t hi,
                    uint32_t flags)
{
    struct session *session = what->session;
    uint32_t index = s->start_free, queue = QUEUE_OF(what);
    if (index == NONE)
        return 0;
    struct start *start = &s->starts[index];
    s->start_free = start->next_free;
    uint32_t generation = start->generation + 1;
    s->start_owners[index] = (uint8_t)(session->index + 1);
    session->starts_in_flight++;
    session->queue_starts[queue]++;
    *start = (struct start){.generation = generation ? generation : 1, .queue = queue, .launch = launch,
                            .lo = lo, .hi = hi, .flags = flags, .arrived_ns = what->arrived_ns,
                            /* High goes at once. */
                            .taken_ns = session->config.high ? what->arrived_ns : engine_now_ns(),
                            .signature = what->signature, .session = session,
                            .stoppable = launch_is_stoppable(what),
                            .transfer = what->transfer != NULL};
    if (!what->transfer && trace_is_on(engine_trace(s->engine)))
        start->issued_ns = engine_now_ns();
    if (launch != NONE)
        start->serial = s->pendings[launch].serial;
    return (uint64_t)start->generation << 32 | index;
}

struct start *start_of(struct schedule *s, uint64_t tag)
{
    uint32_t index = (uint32_t)tag;
    if (tag == 0 || index >= STARTS_MAX)
        return NULL;
    struct start *start = &s->starts[index];
    return start->session && start->generation == (uint32_t)(tag >> 32) ? start : NULL;
}

/* NULL: the launch was dropped, or was never in the books; a report then only frees the start. */
static struct pending *pending_of(struct schedule *s, const struct start *start)
{
    struct pending *pending = start->launch == NONE ? NULL : &s->pendings[start->launch];
    return pending && pending->used && !pending->over && pending->serial == start->serial ? pending : NULL;
}

void start_give(struct schedule *s, struct start *start)
{
    start->session->starts_in_flight--;
    start->session->queue_starts[start->queue]--;
    start->session->end_ns = engine_now_ns();
    start->session = NULL;
    start->next_free = s->start_free;
    s->start_free = (uint32_t)(start - s->starts);
    s->start_owners[s->start_free] = 0;
}

void schedule_tell_full(struct session *session)
{
    session_tell(session, "a launch was refused: all programs together have %u launches and copies "
                 "queued on the device, and can have no more", LAUNCHES_MAX);
}

/* ---- reports from the device ------------------------------------------------------------------- */

/* When the start was out of the way, for work that is more urgent: the device may know that better than the
 * time of its report, as the blocks that have nothing left to do wait for the urgent ones. */
static uint64_t cleared_ns(const struct pending *pending, const struct start *start, uint64_t now_ns)
{
    uint64_t yielded_ns = start->times.yielded_ns;
    if (yielded_ns == 0 || yielded_ns > now_ns)
        return now_ns;
    return yielded_ns > pending->flag_ns ? yielded_ns : pending->flag_ns + 1;
}

/* A start that was told to stop and ran all its blocks all the same measures both, its time and that of
 * stopping it: else a kernel of one block, beside a busy high job, would stay unknown for ever. One that gave
 * way in between tells nothing of its time. */
static void measure(struct schedule *s, const struct pending *pending, const struct start *start, bool stopped,
                    uint64_t now_ns)
{
    uint64_t ns = start->times.end_ns - start->times.start_ns;
    if (pending->bytes) {
        uint64_t share = (uint64_t)((unsigned __int128)pending->bytes * (start->hi - start->lo) / pending->blocks);
        tally_rates_measure(&s->rates, pending->transfer, share, start->times.active_ns);
        return;
    }
    if (pending->flag_ns && start->times.start_ns <= pending->flag_ns) { /* else there was nothing to stop yet */
        uint64_t stop_ns = cleared_ns(pending, start, now_ns) - pending->flag_ns;
        tally_plans_measure(s->plans, pending->signature, TALLY_PLAN_STOP, 0, stop_ns);
    }
    if (stopped || start->flags & TALLY_SCHED_START_RESUMED || start->times.yielded_ns)
        return;
    enum tally_plan_measurement what = start->flags & TALLY_SCHED_START_PREEMPTIBLE ? TALLY_PLAN_GUARDED
                                       : start->hi - start->lo < pending->blocks    ? TALLY_PLAN_SLICE
                                                                                    : TALLY_PLAN_WHOLE;
    tally_plans_measure(s->plans, pending->signature, what, start->hi - start->lo, ns);
}

/* Blocks are left though nobody asked for that: the flag was up for another reason, such as a write of it
 * that came late. For the core the start goes on. */
static void run_again(struct schedule *s, struct pending *pending, struct start *start)
{
    control_lower(pending->session, pending->slot);
    struct tally_sched_instruction again = {
        .type = TALLY_SCHED_START,
        .launch = start->launch,
        .lo = start->lo,
        .hi = start->hi,
        .flags = start->flags | TALLY_SCHED_START_RESUMED,
    };
    start_give(s, start);
    give_todo(pending, &again);
}

/* Every start and launch of the session leaves the books. Under the lock, for which launches of others wait:
 * so nothing here goes through all that the books have room for. */
static void forget(struct schedule *s, struct session *session, CUresult error)
{
    session->failed = error;
    const uint8_t *at = s->start_owners, *end = at + STARTS_MAX;
    while (session->starts_in_flight > 0 && (at = memchr(at, (int)session->index + 1, (size_t)(end - at))) != NULL)
        start_give(s, &s->starts[at - s->start_owners]);
    work_forget(s, session);
    gates_forget(s, session);
    uint64_t now_ns = engine_now_ns();
    uint32_t index;
    while ((index = tally_sched_launch_of(s->core, session->index)) != NONE) {
        s->pendings[index].error = error;
        feed_at(s, &(struct tally_sched_event){.type = TALLY_SCHED_FAILED, .launch = index}, now_ns);
    }
}

void start_trace(struct schedule *s, const struct start *start)
{
    struct tally_trace_record record = traced(start->session, start->queue, start->signature, start->arrived_ns);
    trace_count_start(&record, start->issued_ns, &start->times);
    trace_add(engine_trace(s->engine), &record);
}

void start_ended(struct schedule *s, struct start *start)
{
    struct pending *pending = &s->pendings[start->launch];
    uint64_t now_ns = engine_now_ns();
    struct tally_sched_event event = {
        .type = TALLY_SCHED_FINISHED,
        .launch = start->launch,
        .lo = start->lo,
        .hi = start->hi,
        .gpu_ns = start->times.active_ns,
        /* Of other drivers' starts it is not known whether they had to wait. */
        .began_ns = pending->session->driver->is_soft ? start->times.start_ns : 0,
        .cleared_ns = cleared_ns(pending, start, now_ns),
    };
    if (start->times.error) {
        pending->error = (CUresult)start->times.error;
        forget(s, pending->session, pending->error); /* nothing of it will run any more */
        return;
    }
    if (pending->traced.kind)
        trace_count_start(&pending->traced, pending->gated ? pending->opened_ns : start->issued_ns,
                          &start->times);
    if (rescue_ended(s, pending, start))
        return;
    if (is_guarded(start->flags)) {
        pending->rescue_asked = false; /* too late: it has ended */
        pending->traced.flags = TALLY_TRACE_GUARDED;
        uint32_t ran = control_read(pending->session, pending->slot);
        ran = ran < pending->blocks ? ran : pending->blocks;
        if (ran < pending->blocks && !pending->flag_ns && pending->todo_count < TODO_MAX) {
            run_again(s, pending, start);
            return;
        }
        if (ran < pending->blocks && ran >= pending->reported && pending->flag_ns) {
            pending->traced.preemptions++;
            event.type = TALLY_SCHED_PREEMPTED;
            event.blocks = ran - pending->reported;
            pending->reported = ran;
        }
        measure(s, pending, start, event.type == TALLY_SCHED_PREEMPTED, now_ns);
        control_lower(pending->session, pending->slot); /* before the core may start it again */
        pending->flag_ns = 0;
    } else {
        measure(s, pending, start, false, now_ns);
    }
    start_give(s, start);
    if (feed_at(s, &event, now_ns) != 0) {
        event.type = TALLY_SCHED_FAILED;
        feed_at(s, &event, now_ns);
    }
}

/* A start that is counted, not listed. */
static void counted_ended(struct schedule *s, struct start *start)
{
    uint32_t session = start->session->index;
    if (start->issued_ns && !start->times.error)
        start_trace(s, start);
    start_give(s, start);
    work_uncount(s, session, WORK_LAUNCH, 1, start->times.active_ns);
}

static void heard(struct schedule *s, struct start *start, const struct softgpu_launch_times *times)
{
    struct pending *pending = pending_of(s, start);
    start->times = *times;
    if (start->launch == NONE)
        counted_ended(s, start);
    else if (!pending)
        start_give(s, start);
    else if (pending->told)
        start_ended(s, start);
    else
        start->early = true;
}

bool schedule_report(struct schedule *s, const struct softgpu_launch_times *times, uint64_t *arrived_ns)
{
    bool launch = false;
    *arrived_ns = 0;
    pthread_mutex_lock(&s->lock);
    struct start *start = start_of(s, times->tag);
    if (start) {
        launch = !start->transfer;
        *arrived_ns = start->arrived_ns;
        if (start->stoppable)
            tally_stats_add(&start->session->stats, TALLY_COUNT_STOPPABLE_NS, times->active_ns);
        heard(s, start, times);
    } else if (work_is_tag(times->tag)) {
        launch = work_kind_of(times->tag) == WORK_LAUNCH;
        work_ended(s, times->tag, 1, times->active_ns);
    }
    pthread_mutex_unlock(&s->lock);
    return launch;
}

/* ---- sessions ---------------------------------------------------------------------------------- */

bool schedule_session_open(struct session *session)
{
    struct schedule *s = engine_schedule(session->engine);
    struct tally_sched_event event = {
        .type = TALLY_SCHED_SESSION_OPEN,
        .session = session->index,
        .job = session->config.job,
        .class_ = session->config.high ? TALLY_SCHED_HIGH : TALLY_SCHED_BEST_EFFORT,
        .priority = session->config.priority,
        .weight = session->config.weight ? session->config.weight : 1,
    };
    pthread_mutex_lock(&s->lock);
    int result = schedule_feed(s, &event);
    pthread_mutex_unlock(&s->lock);
    session->scheduled = result == 0;
    return result == 0;
}

void schedule_session_failed(struct session *session, CUresult error)
{
    struct schedule *s = engine_schedule(session->engine);
    pthread_mutex_lock(&s->lock);
    if (session->scheduled)
        forget(s, session, error);
    pthread_mutex_unlock(&s->lock);
}

/* For how long a launch has been held back while nothing of the session was with the device. The lock. */
static uint64_t waiting_ns(struct schedule *s, const struct session *session)
{
    if (session->starts_in_flight > 0 || !(session->held_ns || turns_are_open(s, session)))
        return 0;
    uint64_t from = session->held_ns > session->end_ns ? session->held_ns : session->end_ns;
    uint64_t now_ns = engine_now_ns();
    return now_ns > from ? now_ns - from : 0;
}

/* Under the lock. */
static void count(struct schedule *s, struct session *session)
{
    struct tally_sched_session_stats stats;
    if (!session->scheduled || tally_sched_read_session(s->core, session->index, &stats) != 0)
        return;
    tally_stats_set(&session->stats, TALLY_COUNT_STARTS, stats.starts);
    tally_stats_set(&session->stats, TALLY_COUNT_PREEMPTIONS, stats.preemptions);
    tally_stats_set(&session->stats, TALLY_COUNT_WAITED_NS, stats.waited_ns);
    tally_stats_set(&session->stats, TALLY_COUNT_SCHEDULED_NS, stats.gpu_ns);
    tally_stats_set(&session->stats, TALLY_COUNT_WAITING_NS, waiting_ns(s, session));
    struct tally_sched_histogram turnaround;
    if (tally_sched_read_turnaround(s->core, session->index, &turnaround) == 0)
        tally_histogram_take(&session->stats.timings[TALLY_TIME_TURNAROUND], &turnaround);
}

void schedule_session_close(struct session *session)
{
    struct schedule *s = engine_schedule(session->engine);
    pthread_mutex_lock(&s->lock);
    if (session->scheduled) {
        count(s, session);
        forget(s, session, CUDA_ERROR_CONTEXT_IS_DESTROYED);
        turns_close(s, session);
        schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_SESSION_CLOSE, .session = session->index});
        session->scheduled = false;
    }
    pthread_mutex_unlock(&s->lock);
}

void schedule_wake(struct session *session)
{
    struct schedule *s = engine_schedule(session->engine);
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&session->turn);
    pthread_mutex_unlock(&s->lock);
}

const char *schedule_validate(const struct session *session)
{
    struct schedule *s = engine_schedule(session->engine);
    uint32_t starts = 0, counted = 0;
    pthread_mutex_lock(&s->lock);
    const char *wrong = tally_sched_validate(s->core);
    for (uint32_t i = 0; i < SESSION_QUEUES_MAX; i++)
        starts += session->queue_starts[i];
    if (!wrong && starts != session->starts_in_flight)
        wrong = "a session's starts are not those of its queues";
    for (uint32_t i = 0; i < STARTS_MAX; i++) {
        if (s->starts[i].session != session)
            continue;
        starts--;
        counted += s->starts[i].launch == NONE;
    }
    uint32_t gated = 0;
    for (uint32_t i = 0; i < LAUNCHES_MAX; i++)
        gated += s->pendings[i].used && s->pendings[i].gated && s->pendings[i].session == session;
    if (!wrong && gated != atomic_load(&session->gates.outstanding))
        wrong = "a session's gates are not in the books";
    if (!wrong && starts != 0)
        wrong = "a session's starts are not in the books";
    if (!wrong && counted > s->works[session->index].pieces[WORK_LAUNCH])
        wrong = "starts that are counted as work were not counted";
    pthread_mutex_unlock(&s->lock);
    return wrong;
}

/* ---- settings and figures ---------------------------------------------------------------------- */

int schedule_set_policy(struct schedule *s, uint32_t policy)
{
    pthread_mutex_lock(&s->lock);
    int result = schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_SET_POLICY, .policy = policy});
    follow_policy(s);
    pthread_mutex_unlock(&s->lock);
    return result;
}

bool schedule_uses_levels(const struct schedule *s)
{
    return atomic_load_explicit(&s->levels, memory_order_relaxed);
}

uint32_t schedule_policy(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    uint32_t policy = tally_sched_policy(s->core);
    pthread_mutex_unlock(&s->lock);
    return policy;
}

int schedule_set_limits(struct schedule *s, const struct tally_sched_limits *limits)
{
    pthread_mutex_lock(&s->lock);
    int result = schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_SET_LIMITS, .limits = *limits});
    pthread_mutex_unlock(&s->lock);
    return result;
}

void schedule_read(struct schedule *s, struct tally_sched_stats *stats)
{
    pthread_mutex_lock(&s->lock);
    tally_sched_read_stats(s->core, stats);
    stats->rescues = s->rescues;
    pthread_mutex_unlock(&s->lock);
}

void schedule_count(struct session *session)
{
    struct schedule *s = engine_schedule(session->engine);
    pthread_mutex_lock(&s->lock);
    count(s, session);
    pthread_mutex_unlock(&s->lock);
}

uint32_t schedule_export_plans(struct schedule *s, struct tally_plan_record *records, uint32_t max)
{
    uint32_t count = 0, taken = EXPORT_MAX;
    while (count < max && taken == EXPORT_MAX) {
        pthread_mutex_lock(&s->lock);
        taken = tally_plans_export(s->plans, records + count, max - count < EXPORT_MAX ? max - count : EXPORT_MAX);
        pthread_mutex_unlock(&s->lock);
        count += taken;
    }
    return count;
}

/* The session's start that has been with the device for longest. Under the lock. */
static const struct start *oldest(const struct schedule *s, const struct session *session)
{
    const struct start *found = NULL;
    const uint8_t *at = s->start_owners, *end = at + STARTS_MAX;
    uint32_t left = session->starts_in_flight;
    for (; left > 0 && (at = memchr(at, (int)session->index + 1, (size_t)(end - at))) != NULL; at++, left--) {
        const struct start *start = &s->starts[at - s->start_owners];
        if (!found || start->taken_ns < found->taken_ns)
            found = start;
    }
    return found;
}

bool schedule_running(struct session *session, struct tally_running *running)
{
    struct schedule *s = engine_schedule(session->engine);
    pthread_mutex_lock(&s->lock);
    const struct start *start = oldest(s, session);
    uint64_t now_ns = engine_now_ns();
    if (start)
        *running = (struct tally_running){
            .session = session->config.session,
            .signature = start->transfer ? 0 : start->signature,
            .ns = now_ns > start->taken_ns ? now_ns - start->taken_ns : 0,
        };
    pthread_mutex_unlock(&s->lock);
    return start != NULL;
}

uint64_t schedule_plans_evicted(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t count = tally_plans_evicted(s->plans);
    pthread_mutex_unlock(&s->lock);
    return count;
}

uint32_t schedule_import_plans(struct schedule *s, const struct tally_plan_record *records, uint32_t count)
{
    uint32_t taken = 0;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < count; i++)
        taken += tally_plans_import(s->plans, &records[i]);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

/* ---- start and end ----------------------------------------------------------------------------- */

static void *run_timer(void *argument)
{
    struct schedule *s = argument;
    engine_library(s->engine)->cu.cuCtxSetCurrent(engine_context(s->engine));
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        if (s->timer_ns == TALLY_SCHED_NEVER) {
            pthread_cond_wait(&s->timer_set, &s->lock);
            continue;
        }
        uint64_t now_ns = engine_now_ns();
        if (now_ns >= s->timer_ns) {
            s->timer_ns = TALLY_SCHED_NEVER;
            schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_TIMER});
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)(s->timer_ns / 1000000000ull),
                                 .tv_nsec = (long)(s->timer_ns % 1000000000ull)};
        pthread_cond_timedwait(&s->timer_set, &s->lock, &until);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool make(struct schedule *s)
{
    _Static_assert(SESSIONS_MAX <= UINT8_MAX, "start_owners hold a session's index and one");
    struct tally_sched_config config;
    tally_sched_config_default(&config);
    config.sessions_max = SESSIONS_MAX;
    config.queues_max = SESSIONS_MAX * SESSION_QUEUES_MAX;
    config.launches_max = LAUNCHES_MAX;
    config.session_launches_max = SESSION_LAUNCHES_MAX;
    s->core = tally_sched_create(&config);
    s->plans = tally_plans_create(engine_config(s->engine)->plans_max);
    tally_rates_init(&s->rates);
    s->pendings = calloc(LAUNCHES_MAX, sizeof *s->pendings);
    s->starts = calloc(STARTS_MAX, sizeof *s->starts);
    if (!s->core || !s->plans || !s->pendings || !s->starts)
        return false;
    for (uint32_t i = 0; i < LAUNCHES_MAX; i++)
        s->pendings[i].next_free = i + 1 < LAUNCHES_MAX ? i + 1 : NONE;
    for (uint32_t i = 0; i < STARTS_MAX; i++)
        s->starts[i].next_free = i + 1 < STARTS_MAX ? i + 1 : NONE;
    follow_policy(s);
    s->timer_runs = pthread_create(&s->timer, NULL, run_timer, s) == 0;
    return s->timer_runs;
}

struct schedule *schedule_create(struct tally_engine *engine)
{
    struct schedule *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->engine = engine;
    s->timer_ns = TALLY_SCHED_NEVER;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->timer_set, &monotonic);
    pthread_condattr_destroy(&monotonic);
    /* Held for a hundred nanoseconds by threads that come together often: waiting is cheaper than sleeping. */
    pthread_mutexattr_t adaptive;
    pthread_mutexattr_init(&adaptive);
    pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&s->lock, &adaptive);
    pthread_mutexattr_destroy(&adaptive);
    if (make(s))
        return s;
    schedule_destroy(s);
    return NULL;
}

void schedule_destroy(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->timer_set);
    pthread_mutex_unlock(&s->lock);
    if (s->timer_runs)
        pthread_join(s->timer, NULL);
    if (s->core)
        tally_sched_destroy(s->core);
    if (s->plans)
        tally_plans_destroy(s->plans);
    free(s->pendings);
    free(s->starts);
    pthread_cond_destroy(&s->timer_set);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
