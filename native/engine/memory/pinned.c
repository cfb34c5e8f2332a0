#include "engine/memory/pinned.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/memory/ranges.h"
#include "engine/memory/region.h"
#include "engine/ops/message.h"
#include "engine/session/ending.h"
#include "engine/session/fault.h"
#include "engine/session/handover.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/segment.h"
#include "engine/session/session.h"
#include "engine/session/shared.h"
#include "engine/session/waiter.h"
#include "engine/streams/later.h"
#include "tally/address.h"
#include "wire/message.h"

#define PAGE_BYTES 4096ull
/* Unmapped behind each area: overruns fault instead of spilling over. */
#define PINNED_GAP_BYTES PAGE_BYTES

/* Under memory.lock: where `bytes` fit between the areas, or 0. */
static uint64_t pinned_place(const struct session *session, uint64_t bytes, uint32_t *at)
{
    const struct memory *memory = &session->memory;
    uint64_t from = region_base(session) + segment_bytes(session);
    from = (from + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES + PINNED_GAP_BYTES;
    for (*at = 0; *at < memory->pinned_count; (*at)++) {
        const struct pinned_area *area = &memory->pinned[*at];
        if (area->base - from >= bytes + PINNED_GAP_BYTES)
            return from;
        from = area->base + area->bytes + PINNED_GAP_BYTES;
    }
    uint64_t end = region_base(session) + TALLY_PINNED_BYTES;
    return from < end && bytes <= end - from ? from : 0;
}

static uint32_t pieces_max(const struct session *session)
{
    return session->engine->config.pinned_pieces_max;
}

/* Under memory.lock: takes a place for the area; its number tells the client which file it is. */
static CUresult pinned_reserve(struct session *session, uint64_t bytes, struct pinned_area *out)
{
    struct memory *memory = &session->memory;
    uint32_t at;
    uint64_t base = bytes <= TALLY_PINNED_BYTES ? pinned_place(session, bytes, &at) : 0;
    if (!base || memory->pinned_count >= pieces_max(session))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (memory->pinned_count == memory->pinned_room) {
        uint32_t room = memory->pinned_room ? memory->pinned_room * 2 : 16;
        struct pinned_area *areas = realloc(memory->pinned, room * sizeof *areas);
        if (!areas)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memory->pinned = areas;
        memory->pinned_room = room;
    }
    memmove(&memory->pinned[at + 1], &memory->pinned[at],
            (memory->pinned_count - at) * sizeof *out);
    *out = memory->pinned[at] =
        (struct pinned_area){.base = base, .bytes = bytes, .number = ++memory->pinned_number};
    memory->pinned_count++;
    return CUDA_SUCCESS;
}

static void pinned_unreserve(struct session *session, uint64_t base)
{
    struct memory *memory = &session->memory;
    pthread_mutex_lock(&memory->lock);
    for (uint32_t i = 0; i < memory->pinned_count; i++) {
        if (memory->pinned[i].base != base)
            continue;
        memory->pinned_count--;
        memmove(&memory->pinned[i], &memory->pinned[i + 1],
                (memory->pinned_count - i) * sizeof *memory->pinned);
    }
    pthread_mutex_unlock(&memory->lock);
}

static void pinned_unmap(struct session *session, const struct pinned_area *area)
{
    session->driver->ops->unpin(session->driver, (void *)area->base);
    munmap((void *)area->base, area->bytes);
    shared_release(session, area->bytes);
}

/* Host and device address must be one: softgpu's kernels use the mapping itself, real devices map
 * registered memory at its own address. */
static CUresult pinned_map(struct session *session, const struct pinned_area *area, uint32_t flags)
{
    int fd = shared_create(session, area->number, area->bytes);
    if (fd < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    void *base = mmap((void *)area->base, area->bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    bool given = base != MAP_FAILED && handover_send(session, area->number, area->bytes, fd);
    close(fd);
    if (!given) {
        if (base != MAP_FAILED)
            munmap(base, area->bytes);
        shared_release(session, area->bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result =
        session->driver->ops->pin(session->driver, base, area->bytes,
                                  CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_PORTABLE);
    if (result == CUDA_SUCCESS)
        return result;
    munmap(base, area->bytes);
    shared_release(session, area->bytes);
    return result;
}

bool op_host_alloc(struct session *session, const struct message *message)
{
    struct tally_op_host_alloc op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct memory *memory = &session->memory;
    struct pinned_area area = {0};
    CUresult result = op.bytes ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
    uint64_t bytes = op.bytes + (PAGE_BYTES - 1);
    bytes -= bytes % PAGE_BYTES;
    if (op.bytes && bytes >= op.bytes) {
        pthread_mutex_lock(&memory->lock);
        result = pinned_reserve(session, bytes, &area);
        bool full = memory->pinned_count >= pieces_max(session);
        pthread_mutex_unlock(&memory->lock);
        if (result != CUDA_SUCCESS && full)
            session_tell(
                session,
                "no more memory can be pinned: `pinned_pieces_max` in tallyd's config lets "
                "a process have %u pieces",
                pieces_max(session));
    }
    if (result == CUDA_SUCCESS) {
        result = pinned_map(session, &area, op.flags);
        if (result != CUDA_SUCCESS)
            pinned_unreserve(session, area.base);
    }
    struct tally_reply_host_alloc reply = {0};
    if (result == CUDA_SUCCESS) {
        pthread_mutex_lock(&memory->lock);
        struct range range = {.base = area.base, .bytes = area.bytes, .kind = RANGE_PINNED};
        if (!ranges_add(&memory->ranges, range))
            session_end(session, "the executor is short of memory");
        pthread_mutex_unlock(&memory->lock);
        tally_stats_add(&session->stats, TALLY_COUNT_PINNED_BYTES, area.bytes);
        reply.address = area.base;
        reply.bytes = area.bytes;
        reply.number = area.number;
    }
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, NULL, 0);
    return true;
}

static void free_pinned(struct session *session, struct wait_item *item, CUresult result)
{
    (void)result;
    struct pinned_area area = {.base = item->a, .bytes = item->b};
    pinned_unmap(session, &area);
    pinned_unreserve(session, area.base);
    tally_stats_add(&session->stats, TALLY_COUNT_PINNED_BYTES, -area.bytes);
}

bool op_host_free(struct session *session, const struct message *message)
{
    struct tally_op_host_free op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct memory *memory = &session->memory;
    struct range range;
    pthread_mutex_lock(&memory->lock);
    bool known = ranges_remove(&memory->ranges, op.address, RANGE_PINNED, &range);
    pthread_mutex_unlock(&memory->lock);
    if (known)
        session_defer(session, free_pinned, (uint64_t[3]){range.base, range.bytes});
    session_finish(session, &op.op, known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
    return true;
}

void pinned_close(struct session *session)
{
    struct memory *memory = &session->memory;
    for (uint32_t i = 0; i < memory->pinned_count; i++)
        pinned_unmap(session, &memory->pinned[i]);
    memory->pinned_count = 0;
    free(memory->pinned);
    memory->pinned = NULL;
}
