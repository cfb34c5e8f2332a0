/* The table of what has been measured, by signature. */
#include "tally/plans.h"

#include <stdlib.h>

#include "tally/assert.h"

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

void tally_plans_measure(struct tally_plans *plans, uint64_t signature,
                         enum tally_plan_measurement what, uint32_t blocks, uint64_t ns)
{
    struct slot *slot = find(plans, signature);
    if (!slot || (uint32_t)what >= TALLY_PLAN_MEASUREMENTS || ns == 0)
        return;
    tally_plan_note_time(&slot->record, what, blocks, ns);
    note_change(plans, slot);
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
    if (record->blocks == 0 || !tally_plan_times_ok(record))
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
