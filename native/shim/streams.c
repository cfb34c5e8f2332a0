#include "streams.h"

#include <pthread.h>
#include <stdlib.h>

#include "generated/custom.h"
#include "handles.h"
#include "memory.h"
#include "stream_work.h"

#define LEGACY_ID 1u /* cuStreamGetId of the default stream; others count from 2 */

/* Records are reused, never freed: a look-up that races with a destruction reads a stale record at
 * worst. */
static struct tally_mutex records_lock = TALLY_MUTEX_INIT;
static struct shim_stream *free_records GUARDED_BY(records_lock);
static _Atomic uint64_t next_id = LEGACY_ID + 1;

static struct shim_stream *record_new(void)
{
    tally_mutex_take(&records_lock);
    struct shim_stream *stream = free_records;
    if (stream)
        free_records = stream->next;
    tally_mutex_give(&records_lock);
    return stream ? stream : calloc(1, sizeof *stream);
}

static void record_free(struct shim_stream *stream)
{
    tally_mutex_take(&records_lock);
    stream->next = free_records;
    free_records = stream;
    tally_mutex_give(&records_lock);
}

static CUresult create(struct shim_context *context, struct shim_channel *channel, uint32_t flags,
                       int priority, struct shim_stream **out)
{
    struct shim_stream *stream = record_new();
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *stream = (struct shim_stream){
        .channel = channel,
        .context = context,
        .id = atomic_fetch_add(&next_id, 1),
        .flags = flags,
        .priority = priority,
    };
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t handle = stream->handle = shim_handle_add(TALLY_KIND_STREAM, stream);
    if (handle) {
        struct tally_op_stream_create op = {.op.code = TALLY_OP_STREAM_CREATE,
                                            .stream = handle,
                                            .flags = flags,
                                            .priority = priority};
        result = shim_send(channel, &op, sizeof op, NULL, 0);
        if (!result) {
            *out = stream;
            return result;
        }
        shim_handle_remove(TALLY_KIND_STREAM, handle);
        shim_handle_release(TALLY_KIND_STREAM, handle);
    }
    record_free(stream);
    return result;
}

static CUresult destroy(uint64_t handle)
{
    struct shim_stream *stream = shim_handle_remove(TALLY_KIND_STREAM, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    struct tally_op_stream op = {.op.code = TALLY_OP_STREAM_DESTROY, .stream = handle};
    CUresult result = shim_send(stream->channel, &op, sizeof op, NULL, 0);
    shim_handle_release(TALLY_KIND_STREAM, handle);
    record_free(stream);
    return result;
}

/* ---- per-thread default streams ------------------------------------------------------------- */

/* One hidden stream per thread and context, made on first use, destroyed with the thread or the
 * context. */
struct hidden {
    struct shim_context *context;
    uint64_t handle, id; /* id: the index may be another stream's by now */
    uint32_t generation;
    struct hidden *next;
};

static pthread_key_t hidden_key;
static pthread_once_t hidden_once = PTHREAD_ONCE_INIT;
static bool hidden_usable;

static struct shim_stream *hidden_stream(const struct hidden *hidden)
{
    struct shim_stream *stream = shim_handle_get(TALLY_KIND_STREAM, hidden->handle);
    return stream && stream->id == hidden->id ? stream : NULL;
}

static void destroy_hidden(void *list)
{
    struct hidden *hidden = list;
    while (hidden) {
        struct hidden *next = hidden->next;
        if (hidden->generation == shim_generation() && shim_ready() == CUDA_SUCCESS &&
            hidden_stream(hidden))
            destroy(hidden->handle);
        free(hidden);
        hidden = next;
    }
}

static void make_key(void) { hidden_usable = pthread_key_create(&hidden_key, destroy_hidden) == 0; }

static SHIM_RARE CUresult thread_stream(struct shim_context *context, struct shim_channel *channel,
                                        struct shim_stream **out)
{
    pthread_once(&hidden_once, make_key);
    if (!hidden_usable)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct hidden *list = pthread_getspecific(hidden_key);
    struct hidden *entry = list;
    while (entry && (entry->context != context || entry->generation != shim_generation()))
        entry = entry->next;
    if (entry) {
        *out = hidden_stream(entry); /* the context may have been reset since */
        if (*out)
            return CUDA_SUCCESS;
    } else {
        entry = calloc(1, sizeof *entry);
        if (!entry)
            return CUDA_ERROR_OUT_OF_MEMORY;
        *entry = (struct hidden){.context = context, .generation = shim_generation(), .next = list};
        if (pthread_setspecific(hidden_key, entry) != 0) {
            free(entry);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    CUresult result = create(context, channel, CU_STREAM_DEFAULT, 0, out);
    entry->handle = result ? 0 : (*out)->handle;
    entry->id = result ? 0 : (*out)->id;
    return result;
}

/* ---- what a stream parameter means ---------------------------------------------------------- */

static SHIM_RARE CUresult no_stream(void)
{
    CUresult ready = shim_ready();
    return ready ? ready : CUDA_ERROR_INVALID_HANDLE;
}

CUresult shim_stream_resolve(bool per_thread, CUstream stream, struct shim_stream_ref *ref)
{
    *ref = (struct shim_stream_ref){0};
    if ((uintptr_t)stream > (uintptr_t)CU_STREAM_PER_THREAD) {
        struct shim_stream *found = shim_handle_get(TALLY_KIND_STREAM, (uint64_t)(uintptr_t)stream);
        if (!found)
            return no_stream();
        *ref = (struct shim_stream_ref){found->channel, found->context, found, found->handle};
        return shim_channel_check(found->channel);
    }
    CUresult result = shim_current(&ref->context, &ref->channel);
    if (result)
        return result;
    if (stream == CU_STREAM_LEGACY || (!stream && !per_thread)) {
        ref->wire = TALLY_STREAM_LEGACY;
        return CUDA_SUCCESS;
    }
    result = thread_stream(ref->context, ref->channel, &ref->stream);
    if (!result)
        ref->wire = ref->stream->handle;
    return result;
}

uint64_t shim_stream_id(const struct shim_stream_ref *ref)
{
    return ref->stream ? ref->stream->id : LEGACY_ID;
}

static void close_one(void *context, uint64_t handle, void *record)
{
    if (((struct shim_stream *)record)->context == context)
        destroy(handle);
}

void shim_streams_close(struct shim_context *context)
{
    shim_handle_each(TALLY_KIND_STREAM, close_one, context);
}

static void forget(void) { tally_mutex_init(&records_lock); }

__attribute__((constructor)) static void register_hooks(void)
{
    shim_on_fork(forget);
    shim_context_on_close(shim_streams_close);
}

/* ---- the API -------------------------------------------------------------------------------- */

CUresult shim_cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority)
{
    if (!phStream || flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_context *context;
    struct shim_channel *channel;
    CUresult result = shim_current(&context, &channel);
    if (result)
        return result;
    /* CUDA takes any number and means the nearest one that the device has. */
    const struct tally_device_info *device = shim_device(shim_channel_device(channel));
    if (device && priority > device->stream_priority_least)
        priority = device->stream_priority_least;
    if (device && priority < device->stream_priority_greatest)
        priority = device->stream_priority_greatest;
    struct shim_stream *stream;
    result = create(context, channel, flags, priority, &stream);
    if (!result)
        *phStream = (CUstream)(uintptr_t)stream->handle;
    return result;
}

CUresult shim_cuStreamCreate(CUstream *phStream, unsigned int Flags)
{
    return shim_cuStreamCreateWithPriority(phStream, Flags, 0);
}

CUresult shim_cuStreamDestroy_v2(CUstream hStream)
{
    CUresult ready = shim_ready();
    return ready ? ready : destroy((uint64_t)(uintptr_t)hStream);
}

CUresult shim_cuStreamSynchronize(bool per_thread, CUstream hStream)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, hStream, &ref);
    return result ? result : shim_stream_wait(&ref);
}

CUresult shim_cuStreamQuery(bool per_thread, CUstream hStream)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, hStream, &ref);
    return result ? result : shim_stream_query(&ref);
}

