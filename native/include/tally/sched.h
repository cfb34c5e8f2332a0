/* The scheduler core: a state machine that knows no thread, no socket and no clock.
 *
 * The owner (the engine, the simulator, a test) feeds events with the time at which they happened
 * and carries out the instructions that come back, in order. All memory is taken by
 * tally_sched_create. One thread at a time may call into one scheduler; nothing here locks.
 *
 * Names are small integers that the owner chooses, so that every look-up is an array index: a
 * session (until CLOSED), a queue (one in-order stream of a session; bound to it while it holds a
 * launch) and a launch (from LAUNCH until COMPLETE or DROPPED).
 */
#ifndef TALLY_SCHED_H
#define TALLY_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TALLY_SCHED_NEVER UINT64_MAX
#define TALLY_SCHED_INSTRUCTIONS_MIN 8u /* least room that a call may offer */
#define TALLY_SCHED_BUCKETS 256u        /* of a histogram; see tally_sched_bucket_floor */

enum tally_sched_error {
    TALLY_SCHED_INVALID = -1, /* the event does not fit the state; nothing changed */
    TALLY_SCHED_FULL = -2, /* the session has its share of launches outstanding; hold the op back */
};

enum tally_sched_class { TALLY_SCHED_BEST_EFFORT = 0, TALLY_SCHED_HIGH = 1 };

/* How launches of one signature are run; chosen from measurements (plan.h). */
enum tally_sched_plan_kind {
    TALLY_SCHED_WHOLE = 0,
    TALLY_SCHED_SLICED = 1,
    TALLY_SCHED_PREEMPTIBLE = 2, /* guarded: stops at the next block once its flag is set */
};

struct tally_sched_plan {
    uint32_t kind;
    uint32_t slice_blocks; /* SLICED: blocks per slice, at least 1 */
    uint64_t whole_ns;     /* estimated device time of all blocks; 0: not known yet */
    uint64_t slice_ns;     /* SLICED: estimated device time of one slice, at least 1 */
    uint64_t
        stop_ns; /* PREEMPTIBLE: estimated time from the flag to the last block; 0: not known */
    uint32_t guardable; /* WHOLE: 1: may run through the guard all the same, behind a guarded launch
                           in flight, where an unguarded one would have to wait for news of that
                           one's end */
    uint32_t reserved;
};

struct tally_sched_limits {
    uint64_t turnaround_ns_max; /* best-effort work in flight that cannot be stopped */
    uint64_t
        alone_ns_max; /* the same while only one session is open, if greater: nobody's launch waits,
                         and a session that opens takes longer than this to launch anything */
    /* How long best-effort work waits after high's last launch: as long as it takes to tell high's
     * short gaps from its long ones (sched/gaps.c). */
    uint64_t hysteresis_ns;   /* until there have been enough gaps, and under policy `kernel` */
    uint64_t gap_wait_ns_max; /* never longer than that, or hysteresis_ns, if greater */
    uint64_t quantum_ns;      /* device time per round and unit of weight among best-effort jobs */
    uint64_t timeslice_ns;    /* one turn, policy `timeslice` */
    uint32_t
        preemptible_depth; /* guarded launches in flight in one queue: while one runs, the next is
                              there. Above 1 only where flags go up in the order of the PREEMPT
                              instructions, the youngest launch first: then whatever is behind a
                              stopped launch does not begin, and program order holds. */
    uint32_t stops_permil_max; /* what stops of work that starts in short gaps may cost high, in
                                  thousandths of its time: busy, and these gaps. Longer gaps are
                                  always used */
    uint32_t best_effort_permil_min; /* tally, kernel: the floor. Best-effort work is with the
                                        device for this share of the time, in thousandths, however
                                        busy high is; 0: none */
    uint32_t watchdog_times; /* a preempted launch is rescued when it has taken this multiple of its
                                estimate, in time without high work; 0: never */
    uint64_t watchdog_ns_min; /* and at least this long */
};

struct tally_sched_config {
    uint32_t sessions_max, queues_max, launches_max;
    uint32_t session_launches_max; /* outstanding launches of one session */
    uint32_t levels;               /* stream priorities of the device, at least 2 */
    uint32_t policy;               /* index into the table of policies */
    struct tally_sched_limits limits;
};

