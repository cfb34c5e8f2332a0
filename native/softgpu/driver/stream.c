/* Streams and events: their lives, waiting for them, and the streams that exist without being made.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

#define SPIN_NS 60000
#define SPIN_CHECKS 16 /* between looks at the clock */

CUresult soft_stream_new(struct soft_call *call, uint32_t flags, int priority, bool named,
                         struct soft_stream **out)
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

/* ---- waiting -------------------------------------------------------------------------------- */

/* Looks on for a little longer than waking a thread takes: then a worker that was asleep is awake,
 * and the next round trips cost next to nothing. Without the lock. */
static void look_on(const struct soft_stream *stream, uint64_t sequence)
{
    uint64_t until = soft_now_ns() + SPIN_NS;
    for (uint32_t i = 1; atomic_load_explicit(&stream->completed, memory_order_acquire) < sequence;
         i++) {
        soft_relax();
        if (i % SPIN_CHECKS == 0 && soft_now_ns() > until)
            break;
    }
}

void soft_stream_wait(struct soft_stream *stream, uint64_t sequence, bool patient)
{
    static uint32_t lookers;
    if (atomic_load_explicit(&stream->completed, memory_order_acquire) >= sequence)
        return;
    stream->refs++;
    if (!patient && lookers < soft.lookers_max) {
        lookers++;
        soft_unlock();
        look_on(stream, sequence);
        soft_lock();
        lookers--;
    }
    stream->waiters++;
    while (atomic_load_explicit(&stream->completed, memory_order_acquire) < sequence)
        pthread_cond_wait(&stream->progress, &soft.lock);
    stream->waiters--;
    soft_stream_put(stream);
}

CUresult soft_tenant_wait(struct soft_tenant *tenant, struct soft_device *device)
{
    struct {
        struct soft_stream *stream;
        uint64_t sequence;
    } *list = NULL;
    size_t count = 0, room = 0;
    soft_lock();
    for (struct soft_stream *stream = tenant->streams; tenant->inflight && stream;
         stream = stream->next)
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
        soft_stream_wait(list[i].stream, list[i].sequence, false);
        soft_stream_put(list[i].stream);
    }
    soft_unlock();
    free(list);
    return (CUresult)atomic_load(&tenant->error);
}

/* ---- default streams ------------------------------------------------------------------------ */

struct thread_stream {
    uint32_t tenant, device;
    uint64_t handle;
};
struct thread_streams {
    size_t count;
    struct thread_stream streams[];
};

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

static void make_thread_key(void) { pthread_key_create(&thread_key, thread_end); }

static CUresult thread_stream_get(struct soft_call *call, struct soft_stream **stream)
{
    pthread_once(&thread_once, make_thread_key);
    struct thread_streams *mine = pthread_getspecific(thread_key);
    struct thread_stream *entry = NULL;
    for (size_t i = 0; mine && i < mine->count; i++)
        if (mine->streams[i].tenant == call->tenant->id &&
            mine->streams[i].device == call->device->index)
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
