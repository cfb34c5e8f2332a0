/* Ops in program order: how they join their streams, and how far each stream can go without
 * workers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

struct soft_op *soft_op_new(enum soft_op_kind kind, size_t tail_bytes)
{
    size_t bytes = (sizeof(struct soft_op) + tail_bytes + 15) & ~(size_t)15;
    struct soft_op *op = aligned_alloc(16, bytes);
    if (op) {
        memset(op, 0, sizeof *op);
        op->kind = kind;
    }
    return op;
}

void soft_op_free(struct soft_op *op)
{
    if (op->kind == SOFT_OP_JOIN)
        soft_stream_put(op->join.stream);
    else if (op->kind == SOFT_OP_RECORD)
        soft_event_put(op->record.event);
    free(op);
}

/* ---- retiring ops --------------------------------------------------------------------------- */

static struct soft_stream *pump_list; /* streams that may go on */
static bool pumping; /* no recursion: streams that wake one another form chains of any length */

static void pump_later(struct soft_stream *stream)
{
    if (stream->pump_queued)
        return;
    stream->pump_queued = true;
    stream->refs++;
    stream->pump_next = pump_list;
    pump_list = stream;
}

static void wake_dependents(struct soft_stream *stream)
{
    uint64_t completed = atomic_load_explicit(&stream->completed, memory_order_relaxed);
    struct soft_op **link = &stream->dependents;
    while (*link) {
        struct soft_op *op = *link;
        if (op->join.sequence > completed) {
            link = &op->ready_next;
            continue;
        }
        *link = op->ready_next;
        op->running = false; /* its stream looks at it again */
        pump_later(op->stream);
    }
}

/* Takes the finished head off its stream. */
static void retire(struct soft_op *op)
{
    struct soft_stream *stream = op->stream;
    struct soft_tenant *tenant = stream->tenant;
    assert(stream->head == op);
    stream->head = op->next;
    if (!stream->head)
        stream->tail = NULL;
    soft_forget(op);
    atomic_store_explicit(&stream->completed, op->sequence, memory_order_release);
    if (stream->waiters)
        pthread_cond_broadcast(&stream->progress);
    wake_dependents(stream);
    soft_op_free(op);
    if (--tenant->inflight == 0)
        pthread_cond_broadcast(&tenant->idle);
    soft_stream_put(stream);
}

static void reach(struct soft_op *op)
{
    struct soft_event *event = op->record.event;
    /* Recorded again since? Then the newer record tells. */
    if (event->stream == op->stream && event->sequence == op->sequence)
        event->reached_ns = soft_now_ns();
}

/* Begins the head of a stream. False: it is already over. */
static bool begin(struct soft_op *op)
{
    struct soft_tenant *tenant = op->stream->tenant;
    if (atomic_load_explicit(&tenant->error, memory_order_relaxed) != CUDA_SUCCESS)
        return false;
    switch (op->kind) {
    case SOFT_OP_LAUNCH:
    case SOFT_OP_COPY:
    case SOFT_OP_FILL:
        if (op->total == 0)
            return false;
        op->running = true;
        soft_make_ready(op);
        return true;
    case SOFT_OP_RECORD:
        reach(op);
        return false;
    case SOFT_OP_JOIN:
        if (atomic_load_explicit(&op->join.stream->completed, memory_order_relaxed) >=
            op->join.sequence)
            return false;
        op->running = true;
        op->ready_next = op->join.stream->dependents;
        op->join.stream->dependents = op;
        return true;
    case SOFT_OP_WRITE:
        if (!soft_value_write(&op->value))
            soft_tenant_fail(tenant, CUDA_ERROR_ILLEGAL_ADDRESS);
        soft_await_check();
        return false;
    case SOFT_OP_AWAIT:
        switch (soft_value_reached(&op->value)) {
        case SOFT_AWAIT_YES:
            return false;
        case SOFT_AWAIT_BAD:
            soft_tenant_fail(tenant, CUDA_ERROR_ILLEGAL_ADDRESS);
            return false;
        case SOFT_AWAIT_NO:
            break;
        }
        op->running = true;
        soft_await_enqueue(op);
        return true;
    case SOFT_OP_HOST:
        op->running = true;
        soft_host_enqueue(op);
        return true;
    }
    return false;
}

static void pump_all(void)
{
    if (pumping)
        return;
    pumping = true;
    while (pump_list) {
        struct soft_stream *next = pump_list;
        pump_list = next->pump_next;
        next->pump_queued = false;
        while (next->head && !next->head->running) {
            struct soft_op *op = next->head;
            if (!begin(op))
                retire(op);
        }
        soft_stream_put(next);
    }
    pumping = false;
}

void soft_pump(struct soft_stream *stream)
{
    pump_later(stream);
    pump_all();
}

void soft_complete(struct soft_op *op)
{
    struct soft_stream *stream = op->stream;
    stream->refs++;
    retire(op);
    soft_pump(stream);
    soft_stream_put(stream);
}

static void leave_dependents(struct soft_op *op)
{
    struct soft_op **link = &op->join.stream->dependents;
    while (*link != op)
        link = &(*link)->ready_next;
    *link = op->ready_next;
}