enum tally_sched_event_type {
    TALLY_SCHED_CONTINUE = 0,      /* the last call filled its room: go on */
    TALLY_SCHED_SESSION_OPEN = 1,  /* session, job, class, priority, weight */
    TALLY_SCHED_SESSION_SET = 2,   /* the same, for an open session */
    TALLY_SCHED_SESSION_CLOSE = 3, /* session: what has not started is dropped */
    TALLY_SCHED_LAUNCH = 4,        /* session, queue, launch, blocks, plan, started */
    TALLY_SCHED_STARTED = 5,   /* launch: its first block runs (optional; sharpens the accounts) */
    TALLY_SCHED_FINISHED = 6,  /* launch, lo, hi: a start's blocks have all run */
    TALLY_SCHED_PREEMPTED = 7, /* launch, lo, blocks: stopped; every block below lo has run, and
                                  `blocks` of the start's blocks in all */
    TALLY_SCHED_FAILED =
        8, /* launch: the device refused or aborted it; no block will run any more */
    TALLY_SCHED_TIMER = 9,       /* the time asked for by SET_TIMER has come */
    TALLY_SCHED_SET_POLICY = 10, /* policy */
    TALLY_SCHED_SET_LIMITS = 11, /* limits */
    TALLY_SCHED_WORK =
        12, /* session: high work that is counted only, `blocks` pieces of it, is about to
               go to the device; started: 1: launches that the books do not hold */
    TALLY_SCHED_WORK_ENDED =
        13, /* session, blocks, started, gpu_ns: `blocks` pieces of it have ended */
    TALLY_SCHED_RECALLED = 14, /* launch, lo: the launch's last starts, from block lo on, were not
                                  issued. None of them is guarded. What waits is decided on anew */
    TALLY_SCHED_COMING = 15, /* blocks: the number of high launches that are about to be issued and
                                will be submitted afterwards (LAUNCH with started). Until CAME,
                                best-effort work does not start. Decides nothing by itself */
    TALLY_SCHED_CAME = 16, /* blocks: how many of these are submitted next, or were not issued after
                              all. Decides nothing by itself */
};

struct tally_sched_event {
    uint32_t type;
    uint32_t session, queue, launch;
    uint32_t class_, weight; /* weight: 1..1024 */
    int32_t priority;        /* inside the class, greater goes first */
    uint32_t policy;
    uint32_t blocks, lo, hi;
    uint32_t started;  /* LAUNCH: 1: the owner has put this high launch on the device already */
    uint32_t transfer; /* LAUNCH: 1: a copy or a fill, which is not among the session's launches and
                          starts */
    uint64_t job; /* SESSION_OPEN: sessions of one job share its part, and the weight told last; 0:
                     of none */
    uint64_t
        gpu_ns; /* FINISHED, PREEMPTED: measured device time; 0: derived from the times of events */
    /* FINISHED, PREEMPTED, where the device tells; 0: unknown. For the turnaround: what began after
     * the high launch came, behind it, was not in its way. */
    uint64_t began_ns;   /* when its first block began */
    uint64_t cleared_ns; /* when it was out of the way of more urgent work, if before now */
    struct tally_sched_plan plan;
    struct tally_sched_limits limits;
};

enum tally_sched_instruction_type {
    TALLY_SCHED_START = 1,     /* launch, lo, hi, level, flags */
    TALLY_SCHED_PREEMPT = 2,   /* launch: raise its flag; PREEMPTED or FINISHED must follow. All
                                  guarded starts of a queue are preempted together */
    TALLY_SCHED_COMPLETE = 3,  /* launch: every block has run; what waits behind it may go */
    TALLY_SCHED_DROPPED = 4,   /* launch: gone with its session or by FAILED */
    TALLY_SCHED_CLOSED = 5,    /* session: nothing of it is left */
    TALLY_SCHED_SET_TIMER = 6, /* time_ns, earlier than the one armed before, if any: replaces it */
    TALLY_SCHED_RESCUE = 7,    /* launch, preempted: its blocks wait for blocks that have not begun.
                                  Start these at once, beside it and unguarded. FINISHED follows when
                                  all have run; or PREEMPTED, if the launch had ended before */
};

enum tally_sched_start_flag {
    TALLY_SCHED_START_PREEMPTIBLE = 1, /* through the guard, flag down */
    TALLY_SCHED_START_FINAL = 2,   /* runs to the launch's end unasked: stream order is enough for
                                      what comes behind it */
    TALLY_SCHED_START_RESUMED = 4, /* some blocks of [lo, hi) have run: the guard's marks decide */
};

struct tally_sched_instruction {
    uint32_t type;
    uint32_t launch, session;
    uint32_t lo, hi;
    uint32_t level; /* 0: best-effort; greater: more urgent; below config.levels */
    uint32_t flags;
    uint32_t epoch; /* of START: when it was decided, see tally_sched_is_stale */
    uint64_t time_ns;
};

