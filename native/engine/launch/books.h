/* The scheduler's books: launches and starts that are with the core or the device, by number.
 * Everything here is under schedule.lock. */
#ifndef TALLY_ENGINE_BOOKS_H
#define TALLY_ENGINE_BOOKS_H

#include "engine/device/stores.h"
#include "engine/launch/pending.h"
#include "engine/launch/schedule.h"
#include "engine/launch/times.h"
#include "engine/launch/trace.h"
#include "engine/launch/transfer.h"
#include "engine/launch/work.h"
#include "engine/parts.h"
#include "tally/plans.h"

struct launch;

#define LAUNCHES_MAX 16384u
#define STARTS_MAX 16384u
#define SESSION_LAUNCHES_MAX 1024u
#define INSTRUCTIONS_MAX 64u
#define NONE UINT32_MAX
#define QUEUE_OF(launch) ((launch)->stream->queue % SESSION_QUEUES_MAX)

/* One start in flight. Its tag comes back with the device's report. */
struct start {
    uint32_t next_free;
    uint32_t generation;
    uint32_t queue; /* of its session */
    /* The serial differs: the launch is gone, and another one may have its place; launch NONE: it
     * is counted as work (work.c). */
    uint32_t launch, serial;
    uint32_t lo, hi, flags;
    uint64_t arrived_ns, issued_ns; /* issued_ns 0: nobody records */
    uint64_t taken_ns;              /* when it was about to go to the device */
    uint64_t signature;
    struct session *session; /* NULL: free */
    bool stoppable;          /* of a best-effort kernel that has a guarded form */
    bool transfer;           /* not a kernel's */
    bool beside;             /* the rescue's own */
    bool early;              /* it ended before the core was told that it began */
    struct launch_times times;
};

struct schedule {
    struct tally_engine *engine;
    struct tally_sched *core;
    struct tally_plans *plans;
    struct tally_rates rates;
    pthread_mutex_t lock;
    pthread_cond_t timer_set;
    pthread_t timer;
    bool timer_runs, stopping;
    uint64_t timer_ns;
    struct pending *pendings;
    struct start *starts;
    struct work_books works[SESSIONS_MAX]; /* by session */
    uint64_t rescues;                      /* that were made: the core asks for more (rescue.c) */
    /* 1 + index of each start's session, 0: free; quick to look through. */
    uint8_t start_owners[STARTS_MAX];
    uint32_t pending_free, start_free;
    uint32_t pending_end; /* places from here on were never used */
    _Atomic bool high_at_once, levels;
};

/* Lets go of the lock, and then makes the driver's calls that were decided under it. */
static inline void schedule_unlock(struct schedule *s)
{
    pthread_mutex_unlock(&s->lock);
    stores_go(&s->engine->driver);
}

/* NONE: there are too many. */
uint32_t pending_take(struct schedule *s, struct session *session, const struct launch *launch);
void pending_give(struct schedule *s, uint32_t index);

/* Its tag; 0: there are too many. */
uint64_t start_take(struct schedule *s, const struct launch *what, uint32_t launch, uint32_t lo,
                    uint32_t hi, uint32_t flags);
/* NULL: not one of ours, or reported by now. */
struct start *start_of(struct schedule *s, uint64_t tag);
void start_give(struct schedule *s, struct start *start);
/* The start's launch; NULL: it was dropped, or was never in the books: a report then only frees the
 * start. */
struct pending *pending_of(struct schedule *s, const struct start *start);
/* Of a launch that is not in the books: nothing else will tell of its end. */
void start_trace(struct schedule *s, const struct start *start);

/* That a launch was refused because the books are full. Without the lock. */
void schedule_tell_full(struct session *session);

static inline bool is_guarded(uint32_t flags)
{
    return flags & (TALLY_SCHED_START_PREEMPTIBLE | TALLY_SCHED_START_RESUMED);
}

/* What the core is told of the launch; its plan is not in it. */
struct tally_sched_event launch_event(const struct launch *launch, uint32_t index);
/* Whether a block's end can stop it, whatever the plan makes of that. */
bool launch_is_stoppable(const struct launch *launch);
/* A record of a launch of whose end nothing will be known. No lock. */
void launch_trace_untimed(const struct launch *launch);

#endif
