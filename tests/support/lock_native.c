/* Calls a function with a lock held, as the engine must not: its name passes for tally._native's. */
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int call_locked(int (*function)(void *, void *), void *first, void *second)
{
    pthread_mutex_lock(&lock);
    int result = function(first, second);
    pthread_mutex_unlock(&lock);
    return result;
}