struct tally_sched_histogram {
    uint64_t count, sum, max;
    uint64_t buckets[TALLY_SCHED_BUCKETS];
};

struct tally_sched_stats {
    struct tally_sched_histogram turnaround_ns; /* arrivals of high that met best-effort work */
    uint64_t turnaround_unmet;                  /* arrivals that met none */
    uint64_t turnaround_missed;       /* that are not measured: too many at once, or a job in flight
                                         changed its class */
    uint64_t turnaround_estimated_ns; /* sum of the estimates that belong to the histogram */
    uint64_t turnaround_error_ns;     /* sum of |measured - estimated| */
    uint64_t oversized;               /* starts beyond the bound, alone */
    uint64_t rescues;                 /* launches that did not stop by themselves */
};

struct tally_sched_session_stats {
    uint64_t launches, completed; /* of kernels, and so their starts */
    uint64_t starts, preemptions; /* starts: whole, slices and resumptions */
    uint64_t waited_ns;           /* from LAUNCH to the first start */
    uint64_t gpu_ns;              /* device time; for best-effort: harvested */
};

struct tally_sched;

/* NULL if the configuration makes no sense or memory is short. */
struct tally_sched *tally_sched_create(const struct tally_sched_config *config);
void tally_sched_destroy(struct tally_sched *sched);
void tally_sched_config_default(struct tally_sched_config *config);

/* Number of instructions written to out, or an error. A full room (n == max) may not be all: call
 * again with CONTINUE. Time never runs backwards: an earlier now_ns counts as the latest one seen.
 */
int tally_sched_handle(struct tally_sched *sched, const struct tally_sched_event *event,
                       uint64_t now_ns, struct tally_sched_instruction *out, size_t max);

/* NULL, or what is wrong with the state. For tests and the simulator: walks everything. */
const char *tally_sched_validate(const struct tally_sched *sched);

/* Whether this session may submit one more launch now. */
bool tally_sched_has_room(const struct tally_sched *sched, uint32_t session);
/* A launch of the session that is not complete; UINT32_MAX: there is none. */
uint32_t tally_sched_launch_of(const struct tally_sched *sched, uint32_t session);
/* Whether the policy lets a high launch be issued before it is submitted (LAUNCH with started). */
bool tally_sched_high_at_once(const struct tally_sched *sched);
/* Whether the policy gives high streams the device's high priority: START's level, for work without
 * a START. */
bool tally_sched_uses_levels(const struct tally_sched *sched);
/* Whether high has come since this START was decided. The start could not be stopped once it is
 * issued, and would be in high's way: the owner asks before it issues the start, and recalls it if
 * so (RECALLED). */
bool tally_sched_is_stale(const struct tally_sched *sched,
                          const struct tally_sched_instruction *start);
/* How much best-effort work that cannot be stopped may be in flight now: what plans are chosen for.
 */
uint64_t tally_sched_bound(const struct tally_sched *sched);
uint32_t tally_sched_policy(const struct tally_sched *sched);

void tally_sched_read_stats(const struct tally_sched *sched, struct tally_sched_stats *stats);
int tally_sched_read_session(const struct tally_sched *sched, uint32_t session,
                             struct tally_sched_session_stats *stats);
/* Of an open session. High: how long best-effort work was in the way of its launches that ended
 * high's idleness and met some. Best-effort: how long its work was in the way each time. */
int tally_sched_read_turnaround(const struct tally_sched *sched, uint32_t session,
                                struct tally_sched_histogram *turnaround_ns);
/* Smallest value that falls into a bucket: eight buckets per power of two, exact below 8. */
uint64_t tally_sched_bucket_floor(uint32_t bucket);

/* The table of policies (sched/policies.c). */
enum tally_sched_policy_trait {
    TALLY_SCHED_HIGH_AT_ONCE = 1, /* high launches need no decision */
    TALLY_SCHED_LEVELS =
        2, /* the device prefers high's blocks to best-effort ones that have not begun */
    TALLY_SCHED_GIVES_WAY =
        4, /* best-effort work does not start while high is busy, but for its floor */
    TALLY_SCHED_BOUNDED = 8, /* best-effort work that cannot be stopped is kept under the bound */
};
uint32_t tally_sched_policy_count(void);
const char *tally_sched_policy_name(uint32_t policy); /* NULL beyond the table */
const char *tally_sched_policy_text(uint32_t policy); /* one line for people */
uint32_t tally_sched_policy_traits(uint32_t policy);  /* 0 beyond it */

#endif
