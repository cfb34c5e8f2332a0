/* The engine: one GPU, its driver library, and the sessions that share it. What tally._native
 * binds.
 *
 * Threads: the caller's (open, close, events, snapshots; any thread, one call at a time per
 * engine), one watch thread, and for each session one thread for ops plus threads that wait on the
 * device. None of them holds Python's lock. What happens without being asked for comes out of
 * tally_engine_next_event. */
#ifndef TALLY_ENGINE_H
#define TALLY_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/stats.h"
#include "tally/address.h"
#include "tally/plans.h"
#include "tally/protocol.h"

#define TALLY_REASON_BYTES 512u
#define TALLY_SESSIONS_MAX (TALLY_TENANTS_MAX - 1u) /* of one engine: tenant 0 is nobody's */

/* PTX with guarded and sub-grid forms of a module image's kernels (names end in
 * TALLY_GUARDED_SUFFIX, TALLY_SUBGRID_SUFFIX): where tally_rewrite_beside_fn says so, a module of
 * these alone, else all of the module with these beside the original kernels. Made with
 * tally_engine_buffer, *text_bytes without the NUL. NULL: the image has no PTX, or it cannot be
 * rewritten. Called on any thread, takes its time. */
typedef void *(*tally_rewrite_fn)(const void *image, size_t bytes, size_t *text_bytes);
/* Not 0: the kernels' forms may be in a module of their own, which is made in the background, as
 * they can reach what variables they use of the kernels' module. *text stays NULL, or is the PTX
 * that the forms will come from, where the image has more than that: to be loaded in the image's
 * place, as kernels and forms must be the same code. What is compiled for another architecture may
 * share its work among blocks in another way, and programs ask a kernel which it is (CUB does).
 * Called on session threads, answers soon; *text as above. */
typedef int (*tally_rewrite_beside_fn)(const void *image, size_t bytes, char **text);
#define TALLY_GUARDED_SUFFIX "__tallyguard"
#define TALLY_SUBGRID_SUFFIX "__tallysub"
/* Where forms alone use variables of the kernels' module, their text begins with a line of these
 * variables' names, and they read the addresses from an array of that name, in that order. */
#define TALLY_VARIABLES_LINE "// variables: "
#define TALLY_VARIABLES "tally_variables"
void *tally_engine_buffer(size_t bytes); /* malloc, zeroed */

/* What a signature stands for: a kernel in one shape. */
#define TALLY_KERNEL_NAME_BYTES 1024u
struct tally_kernel {
    uint64_t signature, code; /* code: a hash of the module's image and the kernel's name */
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t blocks_per_sm; /* that fit on one multiprocessor at once; 0: not known */
    uint32_t abilities;     /* enum tally_plan_ability */
    uint32_t reserved;
    char name[TALLY_KERNEL_NAME_BYTES]; /* cut where it is longer; empty: not known */
};

enum tally_trace_kind { TALLY_TRACE_LAUNCH = 1, TALLY_TRACE_REQUEST = 2 };
enum tally_trace_flag {
    TALLY_TRACE_GUARDED =
        1, /* it could be stopped: its session took no further op before its end */
    TALLY_TRACE_UNTIMED = 2, /* start, end and device_ns are not known: it went past the scheduler,
                                or its session was over before its end was reported */
};
/* One launch, or one request: from the first work after idle until the blocking wait that returns
 * the session to idle. Times are of CLOCK_MONOTONIC. */
struct tally_trace_record {
    uint64_t session;
    uint64_t signature; /* LAUNCH */
    uint64_t submit_ns; /* LAUNCH: taken off the socket. REQUEST: its first work was */
    uint64_t
        issue_ns; /* LAUNCH: its last start was given to the driver, or let go there (gate.h) */
    uint64_t start_ns;  /* LAUNCH: its first block ran, as far as the driver tells */
    uint64_t end_ns;    /* LAUNCH: its last block had run. REQUEST: the wait returned */
    uint64_t device_ns; /* LAUNCH: of all its starts */
    uint32_t
        stream; /* LAUNCH: a small number, the session's own; TALLY_TRACE_NO_STREAM with UNTIMED */
    uint32_t starts, preemptions;
    uint16_t kind, flags;
};
#define TALLY_TRACE_NO_STREAM UINT32_MAX

struct tally_engine;

struct tally_engine_config {
    const char *driver;          /* path or name for dlopen */
    const char *runtime_dir;     /* where sessions' sockets are made */
    const char *waiting_kernels; /* see meeting.h; NULL: none. Valid while the engine lives */
    uint32_t device;             /* ordinal at the driver */
    uint32_t
        connect_ms_max; /* for a client to connect to a session that it has opened; 0: for ever */
    uint64_t pinned_bytes_max, pinned_bytes_job_max, pinned_bytes_session_max; /* 0: no limit */
    uint64_t queue_bytes_max;  /* ops of one session that wait in the executor */
    uint64_t module_bytes_max; /* of one module's image */
    uint32_t plans_max;
    uint32_t stream_queues_max, gated_launches_max, blocking_calls_max,
        pinned_pieces_max;     /* of a session */
    uint32_t stream_waits_max; /* of a stream */
    uint32_t event_timing; /* 1: time launches with events even where the driver reports times by
                              itself */
    uint32_t soft; /* 1: the driver must be softgpu, its compiler set; the rest is for it alone */
    uint32_t soft_devices, soft_workers, soft_dry;
    uint64_t soft_memory_bytes;
    tally_rewrite_fn rewrite;               /* NULL: kernels run whole */
    tally_rewrite_beside_fn rewrite_beside; /* NULL: never */
};

