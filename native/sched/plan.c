/* Measurements per signature, and the choice of a plan from them. */
#include "tally/plan.h"

#include <stdlib.h>
#include <string.h>

#define MEASURED 2u            /* runs of a kind before its time counts as known */
#define FIRST_RUNS 3u
#define TIME_TOP (UINT64_C(1) << 48)
#define SLICE_OVERHEAD_NS 4000u /* assumed cost of one more launch until slices have been measured */
#define GUARD_PERMIL 20u        /* assumed cost of the guard until both ways have been measured */

struct slot { struct tally_plan_record record; bool used, changed; };

struct tally_plans {
    struct slot *slots; /* open addressing; capacity is a power of two, at most half full */
    uint32_t mask, count, count_max;
    uint32_t *changed; /* places of slots that are not exported: nobody looks for them in the whole table */
    uint32_t changed_count;
};

struct tally_plans *tally_plans_create(uint32_t records_max) {
    if (records_max == 0 || records_max > (1u << 24)) return NULL;
    struct tally_plans *plans = calloc(1, sizeof *plans);
    if (!plans) return NULL;
    uint32_t capacity = 8;
    while (capacity < records_max * 2) capacity *= 2;
    plans->slots = calloc(capacity, sizeof *plans->slots);
    plans->changed = calloc(records_max, sizeof *plans->changed);
    plans->mask = capacity - 1;
    plans->count_max = records_max;
    if (plans->slots && plans->changed) return plans;
    tally_plans_destroy(plans);
    return NULL;
}

void tally_plans_destroy(struct tally_plans *plans) {
    if (!plans) return;
    free(plans->slots);
    free(plans->changed);
    free(plans);
}

static struct slot *find(const struct tally_plans *plans, uint64_t signature) {
    uint64_t at = (signature * 0x9e3779b97f4a7c15u) >> 32;
    struct slot *slot = &plans->slots[at & plans->mask];
    while (slot->used && slot->record.signature != signature) slot = &plans->slots[++at & plans->mask];
    return slot;
}

static struct slot *find_or_add(struct tally_plans *plans, uint64_t signature) {
    struct slot *slot = find(plans, signature);
    if (slot->used) return slot;
    if (plans->count == plans->count_max) return NULL;
    plans->count++;
    *slot = (struct slot){.used = true, .record.signature = signature};
    return slot;
}

static void note_change(struct tally_plans *plans, struct slot *slot) {
    if (slot->changed) return;
    slot->changed = true;
    plans->changed[plans->changed_count++] = (uint32_t)(slot - plans->slots);
}

bool tally_plans_declare(struct tally_plans *plans, uint64_t signature, uint32_t blocks, uint32_t resident,
                         uint32_t abilities) {
    struct slot *slot = find_or_add(plans, signature);
    if (!slot) return false;
    struct tally_plan_record *record = &slot->record;
    if (record->blocks != blocks || record->resident != resident || record->abilities != abilities) {
        record->blocks = blocks;
        record->resident = resident;
        record->abilities = abilities;
        note_change(plans, slot);
    }
    return true;
}

/* Follows changes within some ten runs, and one slow run does not decide. The first runs of a kernel pay for
 * what comes once (code that is loaded, cold caches, clocks): of them the quickest counts. */
static uint64_t smooth(uint64_t old, uint32_t count, uint64_t ns) {
    if (count < FIRST_RUNS) return count == 0 || ns < old ? ns : old;
    uint64_t share = count < 8 ? count + 1 : 8;
    return ns > old ? old + (ns - old) / share : old - (old - ns) / share;
}

