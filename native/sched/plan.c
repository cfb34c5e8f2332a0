/* Measurements per signature, and the choice of a plan from them. */
#include "tally/plan.h"

#include <stdlib.h>
#include <string.h>

#include "tally/assert.h"

#define MEASURED 2u /* runs of a kind before its time counts as known */
#define FIRST_RUNS 3u
#define TIME_TOP (UINT64_C(1) << 48)
#define SLICE_OVERHEAD_NS                                                                          \
    4000u                     /* assumed cost of one more launch until slices have been measured */
#define SLICE_PERMIL_MAX 800u /* of the whole kernel's time: a slice that takes longer is none */
#define GUARD_PERMIL 20u      /* assumed cost of the guard until both ways have been measured */

struct slot {
    struct tally_plan_record record;
    bool used;
    bool wanted;  /* declared again since the hand came by: it stays for one more round */
    bool changed; /* and not exported */
    bool noted;   /* in the list of changed ones */
};

struct tally_plans {
    struct slot *slots; /* records stay where they are */
    uint32_t count, count_max;
    uint64_t evicted;
    uint32_t hand;   /* of the clock: which record may go next */
    uint32_t *index; /* open addressing by signature: a record's place and 1, 0: free; a power
                        of two, at most half full */
    uint32_t mask;
    uint32_t *changed; /* places of records: nobody looks for them in the whole table */
    uint32_t changed_count;
};

struct tally_plans *tally_plans_create(uint32_t records_max)
{
    if (records_max == 0 || records_max > (1u << 24))
        return NULL;
    struct tally_plans *plans = calloc(1, sizeof *plans);
    if (!plans)
        return NULL;
    uint32_t capacity = 8;
    while (capacity < records_max * 2)
        capacity *= 2;
    plans->slots = calloc(records_max, sizeof *plans->slots);
    plans->index = calloc(capacity, sizeof *plans->index);
    plans->changed = calloc(records_max, sizeof *plans->changed);
    plans->mask = capacity - 1;
    plans->count_max = records_max;
    if (plans->slots && plans->index && plans->changed)
        return plans;
    tally_plans_destroy(plans);
    return NULL;
}

void tally_plans_destroy(struct tally_plans *plans)
{
    if (!plans)
        return;
    free(plans->slots);
    free(plans->index);
    free(plans->changed);
    free(plans);
}

uint64_t tally_plans_evicted(const struct tally_plans *plans) { return plans->evicted; }

static uint32_t home_of(const struct tally_plans *plans, uint64_t signature)
{
    return (uint32_t)((signature * 0x9e3779b97f4a7c15u) >> 32) & plans->mask;
}

/* Where in the index the signature is, or belongs. */
static uint32_t place_of(const struct tally_plans *plans, uint64_t signature)
{
    uint32_t at = home_of(plans, signature);
    while (plans->index[at] && plans->slots[plans->index[at] - 1].record.signature != signature)
        at = (at + 1) & plans->mask;
    return at;
}

static struct slot *find(const struct tally_plans *plans, uint64_t signature)
{
    uint32_t found = plans->index[place_of(plans, signature)];
    return found ? &plans->slots[found - 1] : NULL;
}

/* Empties a place of the index; what stands behind it and belongs before it moves up. */
static void unindex(struct tally_plans *plans, uint32_t at)
{
    uint32_t next = at;
    for (;;) {
        plans->index[at] = 0;
        do {
            next = (next + 1) & plans->mask;
            if (!plans->index[next])
                return;
        } while (((next - home_of(plans, plans->slots[plans->index[next] - 1].record.signature)) &
                  plans->mask) < ((next - at) & plans->mask));
        plans->index[at] = plans->index[next];
        at = next;
    }
}

/* Drops a record that was not declared again since the clock's hand last passed it. So a flood
 * of kernels that run once does not drive out those in use. */
static struct slot *evict(struct tally_plans *plans)
{
    while (plans->slots[plans->hand].wanted) {
        plans->slots[plans->hand].wanted = false;
        plans->hand = (plans->hand + 1) % plans->count_max;
    }
    struct slot *slot = &plans->slots[plans->hand];
    plans->hand = (plans->hand + 1) % plans->count_max;
    TALLY_ASSERT(slot->used);
    unindex(plans, place_of(plans, slot->record.signature));
    plans->evicted++;
    return slot;
}

