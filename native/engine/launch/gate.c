#include "engine/launch/gate.h"
#include "engine/device/stores.h"

#include "engine/launch/books.h"
#include "engine/launch/pending.h"
#include "engine/parts.h"
#include "engine/session/session.h"
#include "engine/streams/queues.h"
#include "tally/assert.h"

/* The words lie in device memory that the program does not know of, one for each queue; they count
 * up, and a wait is for "at least", as cuStreamWaitValue32 compares: around the end, too. */
CUdeviceptr gate_word(const struct session *session, uint32_t place)
{
    return session->gates.words + place * sizeof(uint32_t);
}

uint32_t gates_outstanding(const struct session *session)
{
    return atomic_load(&session->gates.outstanding);
}

uint32_t gate_add(struct session *session, uint32_t place)
{
    atomic_fetch_add(&session->gates.outstanding, 1);
    return ++session->gates.numbers[place];
}

uint32_t gate_newest(const struct session *session, uint32_t place)
{
    return session->gates.numbers[place];
}

bool gates_open_words(struct session *session)
{
    struct driver *driver = session->driver;
    size_t bytes = SESSION_QUEUES_MAX * sizeof(uint32_t);
    if (session->gates.words)
        return true;
    if (!driver->cu.cuStreamWaitValue32_v2 ||
        driver->cu.cuMemAlloc_v2(&session->gates.words, bytes) != CUDA_SUCCESS)
        return false;
    return driver->ops->clear(driver, session->gates.words, bytes) == CUDA_SUCCESS &&
           driver->ops->settle(driver) == CUDA_SUCCESS;
}

void gate_write(struct session *session, uint32_t place, uint32_t number)
{
    device_store(session->driver, gate_word(session, place), number);
}

void gate_open(struct pending *pending)
{
    TALLY_ASSERT(pending->gated);
    struct session *session = pending->session;
    uint32_t place = pending->queue % SESSION_QUEUES_MAX;
    bool ending = atomic_load(&session->ending); /* all gates open then, and none may close again */
    pending->issued++;
    pending_move(pending, PENDING_IN_FLIGHT);
    pending->opened_ns = engine_now_ns();
    gate_write(session, place, ending ? session->gates.numbers[place] : pending->gate);
}

void gate_over(struct pending *pending)
{
    if (!pending->gated)
        return;
    uint32_t before = atomic_fetch_sub(&pending->session->gates.outstanding, 1);
    TALLY_ASSERT(before > 0);
    pending->gated = false;
}

/* What the core knows is dropped by it; what it was not told of yet has a start, and no more. */
void gates_forget(struct schedule *s, struct session *session)
{
    if (atomic_load(&session->gates.outstanding) == 0)
        return;
    for (uint32_t i = 0; i < s->pending_end; i++) {
        struct pending *pending = &s->pendings[i];
        if (pending->state != PENDING_TAKEN || pending->session != session || !pending->gated)
            continue;
        gate_over(pending);
        pending_give(s, i);
    }
}

void gates_release(struct session *session)
{
    for (uint32_t place = 0; session->gates.words && place < SESSION_QUEUES_MAX; place++)
        gate_write(session, place, session->gates.numbers[place]);
    stores_go(session->driver);
}

void gates_close(struct session *session)
{
    stores_settle(session->driver);
    if (session->gates.words)
        session->driver->cu.cuMemFree_v2(session->gates.words);
    session->gates.words = 0;
}
