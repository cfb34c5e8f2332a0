/* What has been measured of the launches of one signature, and how they are best run. */
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

/* Adds one measurement to the record. */
void tally_plan_note_time(struct tally_plan_record *record, enum tally_plan_measurement what,
                          uint32_t blocks, uint64_t ns);
/* Whether its times and their counts fit each other. */
bool tally_plan_times_ok(const struct tally_plan_record *record);
/* The plan for the next launch: the cheapest that keeps turnaround under the bound; until enough is
 * known, the one that measures it most safely. */
void tally_plan_choose(const struct tally_plan_record *record, uint64_t turnaround_ns_max,
                       struct tally_sched_plan *plan);

#endif
