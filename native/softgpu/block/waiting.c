/* A block that waits for other blocks, at a grid's barrier or in a loop of its own, gives its place
 * to them.
 *
 * Compiled loops that may wait pause now and then, and say what they have seen. While that changes,
 * the loop makes progress: it may as well be one that retries, or counts. Where it does not, for
 * all warps that can run, the block waits: another worker is told to take this one's place, and
 * this one looks ever more seldom. */
#include <sched.h>
#include <string.h>
#include <time.h>

#include "block.h"

#define PATIENT_NS 100000 /* before a block counts as waiting; at once in a cooperative launch */
#define YIELDS 16u        /* looks after which others of the CPU go first; then the thread sleeps */
#define PAUSE_NS_MIN 10000 /* at first, then twice as long each time */
#define PAUSES 5u

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The upper side takes a lock: no interrupt may leave it there. */
static void tell(struct soft_worker *worker, bool waits)
{
    worker->critical = 1;
    soft_block_waits(waits);
    worker->waiting.told = waits;
    worker->critical = 0;
}

void soft_waiting_begin(struct soft_worker *worker)
{
    memset(&worker->waiting, 0, sizeof worker->waiting);
}

void soft_waiting_over(struct soft_worker *worker)
{
    struct soft_waiting *waiting = &worker->waiting;
    waiting->since_ns = 0;
    if (waiting->told)
        tell(worker, false);
}

static void rest(uint32_t looks)
{
    if (looks < YIELDS) {
        sched_yield();
        return;
    }
    uint32_t doublings = looks - YIELDS < PAUSES ? looks - YIELDS : PAUSES;
    nanosleep(&(struct timespec){.tv_nsec = (long)PAUSE_NS_MIN << doublings}, NULL);
}

void soft_waiting_look(struct soft_worker *worker)
{
    struct soft_waiting *waiting = &worker->waiting;
    if (!waiting->told) {
        uint64_t now = now_ns();
        if (!waiting->since_ns)
            waiting->since_ns = now;
        if (!worker->launch->workspace && now - waiting->since_ns < PATIENT_NS)
            return;
        tell(worker, true);
        waiting->looks = 0;
    }
    rest(waiting->looks++);
    worker->critical = 1;
    soft_block_waits_on();
    worker->critical = 0;
    if (__atomic_load_n(worker->launch->abort, __ATOMIC_RELAXED))
        soft_leave(worker, (struct soft_outcome){SOFT_ABORTED, CUDA_SUCCESS, 0});
}
