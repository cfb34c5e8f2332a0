#include "engine/memory/quota.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/stats.h"
#include "tally/address.h"

struct quota {
    struct quota_limits limits;
    pthread_mutex_t lock;
    struct {
        uint64_t job, bytes;
    } sessions[TALLY_TENANTS_MAX];
};

struct quota *quota_create(const struct quota_limits *limits)
{
    struct quota *quota = calloc(1, sizeof *quota);
    if (!quota)
        return NULL;
    quota->limits = *limits;
    pthread_mutex_init(&quota->lock, NULL);
    return quota;
}

void quota_destroy(struct quota *quota)
{
    if (!quota)
        return;
    pthread_mutex_destroy(&quota->lock);
    free(quota);
}

static bool exceeds(uint64_t used, uint64_t bytes, uint64_t max)
{
    return max && (bytes > max || used > max - bytes);
}

/* Under the lock. A job keeps its sessions' places: a session that has ended has given all back. */
static uint64_t of_job(const struct quota *quota, uint32_t session, uint64_t job)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < TALLY_TENANTS_MAX; i++)
        if (i == session || (job && quota->sessions[i].job == job))
            bytes += quota->sessions[i].bytes;
    return bytes;
}

/* Under the lock. */
static void add(struct quota *quota, uint32_t session, uint64_t job, uint64_t bytes)
{
    quota->sessions[session].job = job;
    quota->sessions[session].bytes += bytes;
}

const char *quota_take(struct quota *quota, uint32_t session, uint64_t job, uint64_t bytes,
                       uint64_t *max)
{
    const struct quota_limits *limits = &quota->limits;
    pthread_mutex_lock(&quota->lock);
    uint64_t all = 0, own = quota->sessions[session].bytes;
    for (uint32_t i = 0; i < TALLY_TENANTS_MAX; i++)
        all += quota->sessions[i].bytes;
    const char *name = NULL;
    if (exceeds(own, bytes, limits->session_bytes_max))
        name = "pinned_bytes_session_max", *max = limits->session_bytes_max;
    else if (exceeds(of_job(quota, session, job), bytes, limits->job_bytes_max))
        name = "pinned_bytes_job_max", *max = limits->job_bytes_max;
    else if (exceeds(all, bytes, limits->bytes_max))
        name = "pinned_bytes_max", *max = limits->bytes_max;
    if (!name)
        add(quota, session, job, bytes);
    pthread_mutex_unlock(&quota->lock);
    return name;
}

bool quota_take_within(struct quota *quota, uint32_t session, uint64_t job, uint64_t bytes,
                       uint64_t job_bytes_max)
{
    pthread_mutex_lock(&quota->lock);
    bool fits = !exceeds(of_job(quota, session, job), bytes, job_bytes_max);
    if (fits)
        add(quota, session, job, bytes);
    pthread_mutex_unlock(&quota->lock);
    return fits;
}

uint64_t quota_used(struct quota *quota, uint32_t session, uint64_t job)
{
    pthread_mutex_lock(&quota->lock);
    uint64_t bytes = of_job(quota, session, job);
    pthread_mutex_unlock(&quota->lock);
    return bytes;
}

void quota_give(struct quota *quota, uint32_t session, uint64_t bytes)
{
    pthread_mutex_lock(&quota->lock);
    quota->sessions[session].bytes -= bytes;
    pthread_mutex_unlock(&quota->lock);
}
