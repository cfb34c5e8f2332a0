/* Launches behind gates: into the books, and to the driver at once. */
#include "engine/launch/gate_submit.h"

#include "engine/launch/books.h"
#include "engine/launch/completion.h"
#include "engine/launch/feed.h"
#include "engine/launch/gate.h"
#include "engine/launch/launch.h"
#include "engine/launch/pending.h"
#include "engine/launch/start.h"
#include "engine/launch/turns.h"
#include "engine/session/notice.h"
#include "engine/session/session.h"
#include "engine/streams/stream.h"

bool gates_are_wanted(struct session *session)
{
    if (session->config.high)
        return false;
    return gates_outstanding(session) > 0 || streams_wait(session);
}

static uint32_t gates_max(const struct session *session)
{
    return session->engine->config.gated_launches_max;
}

static void tell_full(struct session *session)
{
    uint32_t most = gates_max(session);
    if (gates_outstanding(session) >= most)
        session_tell(session,
                     "a launch was refused: `gated_launches_max` in tallyd's config lets %u "
                     "launches and copies be queued while a stream waits for a value in memory "
                     "(cuStreamWaitValue)",
                     most);
    else if (!session->books.failed)
        schedule_tell_full(session);
}

/* A place in the books that the core does not know yet; 0: there is none. The tag of its start. */
static uint64_t take(struct schedule *s, struct session *session, struct launch *launch)
{
    uint64_t tag = 0;
    pthread_mutex_lock(&s->lock);
    bool room = s->start_free != NONE && !session->books.failed &&
                gates_outstanding(session) < gates_max(session);
    uint32_t index = room ? pending_take(s, session, launch) : NONE;
    if (index != NONE) {
        struct pending *pending = &s->pendings[index];
        if (!launch->transfer)
            tally_plans_declare(s->plans, launch->signature, launch->blocks, launch->resident,
                                launch->abilities);
        pending->gate = gate_add(session, QUEUE_OF(launch));
        pending->gated = true;
        pending->queue = launch->stream->queue;
        tag = start_take(s, launch, index, 0, launch->blocks, TALLY_SCHED_START_FINAL);
    }
    schedule_unlock(s);
    return tag;
}

/* It did not go: as if it had never been. Its gate, if there is one, opens when it is reached:
 * earlier it would let through what is ahead of it. */
static void give(struct schedule *s, struct session *session, uint64_t tag)
{
    pthread_mutex_lock(&s->lock);
    struct start *start = start_of(s, tag);
    if (start) {
        uint32_t index = start->launch;
        struct pending *pending = &s->pendings[index];
        bool told = pending->state != PENDING_TAKEN;
        start_give(s, start);
        if (told) {
            struct tally_sched_event event = {.type = TALLY_SCHED_FAILED, .launch = index};
            schedule_feed(s, &event);
        } else {
            gate_over(pending);
            pending_give(s, index);
        }
    }
    schedule_unlock(s);
}

CUresult gate_submit(struct session *session, struct launch *launch)
{
    struct schedule *s = session->engine->schedule;
    const struct tally_driver *cu = &session->driver->cu;
    CUstream stream = launch->stream->driver;
    schedule_settle(session);
    if (!queue_wait(session, launch->stream) || !gates_open_words(session))
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t tag = take(s, session, launch);
    if (tag == 0) {
        tell_full(session);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    uint32_t place = QUEUE_OF(launch), number = gate_newest(session, place);
    CUresult result = completion_add(session, launch->stream, number, LAUNCH_REACHED, tag);
    if (result == CUDA_SUCCESS)
        result = cu->cuStreamWaitValue32_v2(stream, gate_word(session, place), number,
                                            CU_STREAM_WAIT_VALUE_GEQ);
    if (result == CUDA_SUCCESS)
        result = launch_range(session, launch, LAUNCH_WHOLE, 0, launch->blocks, tag);
    if (result != CUDA_SUCCESS)
        give(s, session, tag);
    return result;
}
