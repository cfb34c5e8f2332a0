#include "engine/session/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/memory/quota.h"
#include "engine/session/notice.h"
#include "engine/session/session.h"

#define PIECE_BYTES (16ull << 20)

/* What the machine can still give without taking it from programs; UINT64_MAX: not known. */
static uint64_t available_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long kilobytes = UINT64_MAX / 1024;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return kilobytes * 1024ull;
}

/* Pages are taken now: short memory must fail here, not kill whoever touches it. They are
 * cleared with that, a second for some GB, so they are taken in pieces: a session that ends does
 * not wait for the rest. */
static int take_pages(const struct session *session, int fd, uint64_t bytes)
{
    int error = 0;
    for (uint64_t at = 0; at < bytes && !error; at += PIECE_BYTES) {
        uint64_t piece = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        do
            error = atomic_load(&session->ending) ? ECANCELED
                                                  : posix_fallocate(fd, (off_t)at, (off_t)piece);
        while (error == EINTR);
    }
    return error;
}

static int create_file(struct session *session, uint64_t number, uint64_t bytes)
{
    char name[64];
    unsigned long long session_number = session->config.session;
    if (number)
        snprintf(name, sizeof name, "tally-s%llu-%llu", session_number, (unsigned long long)number);
    else
        snprintf(name, sizeof name, "tally-s%llu", session_number);
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    int error = take_pages(session, fd, bytes);
    if (!error && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        error = errno;
    if (!error)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

int shared_create(struct session *session, uint64_t number, uint64_t bytes)
{
    struct quota *quota = session->engine->pinned_quota;
    uint64_t max = 0;
    const char *setting = quota_take(quota, session->index, session->config.job, bytes, &max);
    if (setting) {
        if (number) /* else the session is refused, and that says why */
            session_tell(session,
                         "no more memory can be pinned: `%s` in tallyd's config is %llu bytes",
                         setting, (unsigned long long)max);
        errno = EDQUOT;
        return -1;
    }
    int fd = -1;
    if (bytes > available_bytes())
        errno = ENOMEM; /* what can never fit takes nothing from others first */
    else
        fd = create_file(session, number, bytes);
    if (fd < 0)
        quota_give(quota, session->index, bytes);
    return fd;
}

void shared_release(struct session *session, uint64_t bytes)
{
    quota_give(session->engine->pinned_quota, session->index, bytes);
}
