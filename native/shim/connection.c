#include "connection.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "control.h"
#include "handles.h"
#include "shelter.h"
#include "tell.h"
#include "visible.h"
#include "wire/zmq.h"

/* An executor may still be starting. tallyd answers when it gives that up, by default before
 * this time is over. */
#define ANSWER_S_MAX 90
#define NOTE_S_MAX 2 /* for tallyd to confirm that it knows of an unsupported call */

/* What one process knows of its session. Without the lock: `phase`, `generation` and `channels`,
 * which are atomic, and what HELLO told, which does not change while the phase is PHASE_READY. */
enum phase { PHASE_NEW, PHASE_READY, PHASE_EXITED };
static struct tally_mutex state_lock = TALLY_MUTEX_INIT;
static struct {
    _Atomic int phase;
    _Atomic uint32_t generation;
    struct shim_control control GUARDED_BY(state_lock);
    struct tally_hello_reply hello;
    struct tally_device_info devices[TALLY_DEVICES_MAX];
    uint32_t visible[TALLY_DEVICES_MAX]; /* tallyd's index of each device that the program sees */
    _Atomic uint32_t visible_count;
    struct shim_channel *_Atomic channels[TALLY_DEVICES_MAX];
} state;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;

static void (*fork_hooks[SHIM_FORK_HOOKS_MAX])(void);
static atomic_int fork_hook_count;

/* What happens under the lock talks to tallyd: no thread may be cancelled in the middle of it. */
static struct shim_cancel lock_state(void) ACQUIRES(state_lock)
{
    struct shim_cancel cancel = shim_cancel_hold();
    tally_mutex_take(&state_lock);
    return cancel;
}

static void unlock_state(struct shim_cancel cancel) RELEASES(state_lock)
{
    tally_mutex_give(&state_lock);
    shim_cancel_release(cancel);
}

CUresult shim_ready(void)
{
    switch (atomic_load_explicit(&state.phase, memory_order_acquire)) {
    case PHASE_READY:
        return CUDA_SUCCESS;
    case PHASE_EXITED:
        return CUDA_ERROR_DEINITIALIZED;
    default:
        return CUDA_ERROR_NOT_INITIALIZED;
    }
}

uint32_t shim_generation(void)
{
    return atomic_load_explicit(&state.generation, memory_order_relaxed);
}

int shim_device_count(void)
{
    return shim_ready() ? 0 : (int)atomic_load_explicit(&state.visible_count, memory_order_acquire);
}

