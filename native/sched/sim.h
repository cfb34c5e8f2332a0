/* A virtual GPU and its clients in virtual time, around the same scheduler core that the engine
 * drives.
 *
 * The device is a pool of execution units. A kernel's blocks take a fixed share of it each; blocks
 * are dispatched in order, streams of a higher level first, a running block is never interrupted.
 * Blocks that are dispatched together run and end together (a cohort), so a launch costs a few
 * events however many blocks it has. All arithmetic is on integers and every random draw comes from
 * one seeded generator per client: the same input gives the same nanoseconds.
 */
#ifndef TALLY_SIM_H
#define TALLY_SIM_H

#include "tally/sched.h"

#define TALLY_SIM_QUANTILES 64u
#define TALLY_SIM_LEVELS_MAX 8u

struct tally_sim_device {
    uint32_t units;             /* execution units: a fine division of all multiprocessors */
    uint32_t contention_permil; /* how much longer a block runs with the rest of the device in
                                   others' hands */
    uint32_t interleave; /* streams of one level: 0: whoever came first dispatches all its blocks
                            first; 1: they take turns */
    uint32_t reserved;
    uint64_t launch_ns; /* from the instruction to the first block, on an idle stream */
    uint64_t gap_ns;    /* between one kernel's last block and the next one's first, same stream */
    uint64_t completion_ns; /* from the last block to the scheduler's knowing */
    uint64_t flag_ns;       /* from the instruction to preempt until blocks see the flag */
    uint64_t skip_ns;       /* a block that declines to run */
    uint64_t guard_ns;      /* what the guard adds to a block that runs */
    uint64_t forward_ns;    /* from the client's call to the scheduler */
    uint64_t reply_ns;      /* from completion to the client's return from its wait */
};

struct tally_sim_kernel {
    uint32_t blocks;
    uint32_t units;         /* taken by one block */
    uint32_t spread_permil; /* blocks of a launch differ by so much, half of it each way */
    uint32_t reserved;
    struct tally_sched_plan plan;
    uint64_t block_ns[TALLY_SIM_QUANTILES]; /* duration of a block: quantiles of its distribution */
};

enum { TALLY_SIM_SYNC = -1 };
struct tally_sim_op {
    int32_t kernel; /* index, or TALLY_SIM_SYNC: wait until everything submitted is complete */
    uint32_t reserved;
    uint64_t cpu_ns; /* the client's own time before the call (SYNC: after the wait) */
};

struct tally_sim_client {
    uint32_t class_, weight;
    int32_t priority;
    uint32_t program_count;
    const struct tally_sim_op *ops; /* all programs, one after the other; each ends with a wait */
    const uint32_t *program_ends;   /* end of each in ops */
    const uint64_t *arrivals; /* of requests, ascending; NULL: begins the next program at once */
    uint64_t arrival_count;
    uint64_t seed;
    uint64_t job; /* clients of one share its part of the device; 0: of none */
};

struct tally_sim_result {
    uint64_t programs; /* run to their end */
    uint64_t launches;
    uint64_t busy_ns;  /* sum over programs of start to end */
    uint64_t ops_done; /* ops of all programs, those of the last, unfinished one included */
};

struct tally_sim;

/* NULL if something does not fit together or memory is short. The arrays must outlive the
 * simulation. */
struct tally_sim *tally_sim_create(const struct tally_sim_device *device,
                                   const struct tally_sched_config *config,
                                   const struct tally_sim_kernel *kernels, uint32_t kernel_count,
                                   const struct tally_sim_client *clients, uint32_t client_count);
void tally_sim_destroy(struct tally_sim *sim);

/* Runs until virtual time end_ns; check: validate the scheduler after every event (slow). NULL, or
 * what went wrong. May be called again with a later time. */
const char *tally_sim_run(struct tally_sim *sim, uint64_t end_ns, bool check);

void tally_sim_read(const struct tally_sim *sim, uint32_t client, struct tally_sim_result *result);
/* Start-to-end times (without queueing) and arrival-to-end times of the client's programs, in
 * order; returns how many were written. */
uint64_t tally_sim_latencies(const struct tally_sim *sim, uint32_t client, uint64_t *service_ns,
                             uint64_t *response_ns, uint64_t max);
const struct tally_sched *tally_sim_sched(const struct tally_sim *sim);
uint64_t tally_sim_events(const struct tally_sim *sim);

#endif
