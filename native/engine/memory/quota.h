/* How much host memory sessions may have pinned, their segments included: each, all of one job,
 * and all together. It cannot be swapped out, and it is the executor's: without a limit one
 * program could take the machine's. */
#ifndef TALLY_ENGINE_QUOTA_H
#define TALLY_ENGINE_QUOTA_H

#include <stdint.h>

struct quota;

struct quota_limits {
    uint64_t session_bytes_max, job_bytes_max, bytes_max; /* 0: none */
};

struct quota *quota_create(const struct quota_limits *limits);
void quota_destroy(struct quota *quota);

/* NULL, or the name of the setting that stands against it, and in *max its value. `session` is
 * the index in the engine's table; job 0 is a job of its own. */
const char *quota_take(struct quota *quota, uint32_t session, uint64_t job, uint64_t bytes,
                       uint64_t *max);
void quota_give(struct quota *quota, uint32_t session, uint64_t bytes);

#endif
