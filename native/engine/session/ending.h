/* How a session is ended, or called, from any thread. */
#ifndef TALLY_ENGINE_ENDING_H
#define TALLY_ENGINE_ENDING_H

#include <stdatomic.h>
#include <stdbool.h>

struct session;

/* Makes the session thread end, wherever it is; the first reason stays. Any thread, any lock held. */
void session_end(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Its thread, wherever it is, comes to schedule_go_on soon. Any thread. */
void session_call(struct session *session);
/* Takes the calling thread into the device's context and the session's tenant. */
void session_enter_thread(struct session *session);

#endif
