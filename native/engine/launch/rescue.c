/* How a rescue runs each block once: the flag of the launch that hangs stays up, so none of its
 * blocks begins any more, and what has begun is marked. The marks are copied to a control block of
 * their own, with the flag down, and the whole grid goes through the guard again, beside the
 * first. Blocks that are marked leave at once; the others are those that the first one's wait for.
 * The launch has been run when both have ended. */
#include "engine/launch/rescue.h"

#include "engine/code/function.h"
#include "engine/launch/books.h"
#include "engine/launch/control.h"
#include "engine/launch/feed.h"
#include "engine/launch/launch.h"
#include "engine/launch/pending.h"
#include "engine/launch/start.h"
#include "engine/parts.h"
#include "engine/session/news.h"
#include "engine/session/session.h"
#include "engine/streams/stream.h"

static bool make_stream(struct session *session)
{
    if (session->rescue_stream.driver)
        return true;
    const struct tally_driver *cu = &session->driver->cu;
    CUstream *stream = &session->rescue_stream.driver;
    int least, greatest;
    engine_stream_priorities(session->engine, &least, &greatest);
    return cu->cuStreamCreateWithPriority(stream, CU_STREAM_NON_BLOCKING, least) == CUDA_SUCCESS;
}

/* Whether blocks have left by the flag: where all have begun, the launch only takes long, and ends
 * by itself. Without the lock. */
static bool some_have_left(struct session *session, const struct launch *launch)
{
    uint32_t begun = 0;
    control_count(session, launch->slot, &begun); /* what fails here fails there, and is told */
    return begun < launch->blocks;
}

/* Without the lock. */
static CUresult go(struct session *session, const struct launch *launch, struct launch *beside,
                   uint64_t tag)
{
    if (tag == 0 || !make_stream(session) ||
        !control_copy(session, launch->slot, RESCUE_SLOT, launch->blocks))
        return CUDA_ERROR_OUT_OF_MEMORY;
    return launch_range(session, beside, LAUNCH_GUARDED, 0, launch->blocks, tag);
}

CUresult rescue_start(struct schedule *s, struct session *session, const struct launch *launch,
                      uint32_t index)
{
    struct pending *pending = &s->pendings[index];
    schedule_unlock(s);
    bool left = some_have_left(session, launch);
    pthread_mutex_lock(&s->lock);
    if (!pending->rescue_asked || pending_is_over(pending) || !left)
        return CUDA_SUCCESS; /* it has ended by itself, or will */
    struct launch beside = *launch;
    session->rescue_stream.queue = launch->stream->queue;
    beside.stream = &session->rescue_stream;
    beside.slot = RESCUE_SLOT;
    pending->rescue_asked = false;
    pending->rescue_parts = 2;
    s->rescues++;
    tally_plans_never_stop(s->plans, launch->signature);
    uint64_t tag = start_take(s, &beside, index, 0, launch->blocks, TALLY_SCHED_START_RESUMED);
    struct start *start = start_of(s, tag);
    if (start)
        start->beside = true;
    schedule_unlock(s);
    /* A kernel did not stop when it was told to. */
    news_post(session, TALLY_ENGINE_RESCUED, CUDA_SUCCESS, launch->function->name);
    CUresult result = go(session, launch, &beside, tag);
    pthread_mutex_lock(&s->lock);
    if (result == CUDA_SUCCESS)
        return result;
    if ((start = start_of(s, tag)) != NULL)
        start_give(s, start);
    pending->error = result;
    if (!pending_is_over(pending))
        schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_FAILED, .launch = index});
    return result;
}

void rescue_close(struct session *session)
{
    if (session->rescue_stream.driver)
        session->driver->cu.cuStreamDestroy_v2(session->rescue_stream.driver);
    session->rescue_stream.driver = NULL;
}
