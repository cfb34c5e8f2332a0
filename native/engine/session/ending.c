#include "engine/session/ending.h"

#include <stdarg.h>
#include <stdio.h>

#include "engine/launch/wake.h"
#include "engine/session/session.h"
#include "wire/zmq.h"

void waker_init(struct waker *waker) { pthread_mutex_init(&waker->lock, NULL); }

void waker_destroy(struct waker *waker) { pthread_mutex_destroy(&waker->lock); }

void waker_close(struct waker *waker)
{
    pthread_mutex_lock(&waker->lock);
    if (waker->socket)
        tally_zmq.close(waker->socket);
    waker->socket = NULL;
    pthread_mutex_unlock(&waker->lock);
}

bool waker_called(struct waker *waker) { return atomic_exchange(&waker->called, false); }

void session_end(struct session *session, const char *format, ...)
{
    bool given = false;
    if (!atomic_compare_exchange_strong(&session->reason_given, &given, true))
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(session->reason, sizeof session->reason, format, arguments);
    va_end(arguments);
    atomic_store(&session->ending, true);
    /* Any message wakes the thread; it looks at `ending` before it looks at the message. It may be
     * inside softgpu's compiler, too. While there is a waker the tenant is the session's. */
    pthread_mutex_lock(&session->waker.lock);
    if (session->waker.socket)
        tally_zmq.send(session->waker.socket, "", 0, TALLY_ZMQ_DONTWAIT);
    if (session->waker.socket)
        session->driver->ops->tenant_leave(session->driver, session->tenant);
    pthread_mutex_unlock(&session->waker.lock);
    schedule_wake(session);
}

void session_call(struct session *session)
{
    if (atomic_exchange(&session->waker.called, true))
        return;
    pthread_mutex_lock(&session->waker.lock);
    if (session->waker.socket &&
        tally_zmq.send(session->waker.socket, "", 0, TALLY_ZMQ_DONTWAIT) < 0)
        atomic_store(&session->waker.called, false);
    pthread_mutex_unlock(&session->waker.lock);
}

void session_enter_thread(struct session *session)
{
    session->driver->cu.cuCtxSetCurrent(session->driver->context);
    session->driver->ops->tenant_enter(session->driver, session->tenant);
}
