/* Streams, events and the ops that flow through them. All of it under soft_lock unless it says
 * otherwise. */
#ifndef TALLY_SOFTGPU_QUEUE_H
#define TALLY_SOFTGPU_QUEUE_H

#include <limits.h>

#include "soft.h"

struct soft_stream {
    struct soft_object object;
    struct soft_tenant *tenant;
    struct soft_context *context;
    struct soft_device *device;
    uint32_t flags;
    int priority;
    uint64_t id;
    uint32_t refs; /* the handle, queued ops, recorded events, waiting threads */
    struct soft_op *head, *tail;
    uint64_t submitted; /* sequence number of the newest op */
    /* Of the newest op that is complete; read without the lock too. */
    _Atomic uint64_t completed;
    struct soft_op *dependents;          /* JOIN ops of other streams, by ready_next */
    struct soft_stream *previous, *next; /* of the tenant */
    struct soft_stream *pump_next;
    bool pump_queued;
    uint32_t waiters;
    pthread_cond_t progress;
};

struct soft_event {
    struct soft_object object;
    uint32_t flags;
    uint32_t refs;
    struct soft_context *context;
    struct soft_stream *stream; /* of the latest record, NULL before the first */
    uint64_t sequence;
    uint64_t reached_ns;
};

enum soft_op_kind {
    SOFT_OP_LAUNCH, /* parts: blocks */
    SOFT_OP_COPY,   /* parts: chunks */
    SOFT_OP_FILL,
    SOFT_OP_WRITE, /* a value, at once */
    SOFT_OP_AWAIT, /* until memory holds a value */
    SOFT_OP_JOIN,  /* until another stream got somewhere */
    SOFT_OP_RECORD,
    SOFT_OP_HOST, /* a function of the program */
};

/* A box of bytes; pitches apply where height or depth exceed 1. */
struct soft_box {
    uint64_t dst, src;
    uint64_t width, height, depth;
    uint64_t dst_pitch, dst_slice, src_pitch, src_slice;
};

struct soft_fill {
    uint64_t dst, pitch, width, height; /* width in bytes */
    uint32_t value, element_bytes;
};

struct soft_value {
    uint64_t address, value;
    uint32_t flags;
    bool wide;
};

struct soft_op {
    enum soft_op_kind kind;
    bool running; /* handed to workers, a helper or the calling thread */
    bool listed;  /* in its device's ready list */
    bool cooperative;
    int priority, urgency;
    struct soft_stream *stream;
    struct soft_op *next; /* in the stream */
    uint64_t sequence;
    struct soft_op *ready_previous,
        *ready_next; /* ready list; the latter also dependents, awaits, host queue */
    uint64_t total;  /* parts; fixed once running */
    _Atomic uint64_t claimed, finished;
    uint64_t part_bytes;
    volatile uint32_t abort;
    struct soft_grid_workspace workspace; /* of a cooperative launch */
    uint64_t tag, start_ns;
    uint32_t stints;          /* workers at it */
    _Atomic uint32_t waiters; /* of its blocks, those that wait for others */
    /* While some wait, no more begin before; 0 until a part has ended. */
    _Atomic uint64_t resume_ns;
    uint64_t active_ns, active_since_ns, yielded_ns;
    _Atomic uint64_t busy_ns;
    union {
        struct soft_launch launch;
        struct soft_box box;
        struct soft_fill fill;
        struct soft_value value;
        struct {
            struct soft_stream *stream;
            uint64_t sequence;
        } join;
        struct {
            struct soft_event *event;
        } record;
        struct {
            CUhostFn call;
            CUstreamCallback callback;
            void *user;
        } host;
    };
    _Alignas(16) uint8_t tail_bytes[]; /* parameters, or bytes staged for a copy */
};

struct soft_op *soft_op_new(enum soft_op_kind kind,
                            size_t tail_bytes); /* without the lock; NULL: no memory */
void soft_op_free(struct soft_op *op);

