/* Device memory and pinned host memory of a session. */
#include "engine/memory/memory.h"

#include <stdio.h>
#include <time.h>

#include "engine/memory/pinned.h"
#include "engine/memory/quota.h"
#include "engine/memory/ranges.h"
#include "engine/memory/region.h"
#include "engine/ops/message.h"
#include "engine/parts.h"
#include "engine/session/fault.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/session.h"
#include "engine/session/waiter.h"
#include "engine/streams/later.h"
#include "tally/address.h"
#include "wire/message.h"

#define FREES_WAIT_NS                                                                              \
    1000000000ull /* how long an allocation waits for frees before it gives up                     \
                   */

void memory_init(struct session *session)
{
    struct memory *memory = &session->memory;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&memory->freed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&memory->lock, NULL);
}

bool memory_open(struct session *session, char *error, size_t error_bytes)
{
    if (session->tenant >= TALLY_TENANTS_MAX) {
        snprintf(error, error_bytes, "no address range is left for one more session");
        return false;
    }
    struct driver *driver = session->driver;
    CUresult result = driver->ops->tenant_set_pinned(driver, session->tenant, region_base(session),
                                                     TALLY_PINNED_BYTES);
    if (result != CUDA_SUCCESS)
        snprintf(error, error_bytes, "the driver refuses the session's pinned range");
    return result == CUDA_SUCCESS;
}

/* Frees are deferred, so memory that the program gave back may not be free yet. Bounded: it waits
 * for nothing but the session's own work. */
static bool wait_for_a_free(struct session *session, uint64_t deadline_ns)
{
    struct memory *memory = &session->memory;
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000ull),
                             .tv_nsec = (long)(deadline_ns % 1000000000ull)};
    pthread_mutex_lock(&memory->lock);
    uint64_t before = memory->frees_pending;
    int error = 0;
    while (memory->frees_pending == before && before > 0 && !session->ending && !error)
        error = pthread_cond_timedwait(&memory->freed, &memory->lock, &until);
    bool progress = before > 0 && memory->frees_pending != before;
    pthread_mutex_unlock(&memory->lock);
    return progress && !session->ending;
}

static CUresult reserve(struct session *session, uint64_t bytes)
{
    struct memory *memory = &session->memory;
    if (!quota_take_within(session->engine->memory_quota, session->index, session->config.job,
                           bytes, session->config.memory_max))
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&memory->lock);
    memory->used_bytes += bytes;
    pthread_mutex_unlock(&memory->lock);
    return CUDA_SUCCESS;
}

static uint64_t used_by_job(const struct session *session)
{
    return quota_used(session->engine->memory_quota, session->index, session->config.job);
}

/* Where the device has more, but the job may not. */
static void tell_limit(struct session *session, uint64_t bytes)
{
    uint64_t max = session->config.memory_max;
    if (max && (bytes > max || used_by_job(session) > max - bytes))
        session_tell(session,
                     "an allocation was refused: the job may have %llu bytes of the device's "
                     "memory (`tally run --memory`, or `memory_max` in tallyd's config)",
                     (unsigned long long)max);
}

static void unreserve(struct session *session, uint64_t bytes)
{
    struct memory *memory = &session->memory;
    pthread_mutex_lock(&memory->lock);
    memory->used_bytes -= bytes;
    pthread_mutex_unlock(&memory->lock);
    quota_give(session->engine->memory_quota, session->index, bytes);
}

static void note_usage(struct session *session)
{
    struct memory *memory = &session->memory;
    pthread_mutex_lock(&memory->lock);
    memory->peak_bytes =
        memory->used_bytes > memory->peak_bytes ? memory->used_bytes : memory->peak_bytes;
    tally_stats_set(&session->stats, TALLY_COUNT_MEMORY_BYTES, memory->used_bytes);
    tally_stats_set(&session->stats, TALLY_COUNT_MEMORY_PEAK_BYTES, memory->peak_bytes);
    pthread_mutex_unlock(&memory->lock);
}

static CUresult allocate(struct session *session, uint64_t bytes, CUdeviceptr *address)
{
    CUresult result = reserve(session, bytes);
    if (result != CUDA_SUCCESS)
        return result;
    result = session->driver->cu.cuMemAlloc_v2(address, bytes);
    if (result != CUDA_SUCCESS)
        unreserve(session, bytes);
    else
        note_usage(session);
    return result;
}

