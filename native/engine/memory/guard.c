#include "engine/memory/guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include "engine/session/ending.h"
#include "tally/jump.h"

static _Thread_local sigjmp_buf *guarded; /* set while this thread touches shared memory */
static struct sigaction previous;
static pthread_once_t install_once = PTHREAD_ONCE_INIT;
static bool installed;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    if (guarded)
        siglongjmp(*guarded, 1);
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
        return;
    }
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
        return;
    }
    signal(number,
           SIG_DFL); /* the access is repeated on return, and ends the process as it should */
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    installed = sigaction(SIGBUS, &action, &previous) == 0;
}

bool guard_install(void)
{
    pthread_once(&install_once, install);
    return installed;
}

/* The accesses themselves: plain instructions, not a sanitizer's runtime, which must not be left by
 * a jump. */
#define BARE __attribute__((noinline, no_sanitize("thread", "address")))

BARE static void store_32(uint32_t *address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}
BARE static void store_64(uint64_t *address, uint64_t value)
{
    *(volatile uint64_t *)address = value;
}

BARE static void read_bytes(uint8_t *out, const uint8_t *address, size_t bytes)
{
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word = *(const volatile uint64_t *)(address + i);
        __builtin_memcpy(out + i, &word, sizeof word);
    }
    for (; i < bytes; i++)
        out[i] = *(const volatile uint8_t *)(address + i);
}

/* A macro: sigsetjmp must stand in the frame that lives on while the access is made. */
#define GUARDED(session, ok, access)                                                               \
    sigjmp_buf jump;                                                                               \
    if (sigsetjmp(jump, TALLY_JUMP_SAVES_MASK) == 0) {                                             \
        guarded = &jump;                                                                           \
        atomic_thread_fence(memory_order_release);                                                 \
        access;                                                                                    \
        atomic_signal_fence(memory_order_seq_cst);                                                 \
        guarded = NULL;                                                                            \
        ok;                                                                                        \
    } else {                                                                                       \
        guarded = NULL;                                                                            \
        session_end(session, "the client truncated its shared memory");                            \
    }

void shared_store(struct session *session, uint32_t *address, uint32_t value)
{
    GUARDED(session, (void)0, store_32(address, value))
}

void shared_store_wide(struct session *session, uint64_t *address, uint64_t value)
{
    GUARDED(session, (void)0, store_64(address, value))
}

bool shared_read(struct session *session, void *out, const void *address, size_t bytes)
{
    GUARDED(session, return true, read_bytes(out, address, bytes))
    return false;
}
