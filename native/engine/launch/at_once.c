#include "engine/launch/at_once.h"

#include "engine/launch/books.h"
#include "engine/launch/feed.h"
#include "engine/launch/launch.h"
#include "engine/launch/pending.h"
#include "engine/launch/report.h"
#include "engine/launch/start.h"
#include "engine/launch/trace.h"
#include "engine/launch/turns.h"
#include "engine/launch/work.h"
#include "engine/session/session.h"

/* Beyond what the books hold: it is counted, and told before it goes. */
static CUresult launch_counted(struct session *session, struct launch *launch)
{
    uint64_t tag = work_begin(session, WORK_LAUNCH);
    CUresult result = launch_range(session, launch, LAUNCH_WHOLE, 0, launch->blocks, tag);
    if (result != CUDA_SUCCESS)
        work_end(session, tag, 1, 0);
    else if (trace_is_on(&session->engine->trace))
        launch_trace_untimed(launch);
    return result;
}

/* Places in the books for a high launch; false: they are full. */
static bool list(struct schedule *s, struct session *session, struct launch *launch,
                 uint32_t *index, uint64_t *tag)
{
    static const struct tally_sched_event coming = {.type = TALLY_SCHED_COMING, .blocks = 1};
    pthread_mutex_lock(&s->lock);
    bool listed = s->start_free != NONE && tally_sched_has_room(s->core, session->index);
    *index = listed ? pending_take(s, session, launch) : NONE;
    listed = *index != NONE;
    if (listed) {
        *tag = start_take(s, launch, *index, 0, launch->blocks, TALLY_SCHED_START_FINAL);
        schedule_feed(s, &coming); /* this thread may be late to tell that it is there */
    }
    schedule_unlock(s);
    return listed;
}

/* The core does not take it, because the policy was switched meanwhile, or it did not go at all. */
static void unlist(struct schedule *s, struct session *session, struct start *start, uint32_t index,
                   bool went)
{
    pending_give(s, index);
    if (!start)
        return;
    if (went && start->early && start->issued_ns)
        start_trace(s, start);
    if (!went || start->early) {
        start_give(s, start);
        return;
    }
    start->launch = NONE;
    work_count(s, session, WORK_LAUNCH);
}

CUresult launch_at_once(struct session *session, struct launch *launch)
{
    struct schedule *s = session->engine->schedule;
    uint32_t index;
    uint64_t tag;
    if (!queue_take(session, launch->stream) || !list(s, session, launch, &index, &tag))
        return launch_counted(session, launch);
    CUresult result = launch_range(session, launch, LAUNCH_WHOLE, 0, launch->blocks, tag);
    struct tally_sched_event event = launch_event(launch, index);
    event.started = 1;
    pthread_mutex_lock(&s->lock);
    schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_CAME, .blocks = 1});
    struct start *start = start_of(s, tag);
    bool known = result == CUDA_SUCCESS && start && schedule_feed(s, &event) == 0;
    if (known) {
        s->pendings[index].issued = 1;
        pending_move(&s->pendings[index], PENDING_IN_FLIGHT);
        if (start->early)
            start_ended(s, start);
    } else {
        unlist(s, session, start, index, result == CUDA_SUCCESS);
        schedule_feed(
            s, &(struct tally_sched_event){.type = TALLY_SCHED_CONTINUE}); /* who was held back */
    }
    schedule_unlock(s);
    return result;
}
