/* Workers and the CPUs that programs need. */
#include "background.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#define NICE 10 /* more than whoever started the executor; the kernel's limit is 19 */

void soft_give_way_to_programs(void)
{
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, 0);
    if (errno == 0)
        setpriority(PRIO_PROCESS, 0, nice + NICE);
}

static bool set_policy(pid_t thread, int policy)
{
    return sched_setscheduler(thread, policy, &(struct sched_param){0}) == 0;
}

static void *try_background(void *argument)
{
    soft_give_way_to_programs();
    *(bool *)argument = set_policy(0, SCHED_IDLE) && set_policy(0, SCHED_OTHER);
    return NULL;
}

bool soft_set_background(pid_t thread, bool background)
{
    return set_policy(thread, background ? SCHED_IDLE : SCHED_OTHER);
}

bool soft_background_possible(void)
{
    pthread_t thread;
    bool possible = false;
    if (pthread_create(&thread, NULL, try_background, &possible) == 0)
        pthread_join(thread, NULL);
    return possible;
}
