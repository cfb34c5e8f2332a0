#include "engine/launch/pending.h"

#include <stdatomic.h>
#include <stddef.h>

#include "engine/launch/books.h"
#include "tally/assert.h"

#define TO(state) (1u << PENDING_##state)

/* From each state, those that may follow. What is gated skips ISSUING: its thread has gone on. */
static const uint32_t allowed[PENDING_STATES] = {
    [PENDING_FREE] = TO(TAKEN),
    [PENDING_TAKEN] = TO(SUBMITTED) | TO(IN_FLIGHT) | TO(FREE),
    [PENDING_SUBMITTED] = TO(ISSUING) | TO(IN_FLIGHT) | TO(DROPPED) | TO(FREE),
    [PENDING_ISSUING] = TO(DETACHED) | TO(IN_FLIGHT) | TO(DONE) | TO(DROPPED),
    [PENDING_DETACHED] = TO(DONE) | TO(DROPPED),
    [PENDING_IN_FLIGHT] = TO(FREE),
    [PENDING_DONE] = TO(FREE),
    [PENDING_DROPPED] = TO(FREE),
};

static const char *const wrongs[PENDING_STATES] = {
    [PENDING_FREE] = "a launch that was free became something else than taken",
    [PENDING_TAKEN] = "a launch of which the core had not been told was issued or ended",
    [PENDING_SUBMITTED] = "a launch ended, or was detached, before it was issued",
    [PENDING_ISSUING] = "a launch that was being issued was freed or submitted",
    [PENDING_DETACHED] = "a detached launch was freed before it was over, or issued anew",
    [PENDING_IN_FLIGHT] =
        "a launch in flight, which nobody waits for, became something else than free",
    [PENDING_DONE] = "a launch that was done became something else than free",
    [PENDING_DROPPED] = "a launch that was dropped became something else than free",
};

static _Atomic(const char *) first_wrong;

bool pending_may_move(enum pending_state from, enum pending_state to)
{
    return allowed[from] >> to & 1;
}

bool pending_move(struct pending *pending, enum pending_state to)
{
    const char *none = NULL;
    bool may = pending_may_move(pending->state, to);
    if (!may)
        atomic_compare_exchange_strong(&first_wrong, &none, wrongs[pending->state]);
    TALLY_ASSERT(may);
    pending->state = to;
    return may;
}

const char *pending_wrong(void) { return atomic_load(&first_wrong); }

const char *pending_validate(const struct pending *pending)
{
    enum pending_state state = pending->state;
    if (pending->gated && state != PENDING_TAKEN && state != PENDING_SUBMITTED &&
        state != PENDING_IN_FLIGHT)
        return "a launch behind a gate is in a state that needs its thread";
    if (pending->todo_count > TODO_MAX)
        return "a launch has more to start than it has room for";
    if ((state == PENDING_TAKEN || state == PENDING_SUBMITTED) && pending->issued > 0)
        return "a launch was issued before its turn";
    if ((state == PENDING_ISSUING || state == PENDING_DETACHED) && pending->issued == 0)
        return "a launch counts as with the device, and is not";
    if (state == PENDING_TAKEN && pending->todo_count > 0)
        return "the core wants a launch started that it was not told of";
    return NULL;
}
