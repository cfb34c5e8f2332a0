#include <stdlib.h>

#include "generated/custom.h"
#include "handles.h"
#include "stream_work.h"

#define EVENT_FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS)

/* Reused, never freed, like streams. */
static struct tally_mutex records_lock = TALLY_MUTEX_INIT;
static struct shim_event *free_records GUARDED_BY(records_lock);

static struct shim_event *record_new(void)
{
    tally_mutex_take(&records_lock);
    struct shim_event *event = free_records;
    if (event)
        free_records = event->next;
    tally_mutex_give(&records_lock);
    return event ? event : calloc(1, sizeof *event);
}

static void record_free(struct shim_event *event)
{
    tally_mutex_take(&records_lock);
    event->next = free_records;
    free_records = event;
    tally_mutex_give(&records_lock);
}

struct shim_event *shim_event_get(CUevent event)
{
    return shim_handle_get(TALLY_KIND_EVENT, (uint64_t)(uintptr_t)event);
}

static CUresult find(CUevent event, struct shim_event **out)
{
    CUresult ready = shim_ready();
    if (ready)
        return ready;
    *out = shim_event_get(event);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult destroy(uint64_t handle)
{
    struct shim_event *event = shim_handle_remove(TALLY_KIND_EVENT, handle);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    struct tally_op_event op = {.op.code = TALLY_OP_EVENT_DESTROY, .event = handle};
    CUresult result = shim_send(event->channel, &op, sizeof op, NULL, 0);
    shim_handle_release(TALLY_KIND_EVENT, handle);
    record_free(event);
    return result;
}

static void close_one(void *context, uint64_t handle, void *record)
{
    if (((struct shim_event *)record)->context == context)
        destroy(handle);
}

void shim_events_close(struct shim_context *context)
{
    shim_handle_each(TALLY_KIND_EVENT, close_one, context);
}

static void forget(void) { tally_mutex_init(&records_lock); }

__attribute__((constructor)) static void register_hooks(void)
{
    shim_on_fork(forget);
    shim_context_on_close(shim_events_close);
}

CUresult shim_cuEventCreate(CUevent *phEvent, unsigned int Flags)
{
    if (!phEvent || Flags & ~(unsigned)EVENT_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    if ((Flags & CU_EVENT_INTERPROCESS) && !(Flags & CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_VALUE;
    if (Flags & CU_EVENT_INTERPROCESS) {
        static uint64_t calls;
        return shim_unsupported("cuEventCreate(CU_EVENT_INTERPROCESS)", &calls);
    }
    struct shim_context *context;
    struct shim_channel *channel;
    CUresult result = shim_current(&context, &channel);
    if (result)
        return result;
    struct shim_event *event = record_new();
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *event = (struct shim_event){.channel = channel, .context = context, .flags = Flags};
    result = CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t handle = event->handle = shim_handle_add(TALLY_KIND_EVENT, event);
    if (handle) {
        struct tally_op_event_create op = {
            .op.code = TALLY_OP_EVENT_CREATE, .event = handle, .flags = Flags};
        result = shim_send(channel, &op, sizeof op, NULL, 0);
        if (!result) {
            *phEvent = (CUevent)(uintptr_t)handle;
            return result;
        }
        shim_handle_remove(TALLY_KIND_EVENT, handle);
        shim_handle_release(TALLY_KIND_EVENT, handle);
    }
    record_free(event);
    return result;
}

CUresult shim_cuEventDestroy_v2(CUevent hEvent)
{
    CUresult ready = shim_ready();
    return ready ? ready : destroy((uint64_t)(uintptr_t)hEvent);
}

CUresult shim_cuEventRecordWithFlags(bool per_thread, CUevent hEvent, CUstream hStream,
                                     unsigned int flags)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, hStream, &ref);
    if (result)
        return result;
    struct shim_event *event = shim_event_get(hEvent);
    if (!event || event->channel != ref.channel)
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags & ~(unsigned)CU_EVENT_RECORD_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    struct tally_op_event_record op = {.op.code = TALLY_OP_EVENT_RECORD,
                                       .event = event->handle,
                                       .stream = ref.wire,
                                       .flags = flags};
    return shim_stream_submit(&ref, &(struct shim_work){SHIM_WORK(op)});
}

CUresult shim_cuEventRecord(bool per_thread, CUevent hEvent, CUstream hStream)
{
    return shim_cuEventRecordWithFlags(per_thread, hEvent, hStream, CU_EVENT_RECORD_DEFAULT);
}

static CUresult event_call(CUevent handle, uint16_t code)
{
    struct shim_event *event;
    CUresult result = find(handle, &event);
    if (result)
        return result;
    struct tally_op_event op = {.op.code = code, .event = event->handle};
    struct tally_reply reply;
    return shim_call_sync(event->channel, &op, sizeof op, &reply, sizeof reply);
}

CUresult shim_cuEventQuery(CUevent hEvent) { return event_call(hEvent, TALLY_OP_EVENT_QUERY); }

CUresult shim_cuEventSynchronize(CUevent hEvent) { return event_call(hEvent, TALLY_OP_EVENT_SYNC); }

CUresult shim_cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
    struct shim_event *start, *end;
    CUresult result = find(hStart, &start);
    if (!result)
        result = find(hEnd, &end);
    if (result)
        return result;
    if (!pMilliseconds)
        return CUDA_ERROR_INVALID_VALUE;
    if ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING || start->channel != end->channel)
        return CUDA_ERROR_INVALID_HANDLE;
    struct tally_op_event_elapsed op = {
        .op.code = TALLY_OP_EVENT_ELAPSED, .start = start->handle, .end = end->handle};
    struct tally_reply_event_elapsed reply;
    result = shim_call_sync(start->channel, &op, sizeof op, &reply, sizeof reply);
    if (!result)
        *pMilliseconds = reply.elapsed_ms;
    return result;
}
