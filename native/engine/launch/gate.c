#include "engine/launch/gate.h"

#include <assert.h>

#include "engine/launch/schedule_state.h"
#include "engine/launch/timing.h"
#include "engine/session/notice.h"
#include "engine/streams/queues.h"

/* The words lie in device memory that the program does not know of, one for each queue; they count
 * up, and a wait is for "at least", as cuStreamWaitValue32 compares: around the end, too. */
static CUdeviceptr word_of(const struct session *session, uint32_t place)
{
    return session->gates.words + place * sizeof(uint32_t);
}

static bool open_words(struct session *session)
{
    const struct tally_driver *cu = &session->driver->cu;
    size_t bytes = SESSION_QUEUES_MAX * sizeof(uint32_t);
    if (session->gates.words)
        return true;
    if (!cu->cuStreamWaitValue32_v2 ||
        cu->cuMemAlloc_v2(&session->gates.words, bytes) != CUDA_SUCCESS)
        return false;
    if (session->driver->is_soft)
        return cu->cuMemsetD8_v2(session->gates.words, 0, bytes) == CUDA_SUCCESS;
    CUstream urgent = engine_urgent_stream(session->engine);
    return cu->cuMemsetD8Async(session->gates.words, 0, bytes, urgent) == CUDA_SUCCESS &&
           cu->cuStreamSynchronize(urgent) == CUDA_SUCCESS;
}

/* A store, or one call that waits for nothing. */
static void write_word(struct session *session, uint32_t place, uint32_t number)
{
    const struct tally_driver *cu = &session->driver->cu;
    CUstream urgent = engine_urgent_stream(session->engine);
    CUdeviceptr word = word_of(session, place);
    if (session->driver->is_soft) {
        __atomic_store_n((uint32_t *)(uintptr_t)word, number, __ATOMIC_RELEASE);
        return;
    }
    cu->cuCtxSetCurrent(engine_context(session->engine));
    if (!cu->cuStreamWriteValue32_v2 ||
        cu->cuStreamWriteValue32_v2(urgent, word, number, 0) != CUDA_SUCCESS)
        cu->cuMemsetD32Async(word, number, 1, urgent);
}

bool gates_are_wanted(struct session *session)
{
    if (session->config.high)
        return false;
    return atomic_load(&session->gates.outstanding) > 0 || streams_wait(session);
}

static uint32_t gates_max(const struct session *session)
{
    return engine_config(session->engine)->gated_launches_max;
}

static void tell_full(struct session *session)
{
    uint32_t most = gates_max(session);
    if (atomic_load(&session->gates.outstanding) >= most)
        session_tell(session, "a launch was refused: `gated_launches_max` in tallyd's config lets %u "
                     "launches and copies be queued while a stream waits for a value in memory "
                     "(cuStreamWaitValue)", most);
    else if (!session->failed)
        schedule_tell_full(session);
}

