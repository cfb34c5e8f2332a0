#include "engine/launch/open.h"

#include <stdlib.h>
#include <string.h>

#include "engine/launch/books.h"
#include "engine/launch/control.h"
#include "engine/launch/launch.h"
#include "engine/launch/pending.h"
#include "engine/session/session.h"

uint32_t open_count(const struct session *session) { return session->open.count; }

struct open_launch *open_at(struct session *session, uint32_t number)
{
    return &session->open.at[(session->open.first + number) % GUARDED_MAX];
}

uint32_t open_slot(const struct session *session)
{
    return (session->open.first + session->open.count) % GUARDED_MAX;
}

void open_drop_oldest(struct session *session)
{
    session->open.first = (session->open.first + 1) % GUARDED_MAX;
    session->open.count--;
}

bool open_any(const struct schedule *s, const struct session *session)
{
    for (uint32_t i = 0; i < session->open.count; i++) {
        uint32_t place = (session->open.first + i) % GUARDED_MAX;
        if (!pending_is_over(&s->pendings[session->open.at[place].index]))
            return true;
    }
    return false;
}

void open_add(struct session *session, const struct launch *launch, uint32_t index)
{
    struct open_launch *open = open_at(session, session->open.count++);
    memcpy(open->params, launch->params, launch->param_bytes);
    open->launch = *launch;
    open->launch.params = open->params;
    open->launch.attributes = NULL; /* with attributes it could not go through the guard */
    open->index = index;
}

bool open_prepare(struct session *session, const struct launch *launch)
{
    struct open_launch *open = &session->open.at[open_slot(session)];
    if (open->params_room < launch->param_bytes || !open->params) {
        size_t room = launch->param_bytes < 256 ? 256 : launch->param_bytes;
        uint8_t *params = realloc(open->params, room);
        if (!params)
            return false;
        open->params = params;
        open->params_room = room;
    }
    return control_prepare(session, (uint32_t)(open - session->open.at), launch->blocks);
}

void open_close(struct schedule *s, struct session *session)
{
    while (session->open.count > 0) {
        pending_give(s, open_at(session, 0)->index);
        open_drop_oldest(session);
    }
    for (uint32_t i = 0; i < GUARDED_MAX; i++) {
        free(session->open.at[i].params);
        session->open.at[i] = (struct open_launch){0};
    }
}