static struct slot *add(struct tally_plans *plans, uint64_t signature)
{
    bool full = plans->count == plans->count_max;
    struct slot *slot = full ? evict(plans) : &plans->slots[plans->count++];
    *slot = (struct slot){.used = true, .noted = slot->noted, .record.signature = signature};
    plans->index[place_of(plans, signature)] = (uint32_t)(slot - plans->slots) + 1;
    return slot;
}

static void note_change(struct tally_plans *plans, struct slot *slot)
{
    slot->changed = true;
    if (slot->noted)
        return;
    slot->noted = true;
    TALLY_ASSERT(plans->changed_count < plans->count_max);
    plans->changed[plans->changed_count++] = (uint32_t)(slot - plans->slots);
}

void tally_plans_declare(struct tally_plans *plans, uint64_t signature, uint32_t blocks,
                         uint32_t resident, uint32_t abilities)
{
    struct slot *slot = find(plans, signature);
    if (slot)
        slot->wanted = true;
    else
        slot = add(plans, signature);
    struct tally_plan_record *record = &slot->record;
    abilities |= record->abilities & TALLY_PLAN_WAITS;
    if (record->blocks != blocks || record->resident != resident ||
        record->abilities != abilities) {
        record->blocks = blocks;
        record->resident = resident;
        record->abilities = abilities;
        note_change(plans, slot);
    }
}

void tally_plans_never_stop(struct tally_plans *plans, uint64_t signature)
{
    struct slot *slot = find(plans, signature);
    if (!slot || slot->record.abilities & TALLY_PLAN_WAITS)
        return;
    slot->record.abilities |= TALLY_PLAN_WAITS;
    note_change(plans, slot);
}

/* Follows changes within some ten runs, and one slow run does not decide. The first runs of a
 * kernel pay for what comes once (code that is loaded, cold caches, clocks): of them the quickest
 * counts. */
static uint64_t smooth(uint64_t old, uint32_t count, uint64_t ns)
{
    if (count < FIRST_RUNS)
        return count == 0 || ns < old ? ns : old;
    uint64_t share = count < 8 ? count + 1 : 8;
    return ns > old ? old + (ns - old) / share : old - (old - ns) / share;
}

/* A guarded run takes no less than a whole one. A whole one of more than twice its time is no
 * accident: with other arguments the kernel takes another time, and what is known of guarded runs
 * is old. They are learned anew. */
static void doubt_guarded(struct tally_plan_record *record, uint64_t whole_ns)
{
    if (whole_ns / 2 <= record->ns[TALLY_PLAN_GUARDED])
        return;
    record->ns[TALLY_PLAN_GUARDED] = 0;
    record->count[TALLY_PLAN_GUARDED] = 0;
}

/* Adds one measurement of the record's kernel. */
static void note_time(struct tally_plan_record *record, enum tally_plan_measurement what,
                      uint32_t blocks, uint64_t ns)
{
    if (ns >= TIME_TOP)
        ns = TIME_TOP - 1;
    if (what == TALLY_PLAN_STOP) {
        /* A bound is asked for, not a mean: up at once, down slowly. */
        uint64_t old = record->ns[what];
        if (record->count[what] > 0)
            record->error_ns += ns > old ? ns - old : old - ns;
        record->ns[what] = ns > old ? ns : old - (old - ns) / 64;
    } else if (what == TALLY_PLAN_SLICE && blocks != record->slice_blocks) {
        record->slice_blocks = blocks;
        record->count[what] = 0;
        record->ns[what] = ns;
    } else {
        record->ns[what] = smooth(record->ns[what], record->count[what], ns);
        if (what == TALLY_PLAN_WHOLE)
            doubt_guarded(record, ns);
    }
    if (record->count[what] < UINT32_MAX)
        record->count[what]++;
}

