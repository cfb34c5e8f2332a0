/* The sessions that are open, by place and by tenant. */
#ifndef TALLY_ENGINE_ROSTER_H
#define TALLY_ENGINE_ROSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "tally/cuda.h"

struct roster;
struct session;

struct roster *roster_create(void);
void roster_destroy(struct roster *roster); /* NULL: nothing */

/* A free place; SESSIONS_MAX: there is none. *known: a session of that number is open already. */
uint32_t roster_place(struct roster *roster, uint64_t number, bool *known);
void roster_add(struct roster *roster, struct session *session);
void roster_remove(struct roster *roster, const struct session *session);

/* For each session, under the roster's lock: which the function must not take; false: enough. The
 * number of sessions that it was asked about. */
typedef bool roster_visit(struct session *session, void *argument);
uint32_t roster_each(struct roster *roster, roster_visit *visit, void *argument);

/* From attach to detach other sessions' threads, and the driver's, may touch what the session
 * shares with its client, and send what its kernels print. */
void roster_attach(struct roster *roster, struct session *session);
void roster_detach(struct roster *roster, struct session *session);
/* NULL: the tenant has no session any more. */
struct session *roster_of_tenant(struct roster *roster, uint32_t tenant);

/* The context is gone for everybody: every session but the culprit gets the error. */
void roster_poison_others(struct roster *roster, const struct session *culprit, CUresult error);

#endif
