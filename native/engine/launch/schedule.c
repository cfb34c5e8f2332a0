#include "engine/launch/schedule.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/launch/books.h"
#include "engine/launch/feed.h"
#include "engine/launch/open.h"
#include "engine/launch/report.h"
#include "engine/launch/settings.h"
#include "engine/parts.h"
#include "engine/session/session.h"
#include "engine/streams/queues.h"

/* ---- sessions ------------------------------------------------------------------------------- */

bool schedule_session_open(struct session *session)
{
    struct schedule *s = session->engine->schedule;
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
    schedule_unlock(s);
    session->books.scheduled = result == 0;
    return result == 0;
}

/* For how long a launch has been held back while nothing of the session was with the device. The
 * lock. */
static uint64_t waiting_ns(struct schedule *s, const struct session *session)
{
    if (session->books.starts_in_flight > 0 || !(session->books.held_ns || open_any(s, session)))
        return 0;
    uint64_t from = session->books.held_ns > session->books.end_ns ? session->books.held_ns
                                                                   : session->books.end_ns;
    uint64_t now_ns = engine_now_ns();
    return now_ns > from ? now_ns - from : 0;
}

/* Under the lock. */
static void count(struct schedule *s, struct session *session)
{
    struct tally_sched_session_stats stats;
    if (!session->books.scheduled || tally_sched_read_session(s->core, session->index, &stats) != 0)
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

/* The session's start that has been with the device for longest. Under the lock. */
static const struct start *oldest(const struct schedule *s, const struct session *session)
{
    const struct start *found = NULL;
    const uint8_t *at = s->start_owners, *end = at + STARTS_MAX;
    uint32_t left = session->books.starts_in_flight;
    for (; left > 0 && (at = memchr(at, (int)session->index + 1, (size_t)(end - at))) != NULL;
         at++, left--) {
        const struct start *start = &s->starts[at - s->start_owners];
        if (!found || start->taken_ns < found->taken_ns)
            found = start;
    }
    return found;
}

bool schedule_running(struct session *session, struct tally_running *running)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    const struct start *start = oldest(s, session);
    uint64_t now_ns = engine_now_ns();
    if (start)
        *running = (struct tally_running){
            .session = session->config.session,
            .signature = start->transfer ? 0 : start->signature,
            .ns = now_ns > start->taken_ns ? now_ns - start->taken_ns : 0,
        };
    schedule_unlock(s);
    return start != NULL;
}

void schedule_session_close(struct session *session)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    if (session->books.scheduled) {
        count(s, session);
        schedule_forget(s, session, CUDA_ERROR_CONTEXT_IS_DESTROYED);
        open_close(s, session);
        schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_SESSION_CLOSE,
                                                     .session = session->index});
        session->books.scheduled = false;
    }
    schedule_unlock(s);
}

void schedule_count(struct session *session)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    count(s, session);
    schedule_unlock(s);
}

/* ---- start and end -------------------------------------------------------------------------- */

static void *run_timer(void *argument)
{
    struct schedule *s = argument;
    s->engine->driver.cu.cuCtxSetCurrent(s->engine->driver.context);
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        if (stores_wanted(&s->engine->driver)) {
            schedule_unlock(s);
            pthread_mutex_lock(&s->lock);
            continue;
        }
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
    schedule_unlock(s);
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
    s->plans = tally_plans_create(s->engine->config.plans_max);
    tally_rates_init(&s->rates);
    s->pendings = calloc(LAUNCHES_MAX, sizeof *s->pendings);
    s->starts = calloc(STARTS_MAX, sizeof *s->starts);
    if (!s->core || !s->plans || !s->pendings || !s->starts)
        return false;
    for (uint32_t i = 0; i < LAUNCHES_MAX; i++)
        s->pendings[i].next_free = i + 1 < LAUNCHES_MAX ? i + 1 : NONE;
    for (uint32_t i = 0; i < STARTS_MAX; i++)
        s->starts[i].next_free = i + 1 < STARTS_MAX ? i + 1 : NONE;
    schedule_follow_policy(s);
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
    /* Held for a hundred nanoseconds by threads that come together often: waiting is cheaper than
     * sleeping. */
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
    schedule_unlock(s);
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
