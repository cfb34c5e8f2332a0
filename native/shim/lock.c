#include "lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"

static void futex(struct shim_lock *lock, int op, uint32_t value, const struct timespec *timeout)
{
    syscall(SYS_futex, &lock->word, op | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

/* Who slept takes the lock as 2, for it cannot know whether others still sleep. */
SHIM_RARE void shim_lock_wait(struct shim_lock *lock)
{
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire))
        futex(lock, FUTEX_WAIT, 2, NULL);
}

SHIM_RARE void shim_lock_wake(struct shim_lock *lock) { futex(lock, FUTEX_WAKE, 1, NULL); }

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool shim_lock_soon(struct shim_lock *lock, int timeout_ms) LOCKS_UNCHECKED
{
    int64_t until = now_ms() + timeout_ms;
    if (shim_lock_try(lock))
        return true;
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire)) {
        int64_t left = until - now_ms();
        if (left <= 0)
            return false;
        struct timespec wait = {.tv_nsec = left * 1000000};
        futex(lock, FUTEX_WAIT, 2, &wait);
    }
    return true;
}