CUresult shim_devices_choose(void)
{
    tally_mutex_take(&state_lock);
    uint32_t chosen[TALLY_DEVICES_MAX];
    uint32_t count =
        shim_visible_devices(state.devices, state.hello.device_count,
                             getenv("CUDA_VISIBLE_DEVICES"), getenv("CUDA_DEVICE_ORDER"), chosen);
    if (!atomic_load(&state.visible_count)) { /* else another thread was faster */
        memcpy(state.visible, chosen, sizeof chosen);
        atomic_store_explicit(&state.visible_count, count, memory_order_release);
    }
    tally_mutex_give(&state_lock);
    return shim_device_count() ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

int shim_driver_version(void) { return shim_ready() ? 0 : state.hello.driver_version; }

const struct tally_device_info *shim_device(int ordinal)
{
    return ordinal >= 0 && ordinal < shim_device_count() ? &state.devices[state.visible[ordinal]]
                                                         : NULL;
}

/* ---- fork and exit -------------------------------------------------------------------------- */

void shim_on_fork(void (*forget)(void))
{
    int index = atomic_fetch_add(&fork_hook_count, 1);
    if (index < SHIM_FORK_HOOKS_MAX)
        fork_hooks[index] = forget;
}

/* In the child only the forking thread exists. The parent's sockets are left alone: closing them
 * would talk to an I/O thread that is not there. */
static void forked(void)
{
    atomic_fetch_add(&state.generation, 1);
    tally_mutex_init(&state_lock);
    int phase = atomic_load(&state.phase);
    if (phase == PHASE_READY)
        atomic_store(&state.phase, PHASE_NEW);
    shim_control_forget(&state.control);
    atomic_store(&state.visible_count, 0);
    for (int i = 0; i < (int)TALLY_DEVICES_MAX; i++)
        atomic_store(&state.channels[i], NULL);
    shim_handle_forget();
    for (int i = 0; i < atomic_load(&fork_hook_count) && i < SHIM_FORK_HOOKS_MAX; i++)
        if (fork_hooks[i])
            fork_hooks[i]();
}

/* After this, late destructors of the program's libraries are told CUDA_ERROR_DEINITIALIZED, as
 * CUDA does. */
static void exiting(void)
{
    if (!tally_mutex_try(&state_lock))
        return; /* another thread is in HELLO or OPEN; the kernel closes everything in a moment */
    bool all = atomic_exchange(&state.phase, PHASE_EXITED) == PHASE_READY;
    if (all && !shim_control_unplugged(&state.control)) {
        for (int i = 0; i < (int)TALLY_DEVICES_MAX; i++)
            if (state.channels[i])
                all = shim_channel_close(state.channels[i]) && all;
        shim_control_disconnect(&state.control, all); /* lets BYE out */
    }
    tally_mutex_give(&state_lock);
}

/* atexit only now that libzmq is loaded: its own destructors must run after ours. */
static void process_start(void)
{
    if (tally_zmq_load(NULL) == 0) {
        pthread_atfork(NULL, NULL, forked);
        atexit(exiting);
    }
}

/* ---- hello ---------------------------------------------------------------------------------- */

struct hello_message {
    struct tally_hello_reply hello;
    struct tally_device_info devices[TALLY_DEVICES_MAX];
};

static CUresult read_hello_locked(const struct hello_message *message, size_t size)
    REQUIRES(state_lock)
{
    if (size < sizeof message->hello || message->hello.device_count > TALLY_DEVICES_MAX ||
        size != sizeof message->hello + message->hello.device_count * sizeof *message->devices)
        return CUDA_ERROR_OPERATING_SYSTEM;
    if (!message->hello.device_count)
        return CUDA_ERROR_NO_DEVICE;
    state.hello = message->hello;
    memcpy(state.devices, message->devices, message->hello.device_count * sizeof *message->devices);
    return CUDA_SUCCESS;
}

static CUresult say_hello_locked(void) REQUIRES(state_lock)
{
    struct tally_hello hello = {.pid = (uint32_t)getpid(), .api_version = CUDA_VERSION};
    const char *job = getenv("TALLY_JOB");
    snprintf(hello.job, sizeof hello.job, "%s", job ? job : "");
    snprintf(hello.program, sizeof hello.program, "%s", program_invocation_short_name);
    struct hello_message *message = malloc(sizeof *message);
    if (!message)
        return CUDA_ERROR_OUT_OF_MEMORY;
    size_t size = 0;
    CUresult result =
        shim_control_request(&state.control, TALLY_CONTROL_HELLO, &hello, sizeof hello, message,
                             sizeof *message, &size, ANSWER_S_MAX);
    if (!result)
        result = read_hello_locked(message, size);
    free(message);
    return result;
}

CUresult shim_init(void)
{
    CUresult ready = shim_ready();
    if (ready != CUDA_ERROR_NOT_INITIALIZED)
        return ready;
    pthread_once(&process_once, process_start);
    const char *why;
    if (tally_zmq_load(&why) != 0) {
        shim_tell("%s; start the program with `tally run`", why);
        return CUDA_ERROR_SYSTEM_NOT_READY;
    }
    struct shim_cancel cancel = lock_state();
    CUresult result = shim_ready();
    if (result == CUDA_ERROR_NOT_INITIALIZED) {
        result = shim_control_connect(&state.control);
        if (!result)
            result = say_hello_locked();
        if (result)
            shim_control_disconnect(&state.control, true);
        else
            atomic_store_explicit(&state.phase, PHASE_READY, memory_order_release);
    }
    unlock_state(cancel);
    return result;
}

/* ---- channels ------------------------------------------------------------------------------- */

static CUresult open_device_locked(int device, struct shim_channel **channel) REQUIRES(state_lock)
{
    struct tally_open open = {.session = state.hello.session, .device = state.visible[device]};
    struct tally_open_reply reply;
    char text[1024]; /* a refusal's line may be longer than the struct */
    _Static_assert(sizeof text >= sizeof reply, "one buffer for both");
    size_t size = 0;
    CUresult result = shim_control_request(&state.control, TALLY_CONTROL_OPEN, &open, sizeof open,
                                           text, sizeof text, &size, ANSWER_S_MAX);
    if (result)
        return result;
    if (size != sizeof reply)
        return CUDA_ERROR_OPERATING_SYSTEM;
    memcpy(&reply, text, sizeof reply);
    reply.ops[sizeof reply.ops - 1] = reply.replies[sizeof reply.replies - 1] = 0;
    reply.segment[sizeof reply.segment - 1] = 0;
    char folder[SHIM_CONTROL_PATH_BYTES];
    shim_control_folder(&state.control, folder, sizeof folder);
    return shim_channel_create(state.control.zmq, device, shim_generation(), folder, &reply,
                               channel);
}

CUresult shim_channel_open(int device, struct shim_channel **channel)
{
    *channel = NULL;
    CUresult result = shim_ready();
    if (result)
        return result;
    if (device < 0 || device >= shim_device_count())
        return CUDA_ERROR_INVALID_DEVICE;
    struct shim_cancel cancel = lock_state();
    result = shim_ready();
    if (!result && !state.channels[device]) {
        struct shim_channel *opened = NULL;
        result = open_device_locked(device, &opened);
        atomic_store(&state.channels[device], opened);
    }
    if (!result)
        *channel = state.channels[device];
    unlock_state(cancel);
    return result;
}

bool shim_is_device_address(uint64_t address)
{
    for (int i = 0; i < (int)TALLY_DEVICES_MAX; i++) {
        const struct shim_channel *channel =
            atomic_load_explicit(&state.channels[i], memory_order_acquire);
        if (channel && shim_channel_is_device_address(channel, address))
            return true;
    }
    return false;
}

/* ---- unsupported calls ---------------------------------------------------------------------- */

/* The first call waits until tallyd has noted it: the program may end right afterwards, and its
 * session with it. */
static void report_unsupported_locked(const struct tally_unsupported *message) REQUIRES(state_lock)
{
    char text[256];
    size_t size;
    if (message->count == 1)
        shim_control_request(&state.control, TALLY_CONTROL_UNSUPPORTED, message, sizeof *message,
                             text, sizeof text, &size, NOTE_S_MAX);
    else
        shim_control_notify(&state.control, TALLY_CONTROL_UNSUPPORTED, message, sizeof *message);
}

CUresult shim_unsupported(const char *symbol, uint64_t *calls)
{
    uint64_t count = __atomic_add_fetch(calls, 1, __ATOMIC_RELAXED);
    if ((count & (count - 1)) == 0 && shim_ready() == CUDA_SUCCESS) {
        struct tally_unsupported message = {.count = count};
        snprintf(message.symbol, sizeof message.symbol, "%s", symbol);
        struct shim_cancel cancel = lock_state();
        if (shim_ready() == CUDA_SUCCESS)
            report_unsupported_locked(&message);
        unlock_state(cancel);
    }
    return CUDA_ERROR_NOT_SUPPORTED;
}