/* Gives up what a running op has left to do; completes it if nobody works on it. */
static void cancel(struct soft_op *op)
{
    __atomic_store_n(&op->abort, 1, __ATOMIC_RELAXED);
    switch (op->kind) {
    case SOFT_OP_JOIN:
        leave_dependents(op);
        soft_complete(op);
        break;
    case SOFT_OP_AWAIT:
        soft_await_cancel(op);
        soft_complete(op);
        break;
    case SOFT_OP_LAUNCH:
    case SOFT_OP_COPY:
    case SOFT_OP_FILL: {
        uint64_t claimed = atomic_exchange(&op->claimed, op->total);
        uint64_t skipped = claimed < op->total ? op->total - claimed : 0;
        soft_unlist(op);
        if (skipped && atomic_fetch_add(&op->finished, skipped) + skipped == op->total)
            soft_complete(op);
        break;
    }
    default:
        break; /* HOST: its thread completes it */
    }
}

void soft_drop(struct soft_tenant *tenant)
{
    /* Queued for pumping, no stream goes away while the list is walked; and what is pumped is
     * dropped, because its tenant has failed. */
    bool outer = pumping;
    pumping = true;
    for (struct soft_stream *stream = tenant->streams; stream; stream = stream->next)
        pump_later(stream);
    for (struct soft_stream *stream = tenant->streams; stream; stream = stream->next)
        if (stream->head && stream->head->running && !stream->head->abort)
            cancel(stream->head);
    pumping = outer;
    pump_all();
}

/* ---- submitting ----------------------------------------------------------------------------- */

static bool pending(const struct soft_stream *stream) { return stream && stream->head; }

static bool blocking(const struct soft_stream *stream)
{
    return !(stream->flags & CU_STREAM_NON_BLOCKING);
}

static void push(struct soft_stream *stream, struct soft_op *op)
{
    op->stream = stream;
    if (op->kind != SOFT_OP_LAUNCH) /* launches may have a priority of their own */
        op->priority = stream->priority;
    op->sequence = ++stream->submitted;
    stream->refs++;
    stream->tenant->inflight++;
    if (stream->tail)
        stream->tail->next = op;
    else
        stream->head = op;
    stream->tail = op;
}

static CUresult push_join(struct soft_stream *stream, struct soft_stream *target)
{
    struct soft_op *op = soft_op_new(SOFT_OP_JOIN, 0);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->join.stream = target;
    op->join.sequence = target->submitted;
    target->refs++;
    push(stream, op);
    return CUDA_SUCCESS;
}

/* CUDA's legacy rule: an op of the legacy stream comes after all earlier work of blocking streams,
 * and their later work after it. Pushes what must be waited for, or only tells whether there is
 * any. */
static CUresult follow_default(struct soft_stream *stream, bool only_look, bool *busy)
{
    struct soft_stream *legacy = stream->tenant->legacy[stream->device->index];
    if (!legacy || !blocking(stream))
        return CUDA_SUCCESS;
    if (stream != legacy) {
        *busy = pending(legacy);
        return *busy && !only_look ? push_join(stream, legacy) : CUDA_SUCCESS;
    }
    if (stream->tenant->inflight == 0)
        return CUDA_SUCCESS;
    for (struct soft_stream *other = stream->tenant->streams; other; other = other->next) {
        if (other == legacy || other->device != stream->device || !blocking(other) ||
            !pending(other))
            continue;
        *busy = true;
        if (only_look)
            return CUDA_SUCCESS;
        CUresult result = push_join(stream, other);
        if (result != CUDA_SUCCESS)
            return result;
    }
    return CUDA_SUCCESS;
}

static void submit_now(struct soft_stream *stream, struct soft_op *op)
{
    bool idle = !stream->head || !stream->head->running;
    push(stream, op);
    if (idle)
        soft_pump(stream);
}

static CUresult prepare(struct soft_stream *stream, struct soft_op *op)
{
    bool busy;
    CUresult result = (CUresult)atomic_load(&stream->tenant->error);
    if (result == CUDA_SUCCESS)
        result = follow_default(stream, false, &busy);
    if (result != CUDA_SUCCESS)
        soft_op_free(op);
    return result;
}

CUresult soft_submit(struct soft_stream *stream, struct soft_op *op)
{
    CUresult result = prepare(stream, op);
    if (result == CUDA_SUCCESS)
        submit_now(stream, op);
    return result;
}

CUresult soft_submit_record(struct soft_stream *stream, struct soft_op *op)
{
    struct soft_event *event = op->record.event;
    CUresult result = prepare(stream, op);
    if (result != CUDA_SUCCESS)
        return result;
    /* Named before it is pushed: an idle stream reaches it at once, and may free the op. */
    stream->refs++;
    if (event->stream)
        soft_stream_put(event->stream);
    event->stream = stream;
    event->sequence = stream->submitted + 1;
    submit_now(stream, op);
    return CUDA_SUCCESS;
}

CUresult soft_submit_join(struct soft_stream *stream, struct soft_stream *target, uint64_t sequence)
{
    struct soft_op *op = soft_op_new(SOFT_OP_JOIN, 0);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->join.stream = target;
    op->join.sequence = sequence;
    target->refs++;
    return soft_submit(stream, op);
}

bool soft_submit_inline(struct soft_stream *stream, struct soft_op *op)
{
    bool busy = stream->head || atomic_load(&stream->tenant->error) != CUDA_SUCCESS;
    if (!busy)
        follow_default(stream, true, &busy);
    if (busy)
        return false;
    push(stream, op);
    op->running = true;
    /* The first part is the caller's: a tenant that fails now cannot drop the op under its feet. */
    atomic_store_explicit(&op->claimed, 1, memory_order_relaxed);
    return true;
}
