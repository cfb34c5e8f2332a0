#include "engine/launch/work.h"

#include "engine/launch/books.h"
#include "engine/launch/feed.h"
#include "engine/parts.h"
#include "engine/session/session.h"
#include "tally/assert.h"

/* A tag: the generation, a bit that no start's tag has, the kind, the session's place. */
#define WORK_BIT (1ull << 31)
#define KIND_SHIFT 30u
#define PLACE_MASK 0xffffu

static struct tally_sched_event event_of(uint32_t type, uint32_t session, enum work_kind kind,
                                         uint64_t pieces)
{
    return (struct tally_sched_event){
        .type = type,
        .session = session,
        .blocks = (uint32_t)pieces,
        .started = kind == WORK_LAUNCH,
    };
}

void work_count(struct schedule *s, struct session *session, enum work_kind kind)
{
    struct tally_sched_event event = event_of(TALLY_SCHED_WORK, session->index, kind, 1);
    int result = session->books.failed ? TALLY_SCHED_INVALID : schedule_feed(s, &event);
    if (result == 0)
        s->works[session->index].pieces[kind]++;
}

void work_uncount(struct schedule *s, uint32_t session, enum work_kind kind, uint64_t pieces,
                  uint64_t gpu_ns)
{
    struct work_books *books = &s->works[session];
    if (pieces > books->pieces[kind])
        pieces = books->pieces[kind]; /* of a session that had failed, some were not counted */
    books->pieces[kind] -= pieces;
    while (pieces > 0) {
        uint64_t some = pieces < UINT32_MAX ? pieces : UINT32_MAX;
        struct tally_sched_event event = event_of(TALLY_SCHED_WORK_ENDED, session, kind, some);
        event.gpu_ns = gpu_ns;
        int result = schedule_feed(s, &event);
        TALLY_ASSERT(result == 0);
        pieces -= some;
        gpu_ns = 0;
    }
}

uint64_t work_begin(struct session *session, enum work_kind kind)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    work_count(s, session, kind);
    uint64_t generation = s->works[session->index].generation;
    uint64_t tag = generation << 32 | WORK_BIT | (uint64_t)kind << KIND_SHIFT | session->index;
    schedule_unlock(s);
    return tag;
}

void work_ended(struct schedule *s, uint64_t tag, uint32_t pieces, uint64_t gpu_ns)
{
    uint32_t place = (uint32_t)tag & PLACE_MASK;
    TALLY_ASSERT(work_is_tag(tag));
    if (place < SESSIONS_MAX && s->works[place].generation == tag >> 32)
        work_uncount(s, place, work_kind_of(tag), pieces, gpu_ns);
}

void work_end(struct session *session, uint64_t tag, uint32_t pieces, uint64_t gpu_ns)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    work_ended(s, tag, pieces, gpu_ns);
    schedule_unlock(s);
}

void work_forget(struct schedule *s, struct session *session)
{
    struct work_books *books = &s->works[session->index];
    for (enum work_kind kind = WORK_LAUNCH; kind <= WORK_TRANSFER; kind++)
        work_uncount(s, session->index, kind, books->pieces[kind], 0);
    books->generation++;
}
