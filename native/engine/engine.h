/* The engine: one GPU, its driver library, and the sessions that share it. What tally._native binds.
 *
 * Threads: the caller's (open, close, events, snapshots; any thread, one call at a time per engine), one
 * watch thread, and for each session one thread for ops plus threads that wait on the device. None of
 * them holds Python's lock. What happens without being asked for comes out of tally_engine_next_event. */
#ifndef TALLY_ENGINE_H
#define TALLY_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/stats.h"
#include "tally/plan.h"
#include "tally/protocol.h"

#define TALLY_REASON_BYTES 256u

/* A module image as PTX with guarded and sub-grid forms of its kernels beside them (names end in
 * TALLY_GUARDED_SUFFIX, TALLY_SUBGRID_SUFFIX); made with tally_engine_buffer, *text_bytes without the NUL.
 * NULL: the image has no PTX, or it cannot be rewritten. Called on session threads. */
typedef void *(*tally_rewrite_fn)(const void *image, size_t bytes, size_t *text_bytes);
#define TALLY_GUARDED_SUFFIX "__tallyguard"
#define TALLY_SUBGRID_SUFFIX "__tallysub"
void *tally_engine_buffer(size_t bytes); /* malloc, zeroed */

struct tally_engine;

struct tally_engine_config {
    const char *driver;      /* path or name for dlopen */
    const char *runtime_dir; /* where sessions' sockets are made */
    const char *shm_prefix;  /* names of shared-memory files begin so; no slash */
    uint32_t device;         /* ordinal at the driver */
    uint32_t event_timing;   /* 1: time launches with events even where the driver reports times by itself */
    uint32_t soft;           /* 1: the driver must be softgpu; the rest is for it alone */
    uint32_t soft_devices, soft_workers, soft_dry;
    uint64_t soft_memory_bytes;
    void *soft_compile; /* softgpu_compile_fn; NULL: no PTX */
    tally_rewrite_fn rewrite; /* NULL: kernels run whole */
};

struct tally_session_config {
    uint64_t session; /* tallyd's number; unique in the engine */
    uint32_t pid, uid, gid; /* the only peer that may connect; files are readable and owned by it */
    uint32_t high;          /* class */
    int32_t priority;       /* inside the class */
    uint32_t weight;        /* share among best-effort sessions; 0: 1 */
    uint32_t slot_count, slot_bytes; /* of the segment; multiples of a page */
    uint64_t memory_limit_bytes;     /* device memory; 0: the device's */
};

enum tally_engine_event_type {
    TALLY_ENGINE_CLOSED = 1, /* session is gone; reason, stats */
    TALLY_ENGINE_FAULT = 2,  /* session got a sticky error */
    TALLY_ENGINE_LOST = 3,   /* the context is poisoned for everybody: the process must be replaced */
};

struct tally_engine_event {
    uint32_t type;
    int32_t error; /* CUresult */
    uint64_t session;
    char reason[TALLY_REASON_BYTES];
    struct tally_session_stats stats;
};

/* Loads the driver, takes the device's primary context, starts the watch thread. NULL, and one line of
 * text in error[], if anything is missing. */
struct tally_engine *tally_engine_create(const struct tally_engine_config *config, char *error, size_t error_bytes);
/* Ends every session, waits for their threads, frees everything. */
void tally_engine_destroy(struct tally_engine *engine);

void tally_engine_device(const struct tally_engine *engine, struct tally_device_info *info, int32_t *driver_version);

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
uint32_t tally_engine_snapshot(struct tally_engine *engine, struct tally_session_stats *stats, uint32_t max);

/* The scheduler. -1: there is no such policy, or the limits make no sense. */
int tally_engine_set_policy(struct tally_engine *engine, uint32_t policy);
uint32_t tally_engine_policy(struct tally_engine *engine);
int tally_engine_set_limits(struct tally_engine *engine, const struct tally_sched_limits *limits);
void tally_engine_schedule(struct tally_engine *engine, struct tally_sched_stats *stats);
/* Plans that changed since the last export (all: every one), to be kept; and back, at the next start. */
uint32_t tally_engine_export_plans(struct tally_engine *engine, struct tally_plan_record *records, uint32_t max,
                                   uint32_t all);
uint32_t tally_engine_import_plans(struct tally_engine *engine, const struct tally_plan_record *records,
                                   uint32_t count);

/* The kernel sends this process `signal` when its parent dies. 0, or -1 if that is not possible or the
 * parent is not `parent` any more. */
int tally_engine_die_with_parent(int parent, int signal);

#endif
