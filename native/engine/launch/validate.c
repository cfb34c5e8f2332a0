#include "engine/launch/validate.h"

#include "engine/launch/books.h"
#include "engine/launch/gate.h"
#include "engine/launch/open.h"
#include "engine/launch/pending.h"
#include "engine/launch/work.h"
#include "engine/session/session.h"
#include "engine/streams/queues.h"

/* Every detached launch has its place with its session, where its thread finds it. */
static bool is_open(const struct pending *pending, uint32_t index)
{
    for (uint32_t i = 0; i < open_count(pending->session); i++)
        if (open_at(pending->session, i)->index == index)
            return true;
    return false;
}

const char *schedule_check(const struct schedule *s)
{
    uint32_t used = 0, given = 0;
    const char *wrong = pending_wrong();
    for (uint32_t i = 0; i < s->pending_end && !wrong; i++) {
        const struct pending *pending = &s->pendings[i];
        used += pending->state != PENDING_FREE;
        wrong = pending_validate(pending);
        if (!wrong && pending->state == PENDING_DETACHED && !is_open(pending, i))
            wrong = "a detached launch is not among those of its session";
    }
    for (uint32_t at = s->pending_free; at != NONE && at < s->pending_end;
         at = s->pendings[at].next_free)
        given++;
    if (!wrong && used + given != s->pending_end)
        wrong = "a launch is neither in use nor free";
    return wrong;
}

const char *schedule_validate(const struct session *session)
{
    struct schedule *s = session->engine->schedule;
    uint32_t starts = 0, counted = 0;
    pthread_mutex_lock(&s->lock);
    const char *wrong = tally_sched_validate(s->core);
    wrong = wrong ? wrong : schedule_check(s);
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
    for (uint32_t i = 0; i < s->pending_end; i++)
        gated += s->pendings[i].state != PENDING_FREE && s->pendings[i].gated &&
                 s->pendings[i].session == session;
    if (!wrong && gated != gates_outstanding(session))
        wrong = "a session's gates are not in the books";
    if (!wrong && starts != 0)
        wrong = "a session's starts are not in the books";
    if (!wrong && counted > s->works[session->index].pieces[WORK_LAUNCH])
        wrong = "starts that are counted as work were not counted";
    schedule_unlock(s);
    return wrong;
}