void tally_plans_measure(struct tally_plans *plans, uint64_t signature, enum tally_plan_measurement what,
                         uint32_t blocks, uint64_t ns) {
    struct slot *slot = find(plans, signature);
    if (!slot->used || (uint32_t)what >= TALLY_PLAN_MEASUREMENTS || ns == 0) return;
    struct tally_plan_record *record = &slot->record;
    if (ns >= TIME_TOP) ns = TIME_TOP - 1;
    if (what == TALLY_PLAN_STOP) {
        /* A bound is asked for, not a mean: up at once, down slowly. */
        uint64_t old = record->ns[what];
        if (record->count[what] > 0) record->error_ns += ns > old ? ns - old : old - ns;
        record->ns[what] = ns > old ? ns : old - (old - ns) / 64;
    } else if (what == TALLY_PLAN_SLICE && blocks != record->slice_blocks) {
        record->slice_blocks = blocks;
        record->count[what] = 0;
        record->ns[what] = ns;
    } else {
        record->ns[what] = smooth(record->ns[what], record->count[what], ns);
    }
    if (record->count[what] < UINT32_MAX) record->count[what]++;
    note_change(plans, slot);
}

/* ---- the choice ------------------------------------------------------------------------------------ */

struct choice { uint64_t cost_ns, stop_ns; bool possible; };

static uint64_t scale(uint64_t ns, uint64_t part, uint64_t all) {
    return (uint64_t)((unsigned __int128)ns * part / all);
}

/* Time of the whole kernel; a guarded run is an upper bound for it, also where whole runs that were measured
 * long ago took longer. */
static uint64_t whole_time(const struct tally_plan_record *record) {
    uint64_t whole_ns = record->ns[TALLY_PLAN_WHOLE], guarded_ns = record->ns[TALLY_PLAN_GUARDED];
    if (record->count[TALLY_PLAN_WHOLE] == 0) return guarded_ns;
    return record->count[TALLY_PLAN_GUARDED] >= FIRST_RUNS && guarded_ns < whole_ns ? guarded_ns : whole_ns;
}

static struct choice consider_guard(const struct tally_plan_record *record, uint64_t whole_ns) {
    struct choice choice = {.possible = record->abilities & TALLY_PLAN_CAN_GUARD};
    uint64_t guarded_ns = record->ns[TALLY_PLAN_GUARDED];
    if (record->count[TALLY_PLAN_WHOLE] >= MEASURED && record->count[TALLY_PLAN_GUARDED] >= MEASURED)
        choice.cost_ns = guarded_ns > whole_ns ? guarded_ns - whole_ns : 0;
    else
        choice.cost_ns = whole_ns * GUARD_PERMIL / 1000;
    if (record->count[TALLY_PLAN_STOP] > 0) {
        choice.stop_ns = record->ns[TALLY_PLAN_STOP];
    } else if (record->resident > 0) { /* the blocks that run when the flag goes up: one wave's time */
        uint64_t waves = (record->blocks + (uint64_t)record->resident - 1) / record->resident;
        choice.stop_ns = whole_ns / waves;
    }
    return choice;
}

/* Two slices in flight hide the way back of the first: each may take half of the bound. */
static struct choice consider_slices(const struct tally_plan_record *record, uint64_t whole_ns,
                                     uint64_t bound_ns, struct tally_sched_plan *plan) {
    struct choice choice = {0};
    if (!(record->abilities & TALLY_PLAN_CAN_SLICE) || record->blocks < 2) return choice;
    uint64_t blocks = scale(record->blocks, bound_ns / 2, whole_ns);
    if (record->resident > 0) { /* whole waves: less than one takes as long as one */
        blocks = blocks > record->resident ? blocks - blocks % record->resident : record->resident;
        if (blocks >= record->blocks) return choice;
    }
    if (blocks == 0) blocks = 1;
    if (blocks >= record->blocks) blocks = record->blocks - 1;
    uint64_t slices = (record->blocks + blocks - 1) / blocks, slice_ns = scale(whole_ns, blocks, record->blocks);
    uint64_t ideal_ns = scale(whole_ns, blocks, record->blocks), overhead_ns = SLICE_OVERHEAD_NS;
    if (record->count[TALLY_PLAN_SLICE] >= MEASURED && record->slice_blocks == blocks) {
        slice_ns = record->ns[TALLY_PLAN_SLICE];
        overhead_ns = 0;
    }
    plan->slice_blocks = (uint32_t)blocks;
    plan->slice_ns = slice_ns ? slice_ns : 1;
    choice.possible = true;
    choice.stop_ns = slice_ns;
    choice.cost_ns = slices * (overhead_ns + (slice_ns > ideal_ns ? slice_ns - ideal_ns : 0));
    return choice;
}

