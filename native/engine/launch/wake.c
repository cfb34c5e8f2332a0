#include "engine/launch/wake.h"

#include "engine/launch/books.h"
#include "engine/session/session.h"

void schedule_wake(struct session *session)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&session->books.turn);
    schedule_unlock(s);
}
