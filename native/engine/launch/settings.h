/* The scheduler's policy, limits, figures and plans: what an engine's owner sets and reads. Any
 * thread. */
#ifndef TALLY_ENGINE_SETTINGS_H
#define TALLY_ENGINE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/plan.h"
#include "tally/sched.h"

struct schedule;

int schedule_set_policy(struct schedule *schedule, uint32_t policy);
uint32_t schedule_policy(struct schedule *schedule);
/* Under the lock, after the policy was set: what threads ask of it without the lock. */
void schedule_follow_policy(struct schedule *schedule);
/* Whether launches of high sessions go to the device first, and to the books then. */
bool schedule_high_at_once(const struct schedule *schedule);
/* Whether streams of high sessions should have the device's high priority. */
bool schedule_uses_levels(const struct schedule *schedule);
int schedule_set_limits(struct schedule *schedule, const struct tally_sched_limits *limits);
void schedule_read(struct schedule *schedule, struct tally_sched_stats *stats);
uint32_t schedule_export_plans(struct schedule *schedule, struct tally_plan_record *records,
                               uint32_t max);
uint64_t schedule_plans_evicted(struct schedule *schedule);
uint32_t schedule_import_plans(struct schedule *schedule, const struct tally_plan_record *records,
                               uint32_t count);

#endif
