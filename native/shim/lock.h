/* A mutex that costs one instruction to take and one to give while nobody else wants it, inlined:
 * every launch takes one. */
#ifndef TALLY_SHIM_LOCK_H
#define TALLY_SHIM_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tally/assert.h"
#include "tally/locks.h"

/* Zeroed: free. What these functions do is what the analysis takes them to say (tally/locks.h). */
struct LOCKABLE shim_lock {
    _Atomic uint32_t word; /* 0: free; 1: held; 2: held, and somebody may sleep */
};

void shim_lock_wait(struct shim_lock *lock); /* sleeps until it has the lock */
void shim_lock_wake(struct shim_lock *lock);

/* Takes the lock unless that lasts longer than timeout_ms (below 1000); true: it has it. */
bool shim_lock_soon(struct shim_lock *lock, int timeout_ms) ACQUIRES_IF(true, *lock);

static inline bool shim_lock_try(struct shim_lock *lock) ACQUIRES_IF(true, *lock) LOCKS_UNCHECKED
{
    uint32_t word = 0;
    return atomic_compare_exchange_strong_explicit(&lock->word, &word, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void shim_lock_take(struct shim_lock *lock) ACQUIRES(*lock) LOCKS_UNCHECKED
{
    if (!shim_lock_try(lock))
        shim_lock_wait(lock);
}

static inline void shim_lock_give(struct shim_lock *lock) RELEASES(*lock) LOCKS_UNCHECKED
{
    uint32_t word = atomic_exchange_explicit(&lock->word, 0, memory_order_release);
    TALLY_ASSERT(word);
    if (word == 2)
        shim_lock_wake(lock);
}

#endif