static void free_device(struct session *session, struct wait_item *item, CUresult result)
{
    struct memory *memory = &session->memory;
    (void)
        result; /* also after a fault, and when the session ends: the memory goes back either way */
    session->driver->cu.cuMemFree_v2(item->a);
    unreserve(session, item->b);
    note_usage(session);
    pthread_mutex_lock(&memory->lock);
    memory->frees_pending--;
    pthread_cond_broadcast(&memory->freed);
    pthread_mutex_unlock(&memory->lock);
}

bool op_mem_alloc(struct session *session, const struct message *message)
{
    struct tally_op_mem_alloc op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct tally_reply_mem_alloc reply = {0};
    CUdeviceptr address = 0;
    CUresult result = op.bytes ? allocate(session, op.bytes, &address) : CUDA_ERROR_INVALID_VALUE;
    uint64_t deadline_ns = engine_now_ns() + FREES_WAIT_NS;
    while (result == CUDA_ERROR_OUT_OF_MEMORY && wait_for_a_free(session, deadline_ns))
        result = allocate(session, op.bytes, &address);
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        tell_limit(session, op.bytes);
    if (result == CUDA_SUCCESS) {
        pthread_mutex_lock(&session->memory.lock);
        struct range range = {.base = address, .bytes = op.bytes, .kind = RANGE_DEVICE};
        bool added = ranges_add(&session->memory.ranges, range);
        pthread_mutex_unlock(&session->memory.lock);
        if (!added) {
            session->driver->cu.cuMemFree_v2(address);
            unreserve(session, op.bytes);
            note_usage(session);
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    reply.address = result == CUDA_SUCCESS ? address : 0;
    if (result != CUDA_SUCCESS)
        tally_stats_add(&session->stats, TALLY_COUNT_ERRORS, 1);
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, NULL, 0);
    return true;
}

bool op_mem_free(struct session *session, const struct message *message)
{
    struct tally_op_mem_free op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct memory *memory = &session->memory;
    struct range range;
    pthread_mutex_lock(&memory->lock);
    bool known = ranges_remove(&memory->ranges, op.address, RANGE_DEVICE, &range);
    memory->frees_pending += known;
    pthread_mutex_unlock(&memory->lock);
    if (known)
        session_defer(session, free_device, (uint64_t[3]){range.base, range.bytes});
    session_finish(session, &op.op, known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
    return true;
}

bool op_mem_info(struct session *session, const struct message *message)
{
    if (message->size != sizeof(struct tally_op))
        return false;
    size_t free_bytes = 0, total_bytes = 0;
    struct tally_reply_mem_info reply = {0};
    CUresult result = session->driver->cu.cuMemGetInfo_v2(&free_bytes, &total_bytes);
    uint64_t max = session->config.memory_max;
    if (max && max < total_bytes) {
        uint64_t left = max - used_by_job(session);
        total_bytes = max;
        free_bytes = left < free_bytes ? left : free_bytes;
    }
    reply.free_bytes = free_bytes;
    reply.total_bytes = total_bytes;
    session_note(session, result);
    session_reply(session, &message->op, result, &reply, sizeof reply, NULL, 0);
    return true;
}

enum range_kind memory_kind(struct session *session, uint64_t address, uint64_t bytes)
{
    struct memory *memory = &session->memory;
    pthread_mutex_lock(&memory->lock);
    const struct range *range = ranges_find(&memory->ranges, address, bytes);
    enum range_kind kind = range ? range->kind : RANGE_NONE;
    pthread_mutex_unlock(&memory->lock);
    return kind;
}

void memory_add_global(struct session *session, uint64_t address, uint64_t bytes,
                       const void *module)
{
    struct range range = {.base = address, .bytes = bytes, .kind = RANGE_GLOBAL, .owner = module};
    pthread_mutex_lock(&session->memory.lock);
    ranges_add(&session->memory.ranges, range);
    pthread_mutex_unlock(&session->memory.lock);
}

void memory_drop_globals(struct session *session, const void *module)
{
    pthread_mutex_lock(&session->memory.lock);
    ranges_remove_owner(&session->memory.ranges, module);
    pthread_mutex_unlock(&session->memory.lock);
}

/* The session's work is over and its waiters are stopped. */
void memory_close(struct session *session)
{
    struct memory *memory = &session->memory;
    for (size_t i = 0; i < memory->ranges.count; i++)
        if (memory->ranges.items[i].kind == RANGE_DEVICE)
            session->driver->cu.cuMemFree_v2(memory->ranges.items[i].base);
    unreserve(session, memory->used_bytes);
    pinned_close(session);
    ranges_clear(&memory->ranges);
    pthread_mutex_destroy(&memory->lock);
    pthread_cond_destroy(&memory->freed);
}
