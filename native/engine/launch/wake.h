/* Waking a session's thread that waits for its turn. */
#ifndef TALLY_ENGINE_WAKE_H
#define TALLY_ENGINE_WAKE_H

struct session;

/* The session is ending: a thread that waits for its turn gives up. Any thread. */
void schedule_wake(struct session *session);

#endif