/* A place in the books that the core does not know yet; 0: there is none. The tag of its start. */
static uint64_t take(struct schedule *s, struct session *session, struct launch *launch)
{
    uint64_t tag = 0;
    pthread_mutex_lock(&s->lock);
    bool room = s->start_free != NONE && !session->failed &&
                atomic_load(&session->gates.outstanding) < gates_max(session);
    uint32_t index = room ? pending_take(s, session, launch) : NONE;
    if (index != NONE) {
        struct pending *pending = &s->pendings[index];
        pending->owned = false;
        if (!launch->transfer)
            tally_plans_declare(s->plans, launch->signature, launch->blocks, launch->resident,
                                launch->abilities);
        pending->gate = ++session->gates.numbers[QUEUE_OF(launch)];
        pending->gated = true;
        pending->queue = launch->stream->queue;
        atomic_fetch_add(&session->gates.outstanding, 1);
        tag = start_take(s, launch, index, 0, launch->blocks, TALLY_SCHED_START_FINAL);
    }
    pthread_mutex_unlock(&s->lock);
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
        bool told = pending->told;
        start_give(s, start);
        if (told) {
            struct tally_sched_event event = {.type = TALLY_SCHED_FAILED, .launch = index};
            schedule_feed(s, &event);
        } else {
            gate_over(pending);
            pending_give(s, index);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

CUresult gate_submit(struct session *session, struct launch *launch)
{
    struct schedule *s = engine_schedule(session->engine);
    const struct tally_driver *cu = &session->driver->cu;
    CUstream stream = launch->stream->driver;
    schedule_settle(session);
    if (!queue_wait(session, launch->stream) || !open_words(session))
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t tag = take(s, session, launch);
    if (tag == 0) {
        tell_full(session);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    uint32_t place = QUEUE_OF(launch), number = session->gates.numbers[place];
    CUresult result = completion_add(session, launch->stream, number, LAUNCH_REACHED, tag);
    if (result == CUDA_SUCCESS)
        result = cu->cuStreamWaitValue32_v2(stream, word_of(session, place), number,
                                            CU_STREAM_WAIT_VALUE_GEQ);
    if (result == CUDA_SUCCESS)
        result = launch_range(session, launch, LAUNCH_WHOLE, 0, launch->blocks, tag);
    if (result != CUDA_SUCCESS)
        give(s, session, tag);
    return result;
}

/* A gated launch runs whole: it cannot be started again from here. */
static struct tally_sched_event launch_event(struct schedule *s, const struct pending *pending,
                                             uint32_t index)
{
    struct tally_sched_plan plan = {.kind = TALLY_SCHED_WHOLE};
    if (pending->bytes)
        plan.whole_ns = tally_rates_estimate(&s->rates, pending->transfer, pending->bytes);
    else
        tally_plans_plan(s->plans, pending->signature, TALLY_SCHED_NEVER, &plan);
    return (struct tally_sched_event){
        .type = TALLY_SCHED_LAUNCH,
        .session = pending->session->index,
        .queue = pending->queue,
        .launch = index,
        .blocks = pending->blocks,
        .transfer = pending->bytes > 0,
        .plan.whole_ns = plan.whole_ns,
    };
}

void gate_reached(struct session *session, uint64_t tag, uint32_t place, uint32_t number)
{
    struct schedule *s = engine_schedule(session->engine);
    pthread_mutex_lock(&s->lock);
    struct start *start = start_of(s, tag);
    if (start) {
        uint32_t index = start->launch;
        struct tally_sched_event event = launch_event(s, &s->pendings[index], index);
        s->pendings[index].told = true;
        int result = schedule_feed(s, &event);
        assert(result == 0);
        (void)result;
    } else if (!session->failed) {
        write_word(session, place, number); /* of a launch that did not go */
    }
    pthread_mutex_unlock(&s->lock);
}

void gate_open(struct pending *pending)
{
    assert(pending->gated);
    struct session *session = pending->session;
    uint32_t place = pending->queue % SESSION_QUEUES_MAX;
    bool ending = atomic_load(&session->ending); /* all gates open then, and none may close again */
    pending->begun = true;
    pending->opened_ns = engine_now_ns();
    write_word(session, place, ending ? session->gates.numbers[place] : pending->gate);
}

void gate_over(struct pending *pending)
{
    if (!pending->gated)
        return;
    uint32_t before = atomic_fetch_sub(&pending->session->gates.outstanding, 1);
    assert(before > 0);
    (void)before;
    pending->gated = false;
}

/* What the core knows is dropped by it; what it was not told of yet has a start, and no more. */
void gates_forget(struct schedule *s, struct session *session)
{
    if (atomic_load(&session->gates.outstanding) == 0)
        return;
    for (uint32_t i = 0; i < LAUNCHES_MAX; i++) {
        struct pending *pending = &s->pendings[i];
        if (!pending->used || pending->session != session || !pending->gated || pending->told)
            continue;
        gate_over(pending);
        pending_give(s, i);
    }
}

void gates_release(struct session *session)
{
    for (uint32_t place = 0; session->gates.words && place < SESSION_QUEUES_MAX; place++)
        write_word(session, place, session->gates.numbers[place]);
}

void gates_close(struct session *session)
{
    if (session->gates.words)
        session->driver->cu.cuMemFree_v2(session->gates.words);
    session->gates.words = 0;
}