void tally_plan_choose(const struct tally_plan_record *record, uint64_t bound_ns, struct tally_sched_plan *plan) {
    bool can_guard = record->abilities & TALLY_PLAN_CAN_GUARD;
    uint64_t whole_ns = whole_time(record);
    *plan = (struct tally_sched_plan){.kind = TALLY_SCHED_WHOLE, .whole_ns = whole_ns};
    if (whole_ns == 0) { /* nothing known: a run that can be stopped is the safe way to learn */
        if (can_guard) plan->kind = TALLY_SCHED_PREEMPTIBLE;
        return;
    }
    if (whole_ns <= bound_ns) { /* short kernels need nothing */
        plan->guardable = can_guard;
        return;
    }
    if (can_guard && record->count[TALLY_PLAN_GUARDED] < MEASURED) {
        plan->kind = TALLY_SCHED_PREEMPTIBLE;
        plan->stop_ns = consider_guard(record, whole_ns).stop_ns;
        return;
    }
    struct choice guard = consider_guard(record, whole_ns);
    struct choice slices = consider_slices(record, whole_ns, bound_ns, plan);
    bool guard_fits = guard.possible && guard.stop_ns <= bound_ns;
    bool slices_fit = slices.possible && slices.stop_ns <= bound_ns;
    if (guard_fits && (!slices_fit || guard.cost_ns <= slices.cost_ns)) {
        plan->kind = TALLY_SCHED_PREEMPTIBLE;
    } else if (slices_fit) {
        plan->kind = TALLY_SCHED_SLICED;
    } else if (guard.possible || slices.possible) { /* nothing fits: the next block is the soonest there is */
        plan->kind = guard.possible ? TALLY_SCHED_PREEMPTIBLE : TALLY_SCHED_SLICED;
    }
    if (plan->kind == TALLY_SCHED_PREEMPTIBLE) plan->stop_ns = guard.stop_ns;
}

void tally_plans_plan(const struct tally_plans *plans, uint64_t signature, uint64_t bound_ns,
                      struct tally_sched_plan *plan) {
    const struct slot *slot = find(plans, signature);
    if (slot->used) tally_plan_choose(&slot->record, bound_ns, plan);
    else *plan = (struct tally_sched_plan){.kind = TALLY_SCHED_WHOLE};
}

/* ---- in and out -------------------------------------------------------------------------------------- */

uint32_t tally_plans_export(struct tally_plans *plans, struct tally_plan_record *records, uint32_t max) {
    uint32_t count = 0;
    while (count < max && plans->changed_count > 0) {
        struct slot *slot = &plans->slots[plans->changed[--plans->changed_count]];
        records[count++] = slot->record;
        slot->changed = false;
    }
    return count;
}

uint32_t tally_plans_list(const struct tally_plans *plans, struct tally_plan_record *records, uint32_t max) {
    uint32_t count = 0;
    for (uint32_t i = 0; i <= plans->mask && count < max; i++)
        if (plans->slots[i].used) records[count++] = plans->slots[i].record;
    return count;
}

bool tally_plans_import(struct tally_plans *plans, const struct tally_plan_record *record) {
    if (record->blocks == 0) return false;
    for (uint32_t i = 0; i < TALLY_PLAN_MEASUREMENTS; i++)
        if (record->ns[i] >= TIME_TOP || (record->ns[i] == 0) != (record->count[i] == 0)) return false;
    if (find(plans, record->signature)->used) return true;
    struct slot *slot = find_or_add(plans, record->signature);
    if (!slot) return false;
    slot->record = *record;
    return true;
}

uint32_t tally_plans_count(const struct tally_plans *plans) { return plans->count; }