/* Whether its times and their counts fit each other. */
static bool times_ok(const struct tally_plan_record *record)
{
    for (uint32_t i = 0; i < TALLY_PLAN_MEASUREMENTS; i++)
        if (record->ns[i] >= TIME_TOP || (record->ns[i] == 0) != (record->count[i] == 0))
            return false;
    return true;
}

void tally_plans_measure(struct tally_plans *plans, uint64_t signature,
                         enum tally_plan_measurement what, uint32_t blocks, uint64_t ns)
{
    struct slot *slot = find(plans, signature);
    if (!slot || (uint32_t)what >= TALLY_PLAN_MEASUREMENTS || ns == 0)
        return;
    note_time(&slot->record, what, blocks, ns);
    note_change(plans, slot);
}

/* ---- the choice ----------------------------------------------------------------------------- */

/* What may be done with its launches. */
static bool can(const struct tally_plan_record *record, uint32_t ability)
{
    return record->abilities & ability && !(record->abilities & TALLY_PLAN_WAITS);
}

struct choice {
    uint64_t cost_ns, stop_ns;
    bool possible;
};

static uint64_t scale(uint64_t ns, uint64_t part, uint64_t all)
{
    return (uint64_t)((unsigned __int128)ns * part / all);
}

/* Time of the whole kernel; a guarded run is an upper bound for it, also where whole runs that were
 * measured long ago took longer. Of what is never guarded any more, only whole runs tell. */
static uint64_t whole_time(const struct tally_plan_record *record)
{
    uint64_t whole_ns = record->ns[TALLY_PLAN_WHOLE], guarded_ns = record->ns[TALLY_PLAN_GUARDED];
    if (record->count[TALLY_PLAN_WHOLE] == 0)
        return guarded_ns;
    if (record->abilities & TALLY_PLAN_WAITS)
        return whole_ns;
    return record->count[TALLY_PLAN_GUARDED] >= FIRST_RUNS && guarded_ns < whole_ns ? guarded_ns
                                                                                    : whole_ns;
}

static struct choice consider_guard(const struct tally_plan_record *record, uint64_t whole_ns)
{
    struct choice choice = {.possible = can(record, TALLY_PLAN_CAN_GUARD)};
    uint64_t guarded_ns = record->ns[TALLY_PLAN_GUARDED];
    if (record->count[TALLY_PLAN_WHOLE] >= MEASURED &&
        record->count[TALLY_PLAN_GUARDED] >= MEASURED)
        choice.cost_ns = guarded_ns > whole_ns ? guarded_ns - whole_ns : 0;
    else
        choice.cost_ns = whole_ns * GUARD_PERMIL / 1000;
    if (record->count[TALLY_PLAN_STOP] > 0) {
        choice.stop_ns = record->ns[TALLY_PLAN_STOP];
    } else if (record->resident >
               0) { /* the blocks that run when the flag goes up: one wave's time */
        uint64_t waves = (record->blocks + (uint64_t)record->resident - 1) / record->resident;
        choice.stop_ns = whole_ns / waves;
    }
    return choice;
}

/* Two slices in flight hide the way back of the first: each may take half of the bound. */
static struct choice consider_slices(const struct tally_plan_record *record, uint64_t whole_ns,
                                     uint64_t bound_ns, struct tally_sched_plan *plan)
{
    struct choice choice = {0};
    if (!can(record, TALLY_PLAN_CAN_SLICE) || record->blocks < 2)
        return choice;
    uint64_t blocks = scale(record->blocks, bound_ns / 2, whole_ns);
    if (record->resident > 0) { /* whole waves: less than one takes as long as one */
        blocks = blocks > record->resident ? blocks - blocks % record->resident : record->resident;
        if (blocks >= record->blocks)
            return choice;
    }
    if (blocks == 0)
        blocks = 1;
    if (blocks >= record->blocks)
        blocks = record->blocks - 1;
    uint64_t slices = (record->blocks + blocks - 1) / blocks,
             slice_ns = scale(whole_ns, blocks, record->blocks);
    uint64_t ideal_ns = scale(whole_ns, blocks, record->blocks), overhead_ns = SLICE_OVERHEAD_NS;
    if (record->count[TALLY_PLAN_SLICE] >= MEASURED && record->slice_blocks == blocks) {
        slice_ns = record->ns[TALLY_PLAN_SLICE];
        overhead_ns = 0;
        if (slice_ns >= scale(whole_ns, SLICE_PERMIL_MAX, 1000))
            return choice; /* no sooner out of the way */
    }
    plan->slice_blocks = (uint32_t)blocks;
    plan->slice_ns = slice_ns ? slice_ns : 1;
    choice.possible = true;
    choice.stop_ns = slice_ns;
    choice.cost_ns = slices * (overhead_ns + (slice_ns > ideal_ns ? slice_ns - ideal_ns : 0));
    return choice;
}

