/* Plans from measurements: how launches of one signature are best run.
 *
 * A table of fixed size, keyed by signature (the caller's 64-bit hash of code, kernel, grid, block
 * and dynamic shared memory). No I/O, no clock, no allocation after create; one thread at a time.
 * The owner takes records out (tally_plans_export) to keep them on disk and puts them back at the
 * next start.
 */
#ifndef TALLY_PLAN_H
#define TALLY_PLAN_H

#include "tally/sched.h"

/* What can be done with a kernel, by the classes of the rewriting passes. */
enum tally_plan_ability {
    TALLY_PLAN_CAN_GUARD = 1,
    TALLY_PLAN_CAN_SLICE = 2,
    TALLY_PLAN_WAITS = 4, /* seen to wait between its blocks: whole, whatever else; it stays */
};

enum tally_plan_measurement {
    TALLY_PLAN_WHOLE = 0,   /* all blocks, the kernel as it is */
    TALLY_PLAN_GUARDED = 1, /* all blocks, through the guard, not stopped */
    TALLY_PLAN_SLICE = 2,   /* `blocks` of them in one slice */
    TALLY_PLAN_STOP = 3,    /* from the flag to the last block */
};
#define TALLY_PLAN_MEASUREMENTS 4u

/* What is known of one signature. Times are smoothed device times in ns; 0 with count 0: not known.
 */
struct tally_plan_record {
    uint64_t signature;
    uint64_t
        ns[TALLY_PLAN_MEASUREMENTS]; /* SLICE: per slice of slice_blocks; STOP: decaying maximum */
    uint32_t count[TALLY_PLAN_MEASUREMENTS];
    uint32_t blocks;
    uint32_t slice_blocks; /* of the slices measured */
    uint32_t resident;     /* blocks that the device can hold at once; 0: not known */
    uint32_t abilities;
    uint64_t error_ns; /* sum of |measured - estimated| over the stops */
};

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
/* The plan for the next launch: the cheapest that keeps turnaround under the bound; until enough is
 * known, the one that measures it most safely. */
void tally_plans_plan(const struct tally_plans *plans, uint64_t signature,
                      uint64_t turnaround_ns_max, struct tally_sched_plan *plan);
/* The same for one record, wherever it comes from. */
void tally_plan_choose(const struct tally_plan_record *record, uint64_t turnaround_ns_max,
                       struct tally_sched_plan *plan);

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
