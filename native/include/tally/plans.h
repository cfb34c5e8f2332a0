/* Plans from measurements: how launches of one signature are best run.
 *
 * A table of fixed size, keyed by signature (the caller's 64-bit hash of code, kernel, grid, block
 * and dynamic shared memory). No I/O, no clock, no allocation after create; one thread at a time.
 * The owner takes records out (tally_plans_export) to keep them on disk and puts them back at the
 * next start.
 */
#ifndef TALLY_PLANS_H
#define TALLY_PLANS_H

#include "tally/plan.h"

struct tally_plans;

struct tally_plans *tally_plans_create(uint32_t records_max);
void tally_plans_destroy(struct tally_plans *plans);

/* Makes the signature known, or refreshes what the caller knows of it. Where the table is full, a
 * record goes that has not been declared for a while. */
void tally_plans_declare(struct tally_plans *plans, uint64_t signature, uint32_t blocks,
                         uint32_t resident, uint32_t abilities);
/* Launches of the signature run whole from now on. */
void tally_plans_never_stop(struct tally_plans *plans, uint64_t signature);
/* Adds one measurement; of signatures not declared, nothing is kept. */
void tally_plans_measure(struct tally_plans *plans, uint64_t signature,
                         enum tally_plan_measurement what, uint32_t blocks, uint64_t ns);
/* The plan for the signature's next launch (tally_plan_choose); whole, if it is not known. */
void tally_plans_plan(const struct tally_plans *plans, uint64_t signature,
                      uint64_t turnaround_ns_max, struct tally_sched_plan *plan);
/* Records changed since the last export, up to max; returns their number. Takes time for these
 * alone. */
uint32_t tally_plans_export(struct tally_plans *plans, struct tally_plan_record *records,
                            uint32_t max);
/* Every record, up to max, exported or not. Looks at the whole table. */
uint32_t tally_plans_list(const struct tally_plans *plans, struct tally_plan_record *records,
                          uint32_t max);
/* Puts a record back; one that is known already keeps its newer measurements. False: full or
 * senseless. */
bool tally_plans_import(struct tally_plans *plans, const struct tally_plan_record *record);
uint32_t tally_plans_count(const struct tally_plans *plans);
/* Records that made room for others since the start. */
uint64_t tally_plans_evicted(const struct tally_plans *plans);
/* NULL, or what is wrong: walks everything. */
const char *tally_plans_validate(const struct tally_plans *plans);

#endif