static CUresult synchronize(struct shim_channel *channel)
{
    struct tally_op op = {.code = TALLY_OP_CTX_SYNC};
    struct tally_reply reply;
    return shim_call_sync(channel, &op, sizeof op, &reply, sizeof reply);
}

CUresult shim_cuCtxSynchronize(void)
{
    struct shim_channel *channel;
    CUresult result = shim_current(NULL, &channel);
    return result ? result : synchronize(channel);
}

CUresult shim_cuCtxSynchronize_v2(CUcontext ctx)
{
    if (!ctx)
        return shim_cuCtxSynchronize();
    struct shim_context *context;
    CUresult result = shim_context_of(ctx, &context);
    struct shim_channel *channel = NULL;
    if (!result)
        result = shim_channel_open((int)context->device, &channel);
    return result ? result : synchronize(channel);
}

CUresult shim_cuStreamWaitEvent(bool per_thread, CUstream hStream, CUevent hEvent,
                                unsigned int Flags)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, hStream, &ref);
    if (result)
        return result;
    struct shim_event *event = shim_event_get(hEvent);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (Flags & ~(unsigned)CU_EVENT_WAIT_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    if (event->channel != ref.channel) /* no executor sees another's events: this thread waits in
                                          the stream's stead */
        return shim_cuEventSynchronize(hEvent);
    struct tally_op_stream_wait_event op = {.op.code = TALLY_OP_STREAM_WAIT_EVENT,
                                            .stream = ref.wire,
                                            .event = event->handle,
                                            .flags = Flags};
    return shim_stream_submit(&ref, &(struct shim_work){SHIM_WORK(op)});
}

static CUresult stream_value(bool per_thread, CUstream stream, CUdeviceptr address, uint64_t value,
                             unsigned int flags, bool wait, bool wide)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, stream, &ref);
    if (result)
        return result;
    uint32_t bytes = wide ? 8 : 4;
    if (address % bytes || !shim_memory_holds(ref.channel, address, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    struct tally_op_stream_value op = {
        .op.code = TALLY_OP_STREAM_VALUE,
        .stream = ref.wire,
        .address = address,
        .value = value,
        .flags = flags,
        .wait = wait,
        .wide = wide,
    };
    return shim_stream_submit(&ref, &(struct shim_work){SHIM_WORK(op)});
}

CUresult shim_cuStreamWaitValue32_v2(bool per_thread, CUstream stream, CUdeviceptr addr,
                                     cuuint32_t value, unsigned int flags)
{
    return stream_value(per_thread, stream, addr, value, flags, true, false);
}

CUresult shim_cuStreamWaitValue64_v2(bool per_thread, CUstream stream, CUdeviceptr addr,
                                     cuuint64_t value, unsigned int flags)
{
    return stream_value(per_thread, stream, addr, value, flags, true, true);
}

CUresult shim_cuStreamWriteValue32_v2(bool per_thread, CUstream stream, CUdeviceptr addr,
                                      cuuint32_t value, unsigned int flags)
{
    return stream_value(per_thread, stream, addr, value, flags, false, false);
}

CUresult shim_cuStreamWriteValue64_v2(bool per_thread, CUstream stream, CUdeviceptr addr,
                                      cuuint64_t value, unsigned int flags)
{
    return stream_value(per_thread, stream, addr, value, flags, false, true);
}
