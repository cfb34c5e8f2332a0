#include "engine/session/roster.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/parts.h"
#include "engine/session/segment.h"
#include "engine/session/session.h"
#include "tally/address.h"

struct roster {
    pthread_mutex_t lock;
    struct session *sessions[SESSIONS_MAX];
    _Atomic(struct session *)
        tenants[TALLY_TENANTS_MAX]; /* the driver's callbacks look here; the first is nobody's */
};

struct roster *roster_create(void)
{
    struct roster *roster = calloc(1, sizeof *roster);
    if (roster)
        pthread_mutex_init(&roster->lock, NULL);
    return roster;
}

void roster_destroy(struct roster *roster)
{
    if (!roster)
        return;
    pthread_mutex_destroy(&roster->lock);
    free(roster);
}

uint32_t roster_place(struct roster *roster, uint64_t number, bool *known)
{
    uint32_t index = SESSIONS_MAX;
    *known = false;
    pthread_mutex_lock(&roster->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        const struct session *session = roster->sessions[i];
        index = !session && index == SESSIONS_MAX ? i : index;
        *known |= session && session->config.session == number;
    }
    pthread_mutex_unlock(&roster->lock);
    return index;
}

void roster_add(struct roster *roster, struct session *session)
{
    pthread_mutex_lock(&roster->lock);
    roster->sessions[session->index] = session;
    pthread_mutex_unlock(&roster->lock);
}

void roster_remove(struct roster *roster, const struct session *session)
{
    pthread_mutex_lock(&roster->lock);
    roster->sessions[session->index] = NULL;
    pthread_mutex_unlock(&roster->lock);
}

uint32_t roster_each(struct roster *roster, roster_visit *visit, void *argument)
{
    uint32_t count = 0;
    bool more = true;
    pthread_mutex_lock(&roster->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX && more; i++) {
        if (!roster->sessions[i])
            continue;
        count++;
        more = visit(roster->sessions[i], argument);
    }
    pthread_mutex_unlock(&roster->lock);
    return count;
}

void roster_attach(struct roster *roster, struct session *session)
{
    atomic_store(&roster->tenants[session->tenant], session);
    session->attached = true;
}

void roster_detach(struct roster *roster, struct session *session)
{
    pthread_mutex_lock(&roster->lock);
    session->attached = false;
    pthread_mutex_unlock(&roster->lock);
    atomic_store(&roster->tenants[session->tenant], NULL);
}

struct session *roster_of_tenant(struct roster *roster, uint32_t tenant)
{
    return tenant < TALLY_TENANTS_MAX ? atomic_load(&roster->tenants[tenant]) : NULL;
}

void roster_poison_others(struct roster *roster, const struct session *culprit, CUresult error)
{
    pthread_mutex_lock(&roster->lock);
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = roster->sessions[i];
        int none = CUDA_SUCCESS;
        if (session && session != culprit && session->attached &&
            atomic_compare_exchange_strong(&session->sticky, &none, (int)error))
            segment_set_sticky(session, error);
    }
    pthread_mutex_unlock(&roster->lock);
}
