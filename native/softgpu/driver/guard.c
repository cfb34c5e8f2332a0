/* Copies touch memory that may not be there: a bad host pointer, a file that another process cut
 * short, a buffer freed too early. They run under a guard, which turns SIGSEGV and SIGBUS into an
 * error. */
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "queue.h"
#include "tally/jump.h"

static _Thread_local sigjmp_buf *escape __attribute__((tls_model("initial-exec")));
static struct sigaction previous_segv, previous_bus;

static void on_fault(int number, siginfo_t *info, void *context)
{
    if (escape)
        siglongjmp(*escape, 1);
    const struct sigaction *previous = number == SIGBUS ? &previous_bus : &previous_segv;
    if (previous->sa_flags & SA_SIGINFO) {
        previous->sa_sigaction(number, info, context);
    } else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN) {
        /* Nobody's: let it end the process as it would have without us. */
        sigaction(number, previous, NULL);
        raise(number);
    } else {
        previous->sa_handler(number);
    }
}

/* Before the block executor installs its handlers, which pass on to these what is not a block's. */
void soft_guard_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_flags =
        SA_SIGINFO | SA_ONSTACK | SA_NODEFER; /* NODEFER: siglongjmp does not restore the mask */
    action.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
}

bool soft_guarded(void (*body)(void *argument), void *argument)
{
    sigjmp_buf here;
    if (sigsetjmp(here, TALLY_JUMP_SAVES_MASK)) {
        escape = NULL;
        return false;
    }
    escape = &here;
    body(argument);
    escape = NULL;
    return true;
}
