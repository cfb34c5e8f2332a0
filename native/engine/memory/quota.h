/* How much memory of one kind sessions have, and may have: each, all of one job, and all together.
 * Pinned host memory, segments included, cannot be swapped out, and it is the executor's: without
 * a limit one program could take the machine's. Device memory is limited for a job, as it asked. */
#ifndef TALLY_ENGINE_QUOTA_H
#define TALLY_ENGINE_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

struct quota;

struct quota_limits {
    uint64_t session_bytes_max, job_bytes_max, bytes_max; /* 0: none */
};

struct quota *quota_create(const struct quota_limits *limits);
void quota_destroy(struct quota *quota); /* NULL: nothing */

/* NULL, or the name of the setting that stands against it, and in *max its value. `session` is
 * the index in the engine's table; job 0 is a job of its own. */
const char *quota_take(struct quota *quota, uint32_t session, uint64_t job, uint64_t bytes,
                       uint64_t *max);
/* The same for one more limit: what all sessions of the job may have, or 0. */
bool quota_take_within(struct quota *quota, uint32_t session, uint64_t job, uint64_t bytes,
                       uint64_t job_bytes_max);
/* What all sessions of the job have. */
uint64_t quota_used(struct quota *quota, uint32_t session, uint64_t job);
void quota_give(struct quota *quota, uint32_t session, uint64_t bytes);

#endif
