/* How a session is ended, or called, from any thread. */
#ifndef TALLY_ENGINE_ENDING_H
#define TALLY_ENGINE_ENDING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct session;

/* Brings a session's thread back from its socket. */
struct waker {
    pthread_mutex_t lock;
    void *socket; /* inproc PUSH to the ops socket; NULL: the session is not open, or no more */
    _Atomic bool called; /* an empty message is on its way to the thread */
};

void waker_init(struct waker *waker);
void waker_destroy(struct waker *waker);
void waker_close(struct waker *waker);
/* The thread got an empty message: whether session_call sent it. */
bool waker_called(struct waker *waker);

/* Makes the session thread end, wherever it is; the first reason stays. Any thread, any lock
 * held. */
void session_end(struct session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Its thread, wherever it is, comes to schedule_go_on soon. Any thread. */
void session_call(struct session *session);
/* Takes the calling thread into the device's context and the session's tenant. */
void session_enter_thread(struct session *session);

#endif