void tally_plan_choose(const struct tally_plan_record *record, uint64_t bound_ns,
                       struct tally_sched_plan *plan)
{
    bool can_guard = can(record, TALLY_PLAN_CAN_GUARD);
    uint64_t whole_ns = whole_time(record);
    *plan = (struct tally_sched_plan){.kind = TALLY_SCHED_WHOLE, .whole_ns = whole_ns};
    if (whole_ns == 0) { /* nothing known: a run that can be stopped is the safe way to learn */
        if (can_guard)
            plan->kind = TALLY_SCHED_PREEMPTIBLE;
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
    } else if (guard.possible ||
               slices.possible) { /* nothing fits: the next block is the soonest there is */
        plan->kind = guard.possible ? TALLY_SCHED_PREEMPTIBLE : TALLY_SCHED_SLICED;
    }
    if (plan->kind == TALLY_SCHED_PREEMPTIBLE)
        plan->stop_ns = guard.stop_ns;
}

void tally_plans_plan(const struct tally_plans *plans, uint64_t signature, uint64_t bound_ns,
                      struct tally_sched_plan *plan)
{
    const struct slot *slot = find(plans, signature);
    if (slot)
        tally_plan_choose(&slot->record, bound_ns, plan);
    else
        *plan = (struct tally_sched_plan){.kind = TALLY_SCHED_WHOLE};
}

/* ---- in and out ----------------------------------------------------------------------------- */

uint32_t tally_plans_export(struct tally_plans *plans, struct tally_plan_record *records,
                            uint32_t max)
{
    uint32_t count = 0;
    while (count < max && plans->changed_count > 0) {
        struct slot *slot = &plans->slots[plans->changed[--plans->changed_count]];
        if (slot->changed)
            records[count++] = slot->record; /* else another one's place by now */
        slot->changed = slot->noted = false;
    }
    return count;
}

uint32_t tally_plans_list(const struct tally_plans *plans, struct tally_plan_record *records,
                          uint32_t max)
{
    uint32_t count = 0;
    while (count < plans->count && count < max) {
        records[count] = plans->slots[count].record;
        count++;
    }
    return count;
}

bool tally_plans_import(struct tally_plans *plans, const struct tally_plan_record *record)
{
    if (record->blocks == 0 || !times_ok(record))
        return false;
    if (find(plans, record->signature))
        return true;
    if (plans->count == plans->count_max)
        return false; /* what is in use does not go for it */
    add(plans, record->signature)->record = *record;
    return true;
}

uint32_t tally_plans_count(const struct tally_plans *plans) { return plans->count; }

const char *tally_plans_validate(const struct tally_plans *plans)
{
    uint32_t indexed = 0, noted = 0;
    for (uint32_t i = 0; i <= plans->mask; i++)
        indexed += plans->index[i] != 0;
    if (indexed != plans->count)
        return "the index does not hold every record once";
    for (uint32_t i = 0; i < plans->count_max; i++) {
        const struct slot *slot = &plans->slots[i];
        if (slot->used != (i < plans->count))
            return "a record in use is beyond the count";
        if (slot->used && find(plans, slot->record.signature) != slot)
            return "a record is not found by its signature";
        if (slot->changed && !slot->noted)
            return "a changed record is in no list";
        noted += slot->noted;
    }
    return noted == plans->changed_count ? NULL : "the list of changed records is wrong";
}
