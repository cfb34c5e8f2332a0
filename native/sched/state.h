/* What the scheduler keeps. Not for anybody outside native/sched. */
#ifndef TALLY_SCHED_STATE_H
#define TALLY_SCHED_STATE_H

#include "tally/assert.h"
#include "tally/sched.h"

#define NONE UINT32_MAX
#define SLICES_MAX 4u /* slices of one launch in flight: enough to hide a completion's way back */
#define WEIGHT_MAX 1024u
#define GAP_BUCKETS 64u     /* of high's gaps, up to 2^26 ns */
#define BYPASS_NS 50000000u /* see bypass.c */
#define ARRIVALS_MAX 64u    /* of high, until the first of what they met has ended */

struct policy; /* policy.h */

struct launch {
    bool used, preempting, preempted, dropped, waiting, guarded;
    bool watched, rescued; /* preempting: see watchdog.c */
    bool transfer;         /* not a kernel's: others' figures */
    uint32_t session, queue;
    uint32_t next, prev; /* in its queue, program order */
    uint32_t waiting_next,
        waiting_prev; /* in sched.waiting[class]: not fully issued, order of arrival */
    uint32_t guarded_next, guarded_prev; /* in sched.guarded: guarded starts in flight */
    uint32_t blocks, done;               /* done: blocks that have run */
    uint32_t lo;                         /* every block below has run */
    uint32_t issued;                     /* every block below has run or is in flight */
    uint32_t starts, ends[SLICES_MAX];   /* starts in flight, oldest first, by where each ends */
    uint64_t numbers[SLICES_MAX];        /* of those starts, see sched.best_effort_starts */
    struct tally_sched_plan plan;
    uint64_t submitted_ns, sequence;
    uint64_t started_ns;  /* of the oldest start in flight */
    uint64_t charge_ns;   /* unstoppable work that its starts in flight stand for, by themselves */
    uint64_t stopping_ns; /* watched: sched.clear_ns when it was told to stop */
};

struct queue {
    uint32_t session;      /* NONE while empty */
    uint32_t head, tail;   /* launches that are not complete */
    uint32_t cursor;       /* first of them that is not fully issued */
    uint32_t next, prev;   /* ring of the session's queues that hold launches */
    uint64_t charge_ns;    /* unstoppable work that its starts in flight stand for together */
    uint64_t unguarded_ns; /* the same of those that are not guarded */
    uint32_t starts;       /* in flight */
    uint32_t guarded;      /* of those, behind the guard */
    uint32_t preempting;   /* of those, told to stop */
};

struct session {
    bool open, closing;
    uint32_t class_, job; /* job: its place in sched.jobs */
    int32_t priority;
    uint32_t ring;        /* a queue that holds launches; NONE */
    uint32_t next, prev;  /* ring of sessions that have launches waiting, in sched.ready */
    uint32_t outstanding; /* launches not complete */
    uint64_t counted;     /* other work with the device, of which nothing else is kept (work.c) */
    uint32_t waiting;     /* of those, not fully issued */
    uint32_t starts;      /* in flight */
    uint64_t charge_ns;   /* unstoppable work in flight */
    uint64_t cleared_ns;  /* when the last of what arrivals met of it was out of the way */
    struct tally_sched_session_stats stats;
};

/* Sessions that share one part of the device. A slot is in use while it has any. */
struct job {
    uint64_t number; /* the owner's; 0: of one session by itself */
    uint32_t sessions, weight;
    int64_t deficit_ns; /* device time it may still use before others get theirs */
};

struct waiting_list {
    uint32_t head, tail;
};

/* Sums over the sessions of one class. */
struct class_sums {
    uint32_t busy; /* sessions that have launches, or counted work */
    uint32_t waiting, starts;
    uint64_t outstanding; /* launches and counted work */
    uint64_t charge_ns;
};

/* High has come. Of the best-effort starts that were in flight then, which all have numbers
 * below `number`: how many are left, and until when the others were in the way. */
struct arrival {
    uint64_t came_ns, cleared_ns, estimate_ns, number;
    uint32_t starts, session; /* session: who came; NONE: gone since */
};

/* How long high was idle each time, the older the less it counts. */
struct gaps {
    uint32_t counts[GAP_BUCKETS], count; /* by length */
    uint64_t busy_ns, busy_since_ns;     /* high's time between these gaps */
    uint64_t number;                     /* of gaps so far */
    uint64_t wait_ns, bound_ns; /* how long what stops within the bound waits in this gap, and the
                                   bound when that was computed; 0: it was not */
};

/* What best-effort work may still use of the time that it has while high is busy (floor.c). */
struct floor {
    int64_t credit_ns;
    uint32_t parts; /* thousandths of a nanosecond */
    bool open;
};

struct tally_sched {
    struct tally_sched_config config;
    struct tally_sched_limits limits;
    uint32_t policy; /* in force: its place in the table, and itself */
    const struct policy *in_force;
    struct session *sessions;
    struct job *jobs;
    struct tally_sched_histogram *turnarounds; /* by session */
    struct queue *queues;
    struct launch *launches;
    uint32_t ready; /* ring of sessions with waiting launches; NONE */
    uint32_t round; /* where in that ring the next choice begins; NONE: at its head */
    void *
        policy_state; /* the policy's own, of as many bytes as the neediest of the table asks for */
    uint32_t closing; /* sessions being closed */
    uint32_t sessions_open;
    struct waiting_list waiting[2]; /* by class */
    uint32_t guarded;               /* head of the list of guarded starts in flight */
    struct class_sums sums[2];
    uint64_t sequence;
    uint64_t now_ns, high_idle_ns; /* when the last high launch went; 0: none so far */
    struct gaps gaps;
    struct floor floor;
    uint64_t clear_ns; /* how long the device has been without high work, so far (watchdog.c) */
    uint64_t last_finish_ns[2]; /* by class: the device runs what is of one level in order */
    uint64_t contended_ns;      /* since when more than one best-effort session is busy */
    uint64_t allowance_ns;      /* charge in flight that an earlier policy, limit or class let in */
    uint64_t timer_ns;          /* armed; NEVER */
    uint64_t wish_ns;           /* what the policy wants armed, set while it decides */
    uint32_t coming;            /* launches of high between COMING and CAME */
    bool held;                  /* best-effort work may not start, for high's sake */
    uint32_t epoch;             /* how often that began: what was decided before is stale */
    struct arrival arrivals[ARRIVALS_MAX]; /* whose turnaround is being measured, oldest first */
    uint32_t arrival_count;
    uint64_t best_effort_starts; /* so far */
    struct tally_sched_stats stats;
    struct tally_sched_instruction *out; /* of the call in progress */
    size_t out_count, out_max;
};

static inline bool tally_sched_is_idle(const struct session *session)
{
    return session->outstanding == 0 && session->counted == 0;
}

#endif