CUresult soft_stream_new(struct soft_call *call, uint32_t flags, int priority, bool named,
                         struct soft_stream **stream);
void soft_stream_put(struct soft_stream *stream);
void soft_event_put(struct soft_event *event);
/* The stream a handle means: NULL and CU_STREAM_LEGACY the legacy one, CU_STREAM_PER_THREAD the
 * thread's. */
CUresult soft_stream_get(struct soft_call *call, CUstream handle, struct soft_stream **stream);

/* Without the lock: until the tenant's work so far is over, on the device or (NULL) on all. */
CUresult soft_tenant_wait(struct soft_tenant *tenant, struct soft_device *device);
/* The context's threads asked to sleep rather than look on. */
static inline bool soft_patient(const struct soft_context *context)
{
    uint32_t flags = __atomic_load_n(&context->flags, __ATOMIC_RELAXED);
    return (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_BLOCKING_SYNC;
}

/* The calling thread's, of softgpuLaunchTag. */
uint64_t soft_launch_tag(void);
/* Gives the op to its stream, behind what CUDA's default-stream rules put before it. */
CUresult soft_submit(struct soft_stream *stream, struct soft_op *op);
/* Records: the event then means this place. */
CUresult soft_submit_record(struct soft_stream *stream, struct soft_op *op);
CUresult soft_submit_join(struct soft_stream *stream, struct soft_stream *target,
                          uint64_t sequence);
/* The same for the calling thread to run at once; false, and nothing done, if the stream is busy.
 * The caller then lets go of the lock and calls soft_run_inline. */
bool soft_submit_inline(struct soft_stream *stream, struct soft_op *op);
/* The op is done (or dropped): frees it, moves its stream on, wakes who waits. */
void soft_complete(struct soft_op *op);
/* Waits for the stream to get to that sequence number. Lets go of the lock meanwhile. A patient
 * caller sleeps at once. */
void soft_stream_wait(struct soft_stream *stream, uint64_t sequence, bool patient);
/* Gives up all work of a tenant that has failed; parts that run end by themselves or by
 * interruption. */
void soft_drop(struct soft_tenant *tenant);
/* Moves a stream on as far as it gets without workers, and those that wait for it. */
void soft_pump(struct soft_stream *stream);

/* worker.c */
CUresult soft_device_start(struct soft_device *device);
/* Of the calling worker thread. */
struct soft_device *soft_worker_device(void);
/* How many blocks of that size one worker and its spares hold at once. */
uint32_t soft_resident(uint32_t threads, uint64_t shared_bytes);
void soft_make_ready(struct soft_op *op);
void soft_unlist(struct soft_op *op); /* no part is left to take */
void soft_forget(struct soft_op *op); /* the op is about to go */
void soft_interrupt_tenant(struct soft_tenant *tenant);

/* parts.c. Without the lock: all parts, of which the first is claimed. */
void soft_run_inline(struct soft_op *op);

/* helper.c: what must not hold up a worker. */
CUresult soft_host_start(void);
CUresult soft_await_start(void);
void soft_host_enqueue(struct soft_op *op);
void soft_await_enqueue(struct soft_op *op);
void soft_await_check(void); /* memory may have changed */
void soft_await_cancel(struct soft_op *op);

/* guard.c: runs it; false if it touched memory that is not there. */
void soft_guard_install(void);
bool soft_guarded(void (*body)(void *argument), void *argument);

/* copy.c. False: an address went bad. */
bool soft_box_run(const struct soft_op *op, uint64_t part);
bool soft_fill_run(const struct soft_op *op, uint64_t part);
void soft_box_plan(struct soft_op *op);
void soft_fill_plan(struct soft_op *op);
bool soft_value_write(const struct soft_value *value);
enum soft_await { SOFT_AWAIT_NO, SOFT_AWAIT_YES, SOFT_AWAIT_BAD };
enum soft_await soft_value_reached(const struct soft_value *value);

#endif
