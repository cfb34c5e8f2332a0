/* Faults and interrupts of compiled code: signals that end the running block and nothing else.
 *
 * Compiled code only computes addresses inside its launch's windows, where unmapped pages fault.
 * While a worker runs a block, SIGSEGV and SIGBUS of its thread end the block; any other goes to
 * whoever handled it before us. The interrupt signal ends a block whose launch is to be given up.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block.h"

#define SIGNAL_STACK (128u << 10)

static _Thread_local struct soft_worker *this_worker __attribute__((tls_model("initial-exec")));
static struct sigaction previous_segv, previous_bus, previous_fpe;
static pthread_once_t install_once = PTHREAD_ONCE_INIT;

#if defined(TALLY_SANITIZE_THREAD)
/* ThreadSanitizer holds other signals back until the thread calls something, which compiled code
 * may never. */
int soft_fault_interrupt_signal(void) { return SIGSYS; }
#else
int soft_fault_interrupt_signal(void) { return SIGRTMAX - 6; }
#endif

static void pass_on(int number, siginfo_t *info, void *context)
{
    struct sigaction *previous = number == SIGSEGV  ? &previous_segv
                                 : number == SIGBUS ? &previous_bus
                                                    : &previous_fpe;
    if (previous->sa_flags & SA_SIGINFO) {
        previous->sa_sigaction(number, info, context);
    } else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN) {
        /* Not ours and nobody's: let it end the process as it would have without us. */
        sigaction(number, previous, NULL);
        raise(number);
    } else {
        previous->sa_handler(number);
    }
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    struct soft_worker *worker = this_worker;
    if (!worker || !worker->launch) {
        pass_on(number, info, context);
        return;
    }
    struct soft_outcome outcome = {SOFT_FAULT, CUDA_ERROR_ILLEGAL_ADDRESS,
                                   (uint64_t)(uintptr_t)info->si_addr};
    if (number == SIGFPE)
        outcome = (struct soft_outcome){SOFT_FAULT, CUDA_ERROR_LAUNCH_FAILED, 0};
    if (soft_fibers_guards(&worker->fibers, info->si_addr))
        outcome.error = CUDA_ERROR_HARDWARE_STACK_ERROR;
    soft_leave(worker, outcome);
}

static void on_interrupt(int number)
{
    struct soft_worker *worker = this_worker;
    if (!worker || !worker->launch || worker->critical ||
        !__atomic_load_n(worker->launch->abort, __ATOMIC_RELAXED))
        return;
    soft_leave(worker, (struct soft_outcome){SOFT_ABORTED, CUDA_SUCCESS, 0});
}

static void install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    /* NODEFER: the handlers leave by siglongjmp, which does not restore the mask. */
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    action.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    sigaction(SIGFPE, &action, &previous_fpe);
    action.sa_flags = SA_ONSTACK | SA_NODEFER | SA_RESTART;
    action.sa_handler = on_interrupt;
    sigaction(soft_fault_interrupt_signal(), &action, NULL);
}

void soft_fault_install(void) { pthread_once(&install_once, install); }

bool soft_fault_thread_begin(struct soft_worker *worker)
{
    worker->signal_stack =
        mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (worker->signal_stack == MAP_FAILED) {
        worker->signal_stack = NULL;
        return false;
    }
    stack_t stack = {.ss_sp = worker->signal_stack, .ss_size = SIGNAL_STACK};
    sigaltstack(&stack, NULL);
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, soft_fault_interrupt_signal());
    sigaddset(&ours, SIGSEGV);
    sigaddset(&ours, SIGBUS);
    sigaddset(&ours, SIGFPE);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
    this_worker = worker;
    return true;
}

void soft_fault_thread_end(struct soft_worker *worker)
{
    this_worker = NULL;
    if (!worker->signal_stack)
        return;
    stack_t off = {.ss_flags = SS_DISABLE};
    sigaltstack(&off, NULL);
    munmap(worker->signal_stack, SIGNAL_STACK);
}
