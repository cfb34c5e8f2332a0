#include "engine/launch/validate.h"

#include "engine/launch/books.h"
#include "engine/launch/gate.h"
#include "engine/launch/work.h"
#include "engine/session/session.h"
#include "engine/streams/queues.h"

const char *schedule_validate(const struct session *session)
{
    struct schedule *s = session->engine->schedule;
    uint32_t starts = 0, counted = 0;
    pthread_mutex_lock(&s->lock);
    const char *wrong = tally_sched_validate(s->core);
    for (uint32_t i = 0; i < SESSION_QUEUES_MAX; i++)
        starts += session->books.queue_starts[i];
    if (!wrong && starts != session->books.starts_in_flight)
        wrong = "a session's starts are not those of its queues";
    for (uint32_t i = 0; i < STARTS_MAX; i++) {
        if (s->starts[i].session != session)
            continue;
        starts--;
        counted += s->starts[i].launch == NONE;
    }
    uint32_t gated = 0;
    for (uint32_t i = 0; i < LAUNCHES_MAX; i++)
        gated += s->pendings[i].used && s->pendings[i].gated && s->pendings[i].session == session;
    if (!wrong && gated != gates_outstanding(session))
        wrong = "a session's gates are not in the books";
    if (!wrong && starts != 0)
        wrong = "a session's starts are not in the books";
    if (!wrong && counted > s->works[session->index].pieces[WORK_LAUNCH])
        wrong = "starts that are counted as work were not counted";
    pthread_mutex_unlock(&s->lock);
    return wrong;
}