struct tally_session_config {
    uint64_t session; /* tallyd's number; unique in the engine */
    uint64_t job;     /* sessions of one share its part of the device; 0: of none */
    uint64_t process; /* the only peer that may connect, as struct tally_gate_peer has it; or 0 */
    uint32_t pid, uid, gid;          /* and its credentials, which count alone where that is 0 */
    uint32_t high;                   /* class */
    int32_t priority;                /* inside the class */
    uint32_t weight;                 /* share among best-effort jobs; 0: 1 */
    uint32_t slot_count, slot_bytes; /* of the segment; multiples of a page */
    uint64_t memory_max; /* bytes of device memory that its job may have; 0: the device's */
};

enum tally_engine_event_type {
    TALLY_ENGINE_CLOSED = 1, /* session is gone; reason, stats */
    TALLY_ENGINE_FAULT = 2,  /* session got a sticky error */
    TALLY_ENGINE_LOST = 3, /* the context is poisoned for everybody: the process must be replaced */
    TALLY_ENGINE_NOTICE = 4,  /* the session's user is told something: reason */
    TALLY_ENGINE_RESCUED = 5, /* the kernel that reason names did not stop when told to */
};

struct tally_engine_event {
    uint32_t type;
    int32_t error; /* CUresult */
    uint64_t session;
    char reason[TALLY_REASON_BYTES];
    struct tally_session_stats stats;
};

/* Loads the driver, takes the device's primary context, starts the watch thread. NULL, and one line
 * of text in error[], if anything is missing. */
struct tally_engine *tally_engine_create(const struct tally_engine_config *config, char *error,
                                         size_t error_bytes);
/* Ends every session, waits for their threads, frees everything. */
void tally_engine_destroy(struct tally_engine *engine);

void tally_engine_device(const struct tally_engine *engine, struct tally_device_info *info,
                         int32_t *driver_version);

/* 0 and what the client must know, or -1 and one line of text. */
int tally_engine_open(struct tally_engine *engine, const struct tally_session_config *config,
                      struct tally_open_reply *reply, char *error, size_t error_bytes);
/* Asks the session to end; TALLY_ENGINE_CLOSED follows. -1: there is no such session. */
int tally_engine_close(struct tally_engine *engine, uint64_t session, const char *reason);

/* Readable while events are waiting. */
int tally_engine_event_fd(const struct tally_engine *engine);
/* 1 and the oldest event, or 0. */
int tally_engine_next_event(struct tally_engine *engine, struct tally_engine_event *event);

/* Statistics of up to `max` open sessions; returns how many were written. */
uint32_t tally_engine_snapshot(struct tally_engine *engine, struct tally_session_stats *stats,
                               uint32_t max);

/* The scheduler. -1: there is no such policy, or the limits make no sense. */
/* NULL, or what is wrong with the scheduler's books: walks everything. */
const char *tally_engine_validate(struct tally_engine *engine);
int tally_engine_set_policy(struct tally_engine *engine, uint32_t policy);
uint32_t tally_engine_policy(struct tally_engine *engine);
int tally_engine_set_limits(struct tally_engine *engine, const struct tally_sched_limits *limits);
void tally_engine_schedule(struct tally_engine *engine, struct tally_sched_stats *stats);
/* Plans that changed since the last export, to be kept; and back, at the next start. */
uint32_t tally_engine_export_plans(struct tally_engine *engine, struct tally_plan_record *records,
                                   uint32_t max);
uint32_t tally_engine_import_plans(struct tally_engine *engine,
                                   const struct tally_plan_record *records, uint32_t count);
/* Plans that were forgotten, for there are more than plans_max. */
uint64_t tally_engine_plans_evicted(struct tally_engine *engine);

/* What a session has had with the device for longest. */
struct tally_running {
    uint64_t session;
    uint64_t signature; /* 0: a copy or a fill */
    uint64_t ns;        /* for so long, with what was ahead of it there */
};
/* Of up to `max` open sessions, those that have anything; returns how many. */
uint32_t tally_engine_running(struct tally_engine *engine, struct tally_running *running,
                              uint32_t max);

/* 1 and what the signature stands for, or 0. */
int tally_engine_kernel(struct tally_engine *engine, uint64_t signature,
                        struct tally_kernel *kernel);

/* Recording: from start to stop, records are kept for whoever reads them, up to so many. start: 0,
 * or -1 if somebody records already or memory is short. */
int tally_engine_trace_start(struct tally_engine *engine, uint32_t records_max);
void tally_engine_trace_stop(struct tally_engine *engine);
/* The oldest records; *lost: those that found no room, since the start. */
uint32_t tally_engine_trace_read(struct tally_engine *engine, struct tally_trace_record *records,
                                 uint32_t max, uint64_t *lost);
/* 1: the driver reports when launches ran; 0: their times are taken from outside, latencies
 * included. */
uint32_t tally_engine_times_reported(const struct tally_engine *engine);

/* The kernel sends this process `signal` when its parent dies. 0, or -1 if that is not possible or
 * the parent is not `parent` any more. */
int tally_engine_die_with_parent(int parent, int signal);

#endif
