/* The session's segment: one piece of shared memory with the page and the slots.
 *
 * The client cannot cut it short, as its size is sealed. But a machine that is short of memory
 * raises SIGBUS for a page of it that the client has punched out; shared_store and shared_read
 * survive that (guard.c). The driver's own accesses are the driver's matter (a GPU has the pages
 * pinned, softgpu guards its copies). */
#include "engine/session/segment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/memory/guard.h"
#include "engine/memory/region.h"
#include "engine/session/session.h"
#include "engine/session/shared.h"

bool segment_open(struct session *session, char *error, size_t error_bytes)
{
    struct segment *segment = &session->segment;
    const struct tally_session_config *config = &session->config;
    segment->bytes =
        sizeof(struct tally_session_page) + (size_t)config->slot_count * config->slot_bytes;
    int fd = shared_create(session, 0, segment->bytes);
    if (fd < 0) {
        snprintf(
            error, error_bytes, "cannot create %zu bytes of shared memory: %s", segment->bytes,
            errno == EDQUOT
                ? "there is as much as `pinned_bytes_max`, or the limit of a job or session, allows"
                : strerror(errno));
        return false;
    }
    void *base = mmap((void *)region_base(session), segment->bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    if (base == MAP_FAILED) {
        snprintf(error, error_bytes, "cannot map the session's segment: %s", strerror(errno));
        close(fd);
        shared_release(session, segment->bytes);
        return false;
    }
    segment->file = fd;
    segment->base = base;
    segment->page = base;
    segment->slots = segment->base + sizeof *segment->page;
    segment->page->version = TALLY_PROTOCOL_VERSION;
    segment->page->magic = TALLY_PAGE_MAGIC;
    struct driver *driver = session->driver;
    segment->pinned = driver->ops->pin(driver, base, segment->bytes,
                                       CU_MEMHOSTREGISTER_DEVICEMAP) == CUDA_SUCCESS;
    segment->stream_writes = segment->pinned && driver->cu.cuStreamWriteValue32_v2;
    return true;
}

void segment_close(struct session *session)
{
    struct segment *segment = &session->segment;
    if (!segment->base)
        return;
    if (segment->pinned)
        session->driver->ops->unpin(session->driver, segment->base);
    munmap(segment->base, segment->bytes);
    if (segment->file)
        close(segment->file);
    segment->file = 0;
    shared_release(session, segment->bytes);
    segment->base = NULL;
}

size_t segment_bytes(const struct session *session) { return session->segment.bytes; }

int segment_take_file(struct session *session)
{
    int file = session->segment.file;
    session->segment.file = 0;
    return file;
}

uint8_t *segment_slot(const struct session *session, uint32_t slot)
{
    return session->segment.slots + (uint64_t)slot * session->config.slot_bytes;
}

void segment_count_op(struct session *session)
{
    shared_store_wide(session, &session->segment.page->ops_handled, ++session->segment.handled);
}

void segment_set_sticky(struct session *session, CUresult error)
{
    shared_store(session, &session->segment.page->sticky_error, (uint32_t)error);
}

void segment_mark_closed(struct session *session)
{
    struct tally_session_page *page = session->segment.page;
    uint64_t reason[TALLY_END_REASON_BYTES / sizeof(uint64_t)] = {0};
    if (!page)
        return;
    memcpy(reason, session->reason, strnlen(session->reason, sizeof reason - 1));
    for (size_t i = 0; i < sizeof reason / sizeof *reason; i++)
        shared_store_wide(session, (uint64_t *)(void *)page->reason + i, reason[i]);
    atomic_thread_fence(memory_order_release); /* who sees the mark sees the reason */
    shared_store(session, &page->closed, 1);
}
