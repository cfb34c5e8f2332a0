/* The scheduler's policy, limits, figures and plans: what an engine's owner sets and reads. */
#include "engine/launch/settings.h"

#include "engine/launch/books.h"
#include "engine/launch/feed.h"

#define EXPORT_MAX 64u /* plans taken out in one go, under the lock */

/* What threads ask of the policy without the lock. */
void schedule_follow_policy(struct schedule *s)
{
    atomic_store(&s->high_at_once, tally_sched_high_at_once(s->core));
    atomic_store(&s->levels, tally_sched_uses_levels(s->core));
}

int schedule_set_policy(struct schedule *s, uint32_t policy)
{
    pthread_mutex_lock(&s->lock);
    int result = schedule_feed(
        s, &(struct tally_sched_event){.type = TALLY_SCHED_SET_POLICY, .policy = policy});
    schedule_follow_policy(s);
    schedule_unlock(s);
    return result;
}

bool schedule_high_at_once(const struct schedule *s)
{
    return atomic_load_explicit(&s->high_at_once, memory_order_relaxed);
}

bool schedule_uses_levels(const struct schedule *s)
{
    return atomic_load_explicit(&s->levels, memory_order_relaxed);
}

uint32_t schedule_policy(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    uint32_t policy = tally_sched_policy(s->core);
    schedule_unlock(s);
    return policy;
}

int schedule_set_limits(struct schedule *s, const struct tally_sched_limits *limits)
{
    pthread_mutex_lock(&s->lock);
    int result = schedule_feed(
        s, &(struct tally_sched_event){.type = TALLY_SCHED_SET_LIMITS, .limits = *limits});
    schedule_unlock(s);
    return result;
}

void schedule_read(struct schedule *s, struct tally_sched_stats *stats)
{
    pthread_mutex_lock(&s->lock);
    tally_sched_read_stats(s->core, stats);
    stats->rescues = s->rescues;
    schedule_unlock(s);
}

uint32_t schedule_export_plans(struct schedule *s, struct tally_plan_record *records, uint32_t max)
{
    uint32_t count = 0, taken = EXPORT_MAX;
    while (count < max && taken == EXPORT_MAX) {
        pthread_mutex_lock(&s->lock);
        taken = tally_plans_export(s->plans, records + count,
                                   max - count < EXPORT_MAX ? max - count : EXPORT_MAX);
        schedule_unlock(s);
        count += taken;
    }
    return count;
}

uint64_t schedule_plans_evicted(struct schedule *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t count = tally_plans_evicted(s->plans);
    schedule_unlock(s);
    return count;
}

uint32_t schedule_import_plans(struct schedule *s, const struct tally_plan_record *records,
                               uint32_t count)
{
    uint32_t taken = 0;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < count; i++)
        taken += tally_plans_import(s->plans, &records[i]);
    schedule_unlock(s);
    return taken;
}
