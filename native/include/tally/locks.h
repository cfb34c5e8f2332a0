/* Which lock guards what, said so that a tool checks it: `make lint` compiles with clang's thread
 * safety analysis. To other compilers the attributes are nothing. A function that wants its caller
 * to hold a lock says REQUIRES, and its name ends in _locked. */
#ifndef TALLY_LOCKS_H
#define TALLY_LOCKS_H

#include <pthread.h>
#include <stdbool.h>

/* All of them name the lock itself, not its address, also where it is a member: GUARDED_BY(lock).
 */
#ifdef __clang__
#define LOCK_ATTRIBUTE(x) __attribute__((x))
#else
#define LOCK_ATTRIBUTE(x)
#endif

#define LOCKABLE LOCK_ATTRIBUTE(capability("mutex"))
#define GUARDED_BY(lock) LOCK_ATTRIBUTE(guarded_by(&lock))
#define POINTEE_GUARDED_BY(lock) LOCK_ATTRIBUTE(pt_guarded_by(&lock))
#define REQUIRES(lock) LOCK_ATTRIBUTE(requires_capability(&lock))
#define REQUIRES_SHARED(lock) LOCK_ATTRIBUTE(requires_shared_capability(&lock))
#define ACQUIRES(lock) LOCK_ATTRIBUTE(acquire_capability(&lock))
#define ACQUIRES_SHARED(lock) LOCK_ATTRIBUTE(acquire_shared_capability(&lock))
#define ACQUIRES_IF(result, lock) LOCK_ATTRIBUTE(try_acquire_capability(result, &lock))
#define RELEASES(lock) LOCK_ATTRIBUTE(release_capability(&lock))
#define RELEASES_ANY(lock) LOCK_ATTRIBUTE(release_generic_capability(&lock))
/* Nobody else can be there: a forked child, an object that is being made or freed. */
#define ALONE_WITH(lock) LOCK_ATTRIBUTE(assert_capability(&lock))
/* Why must stand beside it. */
#define LOCKS_UNCHECKED LOCK_ATTRIBUTE(no_thread_safety_analysis)

struct LOCKABLE tally_mutex {
    pthread_mutex_t pthread;
};

#define TALLY_MUTEX_INIT {PTHREAD_MUTEX_INITIALIZER}

/* The functions of pthread say nothing to the analysis; these say it for them. */

static inline void tally_mutex_init(struct tally_mutex *mutex) ALONE_WITH(*mutex) LOCKS_UNCHECKED
{
    pthread_mutex_init(&mutex->pthread, NULL);
}

static inline void tally_mutex_take(struct tally_mutex *mutex) ACQUIRES(*mutex) LOCKS_UNCHECKED
{
    pthread_mutex_lock(&mutex->pthread);
}

static inline bool tally_mutex_try(struct tally_mutex *mutex)
    ACQUIRES_IF(true, *mutex) LOCKS_UNCHECKED
{
    return pthread_mutex_trylock(&mutex->pthread) == 0;
}

static inline void tally_mutex_give(struct tally_mutex *mutex) RELEASES(*mutex) LOCKS_UNCHECKED
{
    pthread_mutex_unlock(&mutex->pthread);
}

static inline void tally_mutex_wait(struct tally_mutex *mutex, pthread_cond_t *wake)
    REQUIRES(*mutex)
{
    pthread_cond_wait(wake, &mutex->pthread);
}

struct LOCKABLE tally_rwlock {
    pthread_rwlock_t pthread;
};

#define TALLY_RWLOCK_INIT {PTHREAD_RWLOCK_INITIALIZER}

static inline void tally_rwlock_init(struct tally_rwlock *lock) ALONE_WITH(*lock) LOCKS_UNCHECKED
{
    pthread_rwlock_init(&lock->pthread, NULL);
}

static inline void tally_rwlock_read(struct tally_rwlock *lock)
    ACQUIRES_SHARED(*lock) LOCKS_UNCHECKED
{
    pthread_rwlock_rdlock(&lock->pthread);
}

static inline void tally_rwlock_write(struct tally_rwlock *lock) ACQUIRES(*lock) LOCKS_UNCHECKED
{
    pthread_rwlock_wrlock(&lock->pthread);
}

static inline void tally_rwlock_give(struct tally_rwlock *lock) RELEASES_ANY(*lock) LOCKS_UNCHECKED
{
    pthread_rwlock_unlock(&lock->pthread);
}

#endif
