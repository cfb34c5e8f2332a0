/* The session's shared memory: one segment with the page and the slots, and its files in general.
 *
 * The client owns the files and may cut them short at any time; touching a page that is gone raises
 * SIGBUS. shared_store and shared_read survive that (guard.c); the driver's own accesses are the
 * driver's matter (a GPU has the pages pinned, softgpu guards its copies). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/guard.h"
#include "engine/session.h"

#define PIECE_BYTES (16ull << 20)

/* Pages are taken now: a full /dev/shm must fail here, not kill whoever touches the memory. They are cleared
 * with that, a second for some GB, so they are taken in pieces: a session that ends does not wait for the rest.
 * What can never fit takes nothing from others first. */
static int take_pages(const struct session *session, int fd, uint64_t bytes)
{
    struct statvfs room;
    if (fstatvfs(fd, &room) == 0 && bytes > (uint64_t)room.f_bavail * room.f_frsize)
        return ENOSPC;
    int error = 0;
    for (uint64_t at = 0; at < bytes && !error; at += PIECE_BYTES) {
        uint64_t piece = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        do
            error = atomic_load(&session->ending) ? ECANCELED : posix_fallocate(fd, (off_t)at, (off_t)piece);
        while (error == EINTR);
    }
    return error;
}

int shm_create(struct session *session, const char *name, size_t bytes)
{
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int error = take_pages(session, fd, bytes);
    if (!error && session->config.uid != geteuid() && fchown(fd, session->config.uid, session->config.gid) != 0)
        error = errno;
    if (!error)
        return fd;
    close(fd);
    shm_unlink(name);
    errno = error;
    return -1;
}

static void segment_name(const struct session *session, char *out, size_t bytes)
{
    snprintf(out, bytes, "/%s-s%llu", engine_config(session->engine)->shm_prefix,
             (unsigned long long)session->config.session);
}

bool segment_open(struct session *session, char *error, size_t error_bytes)
{
    struct segment *segment = &session->segment;
    const struct tally_session_config *config = &session->config;
    char name[sizeof segment->path - 8];
    segment_name(session, name, sizeof name);
    segment->bytes = sizeof(struct tally_session_page) + (size_t)config->slot_count * config->slot_bytes;
    int fd = shm_create(session, name, segment->bytes);
    if (fd < 0) {
        snprintf(error, error_bytes, "cannot create %zu bytes of shared memory: %s", segment->bytes, strerror(errno));
        return false;
    }
    snprintf(segment->path, sizeof segment->path, "/dev/shm%s", name);
    void *base = mmap((void *)session->memory.region_base, segment->bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    close(fd);
    if (base == MAP_FAILED) {
        snprintf(error, error_bytes, "cannot map the session's segment: %s", strerror(errno));
        shm_unlink(name);
        segment->path[0] = 0;
        return false;
    }
    segment->base = base;
    segment->page = base;
    segment->slots = segment->base + sizeof *segment->page;
    segment->page->version = TALLY_PROTOCOL_VERSION;
    segment->page->magic = TALLY_PAGE_MAGIC;
    const struct tally_driver *cu = &session->driver->cu;
    bool registered = session->driver->is_soft;
    if (!registered && cu->cuMemHostRegister_v2)
        registered = cu->cuMemHostRegister_v2(base, segment->bytes, CU_MEMHOSTREGISTER_DEVICEMAP) == CUDA_SUCCESS;
    segment->stream_writes = registered && cu->cuStreamWriteValue32_v2;
    return true;
}

void segment_close(struct session *session)
{
    struct segment *segment = &session->segment;
    if (!segment->base)
        return;
    if (!session->driver->is_soft && session->driver->cu.cuMemHostUnregister)
        session->driver->cu.cuMemHostUnregister(segment->base);
    munmap(segment->base, segment->bytes);
    char name[sizeof segment->path];
    segment_name(session, name, sizeof name);
    shm_unlink(name); /* the client may have done it already */
    segment->base = NULL;
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

static void mark_later(struct session *session, struct wait_item *item, CUresult result)
{
    if (result == CUDA_SUCCESS)
        shared_store(session, &session->segment.page->done[item->a], (uint32_t)item->b);
    else
        session_note(session, result);
}

void segment_mark(struct session *session, struct stream *stream, uint32_t slot, uint32_t sequence)
{
    struct segment *segment = &session->segment;
    uint32_t *done = &segment->page->done[slot];
    if (!stream || stream_query(session, stream) == CUDA_SUCCESS) {
        shared_store(session, done, sequence);
        return;
    }
    if (segment->stream_writes) {
        CUresult result = session->driver->cu.cuStreamWriteValue32_v2(stream->driver, (CUdeviceptr)done, sequence, 0);
        if (result == CUDA_SUCCESS)
            return;
        segment->stream_writes = false;
    }
    struct wait_item *item = wait_item_new(mark_later, 1);
    if (!item) {
        session_end(session, "the executor is short of memory");
        return;
    }
    CUresult result = event_pool_get(session, &item->events[0]);
    if (result != CUDA_SUCCESS) { /* the session has failed: nothing of it will run */
        wait_item_free(session, item);
        session_note(session, result);
        shared_store(session, done, sequence);
        return;
    }
    item->event_count = 1;
    session->driver->cu.cuEventRecord(item->events[0], stream->driver);
    item->a = slot;
    item->b = sequence;
    waiter_add(&session->waits, item);
}
