#include "engine/streams/queues.h"

#include <stddef.h>

#include "engine/session/session.h"
#include "tally/assert.h"

uint32_t queues_max(const struct session *session)
{
    return session->engine->config.stream_queues_max;
}

static bool is_used(const struct session *session, uint32_t place)
{
    return session->streams.queues_used[place / 64] >> (place % 64) & 1;
}

bool queue_take_free(struct session *session, struct stream *stream)
{
    for (uint32_t place = 0; place < queues_max(session); place++) {
        if (is_used(session, place))
            continue;
        pthread_mutex_lock(&session->streams.lock);
        session->streams.queues_used[place / 64] |= 1ull << (place % 64);
        stream->queue = session->index * SESSION_QUEUES_MAX + place;
        pthread_mutex_unlock(&session->streams.lock);
        return true;
    }
    return false;
}

bool queue_take_over(struct session *session, struct stream *stream, uint32_t place)
{
    uint32_t queue = session->index * SESSION_QUEUES_MAX + place;
    struct stream *holder = session->streams.list;
    if (place == QUEUE_NONE)
        return false;
    while (holder && holder->queue != queue)
        holder = holder->next;
    TALLY_ASSERT(holder && holder != stream);
    if (!holder)
        return false;
    pthread_mutex_lock(&session->streams.lock);
    holder->queue = QUEUE_NONE;
    stream->queue = queue;
    pthread_mutex_unlock(&session->streams.lock);
    return true;
}

void queue_give(struct session *session, struct stream *stream)
{
    uint32_t place = stream->queue % SESSION_QUEUES_MAX;
    if (stream->queue == QUEUE_NONE)
        return;
    session->streams.queues_used[place / 64] &= ~(1ull << (place % 64));
    stream->queue = QUEUE_NONE;
}

static const char *validate(const struct session *session)
{
    uint64_t seen[SESSION_QUEUES_MAX / 64] = {0};
    for (const struct stream *stream = session->streams.list; stream; stream = stream->next) {
        uint32_t place = stream->queue % SESSION_QUEUES_MAX;
        if (stream->queue == QUEUE_NONE)
            continue;
        if (stream->queue / SESSION_QUEUES_MAX != session->index || !is_used(session, place))
            return "a stream has a queue that its session has not";
        if (seen[place / 64] >> (place % 64) & 1)
            return "two streams have one queue";
        seen[place / 64] |= 1ull << (place % 64);
    }
    for (uint32_t place = 0; place < SESSION_QUEUES_MAX; place++)
        if (is_used(session, place) != (seen[place / 64] >> (place % 64) & 1))
            return "a queue is used by no stream";
    return NULL;
}

const char *queues_validate(struct session *session)
{
    pthread_mutex_lock(&session->streams.lock);
    const char *wrong = validate(session);
    pthread_mutex_unlock(&session->streams.lock);
    return wrong;
}
