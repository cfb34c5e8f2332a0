/* Sections that a thread must not leave half-way, neither by cancellation nor by a jump out of a
 * signal handler. Between such sections, where it waits, it may; so a waiting thread holds no
 * lock, and others look at nothing on its stack. */
#ifndef TALLY_SHIM_SHELTER_H
#define TALLY_SHIM_SHELTER_H

#include <pthread.h>
#include <signal.h>

struct shim_shelter {
    sigset_t signals;
    int cancel;
};

/* For short sections only: signals wait meanwhile, except those that a fault inside the section
 * raises. */
static inline void shim_shelter_enter(struct shim_shelter *shelter)
{
    sigset_t blocked;
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGTRAP);
    sigdelset(&blocked, SIGABRT);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &shelter->cancel);
    pthread_sigmask(SIG_SETMASK, &blocked, &shelter->signals);
}

static inline void shim_shelter_leave(const struct shim_shelter *shelter)
{
    int ignored;
    pthread_sigmask(SIG_SETMASK, &shelter->signals, NULL);
    pthread_setcancelstate(shelter->cancel, &ignored);
}

/* A function that exchanges messages may be cancelled only where it waits and holds nothing. So
 * the generated exports hold cancellation off around it; this is how it was set outside. */
extern _Thread_local int shim_cancel_outside __attribute__((tls_model("initial-exec")));

struct shim_cancel {
    int before, outside;
};

static inline struct shim_cancel shim_cancel_hold(void)
{
    struct shim_cancel cancel = {.outside = shim_cancel_outside};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel.before);
    shim_cancel_outside = cancel.before;
    return cancel;
}

static inline void shim_cancel_release(struct shim_cancel cancel)
{
    int ignored;
    shim_cancel_outside = cancel.outside;
    pthread_setcancelstate(cancel.before, &ignored);
}

#endif
