/* Streams: queues of ops in program order, and how far each can go without workers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

#define SPIN_CHECKS 64 /* between looks at the clock */

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

CUresult soft_stream_new(struct soft_call *call, uint32_t flags, int priority, bool named, struct soft_stream **out)
{
    struct soft_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (named && !soft_handle_add(&stream->object, SOFT_STREAM, call->tenant->id)) {
        free(stream);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (priority > SOFT_PRIORITY_LEAST)
        priority = SOFT_PRIORITY_LEAST;
    if (priority < SOFT_PRIORITY_GREATEST)
        priority = SOFT_PRIORITY_GREATEST;
    stream->object.tenant = call->tenant->id;
    stream->tenant = call->tenant;
    stream->context = call->context;
    stream->device = call->device;
    stream->flags = flags;
    stream->priority = priority;
    stream->id = ++soft.next_id;
    stream->refs = 1;
    pthread_cond_init(&stream->progress, NULL);
    stream->next = call->tenant->streams;
    if (stream->next)
        stream->next->previous = stream;
    call->tenant->streams = stream;
    *out = stream;
    return CUDA_SUCCESS;
}

void soft_stream_put(struct soft_stream *stream)
{
    assert(stream->refs > 0);
    if (--stream->refs)
        return;
    assert(!stream->head && !stream->dependents && !stream->pump_queued);
    if (stream->previous)
        stream->previous->next = stream->next;
    else
        stream->tenant->streams = stream->next;
    if (stream->next)
        stream->next->previous = stream->previous;
    pthread_cond_destroy(&stream->progress);
    free(stream);
}

void soft_event_put(struct soft_event *event)
{
    assert(event->refs > 0);
    if (--event->refs)
        return;
    if (event->stream)
        soft_stream_put(event->stream);
    free(event);
}

/* ---- retiring ops ----------------------------------------------------------------------------- */

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
        if (atomic_load_explicit(&op->join.stream->completed, memory_order_relaxed) >= op->join.sequence)
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
        case SOFT_AWAIT_YES: return false;
        case SOFT_AWAIT_BAD: soft_tenant_fail(tenant, CUDA_ERROR_ILLEGAL_ADDRESS); return false;
        case SOFT_AWAIT_NO: break;
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
    default: break; /* HOST: its thread completes it */
    }
}

void soft_drop(struct soft_tenant *tenant)
{
    /* Queued for pumping, no stream goes away while the list is walked; and what is pumped is dropped,
     * because its tenant has failed. */
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

/* ---- submitting ------------------------------------------------------------------------------- */

static bool pending(const struct soft_stream *stream)
{
    return stream && stream->head;
}

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

/* CUDA's legacy rule: an op of the legacy stream comes after all earlier work of blocking streams, and
 * their later work after it. Pushes what must be waited for, or only tells whether there is any. */
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
        if (other == legacy || other->device != stream->device || !blocking(other) || !pending(other))
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
    return true;
}

void soft_stream_wait(struct soft_stream *stream, uint64_t sequence)
{
    if (atomic_load_explicit(&stream->completed, memory_order_acquire) >= sequence)
        return;
    stream->refs++;
    if (soft.spin_ns) {
        soft_unlock();
        uint64_t until = soft_now_ns() + soft.spin_ns;
        for (uint32_t i = 1; atomic_load_explicit(&stream->completed, memory_order_acquire) < sequence; i++) {
            __builtin_ia32_pause();
            if (i % SPIN_CHECKS == 0 && soft_now_ns() > until)
                break;
        }
        soft_lock();
    }
    stream->waiters++;
    while (atomic_load_explicit(&stream->completed, memory_order_acquire) < sequence)
        pthread_cond_wait(&stream->progress, &soft.lock);
    stream->waiters--;
    soft_stream_put(stream);
}

CUresult soft_tenant_wait(struct soft_tenant *tenant, struct soft_device *device)
{
    struct { struct soft_stream *stream; uint64_t sequence; } *list = NULL;
    size_t count = 0, room = 0;
    soft_lock();
    for (struct soft_stream *stream = tenant->streams; tenant->inflight && stream; stream = stream->next)
        room += stream->head && (!device || stream->device == device);
    if (room && !(list = malloc(room * sizeof *list))) {
        soft_unlock();
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (struct soft_stream *stream = tenant->streams; count < room; stream = stream->next) {
        if (!stream->head || (device && stream->device != device))
            continue;
        stream->refs++;
        list[count].stream = stream;
        list[count++].sequence = stream->submitted;
    }
    for (size_t i = 0; i < count; i++) {
        soft_stream_wait(list[i].stream, list[i].sequence);
        soft_stream_put(list[i].stream);
    }
    soft_unlock();
    free(list);
    return (CUresult)atomic_load(&tenant->error);
}

/* ---- default streams --------------------------------------------------------------------------- */

struct thread_stream { uint32_t tenant, device; uint64_t handle; };
struct thread_streams { size_t count; struct thread_stream streams[]; };

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

static void thread_end(void *value)
{
    struct thread_streams *mine = value;
    soft_lock();
    for (size_t i = 0; i < mine->count; i++) {
        struct soft_stream *stream =
            soft_handle_get((void *)mine->streams[i].handle, SOFT_STREAM, mine->streams[i].tenant);
        if (!stream)
            continue;
        soft_handle_remove(&stream->object);
        soft_stream_put(stream);
    }
    soft_unlock();
    free(mine);
}

static void make_thread_key(void)
{
    pthread_key_create(&thread_key, thread_end);
}

static CUresult thread_stream_get(struct soft_call *call, struct soft_stream **stream)
{
    pthread_once(&thread_once, make_thread_key);
    struct thread_streams *mine = pthread_getspecific(thread_key);
    struct thread_stream *entry = NULL;
    for (size_t i = 0; mine && i < mine->count; i++)
        if (mine->streams[i].tenant == call->tenant->id && mine->streams[i].device == call->device->index)
            entry = &mine->streams[i];
    if (entry && (*stream = soft_handle_get((void *)entry->handle, SOFT_STREAM, call->tenant->id)))
        return CUDA_SUCCESS;
    if (!entry) {
        size_t count = mine ? mine->count : 0;
        struct thread_streams *grown = realloc(mine, sizeof *mine + (count + 1) * sizeof *entry);
        if (!grown)
            return CUDA_ERROR_OUT_OF_MEMORY;
        pthread_setspecific(thread_key, grown);
        entry = &grown->streams[count];
        *entry = (struct thread_stream){call->tenant->id, call->device->index, 0};
        grown->count = count + 1;
    }
    CUresult result = soft_stream_new(call, CU_STREAM_DEFAULT, SOFT_PRIORITY_LEAST, true, stream);
    entry->handle = result == CUDA_SUCCESS ? (*stream)->object.handle : 0;
    return result;
}

CUresult soft_stream_get(struct soft_call *call, CUstream handle, struct soft_stream **stream)
{
    if (handle == CU_STREAM_PER_THREAD)
        return thread_stream_get(call, stream);
    if (handle == NULL || handle == CU_STREAM_LEGACY) {
        struct soft_stream **legacy = &call->tenant->legacy[call->device->index];
        CUresult result = CUDA_SUCCESS;
        if (!*legacy)
            result = soft_stream_new(call, CU_STREAM_DEFAULT, SOFT_PRIORITY_LEAST, false, legacy);
        *stream = *legacy;
        return result;
    }
    *stream = soft_handle_get(handle, SOFT_STREAM, call->tenant->id);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
